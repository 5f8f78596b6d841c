//! Gathers what readiness is judged by. What nobody could tell is unknown, with the reason.

use hosting::{
    EdgeCertificate, Edges, Fact, Facts, Fetches, MxLookup, Readiness, RecordFact, RecordStatus,
    assess,
};
use jiff::{SignedDuration, Timestamp};
use store::StoreError;
use wire::dns;
use wire::time::from_wire;

use crate::Core;
use crate::announce::spread;
use crate::peers::NoAnswer;
use crate::sql::{ClaimRow, Edge};

/// Record statuses that are older are looked up again.
const RECORDS_FRESH_FOR: SignedDuration = SignedDuration::from_mins(10);

/// Judges a claim by what can be found out now.
pub(crate) async fn readiness(core: &Core, row: &ClaimRow) -> Result<Readiness, StoreError> {
    let claim = &row.claim;
    let now = core.clock.now();
    let [cname, txt, tls_rpt] = records(core, row, now).await;
    let mx = core.peers.live_mx(&claim.domain).await;
    let facts = Facts {
        cname,
        txt,
        tls_rpt,
        mx: Fact::Known(MxLookup { mx, looked_up_at: core.clock.now() }),
        certificates: certificates(core, row, now).await?,
        edges: edges(core, row).await?,
        fetches: fetches(core, row).await,
        reports: Fact::unknown("reports are not taken in here yet"),
        mx_tls: Fact::unknown("MX hosts are not probed from here yet"),
    };
    Ok(assess(claim, &facts, core.clock.now()))
}

/// The three rows. A row that is not Live, or was looked at long ago, is looked at again.
async fn records(core: &Core, row: &ClaimRow, now: Timestamp) -> [RecordFact; 3] {
    let claim = &row.claim;
    let settled = |records: &[dns::Record]| {
        records.iter().all(|record| {
            let checked = record.checked_at.as_ref().and_then(from_wire);
            let fresh = checked.is_some_and(|at| now.duration_since(at) < RECORDS_FRESH_FOR);
            record.status() == dns::RecordStatus::Live && fresh && record.check_error.is_empty()
        })
    };
    let known = match core.peers.records(claim, false).await {
        Ok(known) if settled(&known) => Ok(known),
        _ => core.peers.records(claim, true).await,
    };
    let fact = |name: String| match &known {
        Err(why) => unknown(why),
        Ok(records) => match records.iter().find(|record| record.name == name) {
            Some(record) => fact(record),
            None => unknown(&NoAnswer { service: "dns", why: format!("it left out {name}") }),
        },
    };
    let domain = &claim.domain;
    [fact(domain.policy_host()), fact(domain.record_name()), fact(domain.tls_rpt_name())]
}

fn fact(record: &dns::Record) -> RecordFact {
    let status = match record.status() {
        dns::RecordStatus::Live => RecordStatus::Live,
        dns::RecordStatus::Mismatch => RecordStatus::Mismatch { found: record.found.clone() },
        dns::RecordStatus::NotPublished => RecordStatus::NotPublished,
        dns::RecordStatus::RegionIntakeNotConfigured => RecordStatus::RegionIntakeNotConfigured,
        dns::RecordStatus::Unspecified if record.check_error.is_empty() => {
            RecordStatus::Unknown { why: "nobody has looked yet".to_owned() }
        }
        dns::RecordStatus::Unspecified => RecordStatus::Unknown { why: record.check_error.clone() },
    };
    RecordFact {
        status,
        since: record.status_since.as_ref().and_then(from_wire),
        // `checked_at` is when dns last asked. Where it got no answer, nobody has confirmed the row.
        checked_at: match record.check_error.as_str() {
            "" => record.checked_at.as_ref().and_then(from_wire),
            _ => None,
        },
    }
}

fn unknown(why: &NoAnswer) -> RecordFact {
    let status = RecordStatus::Unknown { why: why.to_string() };
    RecordFact { status, since: None, checked_at: None }
}

async fn certificates(
    core: &Core,
    row: &ClaimRow,
    now: Timestamp,
) -> Result<Fact<Vec<EdgeCertificate>>, StoreError> {
    let certificate = match core.peers.certificate(&row.claim).await {
        Ok(certificate) => certificate,
        Err(why) => return Ok(Fact::unknown(why.to_string())),
    };
    let edges = Edge::all(core.domains.store().read()).await?;
    let domain = row.claim.domain.as_str();
    let region = row.claim.hosting.as_ref().map(|hosting| &hosting.region);
    let live = edges.iter().filter(|edge| Some(&edge.region) == region && edge.is_live(now));
    let held = live.map(|edge| EdgeCertificate {
        edge: edge.id.clone(),
        not_after: certificate
            .filter(|certificate| edge.serves_certificate(domain, certificate.position))
            .and_then(|certificate| certificate.not_after),
    });
    Ok(Fact::Known(held.collect()))
}

async fn edges(core: &Core, row: &ClaimRow) -> Result<Fact<Edges>, StoreError> {
    let spread = spread(core, &row.claim).await?;
    Ok(Fact::Known(Edges { live: spread.live, current: spread.serving }))
}

async fn fetches(core: &Core, row: &ClaimRow) -> Fact<Fetches> {
    if !row.claim.is_proven() {
        return Fact::unknown("the claim is not proven yet");
    }
    match core.peers.activity(&row.claim).await {
        Err(why) => Fact::unknown(why.to_string()),
        Ok(activity) => {
            let days = activity.days.iter().filter(|day| day.fetches > 0).count();
            let days = u32::try_from(days).unwrap_or(u32::MAX);
            Fact::Known(Fetches { count: activity.total, days })
        }
    }
}
