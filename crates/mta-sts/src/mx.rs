//! The hosts a policy lists, and how a sender matches them.

use std::fmt;
use std::str::FromStr;

use crate::name::{self, InvalidName};

/// One `mx` value of a policy: `mail.example.com`, or `*.example.com` for any one label there
/// ([RFC 8461 section 3.2](https://www.rfc-editor.org/rfc/rfc8461#section-3.2)).
///
/// Lower-case A-labels without a trailing dot, at most 253 bytes. Never an IP address: a
/// certificate is checked against a name, and a policy that listed an address has broken a sender.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MxPattern(String);

impl MxPattern {
    /// The pattern for exactly one host, named as an MX record names it: a trailing dot is dropped
    /// and letters are folded to lower case.
    ///
    /// # Errors
    ///
    /// The target of a null MX, `.`, is [`InvalidName::Empty`]: a domain with one takes no mail
    /// ([RFC 7505](https://www.rfc-editor.org/rfc/rfc7505)) and lists nothing.
    /// A wildcard is [`InvalidMxPattern::NotAHost`].
    pub fn host(name: &str) -> Result<Self, InvalidMxPattern> {
        let name = name.strip_suffix('.').unwrap_or(name);
        if let Some(at) = name.find('*') {
            return Err(InvalidMxPattern::NotAHost { at });
        }
        name::check_host(name, 0)?;
        Ok(MxPattern(name.to_ascii_lowercase()))
    }

    /// Whether this pattern covers `host`, the name in an MX record.
    ///
    /// A wildcard stands for exactly one whole label, the left-most: `*.example.com` covers
    /// `mail.example.com`, neither `example.com` nor `a.b.example.com`
    /// ([RFC 8461 section 4.1](https://www.rfc-editor.org/rfc/rfc8461#section-4.1)).
    /// Upper and lower case are the same; `host` may end in a dot.
    ///
    /// Some senders take a wildcard for any number of labels. That is their mistake, and a policy
    /// must not lean on it.
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self.wildcard_base() {
            None => host.eq_ignore_ascii_case(&self.0),
            Some(base) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(base)),
        }
    }

    /// The pattern as the policy file has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the left-most label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard_base().is_some()
    }

    /// What follows the `*.`, if this is a wildcard.
    fn wildcard_base(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }
}

impl FromStr for MxPattern {
    type Err = InvalidMxPattern;

