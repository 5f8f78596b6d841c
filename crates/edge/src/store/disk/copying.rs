//! Saves what can be read of a damaged file.

use std::ops::Bound;

use redb::Database;

use super::witness::Witness;
use super::{entries, open_table, write};
use crate::store::{Change, StoreError, Table};

/// Entries that are copied in one commit when a damaged file is made anew.
const COPY_BATCH: usize = 1_000;

/// One table on its way from a damaged file to a new one.
pub(super) struct Copying<'a> {
    pub(super) old: &'a Database,
    pub(super) new: &'a Database,
    pub(super) witness: &'a Witness,
    pub(super) table: Table,
}

impl Copying<'_> {
    /// Copies what can be read from the front, and what can be read from the back.
    pub(super) fn copy(&self) -> Result<u64, StoreError> {
        let (mut saved, mut last) = (0, String::new());
        // One entry at a time to the damage, then from the other end back to it.
        for at_a_time in [COPY_BATCH, 1] {
            while let Ok(found) = self.after(&last, at_a_time) {
                let Some((key, _)) = found.last() else { return Ok(saved) };
                // A damaged tree may lead round in circles.
                if *key <= last {
                    break;
                }
                last.clone_from(key);
                saved += self.insert(found)?;
            }
        }
        let mut first: Option<String> = None;
        while let Ok(Some((key, value))) = self.before(first.as_deref()) {
            if key <= last || first.is_some_and(|first| key >= first) {
                break;
            }
            first = Some(key.clone());
            saved += self.insert(vec![(key, value)])?;
        }
        Ok(saved)
    }

    fn after(&self, key: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.witness.contained(|| entries(self.old, self.table, key, limit))
    }

    fn before(&self, key: Option<&str>) -> Result<Option<(String, Vec<u8>)>, StoreError> {
        self.witness.contained(|| before(self.old, self.table, key))
    }

    fn insert(&self, found: Vec<(String, Vec<u8>)>) -> Result<u64, StoreError> {
        let count = found.len() as u64;
        let put = |(key, value)| Change::Put(self.table, key, value);
        let changes: Vec<Change> = found.into_iter().map(put).collect();
        self.witness.contained(|| write(self.new, &changes))?;
        Ok(count)
    }
}

fn before(
    database: &Database,
    table: Table,
    key: Option<&str>,
) -> Result<Option<(String, Vec<u8>)>, redb::Error> {
    let Some(table) = open_table(database, table)? else { return Ok(None) };
    let end = key.map_or(Bound::Unbounded, Bound::Excluded);
    let mut range = table.range::<&str>((Bound::Unbounded, end))?;
    match range.next_back() {
        None => Ok(None),
        Some(entry) => {
            let (key, value) = entry?;
            Ok(Some((key.value().to_owned(), value.value().to_vec())))
        }
    }
}
