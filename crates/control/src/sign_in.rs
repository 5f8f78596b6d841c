//! Sign-in of people by OpenID Connect: authorization code with PKCE
//! ([OpenID Connect Core section 3.1](https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth)).
//!
//! * **In**: what a browser comes back with, and what the provider says of the person.
//! * **Out**: a [`SignedIn`]: who it is, and what the configuration gives them for it. What they may
//!   do, and the token that they get, is decided by [`crate::identity`].
//! * **Absent**: sessions, passwords, refresh. The provider is asked once; its tokens are kept nowhere.
//!
//! Reading order: [`config`](SignInConfig), `pending` (what is kept between begin and end), `provider`
//! (its addresses and keys, fetched when needed), `exchange` (the code, and the ID token's checks),
//! `claims` (pure: who that is, and what they are given); `http` and `reach`: how it is called.

mod claims;
mod config;
mod exchange;
mod failure;
mod http;
mod pending;
mod provider;
mod reach;

#[cfg(test)]
mod tests;

use std::fmt;

use jiff::Timestamp;
use service::clock::SharedClock;
use store::{Store, StoreError};
use tracing::info;
use url::Url;

pub use self::config::{BadSignIn, GrantConfig, SignInConfig};
pub(crate) use self::failure::{Down, Failure};
use self::pending::Pending;
use self::provider::Provider;
use crate::identity::SignedIn;

/// Signs people in with one provider.
pub(crate) struct SignIn {
    provider: Provider,
    clock: SharedClock,
}

/// A sign-in that has begun.
pub(crate) struct Begun {
    /// Where to send the browser.
    pub(crate) authorization_url: Url,
    /// Comes back with the browser.
    pub(crate) state: String,
    /// Kept by who began.
    pub(crate) binding: String,
    /// Until when it can be ended.
    pub(crate) expires_at: Timestamp,
}

/// What the browser came back with, and what who began has kept.
pub(crate) struct Answer {
    /// As the browser brought it.
    pub(crate) state: String,
    /// As the browser brought it; empty where the provider gave an error.
    pub(crate) code: String,
    /// From [`Begun`].
    pub(crate) binding: String,
    /// As the browser brought it (RFC 9207); empty where it brought none.
    pub(crate) issuer: String,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

/// Why a sign-in does not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignInError {
    /// The browser may not be sent there.
    #[error("no browser is sent back there")]
    Redirect,
    /// There is no such sign-in: never begun, ended already, too old, or begun by somebody else.
    #[error("this sign-in is older than 10 minutes or was used already: start again")]
    Expired,
    /// The provider can't be used, by anybody.
    #[error(transparent)]
    Down(#[from] Down),
    /// The provider did not sign this person in.
    #[error(transparent)]
    Provider(#[from] Failure),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SignIn {
    /// Calls nobody: the provider is asked when somebody signs in.
    ///
    /// # Errors
    /// What is wrong with the configuration, by key.
    pub(crate) fn new(config: &SignInConfig, clock: SharedClock) -> Result<SignIn, BadSignIn> {
        let provider = Provider::new(config.settings()?, clock.clone());
        Ok(SignIn { provider, clock })
    }

    /// The provider's name, for people.
    pub(crate) fn name(&self) -> &str {
        &self.provider.settings().name
    }

    /// Begins a sign-in whose browser comes back to `redirect_uri`.
    pub(crate) async fn begin(
        &self,
        store: &Store,
        redirect_uri: &str,
    ) -> Result<Begun, SignInError> {
        if !self.provider.settings().allows_redirect(redirect_uri) {
            return Err(SignInError::Redirect);
        }
        let known = self.provider.known().await?;
        let begun = Pending::new(redirect_uri.to_owned(), self.clock.now());
        let authorization_url = self.provider.authorization_url(&known, &begun)?;
        begun.keep(store).await?;
        Ok(Begun {
            authorization_url,
            state: begun.state_text(),
            binding: begun.binding_text(),
            expires_at: begun.expires_at,
        })
    }

    /// Ends a sign-in: it can be done once.
    pub(crate) async fn complete(
        &self,
        store: &Store,
        answer: Answer,
    ) -> Result<SignedIn, SignInError> {
        // First, so that a sign-in is not used up while the provider can't be reached.
        let known = self.provider.known().await?;
        let now = self.clock.now();
        let taken = Pending::take(store, &answer.state, &answer.binding, now).await?;
        let begun = taken.ok_or(SignInError::Expired)?;
        known.check_issuer_parameter(&answer.issuer)?;
        if answer.code.is_empty() {
            let words = "it gave an error instead of a code".to_owned();
            return Err(Failure::Refused { step: failure::AUTHORIZATION, words }.into());
        }
        let told = self.provider.ask(known, &begun, answer.code).await?;
        let settings = self.provider.settings();
        let (person, roles) = claims::person(&told, settings)?;
        if person.granted.is_empty() {
            let claim = &settings.roles_claim;
            info!(claim, "somebody signs in to whom no role is granted here: {roles}");
        }
        Ok(person)
    }
}
