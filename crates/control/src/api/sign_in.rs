//! Sign-in of people: asked for by who has no token yet.

use std::collections::HashMap;

use service::caller::Call;
use service::supervise::chain;
use tonic::{Code, Request, Response, Status};
use tracing::{error, info, warn};
use wire::control as v1;
use wire::control::sign_in_service_server::SignInService;
use wire::status;
use wire::time::to_wire;

use super::Api;
use crate::identity;
use crate::sign_in::{Answer, Down, Failure, SignIn, SignInError};

/// No provider's code is longer: the longest have 2 KiB.
const MAX_CODE_BYTES: usize = 8 * 1024;
/// State, binding and issuer are shorter.
const MAX_TEXT_BYTES: usize = 1024;

#[tonic::async_trait]
impl SignInService for Api {
    async fn get_sign_in_provider(
        &self,
        _: Request<v1::GetSignInProviderRequest>,
    ) -> Result<Response<v1::GetSignInProviderResponse>, Status> {
        let sign_in = self.core.sign_in.as_ref();
        let name = sign_in.map(SignIn::name).unwrap_or_default().to_owned();
        Ok(Response::new(v1::GetSignInProviderResponse { configured: sign_in.is_some(), name }))
    }

    async fn begin_sign_in(
        &self,
        request: Request<v1::BeginSignInRequest>,
    ) -> Result<Response<v1::BeginSignInResponse>, Status> {
        let call = call(&request)?;
        let sign_in = self.sign_in()?;
        let redirect_uri = request.into_inner().redirect_uri;
        let begun = sign_in.begin(self.core.domains.store(), &redirect_uri).await;
        let begun = begun.map_err(|error| told(&error, sign_in, &call))?;
        Ok(Response::new(v1::BeginSignInResponse {
            authorization_url: begun.authorization_url.into(),
            state: begun.state,
            binding: begun.binding,
            expires_at: Some(to_wire(begun.expires_at)),
        }))
    }

    async fn complete_sign_in(
        &self,
        request: Request<v1::CompleteSignInRequest>,
    ) -> Result<Response<v1::CompleteSignInResponse>, Status> {
        let call = call(&request)?;
        let sign_in = self.sign_in()?;
        let answer = answer(request.into_inner())?;
        let store = self.core.domains.store();
        let person = sign_in.complete(store, answer).await;
        let person = person.map_err(|error| told(&error, sign_in, &call))?;
        let new = identity::sign_in(&self.core, person, &call).await?;
        Ok(Response::new(v1::CompleteSignInResponse {
            token: new.token.expose().to_owned(),
            expires_at: Some(to_wire(new.expires_at)),
            name: new.name,
            memberships: new.memberships,
        }))
    }
}

impl Api {
    fn sign_in(&self) -> Result<&SignIn, Status> {
        self.core.sign_in.as_ref().ok_or_else(|| {
            let message = "people can't sign in here: no provider is configured; use a token";
            refused(Code::FailedPrecondition, "SIGN_IN_NOT_CONFIGURED", message)
        })
    }
}

/// The call, whoever makes it.
fn call<T>(request: &Request<T>) -> Result<Call, Status> {
    request.extensions().get::<Call>().cloned().ok_or_else(|| {
        error!("a sign-in did not pass through the access layer");
        status::internal()
    })
}

fn answer(request: v1::CompleteSignInRequest) -> Result<Answer, Status> {
    let v1::CompleteSignInRequest { state, code, binding, issuer } = request;
    for (field, text, most) in [
        ("state", &state, MAX_TEXT_BYTES),
        ("code", &code, MAX_CODE_BYTES),
        ("binding", &binding, MAX_TEXT_BYTES),
        ("issuer", &issuer, MAX_TEXT_BYTES),
    ] {
        if text.len() > most {
            return Err(status::invalid(field, &format!("it has more than {most} bytes")));
        }
    }
    Ok(Answer { state, code, binding, issuer })
}

/// Logged with the check that failed, beside the request's id that all lines of a call have; told without
/// what only helps somebody who tries.
fn told(error: &SignInError, sign_in: &SignIn, call: &Call) -> Status {
    match error {
        SignInError::Redirect => status::invalid(
            "redirect_uri",
            "use http://127.0.0.1:<port>/callback, http://[::1]:<port>/callback, or one of \
             control.sign_in.redirects",
        ),
        SignInError::Expired => {
            refused(Code::FailedPrecondition, "SIGN_IN_EXPIRED", &error.to_string())
        }
        SignInError::Down(Down(failure)) => failed(failure, sign_in, call),
        SignInError::Provider(failure) => {
            match failure {
                Failure::Refused { .. } => info!("a sign-in was refused: {failure}"),
                _ => warn!("a sign-in failed: {failure}"),
            }
            failed(failure, sign_in, call)
        }
        SignInError::Store(fault) => {
            error!(fault = chain(fault), "the database failed a sign-in");
            status::internal()
        }
    }
}

fn failed(failure: &Failure, sign_in: &SignIn, call: &Call) -> Status {
    let provider = sign_in.name();
    match failure {
        Failure::Refused { words, .. } => {
            let message = format!("{provider} did not sign you in: {words}");
            refused(Code::Unauthenticated, "SIGN_IN_REFUSED", &message)
        }
        Failure::Unbelievable { .. } => {
            let message = format!(
                "the answer of {provider} could not be believed, so nobody was signed in; the log \
                 says why under {}",
                call.request_id
            );
            refused(Code::Unauthenticated, "SIGN_IN_FAILED", &message)
        }
        Failure::Unanswered { step, .. } => status::unavailable(provider, step),
    }
}

fn refused(code: Code, reason: &str, message: &str) -> Status {
    status::with_reason(code, reason, message, HashMap::new())
}
