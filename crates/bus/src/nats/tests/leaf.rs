//! A leaf: a server beside its edges that mirrors the hub's buckets, and serves them without it.

use std::sync::Arc;
use std::time::Instant;

use serde::de::IgnoredAny;
use serde_json::json;

use super::server::Server;
use super::{bucket, eventually, free_port, keeper_with, next, next_is, put};
use crate::nats::{BucketPlan, Layout, NatsBus, Options};
use crate::{Bus, Bytes};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_leafs_reader_needs_no_hub_and_catches_up_with_it() {
    let leafs = free_port();
    let mut hub = Server::start(&hub_config(leafs)).await;
    let leaf = Server::start(&leaf_config(leafs)).await;
    let writer = keeper_with(Options::new(&hub.url(), "writer")).await;
    for n in 0..20 {
        put(&writer, "regions", &format!("k{n}"), "1").await;
    }
    let reader = mirroring(&leaf).await;
    let started = Instant::now();
    let mut watch = reader.watch("regions", 0).await.unwrap();
    next_is(&mut watch, "k19", "1").await;
    println!("mirrored after {:?}", started.elapsed());

    hub.kill();
    let mut again = reader.watch("regions", 0).await.unwrap();
    next_is(&mut again, "k19", "1").await;
    reader.generation("regions").await.unwrap();
    let refused = reader.put("regions", "k0", Bytes::from("2")).await;
    assert!(refused.is_err(), "nobody takes it while the hub is dead");

    hub.start_again();
    let write = async || writer.put("regions", "k1", Bytes::from("2")).await;
    eventually("the hub", write).await;
    let started = Instant::now();
    next_is(&mut watch, "k1", "2").await;
    println!("caught up after {:?}", started.elapsed());
    // Putting and getting at a leaf are the hub's.
    let write = async || reader.put("regions", "k2", Bytes::from("3")).await;
    eventually("the hub from the leaf", write).await;
    let stored = reader.get("regions", "k2").await.unwrap().unwrap();
    assert_eq!(stored.value, Bytes::from("3"));
    next_is(&mut watch, "k2", "3").await;
}

/// A mirror passes over sequences that it has had. They never come again, so it misses nothing of a
/// bucket's next life.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_mirror_follows_its_bucket_into_another_life() {
    let leafs = free_port();
    let hub = Server::start(&hub_config(leafs)).await;
    let leaf = Server::start(&leaf_config(leafs)).await;
    let writer = keeper_with(Options::new(&hub.url(), "writer")).await;
    for n in 0..50 {
        put(&writer, "regions", &format!("k{n}"), "1").await;
    }
    let reader = mirroring(&leaf).await;
    let mut watch = reader.watch("regions", 0).await.unwrap();
    next_is(&mut watch, "k49", "1").await;
    for value in ["2", "3"] {
        let before = reader.generation("regions").await.unwrap();
        if value == "2" {
            writer.renew("regions").await.unwrap();
        } else {
            let call = "STREAM.DELETE.KV_regions";
            let _: IgnoredAny = writer.link.call("$JS.API", call, &json!({})).await.unwrap();
            writer.generation("regions").await.unwrap();
        }
        for n in 0..10 {
            put(&writer, "regions", &format!("k{n}"), value).await;
        }
        for n in 0..10 {
            loop {
                let entry = next(&mut watch).await;
                if entry.value == value {
                    assert_eq!(entry.key, format!("k{n}"));
                    break;
                }
            }
        }
        eventually("the leaf to tell of another life", async || {
            let now = reader.generation("regions").await;
            if now.as_ref().is_ok_and(|now| *now != before) { Ok(()) } else { Err(now) }
        })
        .await;
    }
}

/// The bus of a process at the leaf, which mirrors what it reads.
async fn mirroring(leaf: &Server) -> Arc<NatsBus> {
    let options = Options::new(&leaf.url(), "reader");
    let options = Options { home_domain: Some("hub".into()), ..options };
    let bus = NatsBus::connect(options).await.unwrap();
    let reach = async || bus.link.call::<IgnoredAny>("$JS.hub.API", "INFO", &json!({})).await;
    eventually("the leaf to reach the hub", reach).await;
    let mirror = BucketPlan { mirror_of: Some("hub".into()), ..bucket("regions") };
    bus.declare(Layout { buckets: vec![mirror], streams: vec![] }).await.unwrap();
    bus
}

fn hub_config(leafs: u16) -> String {
    format!(
        "server_name: hub\njetstream {{ store_dir: \"@FOLDER/jetstream\", domain: hub }}
        leafnodes {{ listen: \"127.0.0.1:{leafs}\" }}"
    )
}

fn leaf_config(leafs: u16) -> String {
    format!(
        "server_name: leaf\njetstream {{ store_dir: \"@FOLDER/jetstream\", domain: leaf }}
        leafnodes {{ remotes: [ {{ url: \"nats-leaf://127.0.0.1:{leafs}\" }} ] }}"
    )
}
