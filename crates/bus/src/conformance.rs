//! What every backend of the bus promises: one suite, run on each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use crate::{Bus, BusError, Delivery, Entry, MAX_VALUE_BYTES, Watch};

/// The stream that the suite uses; the bus under test declares it.
pub const STREAM: &str = "conformance";
/// The stream's consumers.
pub const CONSUMERS: &[&str] = &["first", "second"];

const DEADLINE: Duration = Duration::from_secs(10);
/// How long nothing has to happen to be called nothing.
const QUIET: Duration = Duration::from_millis(50);

/// Runs the suite on an empty bus.
///
/// # Panics
/// When a promise is broken, with its name.
pub async fn check<B: Bus + 'static>(bus: Arc<B>) {
    a_bucket_keeps_the_last_value(&*bus).await;
    a_watch_starts_with_what_is_there(&*bus).await;
    a_watch_goes_on_where_it_stopped(&*bus).await;
    a_watch_from_beyond_the_end_gives_all(&*bus).await;
    an_empty_bucket_is_watched_without_a_value(&*bus).await;
    an_abandoned_wait_loses_nothing(bus.clone()).await;
    a_generation_lasts_while_values_do(&*bus).await;
    a_bad_key_is_refused(&*bus).await;
    what_is_too_long_is_refused(&*bus).await;
    an_unknown_stream_is_refused(&*bus).await;
    a_message_reaches_every_consumer(bus.clone()).await;
    a_message_comes_again_until_it_is_acknowledged(bus.clone()).await;
    a_message_published_again_keeps_its_id(bus).await;
}

/// Loses the values of a bucket, as `lose` can, which gives the bus as it is afterwards; and checks
/// that both its writer and a reader who went on where it was get to know.
///
/// # Panics
/// When a promise is broken.
pub async fn check_loss<B: Bus + 'static>(
    bus: Arc<B>,
    bucket: &str,
    lose: impl AsyncFnOnce(Arc<B>) -> Arc<B>,
) {
    let before = bus.generation(bucket).await.expect("the bucket has a name");
    for n in 0..20 {
        put(&*bus, bucket, &format!("k{n}"), "before").await;
    }
    let mut watch = bus.watch(bucket, 0).await.expect("watch answers");
    let mut seen = 0;
    for _ in 0..20 {
        seen = next(&mut watch).await.sequence;
    }
    drop(watch);
    let bus = lose(bus).await;
    let after = eventually("another generation", async || {
        bus.generation(bucket).await.ok().filter(|generation| *generation != before)
    })
    .await;
    for n in 0..3 {
        put(&*bus, bucket, &format!("k{n}"), "after").await;
    }
    let mut watch = bus.watch(bucket, seen).await.expect("watch answers");
    let mut got = Vec::new();
    while got.len() < 3 {
        let (key, value) = text(&next(&mut watch).await);
        if value == "after" {
            got.push(key);
        }
    }
    assert_eq!(got, ["k0", "k1", "k2"]);
    assert_eq!(bus.generation(bucket).await.expect("the bucket has a name"), after);
}

async fn a_bucket_keeps_the_last_value(bus: &dyn Bus) {
    put(bus, "last", "a.example", "1").await;
    put(bus, "last", "a.example", "2").await;
    let entry = bus.get("last", "a.example").await.expect("get answers");
    assert_eq!(entry.map(|e| e.value), Some(Bytes::from("2")));
    assert_eq!(bus.get("last", "b.example").await.expect("get answers"), None);
}

async fn a_watch_starts_with_what_is_there(bus: &dyn Bus) {
    put(bus, "history", "a", "1").await;
    put(bus, "history", "b", "1").await;
    put(bus, "history", "a", "2").await;
    let mut watch = bus.watch("history", 0).await.expect("watch answers");
    assert_eq!(text(&next(&mut watch).await), ("b".into(), "1".into()));
    assert_eq!(text(&next(&mut watch).await), ("a".into(), "2".into()));
    put(bus, "history", "c", "1").await;
    assert_eq!(text(&next(&mut watch).await), ("c".into(), "1".into()));
}

