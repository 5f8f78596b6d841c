//! The keys of `[issuer]`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use serde::Deserialize;
use service::config::Secret;
use service::files::{FileError, read_or_create_key};
use service::sealed::{KEK_BYTES, Kek, SealError};
use zeroize::Zeroizing;

/// Let's Encrypt's production directory.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// More orders at once bring nothing: a CA's limit on an account is 300 in three hours.
const MAX_ORDERS_AT_ONCE: usize = 64;

/// Shorter ones would end before a renewal that fails once is tried again; longer ones are not taken
/// by clients such as Apple's, whoever signed.
const LOCAL_VALIDITY_SECONDS: RangeInclusive<u64> = 5 * 60..=825 * 24 * 60 * 60;

/// `[issuer]`.
///
/// By setting `kind = "acme"`, which is the default, the operator agrees to the terms of service of
/// the CA at `directory`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of its gRPC API when it is served by itself.
    pub listen: Option<SocketAddr>,
    /// `sqlite://<file>` or `postgres://…`; `issuer.db` in the data directory where left out.
    pub store: Option<String>,
    /// Who issues: `acme`, or `local` for closed networks.
    pub kind: Kind,
    /// URL of the CA's ACME directory.
    pub directory: String,
    /// PEM file with the roots to trust for the CA's own API; the system's where left out.
    pub ca_file: Option<PathBuf>,
    /// Where the CA may write to: `mailto:ops@example.com`, or the mail address alone.
    #[serde(deserialize_with = "service::config::one_or_many")]
    pub contact: Vec<String>,
    /// Binds the ACME account to one at the CA, where the CA asks for it (RFC 8555 section 7.3.4).
    pub eab: Option<Eab>,
    /// Key-encryption key: 64 hex digits. Where left out, `issuer.kek` in the data directory, made
    /// at the first start. Whoever has it and the database has every private key.
    pub kek: Option<Secret>,
    /// Orders under way at the same time, 1 to 64.
    pub orders_at_once: usize,
    /// Seconds that a certificate of the local CA is valid, from 5 minutes to 825 days.
    pub local_validity_seconds: u64,
}

/// Who issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A CA that speaks ACME (RFC 8555).
    #[default]
    Acme,
    /// A CA of our own, made at the first start, that nobody trusts by itself.
    Local,
}

/// External account binding.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Eab {
    /// The key's identifier, as the CA gave it.
    pub kid: String,
    /// The key, as the CA gave it: base64url.
    pub key: Secret,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: None,
            store: None,
            kind: Kind::Acme,
            directory: LETS_ENCRYPT.to_owned(),
            ca_file: None,
            contact: Vec::new(),
            eab: None,
            kek: None,
            orders_at_once: 8,
            local_validity_seconds: 90 * 24 * 60 * 60,
        }
    }
}

