//! Against a real nats-server, one for each test, on loopback and in a folder of its own.
//!
//! `cargo test -p bus nats -- --ignored --test-threads 1`. The server comes with `tests/install`.

mod access;
mod cluster;
mod faults;
mod leaf;
mod losses;
mod reading;
mod server;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::server::Server;
use super::{BucketPlan, Layout, NatsBus, Options, StreamPlan};
use crate::{Bus, Bytes, Entry, Watch, conformance};

/// Longer than anything here takes on a busy machine: a client that finds its server again needs up
/// to ten seconds, a leaf's mirror twenty.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn the_nats_bus_conforms() {
    let server = Server::start("").await;
    conformance::check(keeper(&server).await).await;
}

/// The bus of a process that may do everything, and keeps all buckets.
async fn keeper(server: &Server) -> Arc<NatsBus> {
    keeper_with(Options::new(&server.url(), "keeper")).await
}

async fn keeper_with(options: Options) -> Arc<NatsBus> {
    let options = Options { keeps: vec!["*".into()], ..options };
    let bus = NatsBus::connect(options).await.unwrap();
    eventually("the server to be there", async || bus.declare(layout()).await).await;
    bus
}

/// A bus that only reads, with every permission.
async fn reader(server: &Server) -> Arc<NatsBus> {
    NatsBus::connect(Options::new(&server.url(), "reader")).await.unwrap()
}

fn layout() -> Layout {
    let consumers = conformance::CONSUMERS.iter().map(|&name| name.to_owned()).collect();
    Layout { buckets: vec![bucket("*")], streams: vec![stream(conformance::STREAM, consumers)] }
}

fn bucket(name: &str) -> BucketPlan {
    BucketPlan { name: name.into(), replicas: 1, max_bytes: 1 << 30, mirror_of: None }
}

fn stream(name: &str, consumers: Vec<String>) -> StreamPlan {
    StreamPlan { name: name.into(), consumers, replicas: 1, max_bytes: 1 << 20 }
}

/// For what a server can't be asked for after its start.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Tries until it succeeds, and tells at the end what it saw last.
async fn eventually<T, E: std::fmt::Debug>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        match attempt().await {
            Ok(found) => return found,
            Err(seen) if Instant::now() > end => panic!("waited for {what}; last: {seen:?}"),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn put(bus: &NatsBus, bucket: &str, key: &str, value: &str) -> u64 {
    bus.put(bucket, key, Bytes::from(value.to_owned())).await.unwrap()
}

async fn next(watch: &mut Box<dyn Watch>) -> Entry {
    tokio::time::timeout(DEADLINE, watch.next()).await.expect("an entry comes").unwrap()
}

/// Reads until this key has this value.
async fn next_is(watch: &mut Box<dyn Watch>, key: &str, value: &str) {
    loop {
        let entry = next(watch).await;
        if entry.key == key && entry.value == value {
            return;
        }
    }
}
