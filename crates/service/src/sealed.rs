//! Values that hold a secret: encrypted under a key that is never beside them, in a database
//! column or in an edge's local store.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

/// Bytes of a key-encryption key.
pub const KEK_BYTES: usize = 32;

/// A sealed value could not be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key has another length than [`KEK_BYTES`].
    #[error("the key-encryption key has to have {KEK_BYTES} bytes")]
    KeyLength,
    /// The value was sealed under another key, for another place, or has been changed.
    #[error("a sealed value can't be opened: it was sealed under another key or has been changed")]
    Open,
    /// The value could not be sealed.
    #[error("a value can't be sealed")]
    Seal,
}

/// A key-encryption key: AES-256-GCM, a fresh random nonce for each value.
pub struct Kek(RandomizedNonceKey);

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek(…)")
    }
}

impl Kek {
    /// A key from its 32 bytes.
    ///
    /// # Errors
    /// [`SealError::KeyLength`].
    pub fn new(bytes: &[u8]) -> Result<Kek, SealError> {
        RandomizedNonceKey::new(&AES_256_GCM, bytes).map(Kek).map_err(|_| SealError::KeyLength)
    }

    /// Seals `secret` for one place, for example `"certificates.key:example.com"`: moved to
    /// another row or column it can't be opened.
    ///
    /// # Errors
    /// [`SealError::Seal`] when the system gives no randomness.
    pub fn seal(&self, place: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = secret.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(place), &mut sealed)
            .map_err(|_| SealError::Seal)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// [`SealError::Open`].
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Open)?;
        let mut opened = Zeroizing::new(rest.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self
            .0
            .open_in_place(nonce, Aad::from(place), &mut opened)
            .map_err(|_| SealError::Open)?
            .len();
        opened.truncate(length);
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_in_its_place_and_under_its_key() {
        let kek = Kek::new(&[7; KEK_BYTES]).unwrap();
        let sealed = kek.seal("keys:example.com", b"secret").unwrap();
        assert_eq!(kek.open("keys:example.com", &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(kek.open("keys:example.net", &sealed), Err(SealError::Open));
        let other = Kek::new(&[8; KEK_BYTES]).unwrap();
        assert_eq!(other.open("keys:example.com", &sealed), Err(SealError::Open));
    }

    #[test]
    fn a_changed_or_cut_value_is_refused() {
        let kek = Kek::new(&[7; KEK_BYTES]).unwrap();
        let sealed = kek.seal("place", b"secret").unwrap();
        for length in 0..sealed.len() {
            assert_eq!(kek.open("place", &sealed[..length]), Err(SealError::Open), "{length}");
        }
        for at in 0..sealed.len() {
            let mut spoiled = sealed.clone();
            spoiled[at] ^= 1;
            assert_eq!(kek.open("place", &spoiled), Err(SealError::Open), "{at}");
        }
    }
}
