//! Who holds a token: asked of whoever knows, and remembered for a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::caller::{Caller, token_invalid};

/// An answer is good for so long: a token that is revoked fails everywhere within a second.
const REMEMBERED_FOR: Duration = Duration::from_millis(500);
/// More answers than this are not remembered, so that made-up tokens fill no memory.
const REMEMBERED: usize = 10_000;

/// Knows whose a token is.
#[async_trait]
pub trait Identify: Send + Sync {
    /// The caller who holds the token with this SHA-256, in the workspace they ask for, or in their own.
    ///
    /// # Errors
    /// The refusal for the caller: `UNAUTHENTICATED` for a token that is nobody's, `UNAVAILABLE` where
    /// that can't be found out now, or what is wrong with the workspace.
    async fn identify(&self, token_hash: [u8; 32], workspace: &str) -> Result<Caller, Status>;
}

/// Callers by their tokens: some known here, all others asked for.
///
/// Deny by default: what neither knows is nobody's.
#[derive(Clone, Default)]
pub struct Known {
    here: Arc<HashMap<[u8; 32], Caller>>,
    elsewhere: Option<Arc<dyn Identify>>,
    remembered: Arc<Mutex<Answers>>,
}

/// By the hash of the token, and the workspace that was asked for.
type Answers = HashMap<([u8; 32], String), Remembered>;

struct Remembered {
    until: Instant,
    answer: Result<Caller, Status>,
}

impl Known {
    /// Believes these tokens, and nobody else's.
    ///
    /// An empty one, as from a file that was cut off, is nobody's.
    pub fn here(tokens: impl IntoIterator<Item = (String, Caller)>) -> Known {
        let tokens = tokens.into_iter().filter(|(token, _)| !token.trim().is_empty());
        // Hashes are looked up: how long that takes tells nothing about a token.
        let here = tokens.map(|(token, caller)| (token_hash(&token), caller)).collect();
        Known { here: Arc::new(here), ..Known::default() }
    }

    /// Asks `elsewhere` about tokens that aren't known here.
    #[must_use]
    pub fn or_ask(self, elsewhere: Arc<dyn Identify>) -> Known {
        Known { elsewhere: Some(elsewhere), ..self }
    }

    /// The caller who holds a token.
    ///
    /// # Errors
    /// As [`Identify::identify`].
    pub async fn caller(&self, token: &str, workspace: &str) -> Result<Caller, Status> {
        let hash = token_hash(token);
        if let Some(caller) = self.here.get(&hash) {
            return Ok(caller.clone());
        }
        let Some(elsewhere) = &self.elsewhere else { return Err(token_invalid()) };
        let key = (hash, workspace.to_owned());
        if let Some(remembered) = self.lock().get(&key).filter(|it| it.until > Instant::now()) {
            return remembered.answer.clone();
        }
        // Counted from before the question: whatever was true then is the oldest that is believed.
        let until = Instant::now() + REMEMBERED_FOR;
        let answer = elsewhere.identify(hash, workspace).await;
        self.remember(key, Remembered { until, answer: answer.clone() });
        answer
    }

    fn remember(&self, key: ([u8; 32], String), remembered: Remembered) {
        // That nobody could be asked is no answer.
        if remembered.answer.as_ref().is_err_and(|status| status.code() == Code::Unavailable) {
            return;
        }
        let mut all = self.lock();
        if all.len() >= REMEMBERED {
            let now = Instant::now();
            all.retain(|_, it| it.until > now);
        }
        if all.len() < REMEMBERED {
            all.insert(key, remembered);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SHA-256 of a whole token: all that is kept of it, and all that is sent to find its holder.
#[must_use]
pub fn token_hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::advance;

    use super::*;
    use crate::caller::Role;

    fn somebody() -> Caller {
        Caller {
            id: "token:1".into(),
            name: "n".into(),
            workspace: "default".into(),
            role: Role::PlatformAdmin,
            domains: Vec::new(),
            owner: "admin".into(),
        }
    }

    /// Knows "good" until it is revoked, and counts how often it is asked.
    #[derive(Default)]
    struct Control {
        asked: AtomicUsize,
        revoked: Mutex<bool>,
        away: Mutex<bool>,
    }

    #[async_trait]
    impl Identify for Control {
        async fn identify(&self, hash: [u8; 32], _: &str) -> Result<Caller, Status> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if *self.away.lock().unwrap() {
                return Err(Status::unavailable("away"));
            }
            let revoked = *self.revoked.lock().unwrap();
            if hash == token_hash("good") && !revoked {
                Ok(somebody())
            } else {
                Err(token_invalid())
            }
        }
    }

    #[tokio::test]
    async fn an_empty_token_is_nobodys() {
        let known = Known::here([(String::new(), somebody()), (" \n".into(), somebody())]);
        for token in ["", " ", " \n"] {
            assert!(known.caller(token, "").await.is_err(), "{token:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_token_fails_within_a_second() {
        let control = Arc::new(Control::default());
        let known = Known::default().or_ask(control.clone());
        for _ in 0..100 {
            known.caller("good", "").await.unwrap();
        }
        assert_eq!(control.asked.load(Ordering::SeqCst), 1, "an answer is remembered for a moment");
        *control.revoked.lock().unwrap() = true;
        advance(Duration::from_millis(999)).await;
        assert_eq!(known.caller("good", "").await.unwrap_err().code(), Code::Unauthenticated);
    }

    #[tokio::test(start_paused = true)]
    async fn that_nobody_could_be_asked_is_not_remembered() {
        let control = Arc::new(Control::default());
        let known = Known::default().or_ask(control.clone());
        *control.away.lock().unwrap() = true;
        assert_eq!(known.caller("good", "").await.unwrap_err().code(), Code::Unavailable);
        *control.away.lock().unwrap() = false;
        known.caller("good", "").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_tokens_fill_no_memory() {
        let known = Known::default().or_ask(Arc::new(Control::default()));
        for n in 0..REMEMBERED + 100 {
            let _ = known.caller(&format!("made up {n}"), "").await;
        }
        assert!(known.lock().len() <= REMEMBERED);
        known.caller("good", "").await.unwrap();
    }
}
