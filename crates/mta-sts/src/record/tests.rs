use proptest::prelude::*;

use super::*;

#[test]
fn a_record_is_read_by_its_grammar() {
    fn check(txt: &str, expected: &str) {
        let id = Record::parse(txt).map(|record| record.id.to_string());
        assert_eq!(id.as_deref(), Ok(expected), "{txt:?}");
    }
    // The example of RFC 8461 section 3.1.
    check("v=STSv1; id=20160831085700Z;", "20160831085700Z");
    check("v=STSv1;id=a", "a");
    check("v=STSv1; id=a; ", "a");
    check("v=STSv1; \t id=a \t ; \t", "a");
    check("v=STSv1; id=a; x=1", "a");
    check("v=STSv1; x-1_2.3=http://a/?b&c<d>; id=a;", "a");
    check("v=STSv1; ID=b; id=a;", "a");
    check("v=STSv1; v=STSv2; id=a;", "a");
    check(&format!("v=STSv1; {}=1; id=a;", "x".repeat(32)), "a");
}

#[test]
fn a_wrong_record_is_explained() {
    fn check(txt: &str, expected: RecordError) {
        assert_eq!(Record::parse(txt), Err(expected), "{txt:?}");
    }
    let bad_id = |at, wrong| RecordError::BadId { at, wrong };

    check("", RecordError::MissingVersion);
    check("v=spf1 -all", RecordError::MissingVersion);
    check("v=STSv1", RecordError::MissingVersion);
    check("v=STSv1 id=a;", RecordError::MissingVersion);
    check("v=STSv10; id=a;", RecordError::MissingVersion);
    check("v=STSv2; id=a;", RecordError::MissingVersion);
    check(" v=STSv1; id=a;", RecordError::MissingVersion);
    check("v = STSv1; id=a;", RecordError::MissingVersion);
    check("\"v=STSv1; id=a;\"", RecordError::MissingVersion);
    check("id=a; v=STSv1;", RecordError::MissingVersion);
    check("V=stsv1; id=a;", RecordError::WrongCase);
    check("v=stsv1 ; id=a;", RecordError::WrongCase);
    check("v=STSv1 ; id=a;", RecordError::SpaceBeforeSemicolon);
    check("v=STSv1\t; id=a;", RecordError::SpaceBeforeSemicolon);

    check("v=STSv1;", RecordError::MissingId);
    check("v=STSv1; ", RecordError::MissingId);
    check("v=STSv1; x=1;", RecordError::MissingId);
    check("v=STSv1; ID=a;", RecordError::MissingId);
    check("v=STSv1; id=;", bad_id(9, InvalidPolicyId::Empty));
    check("v=STSv1; id=a-b;", bad_id(9, InvalidPolicyId::Character { at: 1, found: '-' }));
    check("v=STSv1; id= a;", bad_id(9, InvalidPolicyId::Character { at: 0, found: ' ' }));
    check("v=STSv1; id=a ", bad_id(9, InvalidPolicyId::Character { at: 1, found: ' ' }));
    check("v=STSv1; id=a=b;", bad_id(9, InvalidPolicyId::Character { at: 1, found: '=' }));
    let long = format!("v=STSv1; x=1;  id={};", "a".repeat(33));
    check(&long, bad_id(15, InvalidPolicyId::TooLong { bytes: 33 }));
    check("v=STSv1; id=a; id=b;", RecordError::DuplicateId { at: 15 });
    check("v=STSv1; id=a; id=a", RecordError::DuplicateId { at: 15 });

    check("v=STSv1;; id=a;", RecordError::BadField { at: 8 });
    check("v=STSv1; id=a;;", RecordError::BadField { at: 14 });
    check("v=STSv1; id=a; ; ", RecordError::BadField { at: 15 });
    check("v=STSv1; id", RecordError::BadField { at: 9 });
    check("v=STSv1; id =a;", RecordError::BadField { at: 9 });
    check("v=STSv1; x=; id=a;", RecordError::BadField { at: 9 });
    check("v=STSv1; =1; id=a;", RecordError::BadField { at: 9 });
    check("v=STSv1; -x=1; id=a;", RecordError::BadField { at: 9 });
    check("v=STSv1; x=1=2; id=a;", RecordError::BadField { at: 9 });
    check("v=STSv1; id=a; x=1 2;", RecordError::BadField { at: 15 });
    check("v=STSv1; id=a; x=1 ", RecordError::BadField { at: 15 });
    check("v=STSv1; id=a;\n", RecordError::BadField { at: 14 });
    check(&format!("v=STSv1; {}=1;", "x".repeat(33)), RecordError::BadField { at: 9 });
    check("v=STSv1;\u{a0}id=a;", RecordError::NotAscii { at: 8 });
    check("v=STSv1; id=ä;", RecordError::NotAscii { at: 12 });
}

