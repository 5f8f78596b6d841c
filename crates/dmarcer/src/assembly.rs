//! Every service in one process, put together.
//!
//! The edge comes first, so that policies are served while nothing else runs yet, and a fault in
//! starting another service does not take it down: that one is tried again in the background.

mod access;
mod answering;
mod keys;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bus::SharedBus;
use bus::embedded::EmbeddedBus;
use data_encoding::BASE64URL_NOPAD;
use service::Shutdown;
use service::access::{Limits, Unruled};
use service::clock::{SharedClock, SystemClock};
use service::config::Secret;
use service::files::{DirectoryLock, FileError, lock_directory, read_or_create_key};
use service::grpc::ListenError;
use service::page::PageTokens;
use service::peer::{BadPeer, Peer, peer};
use service::supervise::{Fault, chain};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::assembly::answering::{Answering, listen};
use crate::assembly::keys::{KeyError, Keys};
use crate::config::Config;

/// Bytes of a token that is made here; as many as its hash tells apart.
const TOKEN_BYTES: usize = 32;
/// How long a service that could not start waits at first before it is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How long it waits at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Calls and downloads under way at shutdown have so long to end.
const DRAIN: Duration = Duration::from_secs(30);
/// Where the local CA's root is, below the data directory, for clients to trust.
pub(crate) const LOCAL_ROOT_FILE: &str = "local-ca.pem";

/// Why nothing could be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The data directory or a file in it.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The edge.
    #[error(transparent)]
    Edge(#[from] edge::StartError),
    /// The gRPC listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The admin token, or our own address.
    #[error(transparent)]
    Peer(#[from] BadPeer),
    /// An RPC that nobody has said anything about.
    #[error(transparent)]
    Unruled(#[from] Unruled),
}

/// Where a running process is reached.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    /// Answers every gRPC service.
    pub(crate) grpc: SocketAddr,
    /// Serves policies; none where there is no region to serve.
    pub(crate) edge: Option<EdgeAddresses>,
}

/// Where an edge is reached.
#[derive(Debug, Clone)]
pub(crate) struct EdgeAddresses {
    pub(crate) region: String,
    pub(crate) https: Vec<SocketAddr>,
    pub(crate) http: Vec<SocketAddr>,
}

/// The admin token, and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct AdminToken {
    pub(crate) token: Secret,
    /// The file that it was made in; none where it is configured.
    pub(crate) made_in: Option<PathBuf>,
}

/// A process that runs every service.
pub(crate) struct Running {
    pub(crate) addresses: Addresses,
    pub(crate) admin: AdminToken,
    shutdown: Shutdown,
    answering: Arc<Answering>,
    tasks: JoinSet<()>,
    _lock: DirectoryLock,
}

/// Starts the edge, and then, in the background, everything else.
///
/// # Errors
/// When the data directory, a key or the edge can't be used. A fault in starting another service
/// is none: it is logged, and tried again.
pub(crate) async fn start(config: Config) -> Result<Running, StartError> {
    let lock = lock_directory(&config.data_dir)?;
    let keys = Keys::new(config.data_dir.join("keys"));
    let shutdown = Shutdown::new();
    let streams: &[(&str, &[&str])] =
        &[("fetches", &[control::FETCHES_CONSUMER, intake::FETCHES_CONSUMER])];
    let bus: SharedBus = EmbeddedBus::new(streams);
    let clock: SharedClock = Arc::new(SystemClock);
    let mut tasks = JoinSet::new();

    let edge = start_edge(&config, &keys, &bus, &clock, &shutdown, &mut tasks).await?;

    let admin = admin_token(&config)?;
    let fleet_token = random_token();
    let (listener, grpc) = listen(config.control.listen).await?;
    let peer = peer(&format!("http://{}", reachable(grpc)), &fleet_token)?;
    let access = access::access(&fleet_token, peer.clone(), Limits::new(&config.limits))?;
    let common = Common {
        peer,
        admin_token: admin.token.clone(),
        trust: keys.trust()?,
        keys,
        bus,
        clock,
        shutdown: shutdown.clone(),
        config,
    };
    let answering = Answering::new(access)?;
    start_others(Arc::new(common), &answering, &mut tasks);
    let own_shutdown = shutdown.clone();
    tasks.spawn(answering.clone().serve(grpc, listener, own_shutdown));

    let addresses = Addresses { grpc, edge };
    Ok(Running { addresses, admin, shutdown, answering, tasks, _lock: lock })
}

impl Running {
    /// Waits until every service has started and is answered.
    pub(crate) async fn ready(&self) {
        self.answering.ready().await;
    }

    /// Stops everything: no new work is taken, what is under way is finished.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let drained = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(DRAIN, drained).await.is_err() {
            warn!(seconds = DRAIN.as_secs(), "some work did not end in time and is cut off");
        }
    }
}

/// What every service is made of.
struct Common {
    config: Config,
    keys: Keys,
    trust: wire::envelope::Trust,
    bus: SharedBus,
    clock: SharedClock,
    peer: Peer,
    admin_token: Secret,
    shutdown: Shutdown,
}

async fn start_edge(
    config: &Config,
    keys: &Keys,
    bus: &SharedBus,
    clock: &SharedClock,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) -> Result<Option<EdgeAddresses>, StartError> {
    let Some(edge_config) = config.edge() else {
        warn!("no [[region]] to serve: there is no edge in this process");
        return Ok(None);
    };
    let region = edge_config.region.clone();
    let edge = edge::start(edge::Parts {
        data_dir: config.data_dir.join("edge"),
        bus: bus.clone(),
        trust: keys.trust()?,
        signer: keys.signer("edge", &["edges"])?,
        region_key: keys.region(&region)?.private,
        credential: keys.edge_credential()?,
        clock: clock.clone(),
        shutdown: shutdown.clone(),
        config: edge_config,
    })
    .await?;
    let (https, http) = (edge.https_addresses(), edge.http_addresses());
    tasks.spawn(edge.run());
    Ok(Some(EdgeAddresses { region, https, http }))
}

