//! What tells a sender that a policy has changed.

use std::fmt;
use std::str::FromStr;

/// Longest id a sender takes
/// ([RFC 8461 section 3.1](https://www.rfc-editor.org/rfc/rfc8461#section-3.1), `sts-id`).
const MAX_ID_BYTES: usize = 32;

/// The `id` of a record: 1 to 32 ASCII letters and digits.
///
/// Senders compare it with the one they have cached, and fetch again if it differs. It says nothing
/// about order: an id is only the same or another
/// ([RFC 8461 section 3.1](https://www.rfc-editor.org/rfc/rfc8461#section-3.1)).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PolicyId(String);

impl PolicyId {
    /// An id of 26 letters and digits, out of randomness that the caller draws.
    ///
    /// Each byte gives one character: its low five bits choose among 32, and its high three bits
    /// are thrown away. Taking the byte modulo the 36 or 62 letters and digits there are would make
    /// some more likely than others; 32 divides 256, so here all are equally likely, and 26 of
    /// them carry 130 random bits, enough that no two ids ever meet.
    pub fn from_random(bytes: [u8; 26]) -> Self {
        // Digits and lower-case letters without i, l, o and u: people read ids out to each other.
        const ALPHABET: [u8; 32] = *b"0123456789abcdefghjkmnpqrstvwxyz";
        let character = |byte: u8| char::from(ALPHABET[usize::from(byte % 32)]);
        PolicyId(bytes.into_iter().map(character).collect())
    }

    /// The id as the record has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PolicyId {
    type Err = InvalidPolicyId;

    fn from_str(text: &str) -> Result<Self, InvalidPolicyId> {
        if text.is_empty() {
            return Err(InvalidPolicyId::Empty);
        }
        if let Some((at, found)) = text.char_indices().find(|(_, c)| !c.is_ascii_alphanumeric()) {
            return Err(InvalidPolicyId::Character { at, found });
        }
        if text.len() > MAX_ID_BYTES {
            return Err(InvalidPolicyId::TooLong { bytes: text.len() });
        }
        Ok(PolicyId(text.to_owned()))
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is no policy id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicyId {
    /// Nothing is there.
    #[error("the id is empty: write 1 to {MAX_ID_BYTES} letters and digits")]
    Empty,
    /// More than a sender takes.
    #[error("the id is {bytes} bytes long: shorten it to {MAX_ID_BYTES} letters and digits")]
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// Something else than a letter or digit: often the hyphen of a UUID or the colon of a time.
    #[error("{found:?} at byte {at} of the id is not allowed: use only letters and digits")]
    Character {
        /// Where the character stands in the id, from 0.
        at: usize,
        /// The character.
        found: char,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_letters_and_digits() {
        fn check(text: &str, expected: Result<(), InvalidPolicyId>) {
            assert_eq!(text.parse::<PolicyId>().map(|_| ()), expected, "{text:?}");
        }
        check("1", Ok(()));
        check("20160831085700Z", Ok(()));
        check(&"Z".repeat(32), Ok(()));
        check("", Err(InvalidPolicyId::Empty));
        check(&"Z".repeat(33), Err(InvalidPolicyId::TooLong { bytes: 33 }));
        check("2026-11-23", Err(InvalidPolicyId::Character { at: 4, found: '-' }));
        check("12:00", Err(InvalidPolicyId::Character { at: 2, found: ':' }));
        check("id ", Err(InvalidPolicyId::Character { at: 2, found: ' ' }));
        check("é", Err(InvalidPolicyId::Character { at: 0, found: 'é' }));
    }

    #[test]
    fn every_random_character_is_equally_likely() {
        let from_byte = |byte: u8| PolicyId::from_random([byte; 26]).as_str().as_bytes()[0];
        let mut seen = [0; 256];
        for byte in 0..=255 {
            seen[usize::from(from_byte(byte))] += 1;
        }
        let counts: HashSet<i32> = seen.into_iter().filter(|count| *count > 0).collect();
        assert_eq!(counts, HashSet::from([8]));
    }

    proptest! {
        #[test]
        fn a_random_id_is_an_id(bytes in any::<[u8; 26]>()) {
            let id = PolicyId::from_random(bytes);
            prop_assert_eq!(id.as_str().len(), 26);
            prop_assert_eq!(id.as_str().parse(), Ok(id.clone()));
        }
    }
}
