//! The store in one redb file.
//!
//! What can happen to the file, and what is done:
//!
//! * The process is killed: redb shows the last commit, at once ("quick repair").
//! * A bit flips in a value: its [`record`](super::record) is refused, all others serve.
//! * A bit flips where the engine keeps its own order: reads there fail (or panic, which is
//!   contained), all others serve; the next commit makes a new file of what can be read.
//! * The engine takes the process with it: the next start knows that from the
//!   [`witness`], and makes a new file before anything else.
//! * The file can't be opened: it is set aside for people to look at, and a new one is filled.
//! * The disk is full or read-only: everything is served, commits fail, and pass again by
//!   themselves when the disk does.

mod copying;
mod witness;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{
    Builder, Database, ReadableDatabase, ReadableTableMetadata, TableDefinition, TableError,
};
use tracing::{error, info, warn};

use super::frozen::Frozen;
use super::record::Record;
use super::{Change, Store, StoreError, Table};
use copying::Copying;
use witness::{Advice, Witness};

/// Memory for pages of the file. The hot names are kept elsewhere; this is for the way to the
/// others, whose upper levels fit many times over.
const PAGE_CACHE_BYTES: usize = 64 * 1024 * 1024;

const FILE: &str = "store.redb";
const NEW_FILE: &str = "store.new.redb";
/// The last file that was set aside. One is kept: it may be large.
const DAMAGED_FILE: &str = "store.damaged.redb";

/// Where the meta table takes the first commit of each start.
const OPENED: &str = "opened";

/// The store on disk.
pub(crate) struct Disk {
    folder: PathBuf,
    open: RwLock<Open>,
    /// One commit at a time, also while a new file is being made.
    committing: Mutex<()>,
    /// What a read has stumbled over. Nothing is committed to such a file: the engine could take
    /// the process with it.
    damage: Mutex<Option<String>>,
    /// A file was made anew, and has not taken a commit since.
    untried: AtomicBool,
    witness: Witness,
}

struct Open {
    /// Absent only while the file is being replaced, and when that failed.
    database: Option<Database>,
    /// The disk takes no writes: nothing is committed.
    frozen: bool,
}

impl Disk {
    /// Opens the store in `folder`, or begins one. The text says what was wrong with the one
    /// that was there, if it had to be set aside.
    pub(crate) fn open(folder: &Path) -> Result<(Disk, Option<String>), StoreError> {
        let path = folder.join(FILE);
        if path.is_dir() {
            return Err(StoreError::Folder {
                doing: format!("{} is a folder: move it away", path.display()),
                source: io::ErrorKind::IsADirectory.into(),
            });
        }
        // A rebuild ended between its two renames.
        if !path.exists() && folder.join(NEW_FILE).exists() {
            rename(folder, NEW_FILE, FILE)?;
        }
        let disk = Disk {
            folder: folder.to_owned(),
            open: RwLock::new(Open { database: None, frozen: false }),
            committing: Mutex::default(),
            damage: Mutex::default(),
            untried: AtomicBool::new(false),
            witness: Witness::of(folder),
        };
        let set_aside = disk.begin()?;
        Ok((disk, set_aside))
    }

    /// Opens the file, or replaces it if it can't be used or a former start died of it.
    fn begin(&self) -> Result<Option<String>, StoreError> {
        let advice = self.witness.advice();
        self.witness.opening();
        let damage = match advice {
            Advice::Open => match self.reopen().and_then(|()| self.try_out()) {
                Err(StoreError::Damaged(why)) => Some(why),
                Err(fault) => {
                    self.witness.well();
                    return Err(fault);
                }
                Ok(()) => None,
            },
            Advice::Mend | Advice::SetAside => Some("the process died of it".to_owned()),
        };
        if let Some(why) = &damage {
            self.untried.store(advice == Advice::SetAside, Ordering::SeqCst);
            match self.rebuild(why) {
                // A full disk, perhaps: what can be read is served until the next commit.
                Err(fault) if self.shared().database.is_some() => {
                    error!(%fault, "no new store can be made yet");
                    *self.damage() = Some(why.clone());
                }
                rebuilt => drop(rebuilt?),
            }
        }
        self.witness.well();
        Ok(damage)
    }

