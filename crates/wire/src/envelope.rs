//! Signed envelopes: the one form in which documents travel over the bus.
//!
//! An offline root delegates buckets to each service's own key ([`Delegation`]); a service
//! [`seal`](Signer::seal)s documents with that key; a reader pins the root and [`open`](Trust::open)s
//! them. The bucket and the key are inside the signature, so a document that was copied to another
//! place, or was written by a service that does not own the bucket, is refused.
//!
//! What is absent: encryption. Nothing secret is in a document unless it was sealed before.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use prost::Message;

use crate::bus;

const CONTENT_CONTEXT: &[u8] = b"dmarcer bus document v1\0";
const DELEGATION_CONTEXT: &[u8] = b"dmarcer bus delegation v1\0";

/// No envelope is longer: a policy is at most 64 KiB, a certificate chain a few KiB.
pub const MAX_ENVELOPE_BYTES: usize = 256 * 1024;

/// A signing key could not be used.
#[derive(Debug, thiserror::Error)]
#[error("the signing key can't be used: it is not an Ed25519 key in PKCS #8")]
pub struct BadKey;

/// Why an envelope was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It is longer than [`MAX_ENVELOPE_BYTES`].
    #[error("it has {bytes} bytes, more than {MAX_ENVELOPE_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is no envelope.
    #[error("it can't be decoded: {0}")]
    Undecodable(String),
    /// The delegation was not signed by the pinned root.
    #[error("its signer was not delegated by our root")]
    Delegation,
    /// The signer may not write this bucket.
    #[error("{signer} may not write bucket {bucket}")]
    Bucket {
        /// Who signed.
        signer: String,
        /// Where it was found.
        bucket: String,
    },
    /// It was made for another place.
    #[error("it was signed for {bucket}/{key}, not for where it was found")]
    Moved {
        /// The bucket it was signed for.
        bucket: String,
        /// The key it was signed for.
        key: String,
    },
    /// The signature is not the signer's.
    #[error("its signature is wrong")]
    Signature,
    /// It carries neither a payload nor a tombstone.
    #[error("it carries no document")]
    Empty,
}

/// Where a document stands among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Counts the documents of this key from 1, for ever.
    pub revision: u64,
    /// Place in the bucket's feed.
    pub position: u64,
}

/// A document that has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Where it stands.
    pub place: Place,
    /// The encoded document; none for a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Who signed it.
    pub signer: String,
}

impl Opened {
    /// The document's payload, decoded; none for a tombstone.
    ///
    /// # Errors
    /// When the payload is not an `M`.
    pub fn document<M: Message + Default>(&self) -> Result<Option<M>, Untrusted> {
        match &self.payload {
            None => Ok(None),
            Some(payload) => M::decode(payload.as_slice())
                .map(Some)
                .map_err(|e| Untrusted::Undecodable(e.to_string())),
        }
    }
}

/// The root key pair: it signs delegations and nothing else, and may be kept offline.
pub struct Root(Ed25519KeyPair);

impl Root {
    /// Reads a root key from PKCS #8.
    ///
    /// # Errors
    /// When it is no Ed25519 key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Root, BadKey> {
        Ed25519KeyPair::from_pkcs8(pkcs8).map(Root).map_err(|_| BadKey)
    }

    /// The raw public key, 32 bytes, that readers pin.
    pub fn public_key(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    /// Lets `signer`, who holds `public_key`, write `buckets`; an ending `*` stands for any rest.
    pub fn delegate(&self, signer: &str, public_key: &[u8], buckets: &[&str]) -> bus::Delegation {
        let content = bus::DelegatedKey {
            signer: signer.to_owned(),
            public_key: public_key.to_vec(),
            buckets: buckets.iter().map(|&bucket| bucket.to_owned()).collect(),
        }
        .encode_to_vec();
        let signature = self.0.sign(&in_context(DELEGATION_CONTEXT, &content)).as_ref().to_vec();
        bus::Delegation { content, signature }
    }
}

/// A service's signing key, with the delegation that goes out with each document.
pub struct Signer {
    key: Ed25519KeyPair,
    delegation: bus::Delegation,
}

