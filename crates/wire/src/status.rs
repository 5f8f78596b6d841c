//! Refusals and faults as gRPC statuses, and back into sentences for people.
//!
//! Every status carries one `google.rpc.ErrorInfo`: a stable `reason` for scripts, the service that
//! said it as `domain`, and every variable of the message as `metadata`. Beside it stands the detail
//! that fits: `BadRequest`, `PreconditionFailure`, `QuotaFailure` or `ResourceInfo`.

use std::collections::HashMap;

use hosting::{CheckId, Refusal, RefusalKind};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, PreconditionViolation, StatusExt};

/// The `domain` of our `ErrorInfo`s.
pub const ERROR_DOMAIN: &str = "dmarcer";

/// What a caller learns of a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Stable code, for example `NOT_READY`.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// The message's variables.
    pub metadata: HashMap<String, String>,
}

/// A product rule said no.
pub fn refusal(refusal: &Refusal) -> Status {
    let code = match refusal.kind() {
        RefusalKind::Precondition => Code::FailedPrecondition,
        RefusalKind::Conflict => Code::Aborted,
        RefusalKind::Exists => Code::AlreadyExists,
        RefusalKind::Invalid => Code::InvalidArgument,
        RefusalKind::NotFound => Code::NotFound,
        RefusalKind::Exhausted => Code::ResourceExhausted,
        RefusalKind::Unavailable => Code::Unavailable,
    };
    let metadata = refusal.metadata().into_iter().map(|(name, value)| (name.to_owned(), value));
    let mut details = ErrorDetails::with_error_info(
        refusal.code(),
        ERROR_DOMAIN,
        metadata.collect::<HashMap<_, _>>(),
    );
    detail(&mut details, refusal);
    Status::with_error_details(code, refusal.to_string(), details)
}

/// The `google.rpc` detail that fits the kind of refusal, for clients that read those.
fn detail(details: &mut ErrorDetails, refusal: &Refusal) {
    let message = refusal.to_string();
    let subject = || {
        let about =
            refusal.metadata().into_iter().find(|(name, _)| ["domain", "region"].contains(name));
        about.unwrap_or_default()
    };
    match (refusal, refusal.kind()) {
        (Refusal::NotReady { blocking, unaccepted, .. }, _) => {
            let open = |check: &CheckId, what: &str| {
                PreconditionViolation::new("READINESS", check.to_string(), what)
            };
            let mut violations: Vec<_> =
                blocking.iter().map(|check| open(check, "has to be met")).collect();
            violations.extend(
                unaccepted.iter().map(|check| open(check, "has to be met, or accepted by name")),
            );
            details.set_precondition_failure(violations);
        }
        (Refusal::MaxAgeOutOfRange { .. }, _) => {
            details.add_bad_request_violation("max_age_seconds", message);
        }
        (Refusal::UnknownCheck(_), _) => {
            details.add_bad_request_violation("accept", message);
        }
        (_, RefusalKind::Precondition) => {
            details.add_precondition_failure_violation(refusal.code(), subject().1, message);
        }
        (_, RefusalKind::NotFound | RefusalKind::Exists) => {
            let (kind, name) = subject();
            details.set_resource_info(kind, name, "", message);
        }
        (_, RefusalKind::Exhausted) => {
            details.add_quota_failure_violation(refusal.code(), message);
        }
        (_, RefusalKind::Invalid | RefusalKind::Conflict | RefusalKind::Unavailable) => {}
    }
}

/// Something of ours broke. The caller is told no inner text: it may name paths, queries or
/// addresses. Whoever calls this has logged the fault.
pub fn internal() -> Status {
    let message = "something went wrong on our side; it has been logged, try again";
    with_reason(Code::Internal, "INTERNAL", message, HashMap::new())
}

/// A service that is needed does not answer.
pub fn unavailable(service: &str, why: &str) -> Status {
    let message = format!("{service} isn't answering ({why}); nothing was changed, try again");
    let metadata = HashMap::from([("service".to_owned(), service.to_owned())]);
    with_reason(Code::Unavailable, "UNAVAILABLE", &message, metadata)
}

/// A field of the request is wrong.
pub fn invalid(field: &str, why: &str) -> Status {
    let metadata = HashMap::from([("field".to_owned(), field.to_owned())]);
    let mut details = ErrorDetails::with_error_info("INVALID_ARGUMENT", ERROR_DOMAIN, metadata);
    details.add_bad_request_violation(field, why);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {why}"), details)
}

/// A status with the one `ErrorInfo` that scripts read.
pub fn with_reason(
    code: Code,
    reason: &str,
    message: &str,
    metadata: HashMap<String, String>,
) -> Status {
    let details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

/// What a status says; its code's name where it carries no reason.
pub fn told(status: &Status) -> Told {
    match status.get_details_error_info() {
        Some(info) => Told {
            reason: info.reason,
            message: status.message().to_owned(),
            metadata: info.metadata,
        },
        None => Told {
            reason: code_name(status.code()).to_owned(),
            message: status.message().to_owned(),
            metadata: HashMap::new(),
        },
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::Unknown => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_the_detail_that_clients_look_for() {
        let domain: hosting::Domain = hosting::Domain::parse("example.com").unwrap();
        let not_ready = Refusal::NotReady {
            domain: domain.clone(),
            blocking: vec![CheckId::MxCovered],
            unaccepted: vec![CheckId::Fetched],
        };
        let open = refusal(&not_ready).get_details_precondition_failure().unwrap().violations;
        let subjects: Vec<&str> = open.iter().map(|check| check.subject.as_str()).collect();
        assert_eq!(subjects, ["mx_covered", "fetched"]);

        let missing = refusal(&Refusal::DomainNotFound { domain });
        let about = missing.get_details_resource_info().unwrap();
        assert_eq!(
            (about.resource_type.as_str(), about.resource_name.as_str()),
            ("domain", "example.com")
        );

        let next_at = "2026-11-30T00:00:00Z".parse().unwrap();
        let used_up = refusal(&Refusal::ReissueLimit { next_at });
        assert_eq!(used_up.get_details_quota_failure().unwrap().violations.len(), 1);
        assert_eq!(told(&used_up).reason, "REISSUE_LIMIT");

        let wrong = invalid("page_size", "it can't be negative").get_details_bad_request().unwrap();
        assert_eq!(wrong.field_violations[0].field, "page_size");
    }
}
