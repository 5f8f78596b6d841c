//! The names of the readiness checks.

use std::fmt;
use std::str::FromStr;

use crate::text::{echo, list};

/// One readiness check. The order is that in which people read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckId {
    /// Hosting is active and not stopping.
    HostingActive,
    /// The domain has been shown to be this workspace's.
    ClaimProven,
    /// The policy names real MX hosts.
    MxNotPlaceholder,
    /// Every live MX is covered by an mx line.
    MxCovered,
    /// Senders reach the edges by the policy host.
    CnameLive,
    /// Senders find the policy's id.
    TxtLive,
    /// Every live edge has a certificate that is valid for a while.
    CertificateValid,
    /// Every live edge serves this version.
    EdgesCurrent,
    /// Senders have fetched the policy lately.
    Fetched,
    /// Reports come in.
    ReportsRecent,
    /// They tell of no failure.
    ReportsClean,
    /// Every MX host offers valid TLS.
    MxTls,
    /// Testing has taken long enough to see the usual senders.
    TestingLongEnough,
    /// Reports have been asked for.
    TlsrptLive,
}

impl CheckId {
    /// Every check there is.
    pub const ALL: [CheckId; 14] = [
        CheckId::HostingActive,
        CheckId::ClaimProven,
        CheckId::MxNotPlaceholder,
        CheckId::MxCovered,
        CheckId::CnameLive,
        CheckId::TxtLive,
        CheckId::CertificateValid,
        CheckId::EdgesCurrent,
        CheckId::Fetched,
        CheckId::ReportsRecent,
        CheckId::ReportsClean,
        CheckId::MxTls,
        CheckId::TestingLongEnough,
        CheckId::TlsrptLive,
    ];

    /// Whether it must be met to enforce. The others can be accepted, each by name.
    ///
    /// Blocking is what would let mail be refused by mistake, or senders not come back from it:
    /// a host left out, or a policy that they can no longer find or fetch.
    pub fn is_blocking(self) -> bool {
        match self {
            CheckId::HostingActive
            | CheckId::ClaimProven
            | CheckId::MxNotPlaceholder
            | CheckId::MxCovered
            | CheckId::CnameLive
            | CheckId::TxtLive
            | CheckId::CertificateValid
            | CheckId::EdgesCurrent => true,
            CheckId::Fetched
            | CheckId::ReportsRecent
            | CheckId::ReportsClean
            | CheckId::MxTls
            | CheckId::TestingLongEnough
            | CheckId::TlsrptLive => false,
        }
    }

    /// The stable name, `mx_tls`.
    pub fn as_str(self) -> &'static str {
        match self {
            CheckId::HostingActive => "hosting_active",
            CheckId::ClaimProven => "claim_proven",
            CheckId::MxNotPlaceholder => "mx_not_placeholder",
            CheckId::MxCovered => "mx_covered",
            CheckId::CnameLive => "cname_live",
            CheckId::TxtLive => "txt_live",
            CheckId::CertificateValid => "certificate_valid",
            CheckId::EdgesCurrent => "edges_current",
            CheckId::Fetched => "fetched",
            CheckId::ReportsRecent => "reports_recent",
            CheckId::ReportsClean => "reports_clean",
            CheckId::MxTls => "mx_tls",
            CheckId::TestingLongEnough => "testing_long_enough",
            CheckId::TlsrptLive => "tlsrpt_live",
        }
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for CheckId {
    type Err = UnknownCheck;

    /// Takes hyphens and upper case too, as people type them on a command line.
    fn from_str(text: &str) -> Result<CheckId, UnknownCheck> {
        let name = text.trim().to_ascii_lowercase().replace('-', "_");
        let known = CheckId::ALL.into_iter().find(|check| check.as_str() == name);
        known.ok_or_else(|| UnknownCheck { input: echo(text), nearest: nearest(&name) })
    }
}

/// A common beginning so long tells what was meant.
const ALIKE_BYTES: usize = 4;

/// A text that names no check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no readiness check \"{input}\": {}", self.advice())]
pub struct UnknownCheck {
    /// The text: cut, and with control characters escaped.
    pub input: String,
    /// The check that was probably meant.
    pub nearest: Option<CheckId>,
}

impl UnknownCheck {
    /// The checks that can be accepted.
    pub fn known(&self) -> String {
        list(CheckId::ALL.into_iter().filter(|check| !check.is_blocking()))
    }

    fn advice(&self) -> String {
        match self.nearest {
            Some(check) => format!("did you mean {check}"),
            None => format!("use one of {}", self.known()),
        }
    }
}

/// The check that shares most words with `name`, then the longest beginning: `mx-tsl`, `testing`.
fn nearest(name: &str) -> Option<CheckId> {
    let words: Vec<&str> = name.split('_').filter(|word| word.len() > 1).take(8).collect();
    let likeness = |check: &CheckId| {
        let own = check.as_str();
        let shared = words.iter().filter(|word| own.split('_').any(|w| w == **word)).count();
        let beginning = own.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        (shared, beginning)
    };
    let nearest = CheckId::ALL.into_iter().max_by_key(likeness);
    nearest.filter(|check| likeness(check) >= (0, ALIKE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_known_by_its_name_in_either_spelling() {
        for check in CheckId::ALL {
            assert_eq!(check.as_str().parse(), Ok(check));
            assert_eq!(check.as_str().replace('_', "-").parse(), Ok(check));
            assert_eq!(check.as_str().to_uppercase().parse(), Ok(check));
        }
    }

    #[test]
    fn an_unknown_check_is_answered_with_the_nearest_or_with_all() {
        fn check(text: &str, expected: &str) {
            let error = text.parse::<CheckId>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        check("reports-clear", "did you mean reports_clean");
        check("report_clean", "did you mean reports_clean");
        check("testing", "did you mean testing_long_enough");
        check("mx-tsl", "did you mean mx_tls");
        check("certificate", "did you mean certificate_valid");
        check("fetch", "did you mean fetched");
        check("all", "use one of fetched, reports_recent, reports_clean, mx_tls,");
        check("", "use one of fetched");
    }
}
