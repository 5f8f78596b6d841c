//! How often a certificate may be asked for by hand.

use jiff::{SignedDuration, Timestamp};

use crate::refusal::Refusal;

/// Re-issues that a domain has in any [`REISSUE_WINDOW`].
///
/// Well under what a public authority allows for one set of names in a week, so that renewals
/// always find room.
pub const REISSUES_PER_WINDOW: usize = 3;

/// The rolling window: seven times 24 hours.
pub const REISSUE_WINDOW: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Whether a certificate may be re-issued now.
///
/// `used` are the re-issues of this domain for which the authority was asked, in any order, by
/// whoever held the domain; renewals are not among them. One from the future, after a clock was set
/// back, counts. The store must decide this and write the order in one transaction.
///
/// # Errors
/// An order is in flight, or the re-issues are used up: then with the time of the next.
pub fn may_reissue(used: &[Timestamp], in_flight: bool, now: Timestamp) -> Result<(), Refusal> {
    if in_flight {
        return Err(Refusal::ReissueInFlight);
    }
    match next_reissue_at(used, now) {
        Some(next_at) => Err(Refusal::ReissueLimit { next_at }),
        None => Ok(()),
    }
}

/// How many re-issues are left at this moment.
pub fn reissues_left(used: &[Timestamp], now: Timestamp) -> usize {
    let counted = used.iter().filter(|at| free_again(**at) > now).count();
    REISSUES_PER_WINDOW.saturating_sub(counted)
}

/// When the next re-issue is free; `None`: one is free now.
pub fn next_reissue_at(used: &[Timestamp], now: Timestamp) -> Option<Timestamp> {
    let mut used = used.to_vec();
    used.sort_unstable();
    // Once the third newest has left the window, two are in it.
    let third_newest = used.iter().rev().nth(REISSUES_PER_WINDOW - 1)?;
    Some(free_again(*third_newest)).filter(|at| *at > now)
}

fn free_again(used_at: Timestamp) -> Timestamp {
    used_at.checked_add(REISSUE_WINDOW).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn ask(used: &[i64], in_flight: bool, now: i64) -> Result<(), Refusal> {
        let used: Vec<_> = used.iter().map(|s| at(*s)).collect();
        may_reissue(&used, in_flight, at(now))
    }

    #[test]
    fn the_fourth_in_seven_days_is_refused_to_the_second() {
        fn check(used: &[i64], now: i64, free_at: Option<i64>) {
            match (ask(used, false, now), free_at) {
                (Ok(()), None) => {}
                (Err(Refusal::ReissueLimit { next_at, .. }), Some(free)) => {
                    assert_eq!(next_at, at(free), "{used:?}");
                }
                (got, _) => panic!("{used:?} at {now}: {got:?}"),
            }
        }
        check(&[], 0, None);
        check(&[0, 1], 2, None);
        check(&[0, 1, 2], 3, Some(7 * DAY));
        check(&[2, 0, 1], 3, Some(7 * DAY));
        check(&[0, 1, 2], 7 * DAY - 1, Some(7 * DAY));
        check(&[0, 1, 2], 7 * DAY, None);
        check(&[0, 1, 2], 7 * DAY + 1, None);
        check(&[0, 1, 2, 7 * DAY], 7 * DAY, Some(7 * DAY + 1));
        check(&[0, 0, 0], DAY, Some(7 * DAY));
        check(&[50, 60, 70], 0, Some(50 + 7 * DAY)); // the clock went back
    }

    #[test]
    fn one_order_is_in_flight_at_a_time() {
        assert_eq!(ask(&[], true, 0).unwrap_err().code(), "REISSUE_IN_FLIGHT");
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_three(gaps in prop::collection::vec(0..4 * DAY, 1..60)) {
            let mut now = 0;
            let mut used = Vec::new();
            for gap in gaps {
                now += gap;
                let known: Vec<_> = used.iter().map(|s| at(*s)).collect();
                let left = reissues_left(&known, at(now));
                prop_assert_eq!(left == 0, ask(&used, false, now).is_err());
                prop_assert_eq!(left == 0, next_reissue_at(&known, at(now)).is_some());
                if left > 0 {
                    used.push(now);
                }
            }
            for start in &used {
                let within = used.iter().filter(|s| (*start..start + 7 * DAY).contains(s)).count();
                prop_assert!(within <= REISSUES_PER_WINDOW);
            }
        }
    }
}
