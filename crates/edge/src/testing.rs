//! A region for tests: its keys, its bus, and an edge in it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bus::embedded::EmbeddedBus;
use bus::{Bus, SharedBus};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use service::Shutdown;
use service::clock::SetClock;
use service::sealed::Kek;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wire::Message;
use wire::bus::{CertificateDocument, ChallengeDocument, EdgeDocument, PolicyDocument, SealedKey};
use wire::envelope::{Place, Root, Signer, Trust, new_key};
use wire::sealing::{self, RegionKey};

use crate::{Config, Parts, start};

pub(crate) const REGION: &str = "eu-1";
pub(crate) const THUMBPRINT: &str = "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ";
const DEADLINE: Duration = Duration::from_secs(20);

/// Keys and bus of a region, and the folder of one edge.
pub(crate) struct Region {
    pub(crate) bus: Arc<EmbeddedBus>,
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<SetClock>,
    root: Root,
    pub(crate) control: Signer,
    pub(crate) issuer: Signer,
    pub(crate) key: RegionKey,
}

/// An edge that runs.
pub(crate) struct Running {
    pub(crate) https: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) shutdown: Shutdown,
    running: JoinHandle<()>,
    runtime: Option<Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Running {
    /// Stops it, as a supervisor does.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        (&mut self.running).await.unwrap();
    }

    /// Stops it between two steps, wherever it is: nothing that it would have done is done.
    pub(crate) async fn kill(mut self) {
        let runtime = self.runtime.take().unwrap();
        spawn_blocking(move || runtime.shutdown_timeout(DEADLINE)).await.unwrap();
    }
}

pub(crate) fn new_bus() -> Arc<EmbeddedBus> {
    EmbeddedBus::new(&[("fetches", &["intake"])])
}

impl Region {
    pub(crate) fn new() -> Region {
        let root = Root::from_pkcs8(&new_key().unwrap()).unwrap();
        let signer = |name: &str, buckets: &[&str]| {
            Signer::delegated_by(&root, name, &new_key().unwrap(), buckets).unwrap()
        };
        Region {
            bus: new_bus(),
            folder: tempfile::tempdir().unwrap(),
            clock: SetClock::at("2026-11-23T10:30:00Z".parse().unwrap()),
            control: signer("control", &["policies-*"]),
            issuer: signer("issuer", &["certificates-*", "challenges-*"]),
            key: RegionKey::generate().unwrap(),
            root,
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::pin(self.root.public_key())
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts an edge on this region's bus.
    pub(crate) async fn run(&self) -> Running {
        self.run_on(self.bus.clone()).await
    }

    pub(crate) async fn run_on(&self, bus: SharedBus) -> Running {
        let shutdown = Shutdown::new();
        // A runtime of its own, so that it can be ended with all that the edge has begun.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let parts = self.parts(bus, shutdown.clone());
        let edge = runtime.spawn(async { start(parts).await.unwrap() }).await.unwrap();
        let (https, http) = (edge.https_addresses()[0], edge.http_addresses()[0]);
        let running = runtime.spawn(edge.run());
        Running { https, http, shutdown, running, runtime: Some(runtime) }
    }

    fn parts(&self, bus: SharedBus, shutdown: Shutdown) -> Parts {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            id: Some("eu-1-a".into()),
            region: REGION.into(),
            https: vec![any],
            http: vec![any],
            max_connections: 200,
        };
        let signer = Signer::delegated_by(&self.root, "edge", &new_key().unwrap(), &["edges"]);
        Parts {
            config,
            data_dir: self.path().to_owned(),
            bus,
            trust: self.trust(),
            signer: signer.unwrap(),
            region_key: self.key.private.clone(),
            credential: credential(),
            clock: self.clock.clone(),
            shutdown,
        }
    }

    pub(crate) async fn put(&self, bucket: &str, key: &str, envelope: Vec<u8>) {
        self.bus.put(&format!("{bucket}-{REGION}"), key, envelope.into()).await.unwrap();
    }

    pub(crate) async fn put_policy(&self, domain: &str, revision: u64, mode: &str) {
        let envelope = self.policy(domain, revision, &body(domain, mode));
        self.put("policies", domain, envelope).await;
    }

    pub(crate) async fn put_certificate(&self, domain: &str, revision: u64) {
        let envelope = self.certificate(domain, revision);
        self.put("certificates", domain, envelope).await;
    }

    /// Puts policy and certificate of a domain, and the account's thumbprint.
    pub(crate) async fn host(&self, domain: &str) {
        self.put_policy(domain, 1, "testing").await;
        self.put_certificate(domain, 1).await;
        let document = ChallengeDocument { thumbprints: vec![THUMBPRINT.into()] };
        let place = Place { revision: 1, position: 1 };
        let envelope = self.issuer.seal("challenges-eu-1", "account", place, &document);
        self.put("challenges", "account", envelope).await;
    }

    pub(crate) fn policy(&self, domain: &str, revision: u64, body: &[u8]) -> Vec<u8> {
        let document = PolicyDocument {
            domain: domain.into(),
            revision: revision + 100,
            body: body.to_vec(),
            claim_id: "claim".into(),
        };
        let place = Place { revision, position: revision * 10 };
        self.control.seal(&format!("policies-{REGION}"), domain, place, &document)
    }

    pub(crate) fn certificate(&self, domain: &str, revision: u64) -> Vec<u8> {
        let document = self.certificate_document(domain, &format!("mta-sts.{domain}"));
        self.sealed_certificate(domain, revision, &document)
    }

    pub(crate) fn sealed_certificate(
        &self,
        domain: &str,
        revision: u64,
        document: &CertificateDocument,
    ) -> Vec<u8> {
        let place = Place { revision, position: revision * 10 };
        self.issuer.seal(&format!("certificates-{REGION}"), domain, place, document)
    }

    pub(crate) fn certificate_document(&self, domain: &str, host: &str) -> CertificateDocument {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &CA.issuer).unwrap();
        CertificateDocument {
            domain: domain.into(),
            chain: vec![leaf.der().to_vec()],
            key: Some(self.seal_key(domain, &key.serialize_der())),
            ..Default::default()
        }
    }

