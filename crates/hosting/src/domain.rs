//! The one way in which a domain name enters the product.

mod problem;
mod script;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use psl::Type;

pub use problem::{DomainProblem, InvalidDomain};

use crate::text::echo;

/// A domain that can have an MTA-STS policy: lower-case A-labels, no trailing dot, `example.com`.
///
/// Equal names are equal texts, however they were typed, so it serves as a key everywhere.
/// It lies below a public suffix, is no address and no policy host, and is short enough for every
/// name that we hang under it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(String);

/// Longest domain taken, in bytes.
///
/// DNS ends at 253 ([RFC 1035 section 2.3.4](https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4));
/// `_smtp._tls.` is the longest of the names put before it.
pub const MAX_DOMAIN_BYTES: usize = 253 - TLS_RPT_PREFIX.len();

/// Longest text looked at, in bytes. A name of 253 in A-labels is shorter in any other spelling.
const MAX_INPUT_BYTES: usize = 2048;

const TLS_RPT_PREFIX: &str = "_smtp._tls.";
const PROOF_PREFIX: &str = "_dmarcer.";
const POLICY_HOST_PREFIX: &str = "mta-sts.";

impl Domain {
    /// Reads a domain as people type it, and gives it its one canonical spelling.
    ///
    /// Upper case, blanks around it, one trailing dot, Unicode and its full-width dots are taken
    /// ([UTS #46](https://www.unicode.org/reports/tr46/), non-transitional: `ß` stays `ß`).
    ///
    /// # Errors
    /// Says what to enter instead.
    pub fn parse(input: &str) -> Result<Domain, InvalidDomain> {
        canonical(input)
            .map(Domain)
            .map_err(|reason| InvalidDomain { input: echo(input.trim()), reason })
    }

    /// A name that [`parse`](Domain::parse) gave once, from where it was stored.
    ///
    /// The list of public suffixes changes; what was taken in stays what it is.
    ///
    /// # Errors
    /// When it can't have come from there.
    pub fn stored(name: &str) -> Result<Domain, InvalidDomain> {
        let label = |label: &str| {
            let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
            let bytes = label.as_bytes();
            let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
            bytes.len() <= 63
                && bytes.iter().all(plain)
                && ends(bytes.first())
                && ends(bytes.last())
        };
        if name.len() <= MAX_DOMAIN_BYTES && name.contains('.') && name.split('.').all(label) {
            return Ok(Domain(name.to_owned()));
        }
        let reason = canonical(name).err().unwrap_or(DomainProblem::Empty);
        Err(InvalidDomain { input: echo(name), reason })
    }

    /// The name in A-labels: `xn--mller-kva.example`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name for people to read: `müller.example`.
    ///
    /// Stays in A-labels if it would hold an invisible character.
    pub fn unicode(&self) -> String {
        let (name, valid) =
            Uts46::new().to_unicode(self.0.as_bytes(), AsciiDenyList::STD3, Hyphens::Check);
        match valid {
            Ok(()) if !name.contains(invisible) => name.into_owned(),
            _ => self.0.clone(),
        }
    }

    /// Where senders fetch the policy, `mta-sts.example.com`
    /// ([RFC 8461 section 3.2](https://www.rfc-editor.org/rfc/rfc8461#section-3.2)).
    pub fn policy_host(&self) -> String {
        mta_sts::policy_host(&self.0)
    }

    /// Where senders look for the policy's id, `_mta-sts.example.com`
    /// ([RFC 8461 section 3.1](https://www.rfc-editor.org/rfc/rfc8461#section-3.1)).
    pub fn record_name(&self) -> String {
        mta_sts::record_name(&self.0)
    }

    /// Where senders learn who takes reports, `_smtp._tls.example.com`
    /// ([RFC 8460 section 3](https://www.rfc-editor.org/rfc/rfc8460#section-3)).
    pub fn tls_rpt_name(&self) -> String {
        format!("{TLS_RPT_PREFIX}{}", self.0)
    }

    /// Where a claim's nonce may be shown as TXT, `_dmarcer.example.com`.
    pub fn proof_name(&self) -> String {
        format!("{PROOF_PREFIX}{}", self.0)
    }

