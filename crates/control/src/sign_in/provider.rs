//! The provider: its addresses and keys, fetched when they are needed and kept for an hour.
//!
//! Nothing here runs before somebody signs in, so a provider that is down keeps nothing from starting.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient,
    CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{
    AdditionalProviderMetadata, AuthType, ClientId, ClientSecret, CsrfToken, DiscoveryError,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, JsonWebKeySet, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, ProviderMetadata, RedirectUrl, Scope, TokenUrl,
    UserInfoUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::clock::SharedClock;
use tokio::sync::Mutex;
use tracing::warn;
use url::Url;

use super::claims::Told;
use super::config::Settings;
use super::exchange::{self, Unverified};
use super::failure::{AUTHORIZATION, DISCOVERY, Down, Failure, KEYS};
use super::http::{Http, HttpError};
use super::pending::Pending;

/// How long addresses and keys are believed without another look.
const KEPT: SignedDuration = SignedDuration::from_hours(1);
/// After a failure nobody asks again for so long: each question can take ten seconds, and people
/// press buttons more often than that.
const PAUSE_AFTER_FAILURE: SignedDuration = SignedDuration::from_secs(3);
/// A provider that names a key which it doesn't show is not asked for its keys more often.
const PAUSE_BETWEEN_KEYS: SignedDuration = SignedDuration::from_secs(10);
/// Shorter RSA keys can be broken, and none are allowed (RFC 7518 section 3.3).
const MIN_RSA_BYTES: usize = 2048 / 8;

/// What a discovery document says.
pub(super) type Metadata = ProviderMetadata<
    Extras,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// Our client at the provider, as far as its discovery document makes it one.
pub(super) type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// What later standards have added to discovery documents.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub(super) struct Extras {
    /// Every answer carries an `iss` (RFC 9207 section 3).
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for Extras {}

/// One provider.
pub(super) struct Provider {
    settings: Settings,
    clock: SharedClock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Option<Arc<Known>>,
    failed: Option<(Timestamp, Down)>,
    keys_asked_at: Option<Timestamp>,
}

/// A provider's addresses and keys, as of a moment.
pub(super) struct Known {
    pub(super) http: Arc<Http>,
    /// With the keys that signatures are believed by.
    pub(super) metadata: Metadata,
    at: Timestamp,
}

impl Provider {
    pub(super) fn new(settings: Settings, clock: SharedClock) -> Provider {
        Provider { settings, clock, state: Mutex::default() }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where to send the browser of somebody who begins.
    pub(super) fn authorization_url(&self, known: &Known, begun: &Pending) -> Result<Url, Failure> {
        let client = self.client(known, begun)?;
        let verifier = PkceCodeVerifier::new(begun.verifier_text());
        let scopes = self.settings.scopes.iter().map(|scope| Scope::new(scope.clone()));
        let state = begun.state_text();
        let nonce = begun.nonce_text();
        let (url, _, _) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .add_scopes(scopes)
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        Ok(url)
    }

    /// Exchanges a code for what the provider says of the person.
    pub(super) async fn ask(
        &self,
        mut known: Arc<Known>,
        begun: &Pending,
        code: String,
    ) -> Result<Told, Failure> {
        let client = self.client(&known, begun)?;
        let tokens = exchange::exchange(&client, &known, begun, code).await?;
        let now = self.clock.now();
        let id_token = match exchange::verify(&tokens, &known, &self.settings, begun, now) {
            Err(Unverified::UnknownKey) => {
                known = self.with_newer_keys(known).await?;
                exchange::verify(&tokens, &known, &self.settings, begun, now)
            }
            verified => verified,
        };
        let id_token = id_token.map_err(Failure::from)?;
        exchange::complete(&client, &known, &tokens, id_token, &self.settings).await
    }

    /// The provider's addresses and keys; fetched where they are not known or too old.
    pub(super) async fn known(&self) -> Result<Arc<Known>, Down> {
        // Held while they are fetched: others wait for that instead of asking, too.
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        if let Some(known) = state.known.as_ref().filter(|known| is_within(known.at, now, KEPT)) {
            return Ok(known.clone());
        }
        if let Some((at, down)) = &state.failed
            && is_within(*at, now, PAUSE_AFTER_FAILURE)
        {
            return Err(down.clone());
        }
        match self.discover(now).await {
            Ok(known) => {
                let known = Arc::new(known);
                *state = State { known: Some(known.clone()), ..State::default() };
                Ok(known)
            }
            Err(failure) => {
                warn!(issuer = self.settings.issuer_text, "nobody can sign in: {failure}");
                let down = Down(failure);
                let failed = Some((self.clock.now(), down.clone()));
                *state = State { failed, ..State::default() };
                Err(down)
            }
        }
    }

    /// As known, with the keys fetched anew: providers change them.
    async fn with_newer_keys(&self, known: Arc<Known>) -> Result<Arc<Known>, Failure> {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let newest = state.known.clone().unwrap_or_else(|| known.clone());
        let asked_lately =
            state.keys_asked_at.is_some_and(|at| is_within(at, now, PAUSE_BETWEEN_KEYS));
        if asked_lately || !Arc::ptr_eq(&newest, &known) {
            return Ok(newest);
        }
        state.keys_asked_at = Some(now);
        let uri = newest.metadata.jwks_uri();
        let keys = JsonWebKeySet::fetch_async(uri, newest.http.as_ref()).await;
        let keys = strong(&keys.map_err(|error| unfit(KEYS, error))?);
        let Known { http, metadata, at } = newest.as_ref();
        let metadata = metadata.clone().set_jwks(keys);
        let known = Arc::new(Known { http: http.clone(), metadata, at: *at });
        state.known = Some(known.clone());
        Ok(known)
    }

    async fn discover(&self, now: Timestamp) -> Result<Known, Failure> {
        let settings = &self.settings;
        let http = Http::new(settings.issuer.clone(), settings.ca_file.as_deref());
        let http = http.map_err(|error| not_answered(DISCOVERY, error))?;
        let issuer = IssuerUrl::new(settings.issuer_text.clone());
        let issuer = issuer.map_err(|error| Failure::unbelievable(DISCOVERY, error.to_string()))?;
        let metadata = Metadata::discover_async(issuer, &http).await;
        let metadata = metadata.map_err(|error| unfit(DISCOVERY, error))?;
        let token = metadata.token_endpoint().map(TokenUrl::url);
        let userinfo = metadata.userinfo_endpoint().map(UserInfoUrl::url);
        let named = [Some(metadata.authorization_endpoint().url()), token, userinfo];
        for url in named.into_iter().flatten() {
            http.check_url(url).map_err(|error| not_answered(DISCOVERY, error))?;
        }
        if token.is_none() {
            return Err(Failure::unbelievable(DISCOVERY, "it names no token_endpoint"));
        }
        let keys = strong(metadata.jwks());
        Ok(Known { http: Arc::new(http), metadata: metadata.set_jwks(keys), at: now })
    }

    fn client(&self, known: &Known, begun: &Pending) -> Result<Client, Failure> {
        let settings = &self.settings;
        let secret = settings.client_secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.expose().to_owned()));
        let id = ClientId::new(settings.client_id.clone());
        let redirect = RedirectUrl::new(begun.redirect_uri.clone());
        let redirect =
            redirect.map_err(|error| Failure::unbelievable(AUTHORIZATION, error.to_string()))?;
        Ok(CoreClient::from_provider_metadata(known.metadata.clone(), id, secret)
            .set_auth_type(known.auth_type())
            .set_redirect_uri(redirect))
    }
}

