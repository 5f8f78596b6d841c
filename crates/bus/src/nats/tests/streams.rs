//! Streams: facts that each consumer gets, and that nobody loses.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::timeout;

use super::server::Server;
use super::{DEADLINE, eventually, keeper, layout, reader, stream};
use crate::conformance::{CONSUMERS, STREAM};
use crate::nats::check::{Gravity, Problem, Standard};
use crate::nats::{Layout, NatsBus};
use crate::{Bus, BusError, Bytes};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_full_stream_makes_publishers_wait_and_loses_nothing() {
    let server = Server::start("").await;
    let bus = keeper(&server).await;
    let payload = Bytes::from(vec![b'x'; 100_000]);
    let mut stored = 0;
    let told = loop {
        let id = stored.to_string();
        match bus.publish(STREAM, &id, payload.clone()).await {
            Ok(()) => stored += 1,
            Err(told) => break told,
        }
    };
    assert!(matches!(&told, BusError::Unavailable(why) if why.contains("is full")), "{told}");
    for &name in CONSUMERS {
        let mut consumer = bus.consume(STREAM, name).await.unwrap();
        for n in 0..stored {
            let delivery = timeout(DEADLINE, consumer.next()).await.expect("all come").unwrap();
            assert_eq!(delivery.id(), n.to_string());
            delivery.acknowledge().await.unwrap();
        }
    }
    // Acknowledged by all, so there is room again.
    let publish = async || bus.publish(STREAM, &stored.to_string(), payload.clone()).await;
    eventually("room in the stream", publish).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_message_stays_until_its_last_consumer_has_it() {
    let server = Server::start("").await;
    let bus = keeper(&server).await;
    bus.publish(STREAM, "1", Bytes::from("x")).await.unwrap();
    let messages = async || {
        let info: Info =
            bus.link.call("$JS.API", &format!("STREAM.INFO.{STREAM}"), &json!({})).await.unwrap();
        info.state.messages
    };
    for &name in CONSUMERS {
        assert_eq!(messages().await, 1, "before {name}");
        let delivery = bus.consume(STREAM, name).await.unwrap().next().await.unwrap();
        delivery.acknowledge().await.unwrap();
    }
    eventually("it to be dropped", async || match messages().await {
        0 => Ok(()),
        more => Err(more),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_message_survives_its_consumers_process() {
    let server = Server::start("").await;
    let bus = keeper(&server).await;
    bus.publish(STREAM, "1", Bytes::from("x")).await.unwrap();
    // A process that dies says nothing: its delivery is forgotten without a word.
    let other = reader(&server).await;
    let delivery = other.consume(STREAM, CONSUMERS[0]).await.unwrap().next().await.unwrap();
    std::mem::forget(delivery);
    drop(other);
    let mut consumer = bus.consume(STREAM, CONSUMERS[0]).await.unwrap();
    let again = timeout(DEADLINE, consumer.next()).await.expect("it comes again").unwrap();
    assert_eq!(again.id(), "1");
    again.acknowledge().await.unwrap();
}

/// Publishers that are faster than whoever declares the stream.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn nothing_is_taken_before_all_consumers_are_there() {
    let server = Server::start("").await;
    let (declaring, publisher) = (reader(&server).await, reader(&server).await);
    let consumers: Vec<String> = (0..8).map(|n| format!("c{n}")).collect();
    let publishing = tokio::spawn(async move {
        while publisher.publish("early", "1", Bytes::from("x")).await.is_err() {}
    });
    let layout = Layout { streams: vec![stream("early", consumers.clone())], buckets: vec![] };
    declaring.declare(layout).await.unwrap();
    publishing.await.unwrap();
    for name in &consumers {
        let mut consumer = declaring.consume("early", name).await.unwrap();
        let delivery = timeout(DEADLINE, consumer.next()).await.expect("each has it").unwrap();
        assert_eq!(delivery.id(), "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_declared_server_is_found_fit_and_a_changed_one_is_not() {
    let server = Server::start("").await;
    let bus = keeper(&server).await;
    let mut declared = layout();
    declared.buckets = vec![super::bucket("regions")];
    bus.declare(declared.clone()).await.unwrap();
    let problems = async |bus: &NatsBus, standard| {
        let findings = bus.check_server(&declared, standard).await.unwrap();
        findings.into_iter().map(|f| (f.gravity, f.problem)).collect::<Vec<_>>()
    };
    let single = problems(&bus, Standard::SingleServer).await;
    assert_eq!(single, [(Gravity::Warn, Problem::SyncUnknown)]);
    let few = |stream: &str| {
        let problem = Problem::FewReplicas { stream: stream.into(), replicas: 1 };
        (Gravity::Refuse, problem)
    };
    let cluster = problems(&bus, Standard::Cluster).await;
    assert_eq!(cluster, [few("KV_regions"), few(STREAM)]);

    let mut info: serde_json::Value =
        bus.link.call("$JS.API", "STREAM.INFO.KV_regions", &json!({})).await.unwrap();
    info["config"]["discard"] = json!("old");
    let _: IgnoredAny =
        bus.link.call("$JS.API", "STREAM.UPDATE.KV_regions", &info["config"]).await.unwrap();
    let call = format!("CONSUMER.DELETE.{STREAM}.{}", CONSUMERS[1]);
    let _: IgnoredAny = bus.link.call("$JS.API", &call, &json!({})).await.unwrap();
    let found = problems(&bus, Standard::Cluster).await;
    let discards = Problem::DiscardsOld { stream: "KV_regions".into() };
    assert!(found.contains(&(Gravity::Refuse, discards)), "{found:?}");
    let what = format!("consumer {} of stream {STREAM}", CONSUMERS[1]);
    assert!(found.contains(&(Gravity::Warn, Problem::Missing { what })), "{found:?}");
    // What is missing is made again; what is there is left as an operator has made it.
    bus.declare(declared.clone()).await.unwrap();
    let found = problems(&bus, Standard::Cluster).await;
    assert_eq!(found.len(), 3, "{found:?}");
}

#[derive(Deserialize)]
struct Info {
    state: State,
}

#[derive(Deserialize)]
struct State {
    messages: u64,
}
