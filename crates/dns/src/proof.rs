//! What each of a zone's name servers says about the names that can prove a claim.
//!
//! Nothing is followed and nothing is decided here: whether it proves a claim is control's to say.

use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::rr::{Name, RecordType};
use hosting::Domain;
use tokio::time::timeout;

use crate::answer::{Answer, End, Failure, Question, Value, name};
use crate::zone::{Lookup, Server};

const OBSERVE_TIMEOUT: Duration = Duration::from_secs(10);

/// One server's answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Name and address.
    pub(crate) server: String,
    /// The CNAME's target and the TXT values; why there is no answer otherwise.
    pub(crate) found: Result<(String, Vec<String>), Failure>,
}

/// Asks all name servers of a domain's zone.
///
/// # Errors
/// When they can't be found, or not all of them gave an answer or failed in time.
pub(crate) async fn observe(lookup: &Lookup, domain: &Domain) -> Result<Vec<Observed>, Failure> {
    let observing = async {
        let lost = || Failure::NoZone(domain.to_string());
        let host = name(&domain.policy_host()).ok_or_else(lost)?;
        let txt = name(&domain.proof_name()).ok_or_else(lost)?;
        let zone = lookup.zone(domain.as_str()).await?;
        let asked = zone.servers.iter().map(|server| observe_one(lookup, server, &host, &txt));
        Ok(join_all(asked).await)
    };
    timeout(OBSERVE_TIMEOUT, observing).await.unwrap_or(Err(Failure::Timeout))
}

async fn observe_one(lookup: &Lookup, server: &Server, host: &Name, txt: &Name) -> Observed {
    let cname = Question { name: host.clone(), kind: RecordType::CNAME };
    let txt = Question { name: txt.clone(), kind: RecordType::TXT };
    let (cname, txt) =
        tokio::join!(lookup.ask_server(server, &cname, 0), lookup.ask_server(server, &txt, 0));
    let found = cname.and_then(|cname| Ok((target(cname), texts(txt?))));
    Observed { server: server.label.clone(), found }
}

/// The one alias's target. Two aliases at one name prove nothing, and are shown as both.
fn target(answer: Answer) -> String {
    let targets: Vec<String> = own_values(answer)
        .into_iter()
        .filter_map(|value| match value {
            Value::Alias(target) => Some(target),
            _ => None,
        })
        .collect();
    targets.join(", ")
}

fn texts(answer: Answer) -> Vec<String> {
    let text = |value| match value {
        Value::Text(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    };
    own_values(answer).into_iter().filter_map(text).collect()
}

/// Values at the very name: what stands behind an alias is somebody else's word.
fn own_values(answer: Answer) -> Vec<Value> {
    match answer {
        Answer { aliases, end: End::Values(values) } if aliases.is_empty() => values,
        _ => Vec::new(),
    }
}
