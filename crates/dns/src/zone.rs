//! A zone's own name servers, and what each of them says.
//!
//! Resolvers find the zone and its servers' addresses; the servers are then asked directly, as a
//! resolver may remember for hours what is long gone, and as a claim is only proven by all of them.

use std::net::SocketAddr;

use futures_util::future::{BoxFuture, join_all};
use hickory_proto::rr::{Name, RecordType};

use crate::answer::{Answer, End, Failure, Question, Reply, Role, Value, name, read};
use crate::ask::{Manner, connect};
use crate::inquiry::{Addresses, Inquiry};

/// Name servers of one zone, and addresses of them, that are asked: the root has 26 addresses, two
/// for each of 13 servers. A zone with more is refused, not asked in part: a claim is proven by all
/// servers or not at all.
const MAX_SERVERS: usize = 32;

/// How many referrals in a row are followed below a zone: a name of ours has three labels more
/// than the domain at most.
const MAX_REFERRALS: usize = 3;

/// A zone that a domain is in.
#[derive(Debug, Clone)]
pub(crate) struct Zone {
    name: Name,
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

impl Inquiry<'_> {
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
                return Ok(Zone { servers: self.servers(&names).await?, name: at });
            }
            at = at.base_name();
        }
        self.authoritative_resolvers(domain).await.ok_or_else(lost)
    }

    /// In a closed network our resolvers may be the zone's name servers, and no NS record say so:
    /// those that answer for it with authority are.
    async fn authoritative_resolvers(&self, domain: &str) -> Option<Zone> {
        let domain = name(domain)?;
        let question = Question { name: domain.clone(), kind: RecordType::SOA };
        let asked = self.resolvers.iter().map(|&at| {
            let question = &question;
            async move {
                let message = self.ask(at, question, Manner::Iterative).await.ok()?;
                let role = Role::Authority { zone: &question.name };
                let reply = read(&message, question, role).ok()?;
                matches!(reply, Reply::Answer(_))
                    .then(|| Server { label: at.to_string(), at: Ok(at) })
            }
        });
        let servers: Vec<Server> = join_all(asked).await.into_iter().flatten().collect();
        (!servers.is_empty()).then_some(Zone { name: domain, servers })
    }

    /// The addresses of name servers, of both families.
    async fn servers(&self, names: &[String]) -> Result<Vec<Server>, Failure> {
        // Before anybody is asked for their addresses: whoever lists them pays nothing for it.
        if names.len() > MAX_SERVERS {
            return Err(Failure::TooManyServers(names.len()));
        }
        let addresses = join_all(names.iter().map(|name| self.host_addresses(name))).await;
        let mut servers = Vec::new();
        let mut absent = Vec::new();
        for (name, Addresses { found, failed }) in names.iter().zip(addresses) {
            let unasked = |why| Server { label: name.clone(), at: Err(why) };
            // Nobody gets an answer from a server that does not exist: it can't disagree. One with
            // addresses that could not be found out may.
            if found.is_empty() && failed.is_none() {
                absent.push(unasked(Failure::NoAddress(name.clone())));
            }
            let addresses: Vec<SocketAddr> =
                found.into_iter().map(|ip| self.config.name_server(ip)).collect();
            servers.extend(reachable(name, &addresses).await);
            servers.extend(failed.map(unasked));
        }
        match servers.len() {
            0 => Ok(absent),
            count if count > MAX_SERVERS => Err(Failure::TooManyServers(count)),
            _ => Ok(servers),
        }
    }

    /// Asks all of a zone's servers one question.
    pub(crate) async fn ask_zone(&self, zone: &Zone, name: &Name, kind: RecordType) -> Said {
        let question = Question { name: name.clone(), kind };
        let asked = zone.servers.iter().map(|server| {
            let question = &question;
            async move { (server.label.clone(), self.ask_server(zone, server, question).await) }
        });
        join_all(asked).await
    }

    /// Asks one of a zone's servers; where it refers to a zone below, what that zone's servers say,
    /// if they agree.
    pub(crate) async fn ask_server(
        &self,
        zone: &Zone,
        server: &Server,
        question: &Question,
    ) -> Result<Answer, Failure> {
        self.ask_below(&zone.name, server, question, 0).await
    }

    fn ask_below<'a>(
        &'a self,
        zone: &'a Name,
        server: &'a Server,
        question: &'a Question,
        referrals: usize,
    ) -> BoxFuture<'a, Result<Answer, Failure>> {
        Box::pin(async move {
            let at = server.at.clone()?;
            let message = self.ask(at, question, Manner::Iterative).await?;
            let (zone, names) = match read(&message, question, Role::Authority { zone })? {
                Reply::Answer(answer) => return Ok(answer),
                Reply::Referral { zone, servers } => (zone, servers),
            };
            if referrals == MAX_REFERRALS {
                return Err(Failure::Lame);
            }
            let servers = self.servers(&names).await?;
            let asked =
                servers.iter().map(|server| self.ask_below(&zone, server, question, referrals + 1));
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

/// Leaves out the addresses of a family that this machine has no way to, where the server has
/// others: a machine without IPv6 can still ask all servers.
async fn reachable(name: &str, addresses: &[SocketAddr]) -> Vec<Server> {
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

fn server(value: Value) -> Option<String> {
    match value {
        Value::Server(name) => Some(name),
        _ => None,
    }
}
