//! A bus that fails once, at a call that the test chooses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bus::embedded::EmbeddedBus;
use bus::{Bus, BusError, Bytes, Consumer, Entry, Watch};

/// Fails the call that brings its countdown to zero; 0 from the start: none.
pub(super) struct FlakyBus {
    inner: Arc<EmbeddedBus>,
    countdown: AtomicU64,
}

impl FlakyBus {
    pub(super) fn over(inner: Arc<EmbeddedBus>) -> FlakyBus {
        FlakyBus { inner, countdown: AtomicU64::new(0) }
    }

    /// The `nth` call from now fails.
    pub(super) fn fail_at(&self, nth: u64) {
        self.countdown.store(nth, Ordering::SeqCst);
    }

    /// Whether that call has come.
    pub(super) fn has_failed(&self) -> bool {
        self.countdown.load(Ordering::SeqCst) == 0
    }

    fn count(&self) -> Result<(), BusError> {
        let down = |left: u64| left.checked_sub(1);
        match self.countdown.fetch_update(Ordering::SeqCst, Ordering::SeqCst, down) {
            Ok(1) => Err(BusError::Unavailable("on purpose".to_owned())),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Bus for FlakyBus {
    async fn put(&self, bucket: &str, key: &str, value: Bytes) -> Result<u64, BusError> {
        self.count()?;
        self.inner.put(bucket, key, value).await
    }

    async fn get(&self, bucket: &str, key: &str) -> Result<Option<Entry>, BusError> {
        self.count()?;
        self.inner.get(bucket, key).await
    }

    async fn watch(&self, bucket: &str, sequence: u64) -> Result<Box<dyn Watch>, BusError> {
        self.count()?;
        self.inner.watch(bucket, sequence).await
    }

    async fn generation(&self, bucket: &str) -> Result<String, BusError> {
        self.count()?;
        self.inner.generation(bucket).await
    }

    async fn publish(&self, stream: &str, id: &str, payload: Bytes) -> Result<(), BusError> {
        self.count()?;
        self.inner.publish(stream, id, payload).await
    }

    async fn consume(&self, stream: &str, name: &str) -> Result<Box<dyn Consumer>, BusError> {
        self.count()?;
        self.inner.consume(stream, name).await
    }
}
