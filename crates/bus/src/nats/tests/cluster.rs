//! Three servers, of which any may die.

use std::time::Instant;

use serde_json::json;

use super::server::Server;
use super::{bucket, eventually, free_port, next_is, put, stream};
use crate::nats::check::Standard;
use crate::nats::{Layout, NatsBus, Options};
use crate::{Bus, Bytes};

const BUCKET: &str = "regions";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_cluster_outlives_each_of_its_servers_in_turn() {
    let mut servers = cluster().await;
    let urls: Vec<String> = servers.iter().map(Server::url).collect();
    let options = Options { urls, keeps: vec!["*".into()], ..Options::new("", "keeper") };
    let bus = NatsBus::connect(options.clone()).await.unwrap();
    let (mut bucket, mut stream) = (bucket(BUCKET), stream("facts", vec!["counts".into()]));
    (bucket.replicas, stream.replicas) = (3, 3);
    let layout = Layout { buckets: vec![bucket], streams: vec![stream] };
    eventually("the cluster", async || bus.declare(layout.clone()).await).await;
    let generation = bus.generation(BUCKET).await.unwrap();
    put(&bus, BUCKET, "a", "0").await;
    let reader = NatsBus::connect(Options { keeps: vec![], ..options }).await.unwrap();
    let mut watch = reader.watch(BUCKET, 0).await.unwrap();
    next_is(&mut watch, "a", "0").await;
    eventually("a cluster that is fit", async || {
        let findings = bus.check_server(&layout, Standard::Cluster).await;
        match findings.as_deref() {
            Ok([]) => Ok(()),
            _ => Err(findings),
        }
    })
    .await;

    for round in 1..=3 {
        let value = round.to_string();
        let leader = leader(&bus).await;
        servers[leader].kill();
        let killed = Instant::now();
        let write = async || bus.put(BUCKET, "a", Bytes::from(value.clone())).await;
        eventually("another leader", write).await;
        println!("put {:?} after the leader was killed", killed.elapsed());
        eventually("the stream's leader", async || {
            bus.publish("facts", &value, Bytes::from("x")).await
        })
        .await;
        // The watch goes on, or says that it is lost.
        loop {
            match watch.next().await {
                Ok(entry) if entry.value == value => break,
                Ok(_) => {}
                Err(_) => {
                    let again = async || reader.watch(BUCKET, 0).await;
                    watch = eventually("the reader's server", again).await;
                }
            }
        }
        servers[leader].start_again();
        let looked = async || bus.generation(BUCKET).await;
        assert_eq!(eventually("a look", looked).await, generation, "nothing was lost");
        eventually("the killed server to catch up", async || {
            let findings = bus.check_server(&layout, Standard::Cluster).await;
            match findings.as_deref() {
                Ok([]) => Ok(()),
                _ => Err(findings),
            }
        })
        .await;
    }
}

async fn cluster() -> Vec<Server> {
    let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let urls: Vec<String> =
        routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
    let mut servers = Vec::new();
    for (n, port) in routes.iter().enumerate() {
        let config = format!(
            "server_name: n{n}\ncluster {{ name: c, listen: \"127.0.0.1:{port}\",
            routes: [{}] }}",
            urls.join(", ")
        );
        servers.push(Server::start(&config).await);
    }
    servers
}

/// The number of the server that leads the bucket.
async fn leader(bus: &NatsBus) -> usize {
    let call = format!("STREAM.INFO.KV_{BUCKET}");
    let info = async || -> Result<serde_json::Value, _> {
        bus.link
            .in_time("looking", async {
                let info = bus.link.call("$JS.API", &call, &json!({})).await;
                info.map_err(|failed| failed.about("the bucket"))
            })
            .await
    };
    let info = eventually("the bucket's leader", info).await;
    let name = info["cluster"]["leader"].as_str().unwrap();
    name.trim_start_matches('n').parse().unwrap()
}
