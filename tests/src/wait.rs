//! Waiting for a state, with an end.
//!
//! Nothing here sleeps and hopes: an attempt is repeated until it succeeds, and when time is up the
//! failure says what was awaited and what was seen last.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Failure, Outcome};

/// Between two attempts: short beside what is awaited, long beside one attempt.
const PAUSE: Duration = Duration::from_millis(20);

/// Repeats `attempt` until it gives a value, for at most `within`.
///
/// An attempt that fails says in its error what it saw. It blocks, and is not cut short: its own
/// limits must be shorter than `within`. In async code use [`until_async`].
///
/// # Errors
///
/// When time is up: `what` was awaited, and the last error.
pub fn until<T, E: Display>(
    within: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Outcome<T> {
    let deadline = Instant::now() + within;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() >= deadline => return Err(too_late(within, what, &seen)),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// As [`until`], for attempts that are async. An attempt that hangs is cut off at the end.
///
/// # Errors
///
/// When time is up: `what` was awaited, and the last error.
pub async fn until_async<T, E: Display>(
    within: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Outcome<T> {
    let deadline = tokio::time::Instant::now() + within;
    let mut last = None;
    loop {
        match tokio::time::timeout_at(deadline, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last = Some(seen.to_string()),
            Err(_) => {
                let seen = last.unwrap_or_else(|| "the first attempt never ended".to_owned());
                return Err(too_late(within, what, &seen));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn too_late(within: Duration, what: &str, seen: &dyn Display) -> Failure {
    Failure::new(format!("waited {within:?} for {what}; last seen: {seen}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_says_what_was_awaited_and_what_was_seen_last() {
        let mut count = 0;
        let outcome: Outcome = until(Duration::from_millis(50), "rain", || {
            count += 1;
            Err(format!("sun {count}"))
        });
        let text = outcome.unwrap_err().to_string();
        assert_eq!(text, format!("waited 50ms for rain; last seen: sun {count}"));
    }

    #[tokio::test]
    async fn an_async_attempt_that_hangs_is_cut_off() {
        let outcome: Outcome = until_async(Duration::from_millis(50), "an answer", async || {
            std::future::pending::<Result<(), String>>().await
        })
        .await;
        let text = outcome.unwrap_err().to_string();
        assert!(text.ends_with("last seen: the first attempt never ended"), "{text}");
    }
}
