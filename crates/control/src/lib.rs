//! Policy control: which domains are hosted, with which policy, and how a change gets out.
//!
//! * **In**: gRPC calls of people and services; buckets `dns-status` and `edges`, stream `fetches`;
//!   dns, issuer and intake, which are asked over gRPC.
//! * **Out**: buckets `policies-<region>`, `records` and `regions`; answers over gRPC.
//! * **Owns**: tenants, people, members, tokens, claims, names, regions, policies and their history
//!   (`migrations/`, `sql/`).
//! * **Listens**: nowhere itself; [`Control::add_to`] adds its services to the process's listener.
//! * **Absent**: DNS, ACME and TLS. Nothing here waits for an edge inside a call: a call commits a
//!   row and answers; loops carry it on.
//!
//! Reading order, along one change: `api/policies.rs` (who calls, what they ask), the pure rule in
//! `hosting`, `change.rs` (one transaction: the row and its documents), `publish.rs` (documents to
//! the bus), `follow.rs` (what edges and dns say back), `announce.rs` (the new id, once all edges
//! serve its body). `prove.rs` and `stop.rs` are the two ends of a domain's life;
//! `rewrite.rs` follows a change of a region's mailbox. `identity/` says who calls, and what they may
//! do where.

mod announce;
mod api;
mod change;
mod config;
mod facts;
mod follow;
mod identity;
mod peers;
mod prove;
mod publish;
mod rewrite;
mod sign_in;
mod sql;
mod stop;
mod to_wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use audit::{Audit, AuditKey};
use bus::SharedBus;
use hosting::RegionId;
use service::Shutdown;
use service::clock::SharedClock;
use service::config::Secret;
use service::grpc::Services;
use service::page::PageTokens;
use service::peer::Peer;
use service::supervise::{Signal, keep_running};
use store::{Store, StoreError};
use tokio::task::JoinSet;
use wire::envelope::{Signer, Trust};

use crate::api::Api;
use crate::change::Domains;
pub use crate::config::{Config, RegionConfig};
use crate::peers::Peers;
pub use crate::sign_in::{BadSignIn, GrantConfig, SignInConfig};

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
    /// A Platform admin's token that is there from the start.
    pub admin_token: Secret,
    /// Seals the audit log; not kept in the database that it is about.
    pub audit_key: AuditKey,
    /// With whom people sign in; none: tokens are the only way in.
    pub sign_in: Option<SignInConfig>,
    /// Seals page tokens.
    pub pages: PageTokens,
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
    /// `[control.sign_in]` is wrong.
    #[error(transparent)]
    SignIn(#[from] BadSignIn),
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
    audit: Audit,
    /// One caller at a time goes through the audit log.
    verifying: tokio::sync::Mutex<()>,
    callers: identity::Callers,
    sign_in: Option<sign_in::SignIn>,
    pages: PageTokens,
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
    let audit = Audit::new("control", &parts.audit_key, store.clone(), parts.clock.clone());
    let signals = Signals::default();
    let sign_in = |config| sign_in::SignIn::new(config, parts.clock.clone());
    let sign_in = parts.sign_in.as_ref().map(sign_in).transpose()?;
    let core = Arc::new(Core {
        domains: Domains::new(store, audit.clone(), parts.clock.clone(), signals.clone()),
        peers: Peers::new(parts.dns, parts.issuer, parts.intake),
        region_keys: parts.region_keys,
        bus: parts.bus,
        trust: parts.trust,
        signer: parts.signer,
        audit,
        verifying: tokio::sync::Mutex::default(),
        callers: identity::Callers::new(&parts.admin_token),
        sign_in,
        pages: parts.pages,
        clock: parts.clock,
        signals,
        proofs: prove::Candidates::default(),
        shutdown: parts.shutdown,
    });
    sql::Workspace::date(core.domains.store().read(), core.clock.now()).await?;
    api::regions::ensure_configured(&core, &parts.regions).await?;
    Ok(Control { core })
}

impl Control {
    /// Adds control's gRPC services.
    pub async fn add_to(&self, services: &mut Services) {
        Api::new(self.core.clone()).add_to(services).await;
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
        keep!("control note uses", identity::note_uses);
        keep!("control publish", publish::publish);
        keep!("control follow edges", follow::edges);
        keep!("control follow dns-status", follow::dns_status);
        keep!("control follow fetches", follow::fetches);
        keep!("control announce", announce::next_ids);
        keep!("control announce first ids", announce::first_ids);
        keep!("control prove", prove::prove);
        keep!("control stop", stop::stop);
        keep!("control rewrite records", rewrite::records);
        let (audit, shutdown) = (core.audit.clone(), core.shutdown.clone());
        loops.spawn(keep_running("control sweeps", shutdown, move || {
            audit::sweep::run(audit.clone(), Signal::default())
        }));
        while loops.join_next().await.is_some() {}
        core.domains.store().close().await;
    }
}
