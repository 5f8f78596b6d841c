//! The dns service: what senders can find at this moment.
//!
//! * **For**: telling owners which records to publish, whether senders find them, and what to do
//!   if not; telling control what all of a zone's name servers say about a claim, and a domain's
//!   live MX.
//! * **In**: bucket `records` (one document per claim, written by control); control's own word, by
//!   gRPC, when a caller asks; answers of name servers and resolvers, none of which are trusted.
//! * **Out**: bucket `dns-status`; answers of `RecordService`.
//! * **Owns**: the tables of its store (`dns.db`): what to look for, what was found, how far it has
//!   published. Nobody else writes `dns-status`.
//! * **Listens**: nowhere itself; its gRPC service is added to the process's listener.
//! * **Absent**: any decision. What is seen here moves nothing by itself: `dns-status` is a hint to
//!   look, and whether a claim is proven is control's to say. Nothing is written to DNS.
//!
//! Reading order: `expected.rs` (what is wanted), `answer.rs` and `ask.rs` (one question),
//! `inquiry.rs` (one look's questions, and resolvers), `zone.rs` (a zone's own servers), `look.rs`
//! (all that is asked in one look), `judge.rs` (what it comes to), `check.rs` (and keep it), then
//! the loops `follow.rs`, `verify.rs`, `publish.rs`, and `api.rs`.

mod answer;
mod api;
mod ask;
mod check;
mod config;
mod expected;
mod follow;
mod foreign;
mod hint;
mod inquiry;
mod judge;
mod look;
mod mx;
mod proof;
mod publish;
mod show;
mod sql;
mod verify;
mod zone;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bus::SharedBus;
use hickory_resolver::system_conf::read_system_conf;
use service::Shutdown;
use service::clock::SharedClock;
use service::grpc::Services;
use service::peer::Peer;
use service::supervise::{Signal, keep_running};
use store::{Store, StoreError};
use wire::dns::record_service_server::RecordServiceServer;
use wire::envelope::{Signer, Trust};

pub use config::Config;
pub use follow::BUCKET as RECORDS_BUCKET;
pub use publish::BUCKET as STATUS_BUCKET;

use api::Api;
use check::Checks;
use inquiry::Lookup;

/// Resolvers that are asked: each look asks all of them.
const MAX_RESOLVERS: usize = 4;

/// Everything that the service is handed.
pub struct Parts {
    /// `[dns]`.
    pub config: Config,
    /// Where `dns.db` goes unless the configuration names another store.
    pub data_dir: PathBuf,
    /// Carries `records` and `dns-status`.
    pub bus: SharedBus,
    /// Whose documents are believed.
    pub trust: Trust,
    /// Delegated for `dns-status`.
    pub signer: Signer,
    /// Where to ask control.
    pub control: Peer,
    /// The time.
    pub clock: SharedClock,
    /// Ends the loops.
    pub shutdown: Shutdown,
}

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The tables can't be used.
    #[error("the store of dns can't be opened")]
    Store(#[from] StoreError),
    /// There is nobody to ask.
    #[error("no resolver is known: set dns.resolvers, or mend /etc/resolv.conf ({why})")]
    Resolvers {
        /// What is wrong with the system's own.
        why: String,
    },
}

/// The running service.
pub struct Dns {
    api: Api,
    bus: SharedBus,
    trust: Trust,
    signer: Arc<Signer>,
    publish: Signal,
    shutdown: Shutdown,
}

/// Opens the store and finds the resolvers.
///
/// # Errors
/// [`StartError`] says what to set.
pub async fn start(parts: Parts) -> Result<Dns, StartError> {
    let url = match &parts.config.store {
        Some(url) => url.clone(),
        None => format!("sqlite://{}", parts.data_dir.join("dns.db").display()),
    };
    let store = Store::open(&url, "dns", sql::STEPS).await?;
    let resolvers = resolvers(&parts.config)?;
    let lookup = Arc::new(Lookup::new(parts.config, resolvers));
    let publish = Signal::default();
    let checks = Checks::new(store.clone(), lookup.clone(), parts.clock.clone(), publish.clone());
    let api = Api {
        store,
        lookup,
        checks: Arc::new(checks),
        clock: parts.clock,
        control: parts.control,
        verify: Signal::default(),
    };
    Ok(Dns {
        api,
        bus: parts.bus,
        trust: parts.trust,
        signer: Arc::new(parts.signer),
        publish,
        shutdown: parts.shutdown,
    })
}

impl Dns {
    /// Adds the gRPC service to a listener.
    pub async fn add_to(&self, services: &mut Services) {
        let server = RecordServiceServer::new(self.api.clone());
        services.add(server).await;
    }

    /// Runs all loops until shutdown.
    pub async fn run(self) {
        let Dns { api, bus, trust, signer, publish, shutdown } = self;
        let at_once = api.lookup.config.domains_at_once;
        let follows = keep_running("dns follow", shutdown.clone(), || {
            let (store, clock) = (api.store.clone(), api.clock.clone());
            follow::follow(store, bus.clone(), trust.clone(), clock, api.verify.clone())
        });
        let verifies = keep_running("dns verify", shutdown.clone(), || {
            let (store, checks, clock) = (api.store.clone(), api.checks.clone(), api.clock.clone());
            verify::verify(store, checks, clock, api.verify.clone(), at_once)
        });
        let publishes = keep_running("dns publish", shutdown.clone(), || {
            publish::publish(api.store.clone(), bus.clone(), signer.clone(), publish.clone())
        });
        tokio::join!(follows, verifies, publishes);
    }
}

fn resolvers(config: &Config) -> Result<Vec<SocketAddr>, StartError> {
    let mut resolvers = config.resolvers.clone();
    if resolvers.is_empty() {
        let (system, _) =
            read_system_conf().map_err(|e| StartError::Resolvers { why: e.to_string() })?;
        let addresses = system.name_servers.iter().map(|server| SocketAddr::new(server.ip, 53));
        resolvers = addresses.collect();
    }
    if resolvers.is_empty() {
        return Err(StartError::Resolvers { why: "it names none".to_owned() });
    }
    resolvers.truncate(MAX_RESOLVERS);
    Ok(resolvers)
}
