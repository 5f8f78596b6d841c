use proptest::prelude::*;

use super::*;
use crate::name::InvalidName;

/// A policy that parses, with `line` as its fourth line.
fn with_line(line: &str) -> String {
    format!("version: STSv1\nmode: testing\nmx: mail.example.com\n{line}\nmax_age: 86400\n")
}

#[test]
fn a_sender_reads_what_the_grammar_allows() {
    fn check(body: &str, mode: Mode, mx: &[&str], max_age_seconds: u32) {
        let mx = mx.iter().map(|text| text.parse().unwrap()).collect();
        let policy = Policy { mode, mx, max_age_seconds };
        assert_eq!(
            Policy::parse(body.as_bytes()),
            Ok(Parsed { policy, warnings: vec![] }),
            "{body:?}"
        );
    }
    // The example of RFC 8461 section 3.2.
    check(
        "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\n\
         mx: backupmx.example.com\nmax_age: 604800\n",
        Mode::Enforce,
        &["mail.example.com", "*.example.net", "backupmx.example.com"],
        604_800,
    );
    let one = &["a.example"];
    check(
        "version: STSv1\r\nmode: testing\r\nmx: a.example\r\nmax_age: 0\r\n",
        Mode::Testing,
        one,
        0,
    );
    check("version: STSv1\nmode: testing\r\nmx: a.example\nmax_age: 1", Mode::Testing, one, 1);
    check("max_age: 1\nmx: a.example\nmode: none\nversion: STSv1", Mode::None, one, 1);
    check("version:STSv1\nmode:none\nmx:a.example\nmax_age:1\n", Mode::None, one, 1);
    check("version: \tSTSv1 \t\nmode: none\t\r\nmx:  A.Example \nmax_age:\t1 ", Mode::None, one, 1);
    check(
        "version: STSv1\nmode: none\nmx: a.example\nmax_age: 0031557600",
        Mode::None,
        one,
        31_557_600,
    );
}

#[test]
fn what_senders_ignore_is_warned_of() {
    fn check(body: &str, expected: &[Warning]) {
        let parsed = Policy::parse(body.as_bytes()).unwrap();
        assert_eq!(parsed.warnings, expected, "{body:?}");
    }
    let unknown = |line, name: &str| Warning::UnknownField { line, name: name.to_owned() };
    let repeated = |line, name: &str| Warning::RepeatedField { line, name: name.to_owned() };

    check(&with_line("x-note.1_a: grüße, a=b; c: d"), &[unknown(4, "x-note.1_a")]);
    check(&with_line("Mode: enforce"), &[unknown(4, "Mode")]);
    check(&with_line("mode: enforce"), &[repeated(4, "mode")]);
    check(&with_line("mode: nonsense"), &[repeated(4, "mode")]);
    check(&with_line("version: STSv2\nb: 1"), &[repeated(4, "version"), unknown(5, "b")]);
    check(&with_line("max_age: 1"), &[repeated(5, "max_age")]);
    check(&with_line("mx: mail.example.com"), &[]);
    check("version: STSv1\nmode: none\nmax_age: 1\n", &[Warning::NoMx]);
}

#[test]
fn the_first_of_a_repeated_field_counts() {
    let body = with_line("mode: enforce\nversion: STSv9\nmax_age: 1");
    let policy = Policy::parse(body.as_bytes()).unwrap().policy;
    assert_eq!((policy.mode, policy.max_age_seconds), (Mode::Testing, 1));
}

#[test]
fn a_wrong_line_is_named() {
    fn check(line: &str, expected: LineError) {
        let expected = ParseError::Line { line: 4, wrong: expected };
        assert_eq!(Policy::parse(with_line(line).as_bytes()), Err(expected), "{line:?}");
    }
    check("", LineError::Blank);
    check(" \t", LineError::Blank);
    check("\r", LineError::Blank);
    check("\u{feff}a: b", LineError::ByteOrderMark);
    check("# a comment", LineError::NoColon);
    check("<html>", LineError::NoColon);
    check(": b", LineError::FieldName);
    check(" mx: b", LineError::FieldName);
    check("mx : b", LineError::FieldName);
    check("-a: b", LineError::FieldName);
    check("größe: b", LineError::FieldName);
    check(&format!("{}: b", "a".repeat(33)), LineError::FieldName);
    check("a:", LineError::NoValue);
    check("mx: \t", LineError::NoValue);
    check("a: b\tc", LineError::Control { found: '\t' });
    check("a: b\rc", LineError::Control { found: '\r' });
    check("a: b\r\r", LineError::Control { found: '\r' });
    check("a: \0", LineError::Control { found: '\0' });
    check(
        "mx: a.example b.example",
        InvalidMxPattern::from(InvalidName::Character { at: 9, found: ' ' }).into(),
    );
    check("mx: a.example.", InvalidMxPattern::from(InvalidName::EmptyLabel { at: 10 }).into());
    check("mx: 192.0.2.1", InvalidMxPattern::from(InvalidName::Address).into());
    check("mx: mx*.example", InvalidMxPattern::Wildcard { at: 2 }.into());
}

