//! The product saying no.

use jiff::Timestamp;
use mta_sts::{InvalidPolicy, MAX_AGE_SECONDS};

use crate::domain::{Domain, InvalidDomain};
use crate::mx::MAX_MX_HOSTS;
use crate::names::{InvalidName, RegionId, Revision};
use crate::readiness::{CheckId, UnknownCheck};
use crate::set::MIN_MAX_AGE_SECONDS;
use crate::text::{echo, list, when};
use crate::version::UnknownWord;

/// Why a command is not carried out. Nothing has changed.
///
/// Each message is a sentence that its reader can act on.
/// [`code`](Refusal::code) stays as it is for ever, and
/// [`metadata`](Refusal::metadata) has what another sentence, in another language, would need.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each field is what its message says of it")]
pub enum Refusal {
    /// Parked domains take no mail, so there is nothing to protect.
    #[error(
        "convert {domain} to a Standard domain first: MTA-STS is not available for a Parked one"
    )]
    DomainParked { domain: Domain },
    /// This workspace has claimed the domain already.
    #[error("{domain} is in this workspace already: use that entry")]
    DomainExists { domain: Domain },
    /// There is none, or none that the caller may see: the answer is the same.
    #[error("no domain {domain} is in this workspace: add it, or check the spelling")]
    DomainNotFound { domain: Domain },
    /// A name that the platform itself lives under.
    #[error("{domain} is a name of this platform: enter a domain of your own")]
    DomainReserved { domain: Domain },
    /// Not a domain.
    #[error(transparent)]
    InvalidDomain(#[from] InvalidDomain),
    /// Not a region, claim, revision or other name.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// Not a word of ours.
    #[error(transparent)]
    UnknownWord(#[from] UnknownWord),

    /// No region can take a policy.
    #[error("no hosting region is active: ask a Platform admin to add one")]
    NoActiveRegion,
    /// There is no such region.
    #[error("there is no region {region}: choose one that is listed")]
    RegionNotFound { region: RegionId },
    /// The region takes no new policies.
    #[error("region {region} is disabled: choose another one")]
    RegionDisabled { region: RegionId },

    /// Hosting must be on for this.
    #[error("hosting of {domain} is off: activate it first")]
    HostingOff { domain: Domain },
    /// Hosting must be off for this, or is on already.
    #[error("{domain} is hosted in {region}: stop hosting first if you want it off")]
    HostingActive { domain: Domain, region: RegionId },
    /// Senders are being let go.
    #[error(
        "hosting of {domain} has been stopping since {}: cancel that first, or wait for its end",
        when(*.since)
    )]
    Stopping { domain: Domain, since: Timestamp },
    /// There is no stop to call back.
    #[error(
        "hosting of {domain} is not stopping: there is nothing to cancel, so leave it as it is"
    )]
    NotStopping { domain: Domain },
    /// The caller saw an older state than the one stored.
    #[error(
        "look at {domain} again before you go on: {changed_by} changed it to revision {actual} at \
         {}, and you saw {expected}",
        when(*.changed_at)
    )]
    RevisionConflict {
        domain: Domain,
        expected: Revision,
        actual: Revision,
        changed_by: String,
        changed_at: Timestamp,
    },

    /// DNS says that the domain takes no mail.
    #[error("{domain} says that it takes no mail (null MX): publish real MX records first")]
    NullMx { domain: Domain },
    /// DNS has no MX for the domain, and the policy has real hosts.
    #[error(
        "no MX records of {domain} were found and the policy was left as it is: add them in DNS"
    )]
    NoMx { domain: Domain },
    /// DNS gave no answer to rely on.
    #[error("the MX lookup of {domain} failed ({why}) and nothing was changed: try again")]
    MxLookupFailed { domain: Domain, why: String },
    /// Not one MX host is a name that a policy can have.
    #[error(
        "no MX record of {domain} names a host that a policy can list: correct them in DNS ({})",
        list(.hosts)
    )]
    MxUnusable { domain: Domain, hosts: Vec<String> },
    /// More MX records than any domain needs.
    #[error("{domain} has {count} MX records: reduce them to {MAX_MX_HOSTS} or fewer")]
    TooManyMx { domain: Domain, count: usize },
    /// Senders that enforce would stop using hosts they use now.
    #[error(
        "confirm that these mx lines of {domain} go, since senders that enforce will then refuse \
         their hosts: {}",
        list(.hosts)
    )]
    MxRemovalUnconfirmed { domain: Domain, hosts: Vec<String> },
    /// Senders that enforce would refuse to deliver to a live MX.
    #[error("keep an mx line for each live MX of {domain}, which is enforced: {}", list(.hosts))]
    MxUncovered { domain: Domain, hosts: Vec<String> },
    /// It would not be a policy.
    #[error("this cannot be the policy of {domain}: {why}")]
    InvalidPolicy { domain: Domain, why: String },
    /// Shorter than senders heed, or longer than the RFC allows.
    #[error(
        "max_age cannot be {seconds} seconds: enter {MIN_MAX_AGE_SECONDS} to {MAX_AGE_SECONDS}"
    )]
    MaxAgeOutOfRange { seconds: u32 },

    /// Enforced already.
    #[error("{domain} is in enforce already: there is nothing to promote, so leave it as it is")]
    AlreadyEnforced { domain: Domain },
    /// In testing already, which blocks no mail.
    #[error("{domain} is in testing already, which blocks no mail: there is nothing to revert")]
    AlreadyTesting { domain: Domain },
    /// Nobody has shown that the domain is theirs.
    #[error("publish the CNAME shown for {domain} first: it proves that the domain is yours")]
    NotProven { domain: Domain },
    /// Enforcing a placeholder could block all mail.
    #[error("add MX records for {domain} and refresh: its policy has only a placeholder mx line")]
    PlaceholderPolicy { domain: Domain },
    /// Checks are open.
    #[error("{domain} is not ready to enforce: {}", what_is_open(.blocking, .unaccepted))]
    NotReady {
        domain: Domain,
        /// To be mended.
        blocking: Vec<CheckId>,
        /// To be mended, or accepted by name.
        unaccepted: Vec<CheckId>,
    },
    /// Not a readiness check.
    #[error(transparent)]
    UnknownCheck(#[from] UnknownCheck),

    /// As many certificates as may be asked for by hand.
    #[error("three re-issues in seven days have been used: wait until {next_at} for the next one")]
    ReissueLimit { next_at: Timestamp },
    /// One order per name at a time.
    #[error("a certificate is being issued at this moment: wait for it")]
    ReissueInFlight,
}

