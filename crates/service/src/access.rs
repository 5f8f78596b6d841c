//! Who may call what: every call passes here, before any handler, and nowhere else.
//!
//! * **In**: a call, the [`Rules`] that the RPCs carry, and somebody who knows tokens ([`Known`]).
//! * **Out**: the same call with a [`Call`] beside it, or a refusal.
//!
//! Deny by default: an RPC without a rule is refused to everybody, and a process does not start with
//! one. Health and reflection are open, since they tell nothing of anybody.

mod known;
mod limits;
mod request;
mod rules;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;

use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tracing::Span;

pub use crate::access::known::{Identify, Known, token_hash};
use crate::access::limits::TooMuch;
pub use crate::access::limits::{Limits, LimitsConfig};
pub use crate::access::rules::{AboutOf, Need, Rule, Rules, Unruled};
use crate::caller::{Call, Caller, Role, token_required};

/// The header in which a caller chooses a workspace.
pub const WORKSPACE: &str = "dmarcer-workspace";
/// The header with the caller's mark for one change.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header that tells one call from all others, there and back.
pub const REQUEST_ID: &str = "x-request-id";

/// Services that are open to everybody.
const OPEN: &[&str] = &[
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];
/// A workspace's id has at most 64 bytes.
const MAX_WORKSPACE_BYTES: usize = 64;

/// Stands in front of every service of a listener. Clones are handles to the same.
#[derive(Clone, Default)]
pub struct Access {
    rules: Rules,
    known: Known,
    limits: Limits,
}

impl Access {
    /// Lets through what the rules allow to the callers who are known, within the limits.
    #[must_use]
    pub fn new(rules: Rules, known: Known, limits: Limits) -> Access {
        Access { rules, known, limits }
    }

    /// The same call with a [`Call`] beside it.
    pub(crate) async fn admit(
        &self,
        request: Request<Body>,
        request_id: &str,
    ) -> Result<Request<Body>, Status> {
        let path = request.uri().path();
        if OPEN.iter().any(|open| path.starts_with(open)) {
            return Ok(request);
        }
        let Some((method, rule)) = self.rules.of(path) else {
            return Err(Status::unimplemented(format!("there is no {}", printable(path))));
        };
        let from = from(&request);
        let (caller, token) = match rule.need {
            Need::Nothing => {
                self.limits.nobodys(from).map_err(rate_limited)?;
                (None, None)
            }
            Need::Role(role) => {
                let token = bearer(request.headers()).map(str::to_owned);
                let caller = self.caller(request.headers(), token.as_deref(), from).await?;
                Span::current().record("caller", &caller.id);
                self.limits.call(&caller, rule.emergency).map_err(rate_limited)?;
                require(&caller, role)?;
                (Some(caller), token)
            }
        };

        let key = if rule.changes { request::key(request.headers())? } else { None };
        let limited = caller.as_ref().is_some_and(|it| !it.domains.is_empty() && rule.changes);
        let needs_message = key.is_some() || (limited && rule.about.is_some());
        let (mut request, message) = match needs_message {
            true => request::read(request).await?,
            false => (request, Vec::new().into()),
        };
        if let (Some(caller), Some(about)) = (caller.as_ref().filter(|_| limited), &rule.about) {
            reaches(caller, about(&message).as_deref())?;
        }
        let once =
            key.map(|key| request::once(&key, token.as_deref().unwrap_or(""), method, &message));
        request.extensions_mut().insert(Call {
            caller,
            request_id: request_id.to_owned(),
            from,
            method: method.clone(),
            once,
        });
        Ok(request)
    }