#[test]
fn a_wrong_value_is_named() {
    fn check(body: &str, line: usize, expected: LineError) {
        let expected = ParseError::Line { line, wrong: expected };
        assert_eq!(Policy::parse(body.as_bytes()), Err(expected), "{body:?}");
    }
    check("\u{feff}version: STSv1\n", 1, LineError::ByteOrderMark);
    check("version: STSv2\n", 1, LineError::Version);
    check("version: stsv1\n", 1, LineError::Version);
    check("version: STSv1\nmode: Enforce\n", 2, InvalidMode.into());
    check("version: STSv1\nmode: report\n", 2, InvalidMode.into());
    for age in ["31557601", "4294967296", "00000000001", "-1", "+1", "1.0", "1d", "1 2", "١"] {
        check(&format!("version: STSv1\nmax_age: {age}\n"), 2, LineError::MaxAge);
    }
    assert_eq!(
        Policy::parse(b"version: STSv1\nmode: \xff\n"),
        Err(ParseError::Line { line: 2, wrong: LineError::NotUtf8 }),
    );
    // A CR without LF ends no line, not even the last.
    check("version: STSv1\r", 1, LineError::Control { found: '\r' });
    check("version: STSv1\n\r\n", 2, LineError::Blank);
}

#[test]
fn what_is_missing_is_named() {
    fn check(body: &str, expected: ParseError) {
        assert_eq!(Policy::parse(body.as_bytes()), Err(expected), "{body:?}");
    }
    let missing = |field| ParseError::Missing { field };
    check("", missing("version"));
    check("mode: none\nmax_age: 1\n", missing("version"));
    check("version: STSv1\nMode: none\nmax_age: 1\n", missing("mode"));
    check("version: STSv1\nmode: none\n", missing("max_age"));
    check(
        "version: STSv1\nmode: enforce\nmax_age: 1\n",
        InvalidPolicy::NoMx { mode: Mode::Enforce }.into(),
    );
}

#[test]
fn a_file_ends_where_senders_stop_reading() {
    fn check(bytes: usize, expected: Result<(), ParseError>) {
        let padding = bytes - with_line("note: ").len();
        let body = with_line(&format!("note: {}", "x".repeat(padding)));
        assert_eq!(Policy::parse(body.as_bytes()).map(|_| ()), expected);
    }
    check(65_536, Ok(()));
    check(65_537, Err(ParseError::TooLong { bytes: 65_537 }));
}

#[test]
fn an_error_says_where_and_what_to_do() {
    fn check(body: &str, expected: &str) {
        assert_eq!(Policy::parse(body.as_bytes()).unwrap_err().to_string(), expected);
    }
    check(
        "version: STSv1\nmode: Testing\n",
        "line 2: no such mode: write enforce, testing or none, in lower case",
    );
    check(
        &with_line("mx: mail.exa_mple.com"),
        "line 4: '_' at byte 8 cannot stand in a host name: use letters, digits and hyphens, \
         and A-labels (xn--) for everything else",
    );
    check("", "there is no version: add a line that begins with version in lower case and a colon");
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let mode = prop_oneof![Just(Mode::Enforce), Just(Mode::Testing), Just(Mode::None)];
    let pattern = "(\\*\\.)?([a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?\\.){0,3}[a-z]{1,9}";
    let pattern = pattern.prop_map(|text| text.parse::<MxPattern>().unwrap());
    (mode, prop::collection::vec(pattern, 0..20), 0..=MAX_AGE_SECONDS)
        .prop_filter_map("no mx", |(mode, mx, max_age)| Policy::new(mode, mx, max_age).ok())
}

/// A policy file with its lines out of order and some more among them, right or wrong.
fn nearly_a_policy() -> impl Strategy<Value = String> {
    let needed = ["version: STSv1\n", "mode:testing\r\n", "mx: A.example \n", "max_age: \t01\n"];
    let extra = prop::sample::select(vec![
        "mx: *.b.example\n",
        "mode: none\n",
        "max_age: 2\r\n",
        "x: \u{fc}\n",
        "mx: 192.0.2.1\n",
        "\n",
        "x",
    ]);
    prop::collection::vec(extra, 0..4)
        .prop_map(move |extra| [needed.as_slice(), &extra].concat())
        .prop_shuffle()
        .prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn what_is_rendered_is_read_back(policy in any_policy()) {
        let parsed = Policy::parse(&policy.render()).unwrap();
        prop_assert_eq!(parsed.policy, policy);
    }

    #[test]
    fn any_bytes_are_judged(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Policy::parse(&body);
    }

    #[test]
    fn what_is_read_renders_to_the_same_policy(body in nearly_a_policy()) {
        if let Ok(parsed) = Policy::parse(body.as_bytes()) {
            let rendered = parsed.policy.render();
            let again = Policy::parse(&rendered).unwrap();
            prop_assert_eq!(&again.policy, &parsed.policy);
            prop_assert_eq!(again.policy.render(), rendered);
        }
    }
}
