//! Counts on disk, until they are taken.
//!
//! Each second's counts are one entry, in the order of time. A batch is made of the oldest ones
//! when it is about to be sent, so that a long outage of the bus leaves few and well-filled ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rand::RngExt;
use rand::distr::Alphanumeric;
use tracing::warn;
use wire::Message;
use wire::bus::{FetchBatch, FetchCount};
use wire::time::from_wire;

use super::{Key, Tallies, Tally, to_count};
use crate::store::record::Record;
use crate::store::{Change, Store, StoreError, Table};

/// Counts in one batch, and in one entry.
const MAX_COUNTS: usize = 10_000;
/// Entries that are merged at a time while nobody takes them: ten minutes' worth.
const MERGE: usize = 600;
/// Entries that wait at most: with each of them ten minutes, more than a week. Then the oldest go.
const MAX_ENTRIES: u64 = 2_000;

const BATCH_IDS: &str = "batch-ids";
/// Characters of what tells batches of this store from those of one before it.
const LIFE_CHARS: usize = 12;

type Merged = BTreeMap<Key, Tally>;

/// Counts on disk.
pub(crate) struct Spool {
    store: Arc<dyn Store>,
    edge_id: String,
    region: String,
    place: Mutex<Place>,
}

struct Place {
    /// Number of the next entry.
    next: u64,
    /// All entries before this one have been merged, or were here at the start.
    merged: u64,
}

impl Spool {
    /// Goes on behind what the store holds.
    pub(crate) fn new(store: Arc<dyn Store>, edge_id: String, region: String) -> Spool {
        let mut last = String::new();
        while let Ok(entries) = store.after(Table::Spool, &last, MERGE) {
            let Some((key, _)) = entries.last() else { break };
            last.clone_from(key);
        }
        let next = last.parse().map_or(0, |last: u64| last + 1);
        let place = Mutex::new(Place { next, merged: next });
        Spool { store, edge_id, region, place }
    }

    /// Writes counts, durably on return.
    pub(super) fn append(&self, tallies: &Tallies) -> Result<(), StoreError> {
        if tallies.is_empty() {
            return Ok(());
        }
        let mut place = self.place();
        let mut counts: Vec<FetchCount> = tallies.iter().map(|(k, t)| to_count(k, t)).collect();
        counts.sort_by(|a, b| a.domain.cmp(&b.domain));
        let (mut changes, mut next) = (vec![], place.next);
        for counts in counts.chunks(MAX_COUNTS) {
            changes.push(entry(next, counts.to_vec()));
            next += 1;
        }
        self.store.commit(changes)?;
        place.next = next;
        if place.next - place.merged >= MERGE as u64 {
            self.merge(&mut place)?;
        }
        self.bound()
    }

    /// The batch to send: the one that was begun, or a new one of the oldest counts.
    pub(super) fn next_batch(&self) -> Result<Option<(String, Vec<u8>)>, StoreError> {
        if let Some((id, bytes)) = self.store.after(Table::Batches, "", 1)?.pop() {
            match Record::open(Table::Batches, &id, &bytes) {
                Ok(record) => return Ok(Some((id, record.document))),
                Err(_) => {
                    warn!(id, "a batch of fetch counts is damaged: dropped");
                    self.forget(&id)?;
                }
            }
        }
        // Not while entries are being merged: they would be counted twice.
        let _place = self.place();
        let (keys, merged) = self.oldest("", MAX_COUNTS)?;
        if merged.is_empty() {
            return Ok(None);
        }
        let (id, number) = self.next_id()?;
        let batch = FetchBatch {
            batch_id: id.clone(),
            edge_id: self.edge_id.clone(),
            region_id: self.region.clone(),
            counts: merged.iter().map(|(key, tally)| to_count(key, tally)).collect(),
        };
        let document = batch.encode_to_vec();
        let record = Record { document, ..Record::default() };
        let mut changes: Vec<Change> =
            keys.into_iter().map(|key| Change::Delete(Table::Spool, key)).collect();
        changes.push(Change::Put(Table::Batches, id.clone(), record.seal(Table::Batches, &id)));
        changes.push(number);
        self.store.commit(changes)?;
        Ok(Some((id, record.document)))
    }

    /// A batch has been taken.
    pub(super) fn forget(&self, id: &str) -> Result<(), StoreError> {
        self.store.commit(vec![Change::Delete(Table::Batches, id.to_owned())])
    }

