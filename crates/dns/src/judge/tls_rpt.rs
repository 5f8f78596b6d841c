//! The TLS-RPT row: `_smtp._tls.<domain>` has to name our mailbox, perhaps among others.
//!
//! Somebody else's targets stay: what is proposed to publish has theirs and ours.

use super::{Status, Verdict, shown, starts_like, texts, without_values};
use crate::answer::Answer;
use crate::foreign::readable;
use crate::hint::Hint;

/// How a record begins; what does not is none
/// ([RFC 8460 section 3](https://www.rfc-editor.org/rfc/rfc8460#section-3)).
const VERSION: &str = "v=TLSRPTv1";

/// Judges one server's answer, its aliases followed. `ours` is our `rua` target.
pub(super) fn judge(ours: &str, answer: &Answer) -> Verdict {
    if let Some(verdict) = without_values(answer) {
        return verdict;
    }
    let values = texts(answer);
    let records: Vec<Vec<String>> = values.iter().filter_map(|value| targets(value)).collect();
    let has_ours = |targets: &[String]| targets.iter().any(|t| t.eq_ignore_ascii_case(ours));
    let (status, hint) = match records.as_slice() {
        [] => (Status::Mismatch, Some(wrong(&values, ours))),
        [one] if has_ours(one) => (Status::Live, (values.len() > 1).then(Hint::unrelated_txt)),
        [one] if one.is_empty() => {
            let what = format!("it has no rua; publish {}", record(&[ours.to_owned()]));
            (Status::Mismatch, Some(Hint::syntax("BAD_SYNTAX", &what)))
        }
        [one] => {
            let merged = record(&merged(one, ours));
            (Status::Mismatch, Some(Hint::tls_rpt_other_rua(&one.join(","), &merged)))
        }
        many => {
            let merged = record(&merged(&many.concat(), ours));
            (Status::Mismatch, Some(Hint::tls_rpt_multiple(many.len(), &merged)))
        }
    };
    Verdict { status, found: shown(&values), hint }
}

/// The `rua` targets of a TLS-RPT record, readable; none for another TXT value.
fn targets(value: &[u8]) -> Option<Vec<String>> {
    let text = String::from_utf8_lossy(value);
    let fields = text.strip_prefix(VERSION)?.strip_prefix(';')?;
    let rua = fields.split(';').find_map(|field| field.trim().strip_prefix("rua="));
    let targets = rua.unwrap_or_default().split(',').map(|t| readable(t.trim().as_bytes()));
    Some(targets.filter(|target| !target.is_empty()).collect())
}

/// All targets once, ours last.
fn merged(theirs: &[String], ours: &str) -> Vec<String> {
    let mut merged: Vec<String> = Vec::new();
    let others = theirs.iter().filter(|target| !target.eq_ignore_ascii_case(ours));
    for target in others {
        if !merged.contains(target) {
            merged.push(target.clone());
        }
    }
    merged.push(ours.to_owned());
    merged
}

fn record(targets: &[String]) -> String {
    format!("{VERSION}; rua={}", targets.join(","))
}

fn wrong(values: &[Vec<u8>], ours: &str) -> Hint {
    let Some(value) = values.iter().find(|v| starts_like(v, VERSION.as_bytes())) else {
        return Hint::no_tls_rpt_record(&record(&[ours.to_owned()]));
    };
    if matches!(value.trim_ascii(), [b'"' | b'\'', ..]) {
        Hint::quotes_in_value()
    } else if value.windows(2).any(|pair| pair == br"\;") {
        Hint::backslash_semicolon()
    } else if value.starts_with(VERSION.as_bytes()) {
        Hint::syntax("BAD_SYNTAX", "a semicolon has to follow v=TLSRPTv1 directly")
    } else {
        Hint::wrong_case(VERSION)
    }
}
