//! When a withdrawn policy may go off the air.

use jiff::{SignedDuration, Timestamp};
use mta_sts::Mode;

use crate::claim::{Claim, State};
use crate::names::Revision;

/// What the served-policy ledger knows of one version of a name.
///
/// Kept for every version that was ever put on the edges, also across removal and a new owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Which version.
    pub revision: Revision,
    /// The mode it asked for.
    pub mode: Mode,
    /// For how long a sender that took it may keep it.
    pub max_age_seconds: u32,
    /// The last fetch that an edge answered with it; `None`: never fetched.
    pub last_served_at: Option<Timestamp>,
    /// Until when its id could be found in DNS, as far as seen; `None`: never announced.
    pub announced_until: Option<Timestamp>,
}

/// When no sender can hold an older policy any more, so that hosting may end.
///
/// To withdraw, a host serves `mode: none` under a new id until all older policies have expired:
/// not the last one only, because an earlier one may have had a longer `max_age`
/// ([RFC 8461 section 8.3](https://www.rfc-editor.org/rfc/rfc8461#section-8.3)).
///
/// `none_visible_since` is when senders could first find the id of `mode: none`, or find no record
/// of ours any more. Until then there is no date: a sender that sees an old id keeps what it has,
/// and some renew it at expiry without fetching. For a claim never proven, which no sender has
/// met, it is the moment of the command.
///
/// The answer is the maximum, over all versions that senders may have taken, of the last time that
/// one may have been taken or renewed, plus its `max_age`. That last time is the last fetch or the
/// end of its announcement; and for those that were on the edges while the last old id was still
/// visible, `none_visible_since`.
pub fn stops_at(versions: &[Served], none_visible_since: Option<Timestamp>) -> Option<Timestamp> {
    let visible = none_visible_since?;
    let taken: Vec<&Served> = versions.iter().filter(|v| v.may_be_held()).collect();
    let lingering = lingering_from(&taken);
    let until = taken.into_iter().map(|version| {
        let still_visible = lingering.filter(|from| version.revision >= *from).map(|_| visible);
        let last = still_visible.max(version.last_served_at).max(version.announced_until);
        let max_age = SignedDuration::from_secs(version.max_age_seconds.into());
        last.unwrap_or(visible).checked_add(max_age).unwrap_or(Timestamp::MAX)
    });
    Some(until.fold(visible, Timestamp::max))
}

/// Whether that time has come.
pub fn has_ended(
    versions: &[Served],
    none_visible_since: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    stops_at(versions, none_visible_since).is_some_and(|end| end <= now)
}

impl Claim {
    /// The claim after stopping has ended: hosting is off, and the name unknown to the edges.
    ///
    /// `None`: not yet, or it is not stopping.
    pub fn ended(
        &self,
        versions: &[Served],
        none_visible_since: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Claim> {
        let stopping = matches!(self.state(), State::Stopping { .. });
        (stopping && has_ended(versions, none_visible_since, now))
            .then(|| Claim { hosting: None, ..self.clone() })
    }
}

impl Served {
    /// `mode: none` binds nobody, and what nobody could find or fetch nobody holds.
    fn may_be_held(&self) -> bool {
        self.mode != Mode::None && (self.last_served_at.is_some() || self.announced_until.is_some())
    }
}

/// The version whose id was visible last. It and those after it were on the edges while a sender
/// could still see that id; if none was announced, the newest one was.
fn lingering_from(taken: &[&Served]) -> Option<Revision> {
    let announced = taken.iter().filter(|v| v.announced_until.is_some());
    let last = announced.max_by_key(|v| (v.announced_until, v.revision));
    last.or_else(|| taken.iter().max_by_key(|v| v.revision)).map(|v| v.revision)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// `(mode, max_age, last served, announced until)`, counted from revision 1.
    type Row = (Mode, u32, Option<i64>, Option<i64>);

    fn versions(rows: &[Row]) -> Vec<Served> {
        let served = |(index, row): (usize, &Row)| Served {
            revision: Revision::new(index as u64 + 1).unwrap(),
            mode: row.0,
            max_age_seconds: row.1,
            last_served_at: row.2.map(at),
            announced_until: row.3.map(at),
        };
        rows.iter().enumerate().map(served).collect()
    }

    fn check(rows: &[Row], visible: Option<i64>, expected: Option<i64>) {
        assert_eq!(stops_at(&versions(rows), visible.map(at)), expected.map(at), "{rows:?}");
    }

    #[test]
    fn there_is_no_date_before_none_is_visible() {
        check(&[(Mode::Enforce, 1000, Some(50), Some(90))], None, None);
        assert!(!has_ended(
            &versions(&[(Mode::Enforce, 1, Some(5), None)]),
            None,
            at(i64::from(u32::MAX))
        ));
    }

    #[test]
    fn the_last_visible_policy_counts_until_none_is_seen() {
        check(&[(Mode::Enforce, 1000, Some(50), Some(90))], Some(100), Some(1100));
        // Taken after that, by a sender with an old record in its cache.
        check(&[(Mode::Enforce, 1000, Some(120), Some(90))], Some(100), Some(1120));
    }

    #[test]
    fn an_older_policy_with_a_longer_age_counts() {
        let rows = [
            (Mode::Testing, 100, Some(10), Some(20)),
            (Mode::Enforce, 9000, Some(30), Some(40)),
            (Mode::Testing, 100, Some(80), Some(90)),
            (Mode::None, 100, Some(110), Some(120)),
        ];
        check(&rows, Some(100), Some(9040));
    }

    #[test]
    fn a_body_served_under_the_id_before_counts_until_none_is_seen() {
        // Stopped after the body was on the edges and before its id was announced.
        let rows =
            [(Mode::Testing, 100, Some(10), Some(90)), (Mode::Enforce, 5000, Some(60), None)];
        check(&rows, Some(100), Some(5100));
    }

    #[test]
    fn what_no_sender_has_met_does_not_count() {
        check(&[], Some(100), Some(100));
        check(&[(Mode::Testing, 1000, None, None)], Some(100), Some(100));
        check(&[(Mode::None, 1000, Some(500), Some(500))], Some(100), Some(100));
    }

    proptest! {
        #[test]
        fn no_sender_holds_a_policy_at_the_end(
            rows in prop::collection::vec(
                (
                    prop_oneof![Just(Mode::Testing), Just(Mode::Enforce), Just(Mode::None)],
                    0..31_557_600_u32,
                    prop::option::of(0..1_000_000_i64),
                    prop::option::of(0..1_000_000_i64),
                ),
                0..8,
            ),
            visible in 0..2_000_000_i64,
        ) {
            let served = versions(&rows);
            let end = stops_at(&served, Some(at(visible))).unwrap();
            prop_assert!(end >= at(visible));
            for version in served.iter().filter(|v| v.mode != Mode::None) {
                let max_age = SignedDuration::from_secs(version.max_age_seconds.into());
                let taken = [version.last_served_at, version.announced_until];
                for taken in taken.into_iter().flatten() {
                    prop_assert!(taken + max_age <= end);
                }
            }
            prop_assert!(has_ended(&served, Some(at(visible)), end));
            let before = end - SignedDuration::from_secs(1);
            prop_assert!(!has_ended(&served, Some(at(visible)), before));
        }
    }
}
