//! What each of a zone's name servers says about the names that can prove a claim.
//!
//! Nothing is followed and nothing is decided here: whether it proves a claim is control's to say.

use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::rr::{Name, RecordType};
use hosting::Domain;

use crate::answer::{Answer, End, Failure, Question, Value, name};
use crate::foreign::readable;
use crate::inquiry::{Inquiry, Lookup};
use crate::zone::{Server, Zone};

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
/// When they can't be found.
pub(crate) async fn observe(lookup: &Lookup, domain: &Domain) -> Result<Vec<Observed>, Failure> {
    let lost = || Failure::NoZone(domain.to_string());
    let host = name(&domain.policy_host()).ok_or_else(lost)?;
    let txt = name(&domain.proof_name()).ok_or_else(lost)?;
    let inquiry = lookup.begin(OBSERVE_TIMEOUT).await;
    let zone = inquiry.zone(domain.as_str()).await?;
    let asked = zone.servers.iter().map(|server| observe_one(&inquiry, &zone, server, &host, &txt));
    Ok(join_all(asked).await)
}

async fn observe_one(
    inquiry: &Inquiry<'_>,
    zone: &Zone,
    server: &Server,
    host: &Name,
    txt: &Name,
) -> Observed {
    let cname = Question { name: host.clone(), kind: RecordType::CNAME };
    let txt = Question { name: txt.clone(), kind: RecordType::TXT };
    let (cname, txt) = tokio::join!(
        inquiry.ask_server(zone, server, &cname),
        inquiry.ask_server(zone, server, &txt)
    );
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
        Value::Text(bytes) => Some(readable(bytes.trim_ascii())),
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
