//! What is found on the bus: never a panic, and nothing that our root has not delegated is believed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::envelope::Trust;

fuzz_target!(|envelope: &[u8]| {
    let trust = Trust::pin(vec![7; 32]);
    assert!(trust.open("policies-eu-1", "example.com", envelope).is_err());
});
