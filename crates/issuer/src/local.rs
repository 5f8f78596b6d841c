//! A CA of our own, for closed networks and first steps: its root is made once and has to be given
//! to clients, since nobody trusts it by itself.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use hosting::Domain;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use service::sealed::{Kek, SealError};
use store::StoreError;

use crate::certificate::{BadKey, key, new_key, params};
use crate::failure::Failure;
use crate::sql::{Db, Membership};

/// Its name among authorities.
pub(crate) const NAME: &str = "local";

/// Where the root's key is sealed for.
const PLACE: &str = "authorities.key:local";

const ROOT_VALID: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);

/// Certificates begin this long ago, for clients whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(60);

/// The local CA could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LocalCaError {
    /// The database did not answer.
    #[error("the local CA's key can't be read")]
    Store(#[from] StoreError),
    /// The key is sealed under another key-encryption key.
    #[error("the local CA's key can't be opened: issuer.kek is not the one it was sealed with")]
    Sealed(#[from] SealError),
    /// The key or the root could not be made.
    #[error("the local CA's root can't be made")]
    Make(#[from] rcgen::Error),
    /// The root could not be written for clients.
    #[error("{} can't be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl From<BadKey> for LocalCaError {
    fn from(BadKey(e): BadKey) -> LocalCaError {
        LocalCaError::Make(e)
    }
}

/// The local CA.
pub(crate) struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    valid_for: Duration,
}

impl LocalCa {
    /// Opens the CA, made where there is none, and writes its root to a file for clients.
    pub(crate) async fn open(
        db: &Db,
        kek: &Kek,
        root_file: &Path,
        valid_for: Duration,
        now: Timestamp,
    ) -> Result<LocalCa, LocalCaError> {
        let known = match db.membership(NAME).await? {
            Some(known) => known,
            None => {
                let made = make(kek, now)?;
                db.join(NAME, &made, now).await?;
                made
            }
        };
        let pkcs8 = kek.open(PLACE, &known.sealed)?;
        let key = key(&pkcs8)?;
        fs::write(root_file, &known.public_part)
            .map_err(|source| LocalCaError::Write { path: root_file.to_owned(), source })?;
        Ok(LocalCa { issuer: Issuer::from_ca_cert_pem(&known.public_part, key)?, valid_for })
    }

    /// Issues a chain, in PEM: the leaf alone, as the root is for clients to have.
    pub(crate) fn issue(
        &self,
        domain: &Domain,
        key: &KeyPair,
        now: Timestamp,
    ) -> Result<String, Failure> {
        let leaf = self.leaf(domain, key, now);
        leaf.map_err(|e| Failure::Ours(format!("the local CA can't sign: {e}")))
    }

    fn leaf(&self, domain: &Domain, key: &KeyPair, now: Timestamp) -> Result<String, rcgen::Error> {
        let mut params = params(domain)?;
        validity(&mut params, now, self.valid_for);
        params.serial_number = Some(new_serial());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }
}

fn make(kek: &Kek, now: Timestamp) -> Result<Membership, LocalCaError> {
    let key = new_key()?;
    let mut params = CertificateParams::default();
    validity(&mut params, now, ROOT_VALID);
    params.serial_number = Some(new_serial());
    params.distinguished_name.push(DnType::CommonName, "DMARCER local CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root = params.self_signed(&key)?;
    Ok(Membership { sealed: kek.seal(PLACE, key.serialized_der())?, public_part: root.pem() })
}

fn validity(params: &mut CertificateParams, now: Timestamp, valid_for: Duration) {
    let epoch = date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now + valid_for;
}

/// Sixteen random bytes with the first bit off, as a serial is positive and at most 20 bytes
/// (RFC 5280 section 4.1.2.2).
fn new_serial() -> SerialNumber {
    let mut random: [u8; 16] = rand::random();
    random[0] = random[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&random)
}

#[cfg(test)]
mod tests {
    use audit::AuditKey;
    use service::clock::SetClock;

    use super::*;
    use crate::certificate::check;

    async fn open(folder: &Path, kek: u8) -> Result<LocalCa, LocalCaError> {
        let url = format!("sqlite://{}/issuer.db", folder.display());
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        let audit_key = AuditKey::new(&[9; 32]).unwrap();
        let db = Db::open(&url, &audit_key, SetClock::at(now)).await.unwrap();
        let kek = Kek::new(&[kek; 32]).unwrap();
        let root_file = folder.join("root.pem");
        LocalCa::open(&db, &kek, &root_file, Duration::from_secs(3600), now).await
    }

    #[tokio::test]
    async fn its_root_is_made_once_and_its_certificates_are_good() {
        let folder = tempfile::tempdir().unwrap();
        let root = || fs::read_to_string(folder.path().join("root.pem")).unwrap();
        open(folder.path(), 7).await.unwrap();
        let first = root();
        let again = open(folder.path(), 7).await.unwrap();
        assert_eq!(root(), first);

        let domain = Domain::parse("example.com").unwrap();
        let key = new_key().unwrap();
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let chain = again.issue(&domain, &key, now).unwrap();
        let chain = check(&chain, &domain, &key, now).unwrap();
        assert_eq!(chain.issuer, "DMARCER local CA");
        assert_eq!(chain.not_after, now + jiff::SignedDuration::from_hours(1));
    }

    #[tokio::test]
    async fn another_key_encryption_key_does_not_open_it() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), 7).await.unwrap();
        let refused = open(folder.path(), 8).await.err().unwrap();
        assert!(matches!(refused, LocalCaError::Sealed(_)), "{refused}");
    }
}
