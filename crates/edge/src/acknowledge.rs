//! Tells how far this edge durably serves, after each commit and as a sign of life.

use std::sync::Arc;
use std::time::Duration;

use bus::SharedBus;
use jiff::Timestamp;
use service::clock::SharedClock;
use service::supervise::Fault;
use tokio::task::spawn_blocking;
use tracing::warn;
use wire::envelope::{Place, Signer, Trust};
use wire::time::to_wire;

use crate::bucket::Bucket;
use crate::follow::Again;
use crate::store::record::Record;
use crate::store::{Change, StoreError, Table};
use crate::take::{Taker, Told};

/// The bucket that edges write.
const EDGES: &str = "edges";
/// Whoever waits for edges forgets one that is silent for 30 s: three signs may be lost.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(10);

/// Where the store's meta table has the highest revision that may have been told.
const REVISION: &str = "told";
/// Revisions that one write allows: hours of signs of life. A restart skips at most as many
/// milliseconds, so they do not run ahead of the clock.
const RESERVED: u64 = 1_000;

/// What it takes to tell.
#[derive(Clone)]
pub(crate) struct Acknowledger {
    pub(crate) edge_id: String,
    pub(crate) region: String,
    pub(crate) bus: SharedBus,
    pub(crate) trust: Trust,
    pub(crate) signer: Arc<Signer>,
    pub(crate) taker: Arc<Taker>,
    pub(crate) again: Arc<Again>,
    pub(crate) clock: SharedClock,
    pub(crate) started_at: Timestamp,
}

/// What counts the documents that are told: readers take only a higher revision.
struct Revisions {
    last: u64,
    /// The store knows of all up to this one.
    kept: u64,
}

impl Acknowledger {
    /// Tells until the bus fails.
    pub(crate) async fn acknowledge(self) -> Result<(), Fault> {
        let now = self.clock.now();
        let mut revisions = Revisions::above(now, self.kept(), self.on_bus().await?);
        loop {
            // Read before waiting: what is committed after this wakes us again.
            let told = self.taker.told();
            let place = Place { revision: revisions.next(), position: 0 };
            self.keep(&mut revisions).await?;
            let document = self.document(told);
            let envelope = self.signer.seal(EDGES, &self.edge_id, place, &document);
            self.bus.put(EDGES, &self.edge_id, envelope.into()).await?;
            self.taker.report.wait(SIGN_OF_LIFE_EVERY).await;
        }
    }

    /// Lets the store know of a revision before it is told. With a disk that takes no writes an
    /// edge tells all the same: one that is silent is not waited for, though it serves.
    async fn keep(&self, revisions: &mut Revisions) -> Result<(), Fault> {
        let Some(kept) = revisions.to_keep() else { return Ok(()) };
        let document = kept.to_string().into_bytes();
        let sealed = Record { document, ..Record::default() }.seal(Table::Meta, REVISION);
        let change = Change::Put(Table::Meta, REVISION.to_owned(), sealed);
        let store = self.taker.store.clone();
        match spawn_blocking(move || store.commit(vec![change])).await? {
            Ok(()) => revisions.kept = kept,
            Err(StoreError::Rebuilt { .. }) => {
                self.taker.begin_anew();
                self.again.want_all();
            }
            Err(fault) => warn!(%fault, "the revision of what is told could not be kept"),
        }
        Ok(())
    }

    /// The highest revision that may have been told, as far as the store knows.
    fn kept(&self) -> u64 {
        let bytes = self.taker.store.get(Table::Meta, REVISION).ok().flatten();
        let record = bytes.and_then(|bytes| Record::open(Table::Meta, REVISION, &bytes).ok());
        let text = record.and_then(|record| String::from_utf8(record.document).ok());
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    async fn on_bus(&self) -> Result<u64, Fault> {
        let Some(entry) = self.bus.get(EDGES, &self.edge_id).await? else { return Ok(0) };
        // What somebody else wrote there says nothing about what readers believe of us.
        let opened = self.trust.open(EDGES, &self.edge_id, &entry.value);
        Ok(opened.map_or(0, |opened| opened.place.revision))
    }

    fn document(&self, told: Told) -> wire::bus::EdgeDocument {
        wire::bus::EdgeDocument {
            edge_id: self.edge_id.clone(),
            region_id: self.region.clone(),
            policies_position: told.positions[Bucket::Policies.index()],
            certificates_position: told.positions[Bucket::Certificates.index()],
            challenges_position: told.positions[Bucket::Challenges.index()],
            domains: told.domains,
            heard_at: Some(to_wire(self.clock.now())),
            started_at: Some(to_wire(self.started_at)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            refused: told.refused,
        }
    }
}

impl Revisions {
    /// Begins above all that were told: the store knows them over a clock that went back, the
    /// clock's milliseconds go on over a store that was lost, and a bus that kept our last word
    /// knows them over both.
    fn above(now: Timestamp, kept: u64, on_bus: u64) -> Revisions {
        let now = u64::try_from(now.as_millisecond()).unwrap_or_default();
        Revisions { last: now.max(kept).max(on_bus), kept }
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// What has to be kept before the last one is told.
    fn to_keep(&self) -> Option<u64> {
        (self.last > self.kept).then(|| self.last + RESERVED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_go_on_above_whatever_is_known() {
        for (now, kept, on_bus, first) in
            [(50, 0, 0, 51), (50, 70, 0, 71), (50, 70, 90, 91), (-1, 0, 0, 1)]
        {
            let now = Timestamp::from_millisecond(now).unwrap();
            assert_eq!(Revisions::above(now, kept, on_bus).next(), first);
        }
    }

    #[test]
    fn every_revision_is_kept_before_it_is_told_and_few_cost_a_write() {
        let mut revisions = Revisions::above(Timestamp::UNIX_EPOCH, 0, 0);
        let mut writes = 0;
        for _ in 0..10 * RESERVED {
            let told = revisions.next();
            if let Some(kept) = revisions.to_keep() {
                revisions.kept = kept;
                writes += 1;
            }
            assert!(told <= revisions.kept);
        }
        assert_eq!(writes, 10);
    }
}
