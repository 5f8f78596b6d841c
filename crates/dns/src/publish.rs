//! Puts status documents on the bus, in the order of their positions.

use std::sync::Arc;
use std::time::Duration;

use bus::SharedBus;
use service::supervise::{Fault, Signal};
use store::Store;
use wire::envelope::{Place, Signer};

use crate::sql::{self, StatusRow};

/// Where status documents go.
pub const BUCKET: &str = "dns-status";

/// Also without a signal: the bus may have been away, or have lost its documents.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// Documents of one transaction.
const BATCH: i64 = 200;

/// Runs until the bus or the database fails.
pub(crate) async fn publish(
    store: Store,
    bus: SharedBus,
    signer: Arc<Signer>,
    signal: Signal,
) -> Result<(), Fault> {
    loop {
        let generation = bus.generation(BUCKET).await?;
        if sql::generation(&store, BUCKET).await? != generation {
            sql::refill(&store, BUCKET, &generation).await?;
        }
        drain(&store, &bus, &signer).await?;
        signal.wait(LONGEST_SLEEP).await;
    }
}

async fn drain(store: &Store, bus: &SharedBus, signer: &Signer) -> Result<(), Fault> {
    loop {
        let rows = sql::next_to_publish(store, BUCKET, BATCH).await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows.clone() {
            put(bus, signer, row).await?;
        }
        sql::published(store, &rows).await?;
    }
}

async fn put(bus: &SharedBus, signer: &Signer, row: StatusRow) -> Result<(), Fault> {
    let place = Place { revision: row.revision, position: row.position };
    let envelope = signer.seal_encoded(BUCKET, &row.claim_id, place, row.document);
    bus.put(BUCKET, &row.claim_id, envelope.into()).await?;
    Ok(())
}