    async fn caller(
        &self,
        headers: &HeaderMap,
        token: Option<&str>,
        from: Option<IpAddr>,
    ) -> Result<Caller, Status> {
        let token = token.ok_or_else(token_required)?;
        let workspace = match headers.get(WORKSPACE).map(|value| value.to_str()) {
            None => "",
            Some(Ok(workspace)) if workspace.len() <= MAX_WORKSPACE_BYTES => workspace,
            Some(_) => {
                return Err(refuse(
                    Code::InvalidArgument,
                    "INVALID_ARGUMENT",
                    "dmarcer-workspace: that is no workspace's id",
                ));
            }
        };
        let known = self.known.caller(token, workspace).await;
        match known {
            // A good token that asks for workspaces it does not have counts, too: whose it is, nobody says.
            Err(refused) if refused.code() != Code::Unavailable => {
                self.limits.failed(from).map_err(rate_limited)?;
                Err(refused)
            }
            known => known,
        }
    }
}

/// Tells the caller which call it was, and makes a sentence of what tonic alone would say without one.
pub(crate) fn answer(mut response: Response<Body>, request_id: &str) -> Response<Body> {
    if let Some(status) = request::unreadable(&response) {
        response = status.into_http();
    }
    if let Ok(id) = request_id.parse() {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The caller's own id for this call where it is a sane one, else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    request::id(headers)
}

/// Lets through a caller with this role or one above it. For the rest of a call that needs more than the
/// call itself, such as everybody's records instead of one's own.
///
/// # Errors
/// `PERMISSION_DENIED` with reason `ROLE_REQUIRED` and both roles.
pub fn require(caller: &Caller, role: Role) -> Result<(), Status> {
    if caller.role >= role {
        return Ok(());
    }
    let needed = match role {
        Role::ReadOnly => "a role in this workspace",
        Role::DomainManager => "a role with domain management rights",
        Role::PlatformAdmin => "a Platform admin",
        Role::Service => "a service of the fleet",
    };
    let message = format!("your role doesn't allow this: it needs {needed}");
    let metadata = [("role", caller.role.to_string()), ("needed", role.to_string())];
    Err(refuse_with(Code::PermissionDenied, "ROLE_REQUIRED", &message, metadata))
}

/// A role for named domains reaches those. What the request is about may be unreadable: then it is about
/// none of them.
fn reaches(caller: &Caller, about: Option<&str>) -> Result<(), Status> {
    match about {
        Some(about) if caller.may_manage(about) => Ok(()),
        about => {
            let named = caller.domains.join(", ");
            let message =
                format!("your role is for named domains, and this is none of them: {named}");
            let metadata = [("domain", about.unwrap_or_default().to_owned()), ("domains", named)];
            Err(refuse_with(Code::PermissionDenied, "DOMAIN_NOT_YOURS", &message, metadata))
        }
    }
}

fn rate_limited(too_much: TooMuch) -> Status {
    // Told in whole seconds, so that nobody comes back too early.
    let seconds = too_much.wait.as_secs() + 1;
    let message =
        format!("that was quick: try again in {seconds} s ({} calls are limited)", too_much.whose);
    let metadata = HashMap::from([("retry_after_seconds".to_owned(), seconds.to_string())]);
    let mut details = ErrorDetails::with_error_info("RATE_LIMITED", DOMAIN, metadata);
    details.set_retry_info(Some(std::time::Duration::from_secs(seconds)));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// The `domain` of `ErrorInfo`s.
const DOMAIN: &str = "dmarcer";

fn refuse(code: Code, reason: &str, message: &str) -> Status {
    refuse_with(code, reason, message, [])
}

fn refuse_with<const N: usize>(
    code: Code,
    reason: &str,
    message: &str,
    metadata: [(&str, String); N],
) -> Status {
    let metadata = metadata.into_iter().map(|(name, value)| (name.to_owned(), value));
    let metadata: HashMap<String, String> = metadata.collect();
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

/// The token that a call was made with; none where it has none.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get("authorization")?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    // RFC 9110 section 11.1: the scheme's case does not count.
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

fn from(request: &Request<Body>) -> Option<IpAddr> {
    let info = request.extensions().get::<TcpConnectInfo>()?;
    info.remote_addr().map(|address| address.ip().to_canonical())
}

/// What came over the network, fit for a sentence.
fn printable(text: &str) -> String {
    const MOST: usize = 100;
    text.chars().filter(char::is_ascii_graphic).take(MOST).collect()
}
