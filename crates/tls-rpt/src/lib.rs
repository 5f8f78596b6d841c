//! SMTP TLS Reporting as [RFC 8460](https://www.rfc-editor.org/rfc/rfc8460) writes it down, and as
//! senders really do it: the TXT record that asks for reports, the report, and how to get a report
//! out of the mail that brings it.
//!
//! Those who send mail to a domain count how often TLS worked and why it did not, and mail the
//! counts to the addresses that the domain names in a TXT record.
//! Nobody checks a reporter's work, anybody can mail us something, and so most of this crate is
//! about reading what is nearly right, and about giving up early on what is hostile.
//!
//! **In:** TXT values; bytes of a mail, of an HTTPS POST or of a file.
//!
//! **Out:** typed values, with what was odd about the text they come from; typed reasons where
//! there is nothing to be had from it. Never a panic, and never more work than [`limits`] allows.
//!
//! **Absent on purpose:** no mailbox, no DNS, no clock, no hash function.
//! Above all no trust: whether a mail carries a valid signature of the one who reports, and whether
//! a report is about a domain of ours, is decided by those who can look it up
//! ([RFC 8460 section 3](https://www.rfc-editor.org/rfc/rfc8460#section-3)).
//!
//! # Reading order
//!
//! | file | holds |
//! | --- | --- |
//! | `limits.rs` | every bound, and why it is what it is |
//! | `target.rs` | [`Target`]: where reports go |
//! | `record.rs` | [`Record`]: finding it, what is wrong with it; `record/merge.rs`: ours beside theirs |
//! | `report.rs` | [`Report`]: what was counted, and the sums that may be drawn from it |
//! | `result_type.rs` | [`ResultType`]: why a session failed, what it means and what to do |
//! | `range.rs` | [`DateRange`], and when not to believe it |
//! | `report/read.rs` | JSON as senders write it, into a [`Report`] |
//! | `oddity.rs` | [`Oddity`]: what was unusual, though it could be read |
//! | `extract.rs` | from a mail or a bare body to the reports in it |
//! | `extract/mime.rs`, `extract/unpack.rs` | the parts of a mail; gzip and text encodings |
//! | `identity.rs` | what makes two reports the same |
//!
//! # Example
//!
//! ```
//! let mail = b"TLS-Report-Domain: example.com\r\n\
//!     Content-Type: application/tlsrpt+json\r\n\
//!     \r\n\
//!     {\"date-range\": {\"start-datetime\": \"2026-02-03T00:00:00Z\",\
//!                       \"end-datetime\": \"2026-02-03T23:59:59Z\"},\
//!      \"report-id\": \"1\", \"policies\": [{\
//!        \"policy\": {\"policy-type\": \"sts\", \"policy-domain\": \"example.com\"},\
//!        \"summary\": {\"total-successful-session-count\": 5, \"total-failure-session-count\": 1}}]}";
//!
//! let extracted = tls_rpt::from_mail(mail);
//! let sums = extracted.reports[0].report.sums();
//! assert_eq!((sums.sts.successful, sums.sts.failed), (5, 1));
//! ```

mod extract;
mod identity;
pub mod limits;
mod oddity;
mod range;
mod record;
mod report;
mod result_type;
mod target;
mod text;

pub use extract::{Extracted, Found, Problem, Reason, Stated, from_any, from_body, from_mail};
pub use identity::Identity;
pub use oddity::{Oddities, Oddity};
pub use range::{DateRange, Doubt};
pub use record::{FindError, MergeError, Merged, ParsedRecord, Record, RecordError, Warning};
pub use report::{
    Failure, LeftOut, ParsedReport, Policy, PolicyOutcome, PolicyType, Report, ReportError,
    Sessions, Sums,
};
pub use result_type::ResultType;
pub use target::{InvalidTarget, Target};

/// The name whose TXT record asks for reports about `domain`: `_smtp._tls.example.com` for
/// `example.com` ([RFC 8460 section 3](https://www.rfc-editor.org/rfc/rfc8460#section-3)).
pub fn record_name(domain: &str) -> String {
    format!("_smtp._tls.{domain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_stands_two_labels_under_the_domain() {
        assert_eq!(record_name("example.com"), "_smtp._tls.example.com");
    }
}
