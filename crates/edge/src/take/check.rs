//! What a document must be, to be served from.
//!
//! A signature says who wrote a document, not that it is sound: a fault of a writer stops here.
//! Each check gives the bytes to keep, or the reason why not.

use mta_sts::{Mode, Policy};
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls_pki_types::ServerName;
use wire::{Message, bus, sealing};

use super::Taker;
use crate::sites::{ACCOUNT, chain_and_key, key_place};
use crate::store::record::Record;

/// Certificates in a chain: a leaf, an intermediate or two, cross-signs. More would only slow down
/// each handshake.
const MAX_CHAIN: usize = 8;
/// Bytes of a whole chain: it has to fit into the first packets of a handshake.
const MAX_CHAIN_BYTES: usize = 32 * 1024;
/// Accounts whose challenges are answered at a time: two CAs, each while it changes its account.
const MAX_THUMBPRINTS: usize = 16;
/// An SHA-256 digest in base64url (RFC 8555 section 8.1).
const THUMBPRINT_CHARS: usize = 43;

/// A policy file that a sender would take (RFC 8461 section 3.2), for the domain of its key.
pub(super) fn policy(key: &str, payload: &[u8]) -> Result<Vec<u8>, String> {
    let document: bus::PolicyDocument = decode(payload)?;
    same_domain(key, &document.domain)?;
    policy_host(key)?;
    Policy::parse(&document.body).map_err(|e| format!("its policy file is wrong: {e}"))?;
    Ok(payload.to_vec())
}

/// A certificate for the policy host of the domain of its key, with the private key that belongs
/// to it. Whether it is valid at this time is not asked: clocks are wrong more often than CAs.
pub(super) fn certificate(taker: &Taker, key: &str, payload: &[u8]) -> Result<Vec<u8>, String> {
    let mut document: bus::CertificateDocument = decode(payload)?;
    same_domain(key, &document.domain)?;
    let bytes: usize = document.chain.iter().map(Vec::len).sum();
    if document.chain.is_empty() || document.chain.len() > MAX_CHAIN || bytes > MAX_CHAIN_BYTES {
        let certificates = document.chain.len();
        return Err(format!("its chain has {certificates} certificates in {bytes} bytes"));
    }
    let sealed = document.key.take().ok_or("it has no private key")?;
    let pkcs8 =
        sealing::open(&taker.region_key, &taker.region, key, &sealed).map_err(|e| e.to_string())?;
    let certified = chain_and_key(&taker.provider, document.chain.clone(), &pkcs8)
        .map_err(|_| "its private key is of no kind that we can use")?;
    certified
        .keys_match()
        .map_err(|e| format!("its private key does not belong to its certificate: {e}"))?;

    let leaf = certified.end_entity_cert().and_then(ParsedCertificate::try_from);
    let leaf = leaf.map_err(|e| format!("its certificate can't be read: {e}"))?;
    let host = policy_host(key)?;
    // RFC 8461 section 3.3: the DNS-ID of the policy host; a common name does not count.
    verify_server_name(&leaf, &host)
        .map_err(|_| format!("its certificate is not for {}", host.to_str()))?;

    let ciphertext = taker.credential.seal(&key_place(key), &pkcs8).map_err(|e| e.to_string())?;
    document.key = Some(bus::SealedKey { encapsulated: vec![], ciphertext });
    Ok(document.encode_to_vec())
}

/// Thumbprints, and nothing else that could be sent to whoever asks on port 80.
pub(super) fn challenge(key: &str, payload: &[u8]) -> Result<Vec<u8>, String> {
    let document: bus::ChallengeDocument = decode(payload)?;
    if key != ACCOUNT {
        policy_host(key)?;
    }
    if document.thumbprints.is_empty() || document.thumbprints.len() > MAX_THUMBPRINTS {
        return Err(format!("it has {} thumbprints", document.thumbprints.len()));
    }
    let sound = |thumbprint: &String| {
        thumbprint.len() == THUMBPRINT_CHARS && thumbprint.bytes().all(is_base64url)
    };
    if !document.thumbprints.iter().all(sound) {
        return Err("a thumbprint of it is no SHA-256 digest in base64url".into());
    }
    Ok(payload.to_vec())
}

/// Whether a stored policy says `mode: none`.
pub(super) fn is_none(record: &Record) -> bool {
    let body =
        bus::PolicyDocument::decode(record.document.as_slice()).map(|document| document.body);
    let parsed = body.ok().and_then(|body| Policy::parse(&body).ok());
    parsed.is_some_and(|parsed| parsed.policy.mode == Mode::None)
}

/// The letters, digits, `-` and `_` of base64url without padding (RFC 4648 section 5).
pub(crate) fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn decode<M: Message + Default>(payload: &[u8]) -> Result<M, String> {
    M::decode(payload).map_err(|e| format!("it can't be decoded: {e}"))
}

fn same_domain(key: &str, domain: &str) -> Result<(), String> {
    if key == domain { Ok(()) } else { Err(format!("it is for {domain:?}")) }
}

/// The name that clients ask for, in the spelling that it is looked up by.
fn policy_host(domain: &str) -> Result<ServerName<'static>, String> {
    let host = mta_sts::policy_host(domain);
    let is_name = !domain.ends_with('.') && !domain.bytes().any(|b| b.is_ascii_uppercase());
    match ServerName::try_from(host) {
        Ok(ServerName::DnsName(name)) if is_name => Ok(ServerName::DnsName(name)),
        _ => Err(format!("{domain:?} is no domain name in lower case")),
    }
}
