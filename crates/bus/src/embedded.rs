//! The bus inside one process.
//!
//! Buckets live in memory: their writers fill them again at start, as they would after the loss of
//! a NATS store. Streams hold nothing: a publisher waits until every declared consumer has
//! acknowledged its message, so that what it forgets afterwards is durable with them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::{Bus, BusError, Consumer, Delivery, Entry, Watch, check_key, check_length};

/// How long a publisher waits for consumers to make its message durable.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Messages that may wait for one consumer; further publishers wait.
const QUEUE: usize = 64;

/// A bus in memory.
pub struct EmbeddedBus {
    generation: String,
    buckets: Mutex<HashMap<String, Arc<Bucket>>>,
    streams: HashMap<String, Vec<Arc<Queue>>>,
}

impl EmbeddedBus {
    /// A bus with these streams, each with the names of all its consumers: a message is safe once
    /// all of them have it.
    pub fn new(streams: &[(&str, &[&str])]) -> Arc<EmbeddedBus> {
        let streams = streams.iter().map(|&(stream, consumers)| {
            let queues = consumers.iter().map(|&name| Arc::new(Queue::new(name))).collect();
            (stream.to_owned(), queues)
        });
        Arc::new(EmbeddedBus {
            generation: new_generation(),
            buckets: Mutex::default(),
            streams: streams.collect(),
        })
    }

    fn bucket(&self, name: &str) -> Arc<Bucket> {
        lock(&self.buckets).entry(name.to_owned()).or_default().clone()
    }

    fn queues(&self, stream: &str) -> Result<&[Arc<Queue>], BusError> {
        match self.streams.get(stream) {
            Some(queues) => Ok(queues),
            None => Err(BusError::Unavailable(format!("no stream is called {stream}"))),
        }
    }
}

#[async_trait]
impl Bus for EmbeddedBus {
    async fn put(&self, bucket: &str, key: &str, value: Bytes) -> Result<u64, BusError> {
        check_key(key)?;
        check_length(&value)?;
        Ok(self.bucket(bucket).put(key, value))
    }

    async fn get(&self, bucket: &str, key: &str) -> Result<Option<Entry>, BusError> {
        check_key(key)?;
        Ok(self.bucket(bucket).get(key))
    }

    async fn watch(&self, bucket: &str, sequence: u64) -> Result<Box<dyn Watch>, BusError> {
        let bucket = self.bucket(bucket);
        let last = bucket.last.subscribe();
        // A bucket that ends before what the reader saw is another one: all of it is new.
        let seen = if sequence > *last.borrow() { 0 } else { sequence };
        Ok(Box::new(BucketWatch { bucket, last, seen }))
    }

    async fn generation(&self, _bucket: &str) -> Result<String, BusError> {
        Ok(self.generation.clone())
    }

    async fn publish(&self, stream: &str, id: &str, payload: Bytes) -> Result<(), BusError> {
        check_length(&payload)?;
        let send_all = async {
            for queue in self.queues(stream)? {
                queue.hand_over(id, payload.clone()).await?;
            }
            Ok(())
        };
        match timeout(PUBLISH_TIMEOUT, send_all).await {
            Ok(sent) => sent,
            Err(_) => {
                let waited = PUBLISH_TIMEOUT.as_secs();
                Err(BusError::Unavailable(format!("a consumer took more than {waited} s")))
            }
        }
    }

    async fn consume(&self, stream: &str, name: &str) -> Result<Box<dyn Consumer>, BusError> {
        match self.queues(stream)?.iter().find(|queue| queue.consumer == name) {
            Some(queue) => Ok(Box::new(QueueReader { queue: queue.clone() })),
            None => Err(BusError::Unavailable(format!("{stream} has no consumer {name}"))),
        }
    }
}

struct Bucket {
    state: Mutex<BucketState>,
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct BucketState {
    by_key: HashMap<String, u64>,
    by_sequence: BTreeMap<u64, Entry>,
    sequence: u64,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket { state: Mutex::default(), last: watch::Sender::new(0) }
    }
}

