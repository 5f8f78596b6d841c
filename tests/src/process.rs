//! Other people's programs: found, run to their end, or kept running as a [`Daemon`].

use std::env;
use std::fmt::Display;
use std::fs::{self, File};
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::{Failure, Outcome, wait};

/// A daemon that is not ready by then will not be: the slowest here starts in about a second.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How much of a log a failure shows.
const LINES_SHOWN: usize = 40;

/// Where `tests/install` puts the Python programs.
const PYTHON_TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/test-tools/venv/bin");

/// Prepares to run the program called `name`, with nothing on its standard input.
///
/// It is looked for first among the Python programs that `tests/install` pins, then in `PATH`, then
/// where system programs live, which is often not in a user's `PATH`.
///
/// # Errors
///
/// When it is nowhere.
pub fn program(name: &str) -> Outcome<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = iter::once(PathBuf::from(PYTHON_TOOLS))
        .chain(env::split_paths(&path))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| Failure::new(format!("no program `{name}` here: run tests/install")))?;
    let mut command = Command::new(found);
    command.stdin(Stdio::null());
    Ok(command)
}

/// Runs a program to its end and gives what it printed.
///
/// # Errors
///
/// When it ends with anything but success: its arguments and what it said.
pub fn run(command: &mut Command) -> Outcome<String> {
    let output = command.output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{command:?} ended with {}: {said}{printed}", output.status)))
}

/// A child process that ends with this value.
pub struct Running(Child);

impl Running {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Outcome<Self> {
        match command.spawn() {
            Ok(child) => Ok(Self(child)),
            Err(error) => Err(Failure::from(error).during(format!("starting {command:?}"))),
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    ///
    /// When the system cannot say.
    pub fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Its standard input, once.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.0.stdin.take()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that runs until this value is dropped, its output kept in a file.
pub struct Daemon {
    name: &'static str,
    running: Running,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` with its output in `<directory>/<name>.log`, and waits until `ready` holds.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or is not ready in time: with the end of its log.
    pub fn start<E: Display>(
        name: &'static str,
        directory: &Path,
        command: &mut Command,
        ready: impl FnMut() -> Result<(), E>,
    ) -> Outcome<Self> {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log)?;
        command.stdout(file.try_clone()?).stderr(file);
        let mut daemon = Self { name, running: Running::start(command)?, log };
        match daemon.until_ready(ready) {
            Ok(()) => Ok(daemon),
            Err(failure) => Err(Failure::new(format!("{failure}\n{}", tail(&daemon.log)))),
        }
    }

    /// What it has printed so far.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn log(&self) -> Outcome<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    fn until_ready<E: Display>(&mut self, mut ready: impl FnMut() -> Result<(), E>) -> Outcome {
        let what = format!("{} to be ready", self.name);
        // The inner failure ends the waiting, the outer one goes on: a dead daemon is not awaited.
        wait::until(READY_WITHIN, &what, || match self.running.ended() {
            Ok(None) => ready().map(Ok),
            Ok(Some(status)) => Ok(Err(Failure::new(format!("{} ended: {status}", self.name)))),
            Err(failure) => Ok(Err(failure)),
        })?
    }
}

/// The last lines of a log, under its name.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
    format!("--- end of {}\n{}\n", log.display(), shown.join("\n"))
}
