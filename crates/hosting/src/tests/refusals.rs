//! How refusals read.

use std::collections::BTreeMap;

use super::*;

#[test]
fn every_refusal_is_one_sentence_with_a_code_and_its_variables() {
    let refusals = refusals();
    let mut codes = BTreeMap::new();
    for refusal in &refusals {
        let text = refusal.to_string();
        assert!(text.starts_with(|c: char| c.is_ascii_lowercase()), "{text}");
        assert!(!text.ends_with('.') && !text.contains(". ") && !text.contains('\n'), "{text}");
        assert!(text.chars().count() < 400, "{text}");
        let code = refusal.code();
        assert!(code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{code}");
        assert_eq!(codes.insert(code, text.len()), None, "{code}");
        for (name, value) in refusal.metadata() {
            assert!(!name.is_empty() && !value.is_empty(), "{code} {name}");
        }
        if text.contains("example.com") && code != "INVALID_DOMAIN" {
            assert!(refusal.metadata().contains(&("domain", "example.com".to_owned())), "{code}");
        }
    }
    assert_eq!(codes.len(), 32);
}

/// One of each.
fn refusals() -> Vec<Refusal> {
    let hosts = || vec!["mx1.example.net".to_owned(), "mx2.example.net".to_owned()];
    let why = || "SERVFAIL".to_owned();
    vec![
        Refusal::DomainParked { domain: domain() },
        Refusal::DomainExists { domain: domain() },
        Refusal::DomainNotFound { domain: domain() },
        Refusal::DomainReserved { domain: domain() },
        Domain::parse("co.uk").unwrap_err().into(),
        "-".parse::<RegionId>().unwrap_err().into(),
        "x".parse::<Kind>().unwrap_err().into(),
        Refusal::NoActiveRegion,
        Refusal::RegionNotFound { region: region() },
        Refusal::RegionDisabled { region: region() },
        Refusal::HostingOff { domain: domain() },
        Refusal::HostingActive { domain: domain(), region: region() },
        Refusal::Stopping { domain: domain(), since: at(0) },
        Refusal::NotStopping { domain: domain() },
        claimed_conflict(),
        Refusal::NullMx { domain: domain() },
        Refusal::NoMx { domain: domain() },
        Refusal::MxLookupFailed { domain: domain(), why: why() },
        Refusal::MxUnusable { domain: domain(), hosts: hosts() },
        Refusal::TooManyMx { domain: domain(), count: 101 },
        Refusal::MxRemovalUnconfirmed { domain: domain(), hosts: hosts() },
        Refusal::MxUncovered { domain: domain(), hosts: hosts() },
        Refusal::InvalidPolicy { domain: domain(), why: why() },
        Refusal::MaxAgeOutOfRange { seconds: 1 },
        Refusal::AlreadyEnforced { domain: domain() },
        Refusal::AlreadyTesting { domain: domain() },
        Refusal::NotProven { domain: domain() },
        Refusal::PlaceholderPolicy { domain: domain() },
        Refusal::NotReady {
            domain: domain(),
            blocking: vec![CheckId::CnameLive],
            unaccepted: vec![CheckId::MxTls, CheckId::Fetched],
        },
        "all".parse::<CheckId>().unwrap_err().into(),
        Refusal::ReissueLimit { next_at: at(7) },
        Refusal::ReissueInFlight,
    ]
}

fn claimed_conflict() -> Refusal {
    testing(&["mx.example.com"]).deactivate(Some(Revision::new(7).unwrap()), fresh(9)).unwrap_err()
}
