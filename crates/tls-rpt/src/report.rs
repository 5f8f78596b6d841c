//! A report: what one sender counted in one span of time.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::limits::{MAX_COUNT, MAX_JSON_LEVELS, MAX_POLICIES};
use crate::oddity::{Oddities, Oddity};
use crate::range::DateRange;
use crate::result_type::{ResultType, alike};

mod leaf;
mod mend;
mod name;
mod object;
pub(crate) mod read;
mod value;

/// A TLS report ([RFC 8460 section 4.4](https://www.rfc-editor.org/rfc/rfc8460#section-4.4)).
///
/// All texts are as the sender wrote them, but without control characters, not empty, and at most
/// [`MAX_TEXT_BYTES`](crate::limits::MAX_TEXT_BYTES) long. They are still a stranger's: whoever shows
/// them in a page or writes them to a table escapes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Who reports, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_name: Option<String>,
    /// When the sessions were.
    pub date_range: DateRange,
    /// Whom to ask about the report, mostly a mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_info: Option<String>,
    /// The sender's name for this report; unique in no way that one could lean on. Empty if none.
    pub report_id: String,
    /// What was counted, by policy. One domain may be in several: see [`Report::sums`].
    pub policies: Vec<PolicyOutcome>,
}

/// What was counted under one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyOutcome {
    /// The policy that the sender applied.
    pub policy: Policy,
    /// How many sessions came off, and how many did not.
    #[serde(rename = "summary")]
    pub sessions: Sessions,
    /// Why some did not. Details overlap: they never add up to the sessions that failed.
    #[serde(rename = "failure-details", skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// A policy as the sender saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Which kind.
    #[serde(rename = "policy-type")]
    pub kind: PolicyType,
    /// Its text, for `sts` the lines of the policy file, for `tlsa` the records.
    #[serde(rename = "policy-string", skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// The domain it is for, in lower case without a dot at its end. With DANE that may be an MX host.
    #[serde(rename = "policy-domain", skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The patterns of the MX hosts it covers.
    #[serde(rename = "mx-host", skip_serializing_if = "Vec::is_empty")]
    pub mx_hosts: Vec<String>,
}

/// Numbers of sessions, each at most [`MAX_COUNT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Sessions {
    /// Over TLS, as the policy has it.
    #[serde(rename = "total-successful-session-count")]
    pub successful: u64,
    /// The others, whether mail was delivered all the same or not.
    #[serde(rename = "total-failure-session-count")]
    pub failed: u64,
}

/// One kind of failure, at one pair of hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// What happened.
    pub result_type: ResultType,
    /// The sender's address, which is a text: not all that is sent is an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sending_mta_ip: Option<String>,
    /// The MX host that it wanted to reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiving_mx_hostname: Option<String>,
    /// How that host called itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiving_mx_helo: Option<String>,
    /// The address of that host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiving_ip: Option<String>,
    /// How many sessions.
    #[serde(rename = "failed-session-count")]
    pub sessions: u64,
    /// Where to read more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_information: Option<String>,
    /// The sender's own word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason_code: Option<String>,
}

impl Report {
    /// Reads one report, in UTF-8.
    ///
    /// Takes what senders are known to write: lists as texts and texts as lists, missing and
    /// additional fields, keys in another case, counts as texts, dates without a zone.
    /// Of what cannot be read that way the whole report is refused, because a count that is
    /// silently left out is worse than none. What follows the report is left alone
    /// ([`Oddity::TrailingBytes`]).
    pub fn parse(json: &str) -> Result<ParsedReport, ReportError> {
        let (mut parsed, rest) = read::parse_first(json, &mut read::Room::default())?;
        if !rest.is_empty() {
            parsed.oddities.insert(Oddity::TrailingBytes);
        }
        Ok(parsed)
    }

    /// The report as [RFC 8460](https://www.rfc-editor.org/rfc/rfc8460#section-4.4) has it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("all keys are texts and nothing is written to")
    }

    /// The sessions of all policies: see [`Sums`].
    pub fn sums(&self) -> Sums {
        Sums::of(&self.policies)
    }

    /// The domain of the address in [`contact_info`](Report::contact_info), in lower case.
    pub fn contact_domain(&self) -> Option<String> {
        let (_, behind) = self.contact_info.as_deref()?.rsplit_once('@')?;
        let stop = |c: char| c.is_whitespace() || matches!(c, '>' | ',' | ';' | '?' | ')' | '"');
        let domain = behind.split(stop).next()?.trim_end_matches('.');
        (!domain.is_empty()).then(|| domain.to_ascii_lowercase())
    }
}

/// A report as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedReport {
    /// What it says.
    pub report: Report,
    /// What was unusual about it.
    pub oddities: Oddities,
    /// What was too much to be kept.
    pub left_out: LeftOut,
}

