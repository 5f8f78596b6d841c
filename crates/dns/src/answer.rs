//! What a DNS message says in answer to one question. Pure.
//!
//! Everything here was written by somebody else, who may be hostile. Records for other names than
//! the one asked for, of other classes, and the whole additional section are passed over. What
//! bounds it all is the message itself, at most 65,535 bytes.

use std::fmt;
use std::net::IpAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// How many aliases are followed. Resolvers in wide use give up after 11, and a sender that
/// follows on its own after 5 ([RFC 8461 section 3.1](https://www.rfc-editor.org/rfc/rfc8461#section-3.1)
/// asks to follow and sets no number).
pub(crate) const MAX_ALIASES: usize = 10;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) name: Name,
    pub(crate) kind: RecordType,
}

/// What is found under a name when its aliases are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The aliases' targets in order; the last one is where `end` was found.
    pub(crate) aliases: Vec<String>,
    /// What is there.
    pub(crate) end: End,
}

/// What is at the end of the aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// Records of the type asked for, at least one.
    Values(Vec<Value>),
    /// The name is there, without such a record.
    NoData,
    /// A resolver has nothing, and no SOA to show for it: it may just not have got through.
    Bare,
    /// There is no such name.
    NoName,
    /// The last alias leads to where this server does not know more.
    Elsewhere,
    /// The aliases lead in a circle.
    Circle,
    /// There are more than [`MAX_ALIASES`].
    TooLong,
}

/// A record's data. Names are as [`presentation`] writes them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    /// TXT, its strings joined ([RFC 8461 section 3.1](https://www.rfc-editor.org/rfc/rfc8461#section-3.1)).
    Text(Vec<u8>),
    /// The target of a CNAME.
    Alias(String),
    /// A name server.
    Server(String),
    /// An address.
    Address(IpAddr),
    /// A mail host; empty for the root, which is a null MX (RFC 7505).
    Mail { preference: u16, host: String },
}

/// A server's reply: an answer, or who else to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Answer(Answer),
    /// The name is in a zone of its own, on these servers.
    Referral {
        zone: Name,
        servers: Vec<String>,
    },
}

/// Why there is no answer. None of these says anything about what is published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("it did not answer in time")]
    Timeout,
    #[error("it refused to answer (REFUSED)")]
    Refused,
    #[error("it could not find out (SERVFAIL)")]
    ServerFailed,
    #[error("it answered with {0}")]
    Code(String),
    #[error("it does not answer for this zone (lame delegation)")]
    Lame,
    #[error("its answer can't be read: {0}")]
    Malformed(String),
    #[error("it can't be reached: {0}")]
    Unreachable(String),
    #[error("{0} has no address")]
    NoAddress(String),
    #[error("no zone above {0} has name servers that can be found")]
    NoZone(String),
    #[error("the zone has {0} name servers or addresses of them, more than are asked")]
    TooManyServers(usize),
    #[error("there are more servers to ask about it than are asked in one look")]
    TooManyQuestions,
    #[error("{0} is an alias that leads through too many names, or in a circle")]
    BadAlias(String),
    #[error("the servers it refers to differ")]
    ReferralsDiffer,
    #[error("DNSSEC validation fails for it: validating resolvers answer SERVFAIL")]
    Bogus,
    #[error("{0}")]
    At(String, Box<Failure>),
}

impl Failure {
    /// The same failure, saying where it happened.
    pub(crate) fn at(self, place: &str) -> Failure {
        Failure::At(format!("{place}: {self}"), Box::new(self))
    }

    /// The failure itself, without the places.
    pub(crate) fn root(&self) -> &Failure {
        match self {
            Failure::At(_, inner) => inner.root(),
            own => own,
        }
    }
}

/// In which role a server was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role<'a> {
    /// As one of the zone's own: it has to answer with authority.
    Authority { zone: &'a Name },
    /// To find out for us.
    Resolver,
}

/// Reads a message as the reply to `question`.
///
/// # Errors
/// When it says nothing about the name.
pub(crate) fn read(
    message: &Message,
    question: &Question,
    role: Role<'_>,
) -> Result<Reply, Failure> {
    let exists = match message.metadata.response_code {
        ResponseCode::NoError => true,
        ResponseCode::NXDomain => false,
        ResponseCode::ServFail => return Err(Failure::ServerFailed),
        ResponseCode::Refused => return Err(Failure::Refused),
        other => return Err(Failure::Code(other.to_string())),
    };
    if let (Role::Authority { zone }, false) = (role, message.metadata.authoritative) {
        return referral(message, question, zone).ok_or(Failure::Lame);
    }
    let (at, answer) = follow(message, question);
    Ok(Reply::Answer(match answer.end {
        End::Elsewhere if !exists => Answer { end: End::NoName, ..answer },
        // Nothing, and who to ask instead of the zone's SOA: a server that does not resolve.
        End::Elsewhere
            if !has_soa(message, &at) && names_servers(message) && role == Role::Resolver =>
        {
            return Err(Failure::Lame);
        }
        End::Elsewhere if has_soa(message, &at) => Answer { end: End::NoData, ..answer },
        // An alias without the SOA goes on elsewhere. Without an alias, some servers leave it out.
        End::Elsewhere if answer.aliases.is_empty() => {
            let end = if role == Role::Resolver { End::Bare } else { End::NoData };
            Answer { end, ..answer }
        }
        _ => answer,
    }))
}

