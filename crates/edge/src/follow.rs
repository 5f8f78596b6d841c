//! Follows one bucket: what comes is verified and stored, in batches, and served.
//!
//! After a restart it goes on where it stopped. It begins again from the start when the bucket is
//! in another life (see [`bus::Bus::generation`]) or when something here turned out to be damaged,
//! and from the first document that was held back once the budget for it is renewed, or left aside
//! without a name once there is room for it. Documents that are here already pass quickly, so all
//! of these are the same code.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{BusError, Entry, SharedBus, Watch};
use futures_util::FutureExt;
use service::supervise::{Fault, Signal};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::info;

use crate::bucket::Bucket;
use crate::store::{StoreError, Table};
use crate::take::{DISK, Taker};

/// How often it is looked at whether the bucket lives another life: losing a bucket is rare, and
/// what is here serves meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// How soon a bucket is followed from its start again because of damage. Anyone can ask for a
/// damaged name any number of times a second; the bus is to be asked once.
const FROM_START_EVERY: Duration = Duration::from_secs(300);

/// Documents in one commit. A commit costs two syncs, some milliseconds; a document's signature a
/// tenth of one: so a change that comes alone is served at once, and a flood costs few syncs.
const BATCH: usize = 256;

/// Bytes in one commit, for documents are of very different lengths.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Wishes to have buckets followed from their start again.
#[derive(Default)]
pub(crate) struct Again {
    wanted: [AtomicBool; 3],
    signals: [Signal; 3],
    last: Mutex<[Option<Instant>; 3]>,
}

impl Again {
    /// Something in this table is damaged or lost.
    pub(crate) fn want(&self, table: Table) {
        for bucket in Bucket::ALL {
            if bucket.table() == table && !self.wanted[bucket.index()].swap(true, Ordering::SeqCst)
            {
                self.signals[bucket.index()].wake();
            }
        }
    }

    /// Everything may be lost: nothing waits for [`FROM_START_EVERY`], for nobody can cause it at
    /// will.
    pub(crate) fn want_all(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
        for bucket in Bucket::ALL {
            self.wanted[bucket.index()].store(true, Ordering::SeqCst);
            self.signals[bucket.index()].wake();
        }
    }

    /// Whether it is time for a wish of this bucket; if so it is fulfilled with that.
    fn due(&self, bucket: Bucket) -> bool {
        let at = bucket.index();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let pause_over = last[at].is_none_or(|last| last.elapsed() >= FROM_START_EVERY);
        let due = pause_over && self.wanted[at].swap(false, Ordering::SeqCst);
        if due {
            last[at] = Some(Instant::now());
        }
        due
    }
}

/// One bucket being followed.
#[derive(Clone)]
pub(crate) struct Follower {
    pub(crate) bucket: Bucket,
    pub(crate) name: String,
    pub(crate) bus: SharedBus,
    pub(crate) taker: Arc<Taker>,
    pub(crate) again: Arc<Again>,
}

impl Follower {
    /// Follows until something fails.
    pub(crate) async fn follow(self) -> Result<(), Fault> {
        loop {
            let generation = self.bus.generation(&self.name).await?;
            let from_start = self.again.due(self.bucket);
            let sequence = self.begin(generation.clone(), from_start).await?;
            info!(bucket = self.name, sequence, "following");
            let watch = self.bus.watch(&self.name, sequence).await?;
            self.follow_one_life(watch, &generation).await?;
        }
    }

    /// Returns when the bucket has to be watched anew.
    async fn follow_one_life(
        &self,
        mut watch: Box<dyn Watch>,
        generation: &str,
    ) -> Result<(), Fault> {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wished = &self.again.signals[self.bucket.index()];
        loop {
            tokio::select! {
                entry = watch.next() => {
                    let mut entries = vec![entry?];
                    let ended = gather(&mut entries, &mut *watch);
                    self.take(entries).await?;
                    ended?;
                }
                _ = look.tick() => {
                    let lost = self.bus.generation(&self.name).await? != generation;
                    if lost || self.wants_again().await? {
                        return Ok(());
                    }
                }
                () = wished.wait(LOOK_EVERY) => {
                    if self.wants_again().await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn wants_again(&self) -> Result<bool, Fault> {
        let at = self.bucket.index();
        let wanted = self.again.wanted[at].load(Ordering::SeqCst);
        let last = *self.again.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = wanted && last[at].is_none_or(|last| last.elapsed() >= FROM_START_EVERY);
        let (taker, bucket) = (self.taker.clone(), self.bucket);
        Ok(due || spawn_blocking(move || taker.may_retry(bucket)).await?)
    }

    async fn begin(&self, generation: String, from_start: bool) -> Result<u64, Fault> {
        let (taker, bucket) = (self.taker.clone(), self.bucket);
        Ok(spawn_blocking(move || taker.begin(bucket, generation, from_start)).await?)
    }

    async fn take(&self, entries: Vec<Entry>) -> Result<(), Fault> {
        let (taker, bucket) = (self.taker.clone(), self.bucket);
        let taken = spawn_blocking(move || taker.take(bucket, &entries)).await?;
        match &taken {
            Err(StoreError::Rebuilt { .. }) => {
                self.taker.begin_anew();
                self.again.want_all();
            }
            Err(fault) => self.taker.note(DISK, &fault.to_string()),
            Ok(()) => {}
        }
        Ok(taken?)
    }
}

/// Adds what is there already, so that it goes into the same commit.
fn gather(entries: &mut Vec<Entry>, watch: &mut dyn Watch) -> Result<(), BusError> {
    let mut bytes: usize = entries.iter().map(|entry| entry.value.len()).sum();
    while entries.len() < BATCH && bytes < BATCH_BYTES {
        match watch.next().now_or_never() {
            None => break,
            Some(entry) => {
                let entry = entry?;
                bytes += entry.value.len();
                entries.push(entry);
            }
        }
    }
    Ok(())
}
