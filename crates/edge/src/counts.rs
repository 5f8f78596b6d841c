//! Counts fetches, and hands the counts over without losing or doubling one.
//!
//! A fetch is counted in memory, written to the store within a second, put into a batch with an
//! id of its own when the one before has been taken, and forgotten when the bus says that the batch
//! is safe. A kill loses the counts of the last second; nothing else does. A batch that is sent
//! again keeps its id, and is counted once by whoever reads it.

mod spool;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::SharedBus;
use http::HeaderValue;
use jiff::Timestamp;
use service::clock::SharedClock;
use service::supervise::{Fault, Signal};
use tokio::task::spawn_blocking;
use tracing::warn;
use wire::bus::FetchCount;
use wire::time::to_wire;

pub(crate) use spool::Spool;

use crate::client;
use crate::follow::Again;
use crate::sites::Site;
use crate::store::StoreError;
use crate::take::Taker;

/// The stream of fetch counts.
const FETCHES: &str = "fetches";

/// What a kill may lose at most.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Activity is looked at by the day and hour; a few seconds late is soon.
const SEND_EVERY: Duration = Duration::from_secs(5);

/// Kinds of clients that are told apart in an hour; further ones are "other". A few dozen are real,
/// and anyone can make up a User-Agent.
const MAX_KINDS: usize = 200;
const OTHER: &str = "other";

/// Counts that wait in memory while the disk takes none. Beyond it they are lost.
const MAX_IN_MEMORY: usize = 500_000;

const HOUR_SECONDS: i64 = 3_600;

/// Fetches of one domain, hour, version and kind of client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    domain: Arc<str>,
    hour: i64,
    revision: u64,
    client: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tally {
    fetches: u64,
    last_at: Timestamp,
}

type Tallies = HashMap<Key, Tally>;

/// Counts in memory.
pub(crate) struct Counts {
    clock: SharedClock,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    tallies: Tallies,
    kinds: HashSet<Arc<str>>,
    /// The hour that `kinds` are of.
    hour: i64,
    lost: u64,
}

impl Counts {
    /// Nothing counted yet.
    pub(crate) fn new(clock: SharedClock) -> Counts {
        Counts { clock, open: Mutex::default() }
    }

    /// Counts one fetch.
    pub(crate) fn fetched(&self, site: &Site, user_agent: Option<&HeaderValue>) {
        let Some(kind) = client::kind(user_agent) else { return };
        let last_at = self.clock.now();
        let hour = last_at.as_second().div_euclid(HOUR_SECONDS) * HOUR_SECONDS;
        let mut open = self.open();
        let client = open.client(kind, hour);
        let (domain, revision) = (site.domain.clone(), site.revision);
        open.add(Key { domain, hour, revision, client }, Tally { fetches: 1, last_at });
    }

    /// All counts so far, to be written.
    fn take(&self) -> Tallies {
        let mut open = self.open();
        if open.lost > 0 {
            warn!(fetches = mem::take(&mut open.lost), "fetches were not counted: no room");
        }
        mem::take(&mut open.tallies)
    }

    /// Counts that could not be written.
    fn give_back(&self, tallies: Tallies) {
        let mut open = self.open();
        for (key, tally) in tallies {
            open.add(key, tally);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn add(&mut self, key: Key, tally: Tally) {
        if self.tallies.len() >= MAX_IN_MEMORY && !self.tallies.contains_key(&key) {
            self.lost += tally.fetches;
            return;
        }
        self.tallies.entry(key).and_modify(|here| here.add(tally)).or_insert(tally);
    }

    fn client(&mut self, kind: &str, hour: i64) -> Arc<str> {
        if self.hour != hour {
            self.hour = hour;
            self.kinds.clear();
        }
        if let Some(known) = self.kinds.get(kind) {
            return known.clone();
        }
        let kind: Arc<str> = if self.kinds.len() < MAX_KINDS { kind } else { OTHER }.into();
        if self.kinds.len() <= MAX_KINDS {
            self.kinds.insert(kind.clone());
        }
        kind
    }
}

impl Tally {
    fn add(&mut self, more: Tally) {
        self.fetches = self.fetches.saturating_add(more.fetches);
        self.last_at = self.last_at.max(more.last_at);
    }
}

fn to_count(key: &Key, tally: &Tally) -> FetchCount {
    FetchCount {
        domain: key.domain.to_string(),
        hour: Timestamp::from_second(key.hour).ok().as_ref().copied().map(to_wire),
        client: key.client.to_string(),
        revision: key.revision,
        fetches: tally.fetches,
        last_at: Some(to_wire(tally.last_at)),
    }
}

/// What it takes to hand counts over.
#[derive(Clone)]
pub(crate) struct Courier {
    pub(crate) counts: Arc<Counts>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) bus: SharedBus,
    pub(crate) taker: Arc<Taker>,
    pub(crate) again: Arc<Again>,
}

impl Courier {
    /// Writes what was counted to the store, every second.
    pub(crate) async fn write(self) -> Result<(), Fault> {
        let never = Signal::default();
        loop {
            never.wait(WRITE_EVERY).await;
            self.write_now().await?;
        }
    }

    /// Writes what was counted to the store.
    pub(crate) async fn write_now(&self) -> Result<(), Fault> {
        let (counts, spool) = (self.counts.clone(), self.spool.clone());
        let written = spawn_blocking(move || {
            let tallies = counts.take();
            let written = spool.append(&tallies);
            if written.is_err() {
                counts.give_back(tallies);
            }
            written
        });
        self.mind(written.await?)
    }

    /// Sends what was written, a batch at a time.
    pub(crate) async fn send(self) -> Result<(), Fault> {
        let never = Signal::default();
        loop {
            while self.send_one().await? {}
            never.wait(SEND_EVERY).await;
        }
    }

    /// Sends one batch; false when there is none.
    async fn send_one(&self) -> Result<bool, Fault> {
        let spool = self.spool.clone();
        let next = spawn_blocking(move || spool.next_batch()).await?;
        let Some((id, batch)) = self.mind(next)? else { return Ok(false) };
        self.bus.publish(FETCHES, &id, batch.into()).await?;
        let spool = self.spool.clone();
        let forgotten = spawn_blocking(move || spool.forget(&id)).await?;
        self.mind(forgotten)?;
        Ok(true)
    }

    fn mind<T>(&self, done: Result<T, StoreError>) -> Result<T, Fault> {
        if let Err(StoreError::Rebuilt { .. }) = &done {
            self.taker.begin_anew();
            self.again.want_all();
        }
        Ok(done?)
    }
}
