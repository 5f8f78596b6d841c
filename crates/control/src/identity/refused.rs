//! Every no about callers, members, tokens and workspaces.

use audit::BeginError;
use hosting::{Domain, InvalidDomain, Refusal, WorkspaceId};
use jiff::Timestamp;
use service::caller::{Role, token_invalid, token_required};
use service::supervise::chain;
use store::StoreError;
use tonic::{Code, Status};
use tracing::error;
use wire::status;

/// A refusal names so many workspaces or domains: one has to fit into the headers that gRPC carries
/// it in.
const LISTED: usize = 20;

/// The product said no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// A token that is nobody's, or good for nothing any more. Which of these is not told.
    #[error("that token isn't valid, or has expired")]
    TokenInvalid,
    #[error("this needs a token: pass --token or set DMARCER_TOKEN")]
    TokenRequired,
    #[error("you are in several workspaces: choose one, {}", list(workspaces))]
    WorkspaceRequired { workspaces: Vec<WorkspaceId> },
    /// Says no name: another one's and none at all are answered alike.
    #[error("there is no such workspace, or you have no role in it")]
    WorkspaceNotFound,
    #[error("there is, or was, a workspace {workspace}: choose another id")]
    WorkspaceExists { workspace: String },
    #[error("workspace {workspace} is closed")]
    WorkspaceClosed { workspace: WorkspaceId },
    #[error("workspace {workspace} has {domains} domains: remove them first")]
    WorkspaceHasDomains { workspace: WorkspaceId, domains: u64 },
    #[error("there is no member {who} in this workspace")]
    MemberNotFound { who: String },
    /// The provider's word can't be changed here.
    #[error(
        "the role of {who} comes from the sign-in provider: change it there, or add {who} as a \
         member with a higher one"
    )]
    MemberOfProvider { who: String },
    #[error("{who} is a member already: change their role instead")]
    MemberExists { who: String },
    #[error("somebody has to stay Platform admin: give another member that role first")]
    LastPlatformAdmin,
    /// Says no id: another one's and none at all are answered alike.
    #[error("there is no such token, or it isn't yours")]
    TokenNotFound,
    #[error("a token can't have a higher role than who makes it: {asked} is above {yours}")]
    RoleTooHigh { asked: Role, yours: Role },
    #[error("your role is for named domains, and {} is none of them: {}", domain, list(yours))]
    DomainNotYours { domain: Domain, yours: Vec<String> },
    /// A service of the fleet asks.
    #[error("tokens are made by people and with their tokens, not by services")]
    NotAPerson,
    /// The answer with the secret was lost, and the secret with it.
    #[error(
        "this call has made a token already, and a token is shown once: revoke that one, and make \
         another with a new idempotency key"
    )]
    TokenShownOnce,
    #[error("this workspace has {limit} active tokens: revoke those that nobody needs")]
    TooManyTokens { limit: u64 },
    #[error("your account has no role here: ask a Platform admin")]
    NoRole,
    /// A field of the request is wrong.
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: String },
    #[error(transparent)]
    Domain(#[from] InvalidDomain),
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The product said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The caller's mark for this change was used for another one, or could not be looked up.
    #[error(transparent)]
    Marked(#[from] BeginError),
    /// The database did not do it.
    #[error("the database failed a call")]
    Store(#[from] StoreError),
}

impl Refused {
    pub(crate) fn invalid(field: &'static str, why: impl Into<String>) -> Refused {
        Refused::Invalid { field, why: why.into() }
    }

    /// The stable code.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Refused::TokenInvalid => "TOKEN_INVALID",
            Refused::TokenRequired => "TOKEN_REQUIRED",
            Refused::WorkspaceRequired { .. } => "WORKSPACE_REQUIRED",
            Refused::WorkspaceNotFound => "WORKSPACE_NOT_FOUND",
            Refused::WorkspaceExists { .. } => "WORKSPACE_EXISTS",
            Refused::WorkspaceClosed { .. } => "WORKSPACE_CLOSED",
            Refused::WorkspaceHasDomains { .. } => "WORKSPACE_HAS_DOMAINS",
            Refused::MemberNotFound { .. } | Refused::MemberOfProvider { .. } => "MEMBER_NOT_FOUND",
            Refused::MemberExists { .. } => "MEMBER_EXISTS",
            Refused::LastPlatformAdmin => "LAST_PLATFORM_ADMIN",
            Refused::TokenNotFound => "TOKEN_NOT_FOUND",
            Refused::RoleTooHigh { .. } => "ROLE_TOO_HIGH",
            Refused::DomainNotYours { .. } => "DOMAIN_NOT_YOURS",
            Refused::NotAPerson => "ROLE_REQUIRED",
            Refused::TokenShownOnce => "TOKEN_SHOWN_ONCE",
            Refused::TooManyTokens { .. } => "TOKEN_LIMIT",
            Refused::NoRole => "NO_ROLE",
            Refused::Invalid { .. } => "INVALID_ARGUMENT",
            Refused::Domain(_) => "INVALID_DOMAIN",
        }
    }

    fn code(&self) -> Code {
        match self {
            Refused::TokenInvalid | Refused::TokenRequired => Code::Unauthenticated,
            Refused::WorkspaceRequired { .. }
            | Refused::WorkspaceClosed { .. }
            | Refused::WorkspaceHasDomains { .. }
            | Refused::TokenShownOnce
            | Refused::LastPlatformAdmin => Code::FailedPrecondition,
            Refused::WorkspaceNotFound
            | Refused::MemberNotFound { .. }
            | Refused::MemberOfProvider { .. }
            | Refused::TokenNotFound => Code::NotFound,
            Refused::WorkspaceExists { .. } | Refused::MemberExists { .. } => Code::AlreadyExists,
            Refused::RoleTooHigh { .. }
            | Refused::DomainNotYours { .. }
            | Refused::NotAPerson
            | Refused::NoRole => Code::PermissionDenied,
            Refused::TooManyTokens { .. } => Code::ResourceExhausted,
            Refused::Invalid { .. } | Refused::Domain(_) => Code::InvalidArgument,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Refused::WorkspaceRequired { workspaces } => vec![("workspaces", list(workspaces))],
            Refused::WorkspaceExists { workspace } => vec![("workspace", workspace.clone())],
            Refused::WorkspaceClosed { workspace } => vec![("workspace", workspace.to_string())],
            Refused::WorkspaceHasDomains { workspace, domains } => {
                vec![("workspace", workspace.to_string()), ("domains", domains.to_string())]
            }
            Refused::MemberNotFound { who }
            | Refused::MemberOfProvider { who }
            | Refused::MemberExists { who } => vec![("who", who.clone())],
            Refused::RoleTooHigh { asked, yours } => {
                vec![("asked", asked.to_string()), ("role", yours.to_string())]
            }
            Refused::DomainNotYours { domain, yours } => {
                vec![("domain", domain.to_string()), ("domains", list(yours))]
            }
            Refused::TooManyTokens { limit } => vec![("limit", limit.to_string())],
            Refused::Invalid { field, .. } => vec![("field", (*field).to_owned())],
            Refused::TokenInvalid
            | Refused::TokenRequired
            | Refused::WorkspaceNotFound
            | Refused::LastPlatformAdmin
            | Refused::TokenNotFound
            | Refused::TokenShownOnce
            | Refused::NotAPerson
            | Refused::NoRole
            | Refused::Domain(_) => Vec::new(),
        }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        match refused {
            Refused::TokenInvalid => token_invalid(),
            Refused::TokenRequired => token_required(),
            Refused::Domain(why) => status::refusal(&Refusal::InvalidDomain(why)),
            refused => {
                let metadata = refused.metadata().into_iter();
                let metadata = metadata.map(|(name, value)| (name.to_owned(), value)).collect();
                let message = refused.to_string();
                status::with_reason(refused.code(), refused.reason(), &message, metadata)
            }
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        match failure {
            Failure::Refused(refused) => refused.into(),
            Failure::Marked(wrong) => wrong.into(),
            Failure::Store(fault) => {
                error!(fault = chain(&fault), "the database failed a call");
                status::internal()
            }
        }
    }
}

impl From<store::sqlx::Error> for Failure {
    fn from(error: store::sqlx::Error) -> Failure {
        Failure::Store(StoreError::Query(error))
    }
}

/// An instant in a sentence: UTC, to the minute.
pub(super) fn when(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn list<T: ToString>(items: &[T]) -> String {
    let mut texts: Vec<String> = items.iter().take(LISTED).map(ToString::to_string).collect();
    if let Some(more) = items.len().checked_sub(LISTED).filter(|more| *more > 0) {
        texts.push(format!("and {more} more"));
    }
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_with_many_names_fits_into_a_header() {
        let ids = (0..1000).map(|n| format!("{}-{n}", "w".repeat(28)).parse().unwrap());
        let refused = Refused::WorkspaceRequired { workspaces: ids.collect() };
        assert!(refused.to_string().ends_with("and 980 more"), "{refused}");
        assert!(refused.to_string().len() < 1000, "{}", refused.to_string().len());
    }
}
