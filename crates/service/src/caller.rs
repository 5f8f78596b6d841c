//! Who calls, and with which call: found out once, before any handler ([`crate::access`]).

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// What a caller may do. Each role may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look at everything of the workspace, change nothing.
    ReadOnly,
    /// Change domains.
    DomainManager,
    /// Members, tokens of others, workspaces, regions: the whole platform.
    PlatformAdmin,
    /// Another service of the fleet.
    Service,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Stable, for example `person:…`, `token:…`, `admin`, `service:fleet`.
    pub id: String,
    /// For people, for example "alice@example.org".
    pub name: String,
    /// Whose things the caller sees.
    pub workspace: String,
    /// What the caller may do.
    pub role: Role,
    /// A Domain manager for these names only; empty: for all of the workspace.
    pub domains: Vec<String>,
    /// The person or token at the root of it: who sees and revokes the tokens made with this one.
    pub owner: String,
}

/// One call, as it was let through.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who calls; nobody where the call needs nothing.
    pub caller: Option<Caller>,
    /// Tells this call from all others, in records of changes, in logs and to the caller.
    pub request_id: String,
    /// Where it came from; unknown where it did not come over the network.
    pub from: Option<IpAddr>,
    /// `/dmarcer.control.v1.DomainService/AddDomain`.
    pub method: Arc<str>,
    /// Present where the caller wants the change to be made once, however often it is asked for.
    pub once: Option<IdempotencyKey>,
}

/// A caller's mark for one change, and what it was used for. Of the key and of the request only hashes
/// are kept.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// SHA-256 of the key.
    pub key_hash: [u8; 32],
    /// SHA-256 of the method and the request's message.
    pub request_hash: [u8; 32],
    /// Encrypts the kept answer, which may hold a secret that is shown once: made of the caller's token
    /// and the key, neither of which is kept.
    pub sealing: [u8; 32],
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey")
    }
}

impl Call {
    /// A call that did not come over the network.
    #[must_use]
    pub fn from_here(caller: Caller) -> Call {
        let (request_id, method) = (String::new(), Arc::from(""));
        Call { caller: Some(caller), request_id, from: None, method, once: None }
    }
}

impl Caller {
    /// Somebody with a role in all of a workspace.
    #[must_use]
    pub fn new(id: &str, workspace: &str, role: Role) -> Caller {
        let (id, workspace) = (id.to_owned(), workspace.to_owned());
        Caller { name: id.clone(), owner: id.clone(), id, workspace, role, domains: Vec::new() }
    }

    /// Whose things this call is about: a service of the fleet says so, anybody else sees their own.
    #[must_use]
    pub fn acting_for(self, workspace: String) -> Caller {
        match self.role {
            Role::Service if !workspace.is_empty() => Caller { workspace, ..self },
            _ => self,
        }
    }

    /// Whether this caller's role reaches a domain, by its canonical name.
    #[must_use]
    pub fn may_manage(&self, domain: &str) -> bool {
        self.domains.is_empty() || self.domains.iter().any(|named| named == domain)
    }
}

impl Role {
    /// All that a person or a token can have.
    pub const ALL: [Role; 3] = [Role::ReadOnly, Role::DomainManager, Role::PlatformAdmin];

    /// The stable name, `domain-manager`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::ReadOnly => "read-only",
            Role::DomainManager => "domain-manager",
            Role::PlatformAdmin => "platform-admin",
            Role::Service => "service",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no such role: say read-only, domain-manager or platform-admin")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Role, UnknownRole> {
        Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// Who sent this request.
///
/// # Errors
/// `UNAUTHENTICATED` when nobody was found, which [`crate::access`] lets happen only where a call needs
/// nothing.
pub fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    Ok(call(request)?.0)
}

/// The call that this request is, and who sent it.
///
/// # Errors
/// As [`caller`].
pub fn call<T>(request: &Request<T>) -> Result<(Caller, Call), Status> {
    let call = request.extensions().get::<Call>();
    let known = call.and_then(|call| Some((call.caller.clone()?, call.clone())));
    known.ok_or_else(token_required)
}

/// The refusal of a call without a token.
#[must_use]
pub fn token_required() -> Status {
    unauthenticated("TOKEN_REQUIRED", "this needs a token: pass --token or set DMARCER_TOKEN")
}

/// The refusal of a token that is nobody's.
#[must_use]
pub fn token_invalid() -> Status {
    unauthenticated("TOKEN_INVALID", "that token isn't valid, or has expired")
}

fn unauthenticated(reason: &str, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "dmarcer", HashMap::new());
    Status::with_error_details(Code::Unauthenticated, message, details)
}
