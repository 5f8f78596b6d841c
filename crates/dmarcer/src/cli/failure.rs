//! Why a command failed, for people and for scripts.

mod hints;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write as _};
use std::iter;
use std::process::ExitCode;

use serde_json::json;
use service::access::REQUEST_ID;
use service::supervise::chain;
use tonic::{Code, Status};
use wire::status::told;

use crate::cli::Format;
pub(crate) use crate::cli::failure::hints::EXPORT_TOKEN;
use crate::cli::failure::hints::{LOGIN, next_commands};
use crate::cli::settings::TokenFrom;
use crate::cli::table::printable;

/// Refused or failed.
const FAILED: u8 = 1;
/// The command line is not understood.
const USAGE: u8 = 2;
/// `--wait` ran out.
const RAN_OUT: u8 = 3;
/// As a shell reports a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// What tonic says when a call took longer than it may; anything else that is cancelled is a
/// connection that ended.
const TIMED_OUT: &str = "Timeout expired";
/// What tonic says of answers that are none of gRPC, as a web server gives in HTTP/1 or HTTP/2.
const NOT_GRPC: [&str; 2] = ["h2 protocol error", "mapped from HTTP status code"];

/// Why a command ends with anything but 0.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something to say.
    Said(Box<Said>),
    /// Whoever read the output has gone: nothing is left to be said.
    ClosedPipe,
}

/// What is said of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    exit: u8,
    /// Stable, for scripts.
    pub(crate) reason: String,
    /// One sentence.
    pub(crate) message: String,
    /// The message's variables.
    pub(crate) metadata: BTreeMap<String, String>,
    /// More of the same, a line each.
    more: Vec<String>,
    /// What to do next, one command or sentence each.
    pub(crate) hints: Vec<String>,
    /// The same call may succeed later.
    pub(crate) transient: bool,
}

impl Failure {
    /// A failure that is found here.
    pub(crate) fn new(reason: &str, message: impl Into<String>) -> Failure {
        Failure::Said(Box::new(Said {
            exit: FAILED,
            reason: reason.to_owned(),
            message: message.into(),
            metadata: BTreeMap::new(),
            more: Vec::new(),
            hints: Vec::new(),
            transient: false,
        }))
    }

    /// The same as if the server had said it, with the commands that help.
    pub(crate) fn refused(reason: &str, message: String) -> Failure {
        let hints = next_commands(reason, &BTreeMap::new());
        hints.into_iter().fold(Failure::new(reason, message), Failure::hint)
    }

    /// Several failures of one kind, a line each.
    pub(crate) fn several(reason: &str, messages: Vec<String>) -> Failure {
        let mut messages = messages.into_iter();
        let mut failure = Failure::new(reason, messages.next().unwrap_or_default());
        if let Failure::Said(said) = &mut failure {
            said.more = messages.collect();
        }
        failure
    }

    /// A fault with its sources.
    pub(crate) fn fault(error: &(dyn Error + 'static)) -> Failure {
        Failure::new("FAILED", chain(error))
    }

    /// The command line is not understood.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new("USAGE", message).ending_with(USAGE)
    }

    /// `--wait` ran out; the change goes on.
    pub(crate) fn ran_out(message: impl Into<String>) -> Failure {
        Failure::new("WAIT_RAN_OUT", message).ending_with(RAN_OUT)
    }

    /// Somebody pressed Ctrl-C while waiting.
    pub(crate) fn interrupted(message: impl Into<String>) -> Failure {
        Failure::new("INTERRUPTED", message).ending_with(INTERRUPTED)
    }

    /// Nobody said who calls.
    pub(crate) fn token_required() -> Failure {
        let message = "this needs a token: pass --token, set DMARCER_TOKEN, or sign in";
        Failure::new("TOKEN_REQUIRED", message).hint(LOGIN).hint(EXPORT_TOKEN)
    }

