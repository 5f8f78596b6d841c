//! Revert: from enforce back to testing, at once.

use mta_sts::{Mode, Policy};

use crate::claim::{Claim, State};
use crate::names::Revision;
use crate::refusal::Refusal;
use crate::version::{Change, Fresh, TESTING_MAX_AGE_SECONDS, Version};

impl Claim {
    /// Goes back to testing under a new id, with the same mx lines.
    ///
    /// This is the emergency exit: it asks for no readiness, no lookup and no proof.
    ///
    /// # Errors
    /// There is nothing to go back from.
    pub fn revert(&self, expected: Option<Revision>, fresh: Fresh) -> Result<Claim, Refusal> {
        let hosting = self.active(expected)?;
        if hosting.current.policy.mode == Mode::Testing {
            return Err(Refusal::AlreadyTesting { domain: self.domain.clone() });
        }
        let policy = Policy {
            mode: Mode::Testing,
            mx: hosting.current.policy.mx.clone(),
            max_age_seconds: TESTING_MAX_AGE_SECONDS,
        };
        let now = fresh.now;
        let version = Version::new(Change::Reverted, policy, hosting.current.placeholder, fresh);
        self.with(hosting, State::Active, Some(now), version)
    }
}
