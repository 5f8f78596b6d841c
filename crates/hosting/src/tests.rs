//! The commands: what each gives, and what it refuses.

mod refusals;
mod sequences;

use jiff::Timestamp;
use mta_sts::{Mode, MxPattern, PolicyId};

use crate::*;

const START: i64 = 1_800_000_000;

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(START + day * 86_400).unwrap()
}

fn domain() -> Domain {
    Domain::parse("example.com").unwrap()
}

fn region() -> RegionId {
    "eu-1".parse().unwrap()
}

fn fresh(revision: u64) -> Fresh {
    Fresh {
        revision: Revision::new(revision).unwrap(),
        policy_id: format!("id{revision}").parse::<PolicyId>().unwrap(),
        now: at(i64::try_from(revision).unwrap()),
        by: "ada".to_owned(),
    }
}

fn live(hosts: &[&str]) -> LiveMx {
    let host = |host: &&str| MxHost { preference: 10, host: (*host).to_owned() };
    LiveMx::Hosts(hosts.iter().map(host).collect())
}

fn failed() -> LiveMx {
    LiveMx::Failed { why: "SERVFAIL".to_owned() }
}

fn claimed() -> Claim {
    let nonce = "abcdefghijklmnop".parse().unwrap();
    let ids = ("claim-1".parse().unwrap(), "acme".parse().unwrap());
    Claim::new(ids.0, ids.1, domain(), Kind::Standard, nonce)
}

fn testing(hosts: &[&str]) -> Claim {
    claimed().proven(at(0)).activate(&region(), &live(hosts), fresh(1)).unwrap()
}

fn enforced(hosts: &[&str]) -> Claim {
    let claim = testing(hosts);
    claim.promote(&Promote::default(), &ready(&claim), fresh(2)).unwrap()
}

fn stopping() -> Claim {
    enforced(&["mx.example.com"]).deactivate(None, fresh(3)).unwrap()
}

/// A readiness with nothing open, whatever the facts.
fn ready(claim: &Claim) -> Readiness {
    let check = |id: CheckId| Check {
        id,
        status: CheckStatus::Met,
        blocking: id.is_blocking(),
        evidence: String::new(),
    };
    Readiness {
        revision: claim.revision(),
        verdict: Verdict::Ready,
        checks: CheckId::ALL.into_iter().map(check).collect(),
    }
}

fn current(claim: &Claim) -> &Version {
    &claim.hosting.as_ref().unwrap().current
}

fn body(claim: &Claim) -> String {
    String::from_utf8(current(claim).body.clone()).unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> &'static str {
    result.unwrap_err().code()
}

#[test]
fn activation_starts_in_testing_with_the_live_mx() {
    let claim = testing(&["mx2.example.com", "mx1.example.com"]);
    assert_eq!(claim.state(), State::Active);
    assert_eq!(
        body(&claim),
        "version: STSv1\r\nmode: testing\r\nmx: mx1.example.com\r\nmx: mx2.example.com\r\n\
         max_age: 86400\r\n"
    );
    assert_eq!(claim.hosting.unwrap().testing_since, Some(at(1)));
}

#[test]
fn activation_is_refused_where_there_is_nothing_to_protect() {
    let activate = |claim: &Claim, mx: &LiveMx| code(claim.activate(&region(), mx, fresh(9)));
    let hosts = live(&["mx.example.com"]);
    let parked = claimed().convert(Kind::Parked).unwrap();
    assert_eq!(activate(&parked, &hosts), "DOMAIN_PARKED");
    assert_eq!(activate(&claimed(), &LiveMx::Null), "NULL_MX");
    assert_eq!(activate(&claimed(), &failed()), "MX_LOOKUP_FAILED");
    assert_eq!(activate(&testing(&["mx.example.com"]), &hosts), "HOSTING_ACTIVE");
    assert_eq!(activate(&stopping(), &hosts), "STOPPING");
}

