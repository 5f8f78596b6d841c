//! Buckets and streams: how documents and facts get from one service to the others.
//!
//! * A **bucket** keeps the last value under each key. A reader [`watch`](Bus::watch)es it: first
//!   everything that is there, in the order in which it was last written, then each change.
//! * A **stream** hands facts over. [`publish`](Bus::publish) returns once they are in safe hands;
//!   a [`Consumer`] acknowledges each message after it has made it durable, and gets it again
//!   until then. A message published again under the same id may arrive twice: count by id.
//!
//! * **In**: keys and bytes. **Out**: the same bytes, at least once, the newest per key.
//! * **Absent**: any product word, any opinion about what is in a value. A value is not to be
//!   believed because it came from here, and a [`sequence`](Entry::sequence) is only good for going
//!   on watching: it starts again when a bucket is lost, so nobody takes it for a version.
//!
//! Two backends: [`nats`] for a fleet, [`embedded`] in memory for one process. A bucket that has
//! lost its values, as the embedded one has at every start, is filled again by its writer: see
//! [`Bus::generation`].
//!
//! Reading order: this file, [`embedded`], [`conformance`], which both pass, then [`nats`]. Why
//! things are as they are stands in the crate's README.

pub mod conformance;
pub mod embedded;
pub mod nats;

use std::sync::Arc;

use async_trait::async_trait;
pub use bytes::Bytes;

/// A handle to whichever bus the process was started with.
pub type SharedBus = Arc<dyn Bus>;

/// No value is longer.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;

/// No key is longer: a domain name has at most 253 bytes.
pub const MAX_KEY_BYTES: usize = 255;

/// Why the bus did not do it.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// It can't be reached, or did not answer in time. Try again.
    #[error("the bus doesn't answer: {0}")]
    Unavailable(String),
    /// The key can't stand in a bucket.
    #[error("{key:?} can't be a key: {why}")]
    InvalidKey {
        /// The key, as given.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The value is longer than [`MAX_VALUE_BYTES`].
    #[error("a value of {bytes} bytes is too long for the bus")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The bus was shut down.
    #[error("the bus is closed")]
    Closed,
}

/// A value in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is stored under.
    pub key: String,
    /// What was put there last.
    pub value: Bytes,
    /// Where to go on watching: the bucket's own count of writes, not a version of the value.
    pub sequence: u64,
}

/// What has been published to a stream.
#[async_trait]
pub trait Delivery: Send {
    /// The id given by the publisher.
    fn id(&self) -> &str;
    /// The message.
    fn payload(&self) -> &Bytes;
    /// Says that the message is durable here: it will not come again to this consumer.
    ///
    /// # Errors
    /// When the bus could not be told; the message may then come again.
    async fn acknowledge(self: Box<Self>) -> Result<(), BusError>;
}

/// A bucket's entries, as they are and as they become.
#[async_trait]
pub trait Watch: Send {
    /// The next entry; waits for one. A slow reader may miss values that have been replaced since,
    /// never the newest. The future may be dropped at any point: nothing is lost by that.
    ///
    /// # Errors
    /// When the bus is gone: watch again from the last sequence seen.
    async fn next(&mut self) -> Result<Entry, BusError>;
}

/// One reader of a stream.
#[async_trait]
pub trait Consumer: Send {
    /// The next message that this consumer has not acknowledged; waits for one. The future may be
    /// dropped at any point.
    ///
    /// # Errors
    /// When the bus is gone: consume again.
    async fn next(&mut self) -> Result<Box<dyn Delivery>, BusError>;
}

/// Buckets and streams.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Puts a value under a key, whatever was there, and returns the bucket's count of it. A put
    /// that failed never lands on top of a later one.
    ///
    /// # Errors
    /// When it was not stored, or that is not known.
    async fn put(&self, bucket: &str, key: &str, value: Bytes) -> Result<u64, BusError>;

    /// The value under a key.
    ///
    /// # Errors
    /// When the bus does not answer.
    async fn get(&self, bucket: &str, key: &str) -> Result<Option<Entry>, BusError>;

    /// Watches a bucket: what was last written after `sequence`, then each change. From 0: all. All
    /// too from a sequence that the bucket has not reached, since it then has lost its values.
    ///
    /// # Errors
    /// When the bus does not answer.
    async fn watch(&self, bucket: &str, sequence: u64) -> Result<Box<dyn Watch>, BusError>;

    /// A name for this life of the bucket: another one after its values were lost, by restart,
    /// deletion or restore. A writer that sees a new one puts all its documents again.
    ///
    /// # Errors
    /// When the bus does not answer.
    async fn generation(&self, bucket: &str) -> Result<String, BusError>;

    /// Hands a message over, and returns once it is safe: nothing is lost if the caller forgets it
    /// then. A message published again keeps its id, by which consumers know it.
    ///
    /// # Errors
    /// When that is not certain: publish it again under the same id.
    async fn publish(&self, stream: &str, id: &str, payload: Bytes) -> Result<(), BusError>;

    /// Reads a stream as the consumer `name`, from the first message that it has not acknowledged.
    ///
    /// # Errors
    /// When the bus does not answer.
    async fn consume(&self, stream: &str, name: &str) -> Result<Box<dyn Consumer>, BusError>;
}

/// Whether a value or message is short enough.
///
/// # Errors
/// [`BusError::TooLong`] if it isn't.
pub fn check_length(value: &Bytes) -> Result<(), BusError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(BusError::TooLong { bytes: value.len() });
    }
    Ok(())
}

/// Whether a key can stand in a bucket: letters, digits, `.`, `-`, `_`, `=`, no empty part.
///
/// # Errors
/// [`BusError::InvalidKey`] says what is wrong.
pub fn check_key(key: &str) -> Result<(), BusError> {
    let invalid = |why| Err(BusError::InvalidKey { key: key.chars().take(64).collect(), why });
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return invalid("it must have 1 to 255 bytes");
    }
    if key.split('.').any(str::is_empty) {
        return invalid("it has an empty part between dots");
    }
    if !key.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_=".contains(&b)) {
        return invalid("it has a character other than letters, digits, '.', '-', '_', '='");
    }
    Ok(())
}
