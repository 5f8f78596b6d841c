//! Rows as callers see them.

use wire::dns;
use wire::time::to_wire;

use crate::expected::{Expected, KINDS, Kind};
use crate::hint::Hint;
use crate::judge::Status;
use crate::sql::Row;

/// The three records of a claim, each with what the last look found.
pub(crate) fn show(expected: &Expected, rows: &[(Kind, Row)]) -> Vec<dns::Record> {
    let row = |kind| rows.iter().find(|(of, _)| *of == kind).map(|(_, row)| row);
    KINDS.map(|kind| record(expected, kind, row(kind))).into()
}

fn record(expected: &Expected, kind: Kind, row: Option<&Row>) -> dns::Record {
    let value = expected.value(kind);
    let (status, hint) = status_and_hint(kind, &value, row);
    let since = row.filter(|row| row.status == status).and_then(|row| row.status_since);
    dns::Record {
        name: expected.name(kind),
        r#type: kind.record_type().to_owned(),
        status: wire_status(status).into(),
        found: row.map(|row| row.found.clone()).unwrap_or_default(),
        hint: hint.as_ref().map(|hint| hint.sentence.clone()).unwrap_or_default(),
        hint_code: hint.map(|hint| hint.code).unwrap_or_default(),
        checked_at: row.map(|row| to_wire(row.checked_at)),
        check_error: row.map(|row| row.check_error.clone()).unwrap_or_default(),
        status_since: since.map(to_wire),
        value,
    }
}

/// What the last look found, held against what is wanted now. What was Live under another value is
/// a mismatch from the moment on at which the value changes, not only from the next look.
fn status_and_hint(kind: Kind, value: &str, row: Option<&Row>) -> (Option<Status>, Option<Hint>) {
    match (kind, value.is_empty()) {
        (Kind::Sts, true) => return (Some(Status::NotPublished), Some(Hint::waiting_for_edges())),
        (Kind::TlsRpt, true) => return (Some(Status::RegionIntakeNotConfigured), None),
        _ => {}
    }
    let Some(row) = row else { return (None, None) };
    if row.value == value {
        let hint = Hint { code: row.hint_code.clone(), sentence: row.hint.clone() };
        return (row.status, (!hint.code.is_empty()).then_some(hint));
    }
    match row.status {
        Some(Status::Live | Status::Mismatch) if !row.value.is_empty() => {
            let hint = match kind {
                Kind::Cname => Hint::cname_other_target(&row.found, value),
                Kind::Sts => Hint::old_id(),
                Kind::TlsRpt => Hint::tls_rpt_other_rua(&row.found, value),
            };
            (Some(Status::Mismatch), Some(hint))
        }
        Some(Status::NotPublished) if row.found.is_empty() => (Some(Status::NotPublished), None),
        _ => (None, None),
    }
}

fn wire_status(status: Option<Status>) -> dns::RecordStatus {
    match status {
        None => dns::RecordStatus::Unspecified,
        Some(Status::Live) => dns::RecordStatus::Live,
        Some(Status::Mismatch) => dns::RecordStatus::Mismatch,
        Some(Status::NotPublished) => dns::RecordStatus::NotPublished,
        Some(Status::RegionIntakeNotConfigured) => dns::RecordStatus::RegionIntakeNotConfigured,
    }
}
