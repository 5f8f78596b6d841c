use proptest::prelude::*;

use super::*;

fn check(input: &str, expected: Result<&str, DomainProblem>) {
    let parsed = Domain::parse(input).map(|d| d.0).map_err(|e| e.reason);
    assert_eq!(parsed.as_deref().map_err(Clone::clone), expected, "{input:?}");
}

#[test]
fn one_domain_has_one_spelling() {
    check("example.com", Ok("example.com"));
    check("EXAMPLE.Com", Ok("example.com"));
    check("example.com.", Ok("example.com"));
    check(" \t example.com\r\n", Ok("example.com"));
    check("müller.example", Ok("xn--mller-kva.example"));
    check("MÜLLER.example", Ok("xn--mller-kva.example"));
    check("mu\u{308}ller.example", Ok("xn--mller-kva.example"));
    check("xn--mller-kva.example", Ok("xn--mller-kva.example"));
    check("XN--MLLER-KVA.example", Ok("xn--mller-kva.example"));
    check("example。com", Ok("example.com"));
    check("example．com｡", Ok("example.com"));
    check("ｅｘａｍｐｌｅ.com", Ok("example.com"));
    check("straße.example", Ok("xn--strae-oqa.example"));
    check("strasse.example", Ok("strasse.example"));
    check("βόλος.example", Ok("xn--nxasmm1c.example"));
    check("日本語。jp", Ok("xn--wgv71a119e.jp"));
}

#[test]
fn domains_of_all_sorts_are_taken() {
    check("mail.example.co.uk", Ok("mail.example.co.uk"));
    check("example.test", Ok("example.test"));
    check("a.b.example.test", Ok("a.b.example.test"));
    check("1.example", Ok("1.example"));
    check("123.com", Ok("123.com"));
    check("0x7f.com", Ok("0x7f.com"));
    check("me.github.io", Ok("me.github.io"));
    check("a--b-c.example", Err(DomainProblem::Hyphen).or(Ok("a--b-c.example")));
    check("mta-sts.com", Ok("mta-sts.com"));
    check("mta-sts.co.uk", Ok("mta-sts.co.uk"));
    check("my-mta-sts.example.com", Ok("my-mta-sts.example.com"));
}

#[test]
fn what_is_no_domain_is_refused_with_what_to_enter() {
    use DomainProblem::*;
    let public = |s: &str| Err(PublicSuffix { suffix: s.to_owned() });
    let private = |s: &str| Err(PrivateSuffix { suffix: s.to_owned() });
    let host = |d: &str| Err(PolicyHost { domain: d.to_owned() });
    let hidden = |code| Err(Invisible { code });

    check("", Err(Empty));
    check(" \n", Err(Empty));
    check(".", Err(EmptyLabel));
    check("https://example.com/", Err(Url));
    check("example.com/path", Err(Url));
    check("//example.com", Err(Url));
    check("example.com?x", Err(Url));
    check("someone@example.com", Err(EmailAddress));
    check("mailto:someone@example.com", Err(EmailAddress));
    check("example.com:443", Err(Port));
    check("192.0.2.1", Err(IpAddress));
    check("192.0.2.1.", Err(IpAddress));
    check("１９２．０．２．１", Err(IpAddress));
    check("127.1", Err(IpAddress));
    check("0x7f.1", Err(IpAddress));
    check("1.0x7f", Err(IpAddress));
    check("2130706433", Err(IpAddress));
    check("2001:db8::1", Err(IpAddress));
    check("[2001:db8::1]", Err(IpAddress));
    check("fe80::1%eth0", Err(IpAddress));
    check("com", Err(SingleLabel));
    check("localhost", Err(SingleLabel));
    check("co.uk", public("co.uk"));
    check("foo.ck", public("foo.ck"));
    check("公司.cn", public("xn--55qx5d.cn"));
    check("github.io", private("github.io"));
    check("_dmarc.example.com", Err(Underscore));
    check("＿dmarc.example.com", Err(Underscore));
    check("*.example.com", Err(Wildcard));
    check("mta-sts.example.com", host("example.com"));
    check("MTA-STS.Example.com.", host("example.com"));
    check("mta-sts.mta-sts.example.com", host("example.com"));
    check("mta-sts.mta-sts.com", host("mta-sts.com"));
    check("example..com", Err(EmptyLabel));
    check(".example.com", Err(EmptyLabel));
    check("example.com..", Err(EmptyLabel));
    check("-example.com", Err(Hyphen));
    check("example-.com", Err(Hyphen));
    check("ab--cd.com", Err(Hyphen));
    check("exam ple.com", Err(Blank));
    check("example.com\r\nx", Err(Blank));
    check("exam\u{a0}ple.com", Err(Blank));
    check("example.com\0", hidden(0));
    check("exam\u{200d}ple.com", hidden(0x200d));
    check("exam\u{200c}ple.com", hidden(0x200c));
    check("\u{202e}example.com", hidden(0x202e));
    check("exam\u{ad}ple.com", hidden(0xad));
    check("\u{feff}example.com", hidden(0xfeff));
    check("exam!ple.com", Err(Character));
    check("example.com; drop table", Err(Blank));
    check("<b>.example.com", Err(Character));
    check("exam\u{fffd}ple.com", Err(Character));
    check("xn--.example", Err(Punycode));
    check("xn--example-.com", Err(Punycode)); // decodes to ASCII
    check("xn--99999999999.example", Err(Punycode));
    check("א1a.example", Err(Character)); // right-to-left label with a Latin letter
}

