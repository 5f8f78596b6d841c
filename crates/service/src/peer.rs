//! Calls from one service to another.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::config::Secret;

/// No call between services takes longer; a caller that needs less says so itself.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where to call another service; connects when first used, and again after a loss.
pub type Peer = InterceptedService<Channel, BearerToken>;

/// The address or the token of a peer can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{address} is no address to call: {why}")]
pub struct BadPeer {
    /// As given.
    pub address: String,
    /// What is wrong.
    pub why: String,
}

/// Puts a token on each call.
#[derive(Clone)]
pub struct BearerToken(MetadataValue<Ascii>);

impl Interceptor for BearerToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Calls `address`, for example `http://127.0.0.1:7443`, with a token.
///
/// # Errors
/// [`BadPeer`] when it is no address, or the token no header value.
pub fn peer(address: &str, token: &Secret) -> Result<Peer, BadPeer> {
    let bad = |why: String| BadPeer { address: address.to_owned(), why };
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|e| bad(e.to_string()))?;
    let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(CALL_TIMEOUT).connect_lazy();
    let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", token.expose())
        .parse()
        .map_err(|_| bad("the token has characters that a header can't carry".to_owned()))?;
    bearer.set_sensitive(true);
    Ok(InterceptedService::new(channel, BearerToken(bearer)))
}
