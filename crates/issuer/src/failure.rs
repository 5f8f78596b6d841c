//! What can go wrong between us and a CA, and what the owner of a domain is told of it.

use http::StatusCode;
use instant_acme::{Error, Problem};
use jiff::SignedDuration;

use crate::http::{BadRoots, Unanswered};

/// A CA's own words are repeated up to this length.
const MAX_DETAIL_CHARS: usize = 300;

/// After a 429 that names no time. The shortest of the windows that CAs count in.
const BUSY_PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// What became of the question that was on its way when the CA did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// It can't have got there.
    NotSent,
    /// The CA says that it did nothing.
    TurnedAway,
    /// The CA may have done what it was asked for.
    Lost,
}

/// Why there is no certificate yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The CA does not answer: nothing was turned down.
    Outage { why: String, question: Question, retry_after: Option<SignedDuration> },
    /// The CA turned the order down.
    Refused {
        why: String,
        /// It did not find our answer to its challenge.
        validation: bool,
        /// It has counted enough of us until then.
        retry_after: Option<SignedDuration>,
    },
    /// The CA is still at it.
    Unfinished,
    /// The CA does not know the order any more.
    OrderGone,
    /// The CA does not know our account any more.
    AccountGone,
    /// Something of ours broke; it has to be mended here.
    Ours(String),
}

impl Failure {
    /// A failure that has nothing to do with the challenge.
    pub(crate) fn refused(why: impl Into<String>) -> Failure {
        Failure::Refused { why: why.into(), validation: false, retry_after: None }
    }

    /// The CA looked for our answer at `host`, and this is what it says.
    pub(crate) fn of_validation(problem: &Problem, host: &str) -> Failure {
        let why = match kind(problem) {
            "unauthorized" => {
                let detail = detail(problem);
                format!("the CA found another answer than ours at {}: {detail}", place(host))
            }
            _ => sentence(problem, host),
        };
        Failure::Refused { why, validation: true, retry_after: None }
    }

    /// What an ACME client's error means for an order for `host`.
    pub(crate) fn of(error: Error, host: &str) -> Failure {
        match error {
            Error::Api(problem) => of_problem(&problem, host),
            Error::Other(inner) => match inner.downcast::<Unanswered>() {
                Ok(unanswered) => of_unanswered(&unanswered, host),
                Err(other) => lost(&other.to_string()),
            },
            other => lost(&other.to_string()),
        }
    }
}

impl From<BadRoots> for Failure {
    fn from(roots: BadRoots) -> Failure {
        Failure::Outage {
            why: format!("the CA can't be asked: {roots}"),
            question: Question::NotSent,
            retry_after: None,
        }
    }
}

fn lost(why: &str) -> Failure {
    Failure::Outage {
        why: format!("the CA's answer can't be understood: {}", clean(why)),
        question: Question::Lost,
        retry_after: None,
    }
}

fn of_unanswered(unanswered: &Unanswered, host: &str) -> Failure {
    let mut why = format!("the CA doesn't answer: {}", clean(&unanswered.to_string()));
    if let Unanswered::Unable { problem: Some(problem), .. } = unanswered {
        why = format!("{why}: {}", detail(problem));
    }
    let outage = |question, retry_after| Failure::Outage { why, question, retry_after };
    match unanswered {
        Unanswered::Unreached(_) => outage(Question::NotSent, None),
        Unanswered::Lost(_) => outage(Question::Lost, None),
        Unanswered::Unable { status, problem, retry_after, asked } => {
            let limited = *status == StatusCode::TOO_MANY_REQUESTS;
            let retry_after = retry_after.or(limited.then_some(BUSY_PAUSE));
            // Said by something between us and the CA, which may have done it.
            let between = [StatusCode::BAD_GATEWAY, StatusCode::GATEWAY_TIMEOUT].contains(status);
            match problem {
                // A limit on this name or on us (RFC 8555 section 6.6): others may have room.
                Some(problem) if limited && kind(problem) == "rateLimited" => Failure::Refused {
                    why: sentence(problem, host),
                    validation: false,
                    retry_after,
                },
                _ if !*asked => outage(Question::NotSent, retry_after),
                _ if between => outage(Question::Lost, retry_after),
                _ => outage(Question::TurnedAway, retry_after),
            }
        }
    }
}

fn of_problem(problem: &Problem, host: &str) -> Failure {
    match kind(problem) {
        "accountDoesNotExist" => Failure::AccountGone,
        _ if problem.status == Some(404) => Failure::OrderGone,
        // The order is another account's: one of an earlier life of ours.
        "unauthorized" if problem.status == Some(401) => Failure::OrderGone,
        // The client has tried three times by then; the CA has looked at nothing but the nonce.
        "badNonce" => Failure::Outage {
            why: "the CA didn't take our nonces".to_owned(),
            question: Question::NotSent,
            retry_after: None,
        },
        "serverInternal" => Failure::Outage {
            why: format!("the CA is broken at this moment: {}", detail(problem)),
            question: Question::TurnedAway,
            retry_after: None,
        },
        _ => Failure::refused(sentence(problem, host)),
    }
}

