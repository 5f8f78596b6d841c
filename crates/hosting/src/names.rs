//! The small names of the product: regions, workspaces, claims, nonces and revisions.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use crate::text::echo;

/// A hosting region, `eu-1`: 1 to 32 of `a-z`, `0-9` and inner `-`.
///
/// It is part of host names, bucket names and file names, and valid in each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(String);

/// A workspace, which is a tenant: 1 to 64 of `a-z`, `0-9` and `-`. Opaque here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkspaceId(String);

/// One workspace's claim to one domain: 1 to 64 of `a-z`, `0-9` and `-`. Opaque here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId(String);

/// The secretless mark of one claim that its owner shows in DNS: 16 to 32 of `a-z` and `0-9`.
///
/// A DNS label and part of a mail address. Never used for a second claim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(String);

/// Counts the changes of one domain name from 1, for ever, whoever holds it.
///
/// Goes up to what SQL's signed 64 bits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(NonZeroU64);

/// A text that is not the name it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use \"{input}\" as {what}: enter {rule}")]
pub struct InvalidName {
    /// The text: cut, and with control characters escaped.
    pub input: String,
    /// What it should name: `a region`.
    pub what: &'static str,
    /// What such a name is made of.
    pub rule: &'static str,
}

impl Nonce {
    /// Thirty-two letters and digits for 160 random bits, five bits each, all equally likely.
    pub fn from_random(random: [u8; 20]) -> Nonce {
        // Without i, l, o and u: these are misread, and make words.
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let bit = |at: usize| random[at / 8] >> (7 - at % 8) & 1;
        let letter = |at: usize| (0..5).fold(0, |value, i| value << 1 | bit(5 * at + i));
        Nonce((0..32).map(|at| char::from(ALPHABET[usize::from(letter(at))])).collect())
    }
}

impl Revision {
    /// The first change of a name.
    pub const FIRST: Revision = Revision(NonZeroU64::MIN);

    const LAST: u64 = i64::MAX as u64;

    /// # Errors
    /// Zero, or more than SQL holds.
    pub fn new(number: u64) -> Result<Revision, InvalidName> {
        NonZeroU64::new(number)
            .filter(|n| n.get() <= Revision::LAST)
            .map(Revision)
            .ok_or_else(|| Revision::invalid(&number.to_string()))
    }

    /// The number, at least 1.
    pub fn number(self) -> u64 {
        self.0.get()
    }

    /// The one after this. Stays at the last one, which no counting reaches.
    #[must_use]
    pub fn next(self) -> Revision {
        if self.number() < Revision::LAST { Revision(self.0.saturating_add(1)) } else { self }
    }

    fn invalid(input: &str) -> InvalidName {
        InvalidName { input: echo(input), what: "a revision", rule: "a number from 1 up" }
    }
}

impl FromStr for Revision {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Revision, InvalidName> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.and_then(|n| Revision::new(n).ok()).ok_or_else(|| Revision::invalid(text))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A checked text: reading, showing, and nothing else.
macro_rules! text_name {
    ($name:ident, $valid:expr, $what:literal, $rule:literal) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<$name, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    return Ok($name(text.to_owned()));
                }
                Err(InvalidName { input: echo(text), what: $what, rule: $rule })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text_name!(
    RegionId,
    |text| (1..=32).contains(&text.len())
        && is_lower(text, "-")
        && !text.starts_with('-')
        && !text.ends_with('-'),
    "a region",
    "1 to 32 lower-case letters, digits and inner hyphens, such as eu-1"
);
text_name!(
    WorkspaceId,
    |text| (1..=64).contains(&text.len()) && is_lower(text, "-"),
    "a workspace",
    "1 to 64 lower-case letters, digits and hyphens"
);
text_name!(
    ClaimId,
    |text| (1..=64).contains(&text.len()) && is_lower(text, "-"),
    "a claim",
    "1 to 64 lower-case letters, digits and hyphens"
);
text_name!(
    Nonce,
    |text| (16..=32).contains(&text.len()) && is_lower(text, ""),
    "a nonce",
    "16 to 32 lower-case letters and digits"
);

fn is_lower(text: &str, also: &str) -> bool {
    text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(c))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_keep_to_their_characters_and_lengths() {
        fn check<T: FromStr>(text: &str, expected: bool) {
            assert_eq!(text.parse::<T>().is_ok(), expected, "{text:?}");
        }
        check::<RegionId>("eu-1", true);
        check::<RegionId>("e", true);
        check::<RegionId>(&"e".repeat(32), true);
        check::<RegionId>(&"e".repeat(33), false);
        for text in ["", "-eu", "eu-", "EU", "eu.1", "eu_1", "eu 1", "é", "../x"] {
            check::<RegionId>(text, false);
        }
        check::<ClaimId>("0b7d-4c", true);
        check::<ClaimId>("", false);
        check::<ClaimId>(&"c".repeat(65), false);
        check::<WorkspaceId>("acme", true);
        check::<WorkspaceId>("acme'; --", false);
        check::<Nonce>(&"a1".repeat(8), true);
        check::<Nonce>(&"a1".repeat(16), true);
        check::<Nonce>("a1a1a1a1a1a1a1a", false);
        check::<Nonce>(&"a".repeat(33), false);
        check::<Nonce>("a1a1a1a1-a1a1a1a1", false);
        check::<Nonce>("A1A1A1A1A1A1A1A1", false);
        check::<Revision>("1", true);
        check::<Revision>("9223372036854775807", true);
        for text in ["0", "9223372036854775808", "-1", "+1", "", "1.0", " 1", "١"] {
            check::<Revision>(text, false);
        }
    }

    #[test]
    fn a_revision_goes_up_and_never_back() {
        assert_eq!(Revision::FIRST.number(), 1);
        assert_eq!(Revision::FIRST.next().number(), 2);
        let last = Revision::new(i64::MAX as u64).unwrap();
        assert_eq!(last.next(), last);
    }

    #[test]
    fn each_letter_of_a_nonce_is_as_likely_as_another() {
        // Each of the 32 values of five bits gives another letter, at every place.
        let mut seen = BTreeMap::new();
        for byte in 0..=255_u8 {
            for letter in Nonce::from_random([byte; 20]).as_str().chars() {
                *seen.entry(letter).or_insert(0) += 1;
            }
        }
        assert_eq!(seen.len(), 32);
        assert!(seen.values().all(|count| *count == 256));
    }

    proptest! {
        #[test]
        fn a_nonce_from_random_is_one_and_keeps_every_bit(
            a in any::<[u8; 20]>(),
            b in any::<[u8; 20]>(),
        ) {
            let nonce = Nonce::from_random(a);
            prop_assert_eq!(nonce.as_str().parse(), Ok(nonce.clone()));
            prop_assert_eq!(nonce == Nonce::from_random(b), a == b);
        }
    }
}
