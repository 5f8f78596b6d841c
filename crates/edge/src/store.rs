//! What an edge keeps on its own disk.
//!
//! A few functions over tables of bytes, so that the rest of the crate does not know the engine
//! ([`disk`]). Values that matter are [`record`]s, which say themselves whether they are whole.
//!
//! Reads are made where they are needed, on the threads that serve: they are reads of a few pages
//! that are nearly always in memory, microseconds beside a handshake, and only for names that are
//! not among the hot ones. Commits wait for the disk and are made on threads that may wait.

pub(crate) mod disk;
mod frozen;
pub(crate) mod record;

use std::io;

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    /// Domain to policy.
    Policies,
    /// Domain to chain and encrypted private key.
    Certificates,
    /// "account", or a domain, to thumbprints.
    Challenges,
    /// What was removed, by table and key, with its revision: an older document does not come back.
    Tombstones,
    /// How far the buckets were followed, what was refused, budgets.
    Meta,
    /// Fetch counts that have not been taken into a batch.
    Spool,
    /// The batch that is being sent.
    Batches,
}

impl Table {
    /// All tables.
    pub(crate) const ALL: [Table; 7] = [
        Table::Policies,
        Table::Certificates,
        Table::Challenges,
        Table::Tombstones,
        Table::Meta,
        Table::Spool,
        Table::Batches,
    ];

    /// Its name on disk, and in what checksums cover.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Policies => "policies",
            Table::Certificates => "certificates",
            Table::Challenges => "challenges",
            Table::Tombstones => "tombstones",
            Table::Meta => "meta",
            Table::Spool => "spool",
            Table::Batches => "batches",
        }
    }
}

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Puts a value, whatever was there.
    Put(Table, String, Vec<u8>),
    /// Removes a value, if it is there.
    Delete(Table, String),
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The part of the file where this would be can't be made sense of.
    #[error("the edge's store is damaged: {0}")]
    Damaged(String),
    /// It was so damaged that nothing could be written. A new one holds what could still be read,
    /// and nothing of what was to be written: follow the buckets from their start.
    #[error("the edge's store was damaged and has been made anew with {saved} of its entries")]
    Rebuilt {
        /// How many entries could be read.
        saved: u64,
    },
    /// The disk did not take it, or did not give it.
    #[error("the edge's store can't be used: {0}")]
    Disk(String),
    /// The folder can't be used at all.
    #[error("the edge's folder can't be used: {doing}")]
    Folder {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Tables of bytes on disk.
pub(crate) trait Store: Send + Sync {
    /// The value under a key.
    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Up to `limit` entries in the order of their keys, from the first one after `key`.
    fn after(
        &self,
        table: Table,
        key: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// How many entries there are.
    fn len(&self, table: Table) -> Result<u64, StoreError>;

    /// Makes all of the changes or none, durable on return. Waits for the disk.
    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError>;
}