impl Known {
    /// Whether an answer is this provider's, where it says whose it is: a code of another provider
    /// must not be shown to this one (RFC 9207 section 2.4).
    pub(super) fn check_issuer_parameter(&self, brought: &str) -> Result<(), Failure> {
        let ours = self.metadata.issuer().as_str();
        let promised =
            self.metadata.additional_metadata().authorization_response_iss_parameter_supported;
        match brought {
            "" if promised => Err(Failure::unbelievable(
                AUTHORIZATION,
                "the browser came back without the iss that the provider always sends",
            )),
            "" => Ok(()),
            brought if brought == ours => Ok(()),
            brought => Err(Failure::unbelievable(
                AUTHORIZATION,
                format!("the browser came back from {brought:?}, not from {ours:?}"),
            )),
        }
    }

    /// How we say who we are. `client_secret_basic` where nothing is said (OpenID Connect Discovery
    /// section 3).
    fn auth_type(&self) -> AuthType {
        let methods = self.metadata.token_endpoint_auth_methods_supported();
        let takes = |method| methods.is_some_and(|methods| methods.contains(&method));
        let in_body = takes(CoreClientAuthMethod::ClientSecretPost)
            && !takes(CoreClientAuthMethod::ClientSecretBasic);
        if in_body { AuthType::RequestBody } else { AuthType::BasicAuth }
    }
}

/// The keys that a signature is believed by: none that somebody else can have or find out.
fn strong(keys: &JsonWebKeySet<CoreJsonWebKey>) -> JsonWebKeySet<CoreJsonWebKey> {
    let is_strong = |key: &&CoreJsonWebKey| {
        let Ok(key) = serde_json::to_value(key) else { return false };
        match key.get("kty").and_then(Value::as_str) {
            Some("EC" | "OKP") => true,
            Some("RSA") => {
                let modulus = key.get("n").and_then(Value::as_str).unwrap_or_default();
                let modulus = BASE64URL_NOPAD.decode(modulus.as_bytes()).unwrap_or_default();
                modulus.iter().skip_while(|byte| **byte == 0).count() >= MIN_RSA_BYTES
            }
            _ => false,
        }
    };
    JsonWebKeySet::new(keys.keys().iter().filter(is_strong).cloned().collect())
}

fn is_within(at: Timestamp, now: Timestamp, span: SignedDuration) -> bool {
    // A clock that was set back makes everything old.
    (SignedDuration::ZERO..span).contains(&now.duration_since(at))
}

/// What went wrong with a document, without its text.
fn unfit(step: &'static str, error: DiscoveryError<HttpError>) -> Failure {
    match error {
        DiscoveryError::Request(error) => not_answered(step, error),
        DiscoveryError::Response(_, _, why) => Failure::unbelievable(step, why),
        DiscoveryError::Parse(error) => {
            let why = format!("{} at {}", error.inner(), error.path());
            Failure::unbelievable(step, why)
        }
        DiscoveryError::Validation(why) | DiscoveryError::Other(why) => {
            Failure::unbelievable(step, why)
        }
        error => Failure::unbelievable(step, error.to_string()),
    }
}

pub(super) fn not_answered(step: &'static str, error: HttpError) -> Failure {
    match error {
        HttpError::Forbidden(why) => Failure::unbelievable(step, why),
        HttpError::Unanswered(why) => {
            Failure::Unanswered { step, why: super::failure::clean(&why) }
        }
    }
}
