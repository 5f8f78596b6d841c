//! How records are hashed into a chain, and how its end is sealed.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER_PERMISSIVE;
use zeroize::Zeroizing;

/// Bytes of an [`AuditKey`], of a hash and of a seal.
const BYTES: usize = 32;

/// First in what is hashed: what it is, and how the rest is laid out.
const RECORD: &str = "dmarcer audit record 1";
const HEAD: &str = "dmarcer audit head 1";

/// The secret that seals the ends of chains. Never in a database: who has both can write any history.
pub struct AuditKey(Zeroizing<[u8; BYTES]>);

/// The key has another length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an audit key has to have {BYTES} bytes")]
pub struct BadKey;

impl AuditKey {
    /// A key from its 32 bytes.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn new(bytes: &[u8]) -> Result<AuditKey, BadKey> {
        let mut key = Zeroizing::new([0; BYTES]);
        if bytes.len() != BYTES {
            return Err(BadKey);
        }
        key.copy_from_slice(bytes);
        Ok(AuditKey(key))
    }

    pub(crate) fn for_sealing(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice())
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey(…)")
    }
}

/// The hash of a record: SHA-256, shown as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; BYTES]);

/// The text is no [`Hash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 64 hex digits")]
pub struct BadHash;

impl Hash {
    /// What the first record of a chain has before it.
    pub(crate) const NONE: Hash = Hash([0; BYTES]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Hash, BadHash> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| BadHash)?;
        bytes.try_into().map(Hash).map_err(|_| BadHash)
    }
}

/// How far a chain went: to be noted elsewhere, and looked for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Of the last record; 0 where there is none.
    pub sequence: u64,
    /// Of the last record.
    pub hash: Hash,
}

/// A record as it stands in the database, without its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) workspace: String,
    pub(crate) sequence: i64,
    pub(crate) at: i64,
    pub(crate) who: String,
    pub(crate) who_id: String,
    pub(crate) role: String,
    pub(crate) from: String,
    pub(crate) request_id: String,
    pub(crate) action: String,
    pub(crate) about: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

impl Stored {
    /// Every column of the record, the service it belongs to, and the hash before it.
    pub(crate) fn hash(&self, service: &str, before: &Hash) -> Hash {
        let mut laid_out = LaidOut(Vec::with_capacity(1024));
        laid_out.text(RECORD);
        laid_out.text(service);
        laid_out.text(&self.workspace);
        laid_out.number(self.sequence);
        laid_out.number(self.at);
        laid_out.text(&self.who);
        laid_out.text(&self.who_id);
        laid_out.text(&self.role);
        laid_out.text(&self.from);
        laid_out.text(&self.request_id);
        laid_out.text(&self.action);
        laid_out.text(&self.about);
        laid_out.text_or_none(self.before.as_deref());
        laid_out.text_or_none(self.after.as_deref());
        laid_out.0.extend_from_slice(&before.0);
        sha256(&laid_out.0)
    }
}

/// The seal of a chain's end.
pub(crate) fn seal(
    key: &hmac::Key,
    service: &str,
    workspace: &str,
    sequence: i64,
    hash: &[u8],
) -> Vec<u8> {
    hmac::sign(key, &sealed(service, workspace, sequence, hash)).as_ref().to_vec()
}

/// Whether that is the seal of this end.
pub(crate) fn is_sealed(
    key: &hmac::Key,
    service: &str,
    workspace: &str,
    (sequence, hash, seal): (i64, &[u8], &[u8]),
) -> bool {
    hmac::verify(key, &sealed(service, workspace, sequence, hash), seal).is_ok()
}

fn sealed(service: &str, workspace: &str, sequence: i64, hash: &[u8]) -> Vec<u8> {
    let mut laid_out = LaidOut(Vec::new());
    laid_out.text(HEAD);
    laid_out.text(service);
    laid_out.text(workspace);
    laid_out.number(sequence);
    laid_out.bytes(hash);
    laid_out.0
}

/// Values one after the other, each with its length, so that no two lists look alike: numbers are
/// eight bytes, big-endian; texts and bytes are a number and themselves; what may be absent has one
/// byte before it, 0 or 1.
pub(crate) struct LaidOut(pub(crate) Vec<u8>);

impl LaidOut {
    pub(crate) fn number(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn text_or_none(&mut self, text: Option<&str>) {
        self.0.push(u8::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    let mut hash = Hash::NONE;
    hash.0.copy_from_slice(context.finish().as_ref());
    hash
}
