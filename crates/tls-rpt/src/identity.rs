//! What makes two reports the same.

use jiff::Timestamp;

/// What has to be alike in two arrivals for them to be one report.
///
/// A report id alone will not do: senders use one id for several days, domains and contents
/// ([RFC 8460 section 5.3](https://www.rfc-editor.org/rfc/rfc8460#section-5.3) has it unique).
/// One report may be about several domains, which belong to different people: each of them has an
/// identity of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity<'a> {
    /// The domain whose signature the mail carries, or a word for "none that is valid". A forger
    /// must not be able to take the place of the true report.
    pub submitter: &'a str,
    /// The domain that is reported on.
    pub policy_domain: &'a str,
    /// `start-datetime`
    pub start: Timestamp,
    /// `end-datetime`
    pub end: Timestamp,
    /// `report-id`
    pub report_id: &'a str,
    /// A hash of [`Found::content`](crate::Found::content). Which one is for the caller to choose:
    /// this crate needs no cryptography for anything else.
    pub content_hash: &'a [u8],
}

impl Identity<'_> {
    /// The identity as bytes, to be hashed or stored: equal if and only if the identities are.
    pub fn to_bytes(&self) -> Vec<u8> {
        let [start, end] = [self.start, self.end].map(|at| at.as_nanosecond().to_be_bytes());
        let mut bytes = Vec::new();
        let fields: [&[u8]; 6] = [
            self.submitter.as_bytes(),
            self.policy_domain.as_bytes(),
            &start,
            &end,
            self.report_id.as_bytes(),
            self.content_hash,
        ];
        for field in fields {
            // With its length before it no field can run into the next.
            bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }
}

/// JSON without the white space between its tokens.
pub(crate) fn without_space(json: &str) -> Vec<u8> {
    let mut kept = Vec::with_capacity(json.len());
    let mut in_string = false;
    let mut escaped = false;
    for byte in json.bytes() {
        if !in_string && matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            continue;
        }
        if byte == b'"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && byte == b'\\' && !escaped;
        kept.push(byte);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity() -> Identity<'static> {
        Identity {
            submitter: "sender.example",
            policy_domain: "example.com",
            start: Timestamp::UNIX_EPOCH,
            end: Timestamp::UNIX_EPOCH,
            report_id: "1",
            content_hash: b"hash",
        }
    }

    #[test]
    fn an_identity_changes_with_each_of_its_fields() {
        let base = identity();
        let others = [
            Identity { submitter: "sender.exampl", ..base },
            Identity { policy_domain: "eexample.com", ..base },
            // What moves from one field to the next is a difference, too.
            Identity { submitter: "sender.exampl", policy_domain: "eexample.com", ..base },
            Identity { start: Timestamp::MIN, ..base },
            Identity { end: Timestamp::MAX, ..base },
            Identity { report_id: "", ..base },
            Identity { content_hash: b"", ..base },
        ];
        for other in others {
            assert_ne!(other.to_bytes(), base.to_bytes(), "{other:?}");
        }
        assert_eq!(identity().to_bytes(), base.to_bytes());
    }

    #[test]
    fn white_space_between_tokens_goes() {
        fn check(json: &str, expected: &str) {
            assert_eq!(without_space(json), expected.as_bytes(), "{json:?}");
        }
        check("{ \"a\" :\r\n\t[ 1 , 2 ] }\n", "{\"a\":[1,2]}");
        check(r#"{"a b": " c ", "\" d": "\\" }"#, r#"{"a b":" c ","\" d":"\\"}"#);
        check("", "");
    }

    proptest! {
        #[test]
        fn content_without_space_reads_the_same(text in "[ \\t\\n\"\\\\a-c]{0,20}", n in 0..9) {
            let value = serde_json::json!({ "a": [text, n], "b": { "c": null } });
            let compact = serde_json::to_vec(&value).unwrap();
            prop_assert_eq!(&without_space(&serde_json::to_string_pretty(&value).unwrap()), &compact);
            prop_assert_eq!(&without_space(str::from_utf8(&compact).unwrap()), &compact);
        }
    }
}
