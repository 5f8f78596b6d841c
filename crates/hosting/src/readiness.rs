//! Whether a policy is ready to be enforced, and the evidence for it.

mod check_id;
mod evidence;
mod facts;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

pub use check_id::{CheckId, UnknownCheck};
pub use facts::{
    EdgeCertificate, Edges, Fact, Facts, Fetches, MxLookup, MxTls, MxTlsFound, RecordFact,
    RecordStatus, Reports,
};

use crate::claim::Claim;
use crate::names::Revision;

/// Older MX lookups decide nothing: look again.
pub const MX_LOOKUP_FRESH_FOR: SignedDuration = SignedDuration::from_mins(10);

/// A record's status that nobody could confirm for so long decides nothing.
pub const RECORD_STATUS_FRESH_FOR: SignedDuration = SignedDuration::from_hours(24);

/// For how long a certificate must still be valid: time to mend a renewal that fails.
pub const CERTIFICATE_VALID_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Days with reports that are enough, of the last 28.
pub const REPORT_DAYS: u32 = 14;

/// Days of testing that are enough to have met the usual senders.
pub const TESTING_DAYS: i64 = 14;

/// The judgement, with every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// What it is about; `None` while hosting is off.
    pub revision: Option<Revision>,
    /// All in one word.
    pub verdict: Verdict,
    /// In the order of [`CheckId::ALL`], each once.
    pub checks: Vec<Check>,
}

/// Whether promoting would be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Every check is met.
    Ready,
    /// Only advisory checks are open: each must be accepted by name.
    ReadyWithWarnings,
    /// A blocking check is open.
    NotReady,
}

/// One check as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which.
    pub id: CheckId,
    /// How it stands.
    pub status: CheckStatus,
    /// [`CheckId::is_blocking`].
    pub blocking: bool,
    /// What was found, in words, with its time.
    pub evidence: String,
}

/// How a check stands. Unknown counts as not met, and its evidence says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckStatus {
    /// It is so.
    Met,
    /// It is not so.
    NotMet,
    /// It could not be found out.
    Unknown,
}

/// Judges whether the policy of `claim` is ready to be enforced.
pub fn assess(claim: &Claim, facts: &Facts, now: Timestamp) -> Readiness {
    let check = |id: CheckId| {
        let (status, evidence) = evidence::judge(id, claim, facts, now);
        Check { id, status, blocking: id.is_blocking(), evidence }
    };
    let checks: Vec<Check> = CheckId::ALL.into_iter().map(check).collect();
    let open =
        |blocking| checks.iter().any(|c| c.blocking == blocking && c.status != CheckStatus::Met);
    let verdict = match (open(true), open(false)) {
        (true, _) => Verdict::NotReady,
        (false, true) => Verdict::ReadyWithWarnings,
        (false, false) => Verdict::Ready,
    };
    Readiness { revision: claim.revision(), verdict, checks }
}

impl Readiness {
    /// The checks in the way of a promotion: blocking ones, and others not in `accepted`.
    ///
    /// A check that is missing is in the way too.
    pub fn open(&self, accepted: &BTreeSet<CheckId>) -> (Vec<CheckId>, Vec<CheckId>) {
        let met = |id: &CheckId| {
            let mut of_it = self.checks.iter().filter(|check| check.id == *id).peekable();
            of_it.peek().is_some() && of_it.all(|check| check.status == CheckStatus::Met)
        };
        CheckId::ALL
            .into_iter()
            .filter(|id| !met(id))
            .filter(|id| id.is_blocking() || !accepted.contains(id))
            .partition(|id| id.is_blocking())
    }
}

impl Verdict {
    /// The stable name, `ready_with_warnings`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Ready => "ready",
            Verdict::ReadyWithWarnings => "ready_with_warnings",
            Verdict::NotReady => "not_ready",
        }
    }
}

impl CheckStatus {
    /// The stable name, `not_met`.
    pub fn as_str(self) -> &'static str {
        match self {
            CheckStatus::Met => "met",
            CheckStatus::NotMet => "not_met",
            CheckStatus::Unknown => "unknown",
        }
    }
}
