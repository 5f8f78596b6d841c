//! The end of a stop: when no sender can hold an older policy, the name goes off the air.

use std::sync::Arc;
use std::time::Duration;

use hosting::ClaimId;
use service::supervise::Fault;
use tracing::info;

use crate::Core;
use crate::announce::log_and_go_on;
use crate::sql::{ClaimRow, VersionRow, WaitingFor};

/// Stops last for days; the timer is what ends them.
const AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// Ends stops for ever.
pub(crate) async fn stop(core: Arc<Core>) -> Result<(), Fault> {
    loop {
        for id in ClaimRow::waiting(core.domains.store().read(), WaitingFor::EndOfStop).await? {
            let ended = end_if_due(&core, &id).await;
            log_and_go_on(&id, ended);
        }
        core.signals.stop.wait(AT_LEAST_EVERY).await;
    }
}

async fn end_if_due(core: &Core, id: &ClaimId) -> Result<(), Fault> {
    let pool = core.domains.store().read();
    let Some(row) = ClaimRow::by_id(pool, id).await? else { return Ok(()) };
    let ledger = VersionRow::ledger(pool, &row.claim.domain).await?;
    let ended = core.domains.advance(id, "hosting.end", |row, now| {
        // A claim that was never proven was never served: there is nothing to wait for.
        let (served, visible) = match row.claim.is_proven() {
            true => (ledger.as_slice(), row.none_visible_since),
            false => (&[][..], row.claim.stopping_since()),
        };
        let claim = row.claim.ended(served, visible, now)?;
        Some(ClaimRow { claim, announced: None, none_visible_since: None, ..row.clone() })
    });
    if ended.await?.is_some() {
        info!(domain = %row.claim.domain, "hosting has ended");
    }
    Ok(())
}
