//! One look at a domain: everything that there is to ask, within ten seconds.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::rr::{Name, RecordType};
use tokio::time::timeout;

use crate::answer::{Answer, End, Failure, Question, Value, name};
use crate::expected::{Expected, KINDS, Kind};
use crate::inquiry::{Inquiry, Lookup};
use crate::judge::{
    Outcome, Probes, Seen, Sight, Status, found_policy_id, judge, proof_seen, sts_absent,
};
use crate::zone::{Said, Server, Zone};

/// For all questions of a look; people wait for it. A server that is slow is waited for five seconds,
/// as [`crate::ask`] says, and what is still open at the end has failed: the rest stands.
const LOOK_TIMEOUT: Duration = Duration::from_millis(8_000);

/// For looking into the wrong places, which only makes a hint better.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// What a look came to.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) outcomes: [(Kind, Outcome); 3],
    pub(crate) proof_seen: bool,
    /// None when no name server answered.
    pub(crate) found_policy_id: Option<String>,
    /// Every name server answered, and none has anything like an STS record.
    pub(crate) sts_absent: bool,
}

/// Looks at all records of a claim now.
pub(crate) async fn look(lookup: &Lookup, expected: &Expected) -> Looked {
    let inquiry = lookup.begin(LOOK_TIMEOUT).await;
    let (zone, seen) = match inquiry.zone(expected.domain.as_str()).await {
        Ok(zone) => {
            let seen = see(&inquiry, &zone, expected).await;
            (Some(zone), seen)
        }
        Err(why) => (None, unseen(&why)),
    };
    let mut probes = Probes::default();
    let mut outcomes = judge(expected, &seen, &probes);
    if let (Some(zone), true) = (zone, outcomes.iter().any(is_unpublished)) {
        if let Ok(found) = timeout(PROBE_TIMEOUT, probe(&inquiry, &zone, expected)).await {
            probes = found;
        }
        outcomes = judge(expected, &seen, &probes);
    }
    Looked {
        outcomes,
        proof_seen: proof_seen(expected, &seen),
        found_policy_id: found_policy_id(expected, &seen),
        sts_absent: sts_absent(&seen),
    }
}

/// Nothing was seen of any record, for one reason.
fn unseen(why: &Failure) -> Seen {
    let sight =
        || Sight { servers: vec![(String::new(), Err(why.clone()))], resolvers: Vec::new() };
    Seen { cname: sight(), sts: sight(), tls_rpt: sight(), ..Seen::default() }
}

fn is_unpublished((_, outcome): &(Kind, Outcome)) -> bool {
    match outcome {
        Outcome::Known(verdict) => verdict.status == Status::NotPublished && verdict.hint.is_none(),
        Outcome::Unknown { .. } => false,
    }
}

async fn see(inquiry: &Inquiry<'_>, zone: &Zone, expected: &Expected) -> Seen {
    let reports = async {
        match expected.reports_uri {
            Some(_) => text_sight(inquiry, zone, &expected.name(Kind::TlsRpt)).await,
            None => Sight::default(),
        }
    };
    let proof = async {
        match (expected.proven, name(&expected.domain.proof_name())) {
            (false, Some(name)) => inquiry.ask_zone(zone, &name, RecordType::TXT).await,
            _ => Vec::new(),
        }
    };
    let sts = expected.name(Kind::Sts);
    let (cname, sts, tls_rpt, proof) = tokio::join!(
        host_sight(inquiry, zone, expected),
        text_sight(inquiry, zone, &sts),
        reports,
        proof
    );
    let ours = match has_addresses(&cname.servers) {
        true => inquiry.host_addresses(&expected.target).await.found,
        false => Vec::new(),
    };
    Seen { cname, sts, tls_rpt, ours, proof }
}

async fn text_sight(inquiry: &Inquiry<'_>, zone: &Zone, at: &str) -> Sight {
    let Some(asked) = name(at) else { return Sight::default() };
    let question = Question { name: asked.clone(), kind: RecordType::TXT };
    let servers = async {
        let said = inquiry.ask_zone(zone, &asked, RecordType::TXT).await;
        complete(inquiry, said, RecordType::TXT, "").await
    };
    let (servers, resolvers) = tokio::join!(servers, ask_resolvers(inquiry, &question));
    Sight { servers, resolvers }
}

/// The policy host: its alias, or its addresses where it has none.
async fn host_sight(inquiry: &Inquiry<'_>, zone: &Zone, expected: &Expected) -> Sight {
    let Some(host) = name(&expected.name(Kind::Cname)) else { return Sight::default() };
    let question = Question { name: host.clone(), kind: RecordType::A };
    let servers = async {
        let asked = zone.servers.iter().map(|server| ask_host(inquiry, zone, server, &host));
        let said = join_all(asked).await;
        complete(inquiry, said, RecordType::A, &expected.target).await
    };
    let (servers, resolvers) = tokio::join!(servers, ask_resolvers(inquiry, &question));
    Sight { servers, resolvers }
}

