//! Set: `max_age` and mx lines by hand.

use std::collections::BTreeSet;

use mta_sts::{MAX_AGE_SECONDS, Mode, MxPattern, Policy};

use crate::claim::{Claim, Hosting};
use crate::mx::{LiveMx, uncovered};
use crate::names::Revision;
use crate::refusal::Refusal;
use crate::version::{Change, Fresh, Version};

/// Shortest `max_age` that can be set: some senders take no notice of less than a day.
pub const MIN_MAX_AGE_SECONDS: u32 = 24 * 60 * 60;

/// Changes parts of the policy by hand; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    /// From [`MIN_MAX_AGE_SECONDS`] to [`MAX_AGE_SECONDS`].
    pub max_age_seconds: Option<u32>,
    /// All mx lines, in this order.
    pub mx: Option<Vec<MxPattern>>,
}

impl Claim {
    /// Serves what is set. `None`: it is served already, and keeps its id.
    ///
    /// `live` is what DNS says now; only new mx lines under enforce need it.
    /// Lines set by hand are no placeholder, even if they read like one.
    ///
    /// # Errors
    /// Under enforce, lines that would leave out a live MX which is covered now, or that nobody
    /// could compare with the live MX.
    pub fn set(
        &self,
        expected: Option<Revision>,
        command: &Set,
        live: Option<&LiveMx>,
        fresh: Fresh,
    ) -> Result<Option<Claim>, Refusal> {
        let hosting = self.active(expected)?;
        let current = &hosting.current;
        let seconds = command.max_age_seconds.unwrap_or(current.policy.max_age_seconds);
        if command.max_age_seconds.is_some()
            && !(MIN_MAX_AGE_SECONDS..=MAX_AGE_SECONDS).contains(&seconds)
        {
            return Err(Refusal::MaxAgeOutOfRange { seconds });
        }
        let mx = command.mx.as_ref().unwrap_or(&current.policy.mx);
        let mx = without_repetition(mx);
        let policy = Policy::new(current.policy.mode, mx, seconds)
            .map_err(|why| Refusal::invalid_policy(&self.domain, &why))?;
        if policy == current.policy {
            return Ok(None);
        }
        let placeholder = current.placeholder && policy.mx == current.policy.mx;
        if policy.mode == Mode::Enforce && policy.mx != current.policy.mx {
            self.keeps_live_mx_covered(hosting, &policy, live)?;
        }
        let version = Version::new(Change::Set, policy, placeholder, fresh);
        self.with(hosting, hosting.state, hosting.testing_since, version).map(Some)
    }

    fn keeps_live_mx_covered(
        &self,
        hosting: &Hosting,
        policy: &Policy,
        live: Option<&LiveMx>,
    ) -> Result<(), Refusal> {
        let Some(live) = live else {
            return Err(Refusal::mx_lookup_failed(&self.domain, "nobody looked"));
        };
        live.hosts(&self.domain)?;
        let before = uncovered(&hosting.current.policy, live);
        let mut hosts = uncovered(policy, live);
        hosts.retain(|host| !before.contains(host));
        if hosts.is_empty() {
            return Ok(());
        }
        Err(Refusal::MxUncovered { domain: self.domain.clone(), hosts })
    }
}

fn without_repetition(patterns: &[MxPattern]) -> Vec<MxPattern> {
    let mut seen = BTreeSet::new();
    patterns.iter().filter(|pattern| seen.insert(*pattern)).cloned().collect()
}
