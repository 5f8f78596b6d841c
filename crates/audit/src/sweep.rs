//! The loop that keeps the records of changes in order: forgets idempotency keys that no longer count,
//! and once a day looks whether the chains of records are as they were written.
//!
//! What it finds goes into the log with the end of each chain. Where logs are kept elsewhere, a
//! database that was set back to an older state shows: its chains no longer hold what the log names.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use service::supervise::{Fault, Signal};
use tracing::{error, info};

use crate::{Audit, Chain};

/// A key counts for a day: an hour more or less is nothing.
const TIMER: Duration = Duration::from_secs(60 * 60);

/// Chains are looked at so often, and after each start.
const NOTED_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// Looks round after round, until its task is ended.
///
/// # Errors
/// When the database fails: begin again.
pub async fn run(audit: Audit, wake: Signal) -> Result<(), Fault> {
    let mut sweep = Sweep::default();
    loop {
        sweep.look(&audit).await?;
        wake.wait(TIMER).await;
    }
}

/// What the loop remembers.
#[derive(Debug, Default)]
pub struct Sweep {
    noted_at: Option<Timestamp>,
}

impl Sweep {
    /// Does what is due, and gives the chains that it has noted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn look(&mut self, audit: &Audit) -> Result<Vec<Chain>, Fault> {
        audit.sweep().await?;
        let now = audit.inner.clock.now();
        if self.noted_at.is_some_and(|at| now.duration_since(at) < NOTED_EVERY) {
            return Ok(Vec::new());
        }
        let chains = audit.verify_all().await?;
        chains.iter().for_each(|chain| note(audit.service(), chain));
        self.noted_at = Some(now);
        Ok(chains)
    }
}

fn note(service: &str, chain: &Chain) {
    let Chain { workspace, sequence, hash, problems, .. } = chain;
    info!(service, workspace, sequence, %hash, "an audit chain ends here");
    if let Some(first) = problems.first() {
        let (problems, at, what) = (problems.len(), first.sequence, &first.what);
        error!(service, workspace, problems, at, what, "an audit chain isn't as it was written");
    }
}
