//! Each case is text: what servers said, and the row that comes of it.

use super::*;
use crate::foreign::MAX_FOUND_BYTES;

const ID: &str = "abc123";
const NONCE: &str = "a1b2c3d4e5f6a7b8";
const RUA: &str = "mailto:reports+a1b2c3d4e5f6a7b8@region.test";

fn expected() -> Expected {
    let document = wire::bus::RecordsDocument {
        claim_id: "claim-1".into(),
        workspace_id: "default".into(),
        domain: "example.com".into(),
        region_id: "eu-1".into(),
        region_host: "EU-1.region.test.".into(),
        nonce: NONCE.into(),
        policy_id: ID.into(),
        former_policy_ids: vec!["old1".into(), "old2".into()],
        reports_uri: RUA.into(),
        proven: true,
    };
    Expected::from_document(document).unwrap()
}

/// `nodata`, `nxdomain`, a failure, or values between `|`, those of aliases with `->` in front.
fn said(text: &str, value: fn(&str) -> Value) -> Result<Answer, Failure> {
    let nothing = |end| Ok(Answer { aliases: Vec::new(), end });
    match text {
        "nodata" => return nothing(End::NoData),
        "nxdomain" => return nothing(End::NoName),
        "timeout" => return Err(Failure::Timeout),
        "servfail" => return Err(Failure::ServerFailed),
        "refused" => return Err(Failure::Refused),
        "lame" => return Err(Failure::Lame),
        "bogus" => return Err(Failure::Bogus.at("resolver")),
        "malformed" => return Err(Failure::Malformed("too short".into())),
        _ => {}
    }
    let mut aliases = Vec::new();
    let mut values = Vec::new();
    let mut end = None;
    for part in text.split(" | ") {
        match part.strip_prefix("-> ") {
            Some("circle") => end = Some(End::Circle),
            Some("long") => end = Some(End::TooLong),
            Some("bare") => end = Some(End::Bare),
            Some("nodata") => end = Some(End::NoData),
            Some("nxdomain") => end = Some(End::NoName),
            Some(alias) => aliases.push(alias.to_owned()),
            None => values.push(value(part)),
        }
    }
    let last = if values.is_empty() { End::Elsewhere } else { End::Values(values) };
    Ok(Answer { aliases, end: end.unwrap_or(last) })
}

fn all_said(servers: &[&str], value: fn(&str) -> Value) -> Said {
    let labels = (1..).map(|n| format!("ns{n}.example.com (192.0.2.{n})"));
    servers.iter().zip(labels).map(|(text, label)| (label, said(text, value))).collect()
}

fn text(part: &str) -> Value {
    Value::Text(part.bytes().collect())
}

fn host(part: &str) -> Value {
    match part.parse() {
        Ok(ip) => Value::Address(ip),
        Err(_) => Value::Alias(part.to_owned()),
    }
}

fn outcome(kind: Kind, expected: &Expected, seen: &Seen, probes: &Probes) -> Outcome {
    let outcomes = judge(expected, seen, probes);
    outcomes.into_iter().find(|(of, _)| *of == kind).unwrap().1
}

/// `LIVE`, `MISMATCH OLD_ID`, `NOT_PUBLISHED`; `? TIMEOUT` where nothing is known.
fn summary(outcome: &Outcome) -> String {
    let (status, hint) = match outcome {
        Outcome::Unknown { hint, .. } => ("?", Some(hint)),
        Outcome::Known(verdict) => {
            let status = match verdict.status {
                Status::Live => "LIVE",
                Status::Mismatch => "MISMATCH",
                Status::NotPublished => "NOT_PUBLISHED",
                Status::RegionIntakeNotConfigured => "REGION_INTAKE_NOT_CONFIGURED",
            };
            (status, verdict.hint.as_ref())
        }
    };
    match hint {
        Some(hint) => format!("{status} {}", hint.code),
        None => status.to_owned(),
    }
}

fn check_sts(servers: &[&str], wanted: &str) {
    let sts = Sight { servers: all_said(servers, text), resolvers: Vec::new() };
    let seen = Seen { sts, ..Seen::default() };
    let found = outcome(Kind::Sts, &expected(), &seen, &Probes::default());
    assert_eq!(summary(&found), wanted, "{servers:?}");
}

