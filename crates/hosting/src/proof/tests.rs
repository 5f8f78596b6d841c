use proptest::prelude::*;

use super::*;

const HOST: &str = "eu-1.sts.example.net";

/// `a` and `b` are the nonces of two claims.
fn nonce(letter: char) -> Nonce {
    letter.to_string().repeat(16).parse().unwrap()
}

fn target(letter: char) -> String {
    cname_target(&nonce(letter), HOST)
}

/// One answer a word: `-` nothing, `!` failed, `a` and `b` that claim's, else the value itself;
/// `+` joins several values of one server.
fn answers(words: &str, value: fn(char) -> String) -> Vec<Answer> {
    let one = |word: &str| match word {
        "a" | "b" => value(word.chars().next().unwrap()),
        other => other.to_owned(),
    };
    let values = |word: &str| match word {
        "!" => Err("timeout".to_owned()),
        "-" => Ok(Vec::new()),
        several => Ok(several.split('+').map(one).collect()),
    };
    let answer = |word: &str| Answer { server: "ns.example".to_owned(), values: values(word) };
    words.split_whitespace().map(answer).collect()
}

fn look(cname: &str, txt: &str, minute: i64) -> Observed {
    Observed {
        at: Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap(),
        cname: answers(cname, target),
        txt: answers(txt, |letter| txt_value(&nonce(letter))),
    }
}

#[test]
fn a_claim_is_proven_by_its_own_record_on_every_server() {
    fn check(cname: &str, txt: &str, expected: Option<Proof>) {
        assert_eq!(proof(&nonce('a'), HOST, &look(cname, txt, 0)), expected, "{cname} | {txt}");
    }
    check("a", "", Some(Proof::Cname));
    check("a a a", "- - -", Some(Proof::Cname));
    check("AAAAAAAAAAAAAAAA.EU-1.sts.Example.net.", "", Some(Proof::Cname));
    check("- -", "a a", Some(Proof::Txt));
    check("", "a", Some(Proof::Txt));
    check("-", "v=spf1+a", Some(Proof::Txt));
    check("-", "DMARCER=aaaaaaaaaaaaaaaa", Some(Proof::Txt));
    check("eu-1.sts.example.net", "a", Some(Proof::Txt));

    check("", "", None);
    check("- -", "- -", None);
    check("a -", "", None);
    check("a b", "", None);
    check("a !", "", None);
    check("! !", "! !", None);
    check("a+b", "", None);
    check("b", "-", None);
    check("eu-1.sts.example.net", "-", None);
    check("aaaaaaaaaaaaaaaa.eu-2.sts.example.net", "-", None);
    check("aaaaaaaaaaaaaaaa.eu-1.sts.example.net..", "-", None);
    check("-", "a -", None);
    check("-", "a !", None);
    check("-", "a+b", None);
    check("-", "dmarcer=aaaaaaaaaaaaaaaaa", None);
    check("-", "xdmarcer=aaaaaaaaaaaaaaaa", None);
}

#[test]
fn a_domain_passes_on_when_two_looks_agree_that_it_has() {
    fn check(first: (&str, &str, i64), second: (&str, &str, i64), expected: bool) {
        let look = |(cname, txt, minute)| look(cname, txt, minute);
        let got = may_transfer(&nonce('a'), &nonce('b'), HOST, &look(first), &look(second));
        assert_eq!(got, expected, "{first:?} {second:?}");
    }
    check(("b b", "- -", 0), ("b b", "- -", 5), true);
    check(("- -", "b b", 0), ("- -", "b b", 5), true);
    check(("b b", "- -", 0), ("b b", "- -", 4), false);
    check(("b b", "- -", 5), ("b b", "- -", 0), false);
    check(("b a", "- -", 0), ("b b", "- -", 5), false);
    check(("b b", "- -", 0), ("b b", "- !", 5), false);
    check(("b b", "", 0), ("b b", "", 5), false);
    check(("a a", "b b", 0), ("a a", "b b", 5), false);
    check(("b b", "a -", 0), ("b b", "a -", 5), false);
    check(("b b", "- -", 0), ("a a", "- -", 5), false);
    // The old alias in another region is still the old owner's.
    let elsewhere = "aaaaaaaaaaaaaaaa.us-1.sts.example.net";
    check((elsewhere, "b", 0), (elsewhere, "b", 5), false);
}

#[test]
fn what_to_publish() {
    assert_eq!(
        cname_target(&nonce('a'), "EU-1.sts.example.net."),
        "aaaaaaaaaaaaaaaa.eu-1.sts.example.net"
    );
    assert_eq!(txt_value(&nonce('a')), "dmarcer=aaaaaaaaaaaaaaaa");
}

proptest! {
    #[test]
    fn no_look_proves_two_claims(
        cname in prop::collection::vec("[ab!-]|a\\+b|b\\+a", 0..4),
        txt in prop::collection::vec("[ab!-]|a\\+b|x\\+a", 0..4),
    ) {
        let look = look(&cname.join(" "), &txt.join(" "), 0);
        // By the same record, that is: an alias for one and a TXT for the other decide nothing
        // without a transfer, which asks for both.
        let a = proof(&nonce('a'), HOST, &look);
        let b = proof(&nonce('b'), HOST, &look);
        prop_assert!(a.is_none() || a != b);
        if let (Some(_), Some(_)) = (a, b) {
            prop_assert!(!may_transfer(&nonce('a'), &nonce('b'), HOST, &look, &look));
        }
    }
}
