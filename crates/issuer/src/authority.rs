//! Who issues: an ACME CA or the local one, behind the same three steps.

use hosting::Domain;
use rcgen::KeyPair;
use store::StoreError;

use crate::Core;
use crate::account::Acme;
use crate::acme;
use crate::failure::Failure;
use crate::local::{self, LocalCa};

/// The local CA keeps no orders: asked for the same one again, it signs again.
const LOCAL_ORDER: &str = "local";

/// An authority.
pub(crate) enum Authority {
    Acme(Acme),
    Local(LocalCa),
}

impl Authority {
    /// The name under which what we are there is stored.
    pub(crate) fn name(&self) -> &str {
        match self {
            Authority::Acme(acme) => &acme.directory,
            Authority::Local(_) => local::NAME,
        }
    }

    /// The thumbprint with which edges answer challenges; `None` while there is no account. Empty
    /// for an authority that asks for no answer.
    pub(crate) async fn thumbprint(&self, core: &Core) -> Result<Option<String>, StoreError> {
        match self {
            Authority::Acme(acme) => {
                let membership = core.db.membership(&acme.directory).await?;
                Ok(membership.map(|membership| membership.public_part))
            }
            Authority::Local(_) => Ok(Some(String::new())),
        }
    }

    /// Makes sure that there is an account; gives its thumbprint.
    pub(crate) async fn account(&self, core: &Core) -> Result<String, Failure> {
        match self {
            Authority::Acme(acme) => Ok(acme.account(core).await?.key_thumbprint().to_owned()),
            Authority::Local(_) => Ok(String::new()),
        }
    }

    /// Asks for an order; gives where it is kept.
    pub(crate) async fn place(&self, core: &Core, domain: &Domain) -> Result<String, Failure> {
        match self {
            Authority::Acme(acme) => acme::place(&acme.account(core).await?, domain).await,
            Authority::Local(_) => Ok(LOCAL_ORDER.to_owned()),
        }
    }

    /// Takes an order to its end; gives the chain in PEM.
    pub(crate) async fn finish(
        &self,
        core: &Core,
        order_url: &str,
        domain: &Domain,
        key: &KeyPair,
    ) -> Result<String, Failure> {
        match self {
            Authority::Acme(acme) => {
                let account = acme.account(core).await?;
                acme::finish(&account, order_url, domain, key).await
            }
            Authority::Local(ca) => ca.issue(domain, key, core.clock.now()),
        }
    }

    /// Forgets the account with this thumbprint: the CA does not know it any more.
    pub(crate) async fn forget_account(
        &self,
        core: &Core,
        thumbprint: &str,
    ) -> Result<(), StoreError> {
        match self {
            Authority::Acme(acme) => acme.forget(core, thumbprint).await,
            Authority::Local(_) => Ok(()),
        }
    }
}
