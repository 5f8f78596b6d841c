//! The product's clock, which a journey sets ahead: what takes minutes by the clock takes none here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Failure, Outcome, World};

/// Debian's libfaketime, wherever the architecture's libraries are.
const LIBRARY: &str = "faketime/libfaketime.so.1";
const LIBRARIES: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib"];

/// A clock that runs as the machine's does, so much ahead of it.
///
/// Only the time of day is ahead: what measures how long something takes is not, so no timeout of the
/// product runs out by it.
#[derive(Clone)]
pub struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// A clock that is right.
    ///
    /// # Errors
    ///
    /// When the library that sets it is not here.
    pub fn new(world: &World) -> Outcome<Self> {
        let mut places = LIBRARIES.iter().map(|folder| Path::new(folder).join(LIBRARY));
        let library = places
            .find(|library| library.is_file())
            .ok_or_else(|| Failure::new("no libfaketime here: run tests/install"))?;
        let clock = Self { file: world.directory("clock")?.join("ahead"), library };
        clock.go_ahead_by(Duration::ZERO)?;
        Ok(clock)
    }

    /// Sets it ahead of the machine's. It has been noticed after a second.
    ///
    /// # Errors
    ///
    /// When its file can't be written.
    pub fn go_ahead_by(&self, time: Duration) -> Outcome {
        let next = self.file.with_extension("next");
        fs::write(&next, format!("+{}s\n", time.as_secs()))?;
        Ok(fs::rename(next, &self.file)?)
    }

    /// Gives it to a program that is about to be started.
    pub(crate) fn give_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
    }
}