async fn ask_host(
    inquiry: &Inquiry<'_>,
    zone: &Zone,
    server: &Server,
    host: &Name,
) -> (String, Result<Answer, Failure>) {
    let ask =
        async |kind| inquiry.ask_server(zone, server, &Question { name: host.clone(), kind }).await;
    let found = async {
        let answer = ask(RecordType::CNAME).await?;
        match &answer.end {
            // The alias itself was asked for, so it comes as a value: from here on it is followed.
            End::Values(values) => match values.as_slice() {
                [Value::Alias(target)] => {
                    Ok(Answer { aliases: vec![target.clone()], end: End::Elsewhere })
                }
                _ => Ok(answer),
            },
            End::NoData => {
                let mut addresses = Vec::new();
                let (v4, v6) = tokio::join!(ask(RecordType::A), ask(RecordType::AAAA));
                for found in [v4?, v6?] {
                    if let End::Values(values) = found.end {
                        addresses.extend(values);
                    }
                }
                let end = if addresses.is_empty() { End::NoData } else { End::Values(addresses) };
                Ok(Answer { end, ..answer })
            }
            _ => Ok(answer),
        }
    };
    (server.label.clone(), found.await)
}

/// Follows aliases that lead out of the zone, each of them once; not beyond `enough`.
async fn complete(inquiry: &Inquiry<'_>, mut said: Said, kind: RecordType, enough: &str) -> Said {
    let mut targets: Vec<String> = said.iter().filter_map(|(_, a)| dangling(a, enough)).collect();
    targets.sort();
    targets.dedup();
    let chased = join_all(targets.iter().map(|target| inquiry.chase(target, kind))).await;
    let chased: HashMap<String, _> = targets.into_iter().zip(chased).collect();
    for (_, answer) in &mut said {
        let Some(target) = dangling(answer, enough) else { continue };
        match (answer.as_mut(), chased.get(&target)) {
            (Ok(answer), Some(Ok(rest))) => {
                answer.aliases.extend(rest.aliases.iter().cloned());
                answer.end = rest.end.clone();
            }
            (Ok(_), Some(Err(why))) => {
                *answer = Err(why.clone().at(&format!("it is an alias of {target}")));
            }
            _ => {}
        }
    }
    said
}

fn dangling(answer: &Result<Answer, Failure>, enough: &str) -> Option<String> {
    match answer {
        Ok(Answer { aliases, end: End::Elsewhere }) => {
            aliases.last().filter(|last| *last != enough).cloned()
        }
        _ => None,
    }
}

async fn ask_resolvers(inquiry: &Inquiry<'_>, question: &Question) -> Said {
    let asked = inquiry.resolvers.iter().map(|&resolver| async move {
        (resolver.to_string(), inquiry.ask_resolver(resolver, question).await)
    });
    join_all(asked).await
}

fn has_addresses(said: &Said) -> bool {
    said.iter().any(|(_, answer)| match answer {
        Ok(Answer { aliases, end: End::Values(_) }) => aliases.is_empty(),
        _ => false,
    })
}

/// Looks where records are often put by mistake, at the first name server that answers.
async fn probe(inquiry: &Inquiry<'_>, zone: &Zone, expected: &Expected) -> Probes {
    let domain = expected.domain.as_str();
    let twice = KINDS.map(|kind| format!("{}.{domain}", expected.name(kind)));
    let twice = twice.iter().zip(KINDS).map(|(at, kind)| async move {
        let found = match kind {
            Kind::Cname => first_answer(inquiry, zone, at, RecordType::CNAME).await,
            Kind::Sts | Kind::TlsRpt => first_answer(inquiry, zone, at, RecordType::TXT).await,
        };
        let is_there = matches!(found, Some(Answer { end: End::Values(_), .. }));
        is_there.then_some(kind)
    });
    let host = expected.domain.policy_host();
    let (at_apex, without_underscore, twice) = tokio::join!(
        first_answer(inquiry, zone, domain, RecordType::TXT),
        first_answer(inquiry, zone, &host, RecordType::TXT),
        join_all(twice)
    );
    Probes {
        domain_gone: matches!(&at_apex, Some(Answer { aliases, end: End::NoName }) if aliases.is_empty()),
        at_apex: text_values(at_apex),
        without_underscore: text_values(without_underscore),
        appended_twice: twice.into_iter().flatten().collect(),
    }
}

async fn first_answer(
    inquiry: &Inquiry<'_>,
    zone: &Zone,
    at: &str,
    kind: RecordType,
) -> Option<Answer> {
    let question = Question { name: name(at)?, kind };
    for server in &zone.servers {
        if let Ok(answer) = inquiry.ask_server(zone, server, &question).await {
            return Some(answer);
        }
    }
    None
}

fn text_values(answer: Option<Answer>) -> Vec<Vec<u8>> {
    let Some(Answer { end: End::Values(values), .. }) = answer else { return Vec::new() };
    let text = |value| match value {
        Value::Text(bytes) => Some(bytes),
        _ => None,
    };
    values.into_iter().filter_map(text).collect()
}
