//! What comes back: how far edges are, what dns finds, what senders fetched.

use std::sync::Arc;

use bus::Entry;
use hosting::{ClaimId, Domain};
use service::supervise::Fault;
use tracing::warn;
use wire::Message;
use wire::bus as v1;
use wire::envelope::Opened;
use wire::time::from_wire;

use crate::announce::log_and_go_on;
use crate::sql::{ClaimRow, Edge, Refused, VersionRow};
use crate::{Core, FETCHES_CONSUMER};

/// An edge tells of at most so many documents that it would not take.
const MAX_REFUSED: usize = 100;

/// Follows bucket `edges`.
pub(crate) async fn edges(core: Arc<Core>) -> Result<(), Fault> {
    let mut watch = core.bus.watch("edges", 0).await?;
    loop {
        let entry = watch.next().await?;
        let Some((opened, document)) = open::<v1::EdgeDocument>(&core, "edges", &entry) else {
            continue;
        };
        let Ok(region) = document.region_id.parse() else { continue };
        let refused = document.refused.into_iter().take(MAX_REFUSED).map(|refused| Refused {
            bucket: refused.bucket,
            key: refused.key,
            position: refused.position,
            reason: refused.reason,
        });
        let edge = Edge {
            id: document.edge_id,
            region,
            revision: opened.place.revision,
            policies_position: document.policies_position,
            certificates_position: document.certificates_position,
            domains: document.domains,
            software: document.version,
            refused: refused.collect(),
            // Ours, not the edge's: an edge with a wrong clock must not look dead, or alive.
            heard_at: core.clock.now(),
        };
        let mut write = core.domains.store().write().await?;
        edge.put(&mut write).await?;
        write.commit().await?;
        core.signals.announce.wake();
        core.signals.announce_first.wake();
    }
}

/// Follows bucket `dns-status`.
pub(crate) async fn dns_status(core: Arc<Core>) -> Result<(), Fault> {
    let mut watch = core.bus.watch("dns-status", 0).await?;
    loop {
        let entry = watch.next().await?;
        let Some((_, status)) = open::<v1::DnsStatusDocument>(&core, "dns-status", &entry) else {
            continue;
        };
        let Ok(id) = status.claim_id.parse::<ClaimId>() else { continue };
        if core.proofs.note(&id, status.proof_seen, core.clock.now()) {
            core.signals.prove.wake();
        }
        let noted = note_status(&core, &id, &status).await;
        log_and_go_on(&id, noted);
    }
}

async fn note_status(
    core: &Core,
    id: &ClaimId,
    status: &v1::DnsStatusDocument,
) -> Result<(), Fault> {
    let now = core.clock.now();
    let checked_at = status.checked_at.as_ref().and_then(from_wire).unwrap_or(now);
    let found = status.found_policy_id.as_str();
    if !found.is_empty()
        && let Ok(domain) = Domain::stored(&status.domain)
    {
        let mut write = core.domains.store().write().await?;
        VersionRow::note_seen_in_dns(&mut write, &domain, found, checked_at).await?;
        write.commit().await?;
    }
    let changed = core.domains.advance(id, "dns.seen", |row, _| {
        let mut next = ClaimRow { found_policy_id: found.to_owned(), ..row.clone() };
        // The clock of a stop starts when senders can see that something has changed.
        let none_announced = row.claim.stopping_since().is_some()
            && row.announced.as_ref().map(|a| a.version.revision) == row.claim.revision();
        let none_id = row.announced.as_ref().map(|a| a.version.policy_id.as_str());
        if none_announced && (none_id == Some(found) || status.txt_absent) {
            // Not before it could be seen, whatever the date of what dns says.
            let announced_at = row.announced.as_ref().and_then(|row| row.announced_at);
            let seen = announced_at.map_or(checked_at, |at| checked_at.max(at));
            next.none_visible_since = row.none_visible_since.or(Some(seen));
        }
        (next != *row).then_some(next)
    });
    if changed.await?.is_some() {
        core.signals.stop.wake();
    }
    Ok(())
}

/// Reads stream `fetches`, for when each version was last served.
pub(crate) async fn fetches(core: Arc<Core>) -> Result<(), Fault> {
    let mut consumer = core.bus.consume("fetches", FETCHES_CONSUMER).await?;
    loop {
        let delivery = consumer.next().await?;
        match v1::FetchBatch::decode(delivery.payload().as_ref()) {
            Ok(batch) => note_fetches(&core, &batch).await?,
            Err(why) => warn!(id = delivery.id(), %why, "a batch of fetches can't be read"),
        }
        delivery.acknowledge().await?;
    }
}

/// Later times win, so a batch that comes twice changes nothing.
async fn note_fetches(core: &Core, batch: &v1::FetchBatch) -> Result<(), Fault> {
    let mut write = core.domains.store().write().await?;
    // When it is told, by our clock: an edge's clock may be wrong, and a stop that ends too early
    // costs mail where one that ends too late costs nothing.
    let now = core.clock.now();
    for count in &batch.counts {
        VersionRow::note_served(&mut write, &count.domain, count.revision, now).await?;
    }
    write.commit().await?;
    Ok(())
}

/// A verified document; none for a tombstone and for what is not to be believed.
fn open<M: Message + Default>(core: &Core, bucket: &str, entry: &Entry) -> Option<(Opened, M)> {
    let opened = core.trust.open(bucket, &entry.key, &entry.value);
    let opened = opened.and_then(|opened| Ok((opened.document()?, opened)));
    match opened {
        Ok((document, opened)) => document.map(|document| (opened, document)),
        Err(why) => {
            warn!(bucket, key = entry.key, %why, "a document was not believed");
            None
        }
    }
}