#[test]
fn a_placeholder_is_marked_and_never_enforced() {
    let claim = claimed().proven(at(0)).activate(&region(), &LiveMx::None, fresh(1)).unwrap();
    assert!(current(&claim).placeholder && body(&claim).contains("mx: example.com\r\n"));
    let promoted = claim.promote(&Promote::default(), &ready(&claim), fresh(2));
    assert_eq!(code(promoted), "PLACEHOLDER_POLICY");
    // A real MX of the same name makes it a policy like others.
    let claim = claim.refresh(None, &live(&["example.com"]), false, fresh(2)).unwrap().unwrap();
    assert!(!current(&claim).placeholder);
    assert!(claim.promote(&Promote::default(), &ready(&claim), fresh(3)).is_ok());
}

#[test]
fn promotion_keeps_the_mx_lines_for_a_week() {
    let claim = enforced(&["mx.example.com"]);
    assert_eq!(
        body(&claim),
        "version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 604800\r\n"
    );
    assert_eq!(claim.hosting.unwrap().testing_since, None);
}

#[test]
fn promotion_is_refused_until_all_is_in_order() {
    let claim = testing(&["mx.example.com"]);
    let promote = |claim: &Claim, command: &Promote, readiness: &Readiness| {
        code(claim.promote(command, readiness, fresh(9)))
    };
    let any = Promote::default();
    let late = Promote { expected: Some(Revision::new(7).unwrap()), ..Promote::default() };
    let yes = ready(&claim);

    assert_eq!(promote(&claimed(), &any, &yes), "HOSTING_OFF");
    assert_eq!(promote(&stopping(), &any, &yes), "STOPPING");
    assert_eq!(promote(&claim, &late, &yes), "REVISION_CONFLICT");
    assert_eq!(promote(&claim.superseded(), &any, &yes), "NOT_PROVEN");
    let enforced = enforced(&["mx.example.com"]);
    assert_eq!(promote(&enforced, &any, &ready(&enforced)), "ALREADY_ENFORCED");
    let older = Readiness { revision: Some(Revision::new(7).unwrap()), ..yes.clone() };
    assert_eq!(promote(&claim, &any, &older), "REVISION_CONFLICT");
    let empty = Readiness { checks: Vec::new(), ..yes };
    assert_eq!(promote(&claim, &any, &empty), "NOT_READY");
}

#[test]
fn an_open_check_is_accepted_by_name_unless_it_blocks() {
    let claim = testing(&["mx.example.com"]);
    for id in CheckId::ALL {
        for status in [CheckStatus::NotMet, CheckStatus::Unknown] {
            let mut readiness = ready(&claim);
            for check in readiness.checks.iter_mut().filter(|check| check.id == id) {
                check.status = status;
            }
            let with = |accepted: &[CheckId]| Promote {
                expected: None,
                accepted: accepted.iter().copied().collect(),
            };
            let promote = |command| claim.promote(&command, &readiness, fresh(2));
            let others: Vec<_> = CheckId::ALL.into_iter().filter(|other| *other != id).collect();
            assert_eq!(code(promote(with(&[]))), "NOT_READY", "{id}");
            assert_eq!(code(promote(with(&others))), "NOT_READY", "{id}");
            assert_eq!(promote(with(&[id])).is_ok(), !id.is_blocking(), "{id}");
        }
    }
}

#[test]
fn a_revert_asks_for_nothing() {
    let claim = enforced(&["mx.example.com"]).superseded();
    let reverted = claim.revert(None, fresh(3)).unwrap();
    assert!(body(&reverted).contains("mode: testing\r\n"));
    assert!(body(&reverted).ends_with("max_age: 86400\r\n"));
    assert_eq!(reverted.hosting.as_ref().unwrap().testing_since, Some(at(3)));

    assert_eq!(code(reverted.revert(None, fresh(4))), "ALREADY_TESTING");
    assert_eq!(code(claimed().revert(None, fresh(4))), "HOSTING_OFF");
    assert_eq!(code(stopping().revert(None, fresh(4))), "STOPPING");
    assert_eq!(code(claim.revert(Some(Revision::FIRST), fresh(4))), "REVISION_CONFLICT");
}

#[test]
fn a_refresh_that_finds_nothing_different_changes_nothing() {
    for claim in [
        testing(&["a.example.com", "b.example.com"]),
        enforced(&["a.example.com", "b.example.com"]),
    ] {
        let same = live(&["B.example.com.", "a.example.com"]);
        assert_eq!(claim.refresh(None, &same, false, fresh(9)), Ok(None));
        assert!(claim.plan_refresh(&same).unwrap().is_empty());
    }
}

