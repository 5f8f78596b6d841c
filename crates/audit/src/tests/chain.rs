//! Records and their chains.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use jiff::SignedDuration;
use serde_json::json;
use service::Shutdown;

use super::world::{World, call, caller};
use crate::{Filter, Hash, PLATFORM, REGISTER, Record};

async fn problems(world: &World) -> Vec<String> {
    let chains = world.audit.verify_all().await.unwrap();
    let told = chains.into_iter().flat_map(|chain| {
        let workspace = chain.workspace;
        chain.problems.into_iter().map(move |p| format!("{workspace} {}: {}", p.sequence, p.what))
    });
    told.collect()
}

#[tokio::test]
async fn a_chain_that_nobody_touched_is_whole_and_so_is_none_at_all() {
    let world = World::new().await;
    assert_eq!(world.audit.verify_all().await.unwrap(), []);
    let none = world.audit.verify("acme").await.unwrap();
    assert!(none.is_whole() && none.records == 0 && none.sequence == 0);

    world.some_history().await;
    assert_eq!(problems(&world).await, Vec::<String>::new());
    let chains = world.audit.verify_all().await.unwrap();
    let told: Vec<_> = chains.iter().map(|c| (c.workspace.as_str(), c.records)).collect();
    let expected = [(REGISTER, 4), ("acme", 8), ("globex", 8), ("initech", 8), (PLATFORM, 1)];
    assert_eq!(told, expected);
    let acme = world.audit.verify("acme").await.unwrap();
    assert_eq!((acme.sequence, acme.records, acme.is_whole()), (8, 8, true));
    assert_eq!(
        acme.hash,
        world.audit.list("acme", &Filter::default(), None, 1).await.unwrap()[0].hash
    );
    assert_eq!(acme.hash.to_string().parse::<Hash>(), Ok(acme.hash));
}

#[tokio::test]
async fn a_record_comes_and_goes_with_its_change() {
    let world = World::new().await;
    let mut write = world.store.write().await.unwrap();
    let record = Record::by_itself("acme", "policy.stop", "example.com");
    world.audit.record(&mut write, record.clone()).await.unwrap();
    drop(write);
    assert_eq!(world.audit.verify_all().await.unwrap(), []);

    world.record(record).await;
    assert_eq!(world.audit.verify("acme").await.unwrap().records, 1);
    assert!(problems(&world).await.is_empty());
}

#[tokio::test]
async fn a_record_says_who_what_before_after_from_where_and_in_which_call() {
    let world = World::new().await;
    let record = Record::by_call(&caller("acme"), &call("acme", None), "region.add", "eu-1")
        .in_workspace(PLATFORM)
        .before(json!(null))
        .after(json!({ "host": "eu-1.example" }));
    world.record(record).await;
    let entries = world.audit.list(PLATFORM, &Filter::default(), None, 10).await.unwrap();
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(entry.workspace, PLATFORM);
    assert_eq!((entry.sequence, entry.at.to_string()), (1, "2026-11-23T10:00:00Z".to_owned()));
    assert_eq!((entry.who.as_str(), entry.who_id.as_str()), ("alice@example.org", "person:alice"));
    assert_eq!((entry.role.as_str(), entry.from.as_str()), ("domain-manager", "192.0.2.7"));
    assert_eq!(entry.request_id, "request-of-acme");
    assert_eq!((entry.action.as_str(), entry.about.as_str()), ("region.add", "eu-1"));
    assert_eq!(entry.before, Some(json!(null)));
    assert_eq!(entry.after, Some(json!({ "host": "eu-1.example" })));
}

