//! The TXT row: `_mta-sts.<domain>` has to carry the announced id, alone.

use mta_sts::{FindError, Record, RecordError};

use super::{Status, Verdict, shown, starts_like, texts, without_values};
use crate::answer::Answer;
use crate::expected::{Expected, Kind};
use crate::foreign::readable;
use crate::hint::Hint;

/// Judges one server's answer, its aliases followed.
pub(super) fn judge(expected: &Expected, answer: &Answer) -> Verdict {
    if let Some(verdict) = without_values(answer) {
        return verdict;
    }
    let values = texts(answer);
    let (status, hint) = match find(&values) {
        Ok(record) if Some(record.id.as_str()) == expected.policy_id.as_deref() => {
            (Status::Live, (values.len() > 1).then(Hint::unrelated_txt))
        }
        Ok(record) if expected.former_policy_ids.iter().any(|id| *id == record.id.as_str()) => {
            (Status::Mismatch, Some(Hint::old_id()))
        }
        Ok(_) => (Status::Mismatch, Some(Hint::other_id())),
        Err(error) => {
            let hint = wrong(&values, &error, &expected.value(Kind::Sts));
            (Status::Mismatch, Some(hint))
        }
    };
    Verdict { status, found: shown(&values), hint }
}

/// The id in the one record that senders accept; empty when there is none.
pub(super) fn found_id(answer: &Answer) -> String {
    find(&texts(answer)).map(|record| record.id.as_str().to_owned()).unwrap_or_default()
}

fn find(values: &[Vec<u8>]) -> Result<Record, FindError> {
    Record::find(values.iter().map(Vec::as_slice))
}

/// What to tell of values in which senders find no record.
fn wrong(values: &[Vec<u8>], error: &FindError, ours: &str) -> Hint {
    if let FindError::Multiple { count } = error {
        return Hint::multiple_sts_records(*count, ours);
    }
    // The value that comes nearest to a record.
    let Some(value) = values.iter().find(|value| starts_like(value, b"v=STS")) else {
        return Hint::no_sts_record(ours);
    };
    if matches!(value.trim_ascii(), [b'"' | b'\'', ..]) {
        return Hint::quotes_in_value();
    }
    if value.windows(2).any(|pair| pair == br"\;") {
        return Hint::backslash_semicolon();
    }
    let syntax = |what: &str| Hint::syntax("BAD_SYNTAX", what);
    match error {
        FindError::Invalid(RecordError::WrongCase) => Hint::wrong_case("v=STSv1"),
        FindError::Invalid(why @ RecordError::SpaceBeforeSemicolon) => {
            Hint::syntax("SPACES", &why.to_string())
        }
        FindError::Invalid(RecordError::BadId { .. }) => Hint::bad_id(),
        FindError::Invalid(why) => syntax(&why.to_string()),
        FindError::None if value.first().is_some_and(u8::is_ascii_whitespace) => {
            Hint::syntax("SPACES", "the record begins with a space: remove it")
        }
        FindError::None | FindError::Multiple { .. } => {
            syntax(&format!("{} does not begin with v=STSv1;", readable(value)))
        }
    }
}