    /// Merges the entries of the last minutes: the same domain is in many of them.
    fn merge(&self, place: &mut Place) -> Result<(), StoreError> {
        let mut before = match place.merged {
            0 => String::new(),
            merged => number(merged - 1),
        };
        let mut changes = vec![];
        let mut at = place.merged;
        loop {
            let (keys, merged) = self.oldest(&before, MAX_COUNTS)?;
            let Some(last) = keys.last() else { break };
            before.clone_from(last);
            changes.extend(keys.into_iter().map(|key| Change::Delete(Table::Spool, key)));
            let counts = merged.iter().map(|(key, tally)| to_count(key, tally)).collect();
            changes.push(entry(at, counts));
            at += 1;
        }
        self.store.commit(changes)?;
        place.merged = place.next;
        Ok(())
    }

    /// The keys of the oldest entries after `key` that have at most so many counts together, at
    /// least one entry, and these counts.
    fn oldest(&self, key: &str, at_most: usize) -> Result<(Vec<String>, Merged), StoreError> {
        let (mut keys, mut merged) = (vec![], Merged::new());
        for (key, bytes) in self.store.after(Table::Spool, key, MERGE)? {
            let counts = match Record::open(Table::Spool, &key, &bytes) {
                Ok(record) => FetchBatch::decode(record.document.as_slice()).ok(),
                Err(_) => None,
            };
            let Some(FetchBatch { counts, .. }) = counts else {
                warn!(key, "a second of fetch counts is damaged: dropped");
                keys.push(key);
                continue;
            };
            if !merged.is_empty() && merged.len() + counts.len() > at_most {
                break;
            }
            keys.push(key);
            for (key, tally) in counts.iter().filter_map(from_count) {
                merged.entry(key).and_modify(|here| here.add(tally)).or_insert(tally);
            }
        }
        Ok((keys, merged))
    }

    fn bound(&self) -> Result<(), StoreError> {
        let waiting = self.store.len(Table::Spool)?;
        let Some(too_many) = waiting.checked_sub(MAX_ENTRIES + 1) else { return Ok(()) };
        let oldest = self.store.after(Table::Spool, "", too_many as usize + 1)?;
        warn!(entries = oldest.len(), "fetch counts that nobody took are dropped");
        let delete = |(key, _)| Change::Delete(Table::Spool, key);
        self.store.commit(oldest.into_iter().map(delete).collect())
    }

    /// An id that no batch ever had, also if the store is lost, and the change that remembers it.
    fn next_id(&self) -> Result<(String, Change), StoreError> {
        let stored = self.store.get(Table::Meta, BATCH_IDS)?;
        let stored = stored.and_then(|bytes| Record::open(Table::Meta, BATCH_IDS, &bytes).ok());
        let (life, number) = match stored.and_then(|record| String::from_utf8(record.document).ok())
        {
            Some(text) => match text.split_once(' ') {
                Some((life, number)) => (life.to_owned(), number.parse().unwrap_or(0)),
                None => (new_life(), 0),
            },
            None => (new_life(), 0),
        };
        let number: u64 = number + 1;
        let id = format!("{}.{life}.{number}", self.edge_id);
        let record = Record { document: format!("{life} {number}").into(), ..Record::default() };
        let sealed = record.seal(Table::Meta, BATCH_IDS);
        Ok((id, Change::Put(Table::Meta, BATCH_IDS.to_owned(), sealed)))
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_life() -> String {
    let letters = rand::rng().sample_iter(Alphanumeric);
    letters.take(LIFE_CHARS).map(char::from).collect()
}

/// Keys that sort as their numbers do.
fn number(number: u64) -> String {
    format!("{number:020}")
}

fn entry(at: u64, counts: Vec<FetchCount>) -> Change {
    let key = number(at);
    let document = FetchBatch { counts, ..FetchBatch::default() }.encode_to_vec();
    let sealed = Record { document, ..Record::default() }.seal(Table::Spool, &key);
    Change::Put(Table::Spool, key, sealed)
}

fn from_count(count: &FetchCount) -> Option<(Key, Tally)> {
    let hour = from_wire(count.hour.as_ref()?)?.as_second();
    let last_at = count.last_at.as_ref().and_then(from_wire).unwrap_or(Timestamp::UNIX_EPOCH);
    let (domain, client) = (count.domain.as_str().into(), count.client.as_str().into());
    let key = Key { domain, hour, revision: count.revision, client };
    Some((key, Tally { fetches: count.fetches, last_at }))
}
