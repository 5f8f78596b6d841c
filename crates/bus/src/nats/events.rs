//! What the client hears of its connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use async_nats::{Event, ServerError};
use tokio::sync::{broadcast, watch};
use tracing::warn;

/// Refusals that a slow listener may be behind by; it then only waits for its own deadline.
const REFUSALS: usize = 64;

/// How a connection fares, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether there is a connection at this moment.
    pub connected: bool,
    /// How often one was made. More than one: it was lost in between.
    pub connections: u64,
    /// How often the server said that this process may not do something.
    pub denied: u64,
    /// What went wrong last, if anything has.
    pub last_fault: Option<String>,
}

/// What happens to the connection, as the client tells it.
pub(super) struct Events {
    connections: watch::Sender<u64>,
    denials: broadcast::Sender<String>,
    denied: AtomicU64,
    last_fault: Mutex<Option<String>>,
}

impl Default for Events {
    fn default() -> Events {
        Events {
            connections: watch::Sender::new(0),
            denials: broadcast::Sender::new(REFUSALS),
            denied: AtomicU64::new(0),
            last_fault: Mutex::new(None),
        }
    }
}

impl Events {
    pub(super) fn take(&self, event: Event) {
        match event {
            Event::Connected => self.connections.send_modify(|count| *count += 1),
            Event::ServerError(ServerError::Other(said)) => {
                if let Some(subject) = denied_subject(&said) {
                    // Nothing else tells of it: the call that was denied just gets no answer.
                    warn!(subject, "the bus's permissions deny this process a subject");
                    self.denied.fetch_add(1, Ordering::Relaxed);
                    // Nobody may be waiting for an answer.
                    let _ = self.denials.send(subject.to_owned());
                }
                self.note(said);
            }
            Event::ServerError(fault) => self.note(fault.to_string()),
            Event::ClientError(fault) => self.note(fault.to_string()),
            Event::SlowConsumer(_) => self.note("a reader here was too slow".to_owned()),
            Event::Disconnected | Event::LameDuckMode | Event::Draining | Event::Closed => {}
        }
    }

    /// Counts the connections made: another number means that what was asked on the last is lost.
    pub(super) fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// Hears of each subject that the server denies from now on.
    pub(super) fn denials(&self) -> Denials {
        Denials(self.denials.subscribe())
    }

    pub(super) fn last_fault(&self) -> Option<String> {
        self.last_fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn health(&self, connected: bool) -> Health {
        Health {
            connected,
            connections: *self.connections.borrow(),
            denied: self.denied.load(Ordering::Relaxed),
            last_fault: self.last_fault(),
        }
    }

    fn note(&self, fault: String) {
        *self.last_fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }
}

pub(super) struct Denials(broadcast::Receiver<String>);

impl Denials {
    /// Returns once the server has denied this process to publish on this subject.
    pub(super) async fn of(&mut self, subject: &str) {
        loop {
            match self.0.recv().await {
                Ok(denied) if denied == subject => return,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// The subject in `Permissions Violation for Publish to "subject"`, or for subscribing to it.
fn denied_subject(said: &str) -> Option<&str> {
    if !said.starts_with("Permissions Violation") {
        return None;
    }
    said.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_subject_is_read_from_what_the_server_says() {
        let check = |said: &str, subject: Option<&str>| assert_eq!(denied_subject(said), subject);
        check(r#"Permissions Violation for Publish to "$KV.pol.x""#, Some("$KV.pol.x"));
        check(r#"Permissions Violation for Subscription to "a.>""#, Some("a.>"));
        check("Authorization Violation", None);
        check("Permissions Violation", None);
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_hears_that_it_was_denied() {
        let events = Events::default();
        let mut denials = events.denials();
        for subject in ["other", "mine"] {
            let said = format!("Permissions Violation for Publish to \"{subject}\"");
            events.take(Event::ServerError(ServerError::Other(said)));
        }
        denials.of("mine").await;
        assert_eq!(events.health(true).denied, 2);
    }
}
