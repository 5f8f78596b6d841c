//! What is served: a policy and a certificate for each name.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use service::sealed::Kek;
use tracing::{debug, warn};
use wire::{Message, bus};
use zeroize::Zeroizing;

use crate::cache::Cache;
use crate::follow::Again;
use crate::seldom::Seldom;
use crate::store::record::Record;
use crate::store::{Store, Table};

/// Names that are kept ready in memory, at some 6 KB each. Most of a million names are fetched a
/// few times a day; the hot ones many times a second.
const HOT_SITES: usize = 20_000;

/// The key of the thumbprints that hold for every name without its own.
pub(crate) const ACCOUNT: &str = "account";

/// A name that is served: both a policy and a certificate are here.
#[derive(Debug)]
pub(crate) struct Site {
    /// Lower-case A-label of the policy domain.
    pub(crate) domain: Arc<str>,
    /// Chain and key, ready to sign.
    pub(crate) certified: Arc<CertifiedKey>,
    /// The policy file.
    pub(crate) body: Bytes,
    /// Its length as a header.
    pub(crate) length: HeaderValue,
    /// The policy's revision, counted with each fetch.
    pub(crate) revision: u64,
}

/// The names that this edge serves, from its store.
pub(crate) struct Sites {
    store: Arc<dyn Store>,
    credential: Arc<Kek>,
    provider: Arc<CryptoProvider>,
    again: Arc<Again>,
    hot: Cache<Site>,
    /// Anyone can ask for a damaged name at any rate.
    said: Seldom,
}

impl Sites {
    /// Serves from `store`, whose private keys are encrypted under `credential`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        credential: Arc<Kek>,
        provider: Arc<CryptoProvider>,
        again: Arc<Again>,
    ) -> Sites {
        Sites {
            store,
            credential,
            provider,
            again,
            hot: Cache::new(HOT_SITES),
            said: Seldom::default(),
        }
    }

    /// What to serve for a domain; none unless it is here whole. A damaged part is asked for again.
    pub(crate) fn site(&self, domain: &str) -> Option<Arc<Site>> {
        let ticket = match self.hot.get(domain) {
            Ok(site) => return Some(site),
            Err(ticket) => ticket,
        };
        let site = Arc::new(self.load(domain)?);
        self.hot.keep(ticket, domain, site.clone());
        Some(site)
    }

    /// Whether a policy for the domain is here, with or without a certificate.
    pub(crate) fn hosts(&self, domain: &str) -> bool {
        self.record(Table::Policies, domain).is_some()
    }

    /// The thumbprint that answers challenges for a domain.
    pub(crate) fn thumbprint(&self, domain: &str) -> Option<String> {
        let record = self
            .record(Table::Challenges, domain)
            .or_else(|| self.record(Table::Challenges, ACCOUNT))?;
        let document = bus::ChallengeDocument::decode(record.document.as_slice()).ok()?;
        // Newest first: after a change of accounts it is the new one that orders.
        document.thumbprints.into_iter().next()
    }

    /// From now on what the store holds is served for these domains.
    pub(crate) fn changed<'a>(&self, domains: impl IntoIterator<Item = &'a str>) {
        for domain in domains {
            self.hot.remove(domain);
        }
    }

    /// From now on what the store holds is served for all domains.
    pub(crate) fn all_changed(&self) {
        self.hot.clear();
    }

    fn load(&self, domain: &str) -> Option<Site> {
        let policy = self.record(Table::Policies, domain)?;
        let policy = bus::PolicyDocument::decode(policy.document.as_slice()).ok()?;
        let certificate = self.record(Table::Certificates, domain)?;
        let Some(certified) = certified(&self.provider, &self.credential, domain, &certificate)
        else {
            if self.said.may_say(domain) {
                warn!(domain, "its private key can't be opened: asking for it again");
            }
            self.again.want(Table::Certificates);
            return None;
        };
        Some(Site {
            domain: domain.into(),
            certified: Arc::new(certified),
            length: HeaderValue::from(policy.body.len()),
            body: policy.body.into(),
            revision: policy.revision,
        })
    }

    fn record(&self, table: Table, key: &str) -> Option<Record> {
        match self.store.get(table, key) {
            Ok(None) => None,
            Ok(Some(bytes)) => match Record::open(table, key, &bytes) {
                Ok(record) => Some(record),
                Err(_) => {
                    if self.said.may_say(key) {
                        let table = table.name();
                        warn!(table, key, "a record is damaged: asking for it again");
                    }
                    self.again.want(table);
                    None
                }
            },
            Err(fault) => {
                // The log has the fault already where it matters, and anyone can ask for any name.
                debug!(table = table.name(), key, %fault, "a record can't be read");
                self.again.want(table);
                None
            }
        }
    }
}

/// The place that a private key is encrypted for.
pub(crate) fn key_place(domain: &str) -> String {
    format!("edge.certificates.key:{domain}")
}

/// A certificate's chain and key, if this edge's credential opens it.
pub(crate) fn certified(
    provider: &CryptoProvider,
    credential: &Kek,
    domain: &str,
    record: &Record,
) -> Option<CertifiedKey> {
    let document = bus::CertificateDocument::decode(record.document.as_slice()).ok()?;
    let encrypted = document.key?.ciphertext;
    let pkcs8 = credential.open(&key_place(domain), &encrypted).ok()?;
    chain_and_key(provider, document.chain, &pkcs8).ok()
}

/// A chain with its key, ready to sign. Whether the two belong together is not checked here.
pub(crate) fn chain_and_key(
    provider: &CryptoProvider,
    chain: Vec<Vec<u8>>,
    pkcs8: &Zeroizing<Vec<u8>>,
) -> Result<CertifiedKey, rustls::Error> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_slice())).clone_key();
    let key = provider.key_provider.load_private_key(key)?;
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    Ok(CertifiedKey::new(chain, key))
}
