//! A zone's own name servers, and what each of them says.
//!
//! Resolvers find the zone and its servers' addresses; the servers are then asked directly, as a
//! resolver may remember for hours what is long gone, and as a claim is only proven by all of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use hickory_proto::rr::{Name, RecordType};
use tokio::time::timeout;

use crate::answer::{Answer, End, Failure, MAX_ALIASES, Question, Reply, Role, Value, name, read};
use crate::ask::{Asker, Manner, connect};
use crate::config::Config;

/// Addresses of one zone's servers that are asked: the root has 26, two for each of 13 servers.
const MAX_SERVERS: usize = 32;

/// How many referrals in a row are followed below a zone: a name of ours has three labels more
/// than the domain at most.
const MAX_REFERRALS: usize = 3;

/// How long one resolver is waited for before the next one is asked as well.
const RESOLVER_PATIENCE: Duration = Duration::from_millis(2_500);

/// Asks resolvers and zones' servers.
pub(crate) struct Lookup {
    pub(crate) config: Config,
    pub(crate) resolvers: Vec<SocketAddr>,
    asker: Asker,
    /// The resolver that answered last: asked first, so that a dead one costs time only once.
    preferred: AtomicUsize,
}

/// A zone that a domain is in.
#[derive(Debug, Clone)]
pub(crate) struct Zone {
    /// Its servers, one per address.
    pub(crate) servers: Vec<Server>,
}

/// One name server at one address.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Name and address, for people.
    pub(crate) label: String,
    /// Where to ask it; why it can't be asked otherwise.
    at: Result<SocketAddr, Failure>,
}

/// What each server says to one question.
pub(crate) type Said = Vec<(String, Result<Answer, Failure>)>;

impl Lookup {
    /// With resolvers as configured, or found in the system's own configuration.
    pub(crate) fn new(config: Config, resolvers: Vec<SocketAddr>) -> Lookup {
        let asker = Asker::new(config.questions_per_second);
        Lookup { config, resolvers, asker, preferred: AtomicUsize::new(0) }
    }

