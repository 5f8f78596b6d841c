use mta_sts::{Mode, Policy, PolicyId};

use super::*;
use crate::Domain;
use crate::claim::{Hosting, Kind, State};
use crate::mx::{LiveMx, MxHost};
use crate::version::{Change, Version};

fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + hours * 3600).unwrap()
}

/// The moment of every judgement here.
fn now() -> Timestamp {
    at(0)
}

fn policy(mode: Mode) -> Policy {
    Policy::new(mode, vec!["mx.example.com".parse().unwrap()], 86_400).unwrap()
}

/// Fifteen days in testing.
fn claim() -> Claim {
    let policy = policy(Mode::Testing);
    let current = Version {
        revision: Revision::FIRST,
        placeholder: false,
        policy_id: "id1".parse::<PolicyId>().unwrap(),
        body: policy.render(),
        policy,
        changed_at: at(-15 * 24),
        changed_by: "ada".to_owned(),
        change: Change::Activated,
    };
    let hosting = Hosting {
        region: "eu-1".parse().unwrap(),
        state: State::Active,
        current,
        testing_since: Some(at(-15 * 24)),
    };
    Claim {
        proven_at: Some(at(-15 * 24)),
        hosting: Some(hosting),
        ..Claim::new(
            "claim-1".parse().unwrap(),
            "acme".parse().unwrap(),
            Domain::parse("example.com").unwrap(),
            Kind::Standard,
            "abcdefghijklmnop".parse().unwrap(),
        )
    }
}

fn live_mx(hosts: &[&str]) -> LiveMx {
    let host = |host: &&str| MxHost { preference: 10, host: (*host).to_owned() };
    LiveMx::Hosts(hosts.iter().map(host).collect())
}

fn looked_up(mx: LiveMx, hours: i64) -> Fact<MxLookup> {
    Fact::Known(MxLookup { mx, looked_up_at: at(hours) })
}

fn record(status: RecordStatus) -> RecordFact {
    RecordFact { status, since: Some(at(-300)), checked_at: Some(at(-1)) }
}

fn mx_tls(found: MxTlsFound) -> Fact<Vec<MxTls>> {
    Fact::Known(vec![MxTls { host: "mx.example.com".to_owned(), found }])
}

fn certificate(edge: &str, hours: Option<i64>) -> EdgeCertificate {
    EdgeCertificate { edge: edge.to_owned(), not_after: hours.map(at) }
}

/// Everything in order.
fn facts() -> Facts {
    Facts {
        cname: record(RecordStatus::Live),
        txt: record(RecordStatus::Live),
        tls_rpt: record(RecordStatus::Live),
        mx: looked_up(live_mx(&["MX.example.com."]), 0),
        certificates: Fact::Known(vec![certificate("a", Some(900)), certificate("b", Some(800))]),
        edges: Fact::Known(Edges { live: 2, current: 2 }),
        fetches: Fact::Known(Fetches { count: 40, days: 7 }),
        reports: Fact::Known(Reports {
            days: 20,
            organizations: 3,
            sessions: 1000,
            ..Reports::default()
        }),
        mx_tls: mx_tls(MxTlsFound::ValidUntil(at(1000))),
    }
}

/// One check after `change`, as `status: evidence`; every other one stays met, or is named in
/// `also`.
fn check(id: CheckId, change: impl FnOnce(&mut Claim, &mut Facts), expected: &str) {
    let (mut claim, mut facts) = (claim(), facts());
    change(&mut claim, &mut facts);
    let readiness = assess(&claim, &facts, now());
    let found = readiness.checks.iter().find(|check| check.id == id).unwrap();
    assert_eq!(format!("{}: {}", found.status.as_str(), found.evidence), expected, "{id}");
    assert!(!found.evidence.contains(char::is_control));
    let verdict = match (found.status, found.blocking) {
        (CheckStatus::Met, _) => Verdict::Ready,
        (_, true) => Verdict::NotReady,
        (_, false) => Verdict::ReadyWithWarnings,
    };
    assert_eq!(readiness.verdict, verdict, "{:?}", readiness.checks);
}

#[test]
fn all_in_order_is_ready() {
    let readiness = assess(&claim(), &facts(), now());
    assert_eq!(readiness.verdict, Verdict::Ready);
    assert_eq!(readiness.revision, Some(Revision::FIRST));
    let ids: Vec<_> = readiness.checks.iter().map(|check| check.id).collect();
    assert_eq!(ids, CheckId::ALL);
    assert_eq!(readiness.open(&BTreeSet::new()), (Vec::new(), Vec::new()));
}