    /// Reads an `mx` value. Letters are folded to lower case; a trailing dot is refused, as the
    /// grammar of a policy has none.
    fn from_str(text: &str) -> Result<Self, InvalidMxPattern> {
        let base = text.strip_prefix("*.").unwrap_or(text);
        let start = text.len() - base.len();
        if let Some(at) = base.find('*') {
            return Err(InvalidMxPattern::Wildcard { at: start + at });
        }
        name::check_host(base, start)?;
        Ok(MxPattern(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for MxPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is no MX pattern. Each `at` is the byte in the text as it was given, from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMxPattern {
    /// A `*` that is not the whole left-most label, such as `mx*.example.com`, or is all there is.
    #[error(
        "the * at byte {at} is misplaced: it can only be the whole first label, as in *.example.com"
    )]
    Wildcard {
        /// Where the `*` stands.
        at: usize,
    },
    /// A `*` where one host was asked for.
    #[error("the * at byte {at} makes this a pattern: write the name of one host")]
    NotAHost {
        /// Where the `*` stands.
        at: usize,
    },
    /// What is not wildcard is not a host name.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

/// Whether `pattern` covers more than the mail hosts of `domain` can be: a wildcard over the domain
/// itself, over a parent of it, or over a whole top-level domain.
///
/// `*.example.com` in the policy of `example.com` covers every host name there, so whoever gets a
/// certificate for any one of them can stand in for the mail server; list the hosts instead
/// ([RFC 8461 section 10.4](https://www.rfc-editor.org/rfc/rfc8461#section-10.4)).
/// `*.mx.example.com` is narrow enough: names under it are given out on purpose.
///
/// Which other domains share their hosts among tenants cannot be told from names, and is not judged
/// here.
pub fn too_wide(pattern: &MxPattern, domain: &str) -> bool {
    let Some(base) = pattern.wildcard_base() else {
        return false;
    };
    let domain = domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase();
    let at_or_above = |rest: &str| rest.is_empty() || rest.ends_with('.');
    !base.contains('.') || domain.strip_suffix(base).is_some_and(at_or_above)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> MxPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_is_a_name_or_a_wildcard_before_one() {
        fn check(text: &str, expected: Result<&str, InvalidMxPattern>) {
            let parsed = text.parse::<MxPattern>();
            assert_eq!(
                parsed.as_ref().map(MxPattern::as_str),
                expected.as_ref().copied(),
                "{text:?}"
            );
        }
        let wildcard = |at| Err(InvalidMxPattern::Wildcard { at });
        let name = |error| Err(InvalidMxPattern::Name(error));

        check("mail.example.com", Ok("mail.example.com"));
        check("*.example.com", Ok("*.example.com"));
        check("*.Example.COM", Ok("*.example.com"));
        check("*.xn--mller-kva.example", Ok("*.xn--mller-kva.example"));

        check("", name(InvalidName::Empty));
        check("*.", name(InvalidName::Empty));
        check("*", wildcard(0));
        check("*.*.example.com", wildcard(2));
        check("mx*.example.com", wildcard(2));
        check("mail.*.com", wildcard(5));
        check("**.example.com", wildcard(0));
        check("*.192.0.2.1", name(InvalidName::Address));
        check("*..example.com", name(InvalidName::EmptyLabel { at: 2 }));
        check("*.exa_mple.com", name(InvalidName::Character { at: 5, found: '_' }));
        check("*.example.com.", name(InvalidName::EmptyLabel { at: 14 }));
        check(".example.com", name(InvalidName::EmptyLabel { at: 0 }));
    }

    #[test]
    fn a_host_is_taken_as_dns_writes_it() {
        fn check(name: &str, expected: Result<&str, InvalidMxPattern>) {
            let host = MxPattern::host(name);
            assert_eq!(
                host.as_ref().map(MxPattern::as_str),
                expected.as_ref().copied(),
                "{name:?}"
            );
        }
        check("mail.example.com", Ok("mail.example.com"));
        check("Mail.Example.COM.", Ok("mail.example.com"));
        check(".", Err(InvalidName::Empty.into()));
        check("mail.example.com..", Err(InvalidName::EmptyLabel { at: 17 }.into()));
        check("192.0.2.1", Err(InvalidName::Address.into()));
        check("192.0.2.1.", Err(InvalidName::Address.into()));
        check("*.example.com", Err(InvalidMxPattern::NotAHost { at: 0 }));
    }

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        fn check(text: &str, host: &str, expected: bool) {
            assert_eq!(pattern(text).matches(host), expected, "{text} and {host:?}");
        }
        // The two examples of RFC 8461 section 4.1.
        check("*.example.com", "mail.example.com", true);
        check("*.example.com", "foo.bar.example.com", false);

        check("*.example.com", "example.com", false);
        check("*.example.com", ".example.com", false);
        check("*.example.com", "mail.example.com.", true);
        check("*.example.com", "MAIL.EXAMPLE.COM", true);
        check("*.example.com", "mailexample.com", false);
        check("*.example.com", "mail.example.com.evil.net", false);
        check("*.example.com", "", false);
        check("*.example.com", ".", false);
        check("mail.example.com", "mail.example.com", true);
        check("mail.example.com", "Mail.Example.Com.", true);
        check("mail.example.com", "mail.example.com..", false);
        check("mail.example.com", "a.mail.example.com", false);
        check("mail.example.com", "example.com", false);
    }

    #[test]
    fn a_wildcard_over_the_domain_or_above_is_too_wide() {
        fn check(text: &str, domain: &str, expected: bool) {
            assert_eq!(too_wide(&pattern(text), domain), expected, "{text} for {domain}");
        }
        check("*.example.com", "example.com", true);
        check("*.example.com", "Example.COM.", true);
        check("*.example.com", "news.example.com", true);
        check("*.com", "example.com", true);
        check("*.net", "example.com", true);
        check("*.mx.example.com", "example.com", false);
        check("*.example.com", "myexample.com", false);
        check("*.example.net", "example.com", false);
        check("mail.example.com", "example.com", false);
        check("example.com", "example.com", false);
    }

    proptest! {
        #[test]
        fn only_one_more_label_matches(
            base in "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}",
            labels in prop::collection::vec("[A-Za-z0-9]{1,9}", 0..4),
        ) {
            let host = labels.iter().map(|label| format!("{label}.")).collect::<String>() + &base;
            prop_assert_eq!(pattern(&format!("*.{base}")).matches(&host), labels.len() == 1);
            prop_assert_eq!(pattern(&base).matches(&host), labels.is_empty());
        }

        #[test]
        fn any_text_is_judged_and_what_is_taken_stays_as_it_is(text in any::<String>()) {
            if let Ok(pattern) = text.parse::<MxPattern>() {
                prop_assert_eq!(pattern.as_str().parse(), Ok(pattern.clone()));
            }
            if let Ok(host) = MxPattern::host(&text) {
                prop_assert!(host.matches(&text) && !host.is_wildcard());
            }
        }
    }
}
