//! The connection, and one way to ask something over it.
//!
//! Whatever is asked ends: with the answer, with the server's refusal, or with a sentence when the
//! time is up. While there is no connection nothing is handed to the client, which would keep it and
//! send it later, when whoever asked has long given up.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::select;
use tokio::time::timeout;

use super::events::Events;
use super::options::{Options, OptionsError};
use crate::BusError;

/// No call takes longer. A healthy server answers in a millisecond, one that elects a new leader in
/// seconds; callers are loops that try again.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);

/// How often to look whether there is a connection, beside being told.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why something asked was not done.
#[derive(Debug)]
pub(super) enum Failed {
    /// The bucket, stream or consumer isn't there.
    Missing,
    /// JetStream refuses: its code and its reason.
    Refused { code: u64, reason: String },
    /// Anything else.
    Bus(BusError),
}

/// What JetStream answers a call that it refuses with.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// [Codes](https://github.com/nats-io/nats-server/blob/main/server/errors.json) of refusals.
pub(super) mod code {
    pub(in crate::nats) const CONSUMER_NOT_FOUND: u64 = 10014;
    pub(in crate::nats) const NO_MESSAGE: u64 = 10037;
    pub(in crate::nats) const NAME_IN_USE: u64 = 10058;
    pub(in crate::nats) const STREAM_NOT_FOUND: u64 = 10059;
    pub(in crate::nats) const WRONG_LAST_SEQUENCE: u64 = 10071;
    pub(in crate::nats) const MAXIMUM_BYTES: u64 = 10077;
    /// The same as `WRONG_LAST_SEQUENCE`, from a cluster that has not yet counted.
    pub(in crate::nats) const WRONG_LAST_SEQUENCE_UNCOUNTED: u64 = 10164;
}

pub(super) struct Link {
    pub(super) client: Client,
    pub(super) events: Arc<Events>,
    /// Who we are: the last part of subjects published on.
    pub(super) name: String,
    /// What calls about what is read begin with.
    pub(super) reading: String,
    /// What calls about what is written begin with.
    pub(super) writing: String,
    /// What the subjects of buckets' keys begin with when written to.
    put_prefix: String,
    servers: String,
}

impl Link {
    /// Connects in the background, now and whenever the connection is lost.
    pub(super) async fn open(options: &Options) -> Result<Link, OptionsError> {
        let events = Arc::new(Events::default());
        let heard = events.clone();
        let client = options.for_client(move |event| heard.take(event))?;
        let client = client.connect(options.addresses()?).await.map_err(OptionsError::Client)?;
        let home = options.home_domain.as_ref().or(options.domain.as_ref());
        let writing = api(home);
        // Servers of different domains don't hand `$KV.` on to each other, but what begins like a
        // call to a domain they do, and take it for the plain subject there.
        let put_prefix = home.map_or_else(|| "$KV".to_owned(), |_| format!("{writing}.$KV"));
        Ok(Link {
            client,
            events,
            name: options.name.clone(),
            reading: api(options.domain.as_ref()),
            writing,
            put_prefix,
            servers: options.urls.join(", "),
        })
    }

    /// The subject to put a key's value on.
    pub(super) fn put_subject(&self, bucket: &str, key: &str) -> String {
        format!("{}.{bucket}.{key}", self.put_prefix)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Gives what is asked an end.
    pub(super) async fn in_time<T>(
        &self,
        what: &str,
        asked: impl Future<Output = Result<T, BusError>>,
    ) -> Result<T, BusError> {
        match timeout(OPERATION_TIMEOUT, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(self.too_late(what)),
        }
    }

    fn too_late(&self, what: &str) -> BusError {
        let seconds = OPERATION_TIMEOUT.as_secs();
        let servers = &self.servers;
        let fault = self.events.last_fault().map(|fault| format!(" ({fault})")).unwrap_or_default();
        BusError::Unavailable(match self.is_connected() {
            true => format!("{servers} has not answered within {seconds} s: {what}"),
            false => format!("no connection to {servers}{fault}: {what}"),
        })
    }

    /// Asks and waits for the answer, without an end of its own: see [`Link::in_time`].
    pub(super) async fn ask(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Message, Failed> {
        let mut denials = self.events.denials();
        self.connected().await;
        let bytes = payload.len();
        let request = Request::new().headers(headers).payload(payload).timeout(None);
        let answer = select! {
            answer = self.client.send_request(subject.to_owned(), request) => answer,
            () = denials.of(subject) => return Err(Failed::Bus(denied(subject))),
        };
        answer.map_err(|fault| match fault.kind() {
            RequestErrorKind::NoResponders => Failed::Missing,
            RequestErrorKind::MaxPayloadExceeded => Failed::Bus(BusError::TooLong { bytes }),
            _ => Failed::Bus(BusError::Unavailable(format!("asking {subject}: {fault}"))),
        })
    }

    /// Calls JetStream's interface: `call` without what it begins with.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        api: &str,
        call: &str,
        body: &impl Serialize,
    ) -> Result<T, Failed> {
        let subject = format!("{api}.{call}");
        let unreadable = |fault: serde_json::Error| {
            Failed::Bus(BusError::Unavailable(format!("{subject} can't be understood: {fault}")))
        };
        let body = serde_json::to_vec(body).map_err(unreadable)?;
        let answer = match self.ask(&subject, HeaderMap::new(), body.into()).await {
            // A stream that isn't there is told by JetStream; here nobody answered for JetStream.
            Err(Failed::Missing) => {
                let why =
                    format!("nobody answers {api}: is JetStream on, is its domain reachable?");
                return Err(Failed::Bus(BusError::Unavailable(why)));
            }
            answer => answer?,
        };
        let answer: Answer<T> = serde_json::from_slice(&answer.payload).map_err(unreadable)?;
        match answer {
            Answer::Refused { error } => Err(error.into()),
            Answer::Done(done) => Ok(done),
        }
    }

    /// Waits for a connection.
    async fn connected(&self) {
        let mut connections = self.events.connections();
        while !self.is_connected() {
            // Being told may be lost when very much happens; so look, too.
            let _ = timeout(LOOK_EVERY, connections.changed()).await;
        }
    }
}

/// A call without parameters.
#[derive(Serialize)]
pub(super) struct Nothing {}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    Refused { error: Refusal },
    Done(T),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Failed {
        match refusal.err_code {
            code::STREAM_NOT_FOUND | code::CONSUMER_NOT_FOUND => Failed::Missing,
            code => Failed::Refused { code, reason: refusal.description },
        }
    }
}

impl From<BusError> for Failed {
    fn from(error: BusError) -> Failed {
        Failed::Bus(error)
    }
}

impl Failed {
    /// As the bus's callers are told, with what this was about.
    pub(super) fn about(self, what: &str) -> BusError {
        BusError::Unavailable(match self {
            Failed::Missing => {
                format!("{what} isn't there: who writes it has not declared it, or it was deleted")
            }
            Failed::Refused { code, reason } => format!("{what}: JetStream says {reason} ({code})"),
            Failed::Bus(error) => return error,
        })
    }
}

pub(super) fn denied(subject: &str) -> BusError {
    BusError::Unavailable(format!("the server's permissions deny this process {subject}"))
}

/// What the subjects of a domain's JetStream calls begin with.
pub(super) fn api(domain: Option<&String>) -> String {
    domain.map_or_else(|| "$JS.API".to_owned(), |domain| format!("$JS.{domain}.API"))
}