#[tokio::test]
async fn writers_on_one_chain_and_on_many_lose_nothing_and_do_not_block_each_other() {
    let world = World::new().await;
    let writers: Vec<_> = (0..8_usize)
        .map(|writer| {
            let (audit, store) = (world.audit.clone(), world.store.clone());
            tokio::spawn(async move {
                for n in 0..10_usize {
                    // Each takes several chains, in an order of its own.
                    let names = ["a", "b", "c", "d", "e"];
                    let records = (0..3).map(|i| {
                        let name = names[(writer + n * 2 + i * 3) % names.len()];
                        Record::by_itself(name, "test.write", &format!("{writer}-{n}-{i}"))
                    });
                    let mut write = store.write().await.unwrap();
                    audit.record_all(&mut write, records.collect()).await.unwrap();
                    write.commit().await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(problems(&world).await, Vec::<String>::new());
    let mut seen = HashSet::new();
    for chain in ["a", "b", "c", "d", "e"] {
        let entries = world.audit.list(chain, &Filter::default(), None, 1_000).await.unwrap();
        seen.extend(entries.into_iter().map(|entry| entry.about));
    }
    assert_eq!(seen.len(), 8 * 10 * 3);
}

#[tokio::test]
async fn a_chain_is_whole_at_every_moment_while_it_is_written_also_while_it_begins() {
    let world = World::new().await;
    let shutdown = Shutdown::new();
    let newest = Arc::new(AtomicU32::new(0));
    let (audit, store) = (world.audit.clone(), world.store.clone());
    let (ended, written) = (shutdown.clone(), newest.clone());
    let writer = tokio::spawn(async move {
        while !ended.is_cancelled() {
            let n = written.load(Ordering::SeqCst);
            for about in ["first", "second"] {
                let mut write = store.write().await.unwrap();
                let record = Record::by_itself(&format!("w{n}"), "test.write", about);
                audit.record(&mut write, record).await.unwrap();
                write.commit().await.unwrap();
            }
            written.store(n + 1, Ordering::SeqCst);
        }
    });
    for _ in 0..20 {
        assert_eq!(problems(&world).await, Vec::<String>::new());
        for _ in 0..20 {
            // One that is beginning just now.
            let workspace = format!("w{}", newest.load(Ordering::SeqCst));
            let chain = world.audit.verify(&workspace).await.unwrap();
            assert_eq!(chain.problems, []);
        }
    }
    shutdown.cancel();
    writer.await.unwrap();
    assert!(newest.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn values_that_mean_nearly_the_same_are_told_apart() {
    let world = World::new().await;
    let record = || Record::by_itself("acme", "test.write", "x");
    world.record(record()).await;
    world.record(record().before(json!(null)).after(json!(""))).await;
    world.record(record().before(json!({ "a": 7, "b": [] })).after(json!("null"))).await;
    for (sequence, edit) in [
        (1, "before = ''"),
        (1, "before = 'null'"),
        (1, "after = ''"),
        (1, "role = ' '"),
        (1, "before = '', after = ''"),
        (2, "before = NULL"),
        (2, "before = ''"),
        (2, "before = '\"\"'"),
        (2, "before = NULL, after = 'null'"),
        (2, "before = after, after = before"),
        (2, "after = NULL"),
        (3, "before = '{\"a\": 7,\"b\":[]}'"),
        (3, "before = '{\"b\":[],\"a\":7}'"),
        (3, "before = '{\"a\":7.0,\"b\":[]}'"),
        (3, "before = '{\"a\":\"7\",\"b\":[]}'"),
        (3, "before = '{\"a\":7,\"b\":[],\"b\":[]}'"),
        (3, "after = 'null'"),
        (3, "who = who || about, about = ''"),
        (3, "about = 'X'"),
    ] {
        let world = world.copy().await;
        let sql = format!(
            "UPDATE audit_records SET {edit} WHERE workspace = 'acme' AND sequence = {sequence}"
        );
        world.sql(&sql).await.unwrap();
        let chain = world.audit.verify("acme").await.unwrap();
        let places: Vec<_> = chain.problems.iter().map(|problem| problem.sequence).collect();
        assert_eq!(places, [sequence], "{edit}");
    }
}

#[tokio::test]
async fn a_chain_longer_than_a_page_is_gone_through_to_its_end() {
    let world = World::new().await;
    let records = (0..650).map(|n| Record::by_itself("acme", "test.write", &n.to_string()));
    world.record_all(records.collect()).await.unwrap();
    let chain = world.audit.verify("acme").await.unwrap();
    assert_eq!((chain.records, chain.sequence, chain.is_whole()), (650, 650, true));
    for at in [1, 199, 200, 201, 400, 401, 649, 650] {
        let world = world.copy().await;
        let edit = format!(
            "UPDATE audit_records SET about = 'x' WHERE workspace = 'acme' AND sequence = {at}"
        );
        world.sql(&edit).await.unwrap();
        let chain = world.audit.verify("acme").await.unwrap();
        let places: Vec<_> = chain.problems.iter().map(|problem| problem.sequence).collect();
        assert_eq!((places, chain.records), (vec![at], 650));
    }
}

#[tokio::test]
async fn problems_are_told_of_up_to_a_hundred() {
    let world = World::new().await;
    let records = (0..300).map(|n| Record::by_itself("acme", "test.write", &n.to_string()));
    world.record_all(records.collect()).await.unwrap();
    world.sql("UPDATE audit_records SET who = 'mallory' WHERE workspace = 'acme'").await.unwrap();
    assert_eq!(world.audit.verify("acme").await.unwrap().problems.len(), 100);
}

#[tokio::test]
async fn a_chain_of_another_service_or_under_another_key_is_not_ours() {
    let world = World::new().await;
    world.some_history().await;
    assert!(world.as_another("test", 7).verify("acme").await.unwrap().is_whole());
    assert!(!world.as_another("test", 8).verify("acme").await.unwrap().is_whole());
    assert!(!world.as_another("other", 7).verify("acme").await.unwrap().is_whole());
}

#[tokio::test]
async fn a_chain_goes_on_after_it_was_broken_and_says_so_for_ever() {
    for attack in [
        "DELETE FROM audit_records WHERE workspace = 'acme' AND sequence > 5",
        "DELETE FROM audit_heads WHERE workspace = 'acme'",
        "DELETE FROM audit_records WHERE workspace = 'acme';\nDELETE FROM audit_heads WHERE workspace = 'acme'",
        "DELETE FROM audit_records;\nDELETE FROM audit_heads WHERE workspace <> 'acme'",
    ] {
        let world = World::new().await;
        world.some_history().await;
        world.sql(attack).await.unwrap();
        for _ in 0..3 {
            world.record(Record::by_itself("acme", "policy.stop", "example.com")).await;
        }
        let chain = world.audit.verify("acme").await.unwrap();
        assert!(!chain.is_whole(), "{attack}");
    }
}

#[tokio::test]
async fn a_chain_that_was_set_back_is_found_by_a_head_that_was_noted_elsewhere() {
    let world = World::new().await;
    world.some_history().await;
    let before = world.audit.verify("acme").await.unwrap().head();
    let set_back = world.copy().await;
    world.record(Record::by_itself("acme", "policy.stop", "example.com")).await;
    let noted = world.audit.verify("acme").await.unwrap().head();

    assert!(world.audit.still_contains("acme", &before).await.unwrap());
    assert!(world.audit.still_contains("acme", &noted).await.unwrap());
    assert!(!world.audit.still_contains("globex", &noted).await.unwrap());
    assert!(set_back.audit.verify("acme").await.unwrap().is_whole());
    assert!(!set_back.audit.still_contains("acme", &noted).await.unwrap());
    // It goes on otherwise than it went.
    set_back.clock.advance(SignedDuration::from_secs(1));
    set_back.record(Record::by_itself("acme", "policy.stop", "example.com")).await;
    assert!(set_back.audit.verify("acme").await.unwrap().is_whole());
    assert!(!set_back.audit.still_contains("acme", &noted).await.unwrap());
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn a_million_records_are_verified_in_little_memory() {
    const MAX_MORE_KIB: u64 = 64 * 1024;
    let world = World::new().await;
    let started = Instant::now();
    for batch in 0..200 {
        let records = (0..5_000).map(|n| {
            let about = format!("d{}.example", batch * 5_000 + n);
            let policy = json!({ "mode": "testing", "mx": ["mx1.example.com", "mx2.example.com"] });
            Record::by_call(&caller("acme"), &call("acme", None), "policy.promote", &about)
                .before(policy.clone())
                .after(policy)
        });
        world.record_all(records.collect()).await.unwrap();
    }
    let (written, before) = (started.elapsed(), memory_kib());
    let started = Instant::now();
    let chain = world.audit.verify("acme").await.unwrap();
    let more = memory_kib().saturating_sub(before);
    println!("written in {written:?}, verified in {:?} with {more} KiB more", started.elapsed());
    assert_eq!((chain.records, chain.is_whole()), (1_000_000, true));
    assert!(more < MAX_MORE_KIB, "{more} KiB more");
}

/// The most that this process ever had.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    most.trim().trim_end_matches(" kB").parse().unwrap()
}
