//! When something is due: renewals, tries after a failure, and the CA's limits. Pure.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};

/// A certificate that lives shorter is renewed at half of its life instead of two thirds: there is
/// less time to mend what may be wrong.
const SHORT_LIFE: SignedDuration = SignedDuration::from_hours(10 * 24);

/// Renewals are brought forward by up to this part of the life, each name by its own amount, so
/// that names that came together do not renew together for ever.
const SPREAD: i32 = 10;

/// No certificate is replaced sooner, however short its life: one that is due at once would be
/// ordered round after round.
const SOONEST_RENEWAL: SignedDuration = SignedDuration::from_secs(30);

/// Pauses after the first, second and third failure in a row, then the last one again: Let's Encrypt
/// asks for this schedule of clients that retry by themselves.
const PAUSES: [SignedDuration; 4] = [
    SignedDuration::from_mins(1),
    SignedDuration::from_mins(10),
    SignedDuration::from_mins(100),
    SignedDuration::from_hours(24),
];

/// First and longest pause when the CA does not answer: it turned nothing down, so sooner.
const FIRST_OUTAGE_PAUSE: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_OUTAGE_PAUSE: SignedDuration = SignedDuration::from_mins(10);

/// A CA that asks for a longer pause than this is asked again all the same.
const LONGEST_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A bound on how often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// So often…
    pub(crate) times: usize,
    /// …in any window of this length.
    pub(crate) window: SignedDuration,
}

/// New orders of one account; [Let's Encrypt](https://letsencrypt.org/docs/rate-limits/) allows as many.
pub(crate) const ORDERS_PER_ACCOUNT: Limit =
    Limit { times: 300, window: SignedDuration::from_hours(3) };
/// Failed validations of one name.
pub(crate) const FAILED_VALIDATIONS: Limit =
    Limit { times: 5, window: SignedDuration::from_hours(1) };

/// When a certificate's successor is ordered: with a third of its life left, or half of a short one,
/// and earlier by the name's own share of the spread. Its life begins when we have it, as CAs write an
/// earlier beginning for clients whose clock is behind.
pub(crate) fn renew_at(domain: &str, begins: Timestamp, not_after: Timestamp) -> Timestamp {
    let life = not_after.duration_since(begins);
    let left = if life < SHORT_LIFE { life / 2 } else { life / 3 };
    let earlier = (life / SPREAD).mul_f64(share(domain));
    let soonest = begins.saturating_add(SOONEST_RENEWAL).unwrap_or(begins);
    not_after.checked_sub(left + earlier).unwrap_or(soonest).max(soonest)
}

/// The pause after so many failures in a row, at least one.
pub(crate) fn pause(failures: i64) -> SignedDuration {
    let nth = usize::try_from(failures.max(1) - 1).unwrap_or(PAUSES.len());
    PAUSES[nth.min(PAUSES.len() - 1)]
}

/// The pause after the CA has not answered so many times in a row, at least once.
pub(crate) fn outage_pause(outages: i64) -> SignedDuration {
    // 10 s doubled seven times is past the longest.
    let doubled = 1 << (outages.clamp(1, 8) - 1);
    (FIRST_OUTAGE_PAUSE * doubled).min(LONGEST_OUTAGE_PAUSE)
}

/// The later of our own time and the one that the CA has asked for (RFC 8555 section 6.6).
pub(crate) fn not_before(
    now: Timestamp,
    pause: SignedDuration,
    retry_after: Option<SignedDuration>,
) -> Timestamp {
    let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
    now.saturating_add(pause.max(asked)).unwrap_or(now)
}

/// When one more is within the limit, given when the others happened; `None`: now.
pub(crate) fn room_at(limit: Limit, happened: &[Timestamp], now: Timestamp) -> Option<Timestamp> {
    let mut happened = happened.to_vec();
    happened.sort_unstable();
    let oldest = happened.iter().rev().nth(limit.times.checked_sub(1)?)?;
    let free = oldest.saturating_add(limit.window).unwrap_or(Timestamp::MAX);
    (free > now).then_some(free)
}

