//! HTTPS to the CA, with bounds, and with what an ACME client needs to know of a failure: whether
//! the question can have reached the CA, and when it wants to be asked again.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{DATE, RETRY_AFTER};
use http::response::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use jiff::SignedDuration;
use jiff::fmt::rfc2822;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::timeout;

/// The whole of one question and its answer, connecting included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// No answer of a CA is longer: a certificate chain has a few KiB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// The CA did not answer our question.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// It never got it.
    #[error("it can't be reached: {0}")]
    Unreached(String),
    /// It may have got it.
    #[error("it stopped answering: {0}")]
    Lost(String),
    /// It says that it can't, now: 429 or 5xx. Whatever it was asked for is not done.
    #[error("it is busy or broken ({status})")]
    Unable {
        /// The HTTP status.
        status: StatusCode,
        /// In the CA's words, where it has some.
        problem: Option<Problem>,
        /// When to ask again (RFC 8555 section 6.6).
        retry_after: Option<SignedDuration>,
        /// It was asked for something; false: only for a nonce or its directory.
        asked: bool,
    },
}

/// The roots to trust can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BadRoots {
    /// The file can't be read.
    #[error("issuer.ca_file: {} can't be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It holds no certificate in PEM.
    #[error("issuer.ca_file: {} holds no certificate in PEM that can be trusted", path.display())]
    NoRoot {
        /// The file.
        path: PathBuf,
    },
    /// The system has none.
    #[error("this system has no root certificates: install ca-certificates or set issuer.ca_file")]
    System(#[source] rustls::Error),
}

/// A client that trusts the roots in a PEM file, or the system's.
#[derive(Clone)]
pub(crate) struct CaHttp(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl CaHttp {
    pub(crate) fn trusting(ca_file: Option<&Path>) -> Result<CaHttp, BadRoots> {
        let https = HttpsConnectorBuilder::new();
        let https = match ca_file {
            Some(file) => https.with_tls_config(
                ClientConfig::builder().with_root_certificates(roots(file)?).with_no_client_auth(),
            ),
            None => https.try_with_platform_verifier().map_err(BadRoots::System)?,
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let https = https.https_only().enable_http1().enable_http2();
        let connector = https.wrap_connector(connector);
        Ok(CaHttp(Client::builder(TokioExecutor::new()).build(connector)))
    }
}

impl HttpClient for CaHttp {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let method = request.method().clone();
        let sent = self.0.request(request);
        Box::pin(async move {
            let lost = |why: String| match asks(&method) {
                true => Unanswered::Lost(why),
                false => Unanswered::Unreached(why),
            };
            let answer = async {
                let response = sent.await.map_err(|e| match e.is_connect() {
                    true => Unanswered::Unreached(innermost(&e)),
                    false => lost(innermost(&e)),
                })?;
                let (parts, body) = response.into_parts();
                let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
                let body = body.map_err(|e| lost(innermost(&*e)))?.to_bytes();
                Ok((parts, body))
            };
            let too_long = || lost(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
            let answered = timeout(ANSWER_TIMEOUT, answer).await;
            let (parts, body) = answered
                .unwrap_or_else(|_| Err(too_long()))
                .map_err(|e| Error::Other(Box::new(e)))?;
            answers(&method, &parts, &body).map_err(|e| Error::Other(Box::new(e)))?;
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

/// Only a POST asks for anything: nonces and the directory may be fetched as one likes.
fn asks(method: &Method) -> bool {
    method == Method::POST
}

/// Whether an answer is one to the question.
fn answers(method: &Method, parts: &Parts, body: &[u8]) -> Result<(), Unanswered> {
    let status = parts.status;
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Err(Unanswered::Unable {
            status,
            problem: serde_json::from_slice(body).ok(),
            retry_after: retry_after(&parts.headers),
            asked: asks(method),
        });
    }
    // Only newNonce is asked so; without one no question can be signed (RFC 8555 section 6.5).
    if method == Method::HEAD && !(status == StatusCode::OK && has_nonce(&parts.headers)) {
        return Err(Unanswered::Unreached(format!("it gives no nonce ({status})")));
    }
    Ok(())
}

fn roots(path: &Path) -> Result<RootCertStore, BadRoots> {
    let pem = fs::read(path).map_err(|source| BadRoots::File { path: path.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err(BadRoots::NoRoot { path: path.to_owned() }),
        _ => Ok(roots),
    }
}

fn has_nonce(headers: &HeaderMap) -> bool {
    headers.get("replay-nonce").is_some_and(|nonce| !nonce.is_empty())
}

/// Seconds, or a date (RFC 9110 section 10.2.3), which counts from the CA's own clock.
fn retry_after(headers: &HeaderMap) -> Option<SignedDuration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(SignedDuration::from_secs(seconds.into()));
    }
    let until = rfc2822::parse(text).ok()?.timestamp();
    let sent = headers.get(DATE).and_then(|date| date.to_str().ok());
    let sent = sent.and_then(|date| rfc2822::parse(date).ok());
    let now = match sent {
        Some(sent) => sent.timestamp(),
        None => SystemTime::now().try_into().ok()?,
    };
    Some(until.duration_since(now).max(SignedDuration::ZERO))
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        fn check(value: &'static str, expected: Option<i64>) {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, "Mon, 23 Nov 2026 10:00:00 GMT".parse().unwrap());
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            let seconds = retry_after(&headers).map(|after| after.as_secs());
            assert_eq!(seconds, expected, "{value}");
        }
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("Mon, 23 Nov 2026 11:00:00 GMT", Some(3600));
        check("Mon, 23 Nov 2026 09:00:00 GMT", Some(0));
        check("soon", None);
        check("-1", None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn without_a_nonce_nothing_was_asked() {
        fn check(method: &Method, status: u16, nonce: &str, expected: &str) {
            let answer = http::Response::builder().status(status).header("replay-nonce", nonce);
            let (parts, ()) = answer.body(()).unwrap().into_parts();
            let got = match answers(method, &parts, b"") {
                Ok(()) => "an answer",
                Err(Unanswered::Unable { asked: true, .. }) => "turned away",
                Err(Unanswered::Lost(_)) => "lost",
                Err(Unanswered::Unreached(_) | Unanswered::Unable { asked: false, .. }) => {
                    "unasked"
                }
            };
            assert_eq!(got, expected, "{method} {status} {nonce:?}");
        }
        check(&Method::HEAD, 200, "nonce", "an answer");
        check(&Method::HEAD, 200, "", "unasked");
        check(&Method::HEAD, 204, "nonce", "unasked");
        check(&Method::HEAD, 403, "", "unasked");
        check(&Method::HEAD, 429, "", "unasked");
        check(&Method::HEAD, 503, "nonce", "unasked");
        check(&Method::GET, 500, "", "unasked");
        check(&Method::POST, 503, "nonce", "turned away");
        check(&Method::POST, 429, "nonce", "turned away");
        check(&Method::POST, 400, "", "an answer");
    }

    #[test]
    fn a_file_without_a_root_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = CaHttp::trusting(Some(file.path())).err().unwrap();
        assert!(refused.to_string().contains("issuer.ca_file"), "{refused}");
        let missing = CaHttp::trusting(Some(Path::new("/nowhere/ca.pem"))).err().unwrap();
        assert!(matches!(missing, BadRoots::File { .. }), "{missing}");
    }
}
