//! Promote: from testing to enforce, when it is sound.

use std::collections::BTreeSet;

use mta_sts::{Mode, Policy};

use crate::claim::{Claim, Kind, State};
use crate::names::Revision;
use crate::readiness::{CheckId, Readiness};
use crate::refusal::Refusal;
use crate::version::{Change, ENFORCE_MAX_AGE_SECONDS, Fresh, Version};

/// Asks senders to refuse delivery when they meet no valid TLS at an MX.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Promote {
    /// What the caller saw.
    pub expected: Option<Revision>,
    /// The advisory checks that the caller takes upon themselves, each by name.
    ///
    /// There is no way to accept all, nor any blocking one.
    pub accepted: BTreeSet<CheckId>,
}

impl Claim {
    /// Enforces the policy, with a `max_age` of one week.
    ///
    /// The readiness is that of this state, assessed now: a check that is missing from it counts as
    /// not met, and one of another revision is refused.
    ///
    /// # Errors
    /// Whatever would let mail be blocked by accident, see [`CheckId::is_blocking`], and advisory
    /// checks that are open and not accepted.
    pub fn promote(
        &self,
        command: &Promote,
        readiness: &Readiness,
        fresh: Fresh,
    ) -> Result<Claim, Refusal> {
        let hosting = self.active(command.expected)?;
        let current = &hosting.current;
        let domain = || self.domain.clone();
        if self.kind == Kind::Parked {
            return Err(Refusal::DomainParked { domain: domain() });
        }
        if current.policy.mode == Mode::Enforce {
            return Err(Refusal::AlreadyEnforced { domain: domain() });
        }
        if !self.is_proven() {
            return Err(Refusal::NotProven { domain: domain() });
        }
        if current.placeholder {
            return Err(Refusal::PlaceholderPolicy { domain: domain() });
        }
        self.unchanged(hosting, readiness.revision)?;
        let (blocking, unaccepted) = readiness.open(&command.accepted);
        if !(blocking.is_empty() && unaccepted.is_empty()) {
            return Err(Refusal::NotReady { domain: domain(), blocking, unaccepted });
        }
        let policy = Policy {
            mode: Mode::Enforce,
            mx: current.policy.mx.clone(),
            max_age_seconds: ENFORCE_MAX_AGE_SECONDS,
        };
        let version = Version::new(Change::Promoted, policy, false, fresh);
        self.with(hosting, State::Active, None, version)
    }
}
