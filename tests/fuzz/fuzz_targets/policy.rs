//! Policy text: never a panic, and what is parsed reads the same once it is rendered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mta_sts::Policy;

fuzz_target!(|body: &[u8]| {
    if let Ok(parsed) = Policy::parse(body) {
        let again = Policy::parse(&parsed.policy.render()).expect("what we render is a policy");
        assert_eq!(again.policy, parsed.policy);
    }
});
