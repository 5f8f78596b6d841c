//! Against a real ACME CA: pebble, on loopback, with its own name server, asking our edge for real.
//!
//! `cargo test -p issuer pebble -- --ignored`

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rcgen::generate_simple_self_signed;
use service::clock::{Clock, SetClock};
use tokio::sync::watch;
use wire::bus::ChallengeDocument;
use wire::issuer::{CertificateStatus, OrderOutcome, OrderReason};

use super::world::{World, wait_for};
use crate::Config;

/// A CA, the name server it asks, and the place where it looks for answers to its challenges.
struct Pebble {
    daemons: Vec<Child>,
    folder: tempfile::TempDir,
    directory: String,
    /// Says what to answer challenges with; empty: nothing.
    thumbprint: watch::Sender<String>,
}

impl Pebble {
    async fn start(environment: &[(&str, &str)]) -> Pebble {
        let folder = tempfile::tempdir().unwrap();
        let (api, management, dns, dns_management) = (port(), port(), port(), port());
        let (thumbprint, read) = watch::channel(String::new());
        let edge = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let edge_port = edge.local_addr().unwrap().port();
        tokio::spawn(answer_challenges(edge, read));

        let identity = generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
        let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        file("certificate.pem", &identity.cert.pem());
        file("key.pem", &identity.signing_key.serialize_pem());
        let at = folder.path().display();
        file(
            "pebble.json",
            &format!(
                r#"{{"pebble": {{"listenAddress": "127.0.0.1:{api}",
                "managementListenAddress": "127.0.0.1:{management}",
                "certificate": "{at}/certificate.pem", "privateKey": "{at}/key.pem",
                "httpPort": {edge_port}, "tlsPort": 1, "ocspResponderURL": "",
                "externalAccountBindingRequired": false}}}}"#
            ),
        );
        let names = Command::new("pebble-challtestsrv")
            .args(["-management", &format!("127.0.0.1:{dns_management}")])
            .args(["-dns01", &format!("127.0.0.1:{dns}")])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble-challtestsrv is installed");
        let mut command = Command::new("pebble");
        command
            .args(["-config", &folder.path().join("pebble.json").display().to_string()])
            .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
            .envs(environment.iter().copied())
            .stdout(std::fs::File::create(folder.path().join("log")).unwrap())
            .stderr(Stdio::null());
        let pebble = command.spawn().expect("pebble is installed");
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, api));
        wait_for("pebble listens", || async {
            tokio::net::TcpStream::connect(api).await.ok().map(drop)
        })
        .await;
        Pebble {
            daemons: vec![names, pebble],
            folder,
            directory: format!("https://{api}/dir"),
            thumbprint,
        }
    }

    fn config(&self) -> Config {
        Config {
            directory: self.directory.clone(),
            ca_file: Some(self.folder.path().join("certificate.pem")),
            contact: vec!["ops@example.com".into()],
            ..Config::default()
        }
    }

    fn authority(&self) -> &str {
        self.directory.trim_end_matches("/dir")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn orders_taken(&self) -> usize {
        self.log().matches("orders in the db").count()
    }

    /// Answers with the thumbprint that the issuer has published, as an edge does.
    async fn serve(&self, world: &World) {
        let thumbprint = wait_for("the account's thumbprint", || async {
            let opened = world.document("challenges-eu-1", "account").await?;
            let document = opened.document::<ChallengeDocument>().unwrap()?;
            document.thumbprints.first().cloned()
        })
        .await;
        self.thumbprint.send_replace(thumbprint);
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn pebble_issues_and_issues_again_for_an_owner() {
    let pebble = Pebble::start(&[("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")]).await;
    let world = World::at(pebble.config(), tempfile::tempdir().unwrap(), system_time()).await;
    pebble.serve(&world).await;
    let started = std::time::Instant::now();
    world.hosts("example.com", "acme").await;
    let first = world.certificate("example.com").await;
    println!("first certificate after {:?}", started.elapsed());
    assert!(first.chain.len() >= 2, "leaf and intermediate");

    world.clock.advance(jiff::SignedDuration::from_secs(1));
    world.reissue("acme", "example.com").await.unwrap();
    wait_for("the new one", || async {
        let document = world.certificate("example.com").await;
        (document.serial != first.serial).then_some(())
    })
    .await;
    let orders = world.orders("acme", "example.com").await;
    assert_eq!(orders[0].reason(), OrderReason::Reissue);
    let shown = world.show("acme", "example.com").await.unwrap();
    assert_eq!((shown.status(), shown.reissues_left), (CertificateStatus::Valid, 2));
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn many_names_come_quickly_though_pebble_rejects_nonces() {
    let environment =
        [("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "5"), ("PEBBLE_AUTHZREUSE", "0")];
    let pebble = Pebble::start(&environment).await;
    let world = World::at(pebble.config(), tempfile::tempdir().unwrap(), system_time()).await;
    pebble.serve(&world).await;
    let started = std::time::Instant::now();
    for n in 0..50 {
        world.hosts(&format!("d{n}.example"), "acme").await;
    }
    for n in 0..50 {
        world.certificate(&format!("d{n}.example")).await;
    }
    println!("50 certificates in {:?}", started.elapsed());
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn a_failed_validation_is_told_and_tried_again_later() {
    let pebble = Pebble::start(&[("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")]).await;
    let clock = system_time();
    let world = World::at(pebble.config(), tempfile::tempdir().unwrap(), clock).await;
    // The edge answers with another account's thumbprint.
    pebble.thumbprint.send_replace("wrong".into());
    world.hosts("example.com", "acme").await;
    let shown = wait_for("it failed", || async {
        let shown = world.show("acme", "example.com").await.unwrap();
        (shown.status() == CertificateStatus::Failed).then_some(shown)
    })
    .await;
    println!("told: {}", shown.last_error);
    assert!(shown.last_error.contains("/.well-known/acme-challenge/"), "{}", shown.last_error);
    let retry_at = wire::time::from_wire(&shown.retry_at.unwrap()).unwrap();
    let pause = retry_at.duration_since(world.clock_now()).as_secs();
    assert!((40..=60).contains(&pause), "{pause}");

    pebble.serve(&world).await;
    world.clock.advance(jiff::SignedDuration::from_secs(61));
    world.edge_breathes().await;
    world.core.renew.wake();
    world.certificate("example.com").await;
    let orders = world.orders("acme", "example.com").await;
    assert_eq!(orders[1].outcome(), OrderOutcome::Failed);
    assert_eq!(orders[1].error, shown.last_error);
}

#[tokio::test]
#[ignore = "needs pebble"]
async fn a_ca_that_forgets_everything_is_given_a_new_account() {
    let quick = [("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")];
    let first = Pebble::start(&quick).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = first.config();
    let world = World::at(config.clone(), folder, system_time()).await;
    first.serve(&world).await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    // Another pebble behind the same name: what ours was told to be is not there any more.
    let second = Pebble::start(&quick).await;
    config.directory.clone_from(&second.directory);
    config.ca_file = second.config().ca_file;
    let membership = world.core.db.membership(&first.directory).await.unwrap().unwrap();
    let opened =
        world.core.kek.open(&format!("authorities.key:{}", first.directory), &membership.sealed);
    let text = String::from_utf8(opened.unwrap().to_vec()).unwrap();
    let moved = text.replace(first.authority(), second.authority());
    let sealed =
        world.core.kek.seal(&format!("authorities.key:{}", second.directory), moved.as_bytes());
    let moved = crate::sql::Membership { sealed: sealed.unwrap(), ..membership };
    let mut world = world;
    world.core.db.join(&second.directory, &moved, world.clock.now()).await.unwrap();
    world.restart_with(config).await;
    second.serve(&world).await;
    world.hosts("example.net", "acme").await;
    let old = second.thumbprint.borrow().clone();
    wait_for("a new account", || async {
        let opened = world.document("challenges-eu-1", "account").await?;
        let document = opened.document::<ChallengeDocument>().unwrap()?;
        let thumbprint = document.thumbprints.first().cloned()?;
        (thumbprint != old).then(|| second.thumbprint.send_replace(thumbprint))
    })
    .await;
    world.clock.advance(jiff::SignedDuration::from_secs(15));
    world.edge_breathes().await;
    world.certificate("example.net").await;
}

/// Kills the issuer at many points of its orders, and counts what the CA was asked.
#[tokio::test]
#[ignore = "needs pebble"]
async fn an_issuer_that_is_killed_in_the_middle_goes_on_where_it_was() {
    let pebble = Pebble::start(&[("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")]).await;
    let folder = tempfile::tempdir().unwrap();
    let world = World::at(pebble.config(), tempfile::tempdir().unwrap(), system_time()).await;
    drop(world);
    let names = 12;
    let child = |n: usize| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--ignored", "--exact", "tests::pebble::issuer_in_a_process"])
            .env("ISSUER_FOLDER", folder.path())
            .env("ISSUER_DIRECTORY", &pebble.directory)
            .env("ISSUER_CA_FILE", pebble.folder.path().join("certificate.pem"))
            .env("ISSUER_NAMES", names.to_string())
            // An order that waits for edges to be heard again goes on in the next life.
            .env("ISSUER_SECONDS_LATER", (6 * n).to_string())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join(format!("log-{n}"))).unwrap());
        child.spawn().unwrap()
    };
    let answers = folder.path().join("thumbprint");
    let mut done = false;
    let mut kills = 0;
    while !done && kills < 60 {
        let mut running = child(kills);
        // A little later each time: every step is hit by some of them.
        let until = std::time::Instant::now() + Duration::from_millis(300 + 37 * kills as u64);
        while std::time::Instant::now() < until && !done {
            if let Ok(thumbprint) = std::fs::read_to_string(&answers) {
                pebble.thumbprint.send_replace(thumbprint);
            }
            done = folder.path().join("done").exists();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        running.kill().unwrap();
        running.wait().unwrap();
        kills += 1;
    }
    assert!(done, "all names have a certificate");
    let orders = pebble.orders_taken();
    println!("{kills} kills, {orders} orders at the CA for {names} names");
    assert!((names..=names + kills).contains(&orders), "a kill costs at most one order");
    println!("{}", std::fs::read_to_string(folder.path().join("done")).unwrap());
}

/// The process that the test above kills; does nothing by itself.
#[tokio::test]
#[ignore = "a part of another test"]
async fn issuer_in_a_process() {
    let Ok(folder) = std::env::var("ISSUER_FOLDER") else {
        return;
    };
    service::telemetry::start(service::telemetry::LogFormat::Text, "info");
    let folder = Path::new(&folder);
    let config = Config {
        // So that a kill hits at most one order.
        orders_at_once: 1,
        directory: std::env::var("ISSUER_DIRECTORY").unwrap(),
        ca_file: Some(std::env::var("ISSUER_CA_FILE").unwrap().into()),
        ..Config::default()
    };
    let names: usize = std::env::var("ISSUER_NAMES").unwrap().parse().unwrap();
    let later: i64 = std::env::var("ISSUER_SECONDS_LATER").unwrap().parse().unwrap();
    let clock = system_time();
    clock.advance(jiff::SignedDuration::from_secs(later));
    let world = World::in_folder(config, folder, clock).await;
    let opened = wait_for("the account", || world.document("challenges-eu-1", "account")).await;
    let document = opened.document::<ChallengeDocument>().unwrap().unwrap();
    std::fs::write(folder.join("thumbprint"), &document.thumbprints[0]).unwrap();
    for n in 0..names {
        world.hosts(&format!("k{n}.example"), "acme").await;
    }
    for n in 0..names {
        world.certificate(&format!("k{n}.example")).await;
    }
    let mut told = String::new();
    let mut issued = 0;
    for n in 0..names {
        for order in world.orders("acme", &format!("k{n}.example")).await {
            issued += usize::from(order.outcome() == OrderOutcome::Issued);
            told.push_str(&format!(
                "k{n} {:?} {:?} {}\n",
                order.reason(),
                order.outcome(),
                order.error
            ));
        }
    }
    // No kill comes between an order's end and its record.
    let audit = &world.core.db.audit;
    let chain = audit.verify("acme").await.unwrap();
    assert!(chain.is_whole() && chain.sequence == issued as u64, "{issued}: {chain:?}");
    std::fs::write(folder.join("done.new"), told).unwrap();
    std::fs::rename(folder.join("done.new"), folder.join("done")).unwrap();
}

/// The CA has a clock of its own, so certificates are of its time.
fn system_time() -> Arc<SetClock> {
    let clock = SetClock::at(service::clock::SystemClock.now());
    let ticking = clock.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            ticking.advance(jiff::SignedDuration::from_millis(20));
        }
    });
    clock
}

fn port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// As an edge does: the token and the thumbprint, for every name (RFC 8555 section 8.3).
async fn answer_challenges(listener: tokio::net::TcpListener, thumbprint: watch::Receiver<String>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let thumbprint = thumbprint.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request: http::Request<_>| {
                let _: &hyper::body::Incoming = request.body();
                let token = request.uri().path().rsplit('/').next().unwrap_or("").to_owned();
                let answer = format!("{token}.{}", *thumbprint.borrow());
                async move { Ok::<_, std::convert::Infallible>(http::Response::new(answer)) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