fn check_tls_rpt(servers: &[&str], wanted: &str) {
    let tls_rpt = Sight { servers: all_said(servers, text), resolvers: Vec::new() };
    let seen = Seen { tls_rpt, ..Seen::default() };
    let found = outcome(Kind::TlsRpt, &expected(), &seen, &Probes::default());
    assert_eq!(summary(&found), wanted, "{servers:?}");
}

fn check_cname(servers: &[&str], wanted: &str) {
    check_cname_of(&expected(), servers, wanted);
}

fn check_cname_of(expected: &Expected, servers: &[&str], wanted: &str) {
    let cname = Sight { servers: all_said(servers, host), resolvers: Vec::new() };
    let ours = vec!["192.0.2.81".parse().unwrap(), "2001:db8::81".parse().unwrap()];
    let seen = Seen { cname, ours, ..Seen::default() };
    let found = outcome(Kind::Cname, expected, &seen, &Probes::default());
    assert_eq!(summary(&found), wanted, "{servers:?}");
}

#[test]
fn the_txt_row_is_judged_as_a_sender_reads_it() {
    let good = "v=STSv1; id=abc123;";
    check_sts(&[good], "LIVE");
    check_sts(&["v=STSv1; id=abc123"], "LIVE");
    check_sts(&["v=STSv1;id=abc123; x=y;"], "LIVE");
    check_sts(&["v=STSv1; id=abc123; | v=spf1 -all"], "LIVE UNRELATED_TXT");
    check_sts(&["-> sts.other.net | v=STSv1; id=abc123;"], "LIVE");
    check_sts(&["nodata"], "NOT_PUBLISHED");
    check_sts(&["nxdomain"], "NOT_PUBLISHED");
    check_sts(&["-> sts.other.net | -> nodata"], "NOT_PUBLISHED ALIAS_TO_NOTHING");
    check_sts(&["-> sts.other.net | -> nxdomain"], "NOT_PUBLISHED ALIAS_TO_NOTHING");
    check_sts(&["-> a.net | -> b.net | -> circle"], "MISMATCH CNAME_LOOP");
    check_sts(&["-> a.net | -> long"], "MISMATCH CNAME_CHAIN_LONG");
    check_sts(&["v=STSv1; id=old2;"], "MISMATCH OLD_ID");
    check_sts(&["v=STSv1; id=20190101T000000;"], "MISMATCH OTHER_ID");
    check_sts(&["v=STSv1; id=ABC123;"], "MISMATCH OTHER_ID");
    check_sts(&["v=STSv1; id=abc123; | v=STSv1; id=old1;"], "MISMATCH MULTIPLE_STS_RECORDS");
    check_sts(&["v=stsv1; id=abc123;"], "MISMATCH WRONG_CASE");
    check_sts(&["V=STSv1; id=abc123;"], "MISMATCH WRONG_CASE");
    check_sts(&["v=STSv1 ; id=abc123;"], "MISMATCH SPACES");
    check_sts(&[" v=STSv1; id=abc123;"], "MISMATCH SPACES");
    check_sts(&["v=STSv1"], "MISMATCH BAD_SYNTAX");
    check_sts(&["v=STSv1 id=abc123"], "MISMATCH BAD_SYNTAX");
    check_sts(&["v=STSv1;"], "MISMATCH BAD_SYNTAX");
    check_sts(&["v=STSv1; id=abc123; id=abc123;"], "MISMATCH BAD_SYNTAX");
    check_sts(&["v=STSv1; id = abc123;"], "MISMATCH BAD_SYNTAX");
    check_sts(&["v=STSv1;\u{a0}id=abc123;"], "MISMATCH BAD_SYNTAX");
    check_sts(&["v=STSv1; id=;"], "MISMATCH BAD_ID");
    check_sts(&["v=STSv1; id=abc-123;"], "MISMATCH BAD_ID");
    check_sts(&["v=STSv1; id=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;"], "MISMATCH BAD_ID");
    check_sts(&["\"v=STSv1; id=abc123;\""], "MISMATCH QUOTES_IN_VALUE");
    check_sts(&[r"v=STSv1\; id=abc123\;"], "MISMATCH BACKSLASH_SEMICOLON");
    check_sts(&["v=spf1 -all"], "MISMATCH NO_STS_RECORD");
    check_sts(&["v=STSv10; id=abc123;"], "MISMATCH BAD_SYNTAX");
}

