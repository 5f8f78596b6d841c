//! From a record in DNS to a proven claim.
//!
//! A status on the bus is only a hint to look. The proof is read anew, from every name server of
//! the zone, and decided by the rules in `hosting`.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hosting::{ClaimId, Observed, is_proof, may_transfer};
use service::supervise::Fault;
use tracing::{info, warn};

use crate::Core;
use crate::sql::{ClaimRow, Region};

/// The timer beside the signal: how often a claim whose record was seen, but is no proof yet, is
/// looked at again.
const AT_LEAST_EVERY: Duration = Duration::from_secs(5);

/// Claims whose record dns has seen somewhere, and the first of two looks of those that would
/// take a name over.
#[derive(Default)]
pub(crate) struct Candidates {
    seen: Mutex<BTreeSet<String>>,
    first_looks: Mutex<HashMap<String, Observed>>,
}

impl Candidates {
    /// Notes whether a claim's record was seen at the last look.
    pub(crate) fn note(&self, claim: &ClaimId, proof_seen: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if proof_seen {
            seen.insert(claim.to_string());
        } else {
            seen.remove(claim.as_str());
        }
    }

    fn list(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn first_look(&self, claim: &ClaimId) -> Option<Observed> {
        let looks = self.first_looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.get(claim.as_str()).cloned()
    }

    fn set_first_look(&self, claim: &ClaimId, look: Option<Observed>) {
        let mut looks = self.first_looks.lock().unwrap_or_else(PoisonError::into_inner);
        match look {
            Some(look) => looks.insert(claim.to_string(), look),
            None => looks.remove(claim.as_str()),
        };
    }
}

/// Proves for ever.
pub(crate) async fn prove(core: Arc<Core>) -> Result<(), Fault> {
    loop {
        core.signals.prove.wait(AT_LEAST_EVERY).await;
        for id in core.proofs.list() {
            let Ok(id) = id.parse::<ClaimId>() else { continue };
            match ClaimRow::by_id(core.domains.store().read(), &id).await? {
                Some(row) if !row.claim.is_proven() && row.claim.hosting.is_some() => {
                    prove_one(&core, &row).await?;
                }
                // Proven, removed or switched off meanwhile.
                _ => core.proofs.note(&id, false),
            }
        }
    }
}

async fn prove_one(core: &Core, row: &ClaimRow) -> Result<(), Fault> {
    let claim = &row.claim;
    let Some(hosting) = &claim.hosting else { return Ok(()) };
    let pool = core.domains.store().read();
    let Some(region) = Region::find(pool, &hosting.region).await? else { return Ok(()) };
    let observed = match core.peers.observe_proof(&claim.domain).await {
        Ok(observed) => observed,
        Err(why) => {
            warn!(domain = %claim.domain, %why, "the proof waits");
            return Ok(());
        }
    };

    let proven = match ClaimRow::owner_of(pool, &claim.domain).await? {
        None => is_proof(&claim.nonce, &region.host, &observed),
        Some(owner) => takes_over(core, row, &owner, &region, observed),
    };
    if proven && core.domains.prove(&claim.id).await?.is_some() {
        core.proofs.note(&claim.id, false);
        core.proofs.set_first_look(&claim.id, None);
        info!(domain = %claim.domain, claim = %claim.id, "proven");
    }
    Ok(())
}

/// A name that is proven for another claim passes on after two looks, minutes apart.
fn takes_over(
    core: &Core,
    row: &ClaimRow,
    owner: &ClaimRow,
    region: &Region,
    observed: Observed,
) -> bool {
    let (old, new) = (&owner.claim.nonce, &row.claim.nonce);
    let Some(first) = core.proofs.first_look(&row.claim.id) else {
        if is_proof(new, &region.host, &observed) {
            core.proofs.set_first_look(&row.claim.id, Some(observed));
        }
        return false;
    };
    if !is_proof(new, &region.host, &observed) {
        core.proofs.set_first_look(&row.claim.id, None);
        return false;
    }
    may_transfer(old, new, &region.host, &first, &observed)
}
