//! One look's questions, within what it may spend, and what resolvers say to them.
//!
//! Whoever owns a domain decides whom we ask about it, and so may send us to a great many servers
//! that are silent. What one inquiry can take from others is bounded here: its questions, those
//! under way, and its time, which begins only when there is a place for it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RecordType};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use crate::answer::{Answer, End, Failure, MAX_ALIASES, Question, Reply, Role, Value, name, read};
use crate::ask::{Asker, Manner};
use crate::config::Config;

/// Inquiries at the same time beside those of the loop: what people wait for.
const CALLERS_AT_ONCE: usize = 8;

/// What one inquiry may ask. The largest zone that we ask, 32 addresses, takes 64 questions to find
/// and six per address; what is more comes from referrals, which their owner can multiply.
const MAX_QUESTIONS: usize = 300;

/// Questions of one inquiry under way to name servers, and as many to resolvers, so that silent
/// name servers do not keep it from finding others. With [`CALLERS_AT_ONCE`] and the default of
/// `domains_at_once` these are 768 sockets, fewer than the 1,024 that a process may usually open.
const QUESTIONS_AT_ONCE: usize = 16;

/// How long one resolver is waited for before the next one is asked as well.
const RESOLVER_PATIENCE: Duration = Duration::from_millis(2_500);

/// Asks resolvers and zones' servers.
pub(crate) struct Lookup {
    pub(crate) config: Config,
    resolvers: Vec<SocketAddr>,
    asker: Asker,
    /// The resolver that answered last: asked first, so that a dead one costs time only once.
    preferred: AtomicUsize,
    places: Semaphore,
}

/// The questions of one look, one proof or one MX look-up.
pub(crate) struct Inquiry<'a> {
    pub(crate) config: &'a Config,
    pub(crate) resolvers: &'a [SocketAddr],
    asker: &'a Asker,
    preferred: &'a AtomicUsize,
    until: Instant,
    questions_left: AtomicUsize,
    to_servers: Semaphore,
    to_resolvers: Semaphore,
    /// None only if nobody limits places any more.
    _place: Option<SemaphorePermit<'a>>,
}

/// A host's addresses of both families.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    /// Sorted.
    pub(crate) found: Vec<IpAddr>,
    /// Why there may be more.
    pub(crate) failed: Option<Failure>,
}

impl Lookup {
    /// With resolvers as configured, or found in the system's own configuration.
    pub(crate) fn new(config: Config, resolvers: Vec<SocketAddr>) -> Lookup {
        Lookup {
            asker: Asker::new(config.questions_per_second),
            preferred: AtomicUsize::new(0),
            places: Semaphore::new(config.domains_at_once.max(1) + CALLERS_AT_ONCE),
            config,
            resolvers,
        }
    }

    /// Begins an inquiry as soon as there is a place for it. What has no answer within `patience`
    /// from then on has timed out.
    pub(crate) async fn begin(&self, patience: Duration) -> Inquiry<'_> {
        let place = self.places.acquire().await.ok();
        Inquiry {
            config: &self.config,
            resolvers: &self.resolvers,
            asker: &self.asker,
            preferred: &self.preferred,
            until: Instant::now() + patience,
            questions_left: AtomicUsize::new(MAX_QUESTIONS),
            to_servers: Semaphore::new(QUESTIONS_AT_ONCE),
            to_resolvers: Semaphore::new(QUESTIONS_AT_ONCE),
            _place: place,
        }
    }
}

