//! Watching a bucket: what was written last after a sequence, then each change.
//!
//! The server keeps a consumer for each watch, in memory and only while it is asked. It is lost with
//! its server, with the connection, with the bucket. Then another is made that goes on where this
//! one stopped, if the bucket still lives the same life; if not, the watch ends with an error, and
//! whoever watches finds by [`Bus::generation`](crate::Bus::generation) what that means.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::bucket::{is_deletion, stream_of, subject_of};
use super::life::{self, Look};
use super::link::{Failed, Link};
use super::position::Position;
use super::pull::{GIVES_UP_AFTER, Lost, PAUSE, Portion, Pull, Pulled};
use crate::{BusError, Entry, MAX_VALUE_BYTES, Watch, check_key};

/// How much a watch asks for at a time: what it may hold in memory, too. Above the longest message.
const PORTION: Portion = Portion { messages: 256, bytes: 4 * MAX_VALUE_BYTES };

/// How long the server keeps a consumer that nobody asks: a reader that is busy for longer gets a
/// new one, and one that is gone costs nothing after that.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// A watch of one bucket.
pub(super) struct BucketWatch {
    link: Arc<Link>,
    bucket: String,
    seen: u64,
    /// The life that is being read.
    generation: String,
    lost_at: Option<Instant>,
    state: State,
}

enum State {
    Reading(Box<Reading>),
    /// Going on after a loss. The attempt stays here when [`Watch::next`] is dropped.
    Resuming(BoxFuture<'static, Result<Box<Reading>, BusError>>),
}

impl BucketWatch {
    pub(super) async fn open(
        link: Arc<Link>,
        bucket: &str,
        sequence: u64,
    ) -> Result<BucketWatch, Failed> {
        let look = life::look(&link, &link.reading, bucket).await?;
        let seen = start(sequence, &look);
        let generation = look.generation();
        let reading = Reading::open(&link, bucket, seen, look).await?;
        let (bucket, state) = (bucket.to_owned(), State::Reading(reading));
        Ok(BucketWatch { link, bucket, seen, generation, lost_at: None, state })
    }

    /// What to do after a loss: try to go on, or tell.
    fn lost(&mut self, why: &BusError) -> Result<(), BusError> {
        let lost_at = *self.lost_at.get_or_insert_with(Instant::now);
        let pause = if matches!(self.state, State::Reading(_)) { Duration::ZERO } else { PAUSE };
        self.state = State::Resuming(self.resume(pause));
        if lost_at.elapsed() >= GIVES_UP_AFTER {
            self.lost_at = None;
            return Err(BusError::Unavailable(format!("bucket {}: {why}", self.bucket)));
        }
        debug!(bucket = self.bucket, %why, "a watch is lost and goes on");
        Ok(())
    }

    fn resume(&self, pause: Duration) -> BoxFuture<'static, Result<Box<Reading>, BusError>> {
        let (link, bucket, seen) = (self.link.clone(), self.bucket.clone(), self.seen);
        let resumed = async move {
            sleep(pause).await;
            let what = format!("watching bucket {bucket}");
            let resumed = async {
                let resumed = async {
                    let look = life::look(&link, &link.reading, &bucket).await?;
                    Reading::open(&link, &bucket, seen, look).await
                };
                resumed.await.map_err(|failed| failed.about(&format!("bucket {bucket}")))
            };
            link.in_time(&what, resumed).await
        };
        resumed.boxed()
    }
}

#[async_trait]
impl Watch for BucketWatch {
    // Nothing is kept in this future that is not in `self`: a reader may drop it at any point.
    async fn next(&mut self) -> Result<Entry, BusError> {
        loop {
            match &mut self.state {
                State::Reading(reading) => match reading.next().await {
                    Ok(entry) => {
                        self.seen = entry.sequence;
                        return Ok(entry);
                    }
                    Err(Lost(why)) => self.lost(&BusError::Unavailable(why))?,
                },
                State::Resuming(resumed) => match resumed.await {
                    Err(why) => self.lost(&why)?,
                    Ok(reading) => {
                        if reading.look.generation() != self.generation
                            || reading.look.last < self.seen
                        {
                            self.state = State::Resuming(self.resume(PAUSE));
                            let why = format!("bucket {} has lost its values", self.bucket);
                            return Err(BusError::Unavailable(why));
                        }
                        self.lost_at = None;
                        self.state = State::Reading(reading);
                    }
                },
            }
        }
    }
}

/// One consumer being read.
struct Reading {
    bucket: String,
    /// The bucket as it was when this began.
    look: Look,
    pull: Pull,
    /// Messages that have come: the consumer numbers them without a gap.
    received: u64,
}

impl Reading {
    async fn open(
        link: &Link,
        bucket: &str,
        seen: u64,
        look: Look,
    ) -> Result<Box<Reading>, Failed> {
        #[derive(Serialize)]
        struct Create<'a> {
            stream_name: &'a str,
            config: Config,
        }
        #[derive(Deserialize)]
        struct Created {}
        let (stream, all) = (stream_of(bucket), subject_of(bucket, ">"));
        let name = format!("{}-{:016x}", link.name, rand::random::<u64>());
        let config = Config {
            name: Some(name.clone()),
            deliver_policy: match seen {
                0 => DeliverPolicy::All,
                seen => DeliverPolicy::ByStartSequence { start_sequence: seen + 1 },
            },
            ack_policy: AckPolicy::None,
            filter_subject: all.clone(),
            inactive_threshold: KEPT_FOR,
            memory_storage: true,
            num_replicas: 1,
            ..Config::default()
        };
        let create = Create { stream_name: &stream, config };
        let call = format!("CONSUMER.CREATE.{stream}.{name}.{all}");
        let Created {} = link.call(&link.reading, &call, &create).await?;
        let pull = Pull::open(link, &link.reading, &stream, &name, PORTION).await;
        let pull = pull.map_err(|Lost(why)| Failed::Bus(BusError::Unavailable(why)))?;
        Ok(Box::new(Reading { bucket: bucket.to_owned(), look, pull, received: 0 }))
    }

    async fn next(&mut self) -> Result<Entry, Lost> {
        loop {
            match self.pull.next().await? {
                Pulled::Idle { handed_out } if handed_out > self.received => {
                    let missing = handed_out - self.received;
                    return Err(Lost(format!("{missing} messages were lost on the way")));
                }
                Pulled::Idle { .. } => {}
                Pulled::Message(message) => {
                    let position = message.reply.as_deref().and_then(Position::read);
                    let Some(position) = position else {
                        return Err(Lost("a message says nothing of its position".to_owned()));
                    };
                    if position.consumer != self.received + 1 {
                        return Err(Lost("a message was lost on the way".to_owned()));
                    }
                    self.received += 1;
                    if let Some(entry) = entry(&self.bucket, message, position.stream) {
                        return Ok(entry);
                    }
                }
            }
        }
    }
}

/// Where to begin for a reader who has seen this sequence: a bucket that ends before it has lost
/// what the reader saw, so all of it is new.
fn start(sequence: u64, look: &Look) -> u64 {
    if sequence > look.last { 0 } else { sequence }
}

/// What a reader is shown of a message: not deletions, not the mark, nor what else can't be ours.
fn entry(bucket: &str, message: Message, sequence: u64) -> Option<Entry> {
    let key = message.subject.strip_prefix(&subject_of(bucket, ""))?.to_owned();
    let deleted = message.headers.as_ref().is_some_and(is_deletion);
    if deleted || check_key(&key).is_err() {
        return None;
    }
    Some(Entry { key, value: message.payload, sequence })
}
