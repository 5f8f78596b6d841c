//! Publishing to a stream, and consuming it.
//!
//! One message is handed to a consumer at a time, so that none waits in a buffer here while the
//! server's time for its acknowledgement runs.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{HeaderMap, HeaderValue, Message};
use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::bucket::stored;
use super::link::{Failed, Link, Nothing, code};
use super::options::is_token;
use super::position::Position;
use super::pull::{GIVES_UP_AFTER, Lost, PAUSE, Portion, Pull, Pulled};
use crate::{BusError, Consumer, Delivery, MAX_VALUE_BYTES};

/// One at a time.
const PORTION: Portion = Portion { messages: 1, bytes: 2 * MAX_VALUE_BYTES };

/// How soon a message that its consumer gave up comes again, the first time.
const FIRST_AGAIN: Duration = Duration::from_millis(500);

/// How soon at the latest: a consumer whose database is back should not wait for long.
const LAST_AGAIN: Duration = Duration::from_secs(60);

/// Publishes a message and waits until the stream has stored it.
pub(super) async fn publish(
    link: &Link,
    stream: &str,
    id: &str,
    payload: Bytes,
) -> Result<(), Failed> {
    let Ok(id) = id.parse::<HeaderValue>() else {
        let why = "a message's id has no line breaks";
        return Err(BusError::InvalidKey { key: id.chars().take(64).collect(), why }.into());
    };
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id);
    let answer = link.ask(&subject_of(stream, &link.name), headers, payload).await?;
    match stored(&answer.payload, stream) {
        Ok(_) => Ok(()),
        Err(Failed::Refused { code: code::MAXIMUM_BYTES, .. }) => {
            let why = format!("stream {stream} is full: its consumers have to catch up first");
            Err(BusError::Unavailable(why).into())
        }
        Err(failed) => Err(failed),
    }
}

/// What a publisher sends on. The stream listens on a wildcard, of which one part is the publisher:
/// the server then holds each to its own, and does not let anyone have messages of other streams
/// delivered into this one.
pub(super) fn subject_of(stream: &str, publisher: &str) -> String {
    format!("streams.{stream}.{publisher}")
}

/// One consumer of a stream.
pub(super) struct StreamConsumer {
    link: Arc<Link>,
    stream: String,
    name: String,
    /// None while it is lost.
    pull: Option<Pull>,
    lost_at: Option<Instant>,
    try_at: Instant,
}

impl StreamConsumer {
    pub(super) async fn open(
        link: Arc<Link>,
        stream: &str,
        name: &str,
    ) -> Result<StreamConsumer, Failed> {
        #[derive(Deserialize)]
        struct Info {}
        if !is_token(stream) || !is_token(name) {
            return Err(Failed::Missing);
        }
        let call = format!("CONSUMER.INFO.{stream}.{name}");
        let Info {} = link.call(&link.writing, &call, &Nothing {}).await?;
        let (stream, name, try_at) = (stream.to_owned(), name.to_owned(), Instant::now());
        Ok(StreamConsumer { link, stream, name, pull: None, lost_at: None, try_at })
    }

    /// Gets hold of the consumer again. Cheap and without an answer to wait for: that it isn't there
    /// is heard by asking it for messages.
    async fn resume(&mut self) -> Result<(), BusError> {
        sleep_until(self.try_at).await;
        self.try_at = Instant::now() + PAUSE;
        let link = &self.link;
        match Pull::open(link, &link.writing, &self.stream, &self.name, PORTION).await {
            Ok(pull) => self.pull = Some(pull),
            Err(lost) => self.lost(lost)?,
        }
        Ok(())
    }

    /// What to do after a loss: try to go on, or tell.
    fn lost(&mut self, Lost(why): Lost) -> Result<(), BusError> {
        self.pull = None;
        let lost_at = *self.lost_at.get_or_insert_with(Instant::now);
        let (stream, name) = (&self.stream, &self.name);
        if lost_at.elapsed() >= GIVES_UP_AFTER {
            self.lost_at = None;
            return Err(BusError::Unavailable(format!("consumer {name} of {stream}: {why}")));
        }
        debug!(stream, name, why, "a consumer is lost and goes on");
        Ok(())
    }
}

#[async_trait]
impl Consumer for StreamConsumer {
    // Nothing is kept in this future that is not in `self`: a reader may drop it at any point.
    async fn next(&mut self) -> Result<Box<dyn Delivery>, BusError> {
        loop {
            let Some(pull) = &mut self.pull else {
                self.resume().await?;
                continue;
            };
            match pull.next().await {
                Ok(Pulled::Message(message)) => {
                    self.lost_at = None;
                    return Ok(Box::new(StreamDelivery::of(self.link.clone(), message)));
                }
                Ok(Pulled::Idle { .. }) => self.lost_at = None,
                Err(lost) => self.lost(lost)?,
            }
        }
    }
}

/// A message in a consumer's hands.
struct StreamDelivery {
    link: Arc<Link>,
    id: String,
    payload: Bytes,
    deliveries: u64,
    /// What it is acknowledged on; none once it is.
    reply: Option<String>,
}

impl StreamDelivery {
    fn of(link: Arc<Link>, message: Message) -> StreamDelivery {
        let reply = message.reply.map(|reply| reply.to_string());
        let position = reply.as_deref().and_then(Position::read);
        let (stream, deliveries) = position.map_or((0, 1), |at| (at.stream, at.deliveries));
        let id = message.headers.as_ref().and_then(|headers| headers.get(NATS_MESSAGE_ID));
        // Without an id it is no publisher's of ours; it still has to be told from others.
        let id = id.map_or_else(|| format!("#{stream}"), |id| id.as_str().to_owned());
        StreamDelivery { link, id, payload: message.payload, deliveries, reply }
    }
}

#[async_trait]
impl Delivery for StreamDelivery {
    fn id(&self) -> &str {
        &self.id
    }

    fn payload(&self) -> &Bytes {
        &self.payload
    }

    async fn acknowledge(mut self: Box<Self>) -> Result<(), BusError> {
        let Some(reply) = self.reply.take() else { return Ok(()) };
        let told = async {
            let told = self.link.ask(&reply, HeaderMap::new(), Bytes::from_static(b"+ACK")).await;
            told.map(drop).map_err(|failed| failed.about("the acknowledgement"))
        };
        self.link.in_time("acknowledging a message", told).await
    }
}

/// Given up without an acknowledgement: the server is told, or it would wait until its time is up.
impl Drop for StreamDelivery {
    fn drop(&mut self) {
        let Some(reply) = self.reply.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let payload = format!("-NAK {{\"delay\": {}}}", again_after(self.deliveries).as_nanos());
        let client = self.link.client.clone();
        // Lost without harm: the server's own time then does the same.
        runtime.spawn(async move { client.publish(reply, payload.into()).await });
    }
}

/// How soon a message comes again that was given up so many times.
fn again_after(deliveries: u64) -> Duration {
    let doublings = u32::try_from(deliveries.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    FIRST_AGAIN.saturating_mul(1 << doublings).min(LAST_AGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_given_up_again_and_again_comes_ever_later() {
        let check = |deliveries, millis| {
            assert_eq!(again_after(deliveries), Duration::from_millis(millis), "{deliveries}");
        };
        check(0, 500);
        check(1, 500);
        check(2, 1000);
        check(5, 8000);
        check(9, 60_000);
        check(u64::MAX, 60_000);
    }
}