/// A CA's problem (RFC 8555 section 6.7) in a sentence that an owner can act on.
fn sentence(problem: &Problem, host: &str) -> String {
    let detail = detail(problem);
    let at = place(host);
    match kind(problem) {
        "connection" => format!("the CA could not reach {at}: {detail}"),
        "dns" => format!("the CA could not look up {host} in DNS: {detail}"),
        "caa" => format!("the CAA records of {host} don't allow this CA: {detail}"),
        "tls" => format!("the CA was redirected from {at} to a TLS error: {detail}"),
        "rejectedIdentifier" => format!("the CA issues nothing for {host}: {detail}"),
        "rateLimited" => format!("the CA takes no more orders for {host} now: {detail}"),
        "externalAccountRequired" => {
            format!("the CA wants an external account: set issuer.eab: {detail}")
        }
        "" => format!("the CA refused: {detail}"),
        other => format!("the CA refused ({}): {detail}", clean(other)),
    }
}

/// Where a CA looks for our answer.
fn place(host: &str) -> String {
    format!("http://{host}/.well-known/acme-challenge/…")
}

/// The last part of the problem's type: `connection` of `urn:ietf:params:acme:error:connection`.
fn kind(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind)
}

/// In the CA's words, those on the name itself where there are some.
fn detail(problem: &Problem) -> String {
    let on_name = problem.subproblems.iter().find_map(|sub| sub.detail.as_deref());
    let detail = on_name.or(problem.detail.as_deref());
    detail.map_or_else(|| "it gives no reason".to_owned(), clean)
}

fn clean(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let short: String = visible.take(MAX_DETAIL_CHARS).collect();
    short.trim_end_matches(['.', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "mta-sts.example.com";

    fn problem(kind: &str, status: u16) -> Problem {
        let json = format!(
            r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"It\nis so.","status":{status}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_problem_is_told_in_a_sentence_that_names_the_place() {
        fn check(kind: &str, expected: &str) {
            let Failure::Refused { why, validation, .. } =
                Failure::of(Error::Api(problem(kind, 400)), HOST)
            else {
                panic!("{kind} is a refusal");
            };
            assert_eq!(why, expected);
            assert!(!validation);
        }
        let at = "http://mta-sts.example.com/.well-known/acme-challenge/…";
        check("connection", &format!("the CA could not reach {at}: It is so"));
        check("unauthorized", "the CA refused (unauthorized): It is so");
        check("dns", "the CA could not look up mta-sts.example.com in DNS: It is so");
        check("caa", "the CAA records of mta-sts.example.com don't allow this CA: It is so");
        check("newlyInvented", "the CA refused (newlyInvented): It is so");
    }

    #[test]
    fn another_answer_than_ours_is_only_told_of_a_validation() {
        let failure = Failure::of_validation(&problem("unauthorized", 403), HOST);
        let at = "http://mta-sts.example.com/.well-known/acme-challenge/…";
        let why = format!("the CA found another answer than ours at {at}: It is so");
        assert_eq!(failure, Failure::Refused { why, validation: true, retry_after: None });
    }

    #[test]
    fn what_the_ca_lost_is_not_its_refusal() {
        fn check(kind: &str, status: u16, expected: &Failure) {
            assert_eq!(&Failure::of(Error::Api(problem(kind, status)), HOST), expected);
        }
        check("accountDoesNotExist", 400, &Failure::AccountGone);
        check("malformed", 404, &Failure::OrderGone);
        let broken = Failure::of(Error::Api(problem("serverInternal", 500)), HOST);
        assert!(matches!(broken, Failure::Outage { question: Question::TurnedAway, .. }));
    }

    #[test]
    fn what_became_of_a_question_is_known_as_far_as_it_can_be() {
        fn check(unanswered: Unanswered, expected: Question) {
            let told = unanswered.to_string();
            match Failure::of(Error::Other(Box::new(unanswered)), HOST) {
                Failure::Outage { question, .. } => assert_eq!(question, expected, "{told}"),
                other => panic!("{told}: {other:?}"),
            }
        }
        let unable = |status: u16, asked| Unanswered::Unable {
            status: StatusCode::from_u16(status).unwrap(),
            problem: None,
            retry_after: None,
            asked,
        };
        check(Unanswered::Unreached("connection refused".into()), Question::NotSent);
        check(Unanswered::Lost("connection reset".into()), Question::Lost);
        check(unable(503, false), Question::NotSent);
        check(unable(429, false), Question::NotSent);
        check(unable(503, true), Question::TurnedAway);
        check(unable(429, true), Question::TurnedAway);
        check(unable(502, true), Question::Lost);
    }

    fn limited(kind: &str, retry_after: Option<i64>) -> Failure {
        let busy = Unanswered::Unable {
            status: StatusCode::TOO_MANY_REQUESTS,
            problem: Some(problem(kind, 429)),
            retry_after: retry_after.map(SignedDuration::from_secs),
            asked: true,
        };
        Failure::of(Error::Other(Box::new(busy)), HOST)
    }

    #[test]
    fn a_rate_limit_refuses_the_order_until_the_ca_takes_the_next() {
        for (after, expected) in [(Some(7200), SignedDuration::from_secs(7200)), (None, BUSY_PAUSE)]
        {
            let expected = Failure::Refused {
                why: "the CA takes no more orders for mta-sts.example.com now: It is so".into(),
                validation: false,
                retry_after: Some(expected),
            };
            assert_eq!(limited("rateLimited", after), expected);
        }
    }

    #[test]
    fn a_busy_ca_without_a_time_is_left_alone_for_an_hour() {
        let Failure::Outage { retry_after, .. } = limited("serverInternal", None) else {
            panic!("it refuses no name");
        };
        assert_eq!(retry_after, Some(BUSY_PAUSE));
    }
}