#[test]
fn without_hosting_nothing_is_ready() {
    let off = Claim { hosting: None, ..claim() };
    let readiness = assess(&off, &facts(), now());
    assert_eq!((readiness.verdict, readiness.revision), (Verdict::NotReady, None));
}

#[test]
fn an_unproven_claim_blocks() {
    check(
        CheckId::ClaimProven,
        |claim, _| claim.proven_at = None,
        "not_met: nobody has shown yet that the domain belongs to this workspace",
    );
}

#[test]
fn a_placeholder_blocks() {
    check(
        CheckId::MxNotPlaceholder,
        |claim, _| claim.hosting.as_mut().unwrap().current.placeholder = true,
        "not_met: only a placeholder: mx.example.com",
    );
}

#[test]
fn a_live_mx_outside_the_policy_blocks_and_so_does_not_knowing() {
    fn mx(mx: Fact<MxLookup>, expected: &str) {
        check(
            CheckId::MxCovered,
            |_, facts| {
                // These are about the policy, not about what the host offers.
                if let (
                    Fact::Known(MxLookup { mx: LiveMx::Hosts(hosts), .. }),
                    Fact::Known(tried),
                ) = (&mx, &mut facts.mx_tls)
                {
                    let found = MxTlsFound::ValidUntil(at(1000));
                    *tried = hosts
                        .iter()
                        .map(|host| MxTls { host: host.host.clone(), found: found.clone() })
                        .chain(tried.clone())
                        .collect();
                }
                facts.mx = mx;
            },
            expected,
        );
    }
    let at0 = "2027-01-15 08:00 UTC";
    let found = |hosts: &[&str]| looked_up(live_mx(hosts), 0);
    mx(found(&["mx.example.com"]), &format!("met: 1 MX host covered, looked up {at0}"));
    mx(
        found(&["mx.example.com", "b.example.net", "a\r\nb"]),
        &format!(r"not_met: not in the policy: a\r\nb, b.example.net, looked up {at0}"),
    );
    mx(found(&[]), &format!("not_met: no MX records, looked up {at0}"));
    mx(looked_up(LiveMx::None, 0), &format!("not_met: no MX records, looked up {at0}"));
    mx(looked_up(LiveMx::Null, 0), &format!("not_met: null MX, looked up {at0}"));
    let failed = LiveMx::Failed { why: "SERVFAIL".to_owned() };
    mx(looked_up(failed, 0), "unknown: the MX lookup failed (SERVFAIL)");
    let older = looked_up(live_mx(&["mx.example.com"]), -1);
    mx(older, "unknown: the MX records were looked up 2027-01-15 07:00 UTC: look again");
    mx(Fact::unknown("dns is not answering"), "unknown: dns is not answering");
}

#[test]
fn a_record_is_live_as_long_as_somebody_has_seen_it() {
    fn txt(record: RecordFact, expected: &str) {
        check(CheckId::TxtLive, |_, facts| facts.txt = record, expected);
    }
    let checked = "checked 2027-01-15 07:00 UTC";
    txt(record(RecordStatus::Live), &format!("met: Live since 2027-01-02 20:00 UTC, {checked}"));
    txt(record(RecordStatus::NotPublished), &format!("not_met: Not published, {checked}"));
    let mismatch = RecordStatus::Mismatch { found: "v=STSv1; id=old;\n".to_owned() };
    txt(record(mismatch), &format!(r"not_met: Mismatch, found v=STSv1; id=old;\n, {checked}"));
    let stale = RecordFact { checked_at: Some(at(-25)), ..record(RecordStatus::Live) };
    txt(stale, "unknown: Live when last seen, checked 2027-01-14 07:00 UTC");
    let never = RecordFact { checked_at: None, ..record(RecordStatus::Live) };
    txt(never, "unknown: Live when last seen, never checked");
    let unknown = RecordStatus::Unknown { why: "no lookup has succeeded yet".to_owned() };
    txt(record(unknown), "unknown: no lookup has succeeded yet");

    check(
        CheckId::CnameLive,
        |_, facts| facts.cname = record(RecordStatus::NotPublished),
        &format!("not_met: Not published, {checked}"),
    );
    check(
        CheckId::TlsrptLive,
        |_, facts| facts.tls_rpt = record(RecordStatus::RegionIntakeNotConfigured),
        "not_met: Region intake not configured",
    );
}