#[test]
fn dns_trouble_leaves_every_policy_as_it_is() {
    for claim in [testing(&["mx.example.com"]), enforced(&["mx.example.com"])] {
        for (live, expected) in [
            (LiveMx::Null, "NULL_MX"),
            (live(&["."]), "NULL_MX"),
            (LiveMx::None, "NO_MX"),
            (live(&[]), "NO_MX"),
            (failed(), "MX_LOOKUP_FAILED"),
            (live(&["192.0.2.1"]), "MX_UNUSABLE"),
        ] {
            assert_eq!(code(claim.refresh(None, &live, true, fresh(9))), expected);
            assert_eq!(code(claim.plan_refresh(&live)), expected);
        }
    }
}

#[test]
fn a_host_leaves_an_enforced_policy_only_when_somebody_has_seen_it() {
    let claim = enforced(&["a.example.com", "b.example.com"]);
    let fewer = live(&["b.example.com", "c.example.com"]);
    let refusal = claim.refresh(None, &fewer, false, fresh(9)).unwrap_err();
    assert_eq!(refusal.code(), "MX_REMOVAL_UNCONFIRMED");
    assert!(refusal.to_string().contains("a.example.com"));
    let plan = claim.plan_refresh(&fewer).unwrap();
    let names = |lines: &[MxLine]| text::list(lines.iter().map(|line| line.pattern.clone()));
    assert_eq!(names(&plan.added), "c.example.com");
    assert_eq!(names(&plan.removed), "a.example.com");
    assert_eq!(names(&plan.unchanged), "b.example.com");

    let claim = claim.refresh(None, &fewer, true, fresh(9)).unwrap().unwrap();
    assert_eq!(
        body(&claim),
        "version: STSv1\r\nmode: enforce\r\nmx: b.example.com\r\nmx: c.example.com\r\n\
         max_age: 604800\r\n"
    );
    // More hosts harm nobody, and in testing nothing does.
    let more = live(&["b.example.com", "c.example.com", "d.example.com"]);
    assert!(claim.refresh(None, &more, false, fresh(10)).unwrap().is_some());
    let claim = testing(&["a.example.com", "b.example.com"]);
    assert!(claim.refresh(None, &fewer, false, fresh(9)).unwrap().is_some());
}

#[test]
fn a_policy_set_by_hand_keeps_the_live_mx_covered_when_enforced() {
    let patterns = |texts: &[&str]| -> Option<Vec<MxPattern>> {
        Some(texts.iter().map(|text| text.parse().unwrap()).collect())
    };
    let set = |claim: &Claim, mx: &[&str], live: Option<LiveMx>| {
        let command = Set { mx: patterns(mx), ..Set::default() };
        claim.set(None, &command, live.as_ref(), fresh(9))
    };
    let claim = enforced(&["mx.example.com"]);
    let found = || Some(live(&["mx.example.com", "new.example.com"]));

    assert!(set(&claim, &["*.example.com"], found()).unwrap().is_some());
    assert!(set(&claim, &["mx.example.com", "x.example.net"], found()).unwrap().is_some());
    assert_eq!(set(&claim, &["mx.example.com"], None), Ok(None));
    assert_eq!(set(&claim, &["mx.example.com", "mx.example.com"], None), Ok(None));
    assert_eq!(code(set(&claim, &["x.example.net"], found())), "MX_UNCOVERED");
    assert_eq!(code(set(&claim, &["x.example.net"], None)), "MX_LOOKUP_FAILED");
    assert_eq!(code(set(&claim, &["x.example.net"], Some(failed()))), "MX_LOOKUP_FAILED");
    assert_eq!(code(set(&claim, &["x.example.net"], Some(LiveMx::Null))), "NULL_MX");
    assert_eq!(code(set(&claim, &["x.example.net"], Some(LiveMx::None))), "NO_MX");
    assert_eq!(code(set(&claim, &[], found())), "INVALID_POLICY");
    assert!(set(&testing(&["mx.example.com"]), &["x.example.net"], None).unwrap().is_some());
}

