use proptest::prelude::*;

use super::*;
use crate::limits::{MAX_DETAILS, MAX_LINES, MAX_TEXT_BYTES};
use crate::oddity::Oddity::{self, *};

/// A right report, one field to a line, so that a case can say which line it replaces.
const RIGHT: &str = r#"{
"organization-name": "Company-X",
"date-range": {"start-datetime": "2026-02-03T00:00:00Z", "end-datetime": "2026-02-03T23:59:59Z"},
"contact-info": "sts-reporting@company-x.example",
"report-id": "5065427c",
"policies": [{
"policy": {
"policy-type": "sts",
"policy-string": ["version: STSv1", "mode: testing"],
"policy-domain": "company-y.example",
"mx-host": ["*.mail.company-y.example"]
},
"summary": {
"total-successful-session-count": 5326,
"total-failure-session-count": 303
},
"failure-details": [{
"result-type": "certificate-expired",
"sending-mta-ip": "2001:db8:abcd:0012::1",
"receiving-mx-hostname": "mx1.mail.company-y.example",
"receiving-mx-helo": "mx1",
"receiving-ip": "203.0.113.56",
"failed-session-count": 100,
"additional-information": "https://reports.company-x.example/1",
"failure-reason-code": "X509_V_ERR"
}]
}]
}"#;

/// The right report with the line of field `name` replaced by `line`, which may be empty.
fn with(name: &str, line: &str) -> String {
    let begins = format!("\"{name}\":");
    let at = RIGHT.lines().position(|line| line.starts_with(&begins)).expect("a field");
    let mut lines: Vec<&str> = RIGHT.lines().collect();
    // Without a line, the comma before it goes, too, where no other field follows.
    if line.is_empty() && !lines[at].ends_with(',') {
        lines[at - 1] = lines[at - 1].trim_end_matches(',');
    }
    lines[at] = line;
    let comma = RIGHT.lines().nth(at).is_some_and(|line| line.ends_with(','));
    let line = if comma && !line.is_empty() { format!("{line},") } else { line.to_owned() };
    lines[at] = &line;
    lines.join("\n")
}

fn right() -> Report {
    let parsed = Report::parse(RIGHT).unwrap();
    assert!(parsed.oddities.is_empty(), "{:?}", parsed.oddities);
    parsed.report
}

#[test]
fn every_field_of_a_right_report_is_read() {
    let report = right();
    assert_eq!(report.organization_name.as_deref(), Some("Company-X"));
    assert_eq!(report.date_range.start.to_string(), "2026-02-03T00:00:00Z");
    assert_eq!(report.date_range.end.to_string(), "2026-02-03T23:59:59Z");
    assert_eq!(report.contact_info.as_deref(), Some("sts-reporting@company-x.example"));
    assert_eq!(report.report_id, "5065427c");
    let [outcome] = report.policies.as_slice() else { panic!("one policy") };
    assert_eq!(outcome.policy.kind, PolicyType::Sts);
    assert_eq!(outcome.policy.lines, ["version: STSv1", "mode: testing"]);
    assert_eq!(outcome.policy.domain.as_deref(), Some("company-y.example"));
    assert_eq!(outcome.policy.mx_hosts, ["*.mail.company-y.example"]);
    assert_eq!(outcome.sessions, Sessions { successful: 5326, failed: 303 });
    let [failure] = outcome.failures.as_slice() else { panic!("one failure") };
    let text = |text: &str| Some(text.to_owned());
    let expected = Failure {
        result_type: ResultType::CertificateExpired,
        sending_mta_ip: text("2001:db8:abcd:0012::1"),
        receiving_mx_hostname: text("mx1.mail.company-y.example"),
        receiving_mx_helo: text("mx1"),
        receiving_ip: text("203.0.113.56"),
        sessions: 100,
        additional_information: text("https://reports.company-x.example/1"),
        failure_reason_code: text("X509_V_ERR"),
    };
    assert_eq!(*failure, expected);
}

