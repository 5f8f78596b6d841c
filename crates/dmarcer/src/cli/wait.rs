//! `--wait`: looks again and again until a change is in effect, and says how far it has got.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::cli::Session;
use crate::cli::duration;
use crate::cli::failure::Failure;
use crate::cli::table::printable;

/// How often to look. Changes take seconds; a server answers this easily.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Room for the line that is written over and over: it must not wrap.
const LINE: usize = 78;

/// What a look found.
pub(crate) enum Look<T> {
    /// In effect.
    Done(T, Vec<String>),
    /// The steps that have been taken, and what the next waits for.
    NotYet(Vec<String>, String),
}

/// Looks until it is done.
///
/// # Errors
/// When `--timeout` has passed or somebody presses Ctrl-C, the change itself goes on: `look_later`
/// is the command that shows it.
pub(crate) async fn until<T>(
    session: &Session,
    domain: &str,
    look_later: &str,
    mut look: impl AsyncFnMut() -> Result<Look<T>, Failure>,
) -> Result<T, Failure> {
    let deadline = Instant::now().checked_add(session.options.timeout);
    let mut progress = Progress::new(session);
    let watching = async {
        loop {
            match look().await {
                Ok(Look::Done(done, steps)) => {
                    progress.show(&steps, "");
                    return Ok(done);
                }
                Ok(Look::NotYet(steps, waits)) => progress.show(&steps, &waits),
                // A server that restarts is no reason to stop waiting.
                Err(failure) if failure.is_transient() => progress.waits("the server"),
                Err(failure) => return Err(failure),
            }
            sleep(LOOK_EVERY).await;
        }
    };
    let bounded = async {
        match deadline {
            Some(deadline) => timeout_at(deadline, watching).await.ok(),
            None => Some(watching.await),
        }
    };
    let ended = tokio::select! {
        ended = bounded => ended.ok_or(false),
        _ = tokio::signal::ctrl_c() => Err(true),
    };
    let waited_for = progress.end();
    let outcome = match ended {
        Ok(outcome) => outcome,
        Err(true) => {
            Err(Failure::interrupted("stopped waiting; the change itself goes on").hint(look_later))
        }
        Err(false) => {
            let after = duration::show(session.options.timeout.as_secs());
            let message = format!("not in effect after {after}; the change goes on{waited_for}");
            Err(Failure::ran_out(message).hint(look_later))
        }
    };
    outcome.map_err(|failure| failure.about(domain))
}

/// Steps, one line each; on a terminal in one line that is written over.
struct Progress {
    in_place: bool,
    silent: bool,
    told: Vec<String>,
    waits: String,
}

impl Progress {
    fn new(session: &Session) -> Progress {
        // Under JSON standard error is for errors; people who wait see the steps nevertheless.
        let terminal = io::stderr().is_terminal();
        let silent = !session.output.is_table() && !terminal;
        Progress { in_place: terminal, silent, told: Vec::new(), waits: String::new() }
    }

    fn show(&mut self, steps: &[String], waits: &str) {
        if self.silent {
            self.waits = waits.to_owned();
            return;
        }
        let mut out = io::stderr();
        if self.in_place {
            let done = printable(&steps.join(" · "));
            let line = match waits {
                "" => done.clone(),
                waits => format!("{done} · waits for: {}", printable(waits)),
            };
            let _ = write!(out, "\r\x1b[2K");
            // What doesn't fit is said once, above: it may be a record to publish.
            if line.chars().count() <= LINE {
                let _ = write!(out, "{line}");
            } else {
                if self.waits != waits {
                    let _ = writeln!(out, "waits for: {}", printable(waits));
                }
                let _ = write!(out, "{}", done.chars().take(LINE).collect::<String>());
            }
            let _ = out.flush();
        } else {
            for step in steps.iter().filter(|step| !self.told.contains(step)) {
                let _ = writeln!(out, "{}", printable(step));
            }
            if !waits.is_empty() && self.waits != waits {
                let _ = writeln!(out, "waits for: {}", printable(waits));
            }
        }
        self.told = steps.to_vec();
        self.waits = waits.to_owned();
    }

    fn waits(&mut self, waits: &str) {
        let told = self.told.clone();
        self.show(&told, waits);
    }

    /// Ends the line; gives what was waited for last, as an addition to a sentence.
    fn end(self) -> String {
        if self.in_place && !self.told.is_empty() {
            let _ = writeln!(io::stderr());
        }
        match self.waits.is_empty() {
            true => String::new(),
            false => format!(", waits for: {}", self.waits),
        }
    }
}