#[test]
fn a_max_age_is_between_what_senders_heed_and_what_the_rfc_allows() {
    let claim = enforced(&["mx.example.com"]);
    let set = |seconds| {
        let command = Set { max_age_seconds: Some(seconds), ..Set::default() };
        claim.set(None, &command, None, fresh(9))
    };
    for seconds in [0, MIN_MAX_AGE_SECONDS - 1, mta_sts::MAX_AGE_SECONDS + 1, u32::MAX] {
        assert_eq!(code(set(seconds)), "MAX_AGE_OUT_OF_RANGE");
    }
    assert_eq!(set(ENFORCE_MAX_AGE_SECONDS), Ok(None));
    let longest = set(mta_sts::MAX_AGE_SECONDS).unwrap().unwrap();
    assert!(body(&longest).ends_with("mx: mx.example.com\r\nmax_age: 31557600\r\n"));
}

#[test]
fn stopping_serves_none_with_its_mx_lines_and_can_be_called_back() {
    let claim = stopping();
    assert_eq!(claim.state(), State::Stopping { since: at(3) });
    assert_eq!(
        body(&claim),
        "version: STSv1\r\nmode: none\r\nmx: mx.example.com\r\nmax_age: 86400\r\n"
    );
    assert_eq!(code(claim.deactivate(None, fresh(4))), "STOPPING");
    assert_eq!(code(claim.may_remove()), "STOPPING");
    assert_eq!(code(claim.convert(Kind::Parked)), "STOPPING");
    assert_eq!(code(claim.plan_refresh(&live(&["mx.example.com"]))), "STOPPING");

    let back = claim.cancel(fresh(4)).unwrap();
    assert_eq!(back.state(), State::Active);
    assert!(body(&back).contains("mode: testing\r\nmx: mx.example.com\r\n"));
    assert_eq!(code(back.cancel(fresh(5))), "NOT_STOPPING");
    assert_eq!(code(claimed().cancel(fresh(5))), "HOSTING_OFF");
}

#[test]
fn stopping_ends_when_no_sender_holds_a_policy() {
    let served = Served {
        revision: Revision::FIRST.next(),
        mode: Mode::Enforce,
        max_age_seconds: ENFORCE_MAX_AGE_SECONDS,
        last_served_at: Some(at(2)),
        announced_until: Some(at(3)),
    };
    let claim = stopping();
    assert_eq!(claim.ended(&[served], None, at(99)), None);
    assert_eq!(claim.ended(&[served], Some(at(4)), at(10)), None);
    let off = claim.ended(&[served], Some(at(4)), at(11)).unwrap();
    assert_eq!(off.state(), State::Off);
    assert_eq!(off.may_remove(), Ok(()));
    assert!(off.convert(Kind::Parked).is_ok());
    let testing = testing(&["mx.example.com"]);
    assert_eq!(testing.ended(&[served], Some(at(4)), at(99)), None);
}

#[test]
fn a_repair_changes_the_id_and_nothing_else() {
    for claim in [testing(&["mx.example.com"]), enforced(&["mx.example.com"]), stopping()] {
        let repaired = claim.repair(fresh(9)).unwrap();
        assert_ne!(current(&repaired).policy_id, current(&claim).policy_id);
        assert_eq!(current(&repaired).body, current(&claim).body);
        assert_eq!(repaired.state(), claim.state());
        let since = |claim: &Claim| claim.hosting.as_ref().unwrap().testing_since;
        assert_eq!(since(&repaired), since(&claim));
    }
    assert_eq!(code(claimed().repair(fresh(9))), "HOSTING_OFF");
}

#[test]
fn a_revision_that_is_not_higher_is_never_written() {
    let claim = enforced(&["mx.example.com"]);
    assert_eq!(code(claim.revert(None, fresh(2))), "REVISION_CONFLICT");
    assert_eq!(code(claim.repair(fresh(1))), "REVISION_CONFLICT");
}

#[test]
fn words_are_read_as_they_are_written() {
    for change in Change::ALL {
        assert_eq!(change.as_str().parse(), Ok(change));
    }
    for kind in Kind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
    let error = "gone\u{1b}".parse::<Kind>().unwrap_err().to_string();
    assert_eq!(
        error,
        r#"cannot use "gone\u{1b}" as a kind of domain: enter one of standard, parked"#
    );
}