    /// What the first resolver that answers says.
    ///
    /// # Errors
    /// When none does: the last one's reason.
    pub(crate) async fn resolve(&self, question: &Question) -> Result<Answer, Failure> {
        let count = self.resolvers.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failure = Failure::Unreachable("no resolver is configured".to_owned());
        for nth in (0..count).map(|i| (first + i) % count) {
            let Some(&resolver) = self.resolvers.get(nth) else { continue };
            let asked = self.ask_resolver(resolver, question);
            // With one resolver there is nobody to turn to earlier.
            let answer = match count {
                1 => asked.await,
                _ => timeout(RESOLVER_PATIENCE, asked).await.unwrap_or(Err(Failure::Timeout)),
            };
            match answer {
                Ok(answer) => {
                    self.preferred.store(nth, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(why) => failure = why.at(&format!("resolver {resolver}")),
            }
        }
        Err(failure)
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
        let message = self.asker.ask(resolver, question, manner).await?;
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
                (End::Elsewhere, _) => return Ok(Answer { aliases, end: End::NoData }),
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

    /// The zone that `domain` is in: the nearest name at or above it with name servers.
    ///
    /// # Errors
    /// When that can't be found out.
    pub(crate) async fn zone(&self, domain: &str) -> Result<Zone, Failure> {
        let lost = || Failure::NoZone(domain.to_owned());
        let mut at = name(domain).ok_or_else(lost)?;
        while !at.is_root() {
            let question = Question { name: at.clone(), kind: RecordType::NS };
            let found = match self.resolve(&question).await {
                Ok(found) => found,
                // A server that only knows the closed network's zones refuses what is above them.
                Err(why) => return self.authoritative_resolvers(domain).await.ok_or(why),
            };
            // Behind an alias is another zone.
            if let (true, End::Values(values)) = (found.aliases.is_empty(), found.end) {
                let names: Vec<String> = values.into_iter().filter_map(server).collect();
                return Ok(Zone { servers: self.servers(&names).await? });
            }
            at = at.base_name();
        }
        self.authoritative_resolvers(domain).await.ok_or_else(lost)
    }

    /// In a closed network our resolvers may be the zone's name servers, and no NS record say so:
    /// those that answer for it with authority are.
    async fn authoritative_resolvers(&self, domain: &str) -> Option<Zone> {
        let question = Question { name: name(domain)?, kind: RecordType::SOA };
        let asked = self.resolvers.iter().map(|&at| {
            let question = &question;
            async move {
                let message = self.asker.ask(at, question, Manner::Iterative).await.ok()?;
                let reply = read(&message, question, Role::Authority).ok()?;
                matches!(reply, Reply::Answer(_))
                    .then(|| Server { label: at.to_string(), at: Ok(at) })
            }
        });
        let servers: Vec<Server> = join_all(asked).await.into_iter().flatten().collect();
        (!servers.is_empty()).then_some(Zone { servers })
    }

    /// The addresses of name servers, of both families.
    async fn servers(&self, names: &[String]) -> Result<Vec<Server>, Failure> {
        let addresses = join_all(names.iter().map(|name| self.addresses(name))).await;
        let mut servers = Vec::new();
        let mut absent = Vec::new();
        for (name, addresses) in names.iter().zip(addresses) {
            match addresses {
                // Nobody gets an answer from a server that does not exist: it can't disagree.
                Err(why @ Failure::NoAddress(_)) => {
                    absent.push(Server { label: name.clone(), at: Err(why) });
                }
                Err(why) => servers.push(Server { label: name.clone(), at: Err(why) }),
                Ok(addresses) => servers.extend(self.reachable(name, &addresses).await),
            }
        }
        match servers.len() {
            0 => Ok(absent),
            count if count > MAX_SERVERS => Err(Failure::TooManyServers(count)),
            _ => Ok(servers),
        }
    }

    /// The addresses of one host: none is a failure here.
    async fn addresses(&self, host: &str) -> Result<Vec<SocketAddr>, Failure> {
        let found = self.host_addresses(host).await?;
        if found.is_empty() {
            return Err(Failure::NoAddress(host.to_owned()));
        }
        Ok(found.into_iter().map(|ip| self.config.name_server(ip)).collect())
    }

    /// A and AAAA of a host through the resolvers, sorted.
    pub(crate) async fn host_addresses(
        &self,
        host: &str,
    ) -> Result<Vec<std::net::IpAddr>, Failure> {
        let asked = [RecordType::A, RecordType::AAAA].map(|kind| self.chase(host, kind));
        let mut found = Vec::new();
        let mut failure = None;
        for answer in join_all(asked).await {
            match answer {
                Ok(Answer { end: End::Values(values), .. }) => {
                    found.extend(values.into_iter().filter_map(|value| match value {
                        Value::Address(ip) => Some(ip),
                        _ => None,
                    }));
                }
                Ok(_) => {}
                Err(why) => failure = Some(why),
            }
        }
        found.sort();
        found.dedup();
        match failure {
            Some(why) if found.is_empty() => Err(why),
            _ => Ok(found),
        }
    }

    /// Leaves out the addresses of a family that this machine has no way to, where the server has
    /// others: a machine without IPv6 can still ask all servers.
    async fn reachable(&self, name: &str, addresses: &[SocketAddr]) -> Vec<Server> {
        let mut servers = Vec::new();
        let mut without_route = Vec::new();
        for &at in addresses {
            let label = format!("{name} ({})", at.ip());
            match connect(at).await {
                Ok(_) => servers.push(Server { label, at: Ok(at) }),
                Err(e) => {
                    let why = Failure::Unreachable(e.to_string());
                    without_route.push(Server { label, at: Err(why) });
                }
            }
        }
        if servers.is_empty() { without_route } else { servers }
    }

    /// Asks all of a zone's servers one question.
    pub(crate) async fn ask_zone(&self, zone: &Zone, name: &Name, kind: RecordType) -> Said {
        let question = Question { name: name.clone(), kind };
        let asked = zone.servers.iter().map(|server| {
            let question = &question;
            async move { (server.label.clone(), self.ask_server(server, question, 0).await) }
        });
        join_all(asked).await
    }

    /// Asks one server; where it refers to a zone below, what that zone's servers say, if they
    /// agree.
    pub(crate) fn ask_server<'a>(
        &'a self,
        server: &'a Server,
        question: &'a Question,
        referrals: usize,
    ) -> BoxFuture<'a, Result<Answer, Failure>> {
        Box::pin(async move {
            let at = server.at.clone()?;
            let message = self.asker.ask(at, question, Manner::Iterative).await?;
            let servers = match read(&message, question, Role::Authority)? {
                Reply::Answer(answer) => return Ok(answer),
                Reply::Referral { servers } => servers,
            };
            if referrals == MAX_REFERRALS {
                return Err(Failure::Lame);
            }
            let servers = self.servers(&servers).await?;
            let asked =
                servers.iter().map(|server| self.ask_server(server, question, referrals + 1));
            let mut answers = join_all(asked).await.into_iter();
            let first = answers.next().ok_or(Failure::Lame)??;
            for answer in answers {
                if answer? != first {
                    return Err(Failure::ReferralsDiffer);
                }
            }
            Ok(first)
        })
    }
}

fn server(value: Value) -> Option<String> {
    match value {
        Value::Server(name) => Some(name),
        _ => None,
    }
}
