//! Whose a name ought to be, by what its servers have shown at each look.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

pub(super) const WORKSPACES: [&str; 3] = ["one", "two", "three"];
pub(super) const SERVERS: usize = 2;
/// By then, whoever is shown has been shown for long enough.
pub(super) const LONG_ENOUGH: SignedDuration = SignedDuration::from_mins(5);

/// What one name server shows.
#[derive(Debug, Clone, Default)]
pub(super) struct Server {
    pub(super) cname: Option<String>,
    pub(super) txt: Option<String>,
    pub(super) fails: bool,
}

/// What ought to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) places: [Place; WORKSPACES.len()],
    pub(super) servers: [Server; SERVERS],
    pub(super) owner: Option<usize>,
}

/// A workspace's claim, as far as proofs go.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) nonce: Option<String>,
    pub(super) former: Option<String>,
    pub(super) hosted: bool,
    /// Since when every look has shown this claim, and not the owner's.
    pub(super) shown_since: Option<Timestamp>,
}

impl Model {
    /// Whether all servers name this mark in one of the two ways.
    fn is_shown(&self, nonce: &str) -> bool {
        let all = |shows: &dyn Fn(&Server) -> bool| {
            self.servers.iter().all(|server| !server.fails && shows(server))
        };
        all(&|server| server.cname.as_deref() == Some(nonce))
            || all(&|server| server.txt.as_deref() == Some(nonce))
    }

    /// Whether no server names this mark.
    fn is_gone(&self, nonce: &str) -> bool {
        let names = |found: &Option<String>| found.as_deref() == Some(nonce);
        self.servers.iter().all(|it| !it.fails && !names(&it.cname) && !names(&it.txt))
    }

    /// A look: who may be the owner after it. There are two where the zone names two at once.
    pub(super) fn look(&mut self, now: Timestamp) -> BTreeSet<Option<usize>> {
        let owners_mark = self.owner.and_then(|owner| self.places[owner].nonce.clone());
        let mut heirs = BTreeSet::new();
        for at in 0..WORKSPACES.len() {
            let place = &self.places[at];
            let candidate = place.hosted && self.owner != Some(at);
            let shown = candidate && place.nonce.as_ref().is_some_and(|mark| self.is_shown(mark));
            let free = owners_mark.as_ref().is_none_or(|mark| self.is_gone(mark));
            let place = &mut self.places[at];
            if !shown || !free {
                place.shown_since = None;
                continue;
            }
            let since = *place.shown_since.get_or_insert(now);
            if self.owner.is_none() || now.duration_since(since) >= LONG_ENOUGH {
                heirs.insert(Some(at));
            }
        }
        if heirs.is_empty() { BTreeSet::from([self.owner]) } else { heirs }
    }

    pub(super) fn pass_to(&mut self, owner: Option<usize>) {
        if self.owner == owner {
            return;
        }
        if let Some(before) = self.owner {
            self.places[before].hosted = false;
        }
        self.owner = owner;
        for place in &mut self.places {
            place.shown_since = None;
        }
    }
}
