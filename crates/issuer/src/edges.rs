//! How far the live edges of each region are: what bucket `edges` says, kept in memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use wire::bus::EdgeDocument;
use wire::time::from_wire;

/// An edge that was not heard for so long is not waited for. Edges write every ten seconds.
const LIVE_FOR: SignedDuration = SignedDuration::from_secs(30);

/// Positions that every live edge of a region has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passed {
    /// In `policies-<region>`.
    pub(crate) policies: u64,
    /// In `challenges-<region>`.
    pub(crate) challenges: u64,
}

/// What edges last said.
#[derive(Debug, Default)]
pub(crate) struct Edges(Mutex<HashMap<String, Edge>>);

#[derive(Debug)]
struct Edge {
    region: String,
    revision: u64,
    passed: Passed,
    /// By our own clock, as edges' clocks may be wrong; none while only a document from before our
    /// start is known, which may be that of an edge long gone.
    heard: Option<Timestamp>,
}

impl Edges {
    /// Takes a document if it is newer than the edge's last; says whether orders may now go on.
    pub(crate) fn take(&self, revision: u64, document: &EdgeDocument, now: Timestamp) -> bool {
        let mut edges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = edges.get(&document.edge_id);
        if known.is_some_and(|edge| edge.revision >= revision) {
            return false;
        }
        let fresh = |at: Timestamp| at.duration_since(now).abs() <= LIVE_FOR;
        let written_now = document.heard_at.as_ref().and_then(from_wire).is_some_and(fresh);
        let passed = Passed {
            policies: document.policies_position,
            challenges: document.challenges_position,
        };
        let news = known.is_none_or(|edge| edge.passed != passed || !edge.live(now));
        let edge = Edge {
            region: document.region_id.clone(),
            revision,
            passed,
            heard: (known.is_some() || written_now).then_some(now),
        };
        edges.insert(document.edge_id.clone(), edge);
        news
    }

    /// What all live edges of a region have passed; `None` when none is live.
    pub(crate) fn passed(&self, region: &str, now: Timestamp) -> Option<Passed> {
        let edges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let live = edges.values().filter(|edge| edge.region == region && edge.live(now));
        live.map(|edge| edge.passed).reduce(|a, b| Passed {
            policies: a.policies.min(b.policies),
            challenges: a.challenges.min(b.challenges),
        })
    }
}

impl Edge {
    fn live(&self, now: Timestamp) -> bool {
        self.heard.is_some_and(|heard| now.duration_since(heard) <= LIVE_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::time::to_wire;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn document(id: &str, policies: u64, written: Timestamp) -> EdgeDocument {
        EdgeDocument {
            edge_id: id.into(),
            region_id: "eu-1".into(),
            policies_position: policies,
            challenges_position: 1,
            heard_at: Some(to_wire(written)),
            ..Default::default()
        }
    }

    #[test]
    fn the_slowest_live_edge_is_waited_for_and_a_silent_one_is_not() {
        let edges = Edges::default();
        assert_eq!(edges.passed("eu-1", at(0)), None);
        assert!(edges.take(1, &document("a", 7, at(0)), at(0)));
        assert!(edges.take(1, &document("b", 4, at(0)), at(0)));
        assert_eq!(edges.passed("eu-1", at(1)).unwrap().policies, 4);
        assert_eq!(edges.passed("eu-2", at(1)), None);

        assert!(!edges.take(2, &document("a", 7, at(10)), at(10)), "nothing new");
        assert_eq!(edges.passed("eu-1", at(31)).unwrap().policies, 7);
        assert_eq!(edges.passed("eu-1", at(41)), None);
    }

    #[test]
    fn an_edge_never_steps_back() {
        let edges = Edges::default();
        edges.take(5, &document("a", 7, at(0)), at(0));
        assert!(!edges.take(4, &document("a", 9, at(0)), at(0)));
        assert_eq!(edges.passed("eu-1", at(0)).unwrap().policies, 7);
    }

    #[test]
    fn the_last_words_of_an_edge_long_gone_do_not_make_it_live() {
        let edges = Edges::default();
        edges.take(5, &document("a", 7, at(-3600)), at(0));
        assert_eq!(edges.passed("eu-1", at(0)), None);
    }

    #[test]
    fn an_edge_with_a_wrong_clock_is_live_once_it_speaks_again() {
        let edges = Edges::default();
        edges.take(5, &document("a", 7, at(-3600)), at(0));
        assert!(edges.take(6, &document("a", 7, at(-3590)), at(10)));
        assert_eq!(edges.passed("eu-1", at(10)).unwrap().policies, 7);
    }
}