impl Inquiry<'_> {
    /// Asks one server one question. One that takes too long fails alone: what others said stays.
    ///
    /// # Errors
    /// When no message came back that answers it.
    pub(crate) async fn ask(
        &self,
        server: SocketAddr,
        question: &Question,
        manner: Manner,
    ) -> Result<Message, Failure> {
        let spent = |left: usize| left.checked_sub(1);
        self.questions_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent)
            .map_err(|_| Failure::TooManyQuestions)?;
        let under_way = match manner {
            Manner::Iterative => &self.to_servers,
            Manner::Recursive | Manner::Unvalidated => &self.to_resolvers,
        };
        let asked = async {
            let _permit = under_way.acquire().await;
            self.asker.ask(server, question, manner).await
        };
        timeout_at(self.until, asked).await.unwrap_or(Err(Failure::Timeout))
    }

    /// What the first resolver that answers says. That there is nothing is taken from one only with
    /// the zone's SOA to show for it, or from two.
    ///
    /// # Errors
    /// When none does: the last one's reason.
    pub(crate) async fn resolve(&self, question: &Question) -> Result<Answer, Failure> {
        let count = self.resolvers.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failure = Failure::Unreachable("no resolver is configured".to_owned());
        let mut bare: Option<Answer> = None;
        for nth in (0..count).map(|i| (first + i) % count) {
            let Some(&resolver) = self.resolvers.get(nth) else { continue };
            let asked = self.ask_resolver(resolver, question);
            // With one resolver there is nobody to turn to earlier.
            let answer = match count {
                1 => asked.await,
                _ => timeout(RESOLVER_PATIENCE, asked).await.unwrap_or(Err(Failure::Timeout)),
            };
            match answer {
                Ok(answer) if answer.end == End::Bare => {
                    if bare.as_ref() == Some(&answer) {
                        return Ok(Answer { end: End::NoData, ..answer });
                    }
                    bare = Some(answer);
                }
                Ok(answer) => {
                    self.preferred.store(nth, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(why) => failure = why.at(&format!("resolver {resolver}")),
            }
        }
        bare.ok_or(failure)
    }

    /// What one resolver says.
    pub(crate) async fn ask_resolver(
        &self,
        resolver: SocketAddr,
        question: &Question,
    ) -> Result<Answer, Failure> {
        match self.resolver_reply(resolver, question, Manner::Recursive).await {
            // It may be that only DNSSEC stands in the way (RFC 4035 section 3.2.2).
            Err(Failure::ServerFailed) => {
                let unvalidated =
                    self.resolver_reply(resolver, question, Manner::Unvalidated).await;
                Err(if unvalidated.is_ok() { Failure::Bogus } else { Failure::ServerFailed })
            }
            answer => answer,
        }
    }

    async fn resolver_reply(
        &self,
        resolver: SocketAddr,
        question: &Question,
        manner: Manner,
    ) -> Result<Answer, Failure> {
        let message = self.ask(resolver, question, manner).await?;
        match read(&message, question, Role::Resolver)? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Referral { .. } => Err(Failure::Lame),
        }
    }

    /// Follows aliases from `from` through the resolvers, hop by hop where they do not get through
    /// in one go.
    pub(crate) async fn chase(&self, from: &str, kind: RecordType) -> Result<Answer, Failure> {
        let mut aliases: Vec<String> = Vec::new();
        let mut at = from.to_owned();
        loop {
            let Some(asked) = name(&at) else {
                return Err(Failure::Malformed(format!("{at} is no name")));
            };
            let found = match self.resolve(&Question { name: asked.clone(), kind }).await {
                Err(why) if *why.root() == Failure::ServerFailed => {
                    self.one_hop(asked).await.ok_or(why)?
                }
                found => found?,
            };
            for alias in found.aliases {
                let circle = alias == from || aliases.contains(&alias);
                aliases.push(alias);
                if circle {
                    return Ok(Answer { aliases, end: End::Circle });
                }
            }
            if aliases.len() >= MAX_ALIASES {
                return Ok(Answer { aliases, end: End::TooLong });
            }
            match (found.end, aliases.last()) {
                (End::Elsewhere, Some(next)) if *next != at => at = next.clone(),
                (End::Elsewhere, _) => return Ok(Answer { aliases, end: End::Bare }),
                (end, _) => return Ok(Answer { aliases, end }),
            }
        }
    }

    /// A resolver that fails over a chain still tells its first alias.
    async fn one_hop(&self, at: Name) -> Option<Answer> {
        let answer = self.resolve(&Question { name: at, kind: RecordType::CNAME }).await.ok()?;
        match answer.end {
            End::Values(values) => match values.into_iter().next()? {
                Value::Alias(target) => Some(Answer { aliases: vec![target], end: End::Elsewhere }),
                _ => None,
            },
            _ => None,
        }
    }

    /// A and AAAA of a host through the resolvers.
    pub(crate) async fn host_addresses(&self, host: &str) -> Addresses {
        let asked = [RecordType::A, RecordType::AAAA].map(|kind| self.chase(host, kind));
        let mut addresses = Addresses::default();
        for answer in join_all(asked).await {
            match answer.map(|answer| answer.end) {
                Ok(End::Values(values)) => {
                    addresses.found.extend(values.into_iter().filter_map(|value| match value {
                        Value::Address(ip) => Some(ip),
                        _ => None,
                    }));
                }
                Ok(End::NoData | End::NoName | End::Bare) => {}
                Ok(End::Circle | End::TooLong | End::Elsewhere) => {
                    addresses.failed = Some(Failure::BadAlias(host.to_owned()));
                }
                Err(why) => addresses.failed = Some(why),
            }
        }
        addresses.found.sort();
        addresses.found.dedup();
        addresses
    }
}
