//! What each check looks at, and how it words what it found.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use mta_sts::Mode;

use super::{
    CERTIFICATE_VALID_FOR, CheckId, CheckStatus, EdgeCertificate, Edges, Fact, Facts, Fetches,
    MX_LOOKUP_FRESH_FOR, MxLookup, MxTls, MxTlsFound, RECORD_STATUS_FRESH_FOR, REPORT_DAYS,
    RecordFact, RecordStatus, Reports, TESTING_DAYS,
};
use crate::claim::{Claim, Hosting, State};
use crate::mx::{LiveMx, uncovered};
use crate::text::{count, echo, list, when};

/// Hosts, edges and reasons that a piece of evidence names at most.
const NAMED_AT_MOST: usize = 10;

/// The status with its evidence.
type Judged = (CheckStatus, String);

pub(super) fn judge(id: CheckId, claim: &Claim, facts: &Facts, now: Timestamp) -> Judged {
    let hosted = |judge: &dyn Fn(&Hosting) -> Judged| match &claim.hosting {
        Some(hosting) => judge(hosting),
        None => not_met("hosting is off"),
    };
    match id {
        CheckId::HostingActive => hosted(&hosting_active),
        CheckId::ClaimProven => match claim.proven_at {
            Some(at) => met(format!("proven {}", when(at))),
            None => not_met("nobody has shown yet that the domain belongs to this workspace"),
        },
        CheckId::MxNotPlaceholder => hosted(&mx_not_placeholder),
        CheckId::MxCovered => {
            hosted(&|hosting| known(&facts.mx, |lookup| mx_covered(hosting, lookup, now)))
        }
        CheckId::CnameLive => record_live(&facts.cname, now),
        CheckId::TxtLive => record_live(&facts.txt, now),
        CheckId::CertificateValid => known(&facts.certificates, |c| certificate_valid(c, now)),
        CheckId::EdgesCurrent => known(&facts.edges, edges_current),
        CheckId::Fetched => known(&facts.fetches, fetched),
        CheckId::ReportsRecent => known(&facts.reports, reports_recent),
        CheckId::ReportsClean => known(&facts.reports, reports_clean),
        CheckId::MxTls => known(&facts.mx_tls, |found| mx_tls(found, &facts.mx, now)),
        CheckId::TestingLongEnough => hosted(&|hosting| testing_long_enough(hosting, now)),
        CheckId::TlsrptLive => record_live(&facts.tls_rpt, now),
    }
}

fn hosting_active(hosting: &Hosting) -> Judged {
    let region = &hosting.region;
    match hosting.state {
        State::Active => met(format!("hosted in {region}")),
        State::Stopping { since } => not_met(format!("stopping since {}", when(since))),
        State::Off => not_met("hosting is off"),
    }
}

fn mx_not_placeholder(hosting: &Hosting) -> Judged {
    let current = &hosting.current;
    let lines = some_of(current.policy.mx.iter().map(ToString::to_string));
    if current.placeholder || current.policy.mx.is_empty() {
        return not_met(format!("only a placeholder: {lines}"));
    }
    met(lines)
}

fn mx_covered(hosting: &Hosting, lookup: &MxLookup, now: Timestamp) -> Judged {
    let at = when(lookup.looked_up_at);
    if !is_fresh(lookup.looked_up_at, MX_LOOKUP_FRESH_FOR, now) {
        return unknown(format!("the MX records were looked up {at}: look again"));
    }
    let hosts = match &lookup.mx {
        LiveMx::Failed { why } => return unknown(format!("the MX lookup failed ({})", echo(why))),
        LiveMx::Null => return not_met(format!("null MX, looked up {at}")),
        LiveMx::Hosts(hosts) if !hosts.is_empty() => hosts,
        LiveMx::Hosts(_) | LiveMx::None => {
            return not_met(format!("no MX records, looked up {at}"));
        }
    };
    let outside = uncovered(&hosting.current.policy, &lookup.mx);
    if outside.is_empty() {
        let hosts = count(hosts.len() as u64, "MX host");
        return met(format!("{hosts} covered, looked up {at}"));
    }
    not_met(format!("not in the policy: {}, looked up {at}", some_of(outside)))
}

fn record_live(record: &RecordFact, now: Timestamp) -> Judged {
    let checked = match record.checked_at {
        Some(at) => format!("checked {}", when(at)),
        None => "never checked".to_owned(),
    };
    let current = record.checked_at.is_some_and(|at| is_fresh(at, RECORD_STATUS_FRESH_FOR, now));
    match &record.status {
        RecordStatus::Live if !current => unknown(format!("Live when last seen, {checked}")),
        RecordStatus::Live => match record.since {
            Some(since) => met(format!("Live since {}, {checked}", when(since))),
            None => met(format!("Live, {checked}")),
        },
        RecordStatus::Mismatch { found } => {
            not_met(format!("Mismatch, found {}, {checked}", echo(found)))
        }
        RecordStatus::NotPublished => not_met(format!("Not published, {checked}")),
        RecordStatus::RegionIntakeNotConfigured => not_met("Region intake not configured"),
        RecordStatus::Unknown { why } => unknown(echo(why)),
    }
}

