//! The server dies, hangs, or is not there yet.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::server::Server;
use super::{DEADLINE, eventually, keeper, keeper_with, layout, next, next_is, put, reader};
use crate::conformance::{CONSUMERS, STREAM};
use crate::nats::{NatsBus, OPERATION_TIMEOUT, Options};
use crate::{Bus, BusError, Bytes};

/// What a call may take beyond its bound, on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_process_starts_before_its_server() {
    let mut server = Server::start("").await;
    server.kill();
    let bus = NatsBus::connect(Options::new(&server.url(), "early")).await.unwrap();
    let started = Instant::now();
    let told = bus.declare(layout()).await.unwrap_err().to_string();
    assert!(started.elapsed() < OPERATION_TIMEOUT + SLACK);
    assert!(told.contains("no connection to nats://127.0.0.1"), "{told}");
    assert!(!bus.health().connected);
    server.start_again();
    // The layout is known since: what it names is made when it is needed.
    eventually("the first put", async || bus.put("first", "a", Bytes::from("1")).await).await;
    assert!(bus.health().connected);
    let stored = bus.get("first", "a").await.unwrap().unwrap();
    assert_eq!(stored.value, Bytes::from("1"));
    bus.publish(STREAM, "1", Bytes::from("1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn what_was_acknowledged_outlives_a_killed_server() {
    const KEYS: usize = 400;
    let mut server = Server::start("").await;
    let bus = keeper(&server).await;
    bus.generation("busy").await.unwrap();
    let mut watch = reader(&server).await.watch("busy", 0).await.unwrap();
    let (written, mut so_far) = watch::channel(0);
    let writer = {
        let bus = bus.clone();
        tokio::spawn(async move {
            let mut failed = 0;
            for n in 0..KEYS {
                let (key, id) = (format!("k{n}"), format!("m{n}"));
                while bus.put("busy", &key, Bytes::from("1")).await.is_err() {
                    failed += 1;
                }
                while bus.publish(STREAM, &id, Bytes::from("1")).await.is_err() {
                    failed += 1;
                }
                written.send_replace(n);
            }
            failed
        })
    };
    for at in [KEYS / 4, KEYS / 2] {
        so_far.wait_for(|n| *n >= at).await.unwrap();
        server.kill();
        server.start_again();
    }
    let failed = writer.await.unwrap();
    println!("{failed} calls failed and were made again");
    next_is(&mut watch, &format!("k{}", KEYS - 1), "1").await;
    for n in 0..KEYS {
        assert!(bus.get("busy", &format!("k{n}")).await.unwrap().is_some(), "k{n}");
    }
    for &name in CONSUMERS {
        let mut missing: std::collections::HashSet<_> =
            (0..KEYS).map(|n| format!("m{n}")).collect();
        let mut consumer = bus.consume(STREAM, name).await.unwrap();
        while !missing.is_empty() {
            let delivery = timeout(DEADLINE, consumer.next()).await.expect("all come").unwrap();
            missing.remove(delivery.id());
            delivery.acknowledge().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_hung_server_holds_nobody_for_long() {
    let server = Server::start("").await;
    let bus = keeper(&server).await;
    put(&bus, "hung", "a", "1").await;
    let mut watch = reader(&server).await.watch("hung", 0).await.unwrap();
    next_is(&mut watch, "a", "1").await;
    server.freeze();
    // First while the connection seems to be there, then while it is known to be dead.
    for round in 0..6 {
        let started = Instant::now();
        let value = Bytes::from(format!("late {round}"));
        let failed = tokio::join!(
            bus.put("hung", "a", value),
            async { bus.get("hung", "a").await.map(|_| 0) },
            async { bus.watch("hung", 0).await.map(|_| 0) },
            async { bus.generation("hung").await.map(|_| 0) },
            async { bus.publish(STREAM, "late", Bytes::new()).await.map(|()| 0) },
            async { bus.consume(STREAM, CONSUMERS[0]).await.map(|_| 0) },
        );
        let took = started.elapsed();
        assert!(took < OPERATION_TIMEOUT + SLACK, "round {round} took {took:?}");
        let failed = [failed.0, failed.1, failed.2, failed.3, failed.4, failed.5];
        for told in failed {
            assert!(matches!(told, Err(BusError::Unavailable(_))), "{told:?}");
        }
    }
    assert!(!bus.health().connected, "a hung server is given up");
    server.thaw();
    let thawed = Instant::now();
    let put = async || bus.put("hung", "a", Bytes::from("2")).await;
    eventually("the server to be back", put).await;
    println!("back after {:?}", thawed.elapsed());
    // The watch has said that it is lost, or goes on; it is not stuck.
    while let Ok(entry) = timeout(DEADLINE, watch.next()).await.expect("the watch isn't stuck") {
        if entry.value == "2" {
            break;
        }
    }
    let last = bus.get("hung", "a").await.unwrap().unwrap();
    assert_eq!(last.value, Bytes::from("2"), "what was given up lands on top of nothing");
}

/// A process whose put hangs on its way is replaced by another; its put arrives when the successor
/// has written the same key.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_put_that_was_given_up_never_lands_on_a_later_one() {
    let server = Server::start("").await;
    let slow = SlowLine::to(&server).await;
    let old = keeper_with(Options::new(&slow.url(), "keeper")).await;
    let successor = keeper(&server).await;
    for key in ["known", "unknown"] {
        put(&successor, "late", key, "1").await;
    }
    put(&old, "late", "known", "2").await;
    slow.hold();
    let late = |key: &'static str| {
        let old = old.clone();
        async move { old.put("late", key, Bytes::from("old")).await }
    };
    for gave_up in [late("known").await, late("unknown").await, late("new").await] {
        assert!(matches!(gave_up, Err(BusError::Unavailable(_))), "{gave_up:?}");
    }
    for key in ["known", "unknown", "new"] {
        put(&successor, "late", key, "new").await;
    }
    slow.release();
    // Whatever was on the line has arrived before this.
    eventually("the old process", async || old.put("late", "other", Bytes::new()).await).await;
    for key in ["known", "unknown", "new"] {
        let stored = successor.get("late", key).await.unwrap().unwrap();
        assert_eq!(stored.value, Bytes::from("new"), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_watch_goes_on_after_its_server_was_killed() {
    let mut server = Server::start("").await;
    let bus = keeper(&server).await;
    put(&bus, "on", "a", "1").await;
    let mut watch = reader(&server).await.watch("on", 0).await.unwrap();
    next_is(&mut watch, "a", "1").await;
    server.kill();
    server.start_again();
    eventually("the server", async || bus.put("on", "b", Bytes::from("2")).await).await;
    let entry = next(&mut watch).await;
    assert_eq!((entry.key.as_str(), &entry.value[..]), ("b", &b"2"[..]));
}

/// A line to a server on which everything can be held up, as on a network that is cut: nothing is
/// lost on it, and nothing gets through.
struct SlowLine {
    port: u16,
    open: watch::Sender<bool>,
}

impl SlowLine {
    async fn to(server: &Server) -> Arc<SlowLine> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, is_open) = watch::channel(true);
        let target = server.url().trim_start_matches("nats://").to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, is_open) = (target.clone(), is_open.clone());
                tokio::spawn(carry(client, target, is_open));
            }
        });
        Arc::new(SlowLine { port, open })
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn hold(&self) {
        self.open.send_replace(false);
    }

    fn release(&self) {
        self.open.send_replace(true);
    }
}

async fn carry(mut client: TcpStream, target: String, mut is_open: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    loop {
        if is_open.wait_for(|open| *open).await.is_err() {
            return;
        }
        tokio::select! {
            // Cut between two copies: bytes wait in the sockets.
            biased;
            _ = is_open.wait_for(|open| !*open) => {}
            _ = copy_bidirectional(&mut client, &mut server) => return,
        }
    }
}
