//! Who is let in, and to what.

use std::sync::Arc;
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::timeout;

use super::server::Server;
use super::{DEADLINE, bucket, eventually, next_is, put, stream};
use crate::nats::permissions::{Access, permissions};
use crate::nats::{Credentials, Layout, NatsBus, OPERATION_TIMEOUT, Options, Secret};
use crate::{Bus, BusError, Bytes};

/// What each of the processes here does.
fn parts() -> Vec<(&'static str, Access)> {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let pair = |one: &str, other: &str| vec![(one.to_owned(), other.to_owned())];
    let owner = Access {
        keeps: names(&["policies-eu-1"]),
        reads: names(&["edges"]),
        makes_buckets: names(&["policies-eu-1", "policies-us-1", "edges"]),
        makes_streams: vec![("facts".to_owned(), names(&["counts"]))],
        ..Access::default()
    };
    let edge = Access {
        reads: names(&["policies-eu-1"]),
        writes: pair("edges", "edge-1"),
        publishes: names(&["facts"]),
        ..Access::default()
    };
    let counter = Access { consumes: pair("facts", "counts"), ..Access::default() };
    vec![("owner", owner), ("edge-1", edge), ("counter", counter)]
}

struct World {
    server: Server,
}

impl World {
    async fn start() -> World {
        let users = parts().into_iter().map(|(name, access)| {
            let allowed = permissions(&access, &Options::new("nats://127.0.0.1", name));
            let allowed = allowed.to_config();
            format!("{{ user: \"{name}\", password: \"secret\", permissions: {allowed} }}")
        });
        let users = users.collect::<Vec<_>>().join("\n");
        let config = format!(
            "authorization {{ users: [ {users}\n {{ user: \"root\", password: \"secret\" }} ] }}"
        );
        World { server: Server::start(&config).await }
    }

    async fn bus(&self, name: &str, keeps: &[&str]) -> Arc<NatsBus> {
        let credentials =
            Credentials::Password { user: name.into(), password: Secret::new("secret") };
        let keeps = keeps.iter().map(|&name| name.to_owned()).collect();
        let options = Options { credentials, keeps, ..Options::new(&self.server.url(), name) };
        NatsBus::connect(options).await.unwrap()
    }

