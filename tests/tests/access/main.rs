//! Who may call what, from the outside: each RPC says it once, in `proto/`, and nobody gets more.
//!
//! `table.rs` is for people, `callers.rs` calls every RPC as everybody, `tokens.rs` has tokens that are not
//! good, and `workspaces.rs` has callers who ask for what is another workspace's.

mod callers;
mod table;
mod tokens;
mod workspaces;

use wire::access::{Need, Rpc};

/// What callers of domains call about. Nobody has added it.
const DOMAIN: &str = "domain.example";

/// The kinds of callers that the rules tell apart, each with more power than the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Nobody,
    ReadOnly,
    OtherDomains,
    DomainManager,
    PlatformAdmin,
    Service,
}

/// Why a caller of a kind is refused; none where the call is let through.
fn refusal(rpc: &Rpc, who: Who) -> Option<&'static str> {
    let least = match rpc.need {
        Need::Nothing => return None,
        Need::ReadOnly => Who::ReadOnly,
        Need::DomainManager => Who::OtherDomains,
        Need::PlatformAdmin => Who::PlatformAdmin,
        Need::Service => Who::Service,
        Need::Unspecified => return Some("UNIMPLEMENTED"),
    };
    match who {
        Who::Nobody => Some("TOKEN_REQUIRED"),
        who if who < least => Some("ROLE_REQUIRED"),
        Who::OtherDomains if rpc.changes && rpc.domain.is_some() => Some("DOMAIN_NOT_YOURS"),
        _ => None,
    }
}

/// A request that can be read, about [`DOMAIN`], and about nothing else that there is.
fn request(rpc: &Rpc) -> Vec<u8> {
    rpc.request(&[(rpc.domain_field.as_str(), DOMAIN), ("id", "nobody"), ("who", "nobody@example")])
}

/// What of all refusals is the layer's: nobody who is let through hears it.
fn is_refused_access(reason: &str) -> bool {
    let access = ["TOKEN_REQUIRED", "TOKEN_INVALID", "ROLE_REQUIRED", "DOMAIN_NOT_YOURS"];
    access.contains(&reason) || reason == "RATE_LIMITED"
}