    /// A first commit, for what the engine keeps of free pages is looked at in commits only.
    fn try_out(&self) -> Result<(), StoreError> {
        if self.shared().frozen {
            return Ok(());
        }
        let record = Record::default().seal(Table::Meta, OPENED);
        match self.commit_once(&[Change::Put(Table::Meta, OPENED.to_owned(), record)]) {
            // A full disk, perhaps: what is there is served.
            Err(StoreError::Disk(why)) => {
                warn!(why, "the store takes no commit");
                self.reopen()
            }
            tried => tried,
        }
    }

    /// Reads once, and once more after opening the file again if it was the disk that failed.
    fn read<T>(&self, read: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let mut found = self.read_once(&read);
        if matches!(found, Err(StoreError::Disk(_))) {
            let _ = self.reopen();
            found = self.read_once(&read);
        }
        if let Err(StoreError::Damaged(why)) = &found {
            self.damage().get_or_insert_with(|| why.clone());
        }
        found
    }

    fn read_once<T>(
        &self,
        read: &impl Fn(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let open = self.shared();
        match &open.database {
            Some(database) => self.witness.contained(|| read(database)),
            None => Err(StoreError::Disk("its file can't be opened".into())),
        }
    }

    fn commit_once(&self, changes: &[Change]) -> Result<(), StoreError> {
        let open = self.shared();
        match &open.database {
            Some(database) if !open.frozen => self.witness.contained(|| write(database, changes)),
            _ => Err(StoreError::Disk("the disk takes no writes".into())),
        }
    }

    /// Commits to a file that is open and whole, as far as is known.
    fn commit_if_sound(&self, changes: &[Change]) -> Result<(), StoreError> {
        if let Some(why) = self.damage().clone() {
            return Err(StoreError::Damaged(why));
        }
        let is_usable = {
            let open = self.shared();
            open.database.is_some() && !open.frozen
        };
        if !is_usable {
            self.reopen()?;
        }
        self.commit_once(changes)
    }

    /// After an error of the disk the engine refuses everything until its file is opened again.
    fn reopen(&self) -> Result<(), StoreError> {
        let mut open = self.exclusive();
        self.close(&mut open);
        *open = open_or_freeze(&self.folder.join(FILE), &self.witness)
            .inspect_err(|why| error!(%why, "the store can't be opened"))?;
        Ok(())
    }

    /// The engine's goodbye is a commit, and may fail as any other.
    fn close(&self, open: &mut Open) {
        let database = open.database.take();
        let closed = self.witness.contained(|| {
            drop(database);
            Ok(())
        });
        if let Err(fault) = closed {
            warn!(%fault, "the store could not be closed");
        }
    }

    /// Makes a new file of what can be read of this one, and puts it in its place. Readers go on
    /// meanwhile. A file that was made so and takes no commit either is given up: then the new one
    /// is empty.
    fn rebuild(&self, why: &str) -> Result<u64, StoreError> {
        let gives_up = self.untried.load(Ordering::SeqCst);
        error!(why, gives_up, "the store is damaged: making a new one of what can be read");
        self.witness.mending();
        let rebuilt = self.replace(gives_up);
        // It lives. What the new file is worth is seen at its first commit.
        self.witness.well();
        let saved = rebuilt?;
        *self.damage() = None;
        self.untried.store(true, Ordering::SeqCst);
        info!(saved, "the store has been made anew");
        Ok(saved)
    }

    fn replace(&self, gives_up: bool) -> Result<u64, StoreError> {
        // What panicked may have left the engine unusable; its file is as it was. It is read
        // without being written to, for that is what can't be done to it.
        {
            let mut open = self.exclusive();
            self.close(&mut open);
            if !gives_up {
                match freeze(&self.folder.join(FILE), &self.witness) {
                    Ok(frozen) => *open = frozen,
                    Err(why) => error!(%why, "nothing of the damaged store can be read"),
                }
            }
        }
        let new_path = self.folder.join(NEW_FILE);
        let _ = fs::remove_file(&new_path);
        let new = open_file(&new_path, &self.witness)?;
        let mut saved = 0;
        if let Some(old) = &self.shared().database {
            // What is in `Meta` says what the whole file holds, and does not hold for a part of it.
            for table in Table::ALL.into_iter().filter(|&table| table != Table::Meta) {
                saved += Copying { old, new: &new, witness: &self.witness, table }.copy()?;
            }
        }
        let mut open = self.exclusive();
        self.close(&mut open);
        if self.folder.join(FILE).exists() {
            rename(&self.folder, FILE, DAMAGED_FILE)?;
        }
        rename(&self.folder, NEW_FILE, FILE)?;
        *open = Open { database: Some(new), frozen: false };
        Ok(saved)
    }

    fn damage(&self) -> MutexGuard<'_, Option<String>> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> RwLockReadGuard<'_, Open> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Open> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn committing(&self) -> MutexGuard<'_, ()> {
        self.committing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Disk {
    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|database| {
            let Some(table) = open_table(database, table)? else { return Ok(None) };
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    fn after(
        &self,
        table: Table,
        key: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.read(|database| entries(database, table, key, limit))
    }

    fn len(&self, table: Table) -> Result<u64, StoreError> {
        self.read(|database| match open_table(database, table)? {
            Some(table) => Ok(table.len()?),
            None => Ok(0),
        })
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let _one = self.committing();
        match self.commit_if_sound(&changes) {
            Ok(()) => {
                self.untried.store(false, Ordering::SeqCst);
                Ok(())
            }
            Err(StoreError::Damaged(why)) => {
                let saved = self.rebuild(&why)?;
                Err(StoreError::Rebuilt { saved })
            }
            Err(fault) => {
                warn!(%fault, "a commit failed");
                let _ = self.reopen();
                Err(fault)
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut open = self.exclusive();
        self.close(&mut open);
    }
}

fn write(database: &Database, changes: &[Change]) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // A store of gigabytes is back at once after a kill; a commit costs a second sync for that.
    transaction.set_quick_repair(true);
    for table in Table::ALL {
        let mut of_table = changes.iter().filter(|change| change.table() == table).peekable();
        if of_table.peek().is_none() {
            continue;
        }
        let mut table = transaction.open_table(definition(table))?;
        for change in of_table {
            match change {
                Change::Put(_, key, value) => table.insert(key.as_str(), value.as_slice())?,
                Change::Delete(_, key) => table.remove(key.as_str())?,
            };
        }
    }
    transaction.commit()?;
    Ok(())
}

fn entries(
    database: &Database,
    table: Table,
    key: &str,
    limit: usize,
) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let Some(table) = open_table(database, table)? else { return Ok(vec![]) };
    let after = (std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded);
    let mut found = vec![];
    for entry in table.range::<&str>(after)?.take(limit) {
        let (key, value) = entry?;
        found.push((key.value().to_owned(), value.value().to_vec()));
    }
    Ok(found)
}

fn open_or_freeze(path: &Path, witness: &Witness) -> Result<Open, StoreError> {
    match open_file(path, witness) {
        Ok(database) => Ok(Open { database: Some(database), frozen: false }),
        Err(StoreError::Disk(why)) => {
            let frozen = freeze(path, witness)?;
            warn!(why, "the disk takes no writes: serving what is there, taking nothing new");
            Ok(frozen)
        }
        Err(other) => Err(other),
    }
}

/// Opens a file to be read only.
fn freeze(path: &Path, witness: &Witness) -> Result<Open, StoreError> {
    let failed = |source| StoreError::Folder {
        doing: format!("{} can neither be written nor read", path.display()),
        source,
    };
    let backend = Frozen::open(path).map_err(failed)?;
    let database = witness.contained(|| Ok(builder().create_with_backend(backend)?))?;
    Ok(Open { database: Some(database), frozen: true })
}

fn open_file(path: &Path, witness: &Witness) -> Result<Database, StoreError> {
    witness.contained(|| Ok(builder().create(path)?))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(PAGE_CACHE_BYTES);
    builder
}

fn definition(table: Table) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(table.name())
}

type Opened = redb::ReadOnlyTable<&'static str, &'static [u8]>;

/// None before the first entry was ever put into it.
fn open_table(database: &Database, table: Table) -> Result<Option<Opened>, redb::Error> {
    match database.begin_read()?.open_table(definition(table)) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

fn rename(folder: &Path, from: &str, to: &str) -> Result<(), StoreError> {
    let failed = |source| StoreError::Folder {
        doing: format!("renaming {from} to {to} in {}", folder.display()),
        source,
    };
    fs::rename(folder.join(from), folder.join(to)).map_err(failed)?;
    // The name is durable only once its directory is.
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

impl Change {
    fn table(&self) -> Table {
        match self {
            Change::Put(table, ..) | Change::Delete(table, _) => *table,
        }
    }
}

#[cfg(test)]
mod tests;
