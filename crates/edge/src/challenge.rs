//! Port 80: answers HTTP-01 challenges for the names that this edge hosts, and nothing else.
//!
//! The answer to every challenge of an ACME account is the token with the account's thumbprint
//! ([RFC 8555 section 8.3](https://www.rfc-editor.org/rfc/rfc8555#section-8.3)), so no token has
//! to reach an edge before the CA does. There is no redirect to HTTPS: senders never come here, and
//! people have nothing to see.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use tokio::net::TcpStream;

use crate::flight::Flight;
use crate::listen::Room;
use crate::serve::{Protocols, http_host, plain};
use crate::sites::Sites;
use crate::take::is_base64url;
use crate::tls::domain_of;

const PATH: &str = "/.well-known/acme-challenge/";
/// Tokens of real CAs have 43; the RFC sets no bound.
const MAX_TOKEN_BYTES: usize = 128;
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The HTTP side.
pub(crate) struct Challenges {
    pub(crate) protocols: Protocols,
    pub(crate) sites: Arc<Sites>,
    pub(crate) room: Room,
}

impl Challenges {
    /// Serves one connection.
    pub(crate) async fn connection(self: Arc<Self>, stream: TcpStream) {
        let sites = self.sites.clone();
        let answer = move |request: &Request<Incoming>| answer(request, &sites);
        let patience = self.room.patience();
        self.protocols.serve(Flight::new(stream), false, patience, answer).await;
    }
}

fn answer<B>(request: &Request<B>, sites: &Sites) -> Response<Full<Bytes>> {
    match key_authorization(request, sites) {
        Some(text) => {
            let mut response = Response::new(Full::new(text.into()));
            response.headers_mut().insert(CONTENT_TYPE, OCTETS);
            response
        }
        None => plain(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn key_authorization<B>(request: &Request<B>, sites: &Sites) -> Option<String> {
    let uri = request.uri();
    let token = uri.path().strip_prefix(PATH)?;
    let is_token = (1..=MAX_TOKEN_BYTES).contains(&token.len()) && token.bytes().all(is_base64url);
    if request.method() != Method::GET || uri.query().is_some() || !is_token {
        return None;
    }
    let domain = domain_of(http_host(uri, request.headers())?)?;
    if !sites.hosts(&domain) {
        return None;
    }
    Some(format!("{token}.{}", sites.thumbprint(&domain)?))
}
