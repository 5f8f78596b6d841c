//! Policy control: which domains are hosted, with which policy, and how a change gets out.
//!
//! * **In**: gRPC calls of people and services; buckets `dns-status` and `edges`, stream `fetches`;
//!   dns, issuer and intake, which are asked over gRPC.
//! * **Out**: buckets `policies-<region>`, `records` and `regions`; answers over gRPC.
//! * **Owns**: tenants, claims, names, regions, policies and their history (`migrations/`, `sql/`).
//! * **Listens**: nowhere itself; [`Control::add_to`] adds its services to the process's listener.
//! * **Absent**: DNS, ACME and TLS. Nothing here waits for an edge inside a call: a call commits a
//!   row and answers; loops carry it on.
//!
//! Reading order, along one change: `api/policies.rs` (who calls, what they ask), the pure rule in
//! `hosting`, `change.rs` (one transaction: the row and its documents), `publish.rs` (documents to
//! the bus), `follow.rs` (what edges and dns say back), `announce.rs` (the new id, once all edges
//! serve its body). `prove.rs` and `stop.rs` are the two ends of a domain's life;
//! `rewrite.rs` follows a change of a region's mailbox.

mod announce;
mod api;
mod change;
mod config;
mod facts;
mod follow;
mod peers;
mod prove;
mod publish;
mod rewrite;
mod sql;
mod stop;
mod to_wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bus::SharedBus;
use hosting::RegionId;
use service::Shutdown;
use service::caller::Authenticator;
use service::clock::SharedClock;
use service::grpc::Services;
use service::peer::Peer;
use service::supervise::{Signal, keep_running};
use store::{Store, StoreError};
use tokio::task::JoinSet;
use wire::envelope::{Signer, Trust};

use crate::api::Api;
use crate::change::Domains;
pub use crate::config::{Config, RegionConfig};
use crate::peers::Peers;

/// Buckets that control signs documents for.
pub const BUCKETS: &[&str] = &["policies-*", "records", "regions"];

/// The name under which control reads stream `fetches`.
pub const FETCHES_CONSUMER: &str = "control";

/// Gives the public half of a region's sealing key where this process holds the pair.
pub type RegionKeys = Arc<dyn Fn(&RegionId) -> Option<Vec<u8>> + Send + Sync>;

/// Everything that control is handed.
pub struct Parts {
    /// Where its database is: `sqlite://<file>` or `postgres://…`.
    pub store_url: String,
    /// Regions that exist from the start.
    pub regions: Vec<RegionConfig>,
    /// Sealing keys of regions whose edges are in this process.
    pub region_keys: RegionKeys,
    /// The bus.
    pub bus: SharedBus,
    /// Whose documents are believed.
    pub trust: Trust,
    /// Signs documents of [`BUCKETS`].
    pub signer: Signer,
    /// Where to call dns.
    pub dns: Peer,
    /// Where to call issuer.
    pub issuer: Peer,
    /// Where to call intake.
    pub intake: Peer,
    /// Tells the time.
    pub clock: SharedClock,
    /// Ends it.
    pub shutdown: Shutdown,
}

/// Why control could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database could not be opened.
    #[error("control can't open its database")]
    Store(#[from] StoreError),
    /// A configured region is wrong.
    #[error("[[region]] {id}: {why}")]
    Region {
        /// Its id, as configured.
        id: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// Control, started.
#[derive(Clone)]
pub struct Control {
    core: Arc<Core>,
}

/// What handlers and loops share.
pub(crate) struct Core {
    domains: Domains,
    peers: Peers,
    region_keys: RegionKeys,
    bus: SharedBus,
    trust: Trust,
    signer: Signer,
    clock: SharedClock,
    signals: Signals,
    proofs: prove::Candidates,
    shutdown: Shutdown,
}

/// Wakes the loops.
#[derive(Default, Clone)]
pub(crate) struct Signals {
    publish: Signal,
    announce: Signal,
    announce_first: Signal,
    prove: Signal,
    rewrite: Signal,
    stop: Signal,
}

/// Opens the database and sees to it that the configured regions exist.
///
/// # Errors
/// When the database can't be opened, or a configured region is wrong.
pub async fn start(parts: Parts) -> Result<Control, StartError> {
    let store = Store::open(&parts.store_url, "control", sql::STEPS).await?;
    let signals = Signals::default();
    let core = Arc::new(Core {
        domains: Domains::new(store, parts.clock.clone(), signals.clone()),
        peers: Peers::new(parts.dns, parts.issuer, parts.intake),
        region_keys: parts.region_keys,
        bus: parts.bus,
        trust: parts.trust,
        signer: parts.signer,
        clock: parts.clock,
        signals,
        proofs: prove::Candidates::default(),
        shutdown: parts.shutdown,
    });
    api::regions::ensure_configured(&core, &parts.regions).await?;
    Ok(Control { core })
}

impl Control {
    /// Adds control's gRPC services.
    pub async fn add_to(&self, services: &mut Services, auth: &Authenticator) {
        Api::new(self.core.clone()).add_to(services, auth).await;
    }

    /// Runs control's loops until shutdown.
    pub async fn run(self) {
        let mut loops = JoinSet::new();
        let core = self.core;
        macro_rules! keep {
            ($name:literal, $body:path) => {
                let own = core.clone();
                let shutdown = core.shutdown.clone();
                loops.spawn(keep_running($name, shutdown, move || $body(own.clone())));
            };
        }
        keep!("control publish", publish::publish);
        keep!("control follow edges", follow::edges);
        keep!("control follow dns-status", follow::dns_status);
        keep!("control follow fetches", follow::fetches);
        keep!("control announce", announce::next_ids);
        keep!("control announce first ids", announce::first_ids);
        keep!("control prove", prove::prove);
        keep!("control stop", stop::stop);
        keep!("control rewrite records", rewrite::records);
        while loops.join_next().await.is_some() {}
        core.domains.store().close().await;
    }
}