#[test]
fn all_name_servers_have_to_agree_and_one_that_fails_does_not_count() {
    let (good, old) = ("v=STSv1; id=abc123;", "v=STSv1; id=old1;");
    check_sts(&[good, good], "LIVE");
    check_sts(&[good, old], "MISMATCH NAME_SERVERS_DISAGREE");
    check_sts(&[good, "nxdomain"], "MISMATCH NAME_SERVERS_DISAGREE");
    check_sts(&[good, "timeout"], "LIVE");
    check_sts(&["servfail", good], "LIVE");
    check_sts(&[good, "lame"], "LIVE LAME_DELEGATION");
    check_sts(&["nxdomain", "timeout"], "NOT_PUBLISHED");
}

#[test]
fn servers_disagree_only_where_one_has_what_is_wanted() {
    check_sts(&["nxdomain", "-> a.net | -> nodata"], "NOT_PUBLISHED ALIAS_TO_NOTHING");
    check_sts(&["-> a.net | -> nodata", "nodata"], "NOT_PUBLISHED ALIAS_TO_NOTHING");
    check_sts(&["nxdomain", "v=STSv1; id=old1;"], "MISMATCH OLD_ID");
    check_sts(&["v=STSv1; id=old1;", "v=STSv1; id=other;"], "MISMATCH OLD_ID");
    check_sts(&["v=STSv1; id=abc123;", "v=STSv1; id=abc123; | x"], "LIVE UNRELATED_TXT");
}

#[test]
fn a_look_without_an_answer_is_no_status() {
    for (failure, code) in [
        ("timeout", "? TIMEOUT"),
        ("servfail", "? SERVFAIL"),
        ("refused", "? REFUSED"),
        ("lame", "? LAME_DELEGATION"),
        ("malformed", "? SERVFAIL"),
    ] {
        check_sts(&[failure, failure], code);
        check_cname(&[failure], code);
        check_tls_rpt(&[failure], code);
    }
    check_sts(&[], "? NO_NAME_SERVERS");
}

#[test]
fn the_cname_row_is_live_through_any_way_to_our_target() {
    let target = "a1b2c3d4e5f6a7b8.eu-1.region.test";
    check_cname(&[&format!("-> {target}")], "LIVE");
    let unproven = Expected { proven: false, ..expected() };
    check_cname_of(&unproven, &[&format!("-> {target}")], "LIVE");
    check_cname(&[&format!("-> mta-sts.parent.com | -> {target} | 192.0.2.81")], "LIVE");
    check_cname(&["nodata"], "NOT_PUBLISHED");
    check_cname(&["nxdomain"], "NOT_PUBLISHED");
    check_cname(&["-> elsewhere.net | 198.51.100.1"], "MISMATCH CNAME_OTHER_TARGET");
    check_cname(&["-> elsewhere.net | -> nxdomain"], "MISMATCH CNAME_OTHER_TARGET");
    check_cname(&["-> ffffffffffffffff.eu-1.region.test"], "MISMATCH CNAME_OTHER_TARGET");
    check_cname(&["-> a1b2c3d4e5f6a7b8.us-1.region.test"], "MISMATCH CNAME_OTHER_TARGET");
    check_cname(&["a.net | b.net"], "MISMATCH CNAME_OTHER_TARGET");
    check_cname(
        &[&format!("-> {target}.example.com | -> nxdomain")],
        "MISMATCH CNAME_TARGET_DOUBLED",
    );
    check_cname(&["-> mta-sts.example.com | -> circle"], "MISMATCH CNAME_LOOP");
    check_cname(&["-> a.net | -> long"], "MISMATCH CNAME_CHAIN_LONG");
    check_cname(&["203.0.113.9"], "MISMATCH A_RECORD");
    check_cname(&["192.0.2.81 | 203.0.113.9"], "MISMATCH A_RECORD");
}

#[test]
fn what_reaches_the_region_without_our_target_is_live_only_once_proven() {
    let unproven = Expected { proven: false, ..expected() };
    check_cname_of(&expected(), &["192.0.2.81 | 2001:db8::81"], "LIVE FLATTENED");
    check_cname_of(&unproven, &["192.0.2.81"], "MISMATCH FLATTENED");
    check_cname_of(&expected(), &["-> eu-1.region.test"], "LIVE");
    check_cname_of(&unproven, &["-> eu-1.region.test"], "MISMATCH CNAME_OTHER_TARGET");
    let through = "-> mta-sts.parent.com | -> a1b2c3d4e5f6a7b8.eu-1.region.test";
    check_cname_of(&expected(), &[through], "LIVE");
    check_cname_of(&unproven, &[through], "MISMATCH CNAME_OTHER_TARGET");
}