/// Failure details beyond [`MAX_DETAILS`](crate::limits::MAX_DETAILS), in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// How many details.
    pub details: u64,
    /// How many sessions they name together.
    pub sessions: u64,
}

/// Sessions by type of policy, at most [`MAX_COUNT`] in each number.
///
/// There is no sum over types: a sender that checks DANE and MTA-STS both counts the same session
/// under both. Within a type they add up: a sender that saw two versions of a policy on one day has
/// an entry for each. Failure details are in no sum, since they overlap
/// ([RFC 8460 section 4.4](https://www.rfc-editor.org/rfc/rfc8460#section-4.4)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Under an MTA-STS policy.
    pub sts: Sessions,
    /// Under DANE.
    pub tlsa: Sessions,
    /// Where the sender found no policy.
    pub no_policy_found: Sessions,
    /// Under types that we do not know.
    pub other: Sessions,
}

impl Sums {
    /// The sums of some policies, for example of those that are about one domain.
    pub fn of<'a>(policies: impl IntoIterator<Item = &'a PolicyOutcome>) -> Sums {
        let mut sums = Sums::default();
        for outcome in policies {
            let sum = match outcome.policy.kind {
                PolicyType::Sts => &mut sums.sts,
                PolicyType::Tlsa => &mut sums.tlsa,
                PolicyType::NoPolicyFound => &mut sums.no_policy_found,
                PolicyType::Other(_) => &mut sums.other,
            };
            sum.add(outcome.sessions);
        }
        sums
    }
}

impl Sessions {
    /// Adds up, and stops at [`MAX_COUNT`].
    pub fn add(&mut self, more: Sessions) {
        self.successful = add_counts(self.successful, more.successful);
        self.failed = add_counts(self.failed, more.failed);
    }
}

impl PolicyOutcome {
    /// The sessions that the details name, by what happened, at most [`MAX_COUNT`] each. For
    /// showing which failure is frequent; no total.
    pub fn results(&self) -> BTreeMap<&ResultType, u64> {
        let mut results = BTreeMap::new();
        for failure in &self.failures {
            let sum = results.entry(&failure.result_type).or_insert(0);
            *sum = add_counts(*sum, failure.sessions);
        }
        results
    }
}

fn add_counts(a: u64, b: u64) -> u64 {
    a.saturating_add(b).min(MAX_COUNT)
}

/// The kind of a policy
/// ([RFC 8460 section 4.2](https://www.rfc-editor.org/rfc/rfc8460#section-4.2)), or another word.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyType {
    /// `sts`: MTA-STS.
    Sts,
    /// `tlsa`: DANE.
    Tlsa,
    /// `no-policy-found`: neither.
    NoPolicyFound,
    /// Anything else, as it was written; empty where nothing was.
    Other(String),
}

impl PolicyType {
    /// Reads what stands in a report; case and `_` for `-` do not matter.
    pub fn from_text(text: &str) -> PolicyType {
        let known = [PolicyType::Sts, PolicyType::Tlsa, PolicyType::NoPolicyFound];
        let known = known.into_iter().find(|known| alike(known.as_str(), text));
        known.unwrap_or_else(|| PolicyType::Other(text.to_owned()))
    }

    /// The word as it stands in a report.
    pub fn as_str(&self) -> &str {
        match self {
            PolicyType::Sts => "sts",
            PolicyType::Tlsa => "tlsa",
            PolicyType::NoPolicyFound => "no-policy-found",
            PolicyType::Other(text) => text,
        }
    }
}

impl fmt::Display for PolicyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for PolicyType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Why a text is no report that could be counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// No JSON at all, or wrong from some point on.
    #[error("this is no JSON, at line {line}, column {column}")]
    NotJson {
        /// From 1; of an error at the very beginning 1, too.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// JSON that ends in the middle.
    #[error("the JSON is cut short")]
    CutShort,
    /// JSON that no report is like.
    #[error("the JSON is nested deeper than {MAX_JSON_LEVELS} levels")]
    TooDeep,
    /// JSON without `policies`: some other document.
    #[error("the JSON has no policies, so it is no TLS report")]
    NotAReport,
    /// Without them nobody knows which day was counted.
    #[error("the report has no start-datetime or no end-datetime")]
    NoDates,
    /// A date that is none.
    #[error("{field} is no date: {found:?}")]
    BadDate {
        /// `start-datetime` or `end-datetime`.
        field: &'static str,
        /// What stands there, its beginning.
        found: String,
    },
    /// A number that counts nothing.
    #[error("{field} is no count, which is a whole number from 0: {found}")]
    BadCount {
        /// The field's name.
        field: &'static str,
        /// What stands there, its beginning.
        found: String,
    },
    /// More than anybody saw.
    #[error("the report has more than {MAX_POLICIES} policies")]
    TooManyPolicies,
}

#[cfg(test)]
mod tests;
