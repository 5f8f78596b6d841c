//! The issuer: orders, keeps and publishes the certificates of policy hosts.
//!
//! A domain whose claim is proven gets a certificate for `mta-sts.<domain>`, a successor in time,
//! and another one when its owner asks: three in any seven days, one at a time.
//!
//! - **In**: bucket `regions` (where to publish, and to which key), `policies-<region>` (who hosts
//!   what: a document means proven and hosted, a tombstone no longer), `edges` (how far they are).
//! - **Out**: bucket `certificates-<region>` (chain, and the key sealed to the region) and
//!   `challenges-<region>` (the thumbprint with which edges answer a CA, so that no token travels).
//! - **Owns**: the ACME account, orders, certificates, the records of what was changed, and private
//!   keys, which leave the process only sealed: under the key-encryption key into the database, to a
//!   region onto the bus.
//! - **Asks** control before each order whether it may; a bucket gives no power.
//! - **Listens**: the certificate service over gRPC, and the records for control; nothing else.
//! - **Absent**: revocation, as the hosts serve public files; and a second CA to fall back to. One
//!   process at a time runs the loops over one database; the API's limits hold for any number.
//!
//! # Reading order
//!
//! | file | holds |
//! | --- | --- |
//! | `renew.rs` | the loop that orders what is missing |
//! | `order.rs` | one order, step by step, from wherever a crash left it |
//! | `authority.rs` `account.rs` `acme.rs` `local.rs` | who issues |
//! | `failure.rs` `http.rs` | what can go wrong with a CA |
//! | `settle.rs` | what becomes of an order without a certificate; pure |
//! | `schedule.rs` | when things are due; pure |
//! | `certificate.rs` | a key, a request, a chain that is looked at |
//! | `publish.rs` `follow.rs` `edges.rs` `control.rs` | the rest of the fleet |
//! | `trail.rs` | what was changed, for control |
//! | `api.rs` `sql.rs` `config.rs` | the rims |

mod account;
mod acme;
mod api;
mod authority;
mod certificate;
mod config;
mod control;
mod edges;
mod failure;
mod follow;
mod http;
mod local;
mod order;
mod publish;
mod renew;
mod schedule;
mod settle;
mod sql;
mod trail;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::bus::SharedBus;
use audit::{AuditKey, Once};
use service::Shutdown;
use service::clock::SharedClock;
use service::grpc::Services;
use service::page::PageTokens;
use service::peer::Peer;
use service::sealed::{Kek, SealError};
use service::supervise::{Signal, keep_running};
use wire::envelope::{Signer, Trust};
use wire::issuer::audit_trail_service_server::AuditTrailServiceServer;
use wire::issuer::certificate_service_server::CertificateServiceServer;

pub use crate::config::{Config, ConfigError, Eab, Kind};
pub use crate::http::BadRoots;
pub use crate::local::LocalCaError;

use crate::account::Acme;
use crate::api::Api;
use crate::authority::Authority;
use crate::control::Control;
use crate::edges::Edges;
use crate::local::LocalCa;
use crate::sql::Db;
use crate::trail::Trail;

/// Everything that the issuer is handed.
pub struct Parts {
    /// `[issuer]`.
    pub config: Config,
    /// The database, `sqlite://…` or `postgres://…`.
    pub store_url: String,
    /// Encrypts private keys and the account at rest; see [`Config::kek`].
    pub kek: Kek,
    /// Where documents are read and written.
    pub bus: SharedBus,
    /// Which documents are believed.
    pub trust: Trust,
    /// Signs `certificates-*` and `challenges-*`.
    pub signer: Signer,
    /// The claim service of control.
    pub control: Peer,
    /// Seals page tokens.
    pub pages: PageTokens,
    /// Seals the records of what was changed.
    pub audit_key: AuditKey,
    /// The time.
    pub clock: SharedClock,
    /// Where the local CA's root is written for clients to trust; not written with an ACME CA.
    pub local_root_file: PathBuf,
    /// Ends everything.
    pub shutdown: Shutdown,
}

