//! What the last commit left: how far the buckets were followed, and what was left aside.
//!
//! Readers take it that everything up to a told position is served, but for what is named beside
//! it. The names have little room, so a position stops before the first document that is neither
//! here nor named, and goes on from there once that can be named or is settled.

use std::collections::VecDeque;

use bus::Entry;
use wire::Message;
use wire::bus::{EdgeDocument, RefusedDocument};

use crate::bucket::{Bucket, Progress};
use crate::budget::Budget;
use crate::store::record::Record;
use crate::store::{Change, Store, Table};

/// Documents that are named: with the two notes, [`STORE`](super::STORE) and
/// [`DISK`](super::DISK), as many entries as readers take of an edge's report.
pub(super) const MAX_REFUSED: usize = 98;

const BUDGET: &str = "budget";
const REFUSED: &str = "refused";

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) progress: [Progress; 3],
    /// The sequence of the first document of each bucket that was held back since following began:
    /// a restart has to come by there again.
    pub(super) held_from: [Option<u64>; 3],
    /// The first document of each bucket that was left aside since following began and could not
    /// be named. While there is one, the bucket's position stands still.
    pub(super) unlisted: [Option<Unlisted>; 3],
    pub(super) budget: Budget,
    /// Documents that were left aside, and notes, which are of no bucket.
    pub(super) refused: VecDeque<RefusedDocument>,
    pub(super) domains: u64,
}

/// A document that is neither here nor named.
#[derive(Clone)]
pub(super) struct Unlisted {
    sequence: u64,
    key: String,
    /// It is here by now, or a newer one.
    settled: bool,
}

/// What this edge tells of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Told {
    /// Positions, by [`Bucket::index`].
    pub(crate) positions: [u64; 3],
    /// Policies that are here.
    pub(crate) domains: u64,
    /// Newest first.
    pub(crate) refused: Vec<RefusedDocument>,
}

impl State {
    pub(super) fn read(store: &dyn Store) -> State {
        let meta = |key: &str| {
            let bytes = store.get(Table::Meta, key).ok().flatten()?;
            Record::open(Table::Meta, key, &bytes).ok()
        };
        let progress = Bucket::ALL.map(|bucket| {
            let record = meta(&bucket.progress_key());
            record.and_then(|record| Progress::from_record(&record)).unwrap_or_default()
        });
        let budget = meta(BUDGET).and_then(|record| Budget::from_record(&record));
        let refused = meta(REFUSED)
            .and_then(|record| EdgeDocument::decode(record.document.as_slice()).ok())
            .map(|document| document.refused.into())
            .unwrap_or_default();
        let domains = store.len(Table::Policies).unwrap_or_default();
        let budget = budget.unwrap_or_default();
        State { progress, budget, refused, domains, ..State::default() }
    }

    /// What goes into the same commit as the documents.
    pub(super) fn changes(&self, bucket: Bucket) -> Vec<Change> {
        let mut progress = self.progress[bucket.index()].clone();
        if let Some(first) = self.again_from(bucket) {
            progress.sequence = progress.sequence.min(first - 1);
        }
        let refused = EdgeDocument {
            refused: self.refused.iter().filter(|r| !r.bucket.is_empty()).cloned().collect(),
            ..Default::default()
        };
        let refused = Record { document: refused.encode_to_vec(), ..Record::default() };
        let meta = |key: &str, record: Record| {
            Change::Put(Table::Meta, key.to_owned(), record.seal(Table::Meta, key))
        };
        vec![
            meta(&bucket.progress_key(), progress.to_record()),
            meta(BUDGET, self.budget.to_record()),
            meta(REFUSED, refused),
        ]
    }

    /// The sequence of the first document that has to come again.
    pub(super) fn again_from(&self, bucket: Bucket) -> Option<u64> {
        let held = self.held_from[bucket.index()];
        let unlisted = self.unlisted[bucket.index()].as_ref().map(|unlisted| unlisted.sequence);
        held.into_iter().chain(unlisted).min()
    }

    /// Whether the position could go on if the first unlisted document came again.
    pub(super) fn may_list_unlisted(&self, bucket: Bucket) -> bool {
        let unlisted = self.unlisted[bucket.index()].as_ref();
        unlisted.is_some_and(|unlisted| unlisted.settled || self.has_room())
    }

    /// A document is here, or a newer one: it was taken, or came again.
    pub(super) fn settled(&mut self, bucket: Bucket, name: &str, entry: &Entry, position: u64) {
        // What was refused at a later position is newer than this one, and still not here.
        self.refused.retain(|r| r.bucket != name || r.key != entry.key || r.position > position);
        if let Some(unlisted) = &mut self.unlisted[bucket.index()] {
            unlisted.settled |= unlisted.key == entry.key;
        }
        self.passed(bucket, entry, position);
    }

    /// A document was refused or held back. Its position is 0 if that can't be believed.
    pub(super) fn left_aside(
        &mut self,
        bucket: Bucket,
        name: &str,
        entry: &Entry,
        position: u64,
        reason: String,
    ) {
        let (of_bucket, key) = (name.to_owned(), entry.key.clone());
        self.forget(name, &key);
        if self.has_room() {
            let refused = RefusedDocument { bucket: of_bucket, key, position, reason };
            self.refused.push_front(refused);
        } else {
            let first = Unlisted { sequence: entry.sequence, key, settled: false };
            self.unlisted[bucket.index()].get_or_insert(first);
            let told = &mut self.progress[bucket.index()].position;
            if position > 0 {
                *told = (*told).min(position - 1);
            }
        }
        self.passed(bucket, entry, position);
    }

    fn passed(&mut self, bucket: Bucket, entry: &Entry, position: u64) {
        let progress = &mut self.progress[bucket.index()];
        progress.sequence = entry.sequence;
        if self.unlisted[bucket.index()].is_none() {
            progress.position = progress.position.max(position);
        }
    }

    pub(super) fn note(&mut self, about: &str, trouble: &str) {
        self.forget_note(about);
        let (key, reason) = (about.to_owned(), trouble.to_owned());
        self.refused.push_front(RefusedDocument { key, reason, ..Default::default() });
    }

    pub(super) fn forget_note(&mut self, about: &str) {
        self.forget("", about);
    }

    fn forget(&mut self, bucket: &str, key: &str) {
        self.refused.retain(|refused| refused.bucket != bucket || refused.key != key);
    }

    fn has_room(&self) -> bool {
        self.refused.iter().filter(|refused| !refused.bucket.is_empty()).count() < MAX_REFUSED
    }

    pub(super) fn told(&self) -> Told {
        Told {
            positions: [0, 1, 2].map(|at| self.progress[at].position),
            domains: self.domains,
            refused: self.refused.iter().cloned().collect(),
        }
    }
}
