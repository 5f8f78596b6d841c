//! A store file on a disk that takes no writes: what would be written is kept in memory.
//!
//! An engine that opens a file after a crash has to write to it. On a read-only disk that would
//! leave the edge without anything to serve, so this backend lets it write into memory and serve.
//! Nothing is ever committed through it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

const PAGE_BYTES: u64 = 4096;

/// A file to read from, with changes that stay in memory.
#[derive(Debug)]
pub(crate) struct Frozen {
    file: File,
    changed: Mutex<Changed>,
}

#[derive(Debug)]
struct Changed {
    length: u64,
    pages: HashMap<u64, Vec<u8>>,
}

impl Frozen {
    /// Opens a file that need not be writable.
    pub(crate) fn open(path: &Path) -> io::Result<Frozen> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let changed = Mutex::new(Changed { length, pages: HashMap::new() });
        Ok(Frozen { file, changed })
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as it is now: what the file does not have is zero.
    fn page(&self, changed: &Changed, number: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = changed.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE_BYTES as usize];
        let mut filled = 0;
        while filled < page.len() {
            let at = number * PAGE_BYTES + filled as u64;
            match self.file.read_at(&mut page[filled..], at) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(page)
    }
}

impl StorageBackend for Frozen {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changed().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changed = self.changed();
        if offset + out.len() as u64 > changed.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let page = self.page(&changed, at / PAGE_BYTES)?;
            let part = &page[(at % PAGE_BYTES) as usize..];
            let length = part.len().min(out.len() - done);
            out[done..done + length].copy_from_slice(&part[..length]);
            done += length;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.changed().length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changed = self.changed();
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let number = at / PAGE_BYTES;
            let mut page = self.page(&changed, number)?;
            let start = (at % PAGE_BYTES) as usize;
            let length = (page.len() - start).min(data.len() - done);
            page[start..start + length].copy_from_slice(&data[done..done + length]);
            changed.pages.insert(number, page);
            done += length;
        }
        changed.length = changed.length.max(offset + data.len() as u64);
        Ok(())
    }
}