#[test]
fn the_tls_rpt_row_is_live_if_ours_is_one_of_the_targets() {
    check_tls_rpt(&[&format!("v=TLSRPTv1; rua={RUA}")], "LIVE");
    check_tls_rpt(&[&format!("v=TLSRPTv1;rua=https://x.example/r, {RUA};")], "LIVE");
    check_tls_rpt(&[&format!("-> rpt.other.net | v=TLSRPTv1; rua={RUA}")], "LIVE");
    check_tls_rpt(&["nodata"], "NOT_PUBLISHED");
    check_tls_rpt(&["v=TLSRPTv1; rua=mailto:a@b.example"], "MISMATCH TLSRPT_OTHER_RUA");
    check_tls_rpt(
        &["v=TLSRPTv1; rua=mailto:a@b.c | v=TLSRPTv1; rua=x:y"],
        "MISMATCH TLSRPT_MULTIPLE",
    );
    check_tls_rpt(&["v=TLSRPTv1;"], "MISMATCH BAD_SYNTAX");
    check_tls_rpt(&["v=TLSRPTv1 rua=mailto:a@b.example"], "MISMATCH BAD_SYNTAX");
    check_tls_rpt(&["v=tlsrptv1; rua=mailto:a@b.example"], "MISMATCH WRONG_CASE");
    check_tls_rpt(&["\"v=TLSRPTv1; rua=mailto:a@b.example\""], "MISMATCH QUOTES_IN_VALUE");
    check_tls_rpt(&[r"v=TLSRPTv1\; rua=mailto:a@b.example"], "MISMATCH BACKSLASH_SEMICOLON");
    check_tls_rpt(&["v=spf1 -all"], "MISMATCH NO_TLSRPT_RECORD");
}

#[test]
fn somebody_elses_report_targets_are_never_dropped() {
    let sentence = |text_value: &str| {
        let tls_rpt = Sight { servers: all_said(&[text_value], text), resolvers: Vec::new() };
        let seen = Seen { tls_rpt, ..Seen::default() };
        match outcome(Kind::TlsRpt, &expected(), &seen, &Probes::default()) {
            Outcome::Known(verdict) => verdict.hint.unwrap().sentence,
            unknown => panic!("{unknown:?}"),
        }
    };
    let merged = format!("publish: v=TLSRPTv1; rua=mailto:a@b.example,{RUA}");
    assert!(sentence("v=TLSRPTv1; rua=mailto:a@b.example").contains(&merged));
    let two = sentence("v=TLSRPTv1; rua=mailto:a@b.c | v=TLSRPTv1; rua=mailto:d@e.f,mailto:a@b.c");
    assert!(two.contains(&format!("rua=mailto:a@b.c,mailto:d@e.f,{RUA}")), "{two}");
}

#[test]
fn a_region_without_a_mailbox_and_a_policy_not_yet_served_have_nothing_to_publish() {
    let young = Expected { policy_id: None, reports_uri: None, ..expected() };
    let servers = all_said(&["v=STSv1; id=someoneelse;"], text);
    let seen = Seen { sts: Sight { servers, resolvers: Vec::new() }, ..Seen::default() };
    let rpt = outcome(Kind::TlsRpt, &young, &seen, &Probes::default());
    assert_eq!(summary(&rpt), "REGION_INTAKE_NOT_CONFIGURED");
    let sts = outcome(Kind::Sts, &young, &seen, &Probes::default());
    assert_eq!(summary(&sts), "NOT_PUBLISHED WAITING_FOR_EDGES");
    let Outcome::Known(verdict) = sts else { panic!("{sts:?}") };
    assert_eq!(verdict.found, "v=STSv1; id=someoneelse;");
}