    /// What a server answered instead.
    pub(crate) fn answered(server: &str, status: &Status) -> Failure {
        let said_by_us = tonic_types::StatusExt::get_details_error_info(status).is_some();
        let told = told(status);
        let message = match (said_by_us, status.code()) {
            (true, _) => told.message,
            _ if NOT_GRPC.iter().any(|text| status.message().contains(text)) => not_ours(server),
            (false, Code::Unavailable | Code::Unknown) if status.source().is_some() => {
                format!("can't reach {server}: is `dmarcer up` running? pass --server")
            }
            (false, Code::Unimplemented) => {
                format!("the service for this isn't running at {server} yet: try again")
            }
            (false, Code::DeadlineExceeded) => ran_late(server),
            (false, Code::Cancelled) if status.message() == TIMED_OUT => ran_late(server),
            (false, Code::Cancelled) => not_ours(server),
            (false, _) => format!("{server} failed: {}", told.message),
        };
        let message = match (status.code(), reference(status)) {
            (Code::Internal, Some(reference)) => format!("{message} (reference {reference})"),
            _ => message,
        };
        let transient = matches!(
            status.code(),
            Code::Unavailable | Code::Unimplemented | Code::DeadlineExceeded | Code::Cancelled
        );
        let mut failure = Failure::new(&told.reason, message);
        if let Failure::Said(said) = &mut failure {
            said.metadata = told.metadata.into_iter().collect();
            said.transient = transient;
            if let (Code::Internal, Some(reference)) = (status.code(), reference(status)) {
                said.metadata.insert("reference".to_owned(), reference.to_owned());
            }
            said.hints = next_commands(&said.reason, &said.metadata);
        }
        failure
    }

    /// Says what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        if let Failure::Said(said) = &mut self {
            said.hints.push(hint.into());
        }
        self
    }

    /// Says that nobody knows whether a change was made, and how to ask for it again without harm.
    pub(crate) fn may_have_changed(self, key: &str) -> Failure {
        self.with("idempotency_key", key).hint(format!(
            "the change may have been made: the same command with --idempotency-key {key} makes it once"
        ))
    }

    /// Says whose token it was that was refused, where it was refused.
    pub(crate) fn with_token_from(mut self, from: &TokenFrom) -> Failure {
        match &mut self {
            Failure::Said(said) if said.reason == "TOKEN_INVALID" => {
                said.message = format!("{from}: {}", said.message);
                said.hints.clear();
                self.hints_for_token(from)
            }
            _ => self,
        }
    }

    /// Says how to come by a token that is good.
    pub(crate) fn hints_for_token(self, from: &TokenFrom) -> Failure {
        match from {
            TokenFrom::Context(name) => self.hint(format!("dmarcer login --context {name}")),
            TokenFrom::Flag | TokenFrom::Environment => self.hint(LOGIN).hint(EXPORT_TOKEN),
        }
    }

    /// Adds a variable of the message.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Failure {
        if let Failure::Said(said) = &mut self {
            said.metadata.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Says which domain it is about, where that is not said yet.
    pub(crate) fn about(mut self, domain: &str) -> Failure {
        if let Failure::Said(said) = &mut self {
            said.metadata.entry("domain".to_owned()).or_insert_with(|| domain.to_owned());
        }
        self
    }

    /// A variable of the message.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        match self {
            Failure::Said(said) => said.metadata.get(name).map(String::as_str),
            Failure::ClosedPipe => None,
        }
    }

    /// The stable reason; empty where nothing is said.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Failure::Said(said) => &said.reason,
            Failure::ClosedPipe => "",
        }
    }

    /// The sentence; empty where nothing is said.
    pub(crate) fn message(&self) -> &str {
        match self {
            Failure::Said(said) => &said.message,
            Failure::ClosedPipe => "",
        }
    }

    /// Whether the same call may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Failure::Said(said) if said.transient)
    }

    /// Says it on standard error and gives the exit code.
    pub(crate) fn report(&self, format: Format) -> ExitCode {
        let Failure::Said(said) = self else {
            return ExitCode::SUCCESS;
        };
        // Nobody is left to tell where this fails.
        let _ = io::stderr().write_all(said.text(format).as_bytes());
        ExitCode::from(said.exit)
    }

    fn ending_with(mut self, exit: u8) -> Failure {
        if let Failure::Said(said) = &mut self {
            said.exit = exit;
        }
        self
    }
}

impl Said {
    fn text(&self, format: Format) -> String {
        match format {
            Format::Json => {
                let domain = self.metadata.get("domain").map_or("", String::as_str);
                let messages = iter::once(&self.message).chain(&self.more);
                let message = messages.map(String::as_str).collect::<Vec<_>>().join("; ");
                let value = json!({
                    "reason": self.reason,
                    "message": message,
                    "domain": domain,
                    "metadata": self.metadata,
                });
                format!("{value}\n")
            }
            Format::Table => {
                let line = |kind: &str, text: &String| format!("{kind}: {}\n", printable(text));
                let messages = iter::once(&self.message).chain(&self.more);
                let errors: String = messages.map(|text| line("error", text)).collect();
                let hints: String = self.hints.iter().map(|text| line("hint", text)).collect();
                errors + &hints
            }
        }
    }
}

