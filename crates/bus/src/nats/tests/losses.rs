//! Values that the server has acknowledged are lost; their writer and readers get to know.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::json;

use super::server::Server;
use super::{DEADLINE, eventually, keeper, next, put, reader};
use crate::conformance::check_loss;
use crate::nats::NatsBus;
use crate::{Bus, Bytes};

const STREAM: &str = "KV_lost";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_deleted_store_is_another_life() {
    let mut server = Server::start("").await;
    let bus = keeper(&server).await;
    check_loss(bus, "lost", async |bus| {
        server.kill();
        fs::remove_dir_all(server.folder().join("jetstream")).unwrap();
        server.start_again();
        bus
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_deleted_bucket_is_made_again_for_another_life() {
    let server = Server::start("").await;
    check_loss(keeper(&server).await, "lost", async |bus| {
        call(&bus, "STREAM.DELETE", json!({})).await;
        bus
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_purged_bucket_begins_another_life() {
    let server = Server::start("").await;
    check_loss(keeper(&server).await, "lost", async |bus| {
        call(&bus, "STREAM.PURGE", json!({})).await;
        bus
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn one_purged_value_is_noticed() {
    let server = Server::start("").await;
    check_loss(keeper(&server).await, "lost", async |bus| {
        bus.generation("lost").await.unwrap();
        call(&bus, "STREAM.PURGE", json!({"filter": "$KV.lost.k7"})).await;
        bus
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_flipped_bit_that_takes_values_with_it_is_noticed() {
    let mut server = Server::start("").await;
    check_loss(keeper(&server).await, "lost", async |bus| {
        bus.generation("lost").await.unwrap();
        server.kill();
        flip_a_bit(&server.stream_folder(STREAM).join("msgs"));
        server.start_again();
        bus
    })
    .await;
}

/// The writer's process is new, too, so that it knows no more than the mark says.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_flipped_bit_is_noticed_by_a_new_process() {
    let mut server = Server::start("").await;
    check_loss(keeper(&server).await, "lost", async |bus| {
        bus.generation("lost").await.unwrap();
        drop(bus);
        server.kill();
        flip_a_bit(&server.stream_folder(STREAM).join("msgs"));
        server.start_again();
        keeper(&server).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_store_put_back_from_a_backup_is_noticed_while_its_writer_runs() {
    let mut server = Server::start("").await;
    let bus = keeper(&server).await;
    put(&bus, "lost", "k0", "early").await;
    server.kill();
    let (store, backup) = (server.folder().join("jetstream"), server.folder().join("backup"));
    copy(&store, &backup);
    server.start_again();
    eventually("the server", async || bus.generation("lost").await).await;
    check_loss(bus, "lost", async |bus| {
        bus.generation("lost").await.unwrap();
        server.kill();
        fs::remove_dir_all(&store).unwrap();
        copy(&backup, &store);
        server.start_again();
        bus
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn an_operator_can_begin_another_life() {
    let server = Server::start("").await;
    check_loss(keeper(&server).await, "lost", async |bus| {
        bus.renew("lost").await.unwrap();
        bus
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_generation_outlives_restarts_and_is_the_same_for_all() {
    let mut server = Server::start("").await;
    let bus = keeper(&server).await;
    let generation = bus.generation("lasting").await.unwrap();
    put(&bus, "lasting", "a", "1").await;
    assert_eq!(reader(&server).await.generation("lasting").await.unwrap(), generation);
    server.kill();
    server.start_again();
    let after = eventually("the server", async || bus.generation("lasting").await).await;
    assert_eq!(after, generation);
    drop(bus);
    assert_eq!(keeper(&server).await.generation("lasting").await.unwrap(), generation);
}

/// A second process that keeps the same bucket, as in a change of leaders, begins no life of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn two_keepers_agree_on_the_life_of_a_new_bucket() {
    let server = Server::start("").await;
    let (one, other) = (keeper(&server).await, keeper(&server).await);
    let (a, b) = tokio::join!(one.generation("new"), other.generation("new"));
    assert_eq!(a.unwrap(), b.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_watch_of_a_bucket_that_is_made_again_ends_or_gives_all() {
    let server = Server::start("").await;
    let bus = keeper(&server).await;
    for n in 0..5 {
        put(&bus, "lost", &format!("k{n}"), "before").await;
    }
    let mut watch = reader(&server).await.watch("lost", 0).await.unwrap();
    for _ in 0..5 {
        next(&mut watch).await;
    }
    call(&bus, "STREAM.DELETE", json!({})).await;
    put(&bus, "lost", "k0", "after").await;
    let told = tokio::time::timeout(DEADLINE, watch.next()).await.expect("the watch isn't stuck");
    if let Ok(entry) = told {
        assert_eq!(entry.value, Bytes::from("after"));
    }
}

async fn call(bus: &Arc<NatsBus>, call: &str, body: serde_json::Value) {
    let call = format!("{call}.{STREAM}");
    let _: IgnoredAny = bus.link.call("$JS.API", &call, &body).await.unwrap();
}

/// In the middle of the longest block file.
fn flip_a_bit(messages: &Path) {
    let files = fs::read_dir(messages).unwrap().map(|file| file.unwrap().path());
    let blocks = files.filter(|file| file.extension().is_some_and(|ending| ending == "blk"));
    let block = blocks.max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
    let mut bytes = fs::read(&block).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(block, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-r").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}