#[test]
fn lengths_leave_room_for_the_names_below() {
    let label = "a".repeat(63);
    let name = |last: usize| format!("{label}.{label}.{label}.{}.com", "b".repeat(last));
    let longest = name(MAX_DOMAIN_BYTES - 3 * 64 - 4);
    check(&longest, Ok(&longest));
    check(&name(MAX_DOMAIN_BYTES + 1 - 3 * 64 - 4), Err(DomainProblem::TooLong));
    check(&name(60), Err(DomainProblem::TooLong));
    check(&"a.".repeat(9_999_999), Err(DomainProblem::TooLong));
    check(&format!("{label}a.com"), Err(DomainProblem::LongLabel));

    let domain = Domain::parse(&longest).unwrap();
    let names =
        [domain.policy_host(), domain.record_name(), domain.tls_rpt_name(), domain.proof_name()];
    assert!(names.iter().all(|n| n.len() <= 253));
}

#[test]
fn a_refusal_repeats_little_of_a_hostile_text() {
    let error = Domain::parse(&format!("\u{202e}\u{1b}[31m{}", "x".repeat(9_999))).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(r#"cannot use "\u{202e}\u{1b}[31mxxx"#), "{text}");
    assert!(text.chars().count() < 300 && !text.contains(char::is_control), "{text}");
}

#[test]
fn the_names_below_a_domain() {
    let domain = Domain::parse("müller.example").unwrap();
    assert_eq!(domain.unicode(), "müller.example");
    assert_eq!(domain.policy_host(), "mta-sts.xn--mller-kva.example");
    assert_eq!(domain.record_name(), "_mta-sts.xn--mller-kva.example");
    assert_eq!(domain.tls_rpt_name(), "_smtp._tls.xn--mller-kva.example");
    assert_eq!(domain.proof_name(), "_dmarcer.xn--mller-kva.example");
}

#[test]
fn a_name_that_hides_a_joiner_is_shown_in_a_labels() {
    // Valid in Persian, and not to be seen.
    let domain = Domain::parse("xn--mgba3gch31f060k.example").unwrap();
    assert_eq!(domain.unicode(), domain.as_str());
}

#[test]
fn a_look_alike_is_noticed() {
    fn check(input: &str, expected: bool) {
        assert_eq!(Domain::parse(input).unwrap().looks_mixed_script(), expected, "{input}");
    }
    check("paypal.com", false);
    check("pаypal.com", true);
    check("пример.com", false);
}

proptest! {
    #[test]
    fn canonical_is_a_fixed_point(input in text()) {
        if let Ok(domain) = Domain::parse(&input) {
            prop_assert_eq!(Domain::parse(domain.as_str()), Ok(domain.clone()));
            prop_assert_eq!(Domain::parse(&format!(" {domain}. ")), Ok(domain.clone()));
            prop_assert!(domain.as_str().len() <= MAX_DOMAIN_BYTES);
            prop_assert!(domain.as_str().split('.').count() >= 2);
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
            prop_assert!(domain.as_str().bytes().all(plain));
        }
    }

    #[test]
    fn the_readable_form_names_the_same_domain(input in text()) {
        if let Ok(domain) = Domain::parse(&input) {
            prop_assert_eq!(Domain::parse(&domain.unicode()), Ok(domain));
        }
    }
}

/// Names, nearly names, and anything.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9äßΣ日я-]{1,12}(\\.[a-zA-Z0-9äßΣς-]{1,12}){0,3}[.。]{0,2}",
        "(xn--[a-z0-9-]{1,12}\\.){1,2}[a-z]{2,6}",
        "\\PC{0,40}\\.com",
        any::<String>(),
    ]
}