async fn a_watch_goes_on_where_it_stopped(bus: &dyn Bus) {
    put(bus, "resume", "a", "1").await;
    let mut watch = bus.watch("resume", 0).await.expect("watch answers");
    let seen = next(&mut watch).await.sequence;
    drop(watch);
    put(bus, "resume", "b", "1").await;
    let mut watch = bus.watch("resume", seen).await.expect("watch answers");
    assert_eq!(text(&next(&mut watch).await), ("b".into(), "1".into()));
}

async fn a_watch_from_beyond_the_end_gives_all(bus: &dyn Bus) {
    let last = bus.put("beyond", "a", Bytes::from("1")).await.expect("put answers");
    let mut watch = bus.watch("beyond", last + 1000).await.expect("watch answers");
    assert_eq!(text(&next(&mut watch).await), ("a".into(), "1".into()));
}

async fn an_empty_bucket_is_watched_without_a_value(bus: &dyn Bus) {
    let mut watch = bus.watch("empty", 0).await.expect("watch answers");
    assert!(timeout(QUIET, watch.next()).await.is_err(), "nothing was put there");
    put(bus, "empty", "a", "1").await;
    assert_eq!(text(&next(&mut watch).await), ("a".into(), "1".into()));
}

async fn an_abandoned_wait_loses_nothing<B: Bus + 'static>(bus: Arc<B>) {
    const VALUES: usize = 100;
    let mut watch = bus.watch("abandoned", 0).await.expect("watch answers");
    let writer = tokio::spawn(async move {
        for n in 0..VALUES {
            put(&*bus, "abandoned", &format!("k{n}"), "1").await;
        }
    });
    let mut keys = Vec::new();
    let end = Instant::now() + DEADLINE;
    while keys.len() < VALUES {
        assert!(Instant::now() < end, "{keys:?}");
        // Most of these waits are given up before an entry is there.
        if let Ok(entry) = timeout(Duration::from_micros(200), watch.next()).await {
            keys.push(entry.expect("the bus is there").key);
        }
    }
    let all: Vec<String> = (0..VALUES).map(|n| format!("k{n}")).collect();
    assert_eq!(keys, all);
    writer.await.expect("no panic");
}

async fn a_generation_lasts_while_values_do(bus: &dyn Bus) {
    let generation = bus.generation("lasting").await.expect("the bucket has a name");
    for value in ["1", "2"] {
        for key in ["a", "b", "c"] {
            put(bus, "lasting", key, value).await;
            let now = bus.generation("lasting").await.expect("the bucket has a name");
            assert_eq!(now, generation);
        }
    }
}

async fn a_bad_key_is_refused(bus: &dyn Bus) {
    for key in ["", "a b", "a..b", "a.", ".a", "é", "/life", "*", ">", &"x".repeat(256)] {
        let refused = bus.put("keys", key, Bytes::new()).await;
        assert!(matches!(refused, Err(BusError::InvalidKey { .. })), "{key:?}");
        let refused = bus.get("keys", key).await;
        assert!(matches!(refused, Err(BusError::InvalidKey { .. })), "{key:?}");
    }
}

async fn what_is_too_long_is_refused(bus: &dyn Bus) {
    let longest = Bytes::from(vec![b'x'; MAX_VALUE_BYTES]);
    let longer = Bytes::from(vec![b'x'; MAX_VALUE_BYTES + 1]);
    bus.put("long", "a", longest.clone()).await.expect("the longest fits");
    let mut watch = bus.watch("long", 0).await.expect("watch answers");
    assert_eq!(next(&mut watch).await.value, longest);
    let refused = bus.put("long", "a", longer.clone()).await;
    assert!(matches!(refused, Err(BusError::TooLong { .. })));
    let refused = bus.publish(STREAM, "long", longer).await;
    assert!(matches!(refused, Err(BusError::TooLong { .. })));
}

