//! A code becomes what the provider says of a person, and every check of that
//! ([OpenID Connect Core section 3.1.3.7](https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation)).

use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use openidconnect::core::{
    CoreGenderClaim, CoreIdToken, CoreIdTokenClaims, CoreIdTokenVerifier, CoreJwsSigningAlgorithm,
    CoreTokenResponse,
};
use openidconnect::{
    AccessToken, AccessTokenHash, AdditionalClaims, AuthorizationCode, ClaimsVerificationError,
    ClientId, Nonce, OAuth2TokenResponse, PkceCodeVerifier, RequestTokenError,
    SignatureVerificationError, SubjectIdentifier, TokenResponse, UserInfoClaims, UserInfoError,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::claims::{Claims, Told, are_enough};
use super::config::Settings;
use super::failure::{EXCHANGE, Failure, ID_TOKEN, USERINFO, clean};
use super::http::HttpError;
use super::pending::Pending;
use super::provider::{Client, Known, not_answered};

/// How far a provider's clock may be from ours.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Signatures that only the provider can make: none by a secret that we have, too.
const BELIEVED: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Why an ID token is not believed.
#[derive(Debug)]
pub(super) enum Unverified {
    /// It may be signed by a key that the provider has since begun to use.
    UnknownKey,
    /// For good.
    Failed(Failure),
}

impl From<Unverified> for Failure {
    fn from(unverified: Unverified) -> Failure {
        match unverified {
            Unverified::UnknownKey => {
                Failure::unbelievable(ID_TOKEN, "it is signed by no key of the provider's")
            }
            Unverified::Failed(failure) => failure,
        }
    }
}

/// All claims, those of the standard beside those of the provider.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct AllClaims(Claims);

impl AdditionalClaims for AllClaims {}

/// Gives the code to the provider, with the proof that it is ours (RFC 7636).
pub(super) async fn exchange(
    client: &Client,
    known: &Known,
    begun: &Pending,
    code: String,
) -> Result<CoreTokenResponse, Failure> {
    let request = client.exchange_code(AuthorizationCode::new(code));
    let request = request.map_err(|error| Failure::unbelievable(EXCHANGE, error.to_string()))?;
    let request = request.set_pkce_verifier(PkceCodeVerifier::new(begun.verifier_text()));
    request.request_async(known.http.as_ref()).await.map_err(|error| match error {
        RequestTokenError::ServerResponse(said) => {
            let words = said.error_description().map(|words| format!(": {words}"));
            let words = format!("{}{}", said.error().as_ref(), words.unwrap_or_default());
            Failure::Refused { step: EXCHANGE, words: clean(&words) }
        }
        RequestTokenError::Request(error) => not_answered(EXCHANGE, error),
        // Neither the body nor what a parser quotes of it: there may be tokens in it.
        RequestTokenError::Parse(error, _) => {
            Failure::unbelievable(EXCHANGE, format!("its answer can't be read at {}", error.path()))
        }
        RequestTokenError::Other(why) => Failure::unbelievable(EXCHANGE, why),
    })
}

/// The claims of an ID token that passes every check.
pub(super) fn verify(
    tokens: &CoreTokenResponse,
    known: &Known,
    settings: &Settings,
    begun: &Pending,
    now: Timestamp,
) -> Result<Claims, Unverified> {
    let failed = |why: &str| Unverified::Failed(Failure::unbelievable(ID_TOKEN, why));
    let id_token = tokens.id_token().ok_or_else(|| failed("there is none"))?;
    let verifier = verifier(known, settings, begun, now);
    let nonce = Nonce::new(begun.nonce_text());
    let verified = id_token.claims(&verifier, &nonce).map_err(|error| match error {
        ClaimsVerificationError::SignatureVerification(
            SignatureVerificationError::NoMatchingKey,
        ) => Unverified::UnknownKey,
        ClaimsVerificationError::SignatureVerification(why) => failed(&format!("signature: {why}")),
        why => failed(&why.to_string()),
    })?;
    check_party(verified, settings).map_err(failed)?;
    check_access_token(id_token, verified, tokens.access_token(), &verifier).map_err(failed)?;
    let claims = payload(id_token).ok_or_else(|| failed("its payload can't be read"))?;
    check_not_before(&claims, now).map_err(failed)?;
    Ok(claims)
}

fn verifier<'a>(
    known: &Known,
    settings: &Settings,
    begun: &Pending,
    now: Timestamp,
) -> CoreIdTokenVerifier<'a> {
    let id = ClientId::new(settings.client_id.clone());
    let issuer = known.metadata.issuer().clone();
    // Earlier, this sign-in had not begun; later, it is not yet.
    let earliest = begun.begun_at.saturating_sub(SKEW).unwrap_or(Timestamp::MIN).as_second();
    let latest = now.saturating_add(SKEW).unwrap_or(Timestamp::MAX).as_second();
    let now = Duration::from_millis(u64::try_from(now.as_millisecond()).unwrap_or(0));
    // A public client's: it believes no signature that is made with a shared secret.
    CoreIdTokenVerifier::new_public_client(id, issuer, known.metadata.jwks().clone())
        .set_allowed_algs(BELIEVED)
        // Whether it is meant for us nevertheless, `check_party` says.
        .set_other_audience_verifier_fn(|_| true)
        .set_time_fn(move || (SystemTime::UNIX_EPOCH + now).into())
        .set_issue_time_verifier_fn(move |at| match at.timestamp() {
            second if second < earliest => Err("it is from before this sign-in".to_owned()),
            second if second > latest => Err("it is from the future".to_owned()),
            _ => Ok(()),
        })
}

