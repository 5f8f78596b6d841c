//! Key files, and the lock that keeps two processes from one data directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

/// No key file is longer.
const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;

static MAKING: Mutex<()> = Mutex::new(());

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system said no.
    #[error("{} can't be {done}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, for example "written".
        done: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process works in the directory.
    #[error("{} is in use by another process: stop it, or choose another data_dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Others than its owner may read a key.
    #[error("{} can be read by others than its owner: chmod 600 it", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
    },
}

/// Holds a data directory for one process, until dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// Creates a data directory where there is none, readable by its owner only, and locks it.
///
/// # Errors
/// [`FileError::InUse`] when another process holds it.
pub fn lock_directory(directory: &Path) -> Result<DirectoryLock, FileError> {
    create_directory(directory)?;
    let path = directory.join("lock");
    let io = |done| at(&path, done);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(io("opened"))?;
    match file.try_lock() {
        Ok(()) => Ok(DirectoryLock { _file: file }),
        Err(fs::TryLockError::WouldBlock) => Err(FileError::InUse { path: directory.to_owned() }),
        Err(fs::TryLockError::Error(e)) => Err(io("locked")(e)),
    }
}

/// Creates a directory where there is none, readable by its owner only.
///
/// # Errors
/// When the system says no.
pub fn create_directory(directory: &Path) -> Result<(), FileError> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory).map_err(at(directory, "created"))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
        .map_err(at(directory, "protected"))
}

/// Reads a key file; where there is none, makes the key and writes it first, durably and readable
/// by its owner only.
///
/// # Errors
/// When the file can't be read or written, or is open to others.
pub fn read_or_create_key(
    path: &Path,
    make: impl FnOnce() -> Vec<u8>,
) -> Result<Zeroizing<Vec<u8>>, FileError> {
    // Services of one process that start at once may need the same key; of two processes, one has the
    // directory.
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    match File::open(path) {
        Ok(file) => read_key(path, file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let key = Zeroizing::new(make());
            write_private(path, &key)?;
            Ok(key)
        }
        Err(e) => Err(at(path, "opened")(e)),
    }
}

fn read_key(path: &Path, file: File) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let mode = file.metadata().map_err(at(path, "examined"))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(FileError::TooOpen { path: path.to_owned() });
    }
    let mut key = Zeroizing::new(Vec::new());
    file.take(MAX_KEY_FILE_BYTES).read_to_end(&mut key).map_err(at(path, "read"))?;
    Ok(key)
}

/// Writes a file that only its owner may read: whole or not at all, and durable on return.
///
/// # Errors
/// When the system says no; what was there before then still is.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    create_directory(directory)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let unfinished = directory.join(name);
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(at(&unfinished, "created"))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(at(&unfinished, "written"))?;
    fs::rename(&unfinished, path).map_err(at(path, "replaced"))?;
    // The name is durable only once its directory is.
    File::open(directory).and_then(|d| d.sync_all()).map_err(at(directory, "made durable"))
}

fn at(path: &Path, done: &'static str) -> impl Fn(io::Error) -> FileError {
    move |source| FileError::Io { path: path.to_owned(), done, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_need_a_key_at_once_get_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/page-tokens");
        let made: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let one = |n: u8| {
                let path = &path;
                scope.spawn(move || read_or_create_key(path, || vec![n; 32]).unwrap().to_vec())
            };
            let threads: Vec<_> = (0..16).map(one).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|key| *key == made[0]), "{made:?}");
    }

    #[test]
    fn a_key_is_made_once_and_read_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/kek");
        let first = read_or_create_key(&path, || b"one".to_vec()).unwrap();
        let second = read_or_create_key(&path, || b"two".to_vec()).unwrap();
        assert_eq!((first.as_slice(), second.as_slice()), (&b"one"[..], &b"one"[..]));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kek");
        write_private(&path, b"key").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = read_or_create_key(&path, Vec::new).unwrap_err();
        assert!(matches!(refused, FileError::TooOpen { .. }), "{refused}");
    }

    #[test]
    fn a_directory_is_locked_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock_directory(folder.path()).unwrap();
        let refused = lock_directory(folder.path()).unwrap_err();
        assert!(matches!(refused, FileError::InUse { .. }), "{refused}");
        drop(held);
        lock_directory(folder.path()).unwrap();
    }
}
