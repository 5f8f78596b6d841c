//! A unary answer on the wire: read, sealed, and said again.

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use service::caller::IdempotencyKey;
use service::sealed::{KEK_BYTES, Kek};
use tonic::body::Body;
use tonic::codegen::http::header::CONTENT_TYPE;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue, Response};
use zeroize::Zeroizing;

use crate::chain::Hash;

/// Longer messages are not kept: our answers to changes have a few KiB.
pub(crate) const MAX_KEPT_BYTES: usize = 256 * 1024;

/// Before each message: whether it is compressed, and its length in four bytes
/// ([gRPC over HTTP/2, Length-Prefixed-Message](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)).
const PREFIX_BYTES: usize = 5;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const OK: HeaderValue = HeaderValue::from_static("0");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Says to the caller that nothing was done this time.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What the sealing key is made for.
const SALT: &[u8] = b"dmarcer kept answer 1";

/// Reads an answer: to be sent on as it came, and its message where that is to be kept. What is no
/// short unary answer is read no further than that shows.
pub(super) async fn read(response: Response<Body>) -> (Response<Body>, Option<Bytes>) {
    let (parts, mut body) = response.into_parts();
    let mut is_ok = says_ok(&parts.headers);
    let mut frames = Vec::new();
    let mut data = BytesMut::new();
    let rest = loop {
        let Some(frame) = body.frame().await else { break None };
        let fault = frame.is_err();
        if let Ok(frame) = &frame {
            data.put_slice(frame.data_ref().map_or(&[], |data| data));
            is_ok |= frame.trailers_ref().is_some_and(says_ok);
        }
        frames.push(frame);
        if fault || is_too_much(&data) {
            is_ok = false;
            break (!fault).then_some(body);
        }
    };
    let message = is_ok.then(|| message(data.freeze())).flatten();
    let body = match rest {
        None if frames.is_empty() => Body::empty(),
        None => Body::new(StreamBody::new(stream::iter(frames))),
        Some(rest) => Body::new(StreamBody::new(stream::iter(frames).chain(BodyStream::new(rest)))),
    };
    (Response::from_parts(parts, body), message)
}

