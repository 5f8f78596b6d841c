//! What holds after any commands in any order.
//!
//! It is no failure that a command is refused: the world of these tests asks for nonsense.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Activate(LiveMx),
    Promote,
    Revert,
    Refresh(LiveMx, bool),
    Set(Option<u32>, Option<Vec<MxPattern>>, LiveMx),
    Deactivate,
    Cancel,
    Repair,
    Convert(Kind),
    End,
}

fn apply(claim: &Claim, op: &Op, revision: u64) -> Result<Option<Claim>, Refusal> {
    let fresh = fresh(revision);
    match op {
        Op::Activate(mx) => claim.activate(&region(), mx, fresh).map(Some),
        Op::Promote => claim.promote(&Promote::default(), &ready(claim), fresh).map(Some),
        Op::Revert => claim.revert(None, fresh).map(Some),
        Op::Refresh(mx, confirmed) => claim.refresh(None, mx, *confirmed, fresh),
        Op::Set(seconds, mx, live) => {
            let command = Set { max_age_seconds: *seconds, mx: mx.clone() };
            claim.set(None, &command, Some(live), fresh)
        }
        Op::Deactivate => claim.deactivate(None, fresh).map(Some),
        Op::Cancel => claim.cancel(fresh).map(Some),
        Op::Repair => claim.repair(fresh).map(Some),
        Op::Convert(kind) => claim.convert(*kind).map(Some),
        Op::End => Ok(claim.ended(&[], Some(fresh.now), fresh.now)),
    }
}

fn op() -> impl Strategy<Value = Op> {
    let pattern = prop_oneof!["[ab]\\.example\\.com", "\\*\\.example\\.com", "example\\.com"]
        .prop_map(|text| text.parse().unwrap());
    prop_oneof![
        3 => mx().prop_map(Op::Activate),
        3 => Just(Op::Promote),
        1 => Just(Op::Revert),
        3 => (mx(), any::<bool>()).prop_map(|(mx, confirmed)| Op::Refresh(mx, confirmed)),
        3 => (
            prop::option::of(0..40_000_000_u32),
            prop::option::of(prop::collection::vec(pattern, 0..3)),
            mx(),
        )
            .prop_map(|(seconds, patterns, mx)| Op::Set(seconds, patterns, mx)),
        1 => Just(Op::Deactivate),
        1 => Just(Op::Cancel),
        1 => Just(Op::Repair),
        1 => prop_oneof![Just(Kind::Standard), Just(Kind::Parked)].prop_map(Op::Convert),
        1 => Just(Op::End),
    ]
}

fn mx() -> impl Strategy<Value = LiveMx> {
    let hosts = prop::collection::vec("[abc]\\.example\\.com|example\\.com|192\\.0\\.2\\.1", 0..4);
    prop_oneof![
        5 => hosts.prop_map(|hosts| live(&hosts.iter().map(String::as_str).collect::<Vec<_>>())),
        1 => Just(LiveMx::None),
        1 => Just(LiveMx::Null),
        1 => Just(failed()),
    ]
}

proptest! {
    #[test]
    fn whatever_is_asked_in_whatever_order(
        proven in any::<bool>(),
        ops in prop::collection::vec(op(), 0..24),
    ) {
        let mut claim = if proven { claimed().proven(at(0)) } else { claimed() };
        let mut ids = BTreeMap::new();
        for (index, op) in ops.iter().enumerate() {
            let Ok(Some(next)) = apply(&claim, op, index as u64 + 1) else { continue };
            if let Some(hosting) = &next.hosting {
                let version = &hosting.current;
                prop_assert!(next.revision() >= claim.revision());
                // What is served is the policy, and an id never stands for a second body.
                prop_assert_eq!(&version.body, &version.policy.render());
                let known = ids
                    .entry(version.policy_id.as_str().to_owned())
                    .or_insert_with(|| version.body.clone());
                prop_assert_eq!(&*known, &version.body);
                // An enforced policy is proven, and names hosts that somebody saw.
                if version.policy.mode == Mode::Enforce {
                    prop_assert!(next.is_proven() && !version.placeholder);
                }
                prop_assert!(next.kind == Kind::Standard);
                prop_assert!(!version.policy.mx.is_empty());
                let stopping = matches!(hosting.state, State::Stopping { .. });
                prop_assert_eq!(version.policy.mode == Mode::None, stopping);
                prop_assert!(hosting.state != State::Off);
                let testing = version.policy.mode == Mode::Testing;
                prop_assert_eq!(hosting.testing_since.is_some(), testing);
            }
            // Only two ways lead to none and out of hosting.
            if next.state() == State::Off && claim.state() != State::Off {
                prop_assert!(matches!(op, Op::End));
            }
            claim = next;
        }
    }

    #[test]
    fn a_revert_is_always_possible_from_enforce(mx in mx(), seconds in 86_400..31_557_600_u32) {
        let claim = enforced(&["a.example.com"]);
        let set = Set { max_age_seconds: Some(seconds), mx: None };
        let claim = claim.set(None, &set, None, fresh(3)).unwrap().unwrap_or(claim);
        let refreshed = claim.refresh(None, &mx, true, fresh(4)).ok().flatten().unwrap_or(claim);
        prop_assert!(refreshed.superseded().revert(None, fresh(5)).is_ok());
    }
}
