//! Loops that keep running.
//!
//! A loop wakes on a signal *and* on a timer, looks at the whole state, and does what is missing.
//! It takes no hint about what changed, so restart, loss and the normal case are the same code.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use crate::Shutdown;

/// How long a loop that failed waits at first before it is started again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How long it waits at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A loop that ran this long is taken to have been well.
const WELL: Duration = Duration::from_secs(60);

/// What a loop ends with when it fails.
pub type Fault = Box<dyn Error + Send + Sync>;

/// Wakes a loop. Cloning gives another handle to the same loop.
#[derive(Debug, Clone, Default)]
pub struct Signal(Arc<Wakeups>);

#[derive(Debug, Default)]
struct Wakeups {
    notify: Notify,
    rounds: AtomicU64,
}

impl Signal {
    /// Wakes the loop now, or as soon as it sleeps next.
    pub fn wake(&self) {
        self.0.notify.notify_one();
    }

    /// Waits for a wake-up, but no longer than `at_most`.
    pub async fn wait(&self, at_most: Duration) {
        self.0.rounds.fetch_add(1, Ordering::SeqCst);
        // Waking without a signal is what the timer is for.
        let _ = timeout(at_most, self.0.notify.notified()).await;
    }

    /// How often the loop has come round to waiting: after a wake-up and two more rounds it has
    /// looked at everything that was there at the wake-up.
    pub fn rounds(&self) -> u64 {
        self.0.rounds.load(Ordering::SeqCst)
    }
}

/// Runs a loop until shutdown, and starts it again when it fails or panics, after a pause that
/// grows: a fault in one loop takes nothing else with it.
pub async fn keep_running<Start, Loop>(name: &'static str, shutdown: Shutdown, mut start: Start)
where
    Start: FnMut() -> Loop,
    Loop: Future<Output = Result<(), Fault>> + Send + 'static,
{
    let mut pause = FIRST_PAUSE;
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        let mut running = tokio::spawn(start());
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = shutdown.cancelled() => {
                running.abort();
                return;
            }
        };
        match ended {
            Ok(Ok(())) => info!(name, "ended"),
            Ok(Err(fault)) => warn!(name, fault = chain(&*fault), "failed, starts again"),
            Err(panic) => error!(name, %panic, "panicked, starts again"),
        }
        if started.elapsed() > WELL {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// An error with all its sources, for one log line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_fails_or_panics_is_started_again() {
        let starts = Arc::new(AtomicU32::new(0));
        let shutdown = Shutdown::new();
        let (count, stop) = (starts.clone(), shutdown.clone());
        keep_running("test", shutdown, move || {
            let nth = count.fetch_add(1, Ordering::SeqCst);
            let stop = stop.clone();
            async move {
                match nth {
                    0 => Err("broken".into()),
                    1 => panic!("on purpose"),
                    _ => {
                        stop.cancel();
                        Ok(())
                    }
                }
            }
        })
        .await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }
}