async fn an_unknown_stream_is_refused(bus: &dyn Bus) {
    let refused = bus.publish("unknown", "1", Bytes::new()).await;
    assert!(matches!(refused, Err(BusError::Unavailable(_))));
    assert!(bus.consume("unknown", CONSUMERS[0]).await.is_err());
    assert!(bus.consume(STREAM, "unknown").await.is_err());
}

async fn a_message_reaches_every_consumer<B: Bus + 'static>(bus: Arc<B>) {
    let publisher = {
        let bus = bus.clone();
        tokio::spawn(async move { bus.publish(STREAM, "batch-1", Bytes::from("42")).await })
    };
    for &name in CONSUMERS {
        let delivery = delivered(&*bus, name).await;
        assert_eq!(delivery.id(), "batch-1");
        assert_eq!(delivery.payload(), "42");
        delivery.acknowledge().await.expect("the bus takes it");
    }
    publisher.await.expect("no panic").expect("the message is safe");
}

async fn a_message_comes_again_until_it_is_acknowledged<B: Bus + 'static>(bus: Arc<B>) {
    let publisher = tokio::spawn(publish_until_safe(bus.clone(), "again"));
    for _ in 0..2 {
        let given_up = delivered(&*bus, CONSUMERS[0]).await;
        assert_eq!(given_up.id(), "again");
    }
    for &name in CONSUMERS {
        let delivery = delivered(&*bus, name).await;
        assert_eq!((delivery.id(), &delivery.payload()[..]), ("again", &b"again"[..]));
        delivery.acknowledge().await.expect("the bus takes it");
    }
    publisher.await.expect("no panic");
}

async fn a_message_published_again_keeps_its_id<B: Bus + 'static>(bus: Arc<B>) {
    let publisher = {
        let bus = bus.clone();
        tokio::spawn(async move {
            for id in ["same", "same", "after"] {
                publish_until_safe(bus.clone(), id).await;
            }
        })
    };
    let read = CONSUMERS.iter().map(|&name| {
        let bus = bus.clone();
        tokio::spawn(async move {
            let mut consumer = bus.consume(STREAM, name).await.expect("consume answers");
            let mut ids = Vec::new();
            while ids.last().is_none_or(|last| last != "after") {
                let delivery = timeout(DEADLINE, consumer.next()).await.expect("one comes");
                let delivery = delivery.expect("the bus is there");
                ids.push(delivery.id().to_owned());
                delivery.acknowledge().await.expect("the bus takes it");
            }
            ids
        })
    });
    for ids in read.collect::<Vec<_>>() {
        let ids = ids.await.expect("no panic");
        // Once or twice: whoever counts has to count by id.
        assert!(ids == ["same", "after"] || ids == ["same", "same", "after"], "{ids:?}");
    }
    publisher.await.expect("no panic");
}

/// As a publisher does: until the bus says that the message is safe.
async fn publish_until_safe<B: Bus>(bus: Arc<B>, id: &str) {
    while bus.publish(STREAM, id, Bytes::from(id.to_owned())).await.is_err() {}
}

async fn delivered(bus: &dyn Bus, consumer: &str) -> Box<dyn Delivery> {
    let mut consumer = bus.consume(STREAM, consumer).await.expect("consume answers");
    let delivery = timeout(DEADLINE, consumer.next()).await.expect("a message comes");
    delivery.expect("the bus is there")
}

async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < end, "waited for {what}");
        tokio::time::sleep(QUIET).await;
    }
}

async fn put(bus: &dyn Bus, bucket: &str, key: &str, value: &str) {
    bus.put(bucket, key, Bytes::from(value.to_owned())).await.expect("put answers");
}

async fn next(watch: &mut Box<dyn Watch>) -> Entry {
    timeout(DEADLINE, watch.next()).await.expect("an entry comes").expect("the bus is there")
}

fn text(entry: &Entry) -> (String, String) {
    (entry.key.clone(), String::from_utf8_lossy(&entry.value).into_owned())
}
