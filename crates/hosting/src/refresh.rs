//! Refresh: take the mx lines from DNS again.

use mta_sts::{Mode, MxPattern, Policy};

use crate::claim::{Claim, Hosting};
use crate::mx::{Because, LiveMx, MxLine, MxLines, mx_lines};
use crate::names::Revision;
use crate::refusal::Refusal;
use crate::version::{Change, Fresh, Version};

/// What a refresh would do, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshPlan {
    /// Lines that come.
    pub added: Vec<MxLine>,
    /// Lines that go, [`Because::NotInDns`] or [`Because::Placeholder`].
    pub removed: Vec<MxLine>,
    /// Lines that stay.
    pub unchanged: Vec<MxLine>,
    /// Hosts that no line can name, escaped, each with the reason.
    pub skipped: Vec<(String, String)>,
    /// Whether the policy has only the placeholder afterwards.
    pub placeholder: bool,
    /// Whether the placeholder has become the name of a real MX. The body stays as it is then, but
    /// is a policy that can be promoted.
    pub confirms_placeholder: bool,
    /// The policy as it would be; the present one if the plan is empty.
    pub policy: Policy,
}

impl RefreshPlan {
    /// Whether the policy matches DNS already. The order of lines has no meaning to senders.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && !self.confirms_placeholder
    }
}

impl Claim {
    /// What [`refresh`](Claim::refresh) would do, for a person to look at.
    ///
    /// # Errors
    /// Hosting is not active, or DNS names no host: then the policy is left as it is, so that mail
    /// keeps flowing.
    pub fn plan_refresh(&self, live: &LiveMx) -> Result<RefreshPlan, Refusal> {
        self.plan(self.active(None)?, live)
    }

    /// Makes the mx lines those that DNS asks for. `None`: they are, and the id stays.
    ///
    /// Never writes a placeholder over real hosts, whatever the mode.
    ///
    /// # Errors
    /// As [`plan_refresh`](Claim::plan_refresh); and under enforce lines go only when
    /// `confirmed_removals` says that somebody has seen them.
    pub fn refresh(
        &self,
        expected: Option<Revision>,
        live: &LiveMx,
        confirmed_removals: bool,
        fresh: Fresh,
    ) -> Result<Option<Claim>, Refusal> {
        let hosting = self.active(expected)?;
        let plan = self.plan(hosting, live)?;
        if plan.is_empty() {
            return Ok(None);
        }
        let enforced = plan.policy.mode == Mode::Enforce;
        if enforced && !plan.removed.is_empty() && !confirmed_removals {
            return Err(Refusal::MxRemovalUnconfirmed {
                domain: self.domain.clone(),
                hosts: plan.removed.iter().map(|line| line.pattern.to_string()).collect(),
            });
        }
        let version = Version::new(Change::Refreshed, plan.policy, plan.placeholder, fresh);
        self.with(hosting, hosting.state, hosting.testing_since, version).map(Some)
    }

    fn plan(&self, hosting: &Hosting, live: &LiveMx) -> Result<RefreshPlan, Refusal> {
        let current = &hosting.current;
        let MxLines { lines, placeholder, skipped } = mx_lines(&self.domain, live)?;
        if placeholder && !current.placeholder {
            return Err(Refusal::NoMx { domain: self.domain.clone() });
        }
        let (unchanged, added): (Vec<_>, Vec<_>) =
            lines.iter().cloned().partition(|line| current.policy.mx.contains(&line.pattern));
        let wanted: Vec<MxPattern> = lines.into_iter().map(|line| line.pattern).collect();
        let gone = current.policy.mx.iter().filter(|pattern| !wanted.contains(pattern));
        let because = if current.placeholder { Because::Placeholder } else { Because::NotInDns };
        let removed: Vec<_> = gone
            .map(|pattern| MxLine { pattern: pattern.clone(), because: because.clone() })
            .collect();
        let same = added.is_empty() && removed.is_empty();
        let mx = if same { current.policy.mx.clone() } else { wanted };
        let policy = Policy::new(current.policy.mode, mx, current.policy.max_age_seconds)
            .map_err(|why| Refusal::invalid_policy(&self.domain, &why))?;
        Ok(RefreshPlan {
            added,
            removed,
            unchanged,
            skipped,
            placeholder,
            confirms_placeholder: same && current.placeholder && !placeholder,
            policy,
        })
    }
}
