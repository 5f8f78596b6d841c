//! What every call carries, and what happens when its answer is lost.
//!
//! A change carries an idempotency key, so it may be asked for again: the server makes it once and gives
//! the same answer. Whoever reads may ask again anyway. So a call whose connection broke, or that was
//! answered UNAVAILABLE, is tried up to three times more. All calls here are unary and small: the
//! request is kept, and an answer counts once its last byte is here.

use std::collections::HashSet;
use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use service::access::{IDEMPOTENCY_KEY, WORKSPACE};
use tonic::body::Body;
use tonic::codegen::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use tonic::codegen::http::{Request, Response, StatusCode, request};
use tonic::codegen::{Bytes, Service};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Status};

/// No call takes longer; a server that needs this long is in trouble.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A server that is slow still answers these; a connection that swallows them has ended unnoticed.
const PING_EVERY: Duration = Duration::from_secs(5);
const PONG_WITHIN: Duration = Duration::from_secs(5);
/// Waited before each further try: a server that restarts is often back after the last.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(900)];
/// No further try begins later: people wait.
const TRY_AGAIN_WITHIN: Duration = Duration::from_secs(20);
/// The server takes no longer message.
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// A little more than tonic takes, so that it is the one to say that an answer is too long.
const MAX_RESPONSE_BYTES: usize = 5 * 1024 * 1024;
/// The server takes longer ones, but a further change in one command has a number behind it.
const MAX_KEY_BYTES: usize = 240;

type BoxError = Box<dyn Error + Send + Sync>;

/// Calls one server as somebody.
#[derive(Clone)]
pub(crate) struct Calls {
    channel: Channel,
    carried: Arc<Carried>,
}

/// What calls carry.
pub(crate) struct Carried {
    /// `Bearer …`.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) workspace: Option<HeaderValue>,
    pub(crate) keys: Keys,
}

/// Idempotency keys, one for each change.
pub(crate) struct Keys {
    /// The key of the first change; further ones have a number behind it. The same command makes the
    /// same changes in the same order when it is repeated.
    first: String,
    used: AtomicU32,
    changes: HashSet<String>,
    /// A change was asked for and nobody knows what came of it.
    lost: AtomicBool,
}

impl Keys {
    /// Marks changes, with `given` where that is something.
    pub(crate) fn new(given: Option<String>) -> Keys {
        let changes = wire::access::rpcs().into_iter().filter(|rpc| rpc.changes);
        Keys {
            first: given.unwrap_or_else(|| HEXLOWER.encode(&rand::random::<[u8; 16]>())),
            used: AtomicU32::new(0),
            changes: changes.map(|rpc| rpc.path).collect(),
            lost: AtomicBool::new(false),
        }
    }

    /// The key of a call of this path, if it needs one.
    fn next(&self, path: &str) -> Option<String> {
        if !self.changes.contains(path) {
            return None;
        }
        Some(match self.used.fetch_add(1, Ordering::Relaxed) {
            0 => self.first.clone(),
            before => format!("{}.{}", self.first, before + 1),
        })
    }
}

/// Reads an idempotency key.
pub(crate) fn parse_key(text: &str) -> Result<String, String> {
    match (1..=MAX_KEY_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(format!("1 to {MAX_KEY_BYTES} visible ASCII characters, for example a UUID")),
    }
}

impl Calls {
    /// Calls `server`. Connects when first used, and again after a loss.
    pub(crate) fn new(server: &str, carried: Carried) -> Result<Calls, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(server.to_owned())?;
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN)
            .connect_lazy();
        Ok(Calls { channel, carried: Arc::new(carried) })
    }

    /// The key by which a change is asked for again that was lost, if one was.
    pub(crate) fn lost(&self) -> Option<&str> {
        let keys = &self.carried.keys;
        keys.lost.swap(false, Ordering::Relaxed).then_some(keys.first.as_str())
    }
}

impl Carried {
    /// Says whether the call changes something.
    fn put_on(&self, headers: &mut HeaderMap, path: &str) -> bool {
        let key = self.keys.next(path).and_then(|key| HeaderValue::try_from(key).ok());
        let changes = key.is_some();
        let carried = [
            (AUTHORIZATION, self.authorization.clone()),
            (HeaderName::from_static(WORKSPACE), self.workspace.clone()),
            (HeaderName::from_static(IDEMPOTENCY_KEY), key),
        ];
        for (name, value) in carried {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        changes
    }
}

impl Service<Request<Body>> for Calls {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Each try waits until the channel is ready for it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Calls { channel, carried } = self.clone();
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            let path = head.uri.path().to_owned();
            let changes = carried.put_on(&mut head.headers, &path);
            let body = Limited::new(body, MAX_REQUEST_BYTES).collect().await?.to_bytes();
            let began = Instant::now();
            let mut pauses = PAUSES.into_iter().filter(|_| began.elapsed() <= TRY_AGAIN_WITHIN);
            let mut heard = false;
            loop {
                let outcome = attempt(channel.clone(), head.clone(), body.clone()).await;
                heard |= outcome.as_ref().err().is_some_and(may_have_arrived);
                if is_lost(&outcome)
                    && let Some(pause) = pauses.next()
                {
                    tokio::time::sleep(pause).await;
                    continue;
                }
                if changes && heard && is_lost(&outcome) {
                    carried.keys.lost.store(true, Ordering::Relaxed);
                }
                return outcome.map(|answer| answer.response);
            }
        })
    }
}

/// An answer that has arrived as a whole.
struct Answer {
    response: Response<Body>,
    /// As its headers or trailers say; `None` where neither do.
    code: Option<Code>,
}

async fn attempt(
    mut channel: Channel,
    head: request::Parts,
    body: Bytes,
) -> Result<Answer, BoxError> {
    poll_fn(|cx| channel.poll_ready(cx)).await?;
    let request = Request::from_parts(head, Body::new(Full::new(body)));
    let (head, body) = channel.call(request).await?.into_parts();
    let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await.map_err(too_long)?;
    let status = |headers: &HeaderMap| Status::from_header_map(headers).map(|it| it.code());
    let code = match (status(&head.headers), head.status) {
        (Some(code), _) => Some(code),
        // A proxy in between speaks for a server that it can't reach.
        (None, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE) => {
            Some(Code::Unavailable)
        }
        (None, StatusCode::OK) => body.trailers().and_then(status),
        // Somebody else's server.
        (None, _) => Some(Code::Unknown),
    };
    Ok(Answer { response: Response::from_parts(head, Body::new(body)), code })
}

/// Whether nobody knows what came of a call, or it is known to have done nothing.
fn is_lost(outcome: &Result<Answer, BoxError>) -> bool {
    match outcome {
        Ok(answer) => matches!(answer.code, None | Some(Code::Unavailable)),
        Err(error) => !error.is::<TooLong>(),
    }
}

/// Whether a server may have heard a call that failed. One that nobody took is sure to have done nothing.
fn may_have_arrived(error: &BoxError) -> bool {
    let mut source: Option<&(dyn Error + 'static)> = Some(&**error);
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return false;
        }
        source = error.source();
    }
    true
}

/// An answer without an end, or of somebody else's.
#[derive(Debug, thiserror::Error)]
#[error("the answer is longer than {MAX_RESPONSE_BYTES} bytes")]
struct TooLong;

fn too_long(error: BoxError) -> BoxError {
    if error.is::<LengthLimitError>() { TooLong.into() } else { error }
}

#[cfg(test)]
mod tests;
