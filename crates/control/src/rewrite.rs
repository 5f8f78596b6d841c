//! After a region's mailbox has changed: what its domains are told to publish is written again.
//!
//! A few at a time, each batch in a transaction of its own, so that nobody's change waits for a whole
//! region; how far it has got is stored, so that a restart goes on from there.

use std::sync::Arc;
use std::time::Duration;

use service::supervise::Fault;

use crate::Core;
use crate::sql::Region;

/// The timer beside the signal.
const AT_LEAST_EVERY: Duration = Duration::from_secs(30);
/// Claims in one transaction: a few milliseconds of the one writer's time.
const BATCH: i64 = 50;

/// Writes records again for ever.
pub(crate) async fn records(core: Arc<Core>) -> Result<(), Fault> {
    loop {
        for region in Region::all(core.domains.store().read()).await? {
            while core.domains.rewrite_some_records(&region.id, BATCH).await? {}
        }
        core.signals.rewrite.wait(AT_LEAST_EVERY).await;
    }
}
