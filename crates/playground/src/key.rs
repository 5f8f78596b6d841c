//! The key that may change zones.

use std::fmt;

use data_encoding::BASE64;
use hickory_proto::dnssec::DnsSecError;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigner};

/// The only algorithm that is offered; RFC 8945 section 6 requires it of everybody.
const ALGORITHM: &str = "hmac-sha256";

/// As long as the hash.
const SECRET_BYTES: usize = 32;

/// Seconds by which two clocks may differ: RFC 8945 section 10 recommends 300.
const FUDGE_SECONDS: u16 = 300;

/// A TSIG key (RFC 8945), written as `hmac-sha256:NAME:SECRET` with the secret in base64: as
/// `nsupdate -y` and `knsupdate -y` take it.
#[derive(Clone)]
pub struct UpdateKey {
    name: Name,
    secret: Vec<u8>,
}

/// A text that is no key of ours.
#[derive(Debug, thiserror::Error)]
#[error("the key for DNS updates can't be used: it has to read hmac-sha256:NAME:SECRET in base64")]
pub struct BadKey;

impl UpdateKey {
    /// A new key.
    ///
    /// # Errors
    /// When the name can't be one.
    pub fn generate(name: &str) -> Result<UpdateKey, BadKey> {
        let secret: [u8; SECRET_BYTES] = rand::random();
        let name = Name::from_ascii(name).map_err(|_| BadKey)?;
        Ok(UpdateKey { name, secret: secret.to_vec() })
    }

    /// Reads a key.
    ///
    /// # Errors
    /// When it is not written as above.
    pub fn parse(text: &str) -> Result<UpdateKey, BadKey> {
        let mut parts = text.trim().splitn(3, ':');
        let (Some(ALGORITHM), Some(name), Some(secret)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(BadKey);
        };
        let secret = BASE64.decode(secret.as_bytes()).map_err(|_| BadKey)?;
        let name = Name::from_ascii(name).map_err(|_| BadKey)?;
        if secret.is_empty() || name.is_root() {
            return Err(BadKey);
        }
        Ok(UpdateKey { name, secret })
    }

    /// The key as text. Mind where it goes.
    pub fn expose(&self) -> String {
        let name = self.name.to_ascii();
        format!("{ALGORITHM}:{name}:{}", BASE64.encode(&self.secret))
    }

    pub(crate) fn signer(&self) -> Result<TSigner, DnsSecError> {
        let algorithm = TsigAlgorithm::HmacSha256;
        TSigner::new(self.secret.clone(), algorithm, self.name.clone(), FUDGE_SECONDS)
    }
}

impl fmt::Debug for UpdateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpdateKey({}, …)", self.name)
    }
}
