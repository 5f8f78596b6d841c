//! What readers are given, and how much of it at a time.

use std::time::Duration;

use async_nats::HeaderMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::server::Server;
use super::{eventually, keeper, next, next_is, put, reader};
use crate::nats::OPERATION_TIMEOUT;
use crate::{Bus, BusError, Bytes, MAX_VALUE_BYTES};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn bare_deletions_and_other_peoples_keys_mean_nothing() {
    let server = Server::start("").await;
    let bus = keeper(&server).await;
    put(&bus, "odd", "a", "1").await;
    let mut watch = reader(&server).await.watch("odd", 0).await.unwrap();
    next_is(&mut watch, "a", "1").await;
    let raw = async |key: &str, operation: Option<&str>| {
        let mut headers = HeaderMap::new();
        if let Some(operation) = operation {
            headers.insert("KV-Operation", operation);
        }
        let subject = format!("$KV.odd.{key}");
        bus.link.ask(&subject, headers, Bytes::from("x")).await.unwrap();
    };
    raw("a", Some("DEL")).await;
    raw("b", Some("PURGE")).await;
    raw("sub/key", None).await;
    raw("c", None).await;
    let entry = next(&mut watch).await;
    assert_eq!((entry.key.as_str(), &entry.value[..]), ("c", &b"x"[..]));
    assert_eq!(bus.get("odd", "a").await.unwrap(), None);
    // A key that was deleted is written again like any other.
    put(&bus, "odd", "a", "2").await;
    next_is(&mut watch, "a", "2").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_slow_reader_holds_a_bounded_part() {
    const VALUES: u64 = 24;
    let server = Server::start("").await;
    let bus = keeper(&server).await;
    let longest = Bytes::from(vec![b'x'; MAX_VALUE_BYTES]);
    for n in 0..VALUES {
        bus.put("big", &format!("k{n}"), longest.clone()).await.unwrap();
    }
    let mut watch = reader(&server).await.watch("big", 0).await.unwrap();
    next(&mut watch).await;
    let handed_out = async || {
        let list: Consumers =
            bus.link.call("$JS.API", "CONSUMER.LIST.KV_big", &json!({})).await.unwrap();
        list.consumers[0].delivered.consumer_seq
    };
    let mut last = 0;
    eventually("the server to send no more", async || {
        sleep(Duration::from_millis(200)).await;
        let before = std::mem::replace(&mut last, handed_out().await);
        if before == last { Ok(()) } else { Err(last) }
    })
    .await;
    assert!(last <= 4, "{last} MiB wait for a reader who does not read");
    for _ in 1..VALUES {
        assert_eq!(next(&mut watch).await.value.len(), MAX_VALUE_BYTES);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_watch_goes_on_when_its_consumer_is_gone() {
    let server = Server::start("").await;
    let bus = keeper(&server).await;
    put(&bus, "gone", "a", "1").await;
    let mut watch = reader(&server).await.watch("gone", 0).await.unwrap();
    next_is(&mut watch, "a", "1").await;
    let waiting = tokio::spawn(async move { next(&mut watch).await });
    let list: Consumers =
        bus.link.call("$JS.API", "CONSUMER.LIST.KV_gone", &json!({})).await.unwrap();
    let call = format!("CONSUMER.DELETE.KV_gone.{}", list.consumers[0].name);
    let _: IgnoredAny = bus.link.call("$JS.API", &call, &json!({})).await.unwrap();
    put(&bus, "gone", "b", "2").await;
    assert_eq!(waiting.await.unwrap().key, "b");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_bucket_that_nobody_declared_is_named_in_the_error() {
    let server = Server::start("").await;
    let bus = reader(&server).await;
    let told = [
        bus.get("nowhere", "a").await.map(drop),
        bus.watch("nowhere", 0).await.map(drop),
        bus.generation("nowhere").await.map(drop),
        bus.put("nowhere", "a", Bytes::new()).await.map(drop),
    ];
    for told in told {
        let told = told.unwrap_err().to_string();
        assert!(told.contains("bucket nowhere isn't there"), "{told}");
    }
    let refused = bus.put("no.where", "a", Bytes::new()).await;
    assert!(matches!(refused, Err(BusError::InvalidKey { .. })));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_quiet_bucket_is_watched_beyond_every_time_limit() {
    let server = Server::start("").await;
    let bus = keeper(&server).await;
    put(&bus, "quiet", "a", "1").await;
    let mut watch = reader(&server).await.watch("quiet", 0).await.unwrap();
    next_is(&mut watch, "a", "1").await;
    // Longer than a request for messages lasts.
    let quiet = timeout(OPERATION_TIMEOUT * 7, watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    put(&bus, "quiet", "b", "2").await;
    next_is(&mut watch, "b", "2").await;
}

/// How fast it is, for the README: not a promise.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_large_bucket_is_read_whole() {
    const VALUES: usize = 5_000;
    let server = Server::start("").await;
    let bus = keeper(&server).await;
    let value = Bytes::from(vec![b'x'; 600]);
    let started = std::time::Instant::now();
    for n in 0..VALUES {
        bus.put("large", &format!("k{n}.example"), value.clone()).await.unwrap();
    }
    println!("{VALUES} puts one after another: {:?}", started.elapsed());
    let started = std::time::Instant::now();
    let mut watch = reader(&server).await.watch("large", 0).await.unwrap();
    for n in 0..VALUES {
        assert_eq!(next(&mut watch).await.key, format!("k{n}.example"));
    }
    println!("{VALUES} read: {:?}", started.elapsed());
    let mut slowest = Duration::ZERO;
    let mut all = Duration::ZERO;
    for n in 0..200 {
        let started = std::time::Instant::now();
        put(&bus, "large", "k0.example", &n.to_string()).await;
        next(&mut watch).await;
        all += started.elapsed();
        slowest = slowest.max(started.elapsed());
    }
    println!("put to watch: mean {:?}, slowest {slowest:?}", all / 200);
}

#[derive(Deserialize)]
struct Consumers {
    consumers: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    delivered: Delivered,
}

#[derive(Deserialize)]
struct Delivered {
    consumer_seq: u64,
}
