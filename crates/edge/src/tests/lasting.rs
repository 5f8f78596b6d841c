//! What outlives the process, the bus, and damage.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bus::{Bus, BusError, Bytes, Consumer, Entry, Watch};
use jiff::SignedDuration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use wire::Message;
use wire::bus::{EdgeDocument, FetchBatch};

use crate::store::disk::Disk;
use crate::store::{Change, Store, Table};
use crate::testing::{Region, connect, fetch, new_bus, wait};

/// A bus with nobody at the other end.
struct DeadBus;

fn dead<T>() -> Result<T, BusError> {
    Err(BusError::Unavailable("it is dead".into()))
}

#[async_trait]
impl Bus for DeadBus {
    async fn put(&self, _: &str, _: &str, _: Bytes) -> Result<u64, BusError> {
        dead()
    }
    async fn get(&self, _: &str, _: &str) -> Result<Option<Entry>, BusError> {
        dead()
    }
    async fn watch(&self, _: &str, _: u64) -> Result<Box<dyn Watch>, BusError> {
        dead()
    }
    async fn generation(&self, _: &str) -> Result<String, BusError> {
        dead()
    }
    async fn publish(&self, _: &str, _: &str, _: Bytes) -> Result<(), BusError> {
        dead()
    }
    async fn consume(&self, _: &str, _: &str) -> Result<Box<dyn Consumer>, BusError> {
        dead()
    }
}

#[tokio::test]
async fn a_restart_with_everything_else_dead_serves_at_once() {
    let region = Region::new();
    let edge = region.run().await;
    for domain in ["a.example", "b.example", "c.example"] {
        region.host(domain).await;
        region.served(&edge, domain).await;
    }
    let before = fetch(edge.https, "a.example").await.unwrap();
    edge.kill().await;

    let edge = region.run_on(Arc::new(DeadBus)).await;
    let after = fetch(edge.https, "a.example").await.unwrap();
    let text = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(text(&before), text(&after));
    fetch(edge.https, "b.example").await.unwrap();
    fetch(edge.https, "c.example").await.unwrap();
    edge.stop().await;
}

#[tokio::test]
async fn a_bus_that_lost_everything_takes_nothing_away() {
    let mut region = Region::new();
    let edge = region.run().await;
    region.host("example.com").await;
    region.put_policy("example.com", 5, "enforce").await;
    region.passed(50).await;
    region.served(&edge, "example.com").await;
    edge.stop().await;

    region.bus = new_bus();
    let edge = region.run().await;
    // What was there before comes again, but older.
    region.put_policy("example.com", 4, "testing").await;
    let told = region.told(|told| told.policies_position >= 50).await;
    assert_eq!(told.domains, 1);
    assert!(fetch(edge.https, "example.com").await.unwrap().contains("enforce"));
    region.put_policy("example.com", 6, "testing").await;
    region.passed(60).await;
    assert!(fetch(edge.https, "example.com").await.unwrap().contains("testing"));
}

#[tokio::test]
async fn what_is_told_counts_on_when_the_bus_or_the_store_is_lost_and_the_clock_goes_back() {
    let mut region = Region::new();
    let edge = region.run().await;
    let first = region.told_revision().await;
    edge.stop().await;

    region.bus = new_bus();
    region.clock.advance(SignedDuration::from_hours(-1));
    let edge = region.run().await;
    let second = region.told_revision().await;
    assert!(second > first, "{second} after {first}");
    edge.kill().await;

    // Without a store there is the clock.
    region.bus = new_bus();
    std::fs::remove_file(region.path().join("store.redb")).unwrap();
    region.clock.advance(SignedDuration::from_hours(2));
    let edge = region.run().await;
    assert!(region.told_revision().await > second);
    edge.stop().await;
}