/// A token for several audiences has to say that it was issued to us, and so does one that says whom
/// it was issued to (steps 3 to 5).
fn check_party(claims: &CoreIdTokenClaims, settings: &Settings) -> Result<(), &'static str> {
    match claims.authorized_party() {
        Some(party) if party.as_str() != settings.client_id => Err("azp: it was issued to another"),
        None if claims.audiences().len() > 1 => Err("aud: it is for others, too, without an azp"),
        _ => Ok(()),
    }
}

/// Whether the access token is the one that came with the ID token, where that tells (section 3.1.3.8).
fn check_access_token(
    id_token: &CoreIdToken,
    claims: &CoreIdTokenClaims,
    access_token: &AccessToken,
    verifier: &CoreIdTokenVerifier<'_>,
) -> Result<(), &'static str> {
    let Some(told) = claims.access_token_hash() else { return Ok(()) };
    let unchecked = |_| "at_hash: it can't be checked";
    let algorithm = id_token.signing_alg().map_err(unchecked)?;
    let key = id_token.signing_key(verifier).map_err(unchecked)?;
    let hash = AccessTokenHash::from_token(access_token, algorithm, key);
    let hash = hash.map_err(|_| "at_hash: it can't be checked")?;
    if hash == *told { Ok(()) } else { Err("at_hash: the access token is another") }
}

/// `nbf`, which ID tokens need not have (RFC 7519 section 4.1.5).
fn check_not_before(claims: &Claims, now: Timestamp) -> Result<(), &'static str> {
    let latest = now.saturating_add(SKEW).unwrap_or(Timestamp::MAX).as_second();
    match claims.get("nbf").map(Value::as_f64) {
        None => Ok(()),
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        Some(Some(second)) if second <= latest as f64 => Ok(()),
        Some(_) => Err("nbf: it is not valid yet"),
    }
}

/// What a token, whose signature has been checked, says, with the claims that no standard has.
fn payload(id_token: &CoreIdToken) -> Option<Claims> {
    let token = id_token.to_string();
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?).ok()
}

/// Asks userinfo for what the ID token doesn't say.
pub(super) async fn complete(
    client: &Client,
    known: &Known,
    tokens: &CoreTokenResponse,
    id_token: Claims,
    settings: &Settings,
) -> Result<Told, Failure> {
    if are_enough(&id_token, settings) || known.metadata.userinfo_endpoint().is_none() {
        return Ok(Told { id_token, userinfo: None });
    }
    let fail = |why: &str| Failure::unbelievable(USERINFO, why);
    let access_token = tokens.access_token();
    if !access_token.secret().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(fail("the access token is none that a header can carry"));
    }
    let subject = id_token.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
    let request = client.user_info(access_token.clone(), Some(SubjectIdentifier::new(subject)));
    let request = request.map_err(|error| fail(&error.to_string()))?;
    let answer: Result<UserInfoClaims<AllClaims, CoreGenderClaim>, UserInfoError<HttpError>> =
        request.request_async(known.http.as_ref()).await;
    let answer = answer.map_err(|error| match error {
        UserInfoError::Request(error) => not_answered(USERINFO, error),
        UserInfoError::Response(status, _, why) => fail(&format!("{why}: {status}")),
        UserInfoError::ClaimsVerification(why) => fail(&why.to_string()),
        UserInfoError::Parse(error) => {
            fail(&format!("its answer can't be read at {}", error.path()))
        }
        UserInfoError::Other(why) => fail(&why),
        _ => fail("its answer can't be read"),
    })?;
    let userinfo = serde_json::to_value(answer).ok();
    let userinfo = userinfo.and_then(|value| value.as_object().cloned());
    Ok(Told { id_token, userinfo: Some(userinfo.ok_or_else(|| fail("it answers no claims"))?) })
}
