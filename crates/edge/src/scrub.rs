//! Reads the whole store now and then, so that damage is found before somebody asks for it.

use std::sync::Arc;
use std::time::Duration;

use service::supervise::{Fault, Signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::bucket::Bucket;
use crate::follow::Again;
use crate::store::record::Record;
use crate::store::{Store, StoreError, Table};

/// A disk that forgets does so over months.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// Entries in one go, with a pause after it: a million names take some minutes of one percent of
/// a core.
const AT_A_TIME: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);

/// What it takes to look.
#[derive(Clone)]
pub(crate) struct Scrubber {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) again: Arc<Again>,
}

impl Scrubber {
    /// Looks at start, then every day.
    pub(crate) async fn scrub(self) -> Result<(), Fault> {
        let never = Signal::default();
        loop {
            for bucket in Bucket::ALL {
                let damaged = self.scrub_one(bucket.table()).await?;
                if damaged > 0 {
                    // A name whose key is damaged is not found under it: only the whole bucket
                    // brings it back.
                    warn!(table = bucket.table().name(), damaged, "asking for everything again");
                    self.again.want(bucket.table());
                }
            }
            never.wait(EVERY).await;
        }
    }

    async fn scrub_one(&self, table: Table) -> Result<usize, Fault> {
        let (mut last, mut damaged, mut seen) = (String::new(), 0, 0);
        loop {
            let (store, after) = (self.store.clone(), last.clone());
            let entries = spawn_blocking(move || store.after(table, &after, AT_A_TIME)).await?;
            let entries = match entries {
                // The way to what follows is damaged.
                Err(StoreError::Damaged(_)) => return Ok(damaged + 1),
                entries => entries?,
            };
            let Some((key, _)) = entries.last() else {
                info!(table = table.name(), seen, damaged, "looked through");
                return Ok(damaged);
            };
            last.clone_from(key);
            seen += entries.len();
            let is_damaged =
                |(key, bytes): &&(String, Vec<u8>)| Record::open(table, key, bytes).is_err();
            damaged += entries.iter().filter(is_damaged).count();
            sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Change;
    use crate::store::disk::Disk;

    #[tokio::test]
    async fn damage_is_found_before_anyone_asks_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, _) = Disk::open(folder.path()).unwrap();
        let table = Table::Policies;
        let put = |nth: u32, spoil: u8| {
            let key = format!("d{nth}.example");
            let mut bytes = Record::default().seal(table, &key);
            bytes[9] ^= spoil;
            Change::Put(table, key, bytes)
        };
        let entries = 2 * AT_A_TIME as u32;
        disk.commit((0..entries).map(|nth| put(nth, 0)).collect()).unwrap();
        let scrubber = Scrubber { store: Arc::new(disk), again: Arc::default() };
        assert_eq!(scrubber.scrub_one(table).await.unwrap(), 0);
        scrubber.store.commit(vec![put(3, 1), put(entries - 1, 1)]).unwrap();
        assert_eq!(scrubber.scrub_one(table).await.unwrap(), 2);
    }
}