#[tokio::test]
async fn a_damaged_record_is_not_served_and_is_asked_for_again() {
    let region = Region::new();
    let edge = region.run().await;
    for domain in ["good.example", "bad.example"] {
        region.host(domain).await;
        region.served(&edge, domain).await;
    }
    edge.stop().await;
    for table in [Table::Policies, Table::Certificates] {
        let (disk, _) = Disk::open(region.path()).unwrap();
        let mut bytes = disk.get(table, "bad.example").unwrap().unwrap();
        let last = bytes.len() - 3;
        bytes[last] ^= 4;
        disk.commit(vec![Change::Put(table, "bad.example".into(), bytes)]).unwrap();
        drop(disk);

        let edge = region.run_on(Arc::new(DeadBus)).await;
        fetch(edge.https, "good.example").await.unwrap();
        assert!(fetch(edge.https, "bad.example").await.is_err());
        edge.stop().await;

        let edge = region.run().await;
        assert!(region.served(&edge, "bad.example").await.contains("mx.bad.example"));
        edge.stop().await;
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_set_aside_and_filled_again() {
    let region = Region::new();
    let edge = region.run().await;
    region.host("example.com").await;
    region.served(&edge, "example.com").await;
    edge.stop().await;
    std::fs::write(region.path().join("store.redb"), b"not a store at all").unwrap();

    let edge = region.run().await;
    region.served(&edge, "example.com").await;
    assert!(region.path().join("store.damaged.redb").exists());
    let told = region.told(|told| told.domains == 1).await;
    assert!(told.refused.iter().any(|note| note.reason.contains("set aside")), "{told:?}");
    edge.stop().await;
}

#[tokio::test]
async fn a_store_that_is_damaged_again_and_again_is_healed_each_time() {
    let region = Region::new();
    let edge = region.run().await;
    let names: Vec<String> = (0..31).map(|nth| format!("d{nth}.example")).collect();
    for domain in &names {
        region.host(domain).await;
    }
    for domain in &names {
        region.served(&edge, domain).await;
    }
    edge.stop().await;
    let file = region.path().join("store.redb");
    // The kind of a page, and how many entries it has: nothing behind it can be found.
    for offset in [0, 2, 3] {
        let mut bytes = std::fs::read(&file).unwrap();
        for at in (8192 + offset..bytes.len()).step_by(4096) {
            bytes[at] ^= 4;
        }
        std::fs::write(&file, bytes).unwrap();
        let edge = region.run().await;
        for domain in &names {
            region.served(&edge, domain).await;
        }
        let healed = |told: &EdgeDocument| told.domains == 31 && told.policies_position == 10;
        let is_about_store = |told: &EdgeDocument| told.refused.iter().any(|n| n.key == "store");
        region.told(|told| healed(told) && is_about_store(told)).await;
        edge.stop().await;
    }
}

#[tokio::test]
async fn a_broken_id_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("id");
    for broken in ["", "a b", "\u{0}\u{0}", "eu-1-a=b"] {
        service::files::write_private(&path, broken.as_bytes()).unwrap();
        let id = crate::start::kept_id(folder.path(), "eu-1").unwrap();
        assert!(id.starts_with("eu-1-") && id.len() == 13, "{id}");
        assert_eq!(crate::start::kept_id(folder.path(), "eu-1").unwrap(), id);
    }
}

#[tokio::test]
async fn counts_wait_on_disk_for_the_bus_and_keep_their_batch() {
    let region = Region::new();
    let edge = region.run().await;
    region.host("example.com").await;
    region.served(&edge, "example.com").await;
    edge.stop().await;

    let edge = region.run_on(Arc::new(DeadBus)).await;
    for _ in 0..3 {
        fetch(edge.https, "example.com").await.unwrap();
    }
    edge.stop().await;

    // Nobody takes it: the batch is begun, and sent again under the same id.
    let edge = region.run().await;
    let mut consumer = region.bus.consume("fetches", "intake").await.unwrap();
    let first = consumer.next().await.unwrap();
    let id = first.id().to_owned();
    drop(first);
    edge.kill().await;

    let edge = region.run().await;
    let mut fetches = 0;
    let mut ids = vec![];
    while fetches < 4 {
        let delivery = consumer.next().await.unwrap();
        let batch = FetchBatch::decode(delivery.payload().clone()).unwrap();
        if !ids.contains(&batch.batch_id) {
            fetches += batch.counts.iter().map(|count| count.fetches).sum::<u64>();
            ids.push(batch.batch_id);
        }
        delivery.acknowledge().await.unwrap();
    }
    assert_eq!((ids[0].as_str(), fetches), (id.as_str(), 4));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_swapped_under_load_without_a_failure() {
    let region = Region::new();
    let edge = region.run().await;
    region.host("example.com").await;
    region.served(&edge, "example.com").await;

    let (done, fetched) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let load = tokio::spawn({
        let (done, fetched, https) = (done.clone(), fetched.clone(), edge.https);
        async move {
            while !done.load(Ordering::SeqCst) {
                fetch(https, "example.com").await.expect("no fetch fails");
                fetched.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    for revision in 2..22 {
        region.put_certificate("example.com", revision).await;
        region.put_policy("example.com", revision, "enforce").await;
        region.told(|told| told.certificates_position == revision * 10).await;
        let so_far = fetched.load(Ordering::SeqCst);
        wait(async || (fetched.load(Ordering::SeqCst) > so_far).then_some(())).await;
    }
    done.store(true, Ordering::SeqCst);
    load.await.unwrap();
    edge.stop().await;
}

#[tokio::test]
async fn shutdown_finishes_what_is_under_way() {
    let region = Region::new();
    let edge = region.run().await;
    region.host("example.com").await;
    region.served(&edge, "example.com").await;

    let mut stream = connect(edge.https, "example.com").await.unwrap();
    stream.write_all(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n").await.unwrap();
    let (https, shutdown) = (edge.https, edge.shutdown.clone());
    // The edge has read the beginning once it has answered somebody who came later.
    fetch(https, "example.com").await.unwrap();
    shutdown.cancel();
    timeout(Duration::from_secs(5), async { while fetch(https, "example.com").await.is_ok() {} })
        .await
        .expect("nobody new is taken any more");
    stream.write_all(b"Host: mta-sts.example.com\r\n\r\n").await.unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("mode: testing"));
    edge.stop().await;
    assert!(fetch(https, "example.com").await.is_err());
}