/// A name's own share, the same at each call, evenly spread over 0 to 1.
fn share(domain: &str) -> f64 {
    let hash = digest(&SHA256, domain.as_bytes());
    let start = hash.as_ref().iter().take(4);
    let number = start.fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    f64::from(number) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_renewal_leaves_a_third_of_the_life_or_half_of_a_short_one() {
        fn check(life: i64, latest: i64) {
            for domain in ["example.com", "example.net", "xn--mller-kva.example"] {
                let due = renew_at(domain, at(0), at(life));
                assert!(due <= at(latest), "{domain} {life}: {due}");
                assert!(due >= at(latest - life / 10 - 1), "{domain} {life}: {due}");
            }
        }
        check(90 * DAY, 60 * DAY);
        check(45 * DAY, 30 * DAY);
        check(10 * DAY, 20 * DAY / 3 + 1);
        check(6 * DAY, 3 * DAY);
        check(120, 60);
    }

    #[test]
    fn a_fresh_certificate_is_never_due_at_once() {
        for not_after in [at(0), at(5), at(6), at(60)] {
            assert_eq!(renew_at("example.com", at(5), not_after), at(35));
        }
        assert!(renew_at("example.com", Timestamp::MAX, Timestamp::MAX) >= at(0));
    }

    #[test]
    fn renewals_of_names_that_came_together_spread_evenly() {
        let mut by_hour = std::collections::BTreeMap::new();
        let names = 20_000;
        for n in 0..names {
            let due = renew_at(&format!("d{n}.example"), at(0), at(90 * DAY));
            *by_hour.entry(due.as_second() / 3600).or_insert(0) += 1;
        }
        let mean = names / by_hour.len();
        assert!(by_hour.len() > 200, "{}", by_hour.len());
        assert!(by_hour.values().all(|count| *count <= 3 * mean));
    }

    #[test]
    fn pauses_grow_and_stay_at_a_day() {
        let minutes = [1, 10, 100, 1440, 1440];
        for (failures, minutes) in (1..).zip(minutes) {
            assert_eq!(pause(failures), SignedDuration::from_mins(minutes));
        }
        assert_eq!(pause(0), pause(1));
        assert_eq!(pause(i64::MAX), SignedDuration::from_hours(24));
    }

    #[test]
    fn pauses_of_an_outage_are_shorter() {
        let seconds = [10, 20, 40, 80, 160, 320, 600, 600];
        for (outages, seconds) in (1..).zip(seconds) {
            assert_eq!(outage_pause(outages), SignedDuration::from_secs(seconds));
        }
        assert_eq!(outage_pause(i64::MAX), LONGEST_OUTAGE_PAUSE);
        assert_eq!(outage_pause(-1), FIRST_OUTAGE_PAUSE);
    }

    #[test]
    fn the_ca_may_ask_for_a_longer_pause_not_for_a_shorter_one() {
        let minute = SignedDuration::from_mins(1);
        let after =
            |asked: Option<i64>| not_before(at(0), minute, asked.map(SignedDuration::from_secs));
        assert_eq!(after(None), at(60));
        assert_eq!(after(Some(5)), at(60));
        assert_eq!(after(Some(90)), at(90));
        assert_eq!(after(Some(i64::MAX)), at(7 * DAY));
    }

    #[test]
    fn a_limit_holds_in_every_window() {
        fn check(happened: &[i64], now: i64, free: Option<i64>) {
            let happened: Vec<_> = happened.iter().map(|s| at(*s)).collect();
            let limit = Limit { times: 3, window: SignedDuration::from_secs(100) };
            assert_eq!(room_at(limit, &happened, at(now)), free.map(at), "{happened:?} {now}");
        }
        check(&[], 0, None);
        check(&[0, 1], 2, None);
        check(&[2, 0, 1], 2, Some(100));
        check(&[0, 1, 2], 99, Some(100));
        check(&[0, 1, 2], 100, None);
        check(&[0, 1, 2, 50], 100, Some(101));
    }
}