fn ran_late(server: &str) -> String {
    format!("{server} didn't answer in time; look before you try again")
}

fn not_ours(server: &str) -> String {
    format!(
        "{server} ended the call without an answer: something else than `dmarcer up` may listen \
         there; pass --server, and look before you try again"
    )
}

/// The id by which the server's log and audit know the call.
fn reference(status: &Status) -> Option<&str> {
    status.metadata().get(REQUEST_ID)?.to_str().ok()
}

/// The process could not even begin.
pub(crate) fn cannot_start(error: &io::Error) -> ExitCode {
    Failure::fault(error).report(Format::Table)
}

/// A result can't be written: either nobody reads it any more, or it is a fault.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::fault(&error),
        }
    }
}

impl From<wire::json::JsonError> for Failure {
    fn from(error: wire::json::JsonError) -> Failure {
        Failure::fault(&error)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use wire::status::with_reason;

    use super::*;

    fn said(failure: Failure) -> Said {
        match failure {
            Failure::Said(said) => *said,
            Failure::ClosedPipe => panic!("nothing is said"),
        }
    }

    #[test]
    fn a_refusal_is_one_line_and_the_next_command() {
        let about = HashMap::from([("domain".to_owned(), "example.org".to_owned())]);
        let status = with_reason(Code::FailedPrecondition, "HOSTING_OFF", "hosting is off", about);
        let said = said(Failure::answered("http://x", &status));
        let text = said.text(Format::Table);
        let expected = "error: hosting is off\nhint: dmarcer hosting activate example.org\n";
        assert_eq!(text, expected);
        let json: serde_json::Value = serde_json::from_str(&said.text(Format::Json)).unwrap();
        assert_eq!(json["reason"], "HOSTING_OFF");
        assert_eq!(json["domain"], "example.org");
        assert_eq!(json["metadata"]["domain"], "example.org");
    }

    #[test]
    fn a_status_of_somebody_elses_server_is_not_taken_for_ours() {
        let said = said(Failure::answered("http://x", &Status::new(Code::Internal, "a\u{1b}b")));
        assert_eq!(said.reason, "INTERNAL");
        assert_eq!(said.text(Format::Table), "error: http://x failed: a\\u{1b}b\n");
    }

    #[test]
    fn what_broke_is_told_with_the_reference_that_the_log_has() {
        let mut status = wire::status::internal();
        status.metadata_mut().insert(REQUEST_ID, "r3f".parse().unwrap());
        let said = said(Failure::answered("http://x", &status));
        assert!(said.message.ends_with("(reference r3f)"), "{}", said.message);
        assert_eq!(said.metadata["reference"], "r3f");
        let mut refused = with_reason(Code::NotFound, "NO", "no", HashMap::new());
        refused.metadata_mut().insert(REQUEST_ID, "r3f".parse().unwrap());
        assert_eq!(Failure::answered("http://x", &refused).message(), "no");
    }

    #[test]
    fn a_refused_token_is_told_by_where_it_came_from() {
        let status = || with_reason(Code::Unauthenticated, "TOKEN_INVALID", "no", HashMap::new());
        for (from, message, hint) in [
            (TokenFrom::Environment, "DMARCER_TOKEN: no", "dmarcer login"),
            (TokenFrom::Context("a".into()), "context a: no", "dmarcer login --context a"),
        ] {
            let failure = Failure::answered("http://x", &status()).with_token_from(&from);
            let said = said(failure);
            assert_eq!((said.message.as_str(), said.hints[0].as_str()), (message, hint));
        }
        let other = with_reason(Code::NotFound, "NO", "no", HashMap::new());
        let other = Failure::answered("http://x", &other).with_token_from(&TokenFrom::Flag);
        assert_eq!(other.message(), "no");
    }

    #[test]
    fn who_gets_one_more_domain_keeps_the_others() {
        let about = |text: &str| {
            let pairs = text.split_terminator(';').map(|pair| pair.split_once('=').unwrap());
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect::<HashMap<_, _>>()
        };
        for (reason, metadata, hint) in [
            (
                "DOMAIN_NOT_YOURS",
                "domain=c.example;domains=a.example, b.example",
                "domain-manager --domain a.example --domain b.example --domain c.example",
            ),
            ("ROLE_REQUIRED", "role=read-only;needed=platform-admin", "platform-admin"),
        ] {
            let status = with_reason(Code::PermissionDenied, reason, "no", about(metadata));
            let said = said(Failure::answered("http://x", &status));
            assert!(said.hints[1].ends_with(&format!("--role {hint}")), "{:?}", said.hints);
        }
    }
}
