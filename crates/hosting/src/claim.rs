//! What a workspace holds of a domain, and where its hosting stands.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::domain::Domain;
use crate::names::{ClaimId, Nonce, RegionId, Revision, WorkspaceId};
use crate::refusal::Refusal;
use crate::version::{UnknownWord, Version, find};

/// One workspace's claim to one domain, with its hosting.
///
/// Every command is a method here that takes this state and gives the whole next one, or a
/// [`Refusal`]; nothing is changed in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which claim this is. A domain may be claimed by several workspaces, proven by one.
    pub id: ClaimId,
    /// Whose claim it is.
    pub workspace: WorkspaceId,
    /// What is claimed.
    pub domain: Domain,
    /// Whether the domain takes mail.
    pub kind: Kind,
    /// What its owner shows in DNS to prove the claim.
    pub nonce: Nonce,
    /// When that was found. `None`: not yet, or another claim has been proven since.
    pub proven_at: Option<Timestamp>,
    /// `None`: we host nothing for it, or no longer.
    pub hosting: Option<Hosting>,
}

/// A domain's policy as we serve it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosting {
    /// Whose edges serve it.
    pub region: RegionId,
    /// [`State::Active`] or [`State::Stopping`].
    pub state: State,
    /// What is served, or on its way to the edges.
    pub current: Version,
    /// When this time of testing began; `None` in enforce and in none.
    pub testing_since: Option<Timestamp>,
}

/// Whether a domain is meant to take mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Takes mail, so MTA-STS can protect it.
    Standard,
    /// Takes no mail, so there is nothing to protect.
    Parked,
}

/// Where hosting stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing is hosted: never was, or stopping has ended.
    Off,
    /// A policy in testing or enforce is served.
    Active,
    /// `mode: none` is served until no sender holds an older policy.
    Stopping {
        /// When hosting was switched off.
        since: Timestamp,
    },
}

impl Claim {
    /// A claim that nobody has proven yet.
    pub fn new(
        id: ClaimId,
        workspace: WorkspaceId,
        domain: Domain,
        kind: Kind,
        nonce: Nonce,
    ) -> Claim {
        Claim { id, workspace, domain, kind, nonce, proven_at: None, hosting: None }
    }

    /// Where its hosting stands.
    pub fn state(&self) -> State {
        self.hosting.as_ref().map_or(State::Off, |hosting| hosting.state)
    }

    /// Since when its hosting has been stopping; `None` while it is not.
    pub fn stopping_since(&self) -> Option<Timestamp> {
        match self.state() {
            State::Stopping { since } => Some(since),
            State::Off | State::Active => None,
        }
    }

    /// The newest revision served or on its way; `None` while hosting is off.
    pub fn revision(&self) -> Option<Revision> {
        self.hosting.as_ref().map(|hosting| hosting.current.revision)
    }

    /// Nothing is served or ordered for a claim before it is proven.
    pub fn is_proven(&self) -> bool {
        self.proven_at.is_some()
    }

    /// The claim as proven. A claim already proven keeps the date of its first proof.
    #[must_use]
    pub fn proven(&self, at: Timestamp) -> Claim {
        Claim { proven_at: self.proven_at.or(Some(at)), ..self.clone() }
    }

    /// The claim after another one for the same domain has been proven.
    #[must_use]
    pub fn superseded(&self) -> Claim {
        Claim { proven_at: None, ..self.clone() }
    }

    /// Whether the claim may be removed: only with hosting off, so that senders are let go first.
    ///
    /// # Errors
    /// Hosting is on or stopping.
    pub fn may_remove(&self) -> Result<(), Refusal> {
        self.off()
    }

    pub(crate) fn off(&self) -> Result<(), Refusal> {
        let domain = self.domain.clone();
        match &self.hosting {
            None => Ok(()),
            Some(Hosting { state: State::Stopping { since }, .. }) => {
                Err(Refusal::Stopping { domain, since: *since })
            }
            Some(hosting) => Err(Refusal::HostingActive { domain, region: hosting.region.clone() }),
        }
    }

    pub(crate) fn on(&self) -> Result<&Hosting, Refusal> {
        let domain = || self.domain.clone();
        self.hosting.as_ref().ok_or_else(|| Refusal::HostingOff { domain: domain() })
    }

    /// The hosting that a person's change applies to: active, and as that person saw it.
    pub(crate) fn active(&self, expected: Option<Revision>) -> Result<&Hosting, Refusal> {
        let hosting = self.on()?;
        if let State::Stopping { since } = hosting.state {
            return Err(Refusal::Stopping { domain: self.domain.clone(), since });
        }
        self.unchanged(hosting, expected)?;
        Ok(hosting)
    }

    /// `None` expects nothing, as an emergency does.
    pub(crate) fn unchanged(
        &self,
        hosting: &Hosting,
        expected: Option<Revision>,
    ) -> Result<(), Refusal> {
        match expected {
            Some(expected) if expected != hosting.current.revision => {
                Err(self.conflict(hosting, expected))
            }
            _ => Ok(()),
        }
    }

    /// The claim with its next version. A revision that is not higher belongs to an older sight of
    /// this name, and would be ignored by every edge.
    pub(crate) fn with(
        &self,
        hosting: &Hosting,
        state: State,
        testing_since: Option<Timestamp>,
        current: Version,
    ) -> Result<Claim, Refusal> {
        if current.revision <= hosting.current.revision {
            return Err(self.conflict(hosting, current.revision));
        }
        let region = hosting.region.clone();
        let hosting = Hosting { region, state, current, testing_since };
        Ok(Claim { hosting: Some(hosting), ..self.clone() })
    }

    fn conflict(&self, hosting: &Hosting, expected: Revision) -> Refusal {
        Refusal::RevisionConflict {
            domain: self.domain.clone(),
            expected,
            actual: hosting.current.revision,
            changed_by: hosting.current.changed_by.clone(),
            changed_at: hosting.current.changed_at,
        }
    }
}

impl Kind {
    /// Both.
    pub const ALL: [Kind; 2] = [Kind::Standard, Kind::Parked];

    /// The stable name, `standard`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Standard => "standard",
            Kind::Parked => "parked",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Kind, UnknownWord> {
        find(text, "a kind of domain", &Kind::ALL, Kind::as_str)
    }
}

impl State {
    /// The stable name, `active`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Off => "off",
            State::Active => "active",
            State::Stopping { .. } => "stopping",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
