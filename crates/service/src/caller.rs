//! Who calls: found out once per call, before any handler.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// What a caller may do. Each role may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look at everything of the workspace, change nothing.
    ReadOnly,
    /// Change domains.
    DomainManager,
    /// Set up regions, too.
    PlatformAdmin,
    /// Another service of the fleet.
    Service,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For records of changes, for example "admin token".
    pub name: String,
    /// Whose things the caller sees.
    pub workspace: String,
    /// What the caller may do.
    pub role: Role,
}

impl Caller {
    /// Whose things this call is about: a service of the fleet says so, anybody else sees their own.
    #[must_use]
    pub fn acting_for(self, workspace: String) -> Caller {
        match self.role {
            Role::Service if !workspace.is_empty() => Caller { workspace, ..self },
            _ => self,
        }
    }
}

/// Knows the tokens that are good. Deny by default: without one of them there is no caller.
#[derive(Clone, Default)]
pub struct Authenticator {
    known: Arc<Vec<([u8; 32], Caller)>>,
}

impl Authenticator {
    /// Believes these tokens.
    ///
    /// An empty one, as from a file that was cut off, is nobody's.
    pub fn new(tokens: impl IntoIterator<Item = (String, Caller)>) -> Authenticator {
        let known = tokens.into_iter().filter(|(token, _)| !token.trim().is_empty());
        let known = known.map(|(token, caller)| (hash(token.as_bytes()), caller));
        Authenticator { known: Arc::new(known.collect()) }
    }

    /// The caller who holds a token.
    pub fn caller(&self, token: &str) -> Option<Caller> {
        let presented = hash(token.as_bytes());
        // Hashes are compared, in constant time: how long it takes tells nothing about a token.
        let known =
            self.known.iter().find(|(known, _)| verify_slices_are_equal(known, &presented).is_ok());
        known.map(|(_, caller)| caller.clone())
    }
}

impl Interceptor for Authenticator {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let Some(token) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
            return Err(refuse(
                "TOKEN_REQUIRED",
                "this needs a token: pass --token or set DMARCER_TOKEN",
            ));
        };
        let Some(caller) = self.caller(token.trim()) else {
            return Err(refuse("TOKEN_INVALID", "that token isn't valid, or has expired"));
        };
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

/// Who sent this request.
///
/// # Errors
/// `UNAUTHENTICATED` when nobody was found, which an [`Authenticator`] in front does not let happen.
pub fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>();
    caller.cloned().ok_or_else(|| refuse("TOKEN_REQUIRED", "this needs a token"))
}

/// Who sent this request, if they have at least this role.
///
/// # Errors
/// `PERMISSION_DENIED` with reason `ROLE_REQUIRED` when they have a lesser one.
pub fn caller_with<T>(request: &Request<T>, role: Role) -> Result<Caller, Status> {
    let caller = caller(request)?;
    if caller.role >= role {
        return Ok(caller);
    }
    let needed = match role {
        Role::ReadOnly => "a role in this workspace",
        Role::DomainManager => "a role with domain management rights",
        Role::PlatformAdmin => "a Platform admin",
        Role::Service => "a service of the fleet",
    };
    let message = format!("your role doesn't allow this: it needs {needed}");
    let details = ErrorDetails::with_error_info("ROLE_REQUIRED", "dmarcer", HashMap::new());
    Err(Status::with_error_details(Code::PermissionDenied, message, details))
}

fn refuse(reason: &str, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "dmarcer", HashMap::new());
    Status::with_error_details(Code::Unauthenticated, message, details)
}

fn hash(token: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_token_is_nobodys() {
        let nobody =
            Caller { name: "n".into(), workspace: "default".into(), role: Role::PlatformAdmin };
        let authenticator = Authenticator::new([(String::new(), nobody)]);
        assert_eq!(authenticator.caller(""), None);
    }

    fn authenticator() -> Authenticator {
        let admin = Caller {
            name: "admin token".into(),
            workspace: "default".into(),
            role: Role::PlatformAdmin,
        };
        Authenticator::new([("good".to_owned(), admin)])
    }

    fn call(header: Option<&str>) -> Result<Caller, Status> {
        let mut request = Request::new(());
        if let Some(header) = header {
            request.metadata_mut().insert("authorization", header.parse().unwrap());
        }
        caller(&authenticator().call(request)?)
    }

    #[test]
    fn only_a_known_token_makes_a_caller() {
        assert_eq!(call(Some("Bearer good")).unwrap().name, "admin token");
        for header in
            [None, Some("good"), Some("Bearer "), Some("Bearer goo"), Some("Bearer goodx")]
        {
            assert_eq!(call(header).unwrap_err().code(), Code::Unauthenticated, "{header:?}");
        }
    }

    #[test]
    fn a_lesser_role_is_refused() {
        let mut request = Request::new(());
        let reader = Caller { name: "r".into(), workspace: "default".into(), role: Role::ReadOnly };
        request.extensions_mut().insert(reader);
        assert!(caller_with(&request, Role::ReadOnly).is_ok());
        let refused = caller_with(&request, Role::DomainManager).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
}