/// What sort of no it is. Each transport has its own word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The state does not allow it; the same call succeeds once something else is done.
    Precondition,
    /// Somebody else was faster.
    Conflict,
    /// It is there already.
    Exists,
    /// The input can never be right.
    Invalid,
    /// What it is about does not exist.
    NotFound,
    /// A quota is used up.
    Exhausted,
    /// Something outside did not answer; the same call may succeed later.
    Unavailable,
}

impl Refusal {
    /// A stable name for programs, `DOMAIN_PARKED`.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::DomainParked { .. } => "DOMAIN_PARKED",
            Refusal::DomainExists { .. } => "DOMAIN_EXISTS",
            Refusal::DomainNotFound { .. } => "DOMAIN_NOT_FOUND",
            Refusal::DomainReserved { .. } => "DOMAIN_RESERVED",
            Refusal::InvalidDomain(_) => "INVALID_DOMAIN",
            Refusal::InvalidName(_) => "INVALID_NAME",
            Refusal::UnknownWord(_) => "UNKNOWN_WORD",
            Refusal::NoActiveRegion => "NO_ACTIVE_REGION",
            Refusal::RegionNotFound { .. } => "REGION_NOT_FOUND",
            Refusal::RegionDisabled { .. } => "REGION_DISABLED",
            Refusal::HostingOff { .. } => "HOSTING_OFF",
            Refusal::HostingActive { .. } => "HOSTING_ACTIVE",
            Refusal::Stopping { .. } => "STOPPING",
            Refusal::NotStopping { .. } => "NOT_STOPPING",
            Refusal::RevisionConflict { .. } => "REVISION_CONFLICT",
            Refusal::NullMx { .. } => "NULL_MX",
            Refusal::NoMx { .. } => "NO_MX",
            Refusal::MxLookupFailed { .. } => "MX_LOOKUP_FAILED",
            Refusal::MxUnusable { .. } => "MX_UNUSABLE",
            Refusal::TooManyMx { .. } => "TOO_MANY_MX",
            Refusal::MxRemovalUnconfirmed { .. } => "MX_REMOVAL_UNCONFIRMED",
            Refusal::MxUncovered { .. } => "MX_UNCOVERED",
            Refusal::InvalidPolicy { .. } => "INVALID_POLICY",
            Refusal::MaxAgeOutOfRange { .. } => "MAX_AGE_OUT_OF_RANGE",
            Refusal::AlreadyEnforced { .. } => "ALREADY_ENFORCED",
            Refusal::AlreadyTesting { .. } => "ALREADY_TESTING",
            Refusal::NotProven { .. } => "NOT_PROVEN",
            Refusal::PlaceholderPolicy { .. } => "PLACEHOLDER_POLICY",
            Refusal::NotReady { .. } => "NOT_READY",
            Refusal::UnknownCheck(_) => "UNKNOWN_CHECK",
            Refusal::ReissueLimit { .. } => "REISSUE_LIMIT",
            Refusal::ReissueInFlight => "REISSUE_IN_FLIGHT",
        }
    }

    /// What sort of no it is.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Refusal::InvalidDomain(_)
            | Refusal::InvalidName(_)
            | Refusal::UnknownWord(_)
            | Refusal::UnknownCheck(_)
            | Refusal::DomainReserved { .. }
            | Refusal::InvalidPolicy { .. }
            | Refusal::MaxAgeOutOfRange { .. } => RefusalKind::Invalid,
            Refusal::RevisionConflict { .. } => RefusalKind::Conflict,
            Refusal::DomainExists { .. } => RefusalKind::Exists,
            Refusal::DomainNotFound { .. } | Refusal::RegionNotFound { .. } => {
                RefusalKind::NotFound
            }
            Refusal::ReissueLimit { .. } => RefusalKind::Exhausted,
            Refusal::MxLookupFailed { .. } => RefusalKind::Unavailable,
            _ => RefusalKind::Precondition,
        }
    }

    /// Every variable of the message, by name. Lists are joined by `, `, instants are RFC 3339.
    pub fn metadata(&self) -> Vec<(&'static str, String)> {
        use Refusal::*;
        match self {
            DomainParked { domain }
            | DomainExists { domain }
            | DomainNotFound { domain }
            | DomainReserved { domain }
            | HostingOff { domain }
            | NotStopping { domain }
            | NullMx { domain }
            | NoMx { domain }
            | AlreadyEnforced { domain }
            | AlreadyTesting { domain }
            | NotProven { domain }
            | PlaceholderPolicy { domain } => vec![("domain", domain.to_string())],
            InvalidDomain(why) => {
                vec![("input", why.input.clone()), ("problem", why.reason.to_string())]
            }
            InvalidName(why) => vec![
                ("input", why.input.clone()),
                ("what", why.what.to_owned()),
                ("rule", why.rule.to_owned()),
            ],
            UnknownWord(why) => vec![
                ("input", why.input.clone()),
                ("what", why.what.to_owned()),
                ("known", why.known.clone()),
            ],
            UnknownCheck(why) => vec![("input", why.input.clone()), ("known", why.known())],
            NoActiveRegion | ReissueInFlight => Vec::new(),
            RegionNotFound { region } | RegionDisabled { region } => {
                vec![("region", region.to_string())]
            }
            HostingActive { domain, region } => {
                vec![("domain", domain.to_string()), ("region", region.to_string())]
            }
            Stopping { domain, since } => {
                vec![("domain", domain.to_string()), ("since", since.to_string())]
            }
            RevisionConflict { domain, expected, actual, changed_by, changed_at } => vec![
                ("domain", domain.to_string()),
                ("expected", expected.to_string()),
                ("actual", actual.to_string()),
                ("changed_by", changed_by.clone()),
                ("changed_at", changed_at.to_string()),
            ],
            MxLookupFailed { domain, why } | InvalidPolicy { domain, why } => {
                vec![("domain", domain.to_string()), ("why", why.clone())]
            }
            MxUnusable { domain, hosts }
            | MxRemovalUnconfirmed { domain, hosts }
            | MxUncovered { domain, hosts } => {
                vec![("domain", domain.to_string()), ("hosts", list(hosts))]
            }
            TooManyMx { domain, count } => vec![
                ("domain", domain.to_string()),
                ("count", count.to_string()),
                ("limit", MAX_MX_HOSTS.to_string()),
            ],
            MaxAgeOutOfRange { seconds } => vec![
                ("seconds", seconds.to_string()),
                ("least", MIN_MAX_AGE_SECONDS.to_string()),
                ("most", MAX_AGE_SECONDS.to_string()),
            ],
            NotReady { domain, blocking, unaccepted } => vec![
                ("domain", domain.to_string()),
                ("blocking", list(blocking)),
                ("unaccepted", list(unaccepted)),
            ],
            ReissueLimit { next_at } => vec![("next_at", next_at.to_string())],
        }
    }

    pub(crate) fn mx_lookup_failed(domain: &Domain, why: &str) -> Refusal {
        Refusal::MxLookupFailed { domain: domain.clone(), why: echo(why) }
    }

    pub(crate) fn invalid_policy(domain: &Domain, why: &InvalidPolicy) -> Refusal {
        Refusal::InvalidPolicy { domain: domain.clone(), why: why.to_string() }
    }
}

fn what_is_open(blocking: &[CheckId], unaccepted: &[CheckId]) -> String {
    match (blocking.is_empty(), unaccepted.is_empty()) {
        (false, true) => format!("first mend {}", list(blocking)),
        (true, false) => format!("mend or accept by name {}", list(unaccepted)),
        _ => format!("first mend {}; mend or accept by name {}", list(blocking), list(unaccepted)),
    }
}