impl Bucket {
    fn put(&self, key: &str, value: Bytes) -> u64 {
        let mut state = lock(&self.state);
        state.sequence += 1;
        let sequence = state.sequence;
        if let Some(replaced) = state.by_key.insert(key.to_owned(), sequence) {
            state.by_sequence.remove(&replaced);
        }
        state.by_sequence.insert(sequence, Entry { key: key.to_owned(), value, sequence });
        drop(state);
        // Two writers may get here in the other order; readers must not see the count go back.
        self.last.send_if_modified(|last| {
            let newer = sequence > *last;
            *last = sequence.max(*last);
            newer
        });
        sequence
    }

    fn get(&self, key: &str) -> Option<Entry> {
        let state = lock(&self.state);
        let sequence = state.by_key.get(key)?;
        state.by_sequence.get(sequence).cloned()
    }

    fn after(&self, seen: u64) -> Option<Entry> {
        let state = lock(&self.state);
        state.by_sequence.range(seen + 1..).next().map(|(_, entry)| entry.clone())
    }
}

struct BucketWatch {
    bucket: Arc<Bucket>,
    last: watch::Receiver<u64>,
    seen: u64,
}

#[async_trait]
impl Watch for BucketWatch {
    async fn next(&mut self) -> Result<Entry, BusError> {
        loop {
            self.last.mark_unchanged();
            if let Some(entry) = self.bucket.after(self.seen) {
                self.seen = entry.sequence;
                return Ok(entry);
            }
            self.last.changed().await.map_err(|_| BusError::Closed)?;
        }
    }
}

/// Hands messages from publishers to one consumer. A message that its consumer drops without an
/// acknowledgement is told to its publisher, who publishes it again.
struct Queue {
    consumer: String,
    sender: mpsc::Sender<Handover>,
    receiver: AsyncMutex<mpsc::Receiver<Handover>>,
}

struct Handover {
    id: String,
    payload: Bytes,
    acknowledged: oneshot::Sender<()>,
}

impl Queue {
    fn new(consumer: &str) -> Queue {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Queue { consumer: consumer.to_owned(), sender, receiver: AsyncMutex::new(receiver) }
    }

    async fn hand_over(&self, id: &str, payload: Bytes) -> Result<(), BusError> {
        let (acknowledged, wait) = oneshot::channel();
        let handover = Handover { id: id.to_owned(), payload, acknowledged };
        self.sender.send(handover).await.map_err(|_| BusError::Closed)?;
        wait.await.map_err(|_| {
            BusError::Unavailable(format!("{} did not take the message", self.consumer))
        })
    }
}

struct QueueReader {
    queue: Arc<Queue>,
}

#[async_trait]
impl Consumer for QueueReader {
    async fn next(&mut self) -> Result<Box<dyn Delivery>, BusError> {
        let mut receiver = self.queue.receiver.lock().await;
        match receiver.recv().await {
            Some(handover) => Ok(Box::new(handover)),
            None => Err(BusError::Closed),
        }
    }
}

#[async_trait]
impl Delivery for Handover {
    fn id(&self) -> &str {
        &self.id
    }

    fn payload(&self) -> &Bytes {
        &self.payload
    }

    async fn acknowledge(self: Box<Self>) -> Result<(), BusError> {
        // The publisher may have given up waiting: it will publish again, and we count by id.
        let _ = self.acknowledged.send(());
        Ok(())
    }
}

fn new_generation() -> String {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let nth = STARTED.fetch_add(1, Ordering::Relaxed);
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{at}-{}-{nth}", std::process::id())
}

/// A panic elsewhere while holding a lock leaves these maps whole: each change is one insert.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[tokio::test]
    async fn the_embedded_bus_conforms() {
        let streams: &[(&str, &[&str])] = &[(conformance::STREAM, conformance::CONSUMERS)];
        conformance::check(EmbeddedBus::new(streams)).await;
    }

    #[tokio::test]
    async fn a_restart_is_a_loss_that_is_noticed() {
        conformance::check_loss(EmbeddedBus::new(&[]), "lost", async |_| EmbeddedBus::new(&[]))
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_no_consumer_takes_is_not_called_safe() {
        let bus = EmbeddedBus::new(&[("facts", &["reader"])]);
        let refused = bus.publish("facts", "1", Bytes::from_static(b"x")).await;
        assert!(matches!(refused, Err(BusError::Unavailable(_))));
    }
}