    pub(crate) fn seal_key(&self, domain: &str, pkcs8: &[u8]) -> SealedKey {
        sealing::seal(&self.key.public, REGION, domain, pkcs8).unwrap()
    }

    /// What the edge tells, once it fits.
    pub(crate) async fn told(&self, fits: impl Fn(&EdgeDocument) -> bool) -> EdgeDocument {
        let trust = self.trust();
        wait(async || {
            let entry = self.bus.get("edges", "eu-1-a").await.unwrap()?;
            let opened = trust.open("edges", "eu-1-a", &entry.value).unwrap();
            let document = EdgeDocument::decode(opened.payload.unwrap().as_slice()).unwrap();
            fits(&document).then_some(document)
        })
        .await
    }

    /// The revision of what the edge last told.
    pub(crate) async fn told_revision(&self) -> u64 {
        let trust = self.trust();
        wait(async || {
            let entry = self.bus.get("edges", "eu-1-a").await.unwrap()?;
            Some(trust.open("edges", "eu-1-a", &entry.value).unwrap().place.revision)
        })
        .await
    }

    /// Waits until a domain is served.
    pub(crate) async fn served(&self, edge: &Running, domain: &str) -> String {
        wait(async || fetch(edge.https, domain).await.ok()).await
    }

    pub(crate) async fn passed(&self, position: u64) {
        self.told(|told| told.policies_position >= position).await;
    }
}

pub(crate) fn credential() -> Kek {
    Kek::new(&[7; 32]).unwrap()
}

pub(crate) fn body(domain: &str, mode: &str) -> Vec<u8> {
    let text = format!("version: STSv1\r\nmode: {mode}\r\nmx: mx.{domain}\r\nmax_age: 86400\r\n");
    text.into_bytes()
}

/// Looks until there is what is waited for.
pub(crate) async fn wait<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let waited = timeout(DEADLINE, async {
        loop {
            match look().await {
                Some(found) => return found,
                None => sleep(Duration::from_millis(10)).await,
            }
        }
    });
    waited.await.expect("it comes in time")
}

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
}

static CA: LazyLock<Ca> = LazyLock::new(|| {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    Ca { issuer: Issuer::new(params, key), roots: Arc::new(roots) }
});

/// A strict TLS client.
pub(crate) fn client(
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(CA.roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

pub(crate) async fn connect_with(
    config: ClientConfig,
    address: SocketAddr,
    server_name: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

pub(crate) async fn connect(address: SocketAddr, domain: &str) -> io::Result<TlsStream<TcpStream>> {
    connect_with(client(rustls::ALL_VERSIONS, &[]), address, &format!("mta-sts.{domain}")).await
}

/// Sends bytes over TLS, and reads until the edge closes.
pub(crate) async fn ask(address: SocketAddr, domain: &str, request: &[u8]) -> io::Result<String> {
    exchange(connect(address, domain).await?, request).await
}

/// Sends bytes as they are, and reads until the edge closes.
pub(crate) async fn ask_plain(address: SocketAddr, request: &[u8]) -> io::Result<String> {
    exchange(TcpStream::connect(address).await?, request).await
}

async fn exchange(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    request: &[u8],
) -> io::Result<String> {
    let exchange = async {
        stream.write_all(request).await?;
        let mut answer = vec![];
        match stream.read_to_end(&mut answer).await {
            // An edge that refuses in the middle of a request does not wait for the rest.
            Err(e) if answer.is_empty() => Err(e),
            _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    };
    timeout(DEADLINE, exchange).await.expect("it is answered or closed in time")
}

/// Fetches as a sender does: the whole answer, whose status is 200.
pub(crate) async fn fetch(address: SocketAddr, domain: &str) -> io::Result<String> {
    fetch_as(address, domain, "postfix-mta-sts-resolver").await
}

pub(crate) async fn fetch_as(
    address: SocketAddr,
    domain: &str,
    user_agent: &str,
) -> io::Result<String> {
    let request = format!(
        "GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.{domain}\r\n\
         User-Agent: {user_agent}\r\nConnection: close\r\n\r\n"
    );
    let answer = ask(address, domain, request.as_bytes()).await?;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(answer) } else { Err(io::Error::other(answer)) }
}
