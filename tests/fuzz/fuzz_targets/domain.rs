//! Domain names: never a panic, one canonical form, and names below it that DNS can hold.
#![no_main]

use hosting::Domain;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(domain) = Domain::parse(text) {
        assert_eq!(Domain::parse(domain.as_str()).as_ref(), Ok(&domain));
        assert!(domain.policy_host().len() <= 253 && domain.tls_rpt_name().len() <= 253);
    }
});
