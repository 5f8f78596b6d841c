//! The product's own rules: what a workspace may do with a domain, and when it is sound.
//!
//! A command is a question to the present state. The answer is the whole next state, with the
//! policy's body rendered, or a [`Refusal`] that says what to do first.
//! Whoever asks stores the answer in one transaction, if the state is still the one asked about.
//!
//! **In:** a [`Claim`] as stored; a command; what DNS, edges and reports say, as plain data
//! ([`LiveMx`], [`Facts`], [`Observed`], [`Served`]); and what pure code cannot make ([`Fresh`]:
//! the time, a revision, an id).
//!
//! **Out:** the next [`Claim`]; [`Readiness`] with its evidence; dates; refusals with a stable code.
//!
//! # Absent on purpose
//!
//! - No I/O, no clock, no randomness, no async: the same arguments give the same answer.
//! - No wire and no storage types. Enumerations have stable names (`as_str`), and that is all that
//!   others build on.
//! - No command changes a policy because a lookup failed or found nothing. Only a person's command
//!   changes one at all.
//! - No way to accept every open check at once, nor any blocking one; and no check at all in
//!   [`Claim::revert`].
//! - No look back at earlier ids: that an id was never used before is the store's promise.
//!
//! # Reading order
//!
//! | file | holds |
//! | --- | --- |
//! | `domain.rs` | [`Domain`]: the one way in which a name enters |
//! | `names.rs` | regions, workspaces, claims, nonces, revisions |
//! | `claim.rs` | [`Claim`] and [`Hosting`]: the state |
//! | `version.rs` | [`Version`]: one body under one id; the `max_age` of each mode |
//! | `activate.rs` `promote.rs` `revert.rs` `refresh.rs` `set.rs` | one command each |
//! | `deactivate.rs` `cancel.rs` `repair.rs` `convert.rs` | and these |
//! | `refusal.rs` | [`Refusal`]: every no |
//! | `mx.rs` | from MX records to mx lines |
//! | `readiness.rs` | [`assess`]: ready to enforce, and the evidence |
//! | `proof.rs` | [`proof`]: when a claim is proven, and when it passes on |
//! | `stopping.rs` | [`stops_at`]: when a withdrawn policy may go |
//! | `reissue.rs` | [`may_reissue`]: three in seven days |
//!
//! # Where a policy can go
//!
//! ```text
//!            activate                promote
//!     off ─────────────▶ testing ◀────────────▶ enforce
//!      ▲                  │    ▲      revert       │
//!      │                  │    │ cancel            │
//!      │       deactivate ▼    │                   │
//!      └──────────────── none, stopping ◀──────────┘
//!          ended                      deactivate
//! ```
//!
//! `refresh` and `set` stay where they are and change the body; `repair` changes only the id.

mod activate;
mod cancel;
mod claim;
mod convert;
mod deactivate;
mod domain;
mod mx;
mod names;
mod promote;
mod proof;
mod readiness;
mod refresh;
mod refusal;
mod reissue;
mod repair;
mod revert;
mod set;
mod stopping;
mod text;
mod version;

#[cfg(test)]
mod tests;

pub use claim::{Claim, Hosting, Kind, State};
pub use domain::{Domain, DomainProblem, InvalidDomain, MAX_DOMAIN_BYTES};
pub use mx::{Because, LiveMx, MAX_MX_HOSTS, MxHost, MxLine, MxLines, mx_lines, uncovered};
pub use names::{ClaimId, InvalidName, Nonce, RegionId, Revision, WorkspaceId};
pub use promote::Promote;
pub use proof::{
    Answer, Observed, Proof, TRANSFER_LOOKS_APART, cname_target, has_moved, is_proof, may_transfer,
    proof, txt_value,
};
pub use readiness::{
    CERTIFICATE_VALID_FOR, Check, CheckId, CheckStatus, EdgeCertificate, Edges, Fact, Facts,
    Fetches, MX_LOOKUP_FRESH_FOR, MxLookup, MxTls, MxTlsFound, RECORD_STATUS_FRESH_FOR,
    REPORT_DAYS, Readiness, RecordFact, RecordStatus, Reports, TESTING_DAYS, UnknownCheck, Verdict,
    assess,
};
pub use refresh::RefreshPlan;
pub use refusal::{Refusal, RefusalKind};
pub use reissue::{
    REISSUE_WINDOW, REISSUES_PER_WINDOW, may_reissue, next_reissue_at, reissues_left,
};
pub use set::{MIN_MAX_AGE_SECONDS, Set};
pub use stopping::{Served, has_ended, stops_at};
pub use version::{
    Change, ENFORCE_MAX_AGE_SECONDS, Fresh, NONE_MAX_AGE_SECONDS, TESTING_MAX_AGE_SECONDS,
    UnknownWord, Version,
};
