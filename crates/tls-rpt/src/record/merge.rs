//! Our target beside those that a domain has already.

use super::{Record, parse};
use crate::limits::MAX_RECORD_BYTES;
use crate::target::Target;

/// One record that does for all that a domain has, and for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// What to publish instead of what is there.
    pub record: Record,
    /// Whether every sender, the strict ones too, finds ours already, so that nothing need be
    /// published.
    pub is_there: bool,
    /// Whether another target stands before ours. A sender that uses the first only (Microsoft has
    /// been seen to) reports to that one and not to us.
    pub ours_is_later: bool,
}

impl Record {
    /// The record to publish where `values` are found at [`record_name`](crate::record_name), so
    /// that reports come to `ours`, too.
    ///
    /// Theirs all stay, each once, in their order, those of several records one after the other;
    /// so do fields that we do not know. Ours comes first, because some senders use the first only,
    /// but where the domain's owner has put it elsewhere already it stays there.
    /// What no sender can use is not kept.
    pub fn merge<'a>(
        values: impl IntoIterator<Item = &'a [u8]>,
        ours: &Target,
    ) -> Result<Merged, MergeError> {
        let values: Vec<&[u8]> = values.into_iter().collect();
        let mut record = Record::default();
        for value in &values {
            let Ok(parsed) = parse(value) else { continue };
            for target in parsed.record.rua {
                if !record.rua.iter().any(|known| known.is_same(&target)) {
                    record.rua.push(target);
                }
            }
            for extension in parsed.record.extensions {
                if !record.extensions.contains(&extension) {
                    record.extensions.push(extension);
                }
            }
        }
        let has_ours = |record: &Record| record.rua.iter().any(|target| target.is_same(ours));
        if !has_ours(&record) {
            record.rua.insert(0, ours.clone());
        }

        let bytes = record.render().len();
        if bytes > MAX_RECORD_BYTES {
            return Err(MergeError { bytes });
        }
        let found = Record::find(values);
        let is_there = found.is_ok_and(|found| found.is_strict() && has_ours(&found.record));
        let ours_is_later = !record.rua.first().is_some_and(|first| first.is_same(ours));
        Ok(Merged { record, is_there, ours_is_later })
    }
}

/// The record that does for all would be too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the record with all targets would be {bytes} bytes long, and {MAX_RECORD_BYTES} are the most: \
     remove targets that are no longer used"
)]
pub struct MergeError {
    /// How long.
    pub bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Target {
        "mailto:tls+ab12@in.example".parse().unwrap()
    }

    fn merge(values: &[&str]) -> Result<Merged, MergeError> {
        Record::merge(values.iter().map(|value| value.as_bytes()), &ours())
    }

    #[test]
    fn theirs_stay_in_their_order_and_ours_comes_once() {
        fn check(values: &[&str], expected: &str) {
            let merged = merge(values).unwrap();
            assert_eq!(merged.record.render(), expected, "{values:?}");
            assert_eq!(merged.is_there, values == [expected], "{values:?}");
            // What is proposed is final.
            let again = merge(&[expected]).unwrap();
            assert_eq!((again.record, again.is_there), (merged.record, true), "{values:?}");
        }
        check(&[], "v=TLSRPTv1; rua=mailto:tls+ab12@in.example");
        check(
            &["v=spf1 -all", "v=TLSRPTv1; rua=mailto:b@x.example,mailto:a@x.example"],
            "v=TLSRPTv1; rua=mailto:tls+ab12@in.example,mailto:b@x.example,mailto:a@x.example",
        );
        check(
            &["v=TLSRPTv1; rua=https://x.example/r,MAILTO:TLS+ab12@in.example"],
            "v=TLSRPTv1; rua=https://x.example/r,MAILTO:TLS+ab12@in.example",
        );
        check(
            &[
                "v=TLSRPTv1;rua=mailto:a@x.example;",
                "v=TLSRPTv1; rua=mailto:b@x.example,mailto:A@x.example",
            ],
            "v=TLSRPTv1; rua=mailto:tls+ab12@in.example,mailto:a@x.example,mailto:b@x.example",
        );
        check(
            &["v=TLSRPTv1; x-1=y; rua=mailto:a@x.example"],
            "v=TLSRPTv1; rua=mailto:tls+ab12@in.example,mailto:a@x.example; x-1=y",
        );
        check(
            &["v=TLSRPTv1; rua=mailto:a@x.example!10m, b@x.example ,,??;"],
            "v=TLSRPTv1; rua=mailto:tls+ab12@in.example,mailto:a@x.example,mailto:b@x.example",
        );
        check(&["v=TLSRPTv1; x=1"], "v=TLSRPTv1; rua=mailto:tls+ab12@in.example");
    }

    #[test]
    fn who_stands_first_is_told() {
        let first = "v=TLSRPTv1; rua=mailto:tls+ab12@in.example,mailto:a@x.example";
        let later = "v=TLSRPTv1; rua=mailto:a@x.example,mailto:tls+ab12@in.example";
        assert!(!merge(&[first]).unwrap().ours_is_later);
        let merged = merge(&[later]).unwrap();
        assert!(merged.ours_is_later && merged.is_there);
    }

    #[test]
    fn a_record_that_needs_mending_is_not_there() {
        let lenient = "v=TLSRPTv1; rua= mailto:tls+ab12@in.example";
        assert!(!merge(&[lenient]).unwrap().is_there);
        let twice = "v=TLSRPTv1; rua=mailto:tls+ab12@in.example";
        assert!(!merge(&[twice, twice]).unwrap().is_there);
    }

    #[test]
    fn a_record_stays_within_its_bound() {
        let many: Vec<String> = (0..30).map(|i| format!("mailto:{i:0>40}@x.example")).collect();
        let record = format!("v=TLSRPTv1; rua={}", many.join(","));
        assert!(matches!(merge(&[&record]), Err(MergeError { bytes: 1_001.. })));
    }
}
