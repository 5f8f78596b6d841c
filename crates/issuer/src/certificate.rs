//! One certificate and its key: made, asked for, and looked at before it is believed.

use hosting::Domain;
use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// No chain is longer: a CA sends the leaf and one or two intermediates.
const MAX_CHAIN: usize = 10;

/// Nor has more bytes in PEM: it has to fit into a document on the bus.
const MAX_CHAIN_BYTES: usize = 64 * 1024;

/// Why a key could not be made or used.
#[derive(Debug, thiserror::Error)]
#[error("a private key can't be used")]
pub(crate) struct BadKey(#[from] pub(crate) rcgen::Error);

/// Why a chain is not the one that we asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadChain {
    #[error("the CA's answer holds no certificate")]
    Empty,
    #[error("the CA sent {0} certificates in one chain")]
    TooLong(usize),
    #[error("the CA sent a chain of {0} bytes")]
    TooBig(usize),
    #[error("the CA sent a certificate that can't be read")]
    Unreadable,
    #[error("the CA sent a certificate for another key than ours")]
    OtherKey,
    #[error("the CA sent a certificate that is not for {0} alone")]
    OtherName(String),
    #[error("the CA sent a certificate that has ended already")]
    Ended,
}

/// A chain that has been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    /// PEM, leaf first.
    pub(crate) pem: String,
    /// Of the leaf, lower-case hex.
    pub(crate) serial: String,
    /// The name of who issued the leaf.
    pub(crate) issuer: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// A fresh P-256 key for one certificate.
pub(crate) fn new_key() -> Result<KeyPair, BadKey> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

/// A key that was stored.
pub(crate) fn key(pkcs8: &[u8]) -> Result<KeyPair, BadKey> {
    let der = PrivatePkcs8KeyDer::from(pkcs8);
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)?)
}

/// What the certificate of `domain`'s policy host says. The subject stays empty: a common name ends
/// at 64 bytes, and clients read only the alternative name (RFC 9525 section 6.3).
pub(crate) fn params(domain: &Domain) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![domain.policy_host()])?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

/// The request for it (RFC 2986), in DER.
pub(crate) fn request(domain: &Domain, key: &KeyPair) -> Result<Vec<u8>, BadKey> {
    Ok(params(domain)?.serialize_request(key)?.der().to_vec())
}

/// Looks at a chain: it has to be for the domain's policy host alone, for our key, and not ended.
pub(crate) fn check(
    pem: &str,
    domain: &Domain,
    key: &KeyPair,
    now: Timestamp,
) -> Result<Chain, BadChain> {
    let chain = der_chain(pem)?;
    let leaf = chain.first().ok_or(BadChain::Empty)?;
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).map_err(|_| BadChain::Unreadable)?;
    if leaf.public_key().raw != key.subject_public_key_info() {
        return Err(BadChain::OtherKey);
    }
    let host = domain.policy_host();
    if !is_for(&leaf, &host) {
        return Err(BadChain::OtherName(host));
    }
    let instant = |at: x509_parser::time::ASN1Time| {
        Timestamp::from_second(at.timestamp()).map_err(|_| BadChain::Unreadable)
    };
    let not_before = instant(leaf.validity().not_before)?;
    let not_after = instant(leaf.validity().not_after)?;
    if not_after <= now {
        return Err(BadChain::Ended);
    }
    Ok(Chain {
        pem: pem.to_owned(),
        serial: serial(&leaf),
        issuer: issuer(&leaf),
        not_before,
        not_after,
    })
}

/// The certificates of a PEM chain, in their order.
pub(crate) fn der_chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, BadChain> {
    if pem.len() > MAX_CHAIN_BYTES {
        return Err(BadChain::TooBig(pem.len()));
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.map_err(|_| BadChain::Unreadable)?;
    match chain.len() {
        0 => Err(BadChain::Empty),
        1..=MAX_CHAIN => Ok(chain),
        many => Err(BadChain::TooLong(many)),
    }
}

fn is_for(leaf: &X509Certificate<'_>, host: &str) -> bool {
    let Ok(Some(names)) = leaf.subject_alternative_name() else {
        return false;
    };
    let ours = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(n) if n.eq_ignore_ascii_case(host));
    matches!(names.value.general_names.as_slice(), [name] if ours(name))
}

/// As tools show it: whole bytes, without the zero byte that DER puts before a set high bit.
fn serial(leaf: &X509Certificate<'_>) -> String {
    let bytes = leaf.tbs_certificate.raw_serial();
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    data_encoding::HEXLOWER.encode(&bytes[start..])
}

fn issuer(leaf: &X509Certificate<'_>) -> String {
    let common_name = leaf.issuer().iter_common_name().next();
    match common_name.and_then(|name| name.as_str().ok()) {
        Some(name) => name.to_owned(),
        None => leaf.issuer().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    fn self_signed(name: &str, key: &KeyPair) -> String {
        params(&domain(name)).unwrap().self_signed(key).unwrap().pem()
    }

    #[test]
    fn only_the_certificate_that_was_asked_for_is_believed() {
        let ours = new_key().unwrap();
        let other = new_key().unwrap();
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let check = |pem: &str, now| check(pem, &domain("example.com"), &ours, now);

        let good = self_signed("example.com", &ours);
        let chain = check(&good, now).unwrap();
        assert_eq!(chain.serial.len() % 2, 0);
        assert_eq!(check("", now), Err(BadChain::Empty));
        assert_eq!(check(&good.repeat(11), now), Err(BadChain::TooLong(11)));
        let big = format!("{good}{}", " ".repeat(MAX_CHAIN_BYTES));
        assert_eq!(check(&big, now), Err(BadChain::TooBig(big.len())));
        assert_eq!(check(&self_signed("example.com", &other), now), Err(BadChain::OtherKey));
        let name = Err(BadChain::OtherName("mta-sts.example.com".into()));
        assert_eq!(check(&self_signed("example.net", &ours), now), name);
        let later: Timestamp = "4097-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(check(&good, later), Err(BadChain::Ended));
    }

    #[test]
    fn a_stored_key_is_the_same_key() {
        let made = new_key().unwrap();
        let read = key(made.serialized_der()).unwrap();
        assert_eq!(made.subject_public_key_info(), read.subject_public_key_info());
    }

    #[test]
    fn a_name_longer_than_a_common_name_can_be_asked_for() {
        let long = format!("{}.{}.example", "a".repeat(60), "b".repeat(60));
        request(&domain(&long), &new_key().unwrap()).unwrap();
    }
}