impl Signer {
    /// A signer with the key in `pkcs8`, delegated by `root` for `buckets`.
    ///
    /// # Errors
    /// When `pkcs8` is no Ed25519 key.
    pub fn delegated_by(
        root: &Root,
        name: &str,
        pkcs8: &[u8],
        buckets: &[&str],
    ) -> Result<Signer, BadKey> {
        let key = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| BadKey)?;
        let delegation = root.delegate(name, key.public_key().as_ref(), buckets);
        Ok(Signer { key, delegation })
    }

    /// Signs a document for one place, ready to be put under `key` in `bucket`.
    pub fn seal<M: Message>(&self, bucket: &str, key: &str, place: Place, document: &M) -> Vec<u8> {
        let payload = bus::signed_content::Document::Payload(document.encode_to_vec());
        self.envelope(bucket, key, place, payload)
    }

    /// Signs the removal of what is under `key` in `bucket`.
    pub fn tombstone(&self, bucket: &str, key: &str, place: Place) -> Vec<u8> {
        let tombstone = bus::signed_content::Document::Tombstone(bus::Tombstone {});
        self.envelope(bucket, key, place, tombstone)
    }

    /// Signs a payload that was encoded before, or a removal where there is none.
    pub fn seal_encoded(
        &self,
        bucket: &str,
        key: &str,
        place: Place,
        payload: Option<Vec<u8>>,
    ) -> Vec<u8> {
        match payload {
            None => self.tombstone(bucket, key, place),
            Some(payload) => {
                let payload = bus::signed_content::Document::Payload(payload);
                self.envelope(bucket, key, place, payload)
            }
        }
    }

    fn envelope(
        &self,
        bucket: &str,
        key: &str,
        place: Place,
        document: bus::signed_content::Document,
    ) -> Vec<u8> {
        let content = bus::SignedContent {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            revision: place.revision,
            position: place.position,
            document: Some(document),
        }
        .encode_to_vec();
        let signature = self.key.sign(&in_context(CONTENT_CONTEXT, &content)).as_ref().to_vec();
        bus::Envelope { content, signature, delegation: Some(self.delegation.clone()) }
            .encode_to_vec()
    }
}

/// What a reader believes: everything that the pinned root has delegated.
#[derive(Clone)]
pub struct Trust {
    root: Vec<u8>,
}

impl Trust {
    /// Pins a root by its raw public key.
    pub fn pin(root: Vec<u8>) -> Trust {
        Trust { root }
    }

    /// Verifies an envelope that was found under `key` in `bucket`.
    ///
    /// # Errors
    /// [`Untrusted`] says why it is not to be believed; the caller keeps what it had.
    pub fn open(&self, bucket: &str, key: &str, envelope: &[u8]) -> Result<Opened, Untrusted> {
        if envelope.len() > MAX_ENVELOPE_BYTES {
            return Err(Untrusted::TooLong { bytes: envelope.len() });
        }
        let envelope: bus::Envelope = decode(envelope)?;
        let delegation = envelope.delegation.ok_or(Untrusted::Delegation)?;
        verify(&self.root, DELEGATION_CONTEXT, &delegation.content, &delegation.signature)
            .map_err(|()| Untrusted::Delegation)?;
        let signer: bus::DelegatedKey = decode(&delegation.content)?;

        if !signer.buckets.iter().any(|pattern| admits(pattern, bucket)) {
            return Err(Untrusted::Bucket { signer: signer.signer, bucket: bucket.to_owned() });
        }
        verify(&signer.public_key, CONTENT_CONTEXT, &envelope.content, &envelope.signature)
            .map_err(|()| Untrusted::Signature)?;

        let content: bus::SignedContent = decode(&envelope.content)?;
        if content.bucket != bucket || content.key != key {
            return Err(Untrusted::Moved { bucket: content.bucket, key: content.key });
        }
        let payload = match content.document.ok_or(Untrusted::Empty)? {
            bus::signed_content::Document::Payload(payload) => Some(payload),
            bus::signed_content::Document::Tombstone(_) => None,
        };
        let place = Place { revision: content.revision, position: content.position };
        Ok(Opened { place, payload, signer: signer.signer })
    }
}

