//! Looks at every claim that is due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use service::clock::SharedClock;
use service::supervise::{Fault, Signal, chain};
use store::Store;
use tokio::task::{Id, JoinSet};
use tracing::error;

use crate::check::Checks;
use crate::sql::{self, Due};

/// The loop looks for claims that have become due this often, and at once when it is woken.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// Runs until the database fails. A slow domain holds up no other, nor does one whose check fails:
/// that one is put off.
pub(crate) async fn verify(
    store: Store,
    checks: Arc<Checks>,
    clock: SharedClock,
    signal: Signal,
    at_once: usize,
) -> Result<(), Fault> {
    let at_once = at_once.max(1);
    let mut running: JoinSet<Result<(), Fault>> = JoinSet::new();
    let mut claims: HashMap<Id, Due> = HashMap::new();
    loop {
        if running.len() < at_once {
            // Those under way are still due, so that many more are asked for.
            for due in sql::due(&store, clock.now(), at_once * 2).await? {
                let is_under_way = claims.values().any(|other| other.claim_id == due.claim_id);
                if running.len() < at_once && !is_under_way {
                    let (checks, claim_id) = (checks.clone(), due.claim_id.clone());
                    let task = running.spawn(async move { checks.check(&claim_id).await });
                    claims.insert(task.id(), due);
                }
            }
        }
        tokio::select! {
            Some(ended) = running.join_next_with_id() => {
                let (task, done) = match ended {
                    Ok(ended) => ended,
                    Err(panicked) => (panicked.id(), Err(panicked.into())),
                };
                if let (Some(due), Err(fault)) = (claims.remove(&task), done) {
                    let claim_id = due.claim_id.as_str();
                    error!(claim_id, fault = chain(&*fault), "a check failed, and is put off");
                    checks.put_off(&due).await?;
                }
            }
            () = signal.wait(LONGEST_SLEEP) => {}
        }
    }
}
