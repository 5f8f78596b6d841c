//! One policy body under one id, and where it came from.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use mta_sts::{Policy, PolicyId};

use crate::names::Revision;
use crate::text::echo;

/// `max_age` in testing: one day, the least that senders honour, so that mistakes pass quickly.
pub const TESTING_MAX_AGE_SECONDS: u32 = 24 * 60 * 60;

/// `max_age` after a promotion: one week, as long as senders usually keep it, short enough to wait.
///
/// 'Weeks or greater' is advised once all is stable
/// ([RFC 8461 section 3.2](https://www.rfc-editor.org/rfc/rfc8461#section-3.2)): set it then.
pub const ENFORCE_MAX_AGE_SECONDS: u32 = 7 * 24 * 60 * 60;

/// `max_age` of the policy that withdraws: 'a small value'
/// ([RFC 8461 section 8.3](https://www.rfc-editor.org/rfc/rfc8461#section-8.3)).
pub const NONE_MAX_AGE_SECONDS: u32 = 24 * 60 * 60;

/// One body under one id, for ever: an id is never used for a second body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Which change of this name it is.
    pub revision: Revision,
    /// What the body says.
    pub policy: Policy,
    /// Whether the only mx line stands in for hosts that DNS did not have.
    ///
    /// A flag, because a real MX may have the same name.
    pub placeholder: bool,
    /// The `id` that announces this body
    /// ([RFC 8461 section 3.1](https://www.rfc-editor.org/rfc/rfc8461#section-3.1)).
    pub policy_id: PolicyId,
    /// The policy rendered: the bytes that every edge serves.
    pub body: Vec<u8>,
    /// When it was decided.
    pub changed_at: Timestamp,
    /// Who asked for it: a person, a token's name, or the product itself.
    pub changed_by: String,
    /// What was asked for.
    pub change: Change,
}

/// What the shell adds to a decision, because pure code has no counter, dice or clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// The next of this name: above every one that it has ever had.
    pub revision: Revision,
    /// Random, and never used before. The store refuses a second use.
    pub policy_id: PolicyId,
    /// When the decision is made.
    pub now: Timestamp,
    /// Who asks.
    pub by: String,
}

/// What made a [`Version`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Hosting was switched on, in testing.
    Activated,
    /// From testing to enforce.
    Promoted,
    /// From enforce back to testing.
    Reverted,
    /// The mx lines were taken from DNS again.
    Refreshed,
    /// `max_age` or the mx lines were set by hand.
    Set,
    /// Hosting was switched off: `mode: none`.
    Stopped,
    /// Switching off was called back: testing again.
    Cancelled,
    /// The same body under another id, for senders that may have met the id with an old body.
    Repaired,
}

impl Version {
    pub(crate) fn new(change: Change, policy: Policy, placeholder: bool, fresh: Fresh) -> Version {
        Version {
            revision: fresh.revision,
            body: policy.render(),
            policy,
            placeholder,
            policy_id: fresh.policy_id,
            changed_at: fresh.now,
            changed_by: fresh.by,
            change,
        }
    }
}

impl Change {
    /// Every change there is.
    pub const ALL: [Change; 8] = [
        Change::Activated,
        Change::Promoted,
        Change::Reverted,
        Change::Refreshed,
        Change::Set,
        Change::Stopped,
        Change::Cancelled,
        Change::Repaired,
    ];

    /// The stable name, `promoted`.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Activated => "activated",
            Change::Promoted => "promoted",
            Change::Reverted => "reverted",
            Change::Refreshed => "refreshed",
            Change::Set => "set",
            Change::Stopped => "stopped",
            Change::Cancelled => "cancelled",
            Change::Repaired => "repaired",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Change {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Change, UnknownWord> {
        find(text, "a change", &Change::ALL, Change::as_str)
    }
}

/// A word that is none of those known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use \"{input}\" as {what}: enter one of {known}")]
pub struct UnknownWord {
    /// The word: cut, and with control characters escaped.
    pub input: String,
    /// What it should be: `a change`.
    pub what: &'static str,
    /// The words that would do.
    pub known: String,
}

/// The one of `all` that is called `text`.
pub(crate) fn find<T: Copy>(
    text: &str,
    what: &'static str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, UnknownWord> {
    all.iter().copied().find(|item| name(*item) == text).ok_or_else(|| UnknownWord {
        input: echo(text),
        what,
        known: crate::text::list(all.iter().map(|item| name(*item))),
    })
}
