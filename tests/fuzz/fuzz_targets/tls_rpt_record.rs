//! TXT values at `_smtp._tls`: never a panic, and what is parsed or merged is what strict senders read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tls_rpt::{Record, Target};

fuzz_target!(|values: Vec<&[u8]>| {
    if let Ok(parsed) = Record::find(values.iter().copied()) {
        let again = Record::parse(&parsed.record.render()).expect("what we render is a record");
        assert!(again.is_strict());
        assert_eq!(again.record, parsed.record);
    }
    let ours = Target::mailto("tls+a@in.example").expect("an address");
    if let Ok(merged) = Record::merge(values, &ours) {
        let text = merged.record.render();
        let again = Record::merge([text.as_bytes()], &ours).expect("no longer than before");
        assert!(again.is_there);
        assert_eq!(again.record, merged.record);
    }
});
