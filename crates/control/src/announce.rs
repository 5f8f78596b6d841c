//! Body before signal.
//!
//! The id that is shown and published changes only when all live edges of the region serve the
//! body that it stands for
//! ([RFC 8461 section 8.1](https://www.rfc-editor.org/rfc/rfc8461#section-8.1)): a sender that saw
//! the new id first would fetch the old body and keep it under the new id.

use std::sync::Arc;
use std::time::Duration;

use hosting::{Claim, ClaimId};
use service::supervise::{Fault, chain};
use store::StoreError;
use tracing::{error, info, warn};

use crate::Core;
use crate::change::policies_bucket;
use crate::sql::{ClaimRow, Document, Edge, Feed, VersionRow, WaitingFor};

/// The timer beside the signal.
const AT_LEAST_EVERY: Duration = Duration::from_secs(2);

/// How far a claim's newest policy has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spread {
    /// Live edges of the region.
    pub(crate) live: u32,
    /// Those of them that durably serve the newest policy.
    pub(crate) serving: u32,
}

impl Spread {
    /// All live edges serve it, and there is one.
    pub(crate) fn is_complete(self) -> bool {
        self.live > 0 && self.serving == self.live
    }
}

/// Announces the ids of changes for ever. They, an emergency's above all, wait for no other service.
pub(crate) async fn next_ids(core: Arc<Core>) -> Result<(), Fault> {
    loop {
        for id in ClaimRow::waiting(core.domains.store().read(), WaitingFor::NextId).await? {
            let announced = announce_next(&core, &id).await;
            log_and_go_on(&id, announced);
        }
        core.signals.announce.wait(AT_LEAST_EVERY).await;
    }
}

/// Announces first ids for ever. Before its first id senders look nowhere for a domain's policy, so
/// they are told of it once a certificate is served, too.
pub(crate) async fn first_ids(core: Arc<Core>) -> Result<(), Fault> {
    loop {
        for id in ClaimRow::waiting(core.domains.store().read(), WaitingFor::FirstId).await? {
            let announced = announce_first(&core, &id).await;
            log_and_go_on(&id, announced);
        }
        core.signals.announce_first.wait(AT_LEAST_EVERY).await;
    }
}

async fn announce_next(core: &Core, id: &ClaimId) -> Result<(), Fault> {
    match ClaimRow::by_id(core.domains.store().read(), id).await? {
        Some(row) => announce_one(core, &row).await,
        None => Ok(()),
    }
}

async fn announce_first(core: &Core, id: &ClaimId) -> Result<(), Fault> {
    let Some(row) = ClaimRow::by_id(core.domains.store().read(), id).await? else {
        return Ok(());
    };
    // A stop must end, also where no certificate could ever be had.
    if row.claim.stopping_since().is_some() || certificate_is_served(core, &row).await? {
        announce_one(core, &row).await?;
    }
    Ok(())
}

/// One claim that can't be read holds up nobody else's.
pub(crate) fn log_and_go_on(id: &ClaimId, done: Result<(), Fault>) {
    if let Err(fault) = done {
        error!(claim = %id, fault = chain(&*fault), "this claim is passed over");
    }
}

async fn announce_one(core: &Core, row: &ClaimRow) -> Result<(), Fault> {
    let Some(hosting) = &row.claim.hosting else { return Ok(()) };
    if !spread(core, &row.claim).await?.is_complete() {
        return Ok(());
    }
    let revision = hosting.current.revision;
    let announced = core.domains.advance(&row.claim.id, "policy.announce", |row, now| {
        let hosting = row.claim.hosting.as_ref()?;
        let announced = VersionRow {
            version: hosting.current.clone(),
            announced_at: Some(now),
            announced_until: None,
            last_served_at: None,
        };
        let unchanged = hosting.current.revision == revision;
        unchanged.then(|| ClaimRow { announced: Some(announced), ..row.clone() })
    });
    if announced.await?.is_some() {
        let domain = &row.claim.domain;
        info!(%domain, %revision, policy_id = %hosting.current.policy_id, "announced");
    }
    Ok(())
}

/// How many of a region's live edges serve a claim's newest policy.
pub(crate) async fn spread(core: &Core, claim: &Claim) -> Result<Spread, StoreError> {
    let mut spread = Spread { live: 0, serving: 0 };
    let Some(hosting) = &claim.hosting else { return Ok(spread) };
    let pool = core.domains.store().read();
    let (bucket, domain) = (policies_bucket(&hosting.region), claim.domain.as_str());
    let position = match Document::find(pool, &bucket, domain).await? {
        // What edges serve under the name is this claim's only once it is proven.
        Some(document) if claim.is_proven() && document.is_served() => document.position,
        _ => 0,
    };
    let given = Feed::find(pool, &bucket).await?.map_or(0, |feed| feed.position);
    let now = core.clock.now();
    for edge in Edge::all(pool).await? {
        if edge.region != hosting.region || !edge.is_live(now) {
            continue;
        }
        spread.live += 1;
        if edge.policies_position > given {
            // Our database is older than what the edge has seen: it proves nothing about ours.
            error!(edge = edge.id, position = edge.policies_position, given, "an edge is ahead");
            continue;
        }
        spread.serving += u32::from(edge.serves_policy(domain, position));
    }
    Ok(spread)
}

async fn certificate_is_served(core: &Core, row: &ClaimRow) -> Result<bool, StoreError> {
    let claim = &row.claim;
    match core.peers.certificate(claim).await {
        Ok(Some(certificate)) => {
            let now = core.clock.now();
            let edges = Edge::all(core.domains.store().read()).await?;
            let live: Vec<_> = edges
                .iter()
                .filter(|edge| {
                    claim.hosting.as_ref().is_some_and(|h| h.region == edge.region)
                        && edge.is_live(now)
                })
                .collect();
            let domain = claim.domain.as_str();
            let valid = certificate.not_after.is_some_and(|until| until > now);
            Ok(valid
                && !live.is_empty()
                && live.iter().all(|e| e.serves_certificate(domain, certificate.position)))
        }
        Ok(None) => Ok(false),
        Err(why) => {
            warn!(domain = %claim.domain, %why, "the first id waits: issuer does not answer");
            Ok(false)
        }
    }
}
