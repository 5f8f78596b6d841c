//! Cancel: call back a stop.

use mta_sts::{Mode, Policy};

use crate::claim::{Claim, State};
use crate::refusal::Refusal;
use crate::version::{Change, Fresh, TESTING_MAX_AGE_SECONDS, Version};

impl Claim {
    /// Goes on hosting: the same mx lines, in testing, whatever the mode was before.
    ///
    /// Some senders have let the policy go meanwhile, so the evidence is gathered anew.
    ///
    /// # Errors
    /// Hosting is not stopping.
    pub fn cancel(&self, fresh: Fresh) -> Result<Claim, Refusal> {
        let hosting = self.on()?;
        if hosting.state == State::Active {
            return Err(Refusal::NotStopping { domain: self.domain.clone() });
        }
        let policy = Policy {
            mode: Mode::Testing,
            mx: hosting.current.policy.mx.clone(),
            max_age_seconds: TESTING_MAX_AGE_SECONDS,
        };
        let now = fresh.now;
        let version = Version::new(Change::Cancelled, policy, hosting.current.placeholder, fresh);
        self.with(hosting, State::Active, Some(now), version)
    }
}