/// Starts control, dns, issuer and intake, each by itself.
fn start_others(common: Arc<Common>, answering: &Arc<Answering>, tasks: &mut JoinSet<()>) {
    macro_rules! begin {
        ($name:literal, $start:path) => {{
            let (common, answering) = (common.clone(), answering.clone());
            tasks.spawn(async move {
                let shutdown = common.shutdown.clone();
                let started = until_started($name, shutdown, || $start(common.clone()));
                if let Some(service) = started.await {
                    service.add_to(&mut answering.services.clone()).await;
                    answering.one_more();
                    service.run().await;
                }
            });
        }};
    }
    begin!("control", start_control);
    begin!("dns", start_dns);
    begin!("issuer", start_issuer);
    begin!("intake", start_intake);
}

/// Tries until it works or the process ends.
async fn until_started<Service, Start>(
    name: &'static str,
    shutdown: Shutdown,
    start: impl Fn() -> Start,
) -> Option<Service>
where
    Start: Future<Output = Result<Service, Fault>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match start().await {
            Ok(service) => {
                info!(service = name, "started");
                return Some(service);
            }
            Err(fault) => {
                let fault = chain(&*fault);
                error!(service = name, fault, "can't start, is tried again");
            }
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.cancelled() => return None,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn start_control(common: Arc<Common>) -> Result<control::Control, Fault> {
    let keys = common.keys.clone();
    let region_keys: control::RegionKeys =
        Arc::new(move |region| match keys.region(region.as_str()) {
            Ok(key) => Some(key.public),
            Err(fault) => {
                error!(%region, fault = chain(&fault), "no sealing key");
                None
            }
        });
    let config = &common.config;
    Ok(control::start(control::Parts {
        store_url: config.store("control", config.control.store.as_ref()),
        regions: config.region.clone(),
        region_keys,
        bus: common.bus.clone(),
        trust: common.trust.clone(),
        signer: common.keys.signer("control", control::BUCKETS)?,
        dns: common.peer.clone(),
        issuer: common.peer.clone(),
        intake: common.peer.clone(),
        admin_token: common.admin_token.clone(),
        audit_key: audit_key(&common.keys)?,
        sign_in: config.control.sign_in.clone(),
        pages: PageTokens::new(&*common.keys.secret("page-tokens")?),
        clock: common.clock.clone(),
        shutdown: common.shutdown.clone(),
    })
    .await?)
}

async fn start_dns(common: Arc<Common>) -> Result<dns::Dns, Fault> {
    let config = &common.config;
    let store = Some(config.store("dns", config.dns.store.as_ref()));
    Ok(dns::start(dns::Parts {
        config: dns::Config { store, ..config.dns.clone() },
        data_dir: config.data_dir.clone(),
        bus: common.bus.clone(),
        trust: common.trust.clone(),
        signer: common.keys.signer("dns", &[dns::STATUS_BUCKET])?,
        control: common.peer.clone(),
        clock: common.clock.clone(),
        shutdown: common.shutdown.clone(),
    })
    .await?)
}

async fn start_issuer(common: Arc<Common>) -> Result<issuer::Issuer, Fault> {
    let config = &common.config;
    Ok(issuer::start(issuer::Parts {
        store_url: config.store("issuer", config.issuer.store.as_ref()),
        kek: config.issuer.kek(&config.data_dir)?,
        local_root_file: config.data_dir.join(LOCAL_ROOT_FILE),
        config: config.issuer.clone(),
        bus: common.bus.clone(),
        trust: common.trust.clone(),
        signer: common.keys.signer("issuer", &["certificates-*", "challenges-*"])?,
        control: common.peer.clone(),
        pages: PageTokens::new(&*common.keys.secret("page-tokens")?),
        audit_key: audit_key(&common.keys)?,
        clock: common.clock.clone(),
        shutdown: common.shutdown.clone(),
    })
    .await?)
}

async fn start_intake(common: Arc<Common>) -> Result<intake::Intake, Fault> {
    let config = &common.config;
    Ok(intake::start(intake::Parts {
        store_url: config.store("intake", config.intake.store.as_ref()),
        bus: common.bus.clone(),
        control: common.peer.clone(),
        clock: common.clock.clone(),
        shutdown: common.shutdown.clone(),
    })
    .await?)
}

fn audit_key(keys: &Keys) -> Result<audit::AuditKey, Fault> {
    Ok(audit::AuditKey::new(&*keys.secret("audit")?)?)
}

/// Where a listener is reached from its own machine.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The configured token, or one that is made once and kept.
fn admin_token(config: &Config) -> Result<AdminToken, StartError> {
    if let Some(token) = &config.control.admin_token {
        return Ok(AdminToken { token: token.clone(), made_in: None });
    }
    let path = config.data_dir.join("admin-token");
    let make = || format!("{}\n", random_token().expose()).into_bytes();
    let kept = read_or_create_key(&path, make)?;
    let token = String::from_utf8_lossy(&kept).trim().to_owned();
    Ok(AdminToken { token: Secret::new(token), made_in: Some(path) })
}

fn random_token() -> Secret {
    Secret::new(BASE64URL_NOPAD.encode(&rand::random::<[u8; TOKEN_BYTES]>()))
}
