//! A mail, or a body, with a report in it: never a panic, and always a report or a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for extracted in [tls_rpt::from_mail(bytes), tls_rpt::from_body(bytes)] {
        assert!(!extracted.reports.is_empty() || !extracted.problems.is_empty());
        for found in extracted.reports {
            assert!(found.content().len() <= found.json.len());
            let _ = (found.report.sums(), found.report.date_range.days().count());
        }
    }
});
