//! The evidence that a domain may be enforced. For now: how often senders fetch its policy.
//!
//! * **In**: stream `fetches`, counted by the edges; gRPC calls.
//! * **Out**: activity per day and kind of client.
//! * **Owns**: fetch counts (`migrations/`, `sql.rs`).
//! * **Absent**: any decision. A fetch is not a sender: some fetch at each delivery, some once a
//!   week, so a count is shown and never weighed here.
//!
//! Reading order: `count.rs` (from the stream into the table), `api.rs` (out again).

mod api;
mod config;
mod count;
mod sql;

use std::sync::Arc;

use bus::SharedBus;
use service::Shutdown;
use service::clock::SharedClock;
use service::grpc::Services;
use service::peer::Peer;
use service::supervise::keep_running;
use store::{Store, StoreError};
use wire::control::claim_service_client::ClaimServiceClient;

pub use crate::config::Config;

/// The name under which intake reads stream `fetches`.
pub const FETCHES_CONSUMER: &str = "intake";

/// Everything that intake is handed.
pub struct Parts {
    /// Where its database is: `sqlite://<file>` or `postgres://…`.
    pub store_url: String,
    /// The bus.
    pub bus: SharedBus,
    /// Where to call control.
    pub control: Peer,
    /// Tells the time.
    pub clock: SharedClock,
    /// Ends it.
    pub shutdown: Shutdown,
}

/// Why intake could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database could not be opened.
    #[error("intake can't open its database")]
    Store(#[from] StoreError),
}

/// Intake, started.
#[derive(Clone)]
pub struct Intake {
    core: Arc<Core>,
}

pub(crate) struct Core {
    store: Store,
    bus: SharedBus,
    control: ClaimServiceClient<Peer>,
    clock: SharedClock,
    shutdown: Shutdown,
}

/// Opens the database.
///
/// # Errors
/// When it can't be opened.
pub async fn start(parts: Parts) -> Result<Intake, StartError> {
    let core = Core {
        store: Store::open(&parts.store_url, "intake", sql::STEPS).await?,
        bus: parts.bus,
        control: ClaimServiceClient::new(parts.control),
        clock: parts.clock,
        shutdown: parts.shutdown,
    };
    Ok(Intake { core: Arc::new(core) })
}

impl Intake {
    /// Adds intake's gRPC service.
    pub async fn add_to(&self, services: &mut Services) {
        api::add_to(&self.core, services).await;
    }

    /// Counts fetches until shutdown.
    pub async fn run(self) {
        let shutdown = self.core.shutdown.clone();
        let core = self.core.clone();
        keep_running("intake count fetches", shutdown, move || count::fetches(core.clone())).await;
        self.core.store.close().await;
    }
}