/// A value of `[issuer]` that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Only its form is wrong.
    #[error("issuer.{key}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// What to write instead.
        why: &'static str,
    },
    /// The key-encryption key's file can't be used.
    #[error("issuer.kek")]
    KekFile(#[from] FileError),
    /// The key-encryption key's file holds another thing.
    #[error("issuer.kek: {} bytes of key file expected", KEK_BYTES)]
    KekFileLength(#[source] SealError),
}

impl Config {
    /// What is wrong with these values; `dmarcer config check` says it before anything starts.
    ///
    /// # Errors
    /// The first value that can't be used, by key.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, why| Err(ConfigError::Value { key, why });
        if !self.directory.starts_with("https://") {
            return wrong("directory", "it has to be the https:// URL of an ACME directory");
        }
        if !(1..=MAX_ORDERS_AT_ONCE).contains(&self.orders_at_once) {
            return wrong("orders_at_once", "it has to be 1 to 64");
        }
        if !LOCAL_VALIDITY_SECONDS.contains(&self.local_validity_seconds) {
            return wrong(
                "local_validity_seconds",
                "it has to be 300 (5 minutes) to 71280000 (825 days)",
            );
        }
        self.eab_key()?;
        self.written_kek()?;
        Ok(())
    }

    /// The key-encryption key: the one written here, or else the file `issuer.kek` in `data_dir`,
    /// which is made if it is missing.
    ///
    /// # Errors
    /// When either is no key, or the file can't be read or made.
    pub fn kek(&self, data_dir: &Path) -> Result<Kek, ConfigError> {
        if let Some(kek) = self.written_kek()? {
            return Ok(kek);
        }
        let make = || rand::random::<[u8; KEK_BYTES]>().to_vec();
        let key = read_or_create_key(&data_dir.join("issuer.kek"), make)?;
        Kek::new(&key).map_err(ConfigError::KekFileLength)
    }

    /// Contacts as URLs (RFC 8555 section 7.3).
    pub(crate) fn contact_urls(&self) -> Vec<String> {
        let as_url = |contact: &String| match contact.contains(':') {
            true => contact.clone(),
            false => format!("mailto:{contact}"),
        };
        self.contact.iter().map(as_url).collect()
    }

    /// The binding's raw key.
    pub(crate) fn eab_key(&self) -> Result<Option<Zeroizing<Vec<u8>>>, ConfigError> {
        let Some(eab) = &self.eab else {
            return Ok(None);
        };
        let text = eab.key.expose().trim_end_matches('=');
        match BASE64URL_NOPAD.decode(text.as_bytes()) {
            Ok(key) if !key.is_empty() => Ok(Some(Zeroizing::new(key))),
            _ => Err(ConfigError::Value {
                key: "eab.key",
                why: "it has to be base64url, as the CA shows it",
            }),
        }
    }

    fn written_kek(&self) -> Result<Option<Kek>, ConfigError> {
        let Some(kek) = &self.kek else {
            return Ok(None);
        };
        let bytes = HEXLOWER_PERMISSIVE.decode(kek.expose().as_bytes());
        let kek = bytes.ok().and_then(|bytes| Kek::new(&Zeroizing::new(bytes)).ok());
        kek.map(Some).ok_or(ConfigError::Value {
            key: "kek",
            why: "it has to be 64 hex digits, for example from `openssl rand -hex 32`",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(), String> {
        let config: Config = toml::from_str(text).map_err(|e| e.to_string())?;
        config.check().map_err(|e| e.to_string())
    }

    #[test]
    fn values_that_cannot_be_used_are_named_by_their_key() {
        fn check(text: &str, named: &str) {
            let error = read(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
        check("directory = 'acme.example'", "issuer.directory");
        check("directory = 'http://127.0.0.1/dir'", "issuer.directory");
        check("orders_at_once = 0", "issuer.orders_at_once");
        for seconds in [0_u64, 5, 299, 71_280_001, i64::MAX as u64] {
            let text = format!("local_validity_seconds = {seconds}");
            check(&text, "issuer.local_validity_seconds");
        }
        check("kek = 'abc'", "issuer.kek");
        check("kind = 'acmee'", "acmee");
        check("fallback = {}", "fallback");
        check("[eab]\nkid = 'a'\nkey = '!'", "issuer.eab.key");
        check("[eab]\nkid = 'a'", "key");
    }

    #[test]
    fn the_defaults_and_a_full_table_are_good() {
        read("").unwrap();
        let kek = "0a".repeat(32);
        let full = format!(
            "listen = '127.0.0.1:0'\nstore = 'sqlite:///x.db'\nkind = 'local'\nca_file = 'ca.pem'\n\
             contact = ['ops@example.com']\nkek = '{kek}'\n[eab]\nkid = 'a'\nkey = 'YWJj'"
        );
        read(&full).unwrap();
    }

    #[test]
    fn a_contact_may_be_a_plain_mail_address() {
        let config = Config {
            contact: vec!["a@example.com".into(), "mailto:b@example.com".into()],
            ..Config::default()
        };
        let expected = ["mailto:a@example.com", "mailto:b@example.com"];
        assert_eq!(config.contact_urls(), expected);
    }
}
