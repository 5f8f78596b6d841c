//! Looks at every claim that is due.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use service::clock::SharedClock;
use service::supervise::{Fault, Signal};
use store::Store;
use tokio::task::JoinSet;
use tracing::error;

use crate::check::Checks;
use crate::sql;

/// The loop looks for claims that have become due this often, and at once when it is woken.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// Runs until it fails; a slow domain holds up no other.
pub(crate) async fn verify(
    store: Store,
    checks: Arc<Checks>,
    clock: SharedClock,
    signal: Signal,
    at_once: usize,
) -> Result<(), Fault> {
    let at_once = at_once.max(1);
    let mut running: JoinSet<(String, Result<(), Fault>)> = JoinSet::new();
    let mut names: HashSet<String> = HashSet::new();
    loop {
        if running.len() < at_once {
            // Those under way are still due, so that many more are asked for.
            for claim_id in sql::due(&store, clock.now(), at_once * 2).await? {
                if running.len() < at_once && names.insert(claim_id.clone()) {
                    let checks = checks.clone();
                    running.spawn(async move {
                        let done = checks.check(&claim_id).await;
                        (claim_id, done)
                    });
                }
            }
        }
        tokio::select! {
            Some(ended) = running.join_next() => {
                // A panic here starts the loop again, with a clean set of names.
                let (claim_id, done) = ended?;
                names.remove(&claim_id);
                if let Err(fault) = done {
                    error!(claim_id, "a check could not be kept");
                    return Err(fault);
                }
            }
            () = signal.wait(LONGEST_SLEEP) => {}
        }
    }
}
