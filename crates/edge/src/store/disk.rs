//! The store in one redb file.
//!
//! What can happen to the file, and what is done:
//!
//! * The process is killed: redb shows the last commit, at once ("quick repair").
//! * A bit flips in a value: its [`record`](super::record) is refused, all others serve.
//! * A bit flips where the engine keeps its own order: reads there fail (or panic, which is
//!   contained), all others serve; the next commit that meets it makes a new file of what can be read.
//! * The file can't be opened: it is set aside for people to look at, and a new one is filled.
//! * The disk is full or read-only: everything is served, commits fail, and pass again by
//!   themselves when the disk does.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{
    Builder, Database, ReadableDatabase, ReadableTableMetadata, TableDefinition, TableError,
};
use tracing::{error, info, warn};

use super::frozen::Frozen;
use super::{Change, Store, StoreError, Table};

/// Memory for pages of the file. The hot names are kept elsewhere; this is for the way to the
/// others, whose upper levels fit many times over.
const PAGE_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Entries that are copied in one commit when a damaged file is made anew.
const COPY_BATCH: usize = 1_000;

const FILE: &str = "store.redb";
const NEW_FILE: &str = "store.new.redb";
/// The last file that was set aside. One is kept: it may be large.
const DAMAGED_FILE: &str = "store.damaged.redb";

