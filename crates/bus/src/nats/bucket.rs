//! Putting into a bucket and getting from it.
//!
//! A put whose time was up may still be on its way to the server, and arrive long after: from a
//! connection that hung, from a process that has since been replaced. So each put says which write
//! of its key it replaces, and the server refuses it when there was another meanwhile. What was
//! given up never lands on top of what was put later.

use std::collections::HashMap;
use std::sync::Mutex;

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MARKER_REASON};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessage;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::link::{Failed, Link, Refusal, code};
use super::lock;
use crate::{BusError, Entry};

/// How often a put tries again because somebody else wrote the same key in between. A key has one
/// writer; a second one is its successor, for a moment.
const ATTEMPTS: usize = 5;

/// Keys whose last sequence is remembered, beyond which all are forgotten: some megabytes. One that
/// isn't known costs two more calls.
const REMEMBERED: usize = 16_384;

/// Says that a message is a deletion, in a bucket.
const KV_OPERATION: &str = "KV-Operation";

/// The last sequence that this process knows of, by bucket and key.
#[derive(Default)]
pub(super) struct Sequences(Mutex<HashMap<(String, String), u64>>);

impl Sequences {
    /// 0 when none is known, which is right for a new key.
    fn of(&self, bucket: &str, key: &str) -> u64 {
        let id = (bucket.to_owned(), key.to_owned());
        lock(&self.0).get(&id).copied().unwrap_or_default()
    }

    fn remember(&self, bucket: &str, key: &str, sequence: u64) {
        let mut known = lock(&self.0);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert((bucket.to_owned(), key.to_owned()), sequence);
    }
}

/// Puts a value under a key, whatever is there.
pub(super) async fn put(
    link: &Link,
    sequences: &Sequences,
    bucket: &str,
    key: &str,
    value: Bytes,
) -> Result<u64, Failed> {
    let mut last = sequences.of(bucket, key);
    for _ in 0..ATTEMPTS {
        if let Some(sequence) = put_over(link, bucket, key, value.clone(), last).await? {
            sequences.remember(bucket, key, sequence);
            return Ok(sequence);
        }
        last = last_message(link, &link.writing, bucket, key).await?.map_or(0, |m| m.sequence);
    }
    let why = format!("bucket {bucket}: others keep writing {key}");
    Err(Failed::Bus(BusError::Unavailable(why)))
}

/// Puts a value under a key if its last write is this one, 0 for none; none if it isn't.
pub(super) async fn put_over(
    link: &Link,
    bucket: &str,
    key: &str,
    value: Bytes,
    last: u64,
) -> Result<Option<u64>, Failed> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, last.to_string().as_str());
    let answer = link.ask(&link.put_subject(bucket, key), headers, value).await?;
    match stored(&answer.payload, &stream_of(bucket)) {
        Ok(stored) => Ok(Some(stored)),
        Err(Failed::Refused {
            code: code::WRONG_LAST_SEQUENCE | code::WRONG_LAST_SEQUENCE_UNCOUNTED,
            ..
        }) => Ok(None),
        Err(failed) => Err(failed),
    }
}

/// The value under a key, asked of the server that decides about it, so that what was put is seen.
pub(super) async fn get(link: &Link, bucket: &str, key: &str) -> Result<Option<Entry>, Failed> {
    let last = last_message(link, &link.writing, bucket, key).await?;
    let last = last.filter(|message| !is_deletion(&message.headers));
    Ok(last.map(|m| Entry { key: key.to_owned(), value: m.payload, sequence: m.sequence }))
}

/// The last message under a key, a deletion too.
pub(super) async fn last_message(
    link: &Link,
    api: &str,
    bucket: &str,
    key: &str,
) -> Result<Option<StreamMessage>, Failed> {
    #[derive(Serialize)]
    struct Ask {
        last_by_subj: String,
    }
    #[derive(Deserialize)]
    struct Got {
        message: RawMessage,
    }
    let ask = Ask { last_by_subj: subject_of(bucket, key) };
    let call = format!("STREAM.MSG.GET.{}", stream_of(bucket));
    match link.call::<Got>(api, &call, &ask).await {
        Ok(got) => got.message.try_into().map(Some).map_err(|fault| {
            let why = format!("bucket {bucket}: {key} can't be understood: {fault}");
            Failed::Bus(BusError::Unavailable(why))
        }),
        Err(Failed::Refused { code: code::NO_MESSAGE, .. }) => Ok(None),
        Err(failed) => Err(failed),
    }
}

/// The sequence at which a stream has stored what was sent to it.
pub(super) fn stored(answer: &[u8], stream: &str) -> Result<u64, Failed> {
    #[derive(Deserialize)]
    struct Stored {
        error: Option<Refusal>,
        #[serde(default)]
        stream: String,
        #[serde(default)]
        seq: u64,
    }
    let unsure = |why: String| Failed::Bus(BusError::Unavailable(why));
    let stored: Stored = serde_json::from_slice(answer)
        .map_err(|_| unsure(format!("whether {stream} has stored it can't be understood")))?;
    match stored.error {
        Some(refusal) => Err(refusal.into()),
        // Whoever else listens on the subject may answer first.
        None if stored.stream != stream => {
            Err(unsure(format!("{:?} answers in place of {stream}", stored.stream)))
        }
        None => Ok(stored.seq),
    }
}

/// A bare deletion says nothing to readers: what is removed is put as a value that says so.
pub(super) fn is_deletion(headers: &HeaderMap) -> bool {
    let operation = headers.get(KV_OPERATION).map(HeaderValue::as_str);
    matches!(operation, Some("DEL" | "PURGE")) || headers.get(NATS_MARKER_REASON).is_some()
}

pub(super) fn stream_of(bucket: &str) -> String {
    format!("KV_{bucket}")
}

pub(super) fn subject_of(bucket: &str, key: &str) -> String {
    format!("$KV.{bucket}.{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_streams_own_answer_says_that_it_is_stored() {
        let check = |answer: &str, expected: Result<u64, &str>| {
            let stored = stored(answer.as_bytes(), "KV_b");
            let stored = stored.map_err(|failed| failed.about("bucket b").to_string());
            match (stored, expected) {
                (Ok(sequence), Ok(expected)) => assert_eq!(sequence, expected),
                (Err(said), Err(expected)) => assert!(said.contains(expected), "{said}"),
                (stored, _) => panic!("{answer}: {stored:?}"),
            }
        };
        check(r#"{"stream":"KV_b","seq":7}"#, Ok(7));
        check(r#"{"stream":"KV_b","domain":"hub","seq":7,"duplicate":true}"#, Ok(7));
        check(r#"{"stream":"other","seq":7}"#, Err("\"other\" answers in place of KV_b"));
        check(r#"{}"#, Err("answers in place of"));
        check("nonsense", Err("can't be understood"));
        let full = r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},
            "stream":"KV_b","seq":0}"#;
        check(full, Err("maximum bytes exceeded"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let sequences = Sequences::default();
        for n in 0..=REMEMBERED as u64 {
            sequences.remember("b", &format!("k{n}"), n + 1);
        }
        assert_eq!(sequences.of("b", &format!("k{REMEMBERED}")), REMEMBERED as u64 + 1);
        assert_eq!(sequences.of("b", "k1"), 0);
    }
}
