//! All SQL of control, a file per table.

mod claims;
mod documents;
mod edges;
mod names;
mod regions;
mod versions;

pub(crate) use claims::{ClaimRow, Page, WaitingFor};
pub(crate) use documents::{Document, Feed};
pub(crate) use edges::{Edge, Refused};
pub(crate) use regions::Region;
pub(crate) use versions::VersionRow;

use jiff::Timestamp;
use store::sqlx::any::AnyRow;
use store::sqlx::{self, Row};
use store::{Step, StoreError};

/// How control's tables came to be.
pub(crate) const STEPS: &[Step] =
    &[Step { version: 1, name: "control", sql: include_str!("../../migrations/0001_control.sql") }];

/// A row that this code can't have written.
#[derive(Debug, thiserror::Error)]
#[error("{table}.{column} holds {found:?}, which nothing here writes")]
pub(crate) struct Corrupt {
    table: &'static str,
    column: &'static str,
    found: String,
}

/// Reads a column that holds a typed text.
fn parsed<T: std::str::FromStr>(
    row: &AnyRow,
    table: &'static str,
    column: &'static str,
) -> Result<T, StoreError> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| corrupt(table, column, text))
}

fn corrupt(table: &'static str, column: &'static str, found: impl Into<String>) -> StoreError {
    let error = Corrupt { table, column, found: found.into() };
    StoreError::Query(sqlx::Error::Decode(Box::new(error)))
}

/// Milliseconds since 1970, as all instants are stored.
fn millis(at: Timestamp) -> i64 {
    at.as_millisecond()
}

fn instant(row: &AnyRow, column: &str) -> Result<Timestamp, StoreError> {
    let millis: i64 = row.try_get(column)?;
    Ok(Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX))
}

fn instant_or_none(row: &AnyRow, column: &str) -> Result<Option<Timestamp>, StoreError> {
    let millis: Option<i64> = row.try_get(column)?;
    Ok(millis.map(|millis| Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)))
}

/// Counts are stored as BIGINT; none that we write is negative.
fn count(row: &AnyRow, column: &str) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column)?;
    Ok(u64::try_from(number).unwrap_or(0))
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