#[test]
fn resolvers_add_a_remark_and_decide_only_over_dnssec() {
    let check = |resolvers: &[&str], wanted: &str| {
        let servers = all_said(&["v=STSv1; id=abc123;"], text);
        let sts = Sight { servers, resolvers: all_said(resolvers, text) };
        let seen = Seen { sts, ..Seen::default() };
        let found = outcome(Kind::Sts, &expected(), &seen, &Probes::default());
        assert_eq!(summary(&found), wanted, "{resolvers:?}");
    };
    check(&["v=STSv1; id=abc123;", "timeout"], "LIVE");
    check(&["v=STSv1; id=old1;"], "LIVE CACHED_OLD");
    check(&["nxdomain"], "LIVE NEGATIVE_CACHE");
    check(&["timeout", "servfail"], "LIVE");
    check(&["bogus", "timeout"], "? DNSSEC_BOGUS");
    check(&["bogus", "v=STSv1; id=abc123;"], "LIVE");
}

#[test]
fn a_record_in_the_wrong_place_is_pointed_at() {
    let sts_text = || vec![b"v=STSv1; id=abc123;".to_vec()];
    let check = |kind: Kind, sts: &str, probes: &Probes, wanted: &str| {
        let sight =
            |servers: &[&str]| Sight { servers: all_said(servers, text), ..Sight::default() };
        let seen = Seen {
            cname: sight(&["nxdomain"]),
            sts: sight(&[sts]),
            tls_rpt: sight(&["nxdomain"]),
            ..Seen::default()
        };
        assert_eq!(summary(&outcome(kind, &expected(), &seen, probes)), wanted, "{probes:?}");
    };
    let none = Probes::default();
    check(Kind::Sts, "nxdomain", &none, "NOT_PUBLISHED");
    let apex = Probes { at_apex: sts_text(), ..Probes::default() };
    check(Kind::Sts, "nxdomain", &apex, "NOT_PUBLISHED AT_APEX");
    check(Kind::TlsRpt, "nxdomain", &apex, "NOT_PUBLISHED");
    let bare = Probes { without_underscore: sts_text(), ..Probes::default() };
    check(Kind::Sts, "nxdomain", &bare, "NOT_PUBLISHED UNDERSCORE_MISSING");
    let twice = Probes { appended_twice: vec![Kind::TlsRpt, Kind::Cname], ..Probes::default() };
    check(Kind::TlsRpt, "nxdomain", &twice, "NOT_PUBLISHED ZONE_APPENDED_TWICE");
    check(Kind::Cname, "nxdomain", &twice, "NOT_PUBLISHED ZONE_APPENDED_TWICE");
    let extra = "-> a1b2c3d4e5f6a7b8.eu-1.region.test | -> nodata";
    check(Kind::Cname, extra, &none, "NOT_PUBLISHED UNDERSCORE_EXTRA");
    let gone = Probes { domain_gone: true, ..Probes::default() };
    check(Kind::Cname, "nxdomain", &gone, "NOT_PUBLISHED DOMAIN_GONE");
}

#[test]
fn the_found_id_is_the_foreign_one_where_servers_differ() {
    let check = |servers: &[&str], wanted: Option<&str>| {
        let sts = Sight { servers: all_said(servers, text), resolvers: Vec::new() };
        let seen = Seen { sts, ..Seen::default() };
        assert_eq!(found_policy_id(&expected(), &seen).as_deref(), wanted, "{servers:?}");
    };
    check(&["v=STSv1; id=abc123;"], Some("abc123"));
    check(&["v=STSv1; id=abc123;", "v=STSv1; id=old1;"], Some("old1"));
    check(&["nxdomain", "v=STSv1; id=abc123;"], Some("abc123"));
    check(&["nxdomain", "timeout"], Some(""));
    check(&["v=STSv1; id=a; | v=STSv1; id=b;"], Some(""));
    check(&["timeout"], None);
}

#[test]
fn the_record_is_gone_only_if_every_server_says_so() {
    let check = |servers: &[&str], wanted: bool| {
        let sts = Sight { servers: all_said(servers, text), resolvers: Vec::new() };
        assert_eq!(sts_absent(&Seen { sts, ..Seen::default() }), wanted, "{servers:?}");
    };
    check(&["nxdomain", "nodata"], true);
    check(&["v=spf1 -all"], true);
    check(&["-> a.net | -> nodata"], true);
    check(&["-> a.net | -> bare"], false);
    check(&["nxdomain", "timeout"], false);
    check(&["nxdomain", "v=STSv1; id=abc123;"], false);
    check(&["v=stsv1; id=;"], false);
    check(&[], false);
}

