//! Our account at an ACME CA: made once, kept sealed, its thumbprint published before any order.

use std::path::PathBuf;

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use store::StoreError;
use tokio::sync::Mutex;
use tracing::info;
use zeroize::Zeroizing;

use crate::Core;
use crate::config::{Config, ConfigError};
use crate::failure::{Failure, Question};
use crate::http::{BadRoots, CaHttp};
use crate::sql::Membership;

/// A CA that speaks ACME, and who we are there.
pub(crate) struct Acme {
    pub(crate) directory: String,
    ca_file: Option<PathBuf>,
    contact: Vec<String>,
    eab: Option<(String, Zeroizing<Vec<u8>>)>,
    /// The account, once the CA's directory has been read with it.
    account: Mutex<Option<Account>>,
}

impl Acme {
    /// Reads the configuration; asks nobody.
    pub(crate) fn configured(config: &Config) -> Result<Acme, ConfigError> {
        let kid = config.eab.as_ref().map(|eab| eab.kid.clone());
        Ok(Acme {
            directory: config.directory.clone(),
            ca_file: config.ca_file.clone(),
            contact: config.contact_urls(),
            eab: kid.zip(config.eab_key()?),
            account: Mutex::default(),
        })
    }

    /// Says early that the CA's roots are missing where the operator named a file.
    pub(crate) fn check_roots(&self) -> Result<(), BadRoots> {
        match &self.ca_file {
            Some(file) => CaHttp::trusting(Some(file)).map(drop),
            None => Ok(()),
        }
    }

    /// The account, made where there is none.
    pub(crate) async fn account(&self, core: &Core) -> Result<Account, Failure> {
        let mut account = self.account.lock().await;
        if let Some(account) = &*account {
            return Ok(account.clone());
        }
        let known = core.db.membership(&self.directory).await;
        let opened = match known.map_err(|e| ours(&e))? {
            Some(membership) => self.restore(core, &membership).await?,
            None => self.create(core).await?,
        };
        *account = Some(opened.clone());
        Ok(opened)
    }

    /// Forgets an account that the CA does not know any more; the next order makes another.
    ///
    /// Orders under way hear it one after the other: the account that one of them has made stays.
    pub(crate) async fn forget(&self, core: &Core, thumbprint: &str) -> Result<(), StoreError> {
        let mut account = self.account.lock().await;
        core.db.leave(&self.directory, thumbprint).await?;
        account.take_if(|account| account.key_thumbprint() == thumbprint);
        Ok(())
    }

    async fn restore(&self, core: &Core, membership: &Membership) -> Result<Account, Failure> {
        let opened = core.kek.open(&self.place(), &membership.sealed).map_err(|e| ours(&e))?;
        let credentials: AccountCredentials =
            serde_json::from_slice(&opened).map_err(|e| ours(&e))?;
        let builder = Account::builder_with_http(Box::new(self.http()?));
        builder.from_credentials(credentials).await.map_err(of_account)
    }

    /// A crash between the CA's answer and our commit leaves an account that nobody has the key of:
    /// it orders nothing and costs nothing.
    async fn create(&self, core: &Core) -> Result<Account, Failure> {
        let contact: Vec<_> = self.contact.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let eab = self.eab.as_ref();
        let eab = eab.map(|(kid, key)| ExternalAccountKey::new(kid.clone(), key));
        let builder = Account::builder_with_http(Box::new(self.http()?));
        let created = builder.create(&wanted, self.directory.clone(), eab.as_ref()).await;
        let (account, credentials) = created.map_err(of_account)?;

        let credentials = serde_json::to_vec(&credentials).map_err(|e| ours(&e))?;
        let credentials = Zeroizing::new(credentials);
        let membership = Membership {
            sealed: core.kek.seal(&self.place(), &credentials).map_err(|e| ours(&e))?,
            public_part: account.key_thumbprint().to_owned(),
        };
        let joined = core.db.join(&self.directory, &membership, core.clock.now()).await;
        joined.map_err(|e| ours(&e))?;
        info!(directory = self.directory, account = account.id(), "has an account at the CA");
        // Edges answer challenges with the thumbprint of this account from now on.
        core.publish.wake();
        Ok(account)
    }

    fn http(&self) -> Result<CaHttp, BadRoots> {
        CaHttp::trusting(self.ca_file.as_deref())
    }

    /// Where the credentials are sealed for.
    fn place(&self) -> String {
        format!("authorities.key:{}", self.directory)
    }
}

/// What an error means while no order is asked for: whatever it is, the order stays unasked.
fn of_account(error: instant_acme::Error) -> Failure {
    let question = Question::NotSent;
    match Failure::of(error, "this account") {
        Failure::Outage { why, retry_after, .. } => Failure::Outage { why, question, retry_after },
        Failure::Refused { why, retry_after, .. } => {
            let why = format!("the CA gives us no account: {why}");
            Failure::Outage { why, question, retry_after }
        }
        other => other,
    }
}

fn ours(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::Ours(service::supervise::chain(error))
}