#[test]
fn only_the_exact_version_and_a_semicolon_make_a_candidate() {
    fn check(txt: &[u8], expected: bool) {
        assert_eq!(Record::is_candidate(txt), expected, "{}", txt.escape_ascii());
    }
    check(b"v=STSv1;", true);
    check(b"v=STSv1; anything \xff", true);
    check(b"v=STSv1 ; id=a;", false);
    check(b"v=STSv1", false);
    check(b"v=STSv11;", false);
    check(b"v=stsv1; id=a;", false);
    check(b"", false);
}

#[test]
fn exactly_one_candidate_is_a_record() {
    fn check(values: &[&[u8]], expected: Result<&str, FindError>) {
        let id = Record::find(values.iter().copied()).map(|record| record.id.to_string());
        assert_eq!(id, expected.map(str::to_owned));
    }
    let right = b"v=STSv1; id=a;".as_slice();
    let wrong = b"v=STSv1; id=a-b;".as_slice();
    let spaced = b"v=STSv1 ; id=a;".as_slice();
    let other = b"google-site-verification=\xff".as_slice();

    check(&[], Err(FindError::None));
    check(&[other, b""], Err(FindError::None));
    check(&[right], Ok("a"));
    check(&[other, right, other], Ok("a"));
    check(&[right, spaced], Ok("a"));
    check(&[right, right], Err(FindError::Multiple { count: 2 }));
    check(&[right, wrong, other], Err(FindError::Multiple { count: 2 }));
    check(&[spaced, other], Err(RecordError::SpaceBeforeSemicolon.into()));
    check(&[b"V=STSV1; id=a;"], Err(RecordError::WrongCase.into()));
    check(&[b"v=STSv1; id=a; \xff\xfe"], Err(RecordError::NotAscii { at: 15 }.into()));
    check(&[b"v=STSv1;"], Err(RecordError::MissingId.into()));
}

#[test]
fn a_record_is_rendered_with_a_semicolon_at_its_end() {
    let record = Record { id: "20160831085700Z".parse().unwrap() };
    assert_eq!(record.render(), "v=STSv1; id=20160831085700Z;");
}

/// Up to three of the pieces, one after the other.
fn any_of(pieces: &'static [&str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(pieces), 0..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_rendered_is_read_back(id in "[A-Za-z0-9]{1,32}") {
        let record = Record { id: id.parse().unwrap() };
        let txt = record.render();
        prop_assert!(txt.len() <= 46);
        prop_assert_eq!(Record::parse(&txt), Ok(record.clone()));
        prop_assert_eq!(Record::find([txt.as_bytes()]), Ok(record));
    }

    #[test]
    fn any_values_are_judged(
        tails in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..3),
    ) {
        let marked = |tail: &Vec<u8>| [b"v=STSv1;", tail.as_slice()].concat();
        let values: Vec<_> = tails.iter().map(marked).collect();
        let _ = Record::find(values.iter().map(Vec::as_slice));
        let _ = Record::find(tails.iter().map(Vec::as_slice));
    }

    #[test]
    fn what_is_read_renders_to_the_same_record(
        head in any_of(&[" ", "x=1;", "\t", ";", "id=a;"]),
        tail in any_of(&[";", " ", "; x=1", "b", "="]),
    ) {
        let txt = format!("v=STSv1;{head}id=c{tail}");
        if let Ok(record) = Record::parse(&txt) {
            prop_assert_eq!(Record::parse(&record.render()), Ok(record));
        }
    }
}
