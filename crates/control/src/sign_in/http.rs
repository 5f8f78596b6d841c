//! HTTP to the provider, with bounds on everything.

use std::error::Error;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_rustls::ConfigBuilderExt;
use hyper_util::rt::TokioIo;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::config::is_loopback;
use super::reach::Reach;

/// The whole of one question and its answer, name lookup included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// No answer of a provider is longer: discovery, keys and tokens have a few KiB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// A name with more addresses is not asked at all of them.
const MAX_ADDRESSES: usize = 16;
/// A CA's roots are not longer: all public ones together are a quarter of it.
const MAX_CA_FILE_BYTES: u64 = 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum HttpError {
    /// The address is none that the provider may have us call.
    #[error("{0}")]
    Forbidden(String),
    /// Nobody answers, or not with what was asked for.
    #[error("{0}")]
    Unanswered(String),
}

/// Calls one provider: the configured issuer, and what its discovery document names.
pub(super) struct Http {
    issuer: Url,
    tls: TlsConnector,
}

impl Http {
    /// Trusts the roots in `ca_file`, or the system's.
    ///
    /// # Errors
    /// When there are none to trust.
    pub(super) fn new(issuer: Url, ca_file: Option<&Path>) -> Result<Http, HttpError> {
        let config = ClientConfig::builder();
        let mut config = match ca_file {
            Some(file) => config.with_root_certificates(roots(file)?).with_no_client_auth(),
            None => config
                .try_with_platform_verifier()
                .map_err(|e| unanswered(format!("this system has no root certificates: {e}")))?
                .with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Http { issuer, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Whether an address is one to call or to send a browser to, as far as its text tells.
    ///
    /// # Errors
    /// [`HttpError::Forbidden`] says why it is not.
    pub(super) fn check_url(&self, url: &Url) -> Result<(), HttpError> {
        let secure = url.scheme() == "https";
        // In clear only within this machine, where the issuer is in clear on it, too.
        let within = url.scheme() == "http" && self.issuer.scheme() == "http" && is_loopback(url);
        let plain = url.username().is_empty() && url.password().is_none() && url.has_host();
        if !(secure || within) || !plain {
            return Err(HttpError::Forbidden(format!("{} is no https:// address", shown(url))));
        }
        Ok(())
    }

    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let url = request.uri().to_string();
        let url = Url::parse(&url).map_err(|_| forbidden("an address can't be read"))?;
        self.check_url(&url)?;
        let stream = connect(&self.addresses(&url).await?).await?;
        if url.scheme() == "http" {
            return exchange(stream, &url, request).await;
        }
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare);
        let name = name.map_err(|_| forbidden(format!("{host} is no name of a server")))?;
        let stream = self.tls.connect(name, stream).await;
        let stream = stream.map_err(|e| unanswered(format!("{host}: {}", innermost(&e))))?;
        exchange(stream, &url, request).await
    }

    /// The addresses behind a URL that may be called: those of the internet, and those that are as
    /// near as the issuer itself is.
    async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, HttpError> {
        let found = lookup(url).await?;
        if url.host() == self.issuer.host() {
            return Ok(found);
        }
        if found.iter().all(|address| Reach::of(address.ip()) == Reach::World) {
            return Ok(found);
        }
        let near: Vec<Reach> =
            lookup(&self.issuer).await?.iter().map(|address| Reach::of(address.ip())).collect();
        let may = |address: &SocketAddr| {
            let reach = Reach::of(address.ip());
            reach == Reach::World || near.contains(&reach)
        };
        let allowed: Vec<SocketAddr> = found.iter().copied().filter(may).collect();
        match (allowed.is_empty(), found.first()) {
            (true, Some(first)) => Err(forbidden(format!(
                "{} is at {}, which is nearer than the issuer is",
                shown(url),
                first.ip()
            ))),
            _ => Ok(allowed),
        }
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let late = || unanswered(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
            timeout(ANSWER_TIMEOUT, self.answer(request)).await.unwrap_or_else(|_| Err(late()))
        })
    }
}

async fn lookup(url: &Url) -> Result<Vec<SocketAddr>, HttpError> {
    let port = url.port_or_known_default().unwrap_or_default();
    let host = match url.host() {
        Some(Host::Ipv4(address)) => return Ok(vec![(IpAddr::V4(address), port).into()]),
        Some(Host::Ipv6(address)) => return Ok(vec![(IpAddr::V6(address), port).into()]),
        Some(Host::Domain(host)) => host,
        None => return Err(forbidden("an address names no server")),
    };
    let nowhere = |why: &str| unanswered(format!("{host} has no address: {why}"));
    let found = lookup_host((host, port)).await.map_err(|e| nowhere(&e.to_string()))?;
    let found: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
    if found.is_empty() { Err(nowhere("none was found")) } else { Ok(found) }
}

/// Connects to the first that answers; no name is looked up again after it was checked.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, HttpError> {
    let mut last = unanswered("it has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = unanswered(format!("{address}: {error}")),
        }
    }
    Err(last)
}

/// One question and its answer on a connection of its own: sign-ins are too rare to keep any open.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &Url,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let lost = |e: &(dyn Error + 'static)| unanswered(format!("{}: {}", shown(url), innermost(e)));
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| lost(&e))?;
    // Ends with the sender.
    tokio::spawn(connection);
    let response = sender.send_request(in_origin_form(url, request)?).await;
    let (parts, body) = response.map_err(|e| lost(&e))?.into_parts();
    let status = parts.status;
    if status.is_redirection()
        || status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
    {
        return Err(unanswered(format!("{} answers with {status}", shown(url))));
    }
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(|e| lost(&*e))?.to_bytes();
    Ok(Response::from_parts(parts, body.to_vec()))
}

fn in_origin_form(url: &Url, request: HttpRequest) -> Result<Request<Full<Bytes>>, HttpError> {
    let unreadable = || forbidden("an address can't be written as HTTP has it");
    let (mut parts, body) = request.into_parts();
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    parts.uri = format!("{}{query}", url.path()).parse().map_err(|_| unreadable())?;
    let host = url.host_str().unwrap_or_default();
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    parts.headers.insert(HOST, HeaderValue::try_from(host).map_err(|_| unreadable())?);
    Ok(Request::from_parts(parts, Full::new(Bytes::from(body))))
}

fn roots(path: &Path) -> Result<RootCertStore, HttpError> {
    let bad =
        |why: String| unanswered(format!("control.sign_in.ca_file: {} {why}", path.display()));
    let unreadable = |error: io::Error| bad(format!("can't be read: {error}"));
    let mut pem = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_CA_FILE_BYTES).read_to_end(&mut pem).map_err(unreadable)?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err(bad("holds no PEM certificate".to_owned())),
        _ => Ok(roots),
    }
}

/// A URL without what it may carry.
fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn unanswered(why: impl Into<String>) -> HttpError {
    HttpError::Unanswered(why.into())
}

fn forbidden(why: impl Into<String>) -> HttpError {
    HttpError::Forbidden(why.into())
}
