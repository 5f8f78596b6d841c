use proptest::prelude::*;

use super::*;

fn rua(parsed: &ParsedRecord) -> Vec<&str> {
    parsed.record.rua.iter().map(Target::as_str).collect()
}

#[test]
fn a_record_is_read_by_its_grammar() {
    fn check(txt: &str, expected: &[&str]) {
        let parsed = Record::parse(txt).unwrap();
        assert_eq!(rua(&parsed), expected, "{txt:?}");
        assert!(parsed.is_strict(), "{txt:?}: {:?}", parsed.warnings);
    }
    // The examples of RFC 8460 section 3.1.
    check("v=TLSRPTv1;rua=mailto:reports@example.com", &["mailto:reports@example.com"]);
    check(
        "v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt",
        &["https://reporting.example.com/v1/tlsrpt"],
    );
    check("v=TLSRPTv1; rua=mailto:a@x.example;", &["mailto:a@x.example"]);
    check("v=TLSRPTv1;\t rua=mailto:a@x.example \t; ", &["mailto:a@x.example"]);
    check(
        "v=TLSRPTv1; rua=mailto:a@x.example , https://x.example/r",
        &["mailto:a@x.example", "https://x.example/r"],
    );
    check("v=TLSRPTv1; rua=mailto:a%2Cb@x.example", &["mailto:a%2Cb@x.example"]);
    check("v=TLSRPTv1; x=1; rua=mailto:a@x.example; y=2", &["mailto:a@x.example"]);
    check(
        "v=TLSRPTv1; rua=mailto:a@x.example; rua=mailto:b@x.example",
        &["mailto:a@x.example", "mailto:b@x.example"],
    );
}

#[test]
fn what_only_lenient_senders_read_is_told_apart() {
    fn check(txt: &str, expected: &[&str], warning: Warning) {
        let parsed = Record::parse(txt).unwrap();
        assert_eq!(rua(&parsed), expected, "{txt:?}");
        assert_eq!(parsed.warnings, [warning], "{txt:?}");
        assert!(!parsed.is_strict(), "{txt:?}");
    }
    let a = "mailto:a@x.example";
    let text = str::to_owned;

    check(
        "v=TLSRPTv1; rua=mailto:a@x.example!10m",
        &[a],
        Warning::SizeSuffix { target: text("mailto:a@x.example!10m") },
    );
    check("v=TLSRPTv1; rua=a@x.example", &[a], Warning::NoScheme { target: text("a@x.example") });
    check(
        "v=TLSRPTv1; rua=mailto:a@x.example mailto:b@x.example,mailto:a@x.example",
        &[a],
        Warning::BadTarget {
            found: text("mailto:a@x.example mailto:b@x.example"),
            wrong: InvalidTarget::Character { found: ' ' },
        },
    );
    check("v=TLSRPTv1; rua=mailto:a@x.example,", &[a], Warning::EmptyTarget);
    check("v=TLSRPTv1; rua=,mailto:a@x.example", &[a], Warning::EmptyTarget);
    check("v=TLSRPTv1; rua= mailto:a@x.example", &[a], Warning::RuaForm);
    check("v=TLSRPTv1; RUA=mailto:a@x.example", &[a], Warning::RuaForm);
    check("v=TLSRPTv1; rua =mailto:a@x.example", &[a], Warning::RuaForm);
    check("v=TLSRPTv1;; rua=mailto:a@x.example", &[a], Warning::BadField { found: text("") });
    check("v=TLSRPTv1; rua=mailto:a@x.example;;", &[a], Warning::BadField { found: text("") });
    check("v=TLSRPTv1; rua=mailto:a@x.example; x", &[a], Warning::BadField { found: text("x") });
    check(
        "v=TLSRPTv1; rua=mailto:a@x.example; x=1=2",
        &[a],
        Warning::BadField { found: text("x=1=2") },
    );
}

#[test]
fn what_all_senders_read_and_nobody_meant_is_warned_of() {
    fn check(txt: &str, targets: usize, warning: Warning) {
        let parsed = Record::parse(txt).unwrap();
        assert_eq!(parsed.record.rua.len(), targets, "{txt:?}");
        assert_eq!(parsed.warnings, [warning], "{txt:?}");
        assert!(parsed.is_strict(), "{txt:?}");
    }
    let http = Warning::UnknownScheme { target: "http://x.example/r".to_owned() };
    check("v=TLSRPTv1; rua=http://x.example/r", 1, http);
    check("v=TLSRPTv1; rua=mailto:a@x.example; rua=mailto:b@x.example", 2, Warning::RepeatedRua);
    let unknown = Warning::UnknownField { name: "ruf".to_owned() };
    check("v=TLSRPTv1; rua=mailto:a@x.example; ruf=mailto:b@x.example", 1, unknown);
    let many = format!("v=TLSRPTv1; rua={}", ["mailto:a@x.example"; 40].join(","));
    check(&many, MAX_TARGETS, Warning::TooManyTargets);
}

