//! From a record in DNS to a proven claim.
//!
//! A status on the bus is only a hint to look. The proof is read anew, from every name server of
//! the zone, and decided by the rules in `hosting`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hosting::{ClaimId, Observed, has_moved, is_proof, may_transfer};
use jiff::{SignedDuration, Timestamp};
use service::supervise::Fault;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::Core;
use crate::announce::log_and_go_on;
use crate::sql::{ClaimRow, Region};

/// The timer beside the signal.
const AT_LEAST_EVERY: Duration = Duration::from_secs(2);
/// How long a claim whose record was seen, but is no proof yet, waits for its second look; twice as
/// long for each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(2);
/// How long it waits at most.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// Looks at a time: name servers that don't answer hold up only so many.
const AT_ONCE: usize = 8;

/// Claims whose record dns has seen somewhere.
#[derive(Default)]
pub(crate) struct Candidates(Mutex<HashMap<ClaimId, Candidate>>);

#[derive(Debug, Clone)]
struct Candidate {
    next_look_at: Timestamp,
    pause: SignedDuration,
    /// The first of the two looks by which a name passes from one claim to another.
    first_look: Option<Observed>,
}

impl Candidates {
    /// Notes whether a claim's record was seen at the last look; true when that is new.
    pub(crate) fn note(&self, claim: &ClaimId, proof_seen: bool, now: Timestamp) -> bool {
        let mut candidates = self.lock();
        if !proof_seen {
            candidates.remove(claim);
            return false;
        }
        if candidates.contains_key(claim) {
            return false;
        }
        let candidate = Candidate { next_look_at: now, pause: FIRST_PAUSE, first_look: None };
        candidates.insert(claim.clone(), candidate);
        true
    }

    /// Those that are due, whose next look is put off.
    fn take_due(&self, now: Timestamp) -> Vec<ClaimId> {
        let mut candidates = self.lock();
        let due = candidates.iter_mut().filter(|(_, candidate)| candidate.next_look_at <= now);
        due.map(|(claim, candidate)| {
            candidate.next_look_at = now.saturating_add(candidate.pause).unwrap_or(now);
            candidate.pause = (candidate.pause * 2).min(LONGEST_PAUSE);
            claim.clone()
        })
        .collect()
    }

    fn forget(&self, claim: &ClaimId) {
        self.lock().remove(claim);
    }

    fn first_look(&self, claim: &ClaimId) -> Option<Observed> {
        self.lock().get(claim).and_then(|candidate| candidate.first_look.clone())
    }

    fn set_first_look(&self, claim: &ClaimId, look: Option<Observed>) {
        if let Some(candidate) = self.lock().get_mut(claim) {
            candidate.first_look = look;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClaimId, Candidate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Proves for ever.
pub(crate) async fn prove(core: Arc<Core>) -> Result<(), Fault> {
    loop {
        let mut looks = JoinSet::new();
        for id in core.proofs.take_due(core.clock.now()) {
            if looks.len() >= AT_ONCE {
                looks.join_next().await;
            }
            let core = core.clone();
            looks.spawn(async move {
                let proven = look_at(&core, &id).await;
                log_and_go_on(&id, proven);
            });
        }
        while looks.join_next().await.is_some() {}
        core.signals.prove.wait(AT_LEAST_EVERY).await;
    }
}

async fn look_at(core: &Core, id: &ClaimId) -> Result<(), Fault> {
    match ClaimRow::by_id(core.domains.store().read(), id).await? {
        Some(row) if !row.claim.is_proven() && row.claim.hosting.is_some() => {
            prove_one(core, &row).await?;
        }
        // Proven, removed or switched off meanwhile.
        _ => core.proofs.forget(id),
    }
    Ok(())
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

    let owner = ClaimRow::owner_of(pool, &claim.domain).await?;
    let proven = match &owner {
        None => is_proof(&claim.nonce, &region.host, &observed),
        Some(owner) => takes_over(core, row, owner, &region, observed),
    };
    // What was decided holds as long as nobody else became the owner meanwhile.
    let before = owner.as_ref().map(|owner| &owner.claim.id);
    if proven && core.domains.prove(&claim.id, before).await?.is_some() {
        core.proofs.forget(&claim.id);
        info!(domain = %claim.domain, claim = %claim.id, "proven");
    }
    Ok(())
}

/// A name that is proven for another claim passes on after two looks, minutes apart, that both find
/// it moved.
fn takes_over(
    core: &Core,
    row: &ClaimRow,
    owner: &ClaimRow,
    region: &Region,
    observed: Observed,
) -> bool {
    let (old, new) = (&owner.claim.nonce, &row.claim.nonce);
    if !has_moved(old, new, &region.host, &observed) {
        core.proofs.set_first_look(&row.claim.id, None);
        return false;
    }
    // A first look that was made under another owner may show this one.
    let moved = |first: &Observed| has_moved(old, new, &region.host, first);
    match core.proofs.first_look(&row.claim.id).filter(moved) {
        Some(first) => may_transfer(old, new, &region.host, &first, &observed),
        None => {
            core.proofs.set_first_look(&row.claim.id, Some(observed));
            false
        }
    }
}