/// Follows the aliases inside one message; `Elsewhere` where it says no more.
fn follow(message: &Message, question: &Question) -> (Name, Answer) {
    let mut at = question.name.clone();
    let mut seen = vec![at.clone()];
    let mut aliases = Vec::new();
    loop {
        let asked_for = |r: &&Record| r.record_type() == question.kind;
        let mut values: Vec<Value> =
            at_name(message, &at).filter(asked_for).filter_map(value).collect();
        if !values.is_empty() {
            // Servers give them in any order, and another one each time; a record that comes twice
            // is one (RFC 2181 section 5).
            values.sort();
            values.dedup();
            return (at, Answer { aliases, end: End::Values(values) });
        }
        let target = at_name(message, &at).find_map(|record| match &record.data {
            RData::CNAME(target) => Some(target.0.clone()),
            _ => None,
        });
        let Some(target) = target else {
            return (at, Answer { aliases, end: End::Elsewhere });
        };
        aliases.push(presentation(&target));
        if seen.contains(&target) {
            return (at, Answer { aliases, end: End::Circle });
        }
        if aliases.len() > MAX_ALIASES {
            return (at, Answer { aliases, end: End::TooLong });
        }
        seen.push(target.clone());
        at = target;
    }
}

fn at_name<'a>(message: &'a Message, name: &'a Name) -> impl Iterator<Item = &'a Record> {
    message.answers.iter().filter(move |r| r.dns_class == DNSClass::IN && r.name == *name)
}

fn value(record: &Record) -> Option<Value> {
    match &record.data {
        RData::TXT(txt) => Some(Value::Text(txt.txt_data.concat())),
        RData::CNAME(target) => Some(Value::Alias(presentation(&target.0))),
        RData::NS(server) => Some(Value::Server(presentation(&server.0))),
        RData::A(address) => Some(Value::Address(IpAddr::V4(address.0))),
        RData::AAAA(address) => Some(Value::Address(IpAddr::V6(address.0))),
        RData::MX(mx) => {
            Some(Value::Mail { preference: mx.preference, host: presentation(&mx.exchange) })
        }
        _ => None,
    }
}

/// Whether the authority section has the SOA of a zone that `name` is in: then what is not in the
/// answer is not there ([RFC 2308 section 2.2](https://www.rfc-editor.org/rfc/rfc2308#section-2.2)).
fn has_soa(message: &Message, name: &Name) -> bool {
    let soa = |r: &Record| matches!(r.data, RData::SOA(_)) && r.name.zone_of(name);
    message.authorities.iter().any(soa)
}

fn names_servers(message: &Message) -> bool {
    message.authorities.iter().any(|r| matches!(r.data, RData::NS(_)))
}

/// A referral goes down: from the zone to one below it that the name is in. One sideways or up
/// means a lame server.
fn referral(message: &Message, question: &Question, zone: &Name) -> Option<Reply> {
    let servers_at = |record: &Record| match &record.data {
        RData::NS(server) => Some((record.name.clone(), presentation(&server.0))),
        _ => None,
    };
    let mut servers: Vec<(Name, String)> =
        message.authorities.iter().filter_map(servers_at).collect();
    let below = servers.first()?.0.clone();
    let is_down = below != *zone && zone.zone_of(&below) && below.zone_of(&question.name);
    servers.retain(|(at, _)| *at == below);
    let servers = servers.into_iter().map(|(_, server)| server).collect();
    let refers = message.answers.is_empty() && is_down;
    refers.then_some(Reply::Referral { zone: below, servers })
}

/// A name as people write it: lower case, without the final dot, and with each byte that has no
/// place in a host or service name as `\DDD`
/// ([RFC 1035 section 5.1](https://www.rfc-editor.org/rfc/rfc1035#section-5.1)). Empty for the root.
pub(crate) fn presentation(name: &Name) -> String {
    let labels: Vec<String> = name.iter().map(|label| Label(label).to_string()).collect();
    labels.join(".")
}

struct Label<'a>(&'a [u8]);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => write!(f, "{}", char::from(*byte))?,
                b'A'..=b'Z' => write!(f, "{}", char::from(byte.to_ascii_lowercase()))?,
                other => write!(f, "\\{other:03}")?,
            }
        }
        Ok(())
    }
}

/// A name to ask for; none for one that DNS can't hold.
pub(crate) fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_shown_escaped() {
        let shown = |labels: &[&[u8]]| presentation(&Name::from_labels(labels.to_vec()).unwrap());
        assert_eq!(shown(&[b"MX1", b"Example", b"com"]), "mx1.example.com");
        assert_eq!(shown(&[b"a\r\nb c", b"d.e", b"\xff"]), r"a\013\010b\032c.d\046e.\255");
        assert_eq!(presentation(&Name::root()), "");
        assert_eq!(shown(&[b"*", b"a:b"]), r"\042.a\058b");
    }
}
