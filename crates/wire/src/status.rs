//! Refusals and faults as gRPC statuses, and back into sentences for people.
//!
//! Every status carries one `google.rpc.ErrorInfo`: a stable `reason` for scripts, the service that
//! said it as `domain`, and every variable of the message as `metadata`.

use std::collections::HashMap;

use hosting::{Refusal, RefusalKind};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

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
    with_reason(code, refusal.code(), &refusal.to_string(), metadata.collect())
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
    with_reason(Code::InvalidArgument, "INVALID_ARGUMENT", &format!("{field}: {why}"), metadata)
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