fn certificate_valid(certificates: &[EdgeCertificate], now: Timestamp) -> Judged {
    let Some(earliest) = certificates.iter().map(|c| c.not_after).min() else {
        return not_met("no edge is alive");
    };
    let ends_well = |at: Timestamp| at.duration_since(now) >= CERTIFICATE_VALID_FOR;
    let bad: Vec<_> = certificates
        .iter()
        .filter(|c| !c.not_after.is_some_and(ends_well))
        .map(|c| match c.not_after {
            Some(at) => format!("{} expires {}", echo(&c.edge), when(at)),
            None => format!("{} has none", echo(&c.edge)),
        })
        .collect();
    match earliest {
        Some(at) if bad.is_empty() => met(format!("expires {}", when(at))),
        _ => not_met(some_of(bad)),
    }
}

fn edges_current(edges: &Edges) -> Judged {
    let evidence = format!("{}/{} edges serve this version", edges.current, edges.live);
    judged(edges.live > 0 && edges.current >= edges.live, evidence)
}

fn fetched(fetches: &Fetches) -> Judged {
    let number = match fetches.count {
        1 => "1 fetch".to_owned(),
        many => format!("{many} fetches"),
    };
    judged(fetches.count > 0, format!("{number} on {} of 7 days", fetches.days))
}

fn reports_recent(reports: &Reports) -> Judged {
    let days = count(reports.days, "day");
    let organizations = count(reports.organizations, "organisation");
    let evidence = format!("{days} of the last 28, {organizations}, verified reports only");
    judged(reports.days >= REPORT_DAYS, evidence)
}

fn reports_clean(reports: &Reports) -> Judged {
    let sessions = count(reports.sessions, "session");
    if reports.failed_sessions > 0 {
        let last =
            reports.last_failure_at.map_or_else(String::new, |at| format!(", last {}", when(at)));
        let reasons = some_of(reports.failure_reasons.iter().map(|reason| echo(reason)));
        let failed = reports.failed_sessions;
        return not_met(format!("{failed} of {sessions} failed{last}: {reasons}"));
    }
    if reports.sessions == 0 {
        return unknown("no verified report tells of any session yet");
    }
    met(format!("0 of {sessions} failed"))
}

fn mx_tls(found: &[MxTls], live: &Fact<MxLookup>, now: Timestamp) -> Judged {
    let mut evidence = Vec::new();
    let mut status = if found.is_empty() { CheckStatus::Unknown } else { CheckStatus::Met };
    for MxTls { host, found } in found {
        let host = echo(host);
        match found {
            MxTlsFound::ValidUntil(until) if *until > now => {
                evidence.push(format!("{host}: valid until {}", when(*until)));
            }
            MxTlsFound::ValidUntil(until) => {
                status = CheckStatus::NotMet;
                evidence.push(format!("{host}: expired {}", when(*until)));
            }
            MxTlsFound::Problem(problem) => {
                status = CheckStatus::NotMet;
                evidence.push(format!("{host}: {}", echo(problem)));
            }
            MxTlsFound::Unreachable(why) => {
                status = worse(status);
                evidence.push(format!("{host}: not reached from here ({})", echo(why)));
            }
        }
    }
    for host in untried(found, live) {
        status = worse(status);
        evidence.push(format!("{host}: not tried yet"));
    }
    if evidence.is_empty() {
        evidence.push("no MX host was tried".to_owned());
    }
    (status, some_of(evidence))
}

fn testing_long_enough(hosting: &Hosting, now: Timestamp) -> Judged {
    match hosting.testing_since {
        Some(since) => {
            let days = (now.duration_since(since).as_hours() / 24).max(0);
            judged(
                days >= TESTING_DAYS,
                format!("{} in testing", count(days.unsigned_abs(), "day")),
            )
        }
        None if hosting.current.policy.mode == Mode::Enforce => met("the policy is enforced"),
        None => not_met("not in testing"),
    }
}

/// Live hosts that nobody has tried.
fn untried(found: &[MxTls], live: &Fact<MxLookup>) -> Vec<String> {
    let Fact::Known(MxLookup { mx: LiveMx::Hosts(hosts), .. }) = live else {
        return Vec::new();
    };
    let bare = |host: &str| host.trim_end_matches('.').to_ascii_lowercase();
    let tried: BTreeSet<String> = found.iter().map(|mx| bare(&mx.host)).collect();
    hosts.iter().filter(|h| !tried.contains(&bare(&h.host))).map(|h| echo(&h.host)).collect()
}

/// Not yet known is worse than met, and no better than not met.
fn worse(status: CheckStatus) -> CheckStatus {
    if status == CheckStatus::NotMet { status } else { CheckStatus::Unknown }
}

/// A time ahead of `now` is a clock set wrong, and no evidence either.
fn is_fresh(at: Timestamp, fresh_for: SignedDuration, now: Timestamp) -> bool {
    now.duration_since(at).abs() <= fresh_for
}

/// The first few, and how many more there are.
fn some_of(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    let more = items.len().saturating_sub(NAMED_AT_MOST);
    let named = list(items.into_iter().take(NAMED_AT_MOST));
    if more == 0 { named } else { format!("{named} and {more} more") }
}

fn known<T>(fact: &Fact<T>, judge: impl FnOnce(&T) -> Judged) -> Judged {
    match fact {
        Fact::Known(fact) => judge(fact),
        Fact::Unknown { why } => unknown(echo(why)),
    }
}

fn judged(is_met: bool, evidence: String) -> Judged {
    if is_met { met(evidence) } else { not_met(evidence) }
}

fn met(evidence: impl Into<String>) -> Judged {
    (CheckStatus::Met, evidence.into())
}

fn not_met(evidence: impl Into<String>) -> Judged {
    (CheckStatus::NotMet, evidence.into())
}

fn unknown(evidence: impl Into<String>) -> Judged {
    (CheckStatus::Unknown, evidence.into())
}
