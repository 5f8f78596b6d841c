//! What names look like: those of hosts, and those of fields in policies and records.

use std::net::IpAddr;

/// Longest name that DNS can carry, written without its trailing dot
/// ([RFC 1035 section 2.3.4](https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4): 255 bytes on
/// the wire, of which the first length and the root take two).
pub(crate) const MAX_NAME_BYTES: usize = 253;

/// Longest label that DNS can carry
/// ([RFC 1035 section 2.3.4](https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4)).
const MAX_LABEL_BYTES: usize = 63;

/// Longest name of a field, in a policy and in a record.
pub(crate) const MAX_FIELD_NAME_BYTES: usize = 32;

/// Why a text is no host name. Each `at` is the byte in the text as it was given, from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing is left to be a name. The target of a null MX is this: it is `.` alone
    /// ([RFC 7505](https://www.rfc-editor.org/rfc/rfc7505)).
    #[error("the name is empty: write a host name such as mail.example.com")]
    Empty,
    /// More than DNS can carry.
    #[error("the name is {bytes} bytes long: shorten it to {MAX_NAME_BYTES}")]
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// An IP address, bracketed or not, or a name that could only be read as one.
    #[error("this is an IP address: write the host name that its certificate carries")]
    Address,
    /// Two dots in a row, or a dot at either end.
    #[error("the label at byte {at} is empty: remove the extra dot")]
    EmptyLabel {
        /// Where the label would begin.
        at: usize,
    },
    /// One label is more than DNS can carry.
    #[error("the label at byte {at} is {bytes} bytes long: shorten it to {MAX_LABEL_BYTES}")]
    LongLabel {
        /// Where the label begins.
        at: usize,
        /// Length of the label.
        bytes: usize,
    },
    /// A hyphen where only a letter or digit may stand.
    #[error("the label at byte {at} begins or ends with a hyphen: remove the hyphen")]
    Hyphen {
        /// Where the label begins.
        at: usize,
    },
    /// A character that host names do not have, such as an underscore, a space or an umlaut.
    #[error(
        "{found:?} at byte {at} cannot stand in a host name: use letters, digits and hyphens, \
         and A-labels (xn--) for everything else"
    )]
    Character {
        /// Where the character stands.
        at: usize,
        /// The character.
        found: char,
    },
}

/// Checks that `name` is a host name in the letters, digits and hyphens of A-labels
/// ([RFC 5321 section 4.1.2](https://www.rfc-editor.org/rfc/rfc5321#section-4.1.2), `Domain`).
///
/// `start` is where `name` begins in the text it was cut from, so that errors count from there.
/// A label that begins with `xn--` is not decoded: a sender compares it as it stands.
pub(crate) fn check_host(name: &str, start: usize) -> Result<(), InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    let bytes = start + name.len();
    if bytes > MAX_NAME_BYTES {
        return Err(InvalidName::TooLong { bytes });
    }
    if is_address(name) {
        return Err(InvalidName::Address);
    }
    let mut at = start;
    for label in name.split('.') {
        check_label(label, at)?;
        at += label.len() + 1;
    }
    Ok(())
}

fn check_label(label: &str, at: usize) -> Result<(), InvalidName> {
    if label.is_empty() {
        return Err(InvalidName::EmptyLabel { at });
    }
    let stray = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    if let Some((offset, found)) = label.char_indices().find(|(_, c)| stray(*c)) {
        return Err(InvalidName::Character { at: at + offset, found });
    }
    if label.len() > MAX_LABEL_BYTES {
        return Err(InvalidName::LongLabel { at, bytes: label.len() });
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(InvalidName::Hyphen { at });
    }
    Ok(())
}

/// Whether some reader would take `name` for an IP address.
///
/// The grammar alone lets `192.0.2.1` pass, as four labels of digits.
/// But no top-level domain is a number
/// ([RFC 3696 section 2](https://www.rfc-editor.org/rfc/rfc3696#section-2)), while old address
/// parsers take `127.1` and `0x7f.1` too: so the last label decides.
fn is_address(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    name.starts_with('[')
        || name.parse::<IpAddr>().is_ok()
        || !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether `name` can be the name of a field, known or not: a letter or digit, then up to 31 more
/// of these or `_`, `-`, `.`
/// ([RFC 8461 section 3.1](https://www.rfc-editor.org/rfc/rfc8461#section-3.1) `sts-ext-name`,
/// [section 3.2](https://www.rfc-editor.org/rfc/rfc8461#section-3.2) `sts-policy-ext-name`).
pub(crate) fn is_field_name(name: &str) -> bool {
    name.len() <= MAX_FIELD_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_dotted_letters_digits_and_hyphens() {
        fn check(name: &str, expected: Result<(), InvalidName>) {
            assert_eq!(check_host(name, 0), expected, "{name:?}");
        }
        check("mail.example.com", Ok(()));
        check("localhost", Ok(()));
        check("MAIL.Example.COM", Ok(()));
        check("1.2.3.example", Ok(()));
        check("a--b.example", Ok(()));
        check("xn--mller-kva.example", Ok(()));
        check("example-com.mail.protection.outlook.com", Ok(()));

        check("", Err(InvalidName::Empty));
        check(".", Err(InvalidName::EmptyLabel { at: 0 }));
        check(".example.com", Err(InvalidName::EmptyLabel { at: 0 }));
        check("mail..example.com", Err(InvalidName::EmptyLabel { at: 5 }));
        check("example.com.", Err(InvalidName::EmptyLabel { at: 12 }));
        check("-mail.example.com", Err(InvalidName::Hyphen { at: 0 }));
        check("mail.example-.com", Err(InvalidName::Hyphen { at: 5 }));
        check("_dc-mx.example.com", Err(InvalidName::Character { at: 0, found: '_' }));
        check("mail.müller.example", Err(InvalidName::Character { at: 6, found: 'ü' }));
        check("mail.example。com", Err(InvalidName::Character { at: 12, found: '。' }));
        check("mail.exa mple.com", Err(InvalidName::Character { at: 8, found: ' ' }));
        check("mail.example.com:25", Err(InvalidName::Character { at: 16, found: ':' }));
        check("mail\r\n.example", Err(InvalidName::Character { at: 4, found: '\r' }));
    }

    #[test]
    fn an_address_in_any_spelling_is_no_name() {
        for text in [
            "192.0.2.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "127.0x1",
            "0X7F000001",
            "999.999",
            "2001:db8::1",
            "::",
            "::ffff:192.0.2.1",
            "[192.0.2.1]",
            "[IPv6:2001:db8::1]",
            "[",
        ] {
            assert_eq!(check_host(text, 0), Err(InvalidName::Address), "{text:?}");
        }
    }

    #[test]
    fn lengths_end_where_dns_ends() {
        let label = |bytes| "a".repeat(bytes);
        let name = |last| format!("{}.{}.{}.{}", label(63), label(63), label(63), label(last));

        assert_eq!(check_host(&name(61), 0), Ok(()));
        assert_eq!(check_host(&name(62), 0), Err(InvalidName::TooLong { bytes: 254 }));
        assert_eq!(check_host(&name(60), 2), Err(InvalidName::TooLong { bytes: 254 }));
        let long = format!("mx.{}.example", label(64));
        assert_eq!(check_host(&long, 0), Err(InvalidName::LongLabel { at: 3, bytes: 64 }));
    }
}