/// The store on disk.
pub(crate) struct Disk {
    folder: PathBuf,
    open: RwLock<Open>,
    /// One commit at a time, also while a new file is being made.
    committing: Mutex<()>,
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
        // A rebuild ended between its two renames.
        if !path.exists() && folder.join(NEW_FILE).exists() {
            rename(folder, NEW_FILE, FILE)?;
        }
        let mut set_aside = None;
        let open = match open_or_freeze(&path) {
            Ok(open) => open,
            Err(StoreError::Damaged(why)) => {
                error!(file = %path.display(), why, "the store can't be opened: set aside");
                rename(folder, FILE, DAMAGED_FILE)?;
                set_aside = Some(why);
                open_or_freeze(&path)?
            }
            Err(fault) => return Err(fault),
        };
        let disk = Disk {
            folder: folder.to_owned(),
            open: RwLock::new(open),
            committing: Mutex::default(),
        };
        Ok((disk, set_aside))
    }

    /// Reads once, and once more after opening the file again if it was the disk that failed.
    fn read<T>(&self, read: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let first = self.read_once(&read);
        if !matches!(first, Err(StoreError::Disk(_))) {
            return first;
        }
        self.reopen();
        self.read_once(&read)
    }

    fn read_once<T>(
        &self,
        read: &impl Fn(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let open = self.shared();
        match &open.database {
            Some(database) => contained(|| read(database)),
            None => Err(StoreError::Disk("its file can't be opened".into())),
        }
    }

    fn commit_once(&self, changes: &[Change]) -> Result<(), StoreError> {
        let open = self.shared();
        match &open.database {
            Some(database) if !open.frozen => contained(|| write(database, changes)),
            _ => Err(StoreError::Disk("the disk takes no writes".into())),
        }
    }

    /// After an error of the disk the engine refuses everything until its file is opened again.
    fn reopen(&self) {
        let mut open = self.exclusive();
        open.database = None;
        match open_or_freeze(&self.folder.join(FILE)) {
            Ok(again) => *open = again,
            Err(why) => error!(%why, "the store can't be opened again"),
        }
    }

    /// Makes a new file of what can be read of this one. Readers go on meanwhile.
    fn rebuild(&self, why: &str) -> Result<u64, StoreError> {
        error!(why, "the store is damaged: making a new one of what can be read");
        // What panicked may have left the engine unusable; its file is as it was.
        self.reopen();
        let new_path = self.folder.join(NEW_FILE);
        let _ = fs::remove_file(&new_path);
        let new = open_file(&new_path)?;
        let mut saved = 0;
        if let Some(old) = &self.shared().database {
            // What is in `Meta` says what the whole file holds, and does not hold for a part of it.
            for table in Table::ALL.into_iter().filter(|&table| table != Table::Meta) {
                saved += copy(old, &new, table)?;
            }
        }
        let mut open = self.exclusive();
        open.database = None;
        rename(&self.folder, FILE, DAMAGED_FILE)?;
        rename(&self.folder, NEW_FILE, FILE)?;
        *open = Open { database: Some(new), frozen: false };
        info!(saved, "the store has been made anew");
        Ok(saved)
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
        if self.shared().frozen {
            self.reopen();
        }
        match self.commit_once(&changes) {
            Ok(()) => Ok(()),
            Err(StoreError::Damaged(why)) => {
                let saved = self.rebuild(&why)?;
                Err(StoreError::Rebuilt { saved })
            }
            Err(fault) => {
                warn!(%fault, "a commit failed");
                self.reopen();
                Err(fault)
            }
        }
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

/// Copies what can be read from the front, and what can be read from the back.
fn copy(old: &Database, new: &Database, table: Table) -> Result<u64, StoreError> {
    let mut saved = 0;
    let mut last = String::new();
    while let Ok(found) = contained(|| entries(old, table, &last, COPY_BATCH)) {
        let Some((key, _)) = found.last() else { return Ok(saved) };
        last.clone_from(key);
        saved += insert(new, table, found)?;
    }
    // One entry at a time to the damage, then from the other end back to it.
    while let Ok(found) = contained(|| entries(old, table, &last, 1)) {
        let Some((key, _)) = found.last() else { return Ok(saved) };
        last.clone_from(key);
        saved += insert(new, table, found)?;
    }
    let mut first: Option<String> = None;
    while let Ok(Some((key, value))) = contained(|| before(old, table, first.as_deref())) {
        if key <= last {
            break;
        }
        first = Some(key.clone());
        saved += insert(new, table, vec![(key, value)])?;
    }
    Ok(saved)
}

fn before(
    database: &Database,
    table: Table,
    key: Option<&str>,
) -> Result<Option<(String, Vec<u8>)>, redb::Error> {
    let Some(table) = open_table(database, table)? else { return Ok(None) };
    let end = key.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
    let mut range = table.range::<&str>((std::ops::Bound::Unbounded, end))?;
    match range.next_back() {
        None => Ok(None),
        Some(entry) => {
            let (key, value) = entry?;
            Ok(Some((key.value().to_owned(), value.value().to_vec())))
        }
    }
}

fn insert(new: &Database, table: Table, found: Vec<(String, Vec<u8>)>) -> Result<u64, StoreError> {
    let count = found.len() as u64;
    let put = |(key, value)| Change::Put(table, key, value);
    let changes: Vec<Change> = found.into_iter().map(put).collect();
    contained(|| write(new, &changes))?;
    Ok(count)
}

fn open_or_freeze(path: &Path) -> Result<Open, StoreError> {
    match open_file(path) {
        Ok(database) => Ok(Open { database: Some(database), frozen: false }),
        Err(StoreError::Disk(why)) => {
            let frozen = |source| StoreError::Folder {
                doing: format!("{} can neither be written ({why}) nor read", path.display()),
                source,
            };
            let backend = Frozen::open(path).map_err(frozen)?;
            let database = contained(|| Ok(builder().create_with_backend(backend)?))?;
            warn!(why, "the disk takes no writes: serving what is there, taking nothing new");
            Ok(Open { database: Some(database), frozen: true })
        }
        Err(other) => Err(other),
    }
}

fn open_file(path: &Path) -> Result<Database, StoreError> {
    contained(|| Ok(builder().create(path)?))
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

/// Tells damage from trouble with the disk. The engine may panic on a file that was changed behind
/// its back; it holds no lock of ours then, and the panic is one more way of saying "damaged".
fn contained<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(redb::Error::Io(e))) if !is_about_content(&e) => {
            Err(StoreError::Disk(e.to_string()))
        }
        Ok(Err(e @ redb::Error::PreviousIo)) => Err(StoreError::Disk(e.to_string())),
        Ok(Err(redb::Error::DatabaseAlreadyOpen)) => Err(StoreError::Folder {
            doing: "another process has its store open".to_owned(),
            source: io::ErrorKind::ResourceBusy.into(),
        }),
        Ok(Err(e)) => Err(StoreError::Damaged(e.to_string())),
        Err(_) => Err(StoreError::Damaged("its engine can't make sense of it".into())),
    }
}

/// The file can be read, and is too short or no store.
fn is_about_content(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
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
