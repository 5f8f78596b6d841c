//! Takes documents: verifies them, stores the newer ones durably, and refuses the rest.
//!
//! What is refused changes nothing: what was served goes on. One document never holds up another;
//! the position goes past it, and the report of this edge names it until a good one takes its place.

mod check;
mod state;
pub(crate) use check::is_base64url;
pub(crate) use state::Told;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bus::Entry;
use rustls::crypto::CryptoProvider;
use service::clock::SharedClock;
use service::sealed::Kek;
use service::supervise::Signal;
use tracing::{info, warn};
use wire::envelope::{Opened, Trust};
use zeroize::Zeroizing;

use crate::bucket::Bucket;
use crate::budget::Loss;
use crate::sites::{Sites, certified};
use crate::store::record::{Record, short_digest};
use crate::store::{Change, Store, StoreError, Table};
use state::State;

/// What a note is about: the store had to be set aside or made anew.
pub(crate) const STORE: &str = "store";
/// What a note is about: nothing can be written.
pub(crate) const DISK: &str = "disk";

/// What it takes to take documents.
pub(crate) struct Taker {
    pub(crate) region: String,
    pub(crate) trust: Trust,
    pub(crate) region_key: Zeroizing<Vec<u8>>,
    pub(crate) credential: Arc<Kek>,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) clock: SharedClock,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sites: Arc<Sites>,
    /// Woken after each commit.
    pub(crate) report: Signal,
    /// What the last commit left.
    state: Mutex<State>,
    /// The part of it that is told, under a lock that no commit holds.
    told: Mutex<Told>,
}

/// What is here under a key.
#[derive(Clone)]
enum Existing {
    Nothing,
    Live(Record),
    /// With its revision, if that much can be read.
    Damaged(Option<u64>),
    Gone(Record),
}

/// What to do about a document.
enum Verdict {
    /// It is newer: make these changes.
    Take { position: u64, changes: Vec<Change>, now: Existing },
    /// It is here already, or was overtaken.
    Known { position: u64 },
    /// Keep what is here, and say why.
    Refuse { position: u64, why: String },
    /// Keep what is here for this hour, and say why.
    Hold { position: u64, why: String },
}

/// The parts of a [`Taker`] that are handed in.
pub(crate) struct Parts {
    pub(crate) region: String,
    pub(crate) trust: Trust,
    pub(crate) region_key: Zeroizing<Vec<u8>>,
    pub(crate) credential: Arc<Kek>,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) clock: SharedClock,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sites: Arc<Sites>,
}

impl Taker {
    /// Goes on from what the store says.
    pub(crate) fn new(parts: Parts) -> Taker {
        let state = State::read(&*parts.store);
        let told = Mutex::new(state.told());
        let Parts { region, trust, region_key, credential, provider, clock, store, sites } = parts;
        Taker {
            region,
            trust,
            region_key,
            credential,
            provider,
            clock,
            store,
            sites,
            report: Signal::default(),
            state: Mutex::new(state),
            told,
        }
    }

    /// What to tell of this edge.
    pub(crate) fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where to begin following a bucket that is in this life.
    pub(crate) fn begin(&self, bucket: Bucket, generation: String, from_start: bool) -> u64 {
        let mut state = self.state();
        let again_from = state.again_from(bucket);
        (state.held_from[bucket.index()], state.unlisted[bucket.index()]) = (None, None);
        let progress = &mut state.progress[bucket.index()];
        if let Some(first) = again_from {
            progress.sequence = progress.sequence.min(first - 1);
        }
        if progress.generation != generation || from_start {
            progress.generation = generation;
            progress.sequence = 0;
        }
        progress.sequence
    }

    /// The store was made anew: what it said of progress holds no more.
    pub(crate) fn begin_anew(&self) {
        let mut state = self.state();
        let refused = mem::take(&mut state.refused);
        *state = State::read(&*self.store);
        state.refused = refused;
        self.sites.all_changed();
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = state.told();
        drop(state);
        self.note(STORE, "the store was damaged and has been made anew from what could be read");
    }

