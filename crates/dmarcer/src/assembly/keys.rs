//! The keys of a process that is the whole fleet, kept in files below its data directory.

use std::path::PathBuf;

use service::files::{FileError, read_or_create_key};
use service::sealed::{KEK_BYTES, Kek, SealError};
use wire::envelope::{BadKey, Root, Signer, Trust, new_key};
use wire::sealing::{RegionKey, SealingError};
use zeroize::Zeroizing;

/// A key could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// Its file could not.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no signing key.
    #[error("{name}.key in {} can't be used", folder.display())]
    Signing { name: String, folder: PathBuf, source: BadKey },
    /// It is no region's key.
    #[error("the key of region {region} in {} can't be used", folder.display())]
    Region { region: String, folder: PathBuf, source: SealingError },
    /// It is no secret of 32 bytes.
    #[error("{name}.key in {} has to hold 32 bytes", folder.display())]
    Secret { name: String, folder: PathBuf },
    /// It is no key-encryption key.
    #[error("the edge's credential in {} can't be used", folder.display())]
    Credential { folder: PathBuf, source: SealError },
}

/// A folder of keys. Each is made when it is first needed, and is good for ever after.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    folder: PathBuf,
}

impl Keys {
    /// Keys in a folder.
    pub(crate) fn new(folder: PathBuf) -> Keys {
        Keys { folder }
    }

    /// What every reader of the bus believes.
    pub(crate) fn trust(&self) -> Result<Trust, KeyError> {
        Ok(Trust::pin(self.root()?.public_key()))
    }

    /// The key that a service signs its buckets with.
    pub(crate) fn signer(&self, service: &str, buckets: &[&str]) -> Result<Signer, KeyError> {
        let pkcs8 = self.signing_key(service)?;
        Signer::delegated_by(&self.root()?, service, &pkcs8, buckets)
            .map_err(self.unusable(service))
    }

    /// What an edge encrypts private keys with on its disk.
    pub(crate) fn edge_credential(&self) -> Result<Kek, KeyError> {
        let make = || rand::random::<[u8; KEK_BYTES]>().to_vec();
        let key = read_or_create_key(&self.folder.join("edge-credential.key"), make)?;
        let folder = || self.folder.clone();
        Kek::new(&key).map_err(|source| KeyError::Credential { folder: folder(), source })
    }

    /// The key pair that private keys of a region's domains are sealed to. The file holds the raw
    /// private half, as an edge elsewhere would be given it, and the public one after it.
    pub(crate) fn region(&self, region: &str) -> Result<RegionKey, KeyError> {
        let unusable = |source| KeyError::Region {
            region: region.to_owned(),
            folder: self.folder.clone(),
            source,
        };
        let made = RegionKey::generate().map_err(unusable)?;
        let path = self.folder.join(format!("region-{region}.key"));
        let make = || [made.private.as_slice(), &made.public].concat();
        let kept = read_or_create_key(&path, make)?;
        match kept.split_at_checked(made.private.len()) {
            Some((private, public)) if public.len() == made.public.len() => {
                Ok(RegionKey { public: public.to_vec(), private: Zeroizing::new(private.to_vec()) })
            }
            _ => Err(unusable(SealingError::Open)),
        }
    }

    /// A secret of 32 random bytes that a service needs for itself.
    pub(crate) fn secret(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let make = || rand::random::<[u8; 32]>().to_vec();
        let kept = read_or_create_key(&self.folder.join(format!("{name}.key")), make)?;
        let secret = <[u8; 32]>::try_from(kept.as_slice());
        let (name, folder) = (name.to_owned(), self.folder.clone());
        secret.map(Zeroizing::new).map_err(|_| KeyError::Secret { name, folder })
    }

    fn root(&self) -> Result<Root, KeyError> {
        Root::from_pkcs8(&self.signing_key("root")?).map_err(self.unusable("root"))
    }

    fn signing_key(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let made = Zeroizing::new(new_key().map_err(self.unusable(name))?);
        let path = self.folder.join(format!("{name}.key"));
        Ok(read_or_create_key(&path, || made.to_vec())?)
    }

    fn unusable(&self, name: &str) -> impl FnOnce(BadKey) -> KeyError {
        let (name, folder) = (name.to_owned(), self.folder.clone());
        move |source| KeyError::Signing { name, folder, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_fit_together_after() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::new(folder.path().join("keys"));
        let place = wire::envelope::Place { revision: 1, position: 1 };
        let envelope =
            keys.signer("control", &["regions"]).unwrap().tombstone("regions", "a", place);
        let again = Keys::new(folder.path().join("keys"));
        assert!(again.trust().unwrap().open("regions", "a", &envelope).is_ok());
        assert_eq!(keys.region("eu-1").unwrap().public, again.region("eu-1").unwrap().public);
        assert_ne!(keys.region("eu-1").unwrap().public, keys.region("eu-2").unwrap().public);
        keys.edge_credential().unwrap();
    }
}
