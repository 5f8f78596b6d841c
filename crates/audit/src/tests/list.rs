//! What of the records is listed.

use jiff::{SignedDuration, Timestamp};

use super::world::{World, call, caller};
use crate::{Filter, Record};

async fn world() -> World {
    let world = World::new().await;
    let by = [
        ("Alice@example.org", "policy.promote", "example.com"),
        ("bob_b@example.org", "policy.revert", "example.com"),
        ("bob%b@example.org", "policyx.promote", "example.net"),
        ("100\\percent", "domain.add", "example.net"),
        ("carol", "policy.promote", "a\nb"),
    ];
    for (n, (who, action, about)) in by.into_iter().enumerate() {
        let mut caller = caller("acme");
        who.clone_into(&mut caller.name);
        caller.id = format!("person:{n}");
        let mut call = call("acme", None);
        call.request_id = format!("r{n}");
        world.record(Record::by_call(&caller, &call, action, about)).await;
        world.clock.advance(SignedDuration::from_secs(60));
    }
    world.record(Record::by_itself("globex", "policy.promote", "example.com")).await;
    world
}

fn at(minute: i64) -> Option<Timestamp> {
    let start: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
    Some(start + SignedDuration::from_mins(minute))
}

#[tokio::test]
async fn a_filter_gives_what_it_says_newest_first() {
    let world = world().await;
    let filter = Filter::default;
    let cases: Vec<(Filter, &[u64])> = vec![
        (filter(), &[5, 4, 3, 2, 1]),
        (Filter { about: "example.com".into(), ..filter() }, &[2, 1]),
        (Filter { about: "example".into(), ..filter() }, &[]),
        (Filter { about: "a\nb".into(), ..filter() }, &[5]),
        (Filter { who: "alice".into(), ..filter() }, &[1]),
        (Filter { who: "BOB".into(), ..filter() }, &[3, 2]),
        (Filter { who: "b_b".into(), ..filter() }, &[2]),
        (Filter { who: "b%b".into(), ..filter() }, &[3]),
        (Filter { who: "\\p".into(), ..filter() }, &[4]),
        (Filter { who: "person:2".into(), ..filter() }, &[3]),
        (Filter { who: "' OR 1=1 --".into(), ..filter() }, &[]),
        (Filter { action: "policy.promote".into(), ..filter() }, &[5, 1]),
        (Filter { action: "policy.".into(), ..filter() }, &[5, 2, 1]),
        (Filter { action: "policy".into(), ..filter() }, &[]),
        (Filter { action: "POLICY.".into(), ..filter() }, &[]),
        (Filter { since: at(1), ..filter() }, &[5, 4, 3, 2]),
        (Filter { until: at(1), ..filter() }, &[1]),
        (Filter { since: at(1), until: at(3), ..filter() }, &[3, 2]),
        (Filter { request_id: "r3".into(), ..filter() }, &[4]),
        (
            Filter {
                action: "policy.".into(),
                about: "example.com".into(),
                who: "bob".into(),
                ..filter()
            },
            &[2],
        ),
    ];
    for (filter, expected) in cases {
        let entries = world.audit.list("acme", &filter, None, 100).await.unwrap();
        let found: Vec<_> = entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn pages_give_each_record_once_also_where_many_have_one_time() {
    let world = World::new().await;
    for batch in 0..3 {
        let records =
            (0..7).map(|n| Record::by_itself("acme", "test.write", &format!("{batch}-{n}")));
        world.record_all(records.collect()).await.unwrap();
        world.clock.advance(SignedDuration::from_secs(-1));
    }
    let whole = world.audit.list("acme", &Filter::default(), None, 100).await.unwrap();
    assert_eq!(whole.len(), 21);
    for size in [1, 2, 5, 21] {
        let (mut pages, mut before) = (Vec::new(), None);
        loop {
            let page = world.audit.list("acme", &Filter::default(), before, size).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.place());
            pages.extend(page);
        }
        assert_eq!(pages, whole, "{size}");
    }
}

#[tokio::test]
async fn what_was_tampered_with_is_listed_as_far_as_it_can_be_read() {
    let world = world().await;
    world.sql("UPDATE audit_records SET after = '{oops' WHERE workspace = 'acme'").await.unwrap();
    let entries = world.audit.list("acme", &Filter::default(), None, 100).await.unwrap();
    assert!(entries.iter().all(|entry| entry.after == Some("{oops".into())));
}
