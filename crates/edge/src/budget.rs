//! How much an edge lets be taken away from it in an hour.
//!
//! A mistake that removes the policies of a whole fleet, or turns them all to `none`, looks like
//! any other sequence of good documents. So beyond a budget an edge keeps what it has and says so;
//! the rest is taken when the next hour begins, if nobody has put it right by then.

use jiff::Timestamp;

use crate::store::record::Record;

/// Always allowed: a day's removals of a small fleet at once.
const AN_HOUR_AT_LEAST: u64 = 100;
/// In a large fleet one in so many: some ten times the removals of an ordinary busy hour.
const AN_HOUR_ONE_IN: u64 = 100;
const HOUR_MS: i64 = 3_600_000;

/// What takes something away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// A policy is removed.
    Policy,
    /// A certificate is removed.
    Certificate,
    /// A policy turns to `mode: none`.
    ToNone,
}

/// What was spent in this hour. Kept in the store: a restart does not renew it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Budget {
    began_ms: i64,
    spent: [u64; 3],
}

impl Budget {
    /// Begins a new hour if this one is over.
    pub(crate) fn renew(&mut self, now: Timestamp) {
        let now_ms = now.as_millisecond();
        // A clock that went back begins the hour again, but gives nothing back.
        self.began_ms = self.began_ms.min(now_ms);
        if now_ms - self.began_ms >= HOUR_MS {
            *self = Budget { began_ms: now_ms, spent: [0; 3] };
        }
    }

    /// Spends one loss, if the hour still allows it for an edge with so many domains.
    pub(crate) fn spend(&mut self, loss: Loss, domains: u64) -> bool {
        let spent = &mut self.spent[loss as usize];
        let allowed = *spent < AN_HOUR_AT_LEAST.max(domains / AN_HOUR_ONE_IN);
        if allowed {
            *spent += 1;
        }
        allowed
    }

    /// As a value of the meta table.
    pub(crate) fn to_record(&self) -> Record {
        let [policies, certificates, to_none] = self.spent;
        let text = format!("{} {policies} {certificates} {to_none}", self.began_ms);
        Record { document: text.into_bytes(), ..Record::default() }
    }

    /// From a value of the meta table; none if it is not one.
    pub(crate) fn from_record(record: &Record) -> Option<Budget> {
        let text = std::str::from_utf8(&record.document).ok()?;
        let mut parts = text.split(' ');
        let began_ms = parts.next()?.parse().ok()?;
        let mut spent = [0; 3];
        for spent in &mut spent {
            *spent = parts.next()?.parse().ok()?;
        }
        Some(Budget { began_ms, spent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    fn spend_all(budget: &mut Budget, domains: u64) -> u64 {
        (0..).take_while(|_: &u64| budget.spend(Loss::Policy, domains)).count() as u64
    }

    #[test]
    fn an_hour_has_a_budget_that_grows_with_the_fleet() {
        let start: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let mut budget = Budget::default();
        for (hour, domains, allowed) in [(0, 0, 100), (1, 5_000, 100), (2, 1_000_000, 10_000)] {
            budget.renew(start + SignedDuration::from_hours(hour));
            assert_eq!(spend_all(&mut budget, domains), allowed, "{domains} domains");
            budget.renew(start + SignedDuration::from_hours(hour) + SignedDuration::from_mins(59));
            assert!(!budget.spend(Loss::Policy, domains));
            assert!(budget.spend(Loss::ToNone, domains), "each loss has its own");
        }
    }

    #[test]
    fn neither_a_restart_nor_a_clock_that_goes_back_renews_it() {
        let start: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let mut budget = Budget::default();
        budget.renew(start);
        spend_all(&mut budget, 0);
        let mut budget = Budget::from_record(&budget.to_record()).unwrap();
        budget.renew(start - SignedDuration::from_hours(48));
        assert!(!budget.spend(Loss::Policy, 0));
        budget.renew(start - SignedDuration::from_hours(47));
        assert!(budget.spend(Loss::Policy, 0));
    }
}
