//! What a request for a policy is answered.

use std::num::NonZeroU16;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::Full;
use hyper::body::Bytes;

use crate::counts::Counts;
use crate::sites::Sites;

/// What every sender takes for a policy (RFC 8461 section 3.2). A charset adds nothing to ASCII.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain");
/// The value that RFC 8461 section 8.2 suggests for caches in front of a policy host.
const A_MINUTE: HeaderValue = HeaderValue::from_static("max-age=60");
const GET_OR_HEAD: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// Answers a request that came in a connection for `domain`. A fetch is counted.
pub(super) fn answer<B>(
    request: &Request<B>,
    domain: &str,
    sites: &Sites,
    counts: &Counts,
) -> Response<Full<Bytes>> {
    if let Some(refusal) = refuse(request, domain) {
        return refusal;
    }
    // Looked up again: it may have changed, or gone, since the handshake.
    let Some(site) = sites.site(domain) else { return not_found() };
    if request.method() == Method::GET {
        counts.fetched(&site, request.headers().get(USER_AGENT));
    }
    let mut response = Response::new(Full::new(site.body.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, TEXT);
    headers.insert(CONTENT_LENGTH, site.length.clone());
    headers.insert(CACHE_CONTROL, A_MINUTE);
    response
}

/// The answer to anything but a request for the policy.
fn refuse<B>(request: &Request<B>, domain: &str) -> Option<Response<Full<Bytes>>> {
    let mut names = names(request);
    if names.is_empty() && request.version() == Version::HTTP_11 {
        // RFC 9112 section 3.2.
        return Some(plain(StatusCode::BAD_REQUEST, "the Host header is missing\n"));
    }
    if request.headers().get_all(HOST).iter().count() > 1 {
        return Some(plain(StatusCode::BAD_REQUEST, "there is more than one Host header\n"));
    }
    // HTTP/1.0 has no Host; the name that TLS was opened for says it too.
    if !names.all(|name| name.is_some_and(|name| is_host_of(name, domain)))
        || !is_https(request.uri())
    {
        let text = "this connection was opened for another host\n";
        return Some(plain(StatusCode::MISDIRECTED_REQUEST, text));
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refused.headers_mut().insert(ALLOW, GET_OR_HEAD);
        return Some(refused);
    }
    // A query makes it another resource: a cache in front can't be filled with copies of the policy.
    let uri = request.uri();
    if uri.path() != mta_sts::WELL_KNOWN_PATH || uri.query().is_some() {
        return Some(not_found());
    }
    None
}

/// A short answer for people.
pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

fn not_found() -> Response<Full<Bytes>> {
    plain(StatusCode::NOT_FOUND, "not found\n")
}

/// The host names of a request: from its target (absolute form, or HTTP/2's `:authority`) and from
/// its Host header. None for one that is no host name at all.
fn names<B>(request: &Request<B>) -> Names<'_> {
    let authority = request.uri().authority().map(|authority| host_name(authority.as_str()));
    let host = request.headers().get(HOST).map(|value| of_header(value));
    Names([authority, host])
}

struct Names<'a>([Option<Option<&'a str>>; 2]);

impl<'a> Names<'a> {
    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    fn all(&mut self, holds: impl Fn(Option<&'a str>) -> bool) -> bool {
        self.0.into_iter().flatten().all(holds)
    }
}

/// The one host that a plain HTTP request is for.
pub(crate) fn http_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = of_header(hosts.next()?)?;
    let same = match uri.authority() {
        None => true,
        Some(authority) => host_name(authority.as_str())?.eq_ignore_ascii_case(host),
    };
    (same && hosts.next().is_none()).then_some(host)
}

fn of_header(value: &HeaderValue) -> Option<&str> {
    host_name(value.to_str().ok()?)
}

/// A host without its port and without a trailing dot. The port may be any: behind a forwarded
/// port, ours is not the one that the client sees.
fn host_name(host: &str) -> Option<&str> {
    let name = match host.split_once(':') {
        None => host,
        Some((name, port)) => port.parse::<NonZeroU16>().ok().map(|_| name)?,
    };
    Some(name.strip_suffix('.').unwrap_or(name))
}

fn is_host_of(name: &str, domain: &str) -> bool {
    let (start, rest) = name.split_at_checked("mta-sts.".len()).unwrap_or((name, ""));
    start.eq_ignore_ascii_case("mta-sts.") && rest.eq_ignore_ascii_case(domain)
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme_str().is_none_or(|scheme| scheme == "https")
}
