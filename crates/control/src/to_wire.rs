//! The domain's types as API messages.

use hosting::{
    CheckStatus, Claim, Kind, MxLine, Readiness, RefreshPlan, State, Verdict, cname_target,
    stops_at, txt_value,
};
use jiff::Timestamp;
use mta_sts::{Mode, MxPattern};
use wire::control;
use wire::time::to_wire;

use crate::announce::Spread;
use crate::sql::{ClaimRow, Edge, Region, VersionRow};

pub(crate) fn kind(kind: Kind) -> control::DomainKind {
    match kind {
        Kind::Standard => control::DomainKind::Standard,
        Kind::Parked => control::DomainKind::Parked,
    }
}

fn mode(mode: Mode) -> control::PolicyMode {
    match mode {
        Mode::Testing => control::PolicyMode::Testing,
        Mode::Enforce => control::PolicyMode::Enforce,
        Mode::None => control::PolicyMode::None,
    }
}

fn texts(patterns: &[MxPattern]) -> Vec<String> {
    patterns.iter().map(ToString::to_string).collect()
}

/// The file as people read it. What is rendered is ASCII.
fn body(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn region(region: &Region, domains: i64, live_edges: usize) -> control::Region {
    control::Region {
        id: region.id.to_string(),
        name: region.name.clone(),
        host: region.host.clone(),
        reports: region.reports.clone(),
        active: !region.disabled,
        domains: u32::try_from(domains).unwrap_or(u32::MAX),
        live_edges: u32::try_from(live_edges).unwrap_or(u32::MAX),
        created_at: Some(to_wire(region.created_at)),
    }
}

/// `region` is that of the claim's hosting, `ledger` what senders may hold of its name.
pub(crate) fn domain(
    row: &ClaimRow,
    region: Option<&Region>,
    ledger: &[hosting::Served],
) -> control::Domain {
    let claim = &row.claim;
    control::Domain {
        name: claim.domain.to_string(),
        unicode_name: claim.domain.unicode(),
        kind: kind(claim.kind).into(),
        hosting: Some(hosting(row, region, ledger)),
        created_at: Some(to_wire(row.created_at)),
    }
}

fn hosting(
    row: &ClaimRow,
    region: Option<&Region>,
    ledger: &[hosting::Served],
) -> control::Hosting {
    let claim = &row.claim;
    let state = match claim.state() {
        State::Off => control::HostingState::Off,
        State::Stopping { .. } => control::HostingState::Stopping,
        State::Active if claim.is_proven() => control::HostingState::Active,
        State::Active => control::HostingState::Pending,
    };
    let stops_at = claim.stopping_since().and_then(|_| stops_at(ledger, row.none_visible_since));
    let hosted = region.filter(|_| claim.hosting.is_some());
    control::Hosting {
        state: state.into(),
        region: hosted.map(|region| region.id.to_string()).unwrap_or_default(),
        proven_at: claim.proven_at.map(to_wire),
        cname_target: hosted
            .map(|region| cname_target(&claim.nonce, &region.host))
            .unwrap_or_default(),
        proof_txt: hosted.map(|_| txt_value(&claim.nonce)).unwrap_or_default(),
        stops_at: stops_at.map(to_wire),
        waiting_for: waiting_for(row, hosted, stops_at),
    }
}

fn waiting_for(row: &ClaimRow, region: Option<&Region>, stops_at: Option<Timestamp>) -> String {
    let claim = &row.claim;
    let Some(region) = region else { return String::new() };
    let name = claim.domain.policy_host();
    if !claim.is_proven() {
        let target = cname_target(&claim.nonce, &region.host);
        return format!("publish {name} as a CNAME of {target}");
    }
    if claim.stopping_since().is_some() {
        let record = claim.domain.record_name();
        let announced = row.announced.as_ref().map(|announced| announced.version.revision);
        return match stops_at {
            Some(at) => format!("the policy with mode none is served until {at}"),
            None if announced != claim.revision() => {
                "all edges to serve the policy with mode none".to_owned()
            }
            None => format!("publish the new id at {record}, or remove that record"),
        };
    }
    match &row.announced {
        None => "the edges to serve the policy with a certificate".to_owned(),
        Some(announced) if Some(announced.version.revision) != claim.revision() => {
            "all edges to serve the newest policy".to_owned()
        }
        Some(announced) if row.found_policy_id != announced.version.policy_id.as_str() => {
            let (record, id) = (claim.domain.record_name(), &announced.version.policy_id);
            format!("publish {record} with id {id}")
        }
        Some(_) => String::new(),
    }
}

/// A hosted claim's policy; none where hosting is off.
pub(crate) fn policy(row: &ClaimRow) -> Option<control::Policy> {
    let current = &row.claim.hosting.as_ref()?.current;
    let announced = row.announced.as_ref().map(|row| &row.version);
    let pending = announced.is_none_or(|announced| announced.revision != current.revision);
    Some(control::Policy {
        domain: row.claim.domain.to_string(),
        mode: mode(current.policy.mode).into(),
        policy_id: announced.map(|version| version.policy_id.to_string()).unwrap_or_default(),
        pending_policy_id: pending.then(|| current.policy_id.to_string()),
        revision: current.revision.number(),
        mx: texts(&current.policy.mx),
        max_age_seconds: current.policy.max_age_seconds,
        body: body(&current.body),
        placeholder: current.placeholder,
        changed_at: Some(to_wire(current.changed_at)),
        changed_by: current.changed_by.clone(),
    })
}

pub(crate) fn version(row: &VersionRow) -> control::PolicyVersion {
    let version = &row.version;
    control::PolicyVersion {
        revision: version.revision.number(),
        policy_id: version.policy_id.to_string(),
        mode: mode(version.policy.mode).into(),
        mx: texts(&version.policy.mx),
        max_age_seconds: version.policy.max_age_seconds,
        change: version.change.to_string(),
        changed_at: Some(to_wire(version.changed_at)),
        changed_by: version.changed_by.clone(),
        announced_at: row.announced_at.map(to_wire),
        last_served_at: row.last_served_at.map(to_wire),
        body: body(&version.body),
    }
}

pub(crate) fn readiness(
    claim: &Claim,
    readiness: &Readiness,
    now: Timestamp,
) -> control::Readiness {
    let verdict = match readiness.verdict {
        Verdict::Ready => control::Verdict::Ready,
        Verdict::ReadyWithWarnings => control::Verdict::ReadyWithWarnings,
        Verdict::NotReady => control::Verdict::NotReady,
    };
    let checks = readiness.checks.iter().map(|check| control::Check {
        id: check.id.to_string(),
        status: match check.status {
            CheckStatus::Met => control::CheckStatus::Met,
            CheckStatus::NotMet => control::CheckStatus::NotMet,
            CheckStatus::Unknown => control::CheckStatus::Unknown,
        }
        .into(),
        blocking: check.blocking,
        evidence: check.evidence.clone(),
    });
    control::Readiness {
        domain: claim.domain.to_string(),
        verdict: verdict.into(),
        checks: checks.collect(),
        assessed_at: Some(to_wire(now)),
    }
}

pub(crate) fn plan(claim: &Claim, plan: &RefreshPlan) -> control::MxPlan {
    let change = |action: control::MxAction| {
        move |line: &MxLine| control::MxChange {
            mx: line.pattern.to_string(),
            action: action.into(),
            because: line.because.to_string(),
        }
    };
    let kept = plan.unchanged.iter().map(change(control::MxAction::Kept));
    let added = plan.added.iter().map(change(control::MxAction::Added));
    let removed = plan.removed.iter().map(change(control::MxAction::Removed));
    control::MxPlan {
        domain: claim.domain.to_string(),
        revision: claim.revision().map(hosting::Revision::number).unwrap_or_default(),
        changes: kept.chain(added).chain(removed).collect(),
        different: !plan.is_empty(),
        body: body(&plan.policy.render()),
        skipped: plan.skipped.iter().map(|(host, why)| format!("{host}: {why}")).collect(),
    }
}

/// None where hosting is off.
pub(crate) fn rollout(row: &ClaimRow, spread: Spread) -> Option<control::Rollout> {
    let current = &row.claim.hosting.as_ref()?.current;
    let announced =
        row.announced.as_ref().is_some_and(|row| row.version.revision == current.revision);
    let seen_in_dns = announced && row.found_policy_id == current.policy_id.as_str();
    let waiting_for = if !row.claim.is_proven() {
        format!("the CNAME of {} that proves the claim", row.claim.domain.policy_host())
    } else if spread.live == 0 {
        "an edge of the region: none has been heard from".to_owned()
    } else if !spread.is_complete() {
        format!("{} of {} edges", spread.live - spread.serving, spread.live)
    } else if !announced && row.announced.is_none() {
        "the certificate on all edges".to_owned()
    } else if !announced {
        "the id to be announced".to_owned()
    } else if !seen_in_dns {
        format!("{} to carry the id", row.claim.domain.record_name())
    } else {
        String::new()
    };
    Some(control::Rollout {
        domain: row.claim.domain.to_string(),
        revision: current.revision.number(),
        policy_id: current.policy_id.to_string(),
        edges_serving: spread.serving,
        edges_live: spread.live,
        announced,
        seen_in_dns,
        waiting_for,
    })
}

pub(crate) fn edge(edge: &Edge, feed_position: u64, now: Timestamp) -> control::EdgeStatus {
    let refused = edge
        .refused
        .iter()
        .map(|refused| format!("{}/{}: {}", refused.bucket, refused.key, refused.reason));
    control::EdgeStatus {
        id: edge.id.clone(),
        region: edge.region.to_string(),
        position: edge.policies_position,
        lag: feed_position.saturating_sub(edge.policies_position),
        live: edge.is_live(now),
        heard_at: Some(to_wire(edge.heard_at)),
        domains: edge.domains,
        version: edge.software.clone(),
        refused: refused.collect(),
    }
}