/// Why the issuer could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value of its configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The roots for the CA's API can't be used.
    #[error(transparent)]
    Roots(#[from] BadRoots),
    /// The database can't be opened.
    #[error("the issuer's database can't be opened")]
    Store(#[from] store::StoreError),
    /// The local CA can't be set up.
    #[error(transparent)]
    LocalCa(#[from] LocalCaError),
    /// The database's keys are sealed under another key-encryption key.
    #[error(
        "issuer.kek is not the key that this database's private keys are sealed with: put back the \
         file issuer.kek that was in the data directory when the database was made, or the value of \
         issuer.kek; a file made at this start opens nothing"
    )]
    OtherKek(#[source] SealError),
    /// The system gives no randomness.
    #[error("the key-encryption key can't be used")]
    Kek(#[source] SealError),
}

/// A started issuer.
pub struct Issuer {
    core: Arc<Core>,
    shutdown: Shutdown,
}

/// What every part of the issuer works with.
pub(crate) struct Core {
    pub(crate) db: Db,
    pub(crate) kek: Kek,
    pub(crate) bus: SharedBus,
    pub(crate) trust: Trust,
    pub(crate) signer: Signer,
    pub(crate) control: Control,
    pub(crate) pages: PageTokens,
    pub(crate) clock: SharedClock,
    pub(crate) authority: Authority,
    pub(crate) edges: Edges,
    pub(crate) orders_at_once: usize,
    /// Wakes the loop that orders.
    pub(crate) renew: Signal,
    /// Wakes the loop that publishes.
    pub(crate) publish: Signal,
    /// Wakes the loop that follows each region.
    pub(crate) regions: Signal,
    /// Wakes the loop that keeps the records of changes in order.
    pub(crate) sweep: Signal,
}

/// Opens the database and who issues. Asks no CA: one that is down delays orders, not the start.
///
/// # Errors
/// When the configuration, the database or the local CA can't be used.
pub async fn start(parts: Parts) -> Result<Issuer, StartError> {
    let config = parts.config;
    config.check()?;
    let db = Db::open(&parts.store_url, &parts.audit_key, parts.clock.clone()).await?;
    check_kek(&db, &parts.kek).await?;
    let authority = match config.kind {
        Kind::Acme => {
            let acme = Acme::configured(&config)?;
            acme.check_roots()?;
            Authority::Acme(acme)
        }
        Kind::Local => {
            let valid_for = Duration::from_secs(config.local_validity_seconds);
            let (kek, root_file, now) = (&parts.kek, &parts.local_root_file, parts.clock.now());
            Authority::Local(LocalCa::open(&db, kek, root_file, valid_for, now).await?)
        }
    };
    let core = Core {
        db,
        kek: parts.kek,
        bus: parts.bus,
        trust: parts.trust,
        signer: parts.signer,
        control: Control::new(parts.control),
        pages: parts.pages,
        clock: parts.clock,
        authority,
        edges: Edges::default(),
        orders_at_once: config.orders_at_once,
        renew: Signal::default(),
        publish: Signal::default(),
        regions: Signal::default(),
        sweep: Signal::default(),
    };
    Ok(Issuer { core: Arc::new(core), shutdown: parts.shutdown })
}

/// Sees at the start, and not at the next renewal, that the key-encryption key is another one.
async fn check_kek(db: &Db, kek: &Kek) -> Result<(), StartError> {
    const PLACE: &str = "key_check.sealed";
    let known = kek.seal(PLACE, b"issuer.kek").map_err(StartError::Kek)?;
    let stored = db.key_check(&known).await?;
    kek.open(PLACE, &stored).map(drop).map_err(StartError::OtherKek)
}

impl Issuer {
    /// Adds the certificate service, which makes each change once, and the records for control.
    pub async fn add_to(&self, services: &mut Services) {
        let audit = &self.core.db.audit;
        let api = CertificateServiceServer::new(Api { core: self.core.clone() });
        services.add(Once::new(api, audit.clone())).await;
        services.add(AuditTrailServiceServer::new(Trail { audit: audit.clone() })).await;
    }

    /// Runs all loops until shutdown.
    pub async fn run(self) {
        let Issuer { core, shutdown } = self;
        let running = |name, start: fn(Arc<Core>) -> Running| {
            let core = core.clone();
            keep_running(name, shutdown.clone(), move || start(core.clone()))
        };
        let policies = {
            let (core, shutdown) = (core.clone(), shutdown.clone());
            keep_running("issuer follows", shutdown.clone(), move || {
                follow::policies(core.clone(), shutdown.clone())
            })
        };
        tokio::join!(
            running("issuer follows regions", |core| Box::pin(follow::regions(core))),
            running("issuer follows edges", |core| Box::pin(follow::edges(core))),
            policies,
            running("issuer orders", |core| Box::pin(renew::run(core))),
            running("issuer publishes", |core| Box::pin(publish::run(core))),
            running("issuer sweeps", |core| Box::pin(audit::sweep::run(
                core.db.audit.clone(),
                core.sweep.clone()
            ))),
        );
    }
}

/// A loop of the table in [`Issuer::run`].
type Running =
    std::pin::Pin<Box<dyn Future<Output = Result<(), service::supervise::Fault>> + Send>>;
