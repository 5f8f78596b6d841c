//! Takes in what control tells owners to publish.

use bus::SharedBus;
use service::clock::SharedClock;
use service::supervise::{Fault, Signal};
use store::Store;
use tracing::{info, warn};
use wire::envelope::{Opened, Trust};

use crate::expected::Expected;
use crate::sql;

/// Where control writes one document per claim.
pub const BUCKET: &str = "records";

/// Runs until the bus or the database fails. Always reads the whole bucket first: what is here
/// already is known by its revision.
pub(crate) async fn follow(
    store: Store,
    bus: SharedBus,
    trust: Trust,
    clock: SharedClock,
    verify: Signal,
) -> Result<(), Fault> {
    let mut watch = bus.watch(BUCKET, 0).await?;
    loop {
        let entry = watch.next().await?;
        let opened = match trust.open(BUCKET, &entry.key, &entry.value) {
            Ok(opened) => opened,
            Err(why) => {
                warn!(key = entry.key, %why, "a records document is not believed");
                continue;
            }
        };
        if take(&store, &clock, &entry.key, &opened).await? {
            verify.wake();
        }
    }
}

async fn take(
    store: &Store,
    clock: &SharedClock,
    key: &str,
    opened: &Opened,
) -> Result<bool, Fault> {
    let document: Option<wire::bus::RecordsDocument> = match opened.document() {
        Ok(document) => document,
        Err(why) => {
            warn!(key, %why, "a records document can't be read");
            return Ok(false);
        }
    };
    if let Some(document) = &document {
        let readable = Expected::from_document(document.clone());
        let belongs_here = document.claim_id == key;
        if let (Err(why), true) = (&readable, belongs_here) {
            warn!(key, %why, "a records document makes no sense");
        }
        if readable.is_err() || !belongs_here {
            return Ok(false);
        }
    }
    let revision = opened.place.revision;
    let taken = sql::take(store, key, revision, document.as_ref(), clock.now()).await?;
    if taken {
        info!(key, revision, removed = document.is_none(), "took a records document");
    }
    Ok(taken)
}
