//! Tells how far this edge durably serves, after each commit and as a sign of life.

use std::sync::Arc;
use std::time::Duration;

use bus::SharedBus;
use jiff::Timestamp;
use service::clock::SharedClock;
use service::supervise::Fault;
use wire::envelope::{Place, Signer, Trust};
use wire::time::to_wire;

use crate::bucket::Bucket;
use crate::take::{Taker, Told};

/// The bucket that edges write.
const EDGES: &str = "edges";
/// Whoever waits for edges forgets one that is silent for 30 s: three signs may be lost.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(10);

/// What it takes to tell.
#[derive(Clone)]
pub(crate) struct Acknowledger {
    pub(crate) edge_id: String,
    pub(crate) region: String,
    pub(crate) bus: SharedBus,
    pub(crate) trust: Trust,
    pub(crate) signer: Arc<Signer>,
    pub(crate) taker: Arc<Taker>,
    pub(crate) clock: SharedClock,
    pub(crate) started_at: Timestamp,
}

impl Acknowledger {
    /// Tells until the bus fails.
    pub(crate) async fn acknowledge(self) -> Result<(), Fault> {
        let mut last = self.last_revision().await?;
        loop {
            // Read before waiting: what is committed after this wakes us again.
            let told = self.taker.told();
            last = self.next_revision(last);
            let place = Place { revision: last, position: 0 };
            let document = self.document(told);
            let envelope = self.signer.seal(EDGES, &self.edge_id, place, &document);
            self.bus.put(EDGES, &self.edge_id, envelope.into()).await?;
            self.taker.report.wait(SIGN_OF_LIFE_EVERY).await;
        }
    }

    /// Readers take only a higher revision. The clock's milliseconds go on over a restart that
    /// lost the store; what the bus holds of us, over a clock that went back.
    fn next_revision(&self, last: u64) -> u64 {
        let now = u64::try_from(self.clock.now().as_millisecond()).unwrap_or_default();
        now.max(last + 1)
    }

    async fn last_revision(&self) -> Result<u64, Fault> {
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