#[test]
fn every_live_edge_has_a_certificate_for_another_week() {
    fn certificates(certificates: Vec<EdgeCertificate>, expected: &str) {
        let fact = Fact::Known(certificates);
        check(CheckId::CertificateValid, |_, facts| facts.certificates = fact, expected);
    }
    let week = 7 * 24;
    certificates(vec![certificate("a", Some(week))], "met: expires 2027-01-22 08:00 UTC");
    certificates(
        vec![certificate("a", Some(week - 1)), certificate("b", Some(900))],
        "not_met: a expires 2027-01-22 07:00 UTC",
    );
    certificates(vec![certificate("a", Some(900)), certificate("b", None)], "not_met: b has none");
    certificates(vec![], "not_met: no edge is alive");
}

#[test]
fn every_live_edge_serves_this_version() {
    fn edges(live: u32, current: u32, expected: &str) {
        let fact = Fact::Known(Edges { live, current });
        check(CheckId::EdgesCurrent, |_, facts| facts.edges = fact, expected);
    }
    edges(2, 2, "met: 2/2 edges serve this version");
    edges(2, 1, "not_met: 1/2 edges serve this version");
    edges(0, 0, "not_met: 0/0 edges serve this version");
}

#[test]
fn evidence_of_senders_is_wanted_and_can_be_done_without() {
    let fetches = |count, days| Fact::Known(Fetches { count, days });
    check(CheckId::Fetched, |_, f| f.fetches = fetches(1, 1), "met: 1 fetch on 1 of 7 days");
    check(CheckId::Fetched, |_, f| f.fetches = fetches(0, 0), "not_met: 0 fetches on 0 of 7 days");
    check(
        CheckId::Fetched,
        |_, f| f.fetches = Fact::unknown("intake is not answering"),
        "unknown: intake is not answering",
    );
    check(
        CheckId::ReportsRecent,
        |_, f| {
            f.reports = Fact::Known(Reports {
                days: 13,
                organizations: 1,
                sessions: 9,
                ..Reports::default()
            });
        },
        "not_met: 13 days of the last 28, 1 organisation, verified reports only",
    );
    check(
        CheckId::ReportsClean,
        |_, f| {
            f.reports = Fact::Known(Reports {
                days: 20,
                organizations: 3,
                sessions: 1000,
                failed_sessions: 12,
                last_failure_at: Some(at(-30)),
                failure_reasons: vec!["certificate-expired".to_owned()],
            });
        },
        "not_met: 12 of 1000 sessions failed, last 2027-01-14 02:00 UTC: certificate-expired",
    );
    check(
        CheckId::ReportsClean,
        |_, f| {
            f.reports = Fact::Known(Reports { days: 14, ..Reports::default() });
        },
        "unknown: no verified report tells of any session yet",
    );
}

#[test]
fn each_live_mx_is_tried() {
    fn tls(fact: Fact<Vec<MxTls>>, expected: &str) {
        check(CheckId::MxTls, |_, facts| facts.mx_tls = fact, expected);
    }
    let until = "mx.example.com: valid until 2027-01-15 09:00 UTC";
    tls(mx_tls(MxTlsFound::ValidUntil(at(1))), &format!("met: {until}"));
    tls(
        mx_tls(MxTlsFound::ValidUntil(at(-1))),
        "not_met: mx.example.com: expired 2027-01-15 07:00 UTC",
    );
    let problem = "no STARTTLS\r\n".to_owned();
    tls(mx_tls(MxTlsFound::Problem(problem)), r"not_met: mx.example.com: no STARTTLS\r\n");
    tls(
        mx_tls(MxTlsFound::Unreachable("timeout".to_owned())),
        "unknown: mx.example.com: not reached from here (timeout)",
    );
    tls(Fact::Known(vec![]), "unknown: MX.example.com.: not tried yet");
    tls(Fact::unknown("port 25 is closed"), "unknown: port 25 is closed");
}

#[test]
fn two_weeks_of_testing_are_long_enough() {
    fn days(since: i64, expected: &str) {
        check(
            CheckId::TestingLongEnough,
            |claim, _| claim.hosting.as_mut().unwrap().testing_since = Some(at(since)),
            expected,
        );
    }
    days(-14 * 24, "met: 14 days in testing");
    days(-14 * 24 + 1, "not_met: 13 days in testing");
    days(24, "not_met: 0 days in testing");
}

#[test]
fn a_name_in_evidence_is_not_repeated_for_ever() {
    let many: Vec<String> = (0..100).map(|n| format!("mx{n}.example.net")).collect();
    let mx = live_mx(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let facts = Facts { mx: looked_up(mx, 0), ..facts() };
    let readiness = assess(&claim(), &facts, now());
    assert!(readiness.checks.iter().all(|check| check.evidence.len() < 1000));
    assert!(readiness.checks[3].evidence.contains("and 90 more"));
}
