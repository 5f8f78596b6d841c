//! Where reports go: one entry of a record's `rua`.

use std::fmt;
use std::str::FromStr;

/// A URI that reports are sent to, in the form that every sender reads: it has a scheme, is ASCII
/// without spaces, and `,` `!` `;` in it are percent-encoded
/// ([RFC 8460 section 3](https://www.rfc-editor.org/rfc/rfc8460#section-3), `tlsrpt-uri`).
///
/// Senders know the schemes `mailto` and `https`. A target with another scheme can be read and
/// written, so that nobody's record loses it here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    uri: String,
}

impl Target {
    /// The mailbox `address`, which is encoded as far as it has to be.
    pub fn mailto(address: &str) -> Result<Target, InvalidTarget> {
        let mut uri = String::from("mailto:");
        for byte in address.bytes() {
            // What may stand in a mailto URI as it is (RFC 6068 section 2), without what a record
            // would split at.
            if byte.is_ascii_alphanumeric() || b"-._~+@$*=:".contains(&byte) {
                uri.push(byte.into());
            } else {
                uri.push_str(&format!("%{byte:02X}"));
            }
        }
        uri.parse()
    }

    /// The URI as it stands in a record.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The scheme, as written.
    pub fn scheme(&self) -> &str {
        self.uri.split(':').next().unwrap_or_default()
    }

    /// Whether senders know what to do with it: `mailto` or `https`, in any case.
    pub fn is_known(&self) -> bool {
        self.is("mailto") || self.is("https")
    }

    /// The mail address of a `mailto`, decoded.
    pub fn address(&self) -> Option<String> {
        if !self.is("mailto") {
            return None;
        }
        let (_, rest) = self.uri.split_once(':')?;
        decode(rest.split('?').next()?)
    }

    /// Whether both lead to the same place, however they are written. Mailboxes are compared
    /// without regard to case, since we never give out two that differ in nothing else.
    pub fn is_same(&self, other: &Target) -> bool {
        match (self.address(), other.address()) {
            (Some(ours), Some(theirs)) => ours.eq_ignore_ascii_case(&theirs),
            _ => self.uri == other.uri,
        }
    }

