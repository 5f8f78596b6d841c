//! What the layer reads of a request besides who sent it.

use aws_lc_rs::digest::{Context, SHA256, digest};
use aws_lc_rs::hmac;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::{Code, Status};

use super::{IDEMPOTENCY_KEY, REQUEST_ID, refuse};
use crate::caller::IdempotencyKey;

/// gRPC's usual bound for a message, with the five bytes before it.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024 + FRAME_HEAD_BYTES;
/// A flag and a length stand before each message (gRPC over HTTP/2, "Length-Prefixed-Message").
const FRAME_HEAD_BYTES: usize = 5;
/// Longer keys are no better.
const MAX_KEY_BYTES: usize = 255;
/// As long as people still compare by eye.
const MAX_ID_BYTES: usize = 64;
/// Letters of an id that is made here: 100 bits.
const ID_LETTERS: usize = 20;

/// The caller's mark for one change.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, Status> {
    let mut all = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(key), another) = (all.next(), all.next()) else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| {
        (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    });
    match (key, another) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        _ => Err(refuse(
            Code::InvalidArgument,
            "IDEMPOTENCY_KEY_INVALID",
            "idempotency-key: send one, of 1 to 255 visible ASCII characters",
        )),
    }
}

/// Reads a request of one message, and puts it together again.
pub(super) async fn read(request: Request<Body>) -> Result<(Request<Body>, Bytes), Status> {
    let (parts, body) = request.into_parts();
    let read = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let whole =
        read.map_err(|_| unreadable_request("it is longer than 4 MiB, or was cut off"))?.to_bytes();
    let message = one_message(&whole)?;
    Ok((Request::from_parts(parts, Body::new(http_body_util::Full::new(whole))), message))
}

fn one_message(body: &Bytes) -> Result<Bytes, Status> {
    let head =
        body.get(..FRAME_HEAD_BYTES).ok_or_else(|| unreadable_request("it has no message"))?;
    if head[0] != 0 {
        return Err(unreadable_request("it is compressed, which no service here offers"));
    }
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let message = body.slice(FRAME_HEAD_BYTES..);
    match usize::try_from(length) {
        Ok(length) if length == message.len() => Ok(message),
        _ => Err(unreadable_request("it is not one whole message")),
    }
}

/// The mark as far as it is kept.
pub(super) fn once(key: &str, token: &str, method: &str, message: &[u8]) -> IdempotencyKey {
    let mut request = Context::new(&SHA256);
    request.update(method.as_bytes());
    request.update(&[0]);
    request.update(message);
    // An answer can be opened by who has both again, and by nobody else.
    let sealing = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes()), key.as_bytes());
    IdempotencyKey {
        key_hash: bytes32(digest(&SHA256, key.as_bytes()).as_ref()),
        request_hash: bytes32(request.finish().as_ref()),
        sealing: bytes32(sealing.as_ref()),
    }
}

/// The caller's id for a call, or a new one.
pub(super) fn id(headers: &HeaderMap) -> String {
    let sane = |id: &&str| {
        (1..=MAX_ID_BYTES).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let theirs = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(sane);
    theirs.map_or_else(new_id, str::to_owned)
}

fn new_id() -> String {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte % 32)]);
    rand::random::<[u8; ID_LETTERS]>().into_iter().map(letter).collect()
}

/// tonic answers a message that it can't read with INTERNAL and no reason: it is the caller's, and said so.
pub(super) fn unreadable(response: &Response<Body>) -> Option<Status> {
    let headers = response.headers();
    let is_internal = headers.get("grpc-status").is_some_and(|code| code == "13");
    let bare = is_internal && !headers.contains_key("grpc-status-details-bin");
    bare.then(|| unreadable_request("it is no message of this call"))
}

fn unreadable_request(why: &str) -> Status {
    refuse(
        Code::InvalidArgument,
        "REQUEST_UNREADABLE",
        &format!("the request can't be read: {why}"),
    )
}

fn bytes32(bytes: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.copy_from_slice(bytes);
    array
}
