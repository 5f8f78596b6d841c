//! What was changed, newest first.

use jiff::Timestamp;
use serde_json::Value;
use store::StoreError;

use crate::Audit;
use crate::chain::Hash;
use crate::record::shown;
use crate::sql::{Place, Records, Wanted};

/// Records in one list; who wants more asks for the next.
const MAX_ENTRIES: u32 = 1_001;

/// Stands where a value is not one that we write; verification says more.
const UNREADABLE: &str = "(unreadable)";

/// Which records are wanted. What is empty wants all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// What it was done to: exactly this.
    pub about: String,
    /// Who, by name or by id: contains this. Case does not matter for a to z; for other letters it
    /// does on SQLite.
    pub who: String,
    /// What was done: this action, or all that begin so, where it ends in a dot: `policy.`.
    pub action: String,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
    /// In this call.
    pub request_id: String,
}

/// A record as it stands there.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Whose chain it is in.
    pub workspace: String,
    /// Its place there, from 1.
    pub sequence: u64,
    /// When, by the service's clock.
    pub at: Timestamp,
    /// Who, for people.
    pub who: String,
    /// Who, stable.
    pub who_id: String,
    /// What they were, `domain-manager`; empty for what nobody asked for.
    pub role: String,
    /// The address that the call came from; may be empty.
    pub from: String,
    /// Of the call; empty for what nobody asked for.
    pub request_id: String,
    /// What was done.
    pub action: String,
    /// What it was done to.
    pub about: String,
    /// As it was.
    pub before: Option<Value>,
    /// As it is since.
    pub after: Option<Value>,
    /// Over this and the record before.
    pub hash: Hash,
}

impl Audit {
    /// Lists records of a workspace, newest first, at most 1,000. `before` is the time in milliseconds
    /// and the sequence of the last one of the list before ([`Entry::place`]).
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn list(
        &self,
        workspace: &str,
        filter: &Filter,
        before: Option<(i64, u64)>,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let limit = i64::from(limit.min(MAX_ENTRIES));
        let mut wanted = Wanted::from(filter);
        wanted.before = before.map(|(at, sequence)| (at, sequence.try_into().unwrap_or(i64::MAX)));
        let places = Records::list(self.inner.store.read(), workspace, &wanted, limit).await?;
        Ok(places.into_iter().map(Entry::from).collect())
    }
}

impl Entry {
    /// Where to go on: the time in milliseconds and the sequence.
    #[must_use]
    pub fn place(&self) -> (i64, u64) {
        (self.at.as_millisecond(), self.sequence)
    }
}

impl From<&Filter> for Wanted {
    fn from(filter: &Filter) -> Wanted {
        let (action, actions) = match shown(&filter.action) {
            prefix if prefix.ends_with('.') => (String::new(), prefix),
            exact => (exact, String::new()),
        };
        Wanted {
            about: shown(&filter.about),
            who: if filter.who.is_empty() { String::new() } else { containing(&filter.who) },
            action,
            actions,
            request_id: shown(&filter.request_id),
            since: filter.since.map(Timestamp::as_millisecond),
            until: filter.until.map(Timestamp::as_millisecond),
            before: None,
        }
    }
}

/// A LIKE pattern for what contains a text.
fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in shown(text).chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.extend(character.to_lowercase());
    }
    pattern.push('%');
    pattern
}

impl From<Place> for Entry {
    fn from(place: Place) -> Entry {
        let hash = place.hash.ok().and_then(|hash| hash.try_into().ok()).map_or(Hash::NONE, Hash);
        let sequence = place.sequence.ok().and_then(|sequence| sequence.try_into().ok());
        let Ok(record) = place.record else {
            return Entry { sequence: sequence.unwrap_or(0), hash, ..Entry::unreadable() };
        };
        Entry {
            workspace: record.workspace,
            sequence: sequence.unwrap_or(0),
            at: Timestamp::from_millisecond(record.at).unwrap_or(Timestamp::MAX),
            who: record.who,
            who_id: record.who_id,
            role: record.role,
            from: record.from,
            request_id: record.request_id,
            action: record.action,
            about: record.about,
            before: record.before.map(json),
            after: record.after.map(json),
            hash,
        }
    }
}

impl Entry {
    fn unreadable() -> Entry {
        let unreadable = || UNREADABLE.to_owned();
        Entry {
            workspace: unreadable(),
            sequence: 0,
            at: Timestamp::UNIX_EPOCH,
            who: unreadable(),
            who_id: unreadable(),
            role: unreadable(),
            from: unreadable(),
            request_id: unreadable(),
            action: unreadable(),
            about: unreadable(),
            before: None,
            after: None,
            hash: Hash::NONE,
        }
    }
}

fn json(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}