/// A new Ed25519 key pair in PKCS #8, for a root or a signer.
///
/// # Errors
/// When the system gives no randomness.
pub fn new_key() -> Result<Vec<u8>, BadKey> {
    Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map(|document| document.as_ref().to_vec())
        .map_err(|_| BadKey)
}

fn admits(pattern: &str, bucket: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => bucket.starts_with(start),
        None => pattern == bucket,
    }
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Untrusted> {
    M::decode(bytes).map_err(|e| Untrusted::Undecodable(e.to_string()))
}

fn verify(public_key: &[u8], context: &[u8], content: &[u8], signature: &[u8]) -> Result<(), ()> {
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(&in_context(context, content), signature)
        .map_err(|_| ())
}

/// Ed25519 in the usual form has no context, so it goes in front: a delegation is never taken for
/// a document.
fn in_context(context: &[u8], content: &[u8]) -> Vec<u8> {
    [context, content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { revision: 3, position: 17 };

    fn root() -> Root {
        Root::from_pkcs8(&new_key().unwrap()).unwrap()
    }

    fn control(root: &Root) -> Signer {
        Signer::delegated_by(root, "control", &new_key().unwrap(), &["policies-*", "regions"])
            .unwrap()
    }

    fn document() -> bus::RegionDocument {
        bus::RegionDocument { region_id: "eu-1".into(), ..Default::default() }
    }

    #[test]
    fn a_sealed_document_is_opened_where_it_was_put() {
        let root = root();
        let bytes = control(&root).seal("regions", "eu-1", PLACE, &document());
        let opened = Trust::pin(root.public_key()).open("regions", "eu-1", &bytes).unwrap();
        assert_eq!(opened.place, PLACE);
        assert_eq!(opened.signer, "control");
        assert_eq!(opened.document().unwrap(), Some(document()));
    }

    #[test]
    fn a_tombstone_is_signed_too() {
        let root = root();
        let bytes = control(&root).tombstone("policies-eu-1", "example.com", PLACE);
        let opened =
            Trust::pin(root.public_key()).open("policies-eu-1", "example.com", &bytes).unwrap();
        assert_eq!(opened.payload, None);
    }

    #[test]
    fn a_document_is_refused_in_another_place() {
        let root = root();
        let bytes = control(&root).seal("policies-eu-1", "example.com", PLACE, &document());
        let trust = Trust::pin(root.public_key());
        for (bucket, key) in [("policies-eu-2", "example.com"), ("policies-eu-1", "example.net")] {
            let refused = trust.open(bucket, key, &bytes).unwrap_err();
            assert!(matches!(refused, Untrusted::Moved { .. }), "{refused}");
        }
    }

    #[test]
    fn a_service_writes_only_its_own_buckets() {
        let root = root();
        let bytes = control(&root).seal("certificates-eu-1", "example.com", PLACE, &document());
        let refused =
            Trust::pin(root.public_key()).open("certificates-eu-1", "example.com", &bytes);
        assert!(matches!(refused, Err(Untrusted::Bucket { .. })), "{refused:?}");
    }

    #[test]
    fn a_signer_of_another_root_is_refused() {
        let bytes = control(&root()).seal("regions", "eu-1", PLACE, &document());
        let refused = Trust::pin(root().public_key()).open("regions", "eu-1", &bytes);
        assert_eq!(refused, Err(Untrusted::Delegation));
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let root = root();
        let trust = Trust::pin(root.public_key());
        let bytes = control(&root).seal("regions", "eu-1", PLACE, &document());
        let good = trust.open("regions", "eu-1", &bytes).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut spoiled = bytes.clone();
            spoiled[at / 8] ^= 1 << (at % 8);
            // A flipped bit may hit a field number and make it an unknown field: then what is
            // left has to be refused, or to mean exactly the same.
            if let Ok(opened) = trust.open("regions", "eu-1", &spoiled) {
                assert_eq!(opened, good, "bit {at}");
            }
        }
    }
}