/// The right report with one line replaced reads as the right one changed by `change`, and is odd
/// in these ways.
#[track_caller]
fn check(name: &str, line: &str, oddities: &[Oddity], change: impl FnOnce(&mut Report)) {
    let json = with(name, line);
    let parsed = Report::parse(&json).unwrap_or_else(|why| panic!("{line}: {why}"));
    let mut expected = right();
    change(&mut expected);
    assert_eq!(parsed.report, expected, "{line}");
    assert_eq!(parsed.oddities.iter().collect::<Vec<_>>(), oddities, "{line}");
}

fn policy(report: &mut Report) -> &mut Policy {
    &mut report.policies[0].policy
}

fn failure(report: &mut Report) -> &mut Failure {
    &mut report.policies[0].failures[0]
}

#[test]
fn missing_fields_are_absent() {
    check("organization-name", "", &[], |r| r.organization_name = None);
    check("contact-info", "", &[], |r| r.contact_info = None);
    check("report-id", "", &[NoReportId], |r| r.report_id = String::new());
    check("policy-type", "", &[], |r| policy(r).kind = PolicyType::Other(String::new()));
    check("policy-string", "", &[], |r| policy(r).lines.clear());
    check("policy-domain", "", &[NoPolicyDomain], |r| policy(r).domain = None);
    // Google before 2020, and Microsoft.
    check("mx-host", "", &[], |r| policy(r).mx_hosts.clear());
    check("total-successful-session-count", "", &[], |r| r.policies[0].sessions.successful = 0);
    check("total-failure-session-count", "", &[], |r| r.policies[0].sessions.failed = 0);
    check("failed-session-count", "", &[], |r| failure(r).sessions = 0);
    check("result-type", "", &[], |r| failure(r).result_type = ResultType::Other(String::new()));
    // Microsoft and Mail.ru, where the policy could not be fetched.
    check("sending-mta-ip", "", &[], |r| failure(r).sending_mta_ip = None);
    check("receiving-mx-hostname", "", &[], |r| failure(r).receiving_mx_hostname = None);
    check("receiving-ip", "", &[], |r| failure(r).receiving_ip = None);
    // Google, where all is well.
    let json = RIGHT.replace("\"failure-details\"", "\"x\"");
    assert!(Report::parse(&json).unwrap().report.policies[0].failures.is_empty());
}