#[test]
fn a_wrong_record_is_explained() {
    fn check(txt: &str, expected: RecordError) {
        assert_eq!(Record::parse(txt), Err(expected), "{txt:?}");
    }
    check("", RecordError::MissingVersion);
    check("v=spf1 -all", RecordError::MissingVersion);
    check("v=TLSRPTv2; rua=mailto:a@x.example", RecordError::MissingVersion);
    check("v=TLSRPTv10; rua=mailto:a@x.example", RecordError::MissingVersion);
    check("rua=mailto:a@x.example; v=TLSRPTv1", RecordError::MissingVersion);
    check("V=TLSRPTV1; rua=mailto:a@x.example", RecordError::WrongCase);
    check(" v=TLSRPTv1; rua=mailto:a@x.example", RecordError::NotAtBeginning);
    check("\"v=TLSRPTv1; rua=mailto:a@x.example\"", RecordError::NotAtBeginning);
    check("v=TLSRPTv1 ; rua=mailto:a@x.example", RecordError::SpaceBeforeSemicolon);
    check("v=TLSRPTv1", RecordError::NoSemicolon);
    check("v=TLSRPTv1 rua=mailto:a@x.example", RecordError::NoSemicolon);
    check("v=TLSRPTv1, rua=mailto:a@x.example", RecordError::NoSemicolon);
    check("v=TLSRPTv1\\; rua=mailto:a@x.example", RecordError::NoSemicolon);
    check("v=TLSRPTv1;\u{a0}rua=mailto:a@x.example", RecordError::NotAscii { at: 11 });
    check("v=TLSRPTv1;", RecordError::MissingRua);
    check("v=TLSRPTv1; x=1", RecordError::MissingRua);
    check("v=TLSRPTv1; mailto:a@x.example", RecordError::MissingRua);
    check("v=TLSRPTv1; rua=", RecordError::NoTarget);
    check("v=TLSRPTv1; rua=mailto:;", RecordError::NoTarget);
    check("v=TLSRPTv1; rua=mailto:a%zz@x.example", RecordError::NoTarget);
}

#[test]
fn exactly_one_candidate_is_a_record() {
    fn check(values: &[&[u8]], expected: Result<&str, FindError>) {
        let found = Record::find(values.iter().copied());
        let found = found.map(|parsed| parsed.record.rua[0].to_string());
        assert_eq!(found, expected.map(str::to_owned));
    }
    let right = b"v=TLSRPTv1; rua=mailto:a@x.example".as_slice();
    let empty = b"v=TLSRPTv1;".as_slice();
    let other = b"google-site-verification=\xff".as_slice();

    check(&[], Err(FindError::None));
    check(&[other, b""], Err(FindError::None));
    check(&[right], Ok("mailto:a@x.example"));
    check(&[other, right, b"v=TLSRPTv1 ; rua=x"], Ok("mailto:a@x.example"));
    check(&[right, right], Err(FindError::Multiple { count: 2 }));
    check(&[right, empty], Err(FindError::Multiple { count: 2 }));
    check(&[empty], Err(RecordError::MissingRua.into()));
    check(&[b"v=tlsrptv1; rua=mailto:a@x.example"], Err(RecordError::WrongCase.into()));
}

#[test]
fn a_warning_names_what_it_is_about() {
    let parsed =
        Record::parse("v=TLSRPTv1; rua=a@x.example,mailto:b@x.example!1,http://c,?; d").unwrap();
    let warnings: Vec<String> = parsed.warnings.iter().map(Warning::to_string).collect();
    for (warning, about) in warnings.iter().zip(["a@x", "b@x", "http://c", "?", "d"]) {
        assert!(warning.contains(about), "{warning}");
    }
    assert_eq!(warnings.len(), 5);
}

/// Up to six of the pieces, one after the other.
fn pieces() -> impl Strategy<Value = String> {
    let pieces = [
        "rua=",
        "mailto:",
        "a@x.example",
        ",",
        ";",
        "; ",
        " ",
        "!",
        "%2C",
        "%",
        "x=1",
        "https://x.example/",
        "=",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..12)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_read_renders_to_the_same_record(tail in pieces()) {
        if let Ok(parsed) = Record::parse(&format!("v=TLSRPTv1;{tail}")) {
            let again = Record::parse(&parsed.record.render()).unwrap();
            prop_assert!(again.is_strict(), "{:?}", again.warnings);
            prop_assert_eq!(again.record, parsed.record);
        }
    }

    #[test]
    fn any_values_are_judged(
        tails in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..3),
    ) {
        let marked = |tail: &Vec<u8>| [b"v=TLSRPTv1;", tail.as_slice()].concat();
        let values: Vec<_> = tails.iter().map(marked).collect();
        let _ = Record::find(values.iter().map(Vec::as_slice));
        let _ = Record::find(tails.iter().map(Vec::as_slice));
    }
}
