//! Reading a consumer by asking it for messages, some at a time.
//!
//! The server sends no more than was asked for, so a slow reader holds a bounded number of bytes
//! here and the rest stays there. While it has nothing it sends a sign of life; when none comes, the
//! consumer is lost, whatever the reason: nothing here can wait for ever without noticing.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use tokio::select;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::events::Denials;
use super::link::Link;

/// How long one request for messages waits for them on the server.
const WAIT: Duration = Duration::from_secs(30);

/// How often the server says that it is there while it has nothing. At most half of [`WAIT`].
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(4);

/// After what silence the consumer is given up: two signs of life are missing.
const SILENCE: Duration = Duration::from_secs(10);

/// How long a reader tries to go on by itself after a loss. Then its caller is told, who may know what
/// to do.
pub(super) const GIVES_UP_AFTER: Duration = Duration::from_secs(30);

/// Between two attempts to go on.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// How much is asked for at a time.
#[derive(Clone, Copy)]
pub(super) struct Portion {
    pub(super) messages: usize,
    /// Above the longest message, or that one is never sent.
    pub(super) bytes: usize,
}

/// What came.
pub(super) enum Pulled {
    Message(Message),
    /// Nothing, and how many messages the consumer has handed out so far.
    Idle {
        handed_out: u64,
    },
}

/// The consumer, or the way to it, is lost: this says how.
#[derive(Debug)]
pub(super) struct Lost(pub(super) String);

/// A consumer being read. [`Pull::next`] may be dropped at any point: what was asked for and what
/// has come stay in here.
pub(super) struct Pull {
    client: async_nats::Client,
    subject: String,
    inbox: String,
    request: Bytes,
    portion: Portion,
    messages: Subscriber,
    /// Messages asked for that have not come.
    expected: usize,
    silent_at: Instant,
    connections: watch::Receiver<u64>,
    denials: Denials,
}

