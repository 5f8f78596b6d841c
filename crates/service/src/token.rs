//! The shape of a token: a part that may be shown, a part that is secret, and a checksum.
//!
//! `dmr_` + id (12) + secret (32) + checksum (7), letters and digits of one alphabet. The prefix and the
//! checksum are for scanners that look for leaked secrets: they find one with certainty, and offline.
//! Whether a token is anybody's is no question of its shape: only its hash is looked up.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

use crate::access::token_hash;

/// What every token begins with.
pub const PREFIX: &str = "dmr_";
/// Letters of the part that may be shown: 60 bits, so that no two tokens have the same.
pub const ID_LETTERS: usize = 12;
/// Letters of the secret part: 160 bits, which nobody guesses.
const SECRET_LETTERS: usize = 32;
/// Letters of the checksum: 32 bits, five a letter.
const CHECKSUM_LETTERS: usize = 7;
/// Random bytes that a token is made of: five bits for each letter of id and secret.
pub const RANDOM_BYTES: usize = ((ID_LETTERS + SECRET_LETTERS) * BITS).div_ceil(8);

/// Bits that a letter holds.
const BITS: usize = 5;
/// Without i, l, o and u: these are misread, and make words.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A token with its secret. Never printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

/// The text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAToken {
    /// Another length, another beginning, or other characters.
    #[error("a token is {PREFIX} and 51 letters and digits: was all of it copied?")]
    Shape,
    /// A letter is wrong, or two have changed places.
    #[error("the token's checksum is wrong: copy it again")]
    Checksum,
}

impl Token {
    /// A token of random bytes, each letter as likely as another.
    #[must_use]
    pub fn make(random: [u8; RANDOM_BYTES]) -> Token {
        let mut text = Zeroizing::new(String::from(PREFIX));
        let bit = |at: usize| random[at / 8] >> (7 - at % 8) & 1;
        for at in 0..ID_LETTERS + SECRET_LETTERS {
            let value = (0..BITS).fold(0, |value, i| value << 1 | bit(BITS * at + i));
            text.push(letter(value.into()));
        }
        let sum = checksum(&text);
        text.push_str(&sum);
        Token(text)
    }

    /// Reads a token as somebody presents it.
    ///
    /// # Errors
    /// It has another shape, or a letter of it is wrong.
    pub fn parse(text: &str) -> Result<Token, NotAToken> {
        let letters = text.strip_prefix(PREFIX).ok_or(NotAToken::Shape)?;
        let right = letters.len() == ID_LETTERS + SECRET_LETTERS + CHECKSUM_LETTERS
            && letters.bytes().all(|letter| ALPHABET.contains(&letter));
        if !right {
            return Err(NotAToken::Shape);
        }
        let (before, sum) = text.split_at(text.len() - CHECKSUM_LETTERS);
        if checksum(before) != sum {
            return Err(NotAToken::Checksum);
        }
        Ok(Token(Zeroizing::new(text.to_owned())))
    }

    /// The part that may be shown.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0[PREFIX.len()..PREFIX.len() + ID_LETTERS]
    }

    /// All of it. Mind where it goes.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// SHA-256 of all of it, by which it is kept and found. The secret is random, so nothing slower is
    /// needed.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        token_hash(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({PREFIX}{}…)", self.id())
    }
}

/// Whether two hashes are the same, in a time that does not tell how much of them is.
#[must_use]
pub fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

/// CRC-32 (IEEE 802.3) of what stands before it, most significant bits first.
fn checksum(before: &str) -> String {
    let sum = crc32fast::hash(before.as_bytes());
    (0..CHECKSUM_LETTERS).rev().map(|place| letter(u64::from(sum) >> (BITS * place))).collect()
}

/// The letter for the last five bits.
fn letter(value: u64) -> char {
    let at = usize::try_from(value & 31).unwrap_or_default();
    char::from(ALPHABET[at])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_made() {
        let token = Token::make(std::array::from_fn(|at| u8::try_from(at * 9).unwrap()));
        assert_eq!(token.expose().len(), 55);
        assert_eq!(token.expose(), "dmr_004h46s45mv3yj2hb9hprxbygy89k8nbpjywdkyrw7nf3ygrk87");
        let read = Token::parse(token.expose()).unwrap();
        assert_eq!((read.id(), read.hash()), (token.id(), token.hash()));
        assert_eq!(token.hash(), token_hash(token.expose()));
    }

    #[test]
    fn any_wrong_letter_is_noticed() {
        let token = Token::make([0x5a; RANDOM_BYTES]);
        let text = token.expose();
        for at in 0..text.len() {
            for letter in ['0', 'z', 'Z', ' ', 'ü', '_'] {
                let mut spoiled: Vec<char> = text.chars().collect();
                if std::mem::replace(&mut spoiled[at], letter) == letter {
                    continue;
                }
                let spoiled: String = spoiled.into_iter().collect();
                assert!(Token::parse(&spoiled).is_err(), "{at}: {letter}");
            }
        }
        for (wrong, why) in [
            (String::new(), NotAToken::Shape),
            (PREFIX.to_owned(), NotAToken::Shape),
            (text[..54].to_owned(), NotAToken::Shape),
            (format!("{text}0"), NotAToken::Shape),
            (text.to_uppercase(), NotAToken::Shape),
            (format!("{text}\n"), NotAToken::Shape),
            (text.replacen("dmr_", "abc_", 1), NotAToken::Shape),
        ] {
            assert_eq!(Token::parse(&wrong), Err(why), "{wrong:?}");
        }
        let mut swapped: Vec<char> = text.chars().collect();
        let other = swapped.iter().rposition(|c| *c != swapped[54]).unwrap();
        swapped.swap(other, 54);
        let swapped: String = swapped.into_iter().collect();
        assert_eq!(Token::parse(&swapped), Err(NotAToken::Checksum));
    }

    #[test]
    fn a_token_shows_its_id_and_never_its_secret() {
        let token = Token::make(std::array::from_fn(|at| u8::try_from(at * 9).unwrap()));
        let shown = format!("{token:?}");
        assert!(shown.contains(token.id()));
        assert!(!shown.contains(&token.expose()[PREFIX.len() + ID_LETTERS..][..4]), "{shown}");
    }

    #[test]
    fn each_letter_is_as_likely_as_another() {
        let mut seen = BTreeMap::new();
        for byte in 0..=255_u8 {
            let token = Token::make([byte; RANDOM_BYTES]);
            let random = &token.expose()[PREFIX.len()..][..ID_LETTERS + SECRET_LETTERS];
            for letter in random.chars() {
                *seen.entry(letter).or_insert(0) += 1;
            }
        }
        assert_eq!(seen.len(), 32);
        let mean = 256 * 44 / 32;
        assert!(seen.values().all(|count| (mean - 40..=mean + 40).contains(count)), "{seen:?}");
    }
}