    /// Whether a label mixes writing systems that are not written together, such as Latin with
    /// Cyrillic: reason for a warning, as it may be made to look like another name.
    ///
    /// A hint over the common scripts, not the whole of
    /// [UTS #39](https://www.unicode.org/reports/tr39/).
    pub fn looks_mixed_script(&self) -> bool {
        self.unicode().split('.').any(script::is_mixed)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Domain {
    type Err = InvalidDomain;

    fn from_str(input: &str) -> Result<Domain, InvalidDomain> {
        Domain::parse(input)
    }
}

fn canonical(input: &str) -> Result<String, DomainProblem> {
    if input.len() > MAX_INPUT_BYTES {
        return Err(DomainProblem::TooLong);
    }
    let input = input.trim_matches(|c: char| c.is_ascii_whitespace());
    refuse_other_things(input)?;
    let name = Uts46::new()
        .to_ascii(
            input.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::Check,
            DnsLength::VerifyAllowRootDot,
        )
        .map_err(|_| diagnose(input))?;
    let name = name.strip_suffix('.').unwrap_or(&name);
    refuse_addresses(name)?;
    refuse_suffixes(name)?;
    refuse_policy_hosts(name)?;
    if name.len() > MAX_DOMAIN_BYTES {
        return Err(DomainProblem::TooLong);
    }
    Ok(name.to_owned())
}

/// What people paste in place of a domain, recognised before the name is looked at as one.
fn refuse_other_things(input: &str) -> Result<(), DomainProblem> {
    if input.is_empty() {
        return Err(DomainProblem::Empty);
    }
    let address = input.trim_start_matches('[').trim_end_matches(']');
    if address.parse::<IpAddr>().is_ok() {
        return Err(DomainProblem::IpAddress);
    }
    if let Some(hidden) = input.chars().find(|c| invisible(*c) && !c.is_ascii_whitespace()) {
        return Err(DomainProblem::Invisible { code: hidden.into() });
    }
    // An address may stand in a URL and a port in both: the first that fits names the whole.
    for c in input.chars() {
        match c {
            '@' => return Err(DomainProblem::EmailAddress),
            '/' | '\\' | '?' | '#' => return Err(DomainProblem::Url),
            '*' => return Err(DomainProblem::Wildcard),
            _ => {}
        }
    }
    match input.matches(':').count() {
        0 => {}
        1 => return Err(DomainProblem::Port),
        _ => return Err(DomainProblem::IpAddress),
    }
    if input.contains(char::is_whitespace) {
        return Err(DomainProblem::Blank);
    }
    if input.contains(['_', '\u{ff3f}']) {
        return Err(DomainProblem::Underscore);
    }
    Ok(())
}

/// Also `127.1` and `0x7f.1`, which some software takes for an address: no name ends in a number.
fn refuse_addresses(name: &str) -> Result<(), DomainProblem> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let decimal = last.bytes().all(|b| b.is_ascii_digit());
    let hex = last.strip_prefix("0x").is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
    if decimal || hex { Err(DomainProblem::IpAddress) } else { Ok(()) }
}

/// The list calls every top-level domain that it does not know a suffix: `example.test` passes.
fn refuse_suffixes(name: &str) -> Result<(), DomainProblem> {
    if !name.contains('.') {
        return Err(DomainProblem::SingleLabel);
    }
    let suffix = name.to_owned();
    match suffix_type(name) {
        None => Ok(()),
        Some(Type::Icann) => Err(DomainProblem::PublicSuffix { suffix }),
        Some(Type::Private) => Err(DomainProblem::PrivateSuffix { suffix }),
    }
}

/// `mta-sts.com` is a domain like others; `mta-sts.example.com` is the policy host of one.
fn refuse_policy_hosts(name: &str) -> Result<(), DomainProblem> {
    let mut domain = name;
    while let Some(rest) = domain.strip_prefix(POLICY_HOST_PREFIX) {
        if !rest.contains('.') || suffix_type(rest).is_some() {
            break;
        }
        domain = rest;
    }
    if domain == name {
        return Ok(());
    }
    Err(DomainProblem::PolicyHost { domain: domain.to_owned() })
}

/// Which part of the public suffix list holds `name` itself, if one does.
fn suffix_type(name: &str) -> Option<Type> {
    let suffix = psl::suffix(name.as_bytes())?;
    if suffix.as_bytes() == name.as_bytes() { suffix.typ() } else { None }
}

/// The likeliest reason why IDNA did not take `input`; it only says that it did not.
fn diagnose(input: &str) -> DomainProblem {
    let name = input.to_lowercase().replace(['\u{3002}', '\u{ff0e}', '\u{ff61}'], ".");
    let name = name.strip_suffix('.').unwrap_or(&name);
    for label in name.split('.') {
        if label.is_empty() {
            return DomainProblem::EmptyLabel;
        }
        if label.bytes().any(|b| b.is_ascii() && !b.is_ascii_alphanumeric() && b != b'-') {
            return DomainProblem::Character;
        }
        if label.len() > 63 {
            return DomainProblem::LongLabel;
        }
        if label.starts_with("xn--") {
            return DomainProblem::Punycode;
        }
        if label.starts_with('-') || label.ends_with('-') || label.get(2..4) == Some("--") {
            return DomainProblem::Hyphen;
        }
    }
    if name.len() > MAX_DOMAIN_BYTES { DomainProblem::TooLong } else { DomainProblem::Character }
}

/// Characters that change what a name is, or how it reads, without being seen.
fn invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}