/// The answer that holds a message that was kept.
pub(super) fn replay(message: &[u8]) -> Response<Body> {
    let mut data = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    data.put_u8(0);
    data.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    data.put_slice(message);
    let trailers = HeaderMap::from_iter([(STATUS, OK)]);
    let body = Full::new(data.freeze()).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// Encrypts a message for whoever has the caller's token and key. None when the system gives no
/// randomness.
pub(super) fn seal(once: &IdempotencyKey, key: &Hash, message: &[u8]) -> Option<Vec<u8>> {
    sealing(once)?.seal(&place(once, key), message).ok()
}

/// What [`seal`] encrypted; none where that was with another token or for another request, or has been
/// changed since.
pub(super) fn open(once: &IdempotencyKey, key: &Hash, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    sealing(once)?.open(&place(once, key), sealed).ok()
}

fn sealing(once: &IdempotencyKey) -> Option<Kek> {
    let mut key = Zeroizing::new([0; KEK_BYTES]);
    let extracted = Salt::new(HKDF_SHA256, SALT).extract(&once.sealing);
    extracted.expand(&[], HKDF_SHA256).ok()?.fill(key.as_mut_slice()).ok()?;
    Kek::new(key.as_slice()).ok()
}

fn place(once: &IdempotencyKey, key: &Hash) -> String {
    format!("calls.answer:{key}:{}", Hash(once.request_hash))
}

fn says_ok(headers: &HeaderMap) -> bool {
    headers.get(STATUS).is_some_and(|status| status == OK)
}

/// Whether this is longer than we keep, or more than one message.
fn is_too_much(mut data: &[u8]) -> bool {
    if data.len() < PREFIX_BYTES {
        return false;
    }
    data.advance(1);
    let length = usize::try_from(data.get_u32()).unwrap_or(usize::MAX);
    length > MAX_KEPT_BYTES || data.len() > length
}

/// The one message of an answer that is not compressed.
fn message(mut data: Bytes) -> Option<Bytes> {
    if data.len() < PREFIX_BYTES || data.get_u8() != 0 {
        return None;
    }
    let length = usize::try_from(data.get_u32()).ok()?;
    (data.len() == length).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: IdempotencyKey =
        IdempotencyKey { key_hash: [1; 32], request_hash: [2; 32], sealing: [3; 32] };

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [[0].as_slice(), &length, message].concat()
    }

    fn response(data: &[u8], status: Option<&'static str>) -> Response<Body> {
        let trailers = status
            .map(|status| Ok(HeaderMap::from_iter([(STATUS, HeaderValue::from_static(status))])));
        let body = Full::new(Bytes::copy_from_slice(data));
        Response::new(Body::new(body.with_trailers(async move { trailers })))
    }

    #[tokio::test]
    async fn one_short_message_without_an_error_is_kept_and_all_are_sent_on_unchanged() {
        let long = framed(&vec![7; MAX_KEPT_BYTES + 1]);
        let longest = framed(&vec![7; MAX_KEPT_BYTES]);
        let two = [framed(b"a"), framed(b"b")].concat();
        let mut compressed = framed(b"message");
        compressed[0] = 1;
        type Case<'a> = (&'a str, Vec<u8>, Option<&'static str>, Option<&'a [u8]>);
        let cases: [Case<'_>; 9] = [
            ("a message", framed(b"message"), Some("0"), Some(b"message")),
            ("an empty message", framed(b""), Some("0"), Some(b"")),
            ("as long as may be", longest.clone(), Some("0"), Some(&longest[PREFIX_BYTES..])),
            ("too long", long, Some("0"), None),
            ("two messages", two, Some("0"), None),
            ("compressed", compressed, Some("0"), None),
            ("cut", framed(b"message")[..8].to_vec(), Some("0"), None),
            ("an error after the message", framed(b"message"), Some("13"), None),
            ("no end", framed(b"message"), None, None),
        ];
        for (name, data, status, kept) in cases {
            let (sent, message) = read(response(&data, status)).await;
            assert_eq!(message.as_deref(), kept, "{name}");
            let sent = sent.into_body().collect().await.unwrap();
            let trailer = sent.trailers().and_then(|trailers| trailers.get(STATUS)).cloned();
            assert_eq!(trailer, status.map(HeaderValue::from_static), "{name}");
            assert_eq!(sent.to_bytes(), data, "{name}");
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_is_not_kept_and_breaks_for_the_caller_too() {
        let frames = BodyStream::new(Full::new(Bytes::from(framed(b"message"))));
        let frames = frames.map(|frame| Ok(frame.unwrap()));
        let broken = frames.chain(stream::iter([Err(tonic::Status::internal("broken"))]));
        let (sent, message) = read(Response::new(Body::new(StreamBody::new(broken)))).await;
        assert_eq!(message, None);
        assert!(sent.into_body().collect().await.is_err());
    }

    #[tokio::test]
    async fn what_was_kept_is_said_again() {
        let said = replay(b"message");
        assert_eq!(said.headers()[REPLAYED], "true");
        let (_, message) = read(said).await;
        assert_eq!(message.as_deref(), Some(b"message".as_slice()));
    }

    #[test]
    fn a_kept_answer_opens_for_its_call_only() {
        let sealed = seal(&ONCE, &Hash::NONE, b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(open(&ONCE, &Hash::NONE, &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(open(&ONCE, &Hash([1; 32]), &sealed), None);
        for other in [
            IdempotencyKey { sealing: [4; 32], ..ONCE },
            IdempotencyKey { request_hash: [4; 32], ..ONCE },
        ] {
            assert_eq!(open(&other, &Hash::NONE, &sealed), None);
        }
    }
}