    /// The owner, after it has made everything.
    async fn owner(&self) -> Arc<NatsBus> {
        let owner = self.bus("owner", &["policies-eu-1"]).await;
        let layout = Layout {
            buckets: ["policies-eu-1", "policies-us-1", "edges"].map(bucket).to_vec(),
            streams: vec![stream("facts", vec!["counts".into()])],
        };
        eventually("everything to be made", async || owner.declare(layout.clone()).await).await;
        owner
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn each_can_do_its_part() {
    let world = World::start().await;
    let owner = world.owner().await;
    let edge = world.bus("edge-1", &[]).await;
    let counter = world.bus("counter", &[]).await;

    let generation = owner.generation("policies-eu-1").await.unwrap();
    put(&owner, "policies-eu-1", "a.example", "1").await;
    put(&owner, "policies-eu-1", "a.example", "2").await;
    let mut watch = edge.watch("policies-eu-1", 0).await.unwrap();
    next_is(&mut watch, "a.example", "2").await;
    assert_eq!(edge.generation("policies-eu-1").await.unwrap(), generation);
    assert!(edge.get("policies-eu-1", "a.example").await.unwrap().is_some());

    put(&edge, "edges", "edge-1", "at 1").await;
    put(&edge, "edges", "edge-1", "at 2").await;
    let mut edges = owner.watch("edges", 0).await.unwrap();
    next_is(&mut edges, "edge-1", "at 2").await;

    edge.publish("facts", "1", Bytes::from("x")).await.unwrap();
    let mut consumer = counter.consume("facts", "counts").await.unwrap();
    for _ in 0..2 {
        // Given up once, acknowledged then.
        let delivery = timeout(DEADLINE, consumer.next()).await.expect("it comes").unwrap();
        assert_eq!(delivery.id(), "1");
    }
    let delivery = timeout(DEADLINE, consumer.next()).await.expect("it comes").unwrap();
    delivery.acknowledge().await.unwrap();
    owner.renew("policies-eu-1").await.unwrap();
    assert_ne!(edge.generation("policies-eu-1").await.unwrap(), generation);
    for bus in [owner, edge, counter] {
        assert_eq!(bus.health().denied, 0, "{:?}", bus.health());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn everything_else_is_denied_at_once_and_by_name() {
    let world = World::start().await;
    let owner = world.owner().await;
    put(&owner, "policies-eu-1", "a.example", "1").await;
    let edge = world.bus("edge-1", &[]).await;
    let x = Bytes::from("x");
    eventually("a connection", async || edge.get("edges", "edge-1").await).await;
    let denied = [
        edge.put("policies-eu-1", "a.example", x.clone()).await.map(drop),
        edge.put("policies-us-1", "a.example", x.clone()).await.map(drop),
        edge.put("edges", "edge-2", x.clone()).await.map(drop),
        edge.get("policies-us-1", "a.example").await.map(drop),
        edge.watch("policies-us-1", 0).await.map(drop),
        edge.watch("edges", 0).await.map(drop),
        edge.generation("policies-us-1").await.map(drop),
        edge.consume("facts", "counts").await.map(drop),
        edge.renew("policies-eu-1").await,
        owner.put("edges", "edge-1", x.clone()).await.map(drop),
        owner.put("policies-us-1", "a.example", x.clone()).await.map(drop),
        owner.publish("facts", "1", x.clone()).await,
    ];
    for (n, told) in denied.into_iter().enumerate() {
        let told = told.expect_err(&format!("the {n}th")).to_string();
        assert!(
            told.contains("permissions deny this process $") || told.contains("streams."),
            "{n}: {told}"
        );
    }
    let started = Instant::now();
    edge.put("policies-eu-1", "a.example", x).await.unwrap_err();
    assert!(started.elapsed() < OPERATION_TIMEOUT / 2, "a denial is not waited out");
    assert!(edge.health().denied >= 10, "{:?}", edge.health());
    assert!(edge.health().last_fault.unwrap().contains("Permissions Violation"));
    let kept = owner.get("policies-eu-1", "a.example").await.unwrap().unwrap();
    assert_eq!(kept.value, Bytes::from("1"));
}

/// What a reader could have the server send where it can't itself, by a consumer that pushes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_reader_can_not_have_the_server_write_for_it() {
    let world = World::start().await;
    let owner = world.owner().await;
    let root = world.bus("root", &[]).await;
    put(&owner, "policies-eu-1", "a.example", "1").await;
    let edge = world.bus("edge-1", &[]).await;
    let targets = [
        "$KV.policies-us-1.a.example",
        "$KV.policies-eu-1.b.example",
        "streams.facts.edge-2",
        "$JS.API.STREAM.PURGE.KV_policies-us-1",
        "$JS.API.STREAM.DELETE.facts",
    ];
    let mut made = 0;
    for (n, target) in targets.into_iter().enumerate() {
        let all = "$KV.policies-eu-1.>";
        let call = format!("CONSUMER.CREATE.KV_policies-eu-1.evil{n}.{all}");
        let create = json!({"stream_name": "KV_policies-eu-1", "config": {
            "name": format!("evil{n}"), "deliver_subject": target, "deliver_policy": "all",
            "ack_policy": "none", "filter_subject": all}});
        let answer = edge.link.call::<IgnoredAny>("$JS.API", &call, &create);
        made +=
            usize::from(timeout(OPERATION_TIMEOUT, answer).await.is_ok_and(|made| made.is_ok()));
    }
    // The server makes them. It has sent what it sends once an honest consumer has its message.
    assert!(made > 0, "then nothing is shown here");
    let mut watch = edge.watch("policies-eu-1", 0).await.unwrap();
    next_is(&mut watch, "a.example", "1").await;
    put(&owner, "policies-eu-1", "c.example", "2").await;
    next_is(&mut watch, "c.example", "2").await;
    assert_eq!(root.get("policies-us-1", "a.example").await.unwrap(), None);
    assert_eq!(root.get("policies-eu-1", "b.example").await.unwrap(), None);
    let info: serde_json::Value =
        root.link.call("$JS.API", "STREAM.INFO.facts", &json!({})).await.unwrap();
    assert_eq!(info["state"]["last_seq"], json!(0), "{info}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_wrong_password_is_named_and_never_shown() {
    let world = World::start().await;
    let credentials =
        Credentials::Password { user: "edge-1".into(), password: Secret::new("hunter2") };
    let options = Options { credentials, ..Options::new(&world.server.url(), "edge-1") };
    let bus = NatsBus::connect(options).await.unwrap();
    let told = bus.get("edges", "edge-1").await.unwrap_err().to_string();
    assert!(told.contains("authorization violation"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn an_nkey_lets_in() {
    // A pair made for this test alone.
    const SEED: &str = "SUAJ5LUMTP2UJ36JDE2GTBDIMFKEF2RIROUUGHKWVMFCRSEG3VC7ELWL2E";
    const PUBLIC: &str = "UB6EE7GYIDXMYEEHKFAEPVM2Q34A4GE36MYUMJQOGW4ZZGSF3EAU27FK";
    let users = format!("authorization {{ users: [ {{ nkey: {PUBLIC} }} ] }}");
    let server = Server::start(&users).await;
    let credentials = Credentials::Nkey { seed: Secret::new(SEED) };
    let bus = super::keeper_with(Options { credentials, ..Options::new(&server.url(), "k") }).await;
    put(&bus, "nkey", "a", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server"]
async fn a_client_certificate_lets_in_and_only_the_given_authority_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let authority = authority();
    let ca_file = file("ca.pem", &authority.pem());
    let other_ca = file("other.pem", &self::authority().pem());
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        file(&format!("{name}.pem"), &params.signed_by(&key, &authority).unwrap().pem());
        file(&format!("{name}.key"), &key.serialize_pem());
    }
    let at = folder.path().display();
    let server = Server::start(&format!(
        "tls {{ cert_file: \"{at}/server.pem\", key_file: \"{at}/server.key\",
        ca_file: \"{at}/ca.pem\", verify: true }}"
    ))
    .await;
    let options = |ca_file: &std::path::Path| {
        let (certificate_file, key_file) =
            (folder.path().join("client.pem"), folder.path().join("client.key"));
        let credentials = Credentials::Certificate { certificate_file, key_file };
        let ca_file = Some(ca_file.to_owned());
        Options { credentials, ca_file, ..Options::new(&server.url(), "client") }
    };
    let bus = super::keeper_with(options(&ca_file)).await;
    put(&bus, "tls", "a", "1").await;
    for wrong in
        [options(&other_ca), Options { credentials: Credentials::None, ..options(&ca_file) }]
    {
        let bus = NatsBus::connect(wrong).await.unwrap();
        let refused = bus.get("tls", "a").await;
        assert!(matches!(refused, Err(BusError::Unavailable(_))), "{refused:?}");
        assert!(!bus.health().connected);
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}
