//! The JSON of a report: never a panic, and what is parsed reads the same once it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tls_rpt::Report;

fuzz_target!(|json: &str| {
    if let Ok(parsed) = Report::parse(json) {
        let written = parsed.report.to_json();
        let again = Report::parse(&written).expect("what we write is a report");
        assert_eq!(again.report, parsed.report);
        assert_eq!(again.report.to_json(), written);
    }
});