    fn is(&self, scheme: &str) -> bool {
        self.scheme().eq_ignore_ascii_case(scheme)
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(uri: &str) -> Result<Target, InvalidTarget> {
        let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
        if !scheme.is_some_and(is_scheme) {
            return Err(InvalidTarget::NoScheme);
        }
        // What RFC 3986 lets stand in a URI, without what a record would split at.
        let may_stand =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@$&'()*+=%".contains(&byte);
        if let Some(found) = uri.chars().find(|c| !u8::try_from(*c).is_ok_and(may_stand)) {
            return Err(InvalidTarget::Character { found });
        }
        if decode(uri).is_none() {
            return Err(InvalidTarget::Percent);
        }
        let target = Target { uri: uri.to_owned() };
        match target.address() {
            Some(address) if !is_address(&address) => Err(InvalidTarget::Address),
            None if target.is("https") && !has_host(uri) => Err(InvalidTarget::Host),
            _ => Ok(target),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.uri)
    }
}

/// [RFC 3986 section 3.1](https://www.rfc-editor.org/rfc/rfc3986#section-3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// One mailbox at one domain, nothing finer: whether mail gets there is seen by sending some.
fn is_address(address: &str) -> bool {
    let parts = address.rsplit_once('@');
    parts.is_some_and(|(local, domain)| {
        let stray = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>');
        !local.is_empty() && domain.contains('.') && !address.contains(stray)
    })
}

fn has_host(uri: &str) -> bool {
    let rest = uri.split_once("://").map_or("", |(_, rest)| rest);
    !rest.split(['/', '?', '#']).next().unwrap_or_default().is_empty()
}

/// Decodes `%XX`; `None` where one is no such thing, or where the result is no UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// Nothing that names a way to send. Often an address alone.
    #[error("there is no scheme: begin with mailto: or https:")]
    NoScheme,
    /// A space, a character that is not ASCII, or one at which a record is split.
    #[error("{found:?} cannot stand in a target: percent-encode it")]
    Character {
        /// The character.
        found: char,
    },
    /// A percent sign that encodes nothing.
    #[error(
        "a percent sign is not followed by two hexadecimal digits: write %25 for the sign itself"
    )]
    Percent,
    /// A `mailto:` without an address behind it.
    #[error("no mail address follows mailto: write one such as tls-reports@example.com")]
    Address,
    /// An `https:` without a host behind it.
    #[error("no host follows https: write https:// and a host")]
    Host,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_uri_that_a_record_can_hold() {
        fn check(uri: &str, expected: Result<(), InvalidTarget>) {
            assert_eq!(uri.parse::<Target>().map(drop), expected, "{uri:?}");
        }
        let stray = |found| Err(InvalidTarget::Character { found });
        check("mailto:reports@example.com", Ok(()));
        check("MAILTO:reports@example.com", Ok(()));
        check("mailto:tls+abc@example.com?subject=x", Ok(()));
        check("mailto:a%2Cb@example.com", Ok(()));
        check("https://reporting.example.com/v1/tlsrpt", Ok(()));
        check("https://example.com:8443/?a=b&c=d#e", Ok(()));
        check("sip:reports@example.com", Ok(()));

        check("", Err(InvalidTarget::NoScheme));
        check("reports@example.com", Err(InvalidTarget::NoScheme));
        check("//example.com/", Err(InvalidTarget::NoScheme));
        check(":x", Err(InvalidTarget::NoScheme));
        check("mailto:reports@example.com!10m", stray('!'));
        check("mailto:a,b@example.com", stray(','));
        check("mailto:a;b@example.com", stray(';'));
        check("mailto: a@example.com", stray(' '));
        check("mailto:bücher@example.com", stray('ü'));
        check("mailto:a@example.com%", Err(InvalidTarget::Percent));
        check("mailto:a%zz@example.com", Err(InvalidTarget::Percent));
        check("mailto:a%ff@example.com", Err(InvalidTarget::Percent));
        check("mailto:", Err(InvalidTarget::Address));
        check("mailto:reports", Err(InvalidTarget::Address));
        check("mailto:@example.com", Err(InvalidTarget::Address));
        check("mailto:a@localhost", Err(InvalidTarget::Address));
        check("mailto:a%20b@example.com", Err(InvalidTarget::Address));
        check("https:", Err(InvalidTarget::Host));
        check("https:///tlsrpt", Err(InvalidTarget::Host));
    }

    #[test]
    fn an_address_is_encoded_and_decoded() {
        fn check(address: &str, uri: &str) {
            let target = Target::mailto(address).unwrap();
            assert_eq!(target.as_str(), uri);
            assert_eq!(target.address().as_deref(), Some(address));
        }
        check("tlsrpt+ab12@example.com", "mailto:tlsrpt+ab12@example.com");
        check("a!b;c,d%e@example.com", "mailto:a%21b%3Bc%2Cd%25e@example.com");
        check("bücher@example.com", "mailto:b%C3%BCcher@example.com");
        assert_eq!(Target::mailto("nobody"), Err(InvalidTarget::Address));
    }

    #[test]
    fn targets_are_the_same_where_they_lead_to_the_same_place() {
        fn check(a: &str, b: &str, expected: bool) {
            let [a, b]: [Target; 2] = [a, b].map(|uri| uri.parse().unwrap());
            assert_eq!(a.is_same(&b), expected, "{a} {b}");
        }
        check("mailto:a@example.com", "MAILTO:A@Example.com", true);
        check("mailto:a%40@example.com", "mailto:a@@example.com", true);
        check("mailto:a@example.com", "mailto:b@example.com", false);
        check("https://a.example/x", "https://a.example/x", true);
        check("https://a.example/x", "https://a.example/X", false);
    }
}
