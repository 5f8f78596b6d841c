//! TXT values at `_mta-sts`: never a panic, and what is parsed reads the same once it is rendered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mta_sts::Record;

fuzz_target!(|values: Vec<&[u8]>| {
    if let Ok(record) = Record::find(values) {
        assert_eq!(Record::parse(&record.render()), Ok(record));
    }
});
