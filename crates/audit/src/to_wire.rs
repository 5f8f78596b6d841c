//! The log as services answer it.

use jiff::Timestamp;
use tonic::Status;
use wire::audit as v1;
use wire::json::to_value;
use wire::status::invalid;
use wire::time::{from_wire, to_wire};

use crate::{Audit, Chain, Entry, Filter};

/// The filter that a caller sent; none wants all.
///
/// # Errors
/// `INVALID_ARGUMENT` for an instant that is none.
pub fn filter(wanted: Option<v1::AuditFilter>) -> Result<Filter, Status> {
    let wanted = wanted.unwrap_or_default();
    Ok(Filter {
        about: wanted.about,
        who: wanted.who,
        action: wanted.action,
        request_id: wanted.request_id,
        since: instant("filter.since", wanted.since.as_ref())?,
        until: instant("filter.until", wanted.until.as_ref())?,
    })
}

impl Audit {
    /// A record as a message.
    #[must_use]
    pub fn record_to_wire(&self, entry: &Entry) -> v1::AuditRecord {
        v1::AuditRecord {
            service: self.service().to_owned(),
            workspace_id: entry.workspace.clone(),
            sequence: entry.sequence,
            at: Some(to_wire(entry.at)),
            who: entry.who.clone(),
            who_id: entry.who_id.clone(),
            from: entry.from.clone(),
            request_id: entry.request_id.clone(),
            action: entry.action.clone(),
            about: entry.about.clone(),
            before: entry.before.as_ref().map(to_value),
            after: entry.after.as_ref().map(to_value),
            hash: entry.hash.to_string(),
            role: entry.role.clone(),
        }
    }

    /// A verified chain as a message.
    #[must_use]
    pub fn chain_to_wire(&self, chain: &Chain) -> v1::AuditChain {
        let problem = |problem: &crate::Problem| v1::AuditProblem {
            sequence: problem.sequence,
            what: problem.what.clone(),
        };
        v1::AuditChain {
            service: self.service().to_owned(),
            workspace_id: chain.workspace.clone(),
            records: chain.records,
            sequence: chain.sequence,
            hash: chain.hash.to_string(),
            problems: chain.problems.iter().map(problem).collect(),
        }
    }
}

fn instant(field: &str, at: Option<&wire::Timestamp>) -> Result<Option<Timestamp>, Status> {
    let Some(at) = at else { return Ok(None) };
    let read = from_wire(at).ok_or_else(|| invalid(field, "that is no instant"))?;
    Ok(Some(read))
}