    /// Whether something was held back that the budget of a new hour allows, or left aside that
    /// can be named by now.
    pub(crate) fn may_retry(&self, bucket: Bucket) -> bool {
        let state = self.state();
        let mut budget = state.budget.clone();
        budget.renew(self.clock.now());
        let renewed = state.held_from[bucket.index()].is_some() && budget != state.budget;
        renewed || state.may_list_unlisted(bucket)
    }

    /// Tells of trouble of the edge itself, beside the refused documents: [`STORE`] until the next
    /// start, [`DISK`] until the next commit.
    pub(crate) fn note(&self, about: &str, trouble: &str) {
        let mut state = self.state();
        state.note(about, trouble);
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = state.told();
        self.report.wake();
    }

    /// Takes documents in the order in which they came: one commit, then they are served, then
    /// their positions are told. Waits for the disk.
    ///
    /// # Errors
    /// Nothing was taken; the same documents have to come again.
    pub(crate) fn take(&self, bucket: Bucket, entries: &[Entry]) -> Result<(), StoreError> {
        let mut state = self.state();
        let mut next = state.clone();
        next.budget.renew(self.clock.now());
        let name = bucket.name(&self.region);
        let mut changes = vec![];
        let mut changed: HashMap<&str, Existing> = HashMap::new();

        for entry in entries {
            let existing = match changed.get(entry.key.as_str()) {
                Some(existing) => existing.clone(),
                None => self.existing(bucket, &entry.key)?,
            };
            match self.judge(bucket, entry, &existing, &mut next) {
                Verdict::Take { position, changes: more, now } => {
                    changes.extend(more);
                    changed.insert(&entry.key, now);
                    next.settled(bucket, &name, entry, position);
                }
                Verdict::Known { position } => next.settled(bucket, &name, entry, position),
                Verdict::Refuse { position, why } => {
                    warn!(bucket = name, key = entry.key, why, "refused");
                    next.left_aside(bucket, &name, entry, position, why);
                }
                Verdict::Hold { position, why } => {
                    warn!(bucket = name, key = entry.key, why, "held back");
                    next.held_from[bucket.index()].get_or_insert(entry.sequence);
                    next.left_aside(bucket, &name, entry, position, why);
                }
            }
        }

        let taken = changed.len();
        next.forget_note(DISK);
        changes.extend(next.changes(bucket));
        self.store.commit(changes)?;
        next.domains = self.store.len(Table::Policies).unwrap_or(state.domains);
        // A challenge is read from the store each time; the others are kept ready.
        self.sites.changed(changed.into_keys());
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = next.told();
        *state = next;
        drop(state);
        if taken > 0 {
            info!(bucket = name, taken, "documents taken");
        }
        self.report.wake();
        Ok(())
    }

    fn judge(
        &self,
        bucket: Bucket,
        entry: &Entry,
        existing: &Existing,
        state: &mut State,
    ) -> Verdict {
        let envelope = short_digest(&entry.value);
        if let Existing::Live(here) | Existing::Gone(here) = existing
            && here.envelope == envelope
            && self.can_be_used(bucket, &entry.key, existing)
        {
            return Verdict::Known { position: here.position };
        }
        let opened = match self.trust.open(&bucket.name(&self.region), &entry.key, &entry.value) {
            Ok(opened) => opened,
            Err(untrusted) => return Verdict::Refuse { position: 0, why: untrusted.to_string() },
        };
        let position = opened.place.position;
        if opened.place.revision < self.lowest_wanted(bucket, &entry.key, existing) {
            return Verdict::Known { position };
        }
        let record = match self.record(bucket, &entry.key, &opened, envelope) {
            Ok(record) => record,
            Err(why) => return Verdict::Refuse { position, why },
        };
        if let Some((loss, why)) = loss(bucket, existing, record.as_ref())
            && !state.budget.spend(loss, state.domains)
        {
            return Verdict::Hold { position, why: why.to_owned() };
        }
        let (changes, now) = match record {
            Some(record) => put(bucket, &entry.key, record),
            None => bury(bucket, &entry.key, &opened, envelope),
        };
        Verdict::Take { position, changes, now }
    }

