//! Activate: the first policy, in testing, from the live MX.

use mta_sts::{Mode, Policy};

use crate::claim::{Claim, Hosting, Kind, State};
use crate::mx::{LiveMx, mx_lines};
use crate::names::RegionId;
use crate::refusal::Refusal;
use crate::version::{Change, Fresh, TESTING_MAX_AGE_SECONDS, Version};

impl Claim {
    /// Switches hosting on: a policy in testing, which never blocks mail.
    ///
    /// Needs no proof, because the record that proves the claim is part of what is published next.
    /// Without any MX the policy gets a placeholder, see [`mx_lines`].
    ///
    /// # Errors
    /// Nothing is created for a parked domain, a null MX or a failed lookup.
    pub fn activate(&self, region: &RegionId, mx: &LiveMx, fresh: Fresh) -> Result<Claim, Refusal> {
        self.off()?;
        if self.kind == Kind::Parked {
            return Err(Refusal::DomainParked { domain: self.domain.clone() });
        }
        let lines = mx_lines(&self.domain, mx)?;
        let policy = Policy::new(Mode::Testing, lines.patterns(), TESTING_MAX_AGE_SECONDS)
            .map_err(|why| Refusal::invalid_policy(&self.domain, &why))?;
        let testing_since = Some(fresh.now);
        let hosting = Hosting {
            region: region.clone(),
            state: State::Active,
            current: Version::new(Change::Activated, policy, lines.placeholder, fresh),
            testing_since,
        };
        Ok(Claim { hosting: Some(hosting), ..self.clone() })
    }
}