#[test]
fn null_and_empty_are_absent() {
    check("contact-info", r#""contact-info": null"#, &[], |r| r.contact_info = None);
    check("policy-string", r#""policy-string": null"#, &[], |r| policy(r).lines.clear());
    check("policy-string", r#""policy-string": []"#, &[], |r| policy(r).lines.clear());
    check("mx-host", r#""mx-host": [null, ""]"#, &[], |r| policy(r).mx_hosts.clear());
    check("mx-host", r#""mx-host": null"#, &[], |r| policy(r).mx_hosts.clear());
    check("sending-mta-ip", r#""sending-mta-ip": """#, &[], |r| failure(r).sending_mta_ip = None);
    check("receiving-ip", r#""receiving-ip": null"#, &[], |r| failure(r).receiving_ip = None);
    let zero = r#""failed-session-count": null"#;
    check("failed-session-count", zero, &[], |r| failure(r).sessions = 0);
    let json = RIGHT.replace("\"failure-details\": [{", "\"failure-details\": null, \"x\": [{");
    assert!(Report::parse(&json).unwrap().report.policies[0].failures.is_empty());
}

#[test]
fn lists_and_texts_stand_for_each_other() {
    let lines = |r: &mut Report, lines: &[&str]| {
        policy(r).lines = lines.iter().map(|line| (*line).to_owned()).collect();
    };
    // The example printed in RFC 8460, which erratum 6241 corrects.
    check("mx-host", r#""mx-host": "*.mail.company-y.example""#, &[UnusualShape], |_| {});
    check(
        "policy-string",
        r#""policy-string": "version: STSv1\r\nmode: testing\r\n""#,
        &[UnusualShape],
        |_| {},
    );
    check("policy-string", r#""policy-string": ["a\nb", 7]"#, &[UnusualShape], |r| {
        lines(r, &["a", "b", "7"]);
    });
    // Microsoft writes the records of DANE so.
    check("policy-string", r#""policy-string": ["[\"3 1 1 60\",\"3 1 1 83\"]"]"#, &[], |r| {
        lines(r, &["3 1 1 60", "3 1 1 83"]);
    });
    check("policy-string", r#""policy-string": ["[not a list"]"#, &[], |r| {
        lines(r, &["[not a list"]);
    });
    check("contact-info", r#""contact-info": ["a@b.example", "c"]"#, &[UnusualShape], |r| {
        r.contact_info = Some("a@b.example".to_owned());
    });
    check("report-id", r#""report-id": 17"#, &[UnusualShape], |r| r.report_id = "17".to_owned());
    check("policy-domain", r#""policy-domain": ["company-y.example"]"#, &[UnusualShape], |_| {});
    check("contact-info", r#""contact-info": {"a": [1, {}]}"#, &[UnusualShape], |r| {
        r.contact_info = None;
    });
    check("policy-domain", r#""policy-domain": 1"#, &[UnusualShape, NoPolicyDomain], |r| {
        policy(r).domain = None;
    });
}

#[test]
fn one_object_stands_for_a_list_of_one() {
    let one = RIGHT.replace("\"policies\": [{", "\"policies\": {").replace("}]\n}]\n}", "}]\n}\n}");
    let parsed = Report::parse(&one).unwrap();
    assert_eq!((parsed.report, parsed.oddities), (right(), [UnusualShape].into_iter().collect()));

    let one = RIGHT.replace("\"failure-details\": [{", "\"failure-details\": {");
    let one = one.replace("}]\n}]\n}", "}\n}]\n}");
    let parsed = Report::parse(&one).unwrap();
    assert_eq!((parsed.report, parsed.oddities), (right(), [UnusualShape].into_iter().collect()));

    let with_others = RIGHT.replace("\"policies\": [{", "\"policies\": [null, 7, {");
    let parsed = Report::parse(&with_others).unwrap();
    assert_eq!((parsed.report, parsed.oddities), (right(), [UnusualShape].into_iter().collect()));

    // An empty list is a report about nothing, which is what the sender says.
    let none = r#"{"date-range": {"start-datetime": 1, "end-datetime": 2}, "policies": []}"#;
    assert!(Report::parse(none).unwrap().report.policies.is_empty());
}

#[test]
fn counts_are_read_from_text_and_from_floats() {
    let name = "total-successful-session-count";
    let line = |count: &str| format!("\"{name}\": {count}");
    for count in ["\"5326\"", "\" 5326 \"", "5326.0", "5.326e3", "\"5326.0\"", "\"5.326e3\""] {
        check(name, &line(count), &[CountAsText], |_| {});
    }
    let zero = |r: &mut Report| r.policies[0].sessions.successful = 0;
    check(name, &line("\"\""), &[CountAsText], zero);
    check(name, &line("-0"), &[CountAsText], zero);
}

#[test]
fn huge_counts_stop_at_the_bound_and_say_so() {
    let name = "total-failure-session-count";
    let line = |count: &str| format!("\"{name}\": {count}");
    let most = |r: &mut Report| r.policies[0].sessions.failed = MAX_COUNT;
    check(name, &line(&MAX_COUNT.to_string()), &[], most);
    check(name, &line(&(MAX_COUNT + 1).to_string()), &[CountSaturated], most);
    check(name, &line("18446744073709551615"), &[CountSaturated], most);
    for count in ["18446744073709551616", "1e300", "\"99999999999999999999999\"", "\"1e30\""] {
        check(name, &line(count), &[CountAsText, CountSaturated], most);
    }
    check(name, &line("1e400"), &[Mended, CountAsText, CountSaturated], most);
    check(name, &line(&"9".repeat(400)), &[Mended, CountAsText, CountSaturated], most);
}

#[test]
fn what_counts_nothing_is_refused() {
    let counts = [
        "-5",
        "-1e400",
        "1.5",
        "-0.5",
        "true",
        "[]",
        "{}",
        "[5]",
        "\"-5\"",
        "\"1.5\"",
        "\"many\"",
        "\"inf\"",
        "\"NaN\"",
        "\"0x10\"",
        "\"5 sessions\"",
        "\"1e400\"",
    ];
    let fields =
        ["total-successful-session-count", "total-failure-session-count", "failed-session-count"];
    for name in fields {
        for count in counts {
            let refused = Report::parse(&with(name, &format!("\"{name}\": {count}")));
            let is_refused =
                matches!(&refused, Err(ReportError::BadCount { field, .. }) if *field == name);
            assert!(is_refused, "{name} {count}: {refused:?}");
        }
    }
}

#[test]
fn dates_are_read_as_they_come() {
    let range = |start: &str, end: &str| {
        format!(r#""date-range": {{"start-datetime": {start}, "end-datetime": {end}}}"#)
    };
    let end = |text: &'static str| move |r: &mut Report| r.date_range.end = text.parse().unwrap();
    let name = "date-range";
    // Microsoft in January 2023.
    let local = range("\"2026-02-03T00:00:00\"", "\"2026-02-03T23:59:59\"");
    check(name, &local, &[UnusualDate], |_| {});
    // Mail.ru, Stalwart, SocketLabs.
    let midnight = range("\"2026-02-03T00:00:00Z\"", "\"2026-02-04T00:00:00Z\"");
    check(name, &midnight, &[], end("2026-02-04T00:00:00Z"));
    let numbers = range("1770076800", "1770163199");
    check(name, &numbers, &[UnusualDate], |_| {});
    // An hour, a week; the reverse is read and doubted later.
    check(
        name,
        &range("\"2026-02-03T00:00:00Z\"", "\"2026-02-03T01:00:00Z\""),
        &[],
        end("2026-02-03T01:00:00Z"),
    );
    check(
        name,
        &range("\"2026-02-03T00:00:00Z\"", "\"2025-02-03T00:00:00Z\""),
        &[],
        end("2025-02-03T00:00:00Z"),
    );

    let refused = |line: &str| Report::parse(&with(name, line)).unwrap_err();
    assert_eq!(refused(""), ReportError::NoDates);
    assert_eq!(refused(r#""date-range": null"#), ReportError::NoDates);
    assert_eq!(refused(r#""date-range": {}"#), ReportError::NoDates);
    assert_eq!(refused(&range("\"\"", "1")), ReportError::NoDates);
    assert_eq!(refused(&range("1", "null")), ReportError::NoDates);
    let field = "end-datetime";
    let bad = |found: &str| ReportError::BadDate { field, found: found.to_owned() };
    assert_eq!(refused(&range("1", "\"to\\nmorrow\"")), bad("to morrow"));
    assert_eq!(refused(&range("1", "-1")), bad("-1"));
    assert_eq!(refused(&range("1", "18446744073709551615")), bad("18446744073709551615"));
}

#[test]
fn keys_in_other_spellings_are_known() {
    let host = "mx1.mail.company-y.example";
    // SocketLabs.
    let line = format!(r#""receiving-mx-host-name": "{host}""#);
    check("receiving-mx-hostname", &line, &[UnusualKey], |_| {});
    let line = r#""mx-host-pattern": ["*.mail.company-y.example"]"#;
    check("mx-host", line, &[UnusualKey], |_| {});
    let line = r#""additional-info-uri": "https://reports.company-x.example/1""#;
    check("additional-information", line, &[UnusualKey], |_| {});
    check("report-id", r#""Report-ID": "5065427c""#, &[UnusualKey], |_| {});
    check("report-id", r#""report_id": "5065427c""#, &[UnusualKey], |_| {});
    check("policy-type", r#""policy-type": "STS""#, &[], |_| {});
    let domain = r#""policy-domain": "Company-Y.Example.""#;
    check("policy-domain", domain, &[], |_| {});
}

#[test]
fn unknown_fields_are_skipped_and_unknown_words_stay() {
    check("report-id", r#""report-id": "5065427c", "x": {"y": [1, null, "z", true]}"#, &[], |_| {});
    check("result-type", r#""result-type": "Testing""#, &[], |r| {
        failure(r).result_type = ResultType::Other("Testing".to_owned());
    });
    check("policy-type", r#""policy-type": "tls""#, &[], |r| {
        policy(r).kind = PolicyType::Other("tls".to_owned());
    });
    check("sending-mta-ip", r#""sending-mta-ip": "a host""#, &[], |r| {
        failure(r).sending_mta_ip = Some("a host".to_owned());
    });
    // Microsoft, December 2025.
    check("failure-reason-code", r#""failure-reason-code": "MX_HOSTS_MISMATCH""#, &[], |r| {
        failure(r).failure_reason_code = Some("MX_HOSTS_MISMATCH".to_owned());
    });
}

#[test]
fn of_a_repeated_key_the_later_value_counts() {
    check("report-id", r#""report-id": "1", "report-id": "2""#, &[RepeatedKey], |r| {
        r.report_id = "2".to_owned();
    });
    let twice = format!("{{\"policies\": [{{}}, {{}}],{}", &RIGHT[1..]);
    let parsed = Report::parse(&twice).unwrap();
    assert_eq!((parsed.report, parsed.oddities), (right(), [RepeatedKey].into_iter().collect()));
    // Two unknown ones are not the same one.
    check("report-id", r#""x": 1, "y": 2, "report-id": "5065427c""#, &[], |_| {});
}

#[test]
fn texts_are_fit_to_be_shown() {
    // Postfix puts a whole EHLO answer there.
    check("receiving-mx-helo", r#""receiving-mx-helo": "mx1\r\n250 PIPELINING\u0000""#, &[], |r| {
        failure(r).receiving_mx_helo = Some("mx1  250 PIPELINING".to_owned());
    });
    let long = format!(r#""report-id": "{}""#, "x".repeat(4096));
    check("report-id", &long, &[TextCut], |r| r.report_id = "x".repeat(MAX_TEXT_BYTES));
    check("report-id", r#""report-id": "a\"b'; --<i>+""#, &[], |r| {
        r.report_id = "a\"b'; --<i>+".to_owned();
    });
    check("organization-name", "\"organization-name\": \"a\tb\"", &[Mended], |r| {
        r.organization_name = Some("a b".to_owned());
    });
    check("organization-name", r#""organization-name": "a\ud800b""#, &[Mended], |r| {
        r.organization_name = Some("a\u{fffd}b".to_owned());
    });
    check("policy-domain", r#""policy-domain": "bücher.example""#, &[], |r| {
        policy(r).domain = Some("bücher.example".to_owned());
    });
}

#[test]
fn lists_stop_at_their_bound() {
    let hosts = vec!["\"a.example\""; MAX_LINES + 1].join(",");
    check("mx-host", &format!("\"mx-host\": [{hosts}]"), &[ListCut], |r| {
        policy(r).mx_hosts = vec!["a.example".to_owned(); MAX_LINES];
    });
}

#[test]
fn what_is_no_report_is_refused() {
    fn check(json: &str, expected: ReportError) {
        assert_eq!(Report::parse(json), Err(expected), "{json:?}");
    }
    let at = |line, column| ReportError::NotJson { line, column };
    check("", ReportError::CutShort);
    check("{", ReportError::CutShort);
    check(&RIGHT[..RIGHT.len() - 20], ReportError::CutShort);
    check("unused", at(1, 1));
    check("{\n\"a\": tru}", at(2, 9));
    check("{'a': 1}", at(1, 2));
    check("{}", ReportError::NotAReport);
    check("[]", ReportError::NotAReport);
    check("[{\"policies\": []}]", ReportError::NotAReport);
    check("7", ReportError::NotAReport);
    check("null", ReportError::NotAReport);
    check("\"policies\"", ReportError::NotAReport);
    check("{\"policies\": null}", ReportError::NotAReport);
    check("{\"policies\": 7}", ReportError::NotAReport);
    check("{\"policies\": []}", ReportError::NoDates);
    check(&"[".repeat(10_000), ReportError::TooDeep);
    check(&format!("{{\"x\": {}", "[".repeat(10_000)), ReportError::TooDeep);
    check(&format!("{{\"x\": {}", "{\"a\":".repeat(10_000)), ReportError::TooDeep);
    check(&format!("{{\"report-id\": {}", "[".repeat(10_000)), ReportError::TooDeep);
    check(&format!("{{\"policies\": {}", "[".repeat(10_000)), ReportError::TooDeep);
    check(&format!("{{\"policies\": {}", "{\"policy\":".repeat(10_000)), ReportError::TooDeep);
    let deep_list = format!("{{\"policies\": [{{\"policy\": {{\"mx-host\": {}", "[".repeat(10_000));
    check(&deep_list, ReportError::TooDeep);
}

#[test]
fn nesting_that_some_extension_may_need_is_skipped() {
    let nested = format!(r#""report-id": "5065427c", "x": {}{}"#, "[".repeat(30), "]".repeat(30));
    check("report-id", &nested, &[], |_| {});
}

#[test]
fn more_policies_than_anybody_saw_are_refused() {
    let policies = |count| {
        let policies = vec!["{}"; count].join(",");
        format!(
            r#"{{"date-range": {{"start-datetime": 1, "end-datetime": 2}}, "policies": [{policies}]}}"#
        )
    };
    let parsed = Report::parse(&policies(MAX_POLICIES)).unwrap();
    assert_eq!(parsed.report.policies.len(), MAX_POLICIES);
    assert_eq!(Report::parse(&policies(MAX_POLICIES + 1)), Err(ReportError::TooManyPolicies));
}

#[test]
fn details_beyond_the_bound_are_summed_up() {
    let detail = r#"{"failed-session-count":2}"#;
    let details = vec![detail; MAX_DETAILS + 3].join(",");
    let json = format!(
        r#"{{"date-range": {{"start-datetime": 1, "end-datetime": 2}}, "policies": [{{
            "policy": {{"policy-domain": "a.example"}}, "failure-details": [{details}]}}]}}"#
    );
    let parsed = Report::parse(&json).unwrap();
    assert_eq!(parsed.report.policies[0].failures.len(), MAX_DETAILS);
    assert_eq!(parsed.left_out, LeftOut { details: 3, sessions: 6 });
    assert!(parsed.oddities.contains(DetailsLeftOut));
}

#[test]
fn what_follows_a_report_is_left_alone() {
    let parsed = Report::parse(&format!("{RIGHT}\n-- \nfooter")).unwrap();
    assert_eq!((parsed.report, parsed.oddities), (right(), [TrailingBytes].into_iter().collect()));
    let parsed = Report::parse(&format!("{RIGHT}\n \r\n")).unwrap();
    assert!(parsed.oddities.is_empty());
}

#[test]
fn sessions_add_up_within_a_type_and_not_across() {
    let outcome = |kind: &str, successful, failed| {
        let mut outcome = right().policies.remove(0);
        outcome.policy.kind = PolicyType::from_text(kind);
        outcome.sessions = Sessions { successful, failed };
        outcome
    };
    let mut report = right();
    // Two versions of a policy on one day, and the same sessions once more under DANE.
    report.policies = vec![
        outcome("sts", 3, 1),
        outcome("tlsa", 4, 0),
        outcome("STS", 1, 0),
        outcome("no-policy-found", 7, 2),
        outcome("tls", 1, MAX_COUNT),
        outcome("", 1, MAX_COUNT),
    ];
    let expected = Sums {
        sts: Sessions { successful: 4, failed: 1 },
        tlsa: Sessions { successful: 4, failed: 0 },
        no_policy_found: Sessions { successful: 7, failed: 2 },
        other: Sessions { successful: 2, failed: MAX_COUNT },
    };
    assert_eq!(report.sums(), expected);
    assert_eq!(Sums::of(&report.policies[..1]).sts, Sessions { successful: 3, failed: 1 });
}

#[test]
fn details_are_in_no_total() {
    let mut report = right();
    let mut failure = report.policies[0].failures[0].clone();
    failure.sessions = 1_000_000;
    report.policies[0].failures.push(failure);
    assert_eq!(report.sums().sts.failed, 303);
    let expected = [(&ResultType::CertificateExpired, 1_000_100)].into_iter().collect();
    assert_eq!(report.policies[0].results(), expected);
}

#[test]
fn the_contact_has_a_domain() {
    fn check(contact: Option<&str>, expected: Option<&str>) {
        let report = Report { contact_info: contact.map(str::to_owned), ..right() };
        assert_eq!(report.contact_domain().as_deref(), expected, "{contact:?}");
    }
    check(None, None);
    check(Some("tlsrpt-noreply@Microsoft.com"), Some("microsoft.com"));
    check(Some("mailto:a@x.example?subject=b"), Some("x.example"));
    check(Some("Postmaster <a@x.example.>"), Some("x.example"));
    check(Some("https://x.example/contact"), None);
    check(Some("nobody@"), None);
}

/// JSON of the shapes that reports have, right and wrong, and nested at random.
fn documents() -> impl Strategy<Value = String> {
    let keys = [
        "organization-name",
        "date-range",
        "start-datetime",
        "end-datetime",
        "contact-info",
        "report-id",
        "policies",
        "policy",
        "policy-type",
        "policy-string",
        "policy-domain",
        "mx-host",
        "summary",
        "total-successful-session-count",
        "total-failure-session-count",
        "failure-details",
        "result-type",
        "sending-mta-ip",
        "failed-session-count",
        "x",
        "Report-Id",
        "receiving-mx-host-name",
    ];
    let scalars = [
        "null",
        "true",
        "0",
        "7",
        "-1",
        "1.5",
        "1e400",
        "18446744073709551615",
        "\"\"",
        "\"sts\"",
        "\"12\"",
        "\"2026-02-03T00:00:00Z\"",
        "\"a\\ud800\\n\"",
        "\"[\\\"a\\\"]\"",
        "\"ü\"",
    ];
    let scalar = prop::sample::select(scalars.to_vec()).prop_map(str::to_owned);
    scalar.prop_recursive(6, 60, 6, move |inner| {
        let list = prop::collection::vec(inner.clone(), 0..5)
            .prop_map(|items| format!("[{}]", items.join(",")));
        let field = (prop::sample::select(keys.to_vec()), inner);
        let object = prop::collection::vec(field, 0..8).prop_map(|fields| {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            format!("{{{}}}", fields.join(","))
        });
        prop_oneof![list, object.boxed()]
    })
}

fn stays_the_same(report: &Report) {
    let again = Report::parse(&report.to_json()).unwrap();
    assert_eq!(again.report, *report);
    assert_eq!(again.report.to_json(), report.to_json());
}

#[test]
fn a_report_that_is_written_reads_the_same() {
    stays_the_same(&right());
}

proptest! {
    #[test]
    fn any_document_is_judged_and_reads_the_same_when_written(inner in documents()) {
        let _ = Report::parse(&inner);
        let range = r#""date-range":{"start-datetime":1,"end-datetime":2}"#;
        if let Ok(parsed) = Report::parse(&format!("{{{range},\"policies\":[{inner}]}}")) {
            stays_the_same(&parsed.report);
        }
    }

    #[test]
    fn any_change_of_a_byte_is_judged(at in 0..RIGHT.len(), with in any::<char>()) {
        let changed = format!("{}{with}{}", &RIGHT[..at], &RIGHT[at + 1..]);
        if let Ok(parsed) = Report::parse(&changed) {
            stays_the_same(&parsed.report);
        }
    }

    #[test]
    fn any_text_is_judged(text in ".{0,200}") {
        let _ = Report::parse(&text);
    }

    #[test]
    fn sums_stay_in_bounds(counts in prop::collection::vec((any::<u64>(), any::<u64>()), 0..20)) {
        let mut all = Sessions::default();
        for (successful, failed) in counts {
            all.add(Sessions { successful, failed });
        }
        prop_assert!(all.successful <= MAX_COUNT && all.failed <= MAX_COUNT);
    }
}