    /// The document as it is kept; none for a tombstone.
    fn record(
        &self,
        bucket: Bucket,
        key: &str,
        opened: &Opened,
        envelope: [u8; 16],
    ) -> Result<Option<Record>, String> {
        let Some(payload) = &opened.payload else { return Ok(None) };
        let document = match bucket {
            Bucket::Policies => check::policy(key, payload)?,
            Bucket::Certificates => check::certificate(self, key, payload)?,
            Bucket::Challenges => check::challenge(key, payload)?,
        };
        let (revision, position) = (opened.place.revision, opened.place.position);
        Ok(Some(Record { revision, position, envelope, document }))
    }

    /// A revision that is lower is left aside. The same one is taken again when what is here of it
    /// can't be used.
    fn lowest_wanted(&self, bucket: Bucket, key: &str, existing: &Existing) -> u64 {
        match existing {
            Existing::Nothing | Existing::Damaged(None) => 0,
            Existing::Damaged(Some(revision)) => *revision,
            Existing::Live(here) | Existing::Gone(here) => {
                here.revision + u64::from(self.can_be_used(bucket, key, existing))
            }
        }
    }

    /// A private key that was encrypted under another credential is of no use.
    fn can_be_used(&self, bucket: Bucket, key: &str, existing: &Existing) -> bool {
        match existing {
            Existing::Live(record) if bucket == Bucket::Certificates => {
                certified(&self.provider, &self.credential, key, record).is_some()
            }
            _ => true,
        }
    }

    fn existing(&self, bucket: Bucket, key: &str) -> Result<Existing, StoreError> {
        let table = bucket.table();
        match self.store.get(table, key) {
            Ok(Some(bytes)) => Ok(match Record::open(table, key, &bytes) {
                Ok(record) => Existing::Live(record),
                Err(damaged) => Existing::Damaged(damaged.revision),
            }),
            Ok(None) => self.tombstone(bucket, key),
            Err(StoreError::Damaged(_)) => Ok(Existing::Damaged(None)),
            Err(fault) => Err(fault),
        }
    }

    fn tombstone(&self, bucket: Bucket, key: &str) -> Result<Existing, StoreError> {
        let key = bucket.tombstone_key(key);
        match self.store.get(Table::Tombstones, &key) {
            Ok(None) => Ok(Existing::Nothing),
            Ok(Some(bytes)) => Ok(match Record::open(Table::Tombstones, &key, &bytes) {
                Ok(record) => Existing::Gone(record),
                Err(damaged) => Existing::Damaged(damaged.revision),
            }),
            Err(StoreError::Damaged(_)) => Ok(Existing::Damaged(None)),
            Err(fault) => Err(fault),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in `take` leaves the state of the last commit.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the edge would lose by it, and the sentence for who has to look.
fn loss(
    bucket: Bucket,
    existing: &Existing,
    record: Option<&Record>,
) -> Option<(Loss, &'static str)> {
    let Existing::Live(here) = existing else { return None };
    match (bucket, record) {
        (Bucket::Policies, None) => Some((
            Loss::Policy,
            "held back: this edge has removed as many policies this hour as it may",
        )),
        (Bucket::Certificates, None) => Some((
            Loss::Certificate,
            "held back: this edge has removed as many certificates this hour as it may",
        )),
        (Bucket::Policies, Some(new)) if check::is_none(new) && !check::is_none(here) => Some((
            Loss::ToNone,
            "held back: as many policies have turned to mode none this hour as may on one edge",
        )),
        _ => None,
    }
}

fn put(bucket: Bucket, key: &str, record: Record) -> (Vec<Change>, Existing) {
    let table = bucket.table();
    let changes = vec![
        Change::Put(table, key.to_owned(), record.seal(table, key)),
        Change::Delete(Table::Tombstones, bucket.tombstone_key(key)),
    ];
    (changes, Existing::Live(record))
}

fn bury(bucket: Bucket, key: &str, opened: &Opened, envelope: [u8; 16]) -> (Vec<Change>, Existing) {
    let (revision, position) = (opened.place.revision, opened.place.position);
    let record = Record { revision, position, envelope, document: vec![] };
    let tombstone_key = bucket.tombstone_key(key);
    let tombstone = record.seal(Table::Tombstones, &tombstone_key);
    let changes = vec![
        Change::Delete(bucket.table(), key.to_owned()),
        Change::Put(Table::Tombstones, tombstone_key, tombstone),
    ];
    (changes, Existing::Gone(record))
}
