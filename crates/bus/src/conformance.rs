//! What every backend of the bus promises: one suite, run on each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::{Bus, BusError, Entry, Watch};

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
    an_empty_bucket_is_watched_without_a_value(&*bus).await;
    a_bad_key_is_refused(&*bus).await;
    a_message_reaches_every_consumer(bus).await;
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

async fn an_empty_bucket_is_watched_without_a_value(bus: &dyn Bus) {
    let mut watch = bus.watch("empty", 0).await.expect("watch answers");
    assert!(timeout(QUIET, watch.next()).await.is_err(), "nothing was put there");
    put(bus, "empty", "a", "1").await;
    assert_eq!(text(&next(&mut watch).await), ("a".into(), "1".into()));
}

async fn a_bad_key_is_refused(bus: &dyn Bus) {
    for key in ["", "a b", "a..b", "a.", ".a", "é", &"x".repeat(256)] {
        let refused = bus.put("keys", key, Bytes::new()).await;
        assert!(matches!(refused, Err(BusError::InvalidKey { .. })), "{key:?}");
    }
}

async fn a_message_reaches_every_consumer<B: Bus + 'static>(bus: Arc<B>) {
    let publisher = {
        let bus = bus.clone();
        tokio::spawn(async move { bus.publish(STREAM, "batch-1", Bytes::from("42")).await })
    };
    for &name in CONSUMERS {
        let mut consumer = bus.consume(STREAM, name).await.expect("consume answers");
        let delivery = timeout(DEADLINE, consumer.next())
            .await
            .expect("a message comes")
            .expect("the bus is there");
        assert_eq!(delivery.id(), "batch-1");
        assert_eq!(delivery.payload(), "42");
        delivery.acknowledge().await.expect("the bus takes it");
    }
    publisher.await.expect("no panic").expect("the message is safe");
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
