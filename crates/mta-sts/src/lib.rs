//! MTA-STS as [RFC 8461](https://www.rfc-editor.org/rfc/rfc8461) writes it down: the policy file,
//! the TXT record that announces it, and which MX hosts a policy covers.
//!
//! A domain owner says in a small file which mail servers are theirs and that mail goes to these
//! over verified TLS or not at all.
//! Senders learn from a TXT record that there is such a file, and from its `id` when to fetch anew.
//!
//! **In:** what people, DNS and web servers hand us: names, TXT values, policy bodies.
//! Every type here is built from such text once, and trusted afterwards.
//!
//! **Out:** the same as typed values, the bytes to publish, and errors that say where the text is
//! wrong and what to write instead.
//!
//! **Absent on purpose:** no resolver, no HTTP client, no clock and no source of randomness, so
//! that each result depends on the arguments and nothing else.
//! The product's own rules (when to promote, what to advise) are not here either: this crate knows
//! what is valid, not what is wise.
//! The one piece of advice is [`too_wide`], because the RFC gives it.
//!
//! What we write is narrower than what we read: [`Policy::render`] keeps to what the senders we
//! know accept, [`Policy::parse`] takes what the RFC obliges a sender to take.
//!
//! # Reading order
//!
//! | file | holds |
//! | --- | --- |
//! | `mode.rs` | [`Mode`]: enforce, testing, none |
//! | `name.rs` | what the names of hosts and fields look like |
//! | `mx.rs` | [`MxPattern`], and how it matches a host |
//! | `id.rs` | [`PolicyId`]: what a sender compares to see a change |
//! | `policy.rs` | [`Policy`] and how it is rendered |
//! | `parse.rs` | a policy file as a sender reads it |
//! | `record.rs` | [`Record`], and finding it among the TXT values of a name |
//!
//! # Example
//!
//! ```
//! use mta_sts::{Mode, Policy};
//!
//! let policy = Policy::new(Mode::Testing, vec!["*.example.com".parse()?], 86_400)?;
//! assert!(policy.covers("mail.example.com"));
//! assert_eq!(
//!     policy.render(),
//!     b"version: STSv1\r\nmode: testing\r\nmx: *.example.com\r\nmax_age: 86400\r\n",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod id;
mod mode;
mod mx;
mod name;
mod parse;
mod policy;
mod record;

pub use id::{InvalidPolicyId, PolicyId};
pub use mode::{InvalidMode, Mode};
pub use mx::{InvalidMxPattern, MxPattern, too_wide};
pub use name::InvalidName;
pub use parse::{LineError, ParseError, Parsed, Warning};
pub use policy::{InvalidPolicy, MAX_AGE_SECONDS, MAX_BODY_BYTES, MAX_MX_PATTERNS, Policy};
pub use record::{FindError, Record, RecordError};

/// Where a policy is served on its [`policy_host`].
///
/// Exactly this path, over HTTPS only
/// ([RFC 8461 section 3.2](https://www.rfc-editor.org/rfc/rfc8461#section-3.2)).
pub const WELL_KNOWN_PATH: &str = "/.well-known/mta-sts.txt";

/// The host that serves the policy of `domain`: `mta-sts.example.com` for `example.com`.
///
/// A policy covers the one domain it is named for and no subdomain of it
/// ([RFC 8461 section 3.4](https://www.rfc-editor.org/rfc/rfc8461#section-3.4)).
pub fn policy_host(domain: &str) -> String {
    format!("mta-sts.{domain}")
}

/// The name whose TXT record announces the policy of `domain`: `_mta-sts.example.com` for
/// `example.com` ([RFC 8461 section 3.1](https://www.rfc-editor.org/rfc/rfc8461#section-3.1)).
pub fn record_name(domain: &str) -> String {
    format!("_mta-sts.{domain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_directly_under_the_domain() {
        assert_eq!(policy_host("example.com"), "mta-sts.example.com");
        assert_eq!(record_name("example.com"), "_mta-sts.example.com");
    }
}