#[test]
fn hostile_values_are_shown_escaped_and_cut() {
    assert_eq!(shown(&[b"a\r\nb\0\x1b[31m".to_vec()]), r"a\r\nb\0\u{1b}[31m");
    assert_eq!(shown(&[b"id=\xff\xfe \"x\\".to_vec()]), "id=\\xff\\xfe \"x\\");
    assert_eq!(shown(&["a\u{202e}b".into(), b"c".to_vec()]), r"a\u{202e}b, c");
    for long in ["x".repeat(60_000), "é".repeat(30_000)] {
        let cut = shown(&[long.into_bytes()]);
        assert!(cut.len() <= MAX_FOUND_BYTES && cut.ends_with('…'), "{}", cut.len());
    }
}

#[test]
fn nothing_foreign_gets_into_a_sentence_or_a_row_as_it_came() {
    let evil = "a\0b\r\n\x1b[31m\u{202e}c";
    let records = [
        format!("v=TLSRPTv1; rua=mailto:{evil}"),
        format!("v=TLSRPTv1; rua=x:{evil} | v=TLSRPTv1; rua=y:{evil},z:{evil}"),
        format!("v=STSv1; id={evil};"),
        format!("v=STSv1; id=a; {evil}=x;"),
        format!("v=STSx{evil}"),
        format!("-> {evil} | -> nodata"),
        format!("-> {evil} | -> circle"),
        format!("-> {evil}"),
        "-> x".repeat(2_000),
    ];
    for record in &records {
        let sight = |value| Sight { servers: all_said(&[record], value), resolvers: Vec::new() };
        let seen =
            Seen { cname: sight(host), sts: sight(text), tls_rpt: sight(text), ..Seen::default() };
        for (kind, outcome) in judge(&expected(), &seen, &Probes::default()) {
            let Outcome::Known(verdict) = outcome else { panic!("{outcome:?}") };
            let sentence = verdict.hint.map(|hint| hint.sentence).unwrap_or_default();
            for shown in [verdict.found, sentence] {
                let hidden = |c: char| c.is_control() || c == '\u{202e}';
                assert!(!shown.contains(hidden), "{kind:?}: {shown:?}");
                assert!(shown.len() <= MAX_FOUND_BYTES, "{kind:?}: {}", shown.len());
            }
        }
    }
    let malformed = Err(Failure::Malformed(evil.to_owned()));
    let servers = vec![("ns1.example.com".to_owned(), malformed)];
    let sts = Sight { servers, resolvers: Vec::new() };
    let seen = Seen { sts, ..Seen::default() };
    let unknown = outcome(Kind::Sts, &expected(), &seen, &Probes::default());
    let Outcome::Unknown { why, .. } = unknown else { panic!("{unknown:?}") };
    assert!(!why.contains(char::is_control), "{why:?}");
}

#[test]
fn a_proof_is_seen_in_the_alias_at_any_name_server_and_in_the_txt_at_all() {
    let target = "-> a1b2c3d4e5f6a7b8.eu-1.region.test";
    let check = |cname: &[&str], txt: &[&str], wanted: bool| {
        let cname = Sight { servers: all_said(cname, host), resolvers: Vec::new() };
        let seen = Seen { cname, proof: all_said(txt, text), ..Seen::default() };
        assert_eq!(proof_seen(&expected(), &seen), wanted, "{cname:?} {txt:?}", cname = seen.cname);
    };
    check(&["nxdomain", target], &[], true);
    check(&["nxdomain", &format!("-> mta-sts.parent.com | {target}")], &[], false);
    let txt = "v=x | dmarcer=a1b2c3d4e5f6a7b8";
    check(&["timeout"], &[txt, txt], true);
    check(&["timeout"], &["nodata", txt], false);
    check(&["timeout"], &["timeout", txt], false);
    check(&["timeout"], &["-> a.net | dmarcer=a1b2c3d4e5f6a7b8"], false);
    check(&["timeout"], &[&format!("{txt} | dmarcer=ffffffffffffffff")], false);
    check(&["-> ffffffffffffffff.eu-1.region.test"], &["dmarcer=ffffffffffffffff"], false);
    check(&["192.0.2.81"], &["nodata"], false);
}
