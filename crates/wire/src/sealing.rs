//! Private keys on their way from issuer to the edges of one region.
//!
//! HPKE in base mode (RFC 9180) with X25519, HKDF-SHA256 and AES-256-GCM: only who holds the
//! region's private key can open them, so bus, databases and backups never hold a key in clear. The
//! region's id is the `info`, the domain the additional data: a key sealed for one domain can't
//! be passed off as another's.

use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use zeroize::Zeroizing;

use crate::bus;

/// A key could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// No key pair could be made.
    #[error("a region's sealing key can't be made")]
    Generate,
    /// The region's public key is not one.
    #[error("a private key can't be sealed: the region's sealing key is not an X25519 key")]
    Seal,
    /// It was sealed to another region or domain, or has been changed.
    #[error("a sealed key can't be opened: it is for another region or domain, or was changed")]
    Open,
}

/// A region's key pair. The private half is a secret of the region's edges.
pub struct RegionKey {
    /// Raw X25519 public key, 32 bytes.
    pub public: Vec<u8>,
    /// Raw X25519 private key, 32 bytes.
    pub private: Zeroizing<Vec<u8>>,
}

impl RegionKey {
    /// Makes a key pair.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<RegionKey, SealingError> {
        let (public, private) = SUITE.generate_key_pair().map_err(|_| SealingError::Generate)?;
        let private = Zeroizing::new(private.secret_bytes().to_vec());
        Ok(RegionKey { public: public.0, private })
    }
}

/// Seals a PKCS #8 private key of `domain` to a region.
///
/// # Errors
/// When `sealing_key` is no X25519 public key.
pub fn seal(
    sealing_key: &[u8],
    region: &str,
    domain: &str,
    pkcs8: &[u8],
) -> Result<bus::SealedKey, SealingError> {
    let to = HpkePublicKey(sealing_key.to_vec());
    let (encapsulated, ciphertext) = SUITE
        .seal(region.as_bytes(), domain.as_bytes(), pkcs8, &to)
        .map_err(|_| SealingError::Seal)?;
    Ok(bus::SealedKey { encapsulated: encapsulated.0, ciphertext })
}

/// Opens a private key of `domain` that was sealed to a region.
///
/// # Errors
/// [`SealingError::Open`].
pub fn open(
    private: &[u8],
    region: &str,
    domain: &str,
    sealed: &bus::SealedKey,
) -> Result<Zeroizing<Vec<u8>>, SealingError> {
    let key = HpkePrivateKey::from(private.to_vec());
    let encapsulated = EncapsulatedSecret(sealed.encapsulated.clone());
    SUITE
        .open(&encapsulated, region.as_bytes(), domain.as_bytes(), &sealed.ciphertext, &key)
        .map(Zeroizing::new)
        .map_err(|_| SealingError::Open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_only_for_its_region_and_domain() {
        let key = RegionKey::generate().unwrap();
        let sealed = seal(&key.public, "eu-1", "example.com", b"pkcs8").unwrap();
        let opened = open(&key.private, "eu-1", "example.com", &sealed).unwrap();
        assert_eq!(opened.as_slice(), b"pkcs8");

        let other = RegionKey::generate().unwrap();
        for (private, region, domain) in [
            (&key.private, "eu-2", "example.com"),
            (&key.private, "eu-1", "example.net"),
            (&other.private, "eu-1", "example.com"),
        ] {
            assert_eq!(open(private, region, domain, &sealed), Err(SealingError::Open));
        }
    }

    #[test]
    fn hostile_lengths_are_refused() {
        assert!(seal(b"short", "eu-1", "example.com", b"pkcs8").is_err());
        let key = RegionKey::generate().unwrap();
        let empty = bus::SealedKey::default();
        assert!(open(&key.private, "eu-1", "example.com", &empty).is_err());
        assert!(open(b"", "eu-1", "example.com", &empty).is_err());
    }
}