impl Pull {
    /// Starts to read a consumer that is there.
    pub(super) async fn open(
        link: &Link,
        api: &str,
        stream: &str,
        consumer: &str,
        portion: Portion,
    ) -> Result<Pull, Lost> {
        #[derive(Serialize)]
        struct Next {
            batch: usize,
            max_bytes: usize,
            expires: u128,
            idle_heartbeat: u128,
        }
        let next = Next {
            batch: portion.messages,
            max_bytes: portion.bytes,
            expires: WAIT.as_nanos(),
            idle_heartbeat: SIGN_OF_LIFE_EVERY.as_nanos(),
        };
        let lost = |fault: &dyn std::fmt::Display| Lost(fault.to_string());
        let request = serde_json::to_vec(&next).map_err(|fault| lost(&fault))?.into();
        // The client would keep what is asked until there is one, for each that was ever opened.
        if !link.is_connected() {
            return Err(Lost("there is no connection".to_owned()));
        }
        // Before the first request: a connection that is lost in between counts.
        let mut connections = link.events.connections();
        connections.mark_unchanged();
        let inbox = link.client.new_inbox();
        let messages = link.client.subscribe(inbox.clone()).await.map_err(|fault| lost(&fault))?;
        Ok(Pull {
            client: link.client.clone(),
            subject: format!("{api}.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            inbox,
            request,
            portion,
            messages,
            expected: 0,
            silent_at: Instant::now() + SILENCE,
            connections,
            denials: link.events.denials(),
        })
    }

    /// The next message or sign of life.
    pub(super) async fn next(&mut self) -> Result<Pulled, Lost> {
        loop {
            if self.expected == 0 {
                self.ask().await?;
            }
            let message = self.receive().await?;
            self.silent_at = Instant::now() + SILENCE;
            match meaning(&message) {
                Meaning::Message => {
                    self.expected -= 1;
                    return Ok(Pulled::Message(message));
                }
                Meaning::Idle { handed_out } => return Ok(Pulled::Idle { handed_out }),
                Meaning::Answered => self.expected = 0,
                Meaning::Lost(why) => return Err(Lost(why)),
            }
        }
    }

    async fn ask(&mut self) -> Result<(), Lost> {
        let (subject, inbox) = (self.subject.clone(), self.inbox.clone());
        let sent = self.client.publish_with_reply(subject, inbox, self.request.clone());
        match timeout_at(self.silent_at, sent).await {
            Ok(Ok(())) => {
                self.expected = self.portion.messages;
                self.silent_at = Instant::now() + SILENCE;
                Ok(())
            }
            Ok(Err(fault)) => Err(Lost(fault.to_string())),
            Err(_) => Err(Lost("there is no connection to ask on".to_owned())),
        }
    }

    async fn receive(&mut self) -> Result<Message, Lost> {
        select! {
            // What has come counts before any reason to give up.
            biased;
            message = self.messages.next() => {
                message.ok_or_else(|| Lost("the client is closed".to_owned()))
            }
            // The server has forgotten what was asked on the last one.
            _ = self.connections.changed() => Err(Lost("the connection was made anew".to_owned())),
            () = self.denials.of(&self.subject) => {
                Err(Lost(format!("the server's permissions deny this process {}", self.subject)))
            }
            () = sleep_until(self.silent_at) => {
                Err(Lost(format!("nothing was heard for {} s", SILENCE.as_secs())))
            }
        }
    }
}

enum Meaning {
    Message,
    Idle {
        handed_out: u64,
    },
    /// The server is done with the request.
    Answered,
    Lost(String),
}

/// What a message is: one of the consumer's, or a status about the request
/// ([ADR-13](https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-13.md)).
fn meaning(message: &Message) -> Meaning {
    const CONFLICT: u16 = 409;
    let said = message.description.as_deref().unwrap_or_default();
    match message.status {
        None | Some(StatusCode::OK) => Meaning::Message,
        Some(StatusCode::IDLE_HEARTBEAT) => {
            let headers = message.headers.as_ref();
            let handed_out = headers.and_then(|headers| headers.get("Nats-Last-Consumer"));
            let handed_out = handed_out.and_then(|count| count.as_str().parse().ok());
            Meaning::Idle { handed_out: handed_out.unwrap_or_default() }
        }
        Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => Meaning::Answered,
        Some(status) if status.as_u16() == CONFLICT && ends_a_request(said) => Meaning::Answered,
        Some(StatusCode::NO_RESPONDERS) => Meaning::Lost("the consumer isn't there".to_owned()),
        Some(status) => Meaning::Lost(format!("the server says {status} {said}")),
    }
}

/// Conflicts that only end this request: the next message would have been one byte too many.
fn ends_a_request(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("exceeds maxbytes") || said.contains("batch completed")
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;

    use super::*;

    fn status(code: u16, said: &str) -> Message {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Last-Consumer", "7");
        Message {
            subject: "inbox".into(),
            reply: None,
            payload: Bytes::new(),
            headers: Some(headers),
            status: Some(StatusCode::from_u16(code).unwrap()),
            description: Some(said.to_owned()),
            length: 0,
        }
    }

    #[test]
    fn each_status_ends_the_request_or_the_consumer_or_nothing() {
        let check = |code, said: &str, expected: &str| {
            let meant = match meaning(&status(code, said)) {
                Meaning::Message => "message".to_owned(),
                Meaning::Idle { handed_out } => format!("idle {handed_out}"),
                Meaning::Answered => "answered".to_owned(),
                Meaning::Lost(why) => format!("lost: {why}"),
            };
            assert_eq!(meant, expected, "{code} {said}");
        };
        check(100, "Idle Heartbeat", "idle 7");
        check(404, "No Messages", "answered");
        check(408, "Request Timeout", "answered");
        check(409, "Message Size Exceeds MaxBytes", "answered");
        check(409, "Batch Completed", "answered");
        check(409, "Consumer Deleted", "lost: the server says 409 Consumer Deleted");
        check(409, "Server Shutdown", "lost: the server says 409 Server Shutdown");
        check(503, "", "lost: the consumer isn't there");
        check(400, "Bad Request", "lost: the server says 400 Bad Request");
    }
}
