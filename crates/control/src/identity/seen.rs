//! When tokens and people were last seen: noted beside the answers, written by a loop.
//!
//! A note that is lost with the process costs nothing but a minute's truth; an answer waits for none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use service::supervise::{Fault, Signal};

use super::owner::OwnerId;
use super::tokens::LONGEST;
use crate::Core;
use crate::sql::{Person, TokenRow};

/// Uses are known to the minute: a busy token costs one small write a minute.
const TO_THE: SignedDuration = SignedDuration::from_mins(1);
/// Notes wait so long, so that many are one transaction.
const PAUSE: Duration = Duration::from_secs(5);
/// More notes than these are left for the next minute, so that they fill no memory.
const NOTED: usize = 10_000;

/// By token: whose it is, and when it was used. In order, so that no two writers wait for each other.
type Notes = BTreeMap<String, (OwnerId, Timestamp)>;

/// Uses that are not written yet.
#[derive(Default)]
pub(crate) struct Seen {
    notes: Mutex<Notes>,
    pub(crate) write: Signal,
}

impl Seen {
    /// A token was used just now.
    pub(super) fn note(&self, token: &TokenRow, now: Timestamp) {
        let before = token.life.last_used_at;
        if before.is_some_and(|before| now.duration_since(before) < TO_THE) {
            return;
        }
        let mut notes = self.notes();
        if notes.len() < NOTED || notes.contains_key(&token.id) {
            notes.insert(token.id.clone(), (token.owner.clone(), now));
        }
    }

    fn take(&self) -> Notes {
        std::mem::take(&mut *self.notes())
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what was noted, and forgets tokens that ended long ago.
///
/// A token made with another is made before that one ends, and lasts no longer than [`LONGEST`]: so
/// long after its end nothing can be left that a revocation would have to reach through it.
pub(crate) async fn note_uses(core: Arc<Core>) -> Result<(), Fault> {
    loop {
        let notes = core.callers.seen.take();
        if !notes.is_empty() {
            note_tokens(&core, &notes).await?;
            note_people(&core, &notes).await?;
        }
        core.callers.seen.write.wait(PAUSE).await;
    }
}

async fn note_tokens(core: &Core, notes: &Notes) -> Result<(), Fault> {
    let mut write = core.domains.store().write().await?;
    for (id, (_, at)) in notes {
        TokenRow::note_used(&mut write, id, *at).await?;
    }
    TokenRow::forget(&mut write, core.clock.now().saturating_sub(LONGEST)?).await?;
    Ok(write.commit().await?)
}

/// Apart from the tokens: whoever signs in holds their row first and a token's after it.
async fn note_people(core: &Core, notes: &Notes) -> Result<(), Fault> {
    let mut people = BTreeMap::new();
    for (owner, at) in notes.values() {
        if let OwnerId::Person(id) = owner {
            let last = people.entry(id).or_insert(*at);
            *last = (*last).max(*at);
        }
    }
    let mut write = core.domains.store().write().await?;
    for (id, at) in people {
        Person::note_seen(&mut write, id, at).await?;
    }
    Ok(write.commit().await?)
}
