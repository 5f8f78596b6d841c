//! Tells the next start what this one died of.
//!
//! The engine may panic on a damaged file, and once more in a destructor while that panic unwinds:
//! nothing can contain that, the process is aborted. Started again it would open the same file and
//! die the same death, for ever. So a line is written into a small file before each death: when
//! the engine panics (the hook runs before anything unwinds), and where the engine could end the
//! process without a panic, which is while a file is opened, first written to, or made anew. Who
//! lives on takes the line back. A kill in ordinary running finds no line there, and costs nothing.

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Once};

use tracing::warn;

use super::super::StoreError;
use crate::seldom::Seldom;

const FILE: &str = "store.died";

/// The lines.
const PANICKED: &str = "panicked";
const OPENING: &str = "opening";
const MENDING: &str = "mending";

/// Openings and mendings that may end without a panic: one may have been a kill.
const DEATHS: usize = 2;

/// What to do with the file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// Nobody died of it.
    Open,
    /// It can't be written to: make a new one of what can be read.
    Mend,
    /// It can't even be read: begin a new one.
    SetAside,
}

/// Who sees what happens to the store in a folder.
#[derive(Debug, Clone)]
pub(super) struct Witness {
    path: Arc<Path>,
}

thread_local! {
    /// Where to write it when this thread panics: set while the engine works on it.
    static AT_WORK: RefCell<Option<Arc<Path>>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

impl Witness {
    /// Watches the store in `folder` from now on.
    pub(super) fn of(folder: &Path) -> Witness {
        HOOK.call_once(|| {
            let (before, said) = (panic::take_hook(), Seldom::default());
            panic::set_hook(Box::new(move |panic| {
                let of_store = AT_WORK.with_borrow(|path| {
                    path.as_ref().is_some_and(|path| {
                        let _ = append(path, PANICKED);
                        true
                    })
                });
                // Anyone can ask for a damaged name, and each time the engine may panic.
                if !of_store || said.may_say("") {
                    before(panic);
                }
            }));
        });
        Witness { path: folder.join(FILE).into() }
    }

    /// What former starts died of, and so what to do now.
    pub(super) fn advice(&self) -> Advice {
        let lines = self.lines();
        let count = |wanted: &str| lines.iter().filter(|line| *line == wanted).count();
        let died_mending = lines.ends_with(&[MENDING.into(), PANICKED.into()]);
        if count(MENDING) >= DEATHS || died_mending {
            Advice::SetAside
        } else if count(MENDING) > 0 || count(PANICKED) > 0 || count(OPENING) >= DEATHS {
            Advice::Mend
        } else {
            Advice::Open
        }
    }

    /// A file is about to be opened and written to.
    pub(super) fn opening(&self) {
        self.write(OPENING);
    }

    /// A damaged file is about to be read for a new one.
    pub(super) fn mending(&self) {
        self.write(MENDING);
    }

    /// It lived through that.
    pub(super) fn well(&self) {
        if let Err(fault) = fs::remove_file(&self.path)
            && fault.kind() != io::ErrorKind::NotFound
        {
            warn!(file = %self.path.display(), %fault, "can't be removed: remove it");
        }
    }

    /// Lets the engine work. Tells damage from trouble with the disk; a panic is one more way of
    /// saying "damaged", for the engine holds no lock of ours.
    pub(super) fn contained<T>(
        &self,
        work: impl FnOnce() -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        AT_WORK.set(Some(self.path.clone()));
        let done = catch_unwind(AssertUnwindSafe(work));
        AT_WORK.set(None);
        match done {
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
            Err(_) => {
                self.lived();
                Err(StoreError::Damaged("its engine can't make sense of it".into()))
            }
        }
    }

    /// A panic did not end the process.
    fn lived(&self) {
        let mut lines = self.lines();
        lines.retain(|line| line != PANICKED);
        if lines.is_empty() {
            return self.well();
        }
        let kept: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let _ = fs::write(&self.path, kept);
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// On a disk that takes no writes nothing is written to the store either, and nobody dies.
    fn write(&self, line: &str) {
        let _ = append(&self.path, line);
    }
}

/// It need not outlive a loss of power: that is no death of the process.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// The file can be read, and is too short or no store.
fn is_about_content(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kill_costs_nothing_and_no_file_is_died_of_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let witness = Witness::of(folder.path());
        for (lines, advice) in [
            ("", Advice::Open),
            ("opening\n", Advice::Open),
            ("opening\nopening\n", Advice::Mend),
            ("panicked\n", Advice::Mend),
            ("opening\npanicked\n", Advice::Mend),
            ("panicked\nopening\nmending\n", Advice::Mend),
            ("panicked\nopening\nmending\npanicked\n", Advice::SetAside),
            ("opening\nmending\nopening\nmending\n", Advice::SetAside),
        ] {
            fs::write(folder.path().join(FILE), lines).unwrap();
            assert_eq!(witness.advice(), advice, "{lines:?}");
        }
        witness.well();
        assert_eq!(witness.advice(), Advice::Open);
    }

    #[test]
    fn a_panic_that_is_lived_through_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let witness = Witness::of(folder.path());
        witness.opening();
        let seen = witness.contained(|| -> Result<(), redb::Error> {
            let _looking = Looking(&witness);
            panic!("a page makes no sense")
        });
        assert!(matches!(seen, Err(StoreError::Damaged(_))));
        assert_eq!(witness.advice(), Advice::Open);
    }

    /// Looks while a panic unwinds, where the process could be aborted.
    struct Looking<'a>(&'a Witness);

    impl Drop for Looking<'_> {
        fn drop(&mut self) {
            assert_eq!(self.0.advice(), Advice::Mend);
        }
    }
}
