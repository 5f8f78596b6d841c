use mta_sts::Mode;
use proptest::prelude::*;

use super::*;

fn domain() -> Domain {
    Domain::parse("example.com").unwrap()
}

fn live(hosts: &[(u16, &str)]) -> LiveMx {
    let host = |(preference, host): &(u16, &str)| MxHost {
        preference: *preference,
        host: (*host).to_owned(),
    };
    LiveMx::Hosts(hosts.iter().map(host).collect())
}

fn check(hosts: &[(u16, &str)], expected: &str) {
    let text = match mx_lines(&domain(), &live(hosts)) {
        Ok(lines) => {
            assert!(!lines.placeholder);
            crate::text::list(lines.patterns())
        }
        Err(refusal) => refusal.code().to_owned(),
    };
    assert_eq!(text, expected, "{hosts:?}");
}

#[test]
fn each_host_gets_a_line_in_order_of_preference() {
    check(&[(10, "mx.example.com")], "mx.example.com");
    check(&[(20, "a.example.com"), (10, "b.example.com")], "b.example.com, a.example.com");
    check(&[(10, "b.example.com"), (10, "a.example.com")], "a.example.com, b.example.com");
    check(&[(10, "MX.Example.COM.")], "mx.example.com");
    check(
        &[(10, "b.example.com."), (5, "a.example.com"), (1, "B.example.com")],
        "b.example.com, a.example.com",
    );
    check(&[(10, "example.com")], "example.com");
    check(
        &[
            (1, "aspmx.l.google.com"),
            (5, "alt2.aspmx.l.google.com"),
            (5, "alt1.aspmx.l.google.com"),
        ],
        "aspmx.l.google.com, alt1.aspmx.l.google.com, alt2.aspmx.l.google.com",
    );
}

#[test]
fn a_microsoft_365_tenant_becomes_the_wildcard_over_its_siblings() {
    check(&[(0, "example-com.mail.protection.outlook.com")], "*.mail.protection.outlook.com");
    check(&[(0, "Example-Com.Mail.Protection.Outlook.com.")], "*.mail.protection.outlook.com");
    check(&[(0, "example-com.h-v1.mx.microsoft")], "*.h-v1.mx.microsoft");
    check(&[(0, "x.mail.protection.office365.us")], "*.mail.protection.office365.us");
    check(&[(0, "x.mail.protection.partner.outlook.cn")], "*.mail.protection.partner.outlook.cn");
    check(
        &[(0, "a.mail.protection.outlook.com"), (5, "b.mail.protection.outlook.com")],
        "*.mail.protection.outlook.com",
    );
    check(&[(0, "mail.protection.outlook.com")], "mail.protection.outlook.com");
    check(&[(0, "evil-mail.protection.outlook.com")], "evil-mail.protection.outlook.com");
    check(
        &[(0, "x.mail.protection.outlook.com.example.net")],
        "x.mail.protection.outlook.com.example.net",
    );
}

#[test]
fn what_no_line_can_name_is_skipped_with_the_reason() {
    let hostile = [
        "192.0.2.1",
        "[192.0.2.1]",
        "2001:db8::1",
        "mx\r\nmode: none.example.com",
        "m x.example.com",
        "mx:25.example.com",
        "mx_1.example.com",
        "*.example.com",
        "localhost",
        "mx..example.com",
        "mx.example.com..",
        "müller.example",
        "mx\u{fffd}.example.com",
        "",
        ".",
        &format!("{}.example.com", "a".repeat(64)),
        &"a.".repeat(200),
    ];
    for host in hostile {
        check(&[(10, "mx.example.com"), (20, host)], "mx.example.com");
        let lines = mx_lines(&domain(), &live(&[(10, "mx.example.com"), (20, host)])).unwrap();
        let (shown, why) = &lines.skipped[0];
        assert!(shown.len() < 100 && !shown.contains(char::is_control), "{shown:?}");
        assert!(!why.is_empty() && !why.contains(char::is_control));
    }
    check(&[(10, "192.0.2.1"), (20, "localhost")], "MX_UNUSABLE");
}

#[test]
fn no_list_comes_of_null_mx_failure_or_too_many() {
    check(&[(0, ".")], "NULL_MX");
    check(&[(0, "")], "NULL_MX");
    let code = |live| mx_lines(&domain(), &live).unwrap_err().code();
    assert_eq!(code(LiveMx::Null), "NULL_MX");
    assert_eq!(code(LiveMx::Failed { why: "SERVFAIL".to_owned() }), "MX_LOOKUP_FAILED");
    let many = |count| {
        let host = |n| MxHost { preference: 10, host: format!("mx{n}.example.com") };
        LiveMx::Hosts((0..count).map(host).collect())
    };
    assert_eq!(code(many(MAX_MX_HOSTS + 1)), "TOO_MANY_MX");
    assert_eq!(mx_lines(&domain(), &many(MAX_MX_HOSTS)).unwrap().lines.len(), MAX_MX_HOSTS);
}

#[test]
fn without_mx_the_domain_itself_holds_the_place() {
    for live in [LiveMx::None, LiveMx::Hosts(Vec::new())] {
        let lines = mx_lines(&domain(), &live).unwrap();
        assert!(lines.placeholder);
        assert_eq!(crate::text::list(lines.patterns()), "example.com");
        assert_eq!(lines.lines[0].because, Because::Placeholder);
    }
}

#[test]
fn live_hosts_outside_the_policy_are_named() {
    fn check(patterns: &[&str], hosts: &[(u16, &str)], expected: &[&str]) {
        let mx = patterns.iter().map(|p| p.parse().unwrap()).collect();
        let policy = Policy::new(Mode::Enforce, mx, 86_400).unwrap();
        assert_eq!(uncovered(&policy, &live(hosts)), expected);
    }
    check(&["mx.example.com"], &[(10, "MX.example.com.")], &[]);
    check(
        &["*.example.com"],
        &[(10, "mx.example.com"), (20, "a.b.example.com")],
        &["a.b.example.com"],
    );
    check(
        &["mx.example.com"],
        &[(20, "x.example.net"), (10, "y.example.net.")],
        &["y.example.net", "x.example.net"],
    );
    check(&["mx.example.com"], &[(10, "a\r\nb")], &[r"a\r\nb"]);
}

proptest! {
    #[test]
    fn whatever_dns_says_the_lines_cover_it_or_say_why_not(
        hosts in prop::collection::vec((0..3_u16, host()), 0..12),
    ) {
        let live = LiveMx::Hosts(
            hosts.into_iter().map(|(preference, host)| MxHost { preference, host }).collect(),
        );
        if let Ok(lines) = mx_lines(&domain(), &live) {
            let policy = Policy::new(Mode::Enforce, lines.patterns(), 86_400).unwrap();
            let bare = |name: &str| name.trim_end_matches('.').to_owned();
            let left = uncovered(&policy, &live);
            for host in &left {
                prop_assert!(lines.skipped.iter().any(|(skipped, _)| {
                    bare(skipped).eq_ignore_ascii_case(&bare(host))
                }), "{host} of {lines:?}");
            }
            // A body can be read back: nothing in a name breaks a line.
            let body = String::from_utf8(policy.render()).unwrap();
            prop_assert_eq!(body.lines().count(), 3 + lines.lines.len());
        }
    }
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{1,2}\\.(example\\.com|mx\\.microsoft|mail\\.protection\\.outlook\\.com)\\.?",
        "[A-Za-z0-9_ .:*-]{0,12}",
        any::<String>().prop_map(|s| s.chars().take(12).collect()),
    ]
}
