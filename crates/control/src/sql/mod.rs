//! All SQL of control, a file per table.

mod claims;
mod documents;
mod edges;
mod members;
mod names;
mod people;
mod regions;
mod sign_ins;
mod tokens;
mod versions;
mod workspaces;

pub(crate) use claims::{ClaimRow, Page, WaitingFor};
pub(crate) use documents::{Document, Feed};
pub(crate) use edges::{Edge, Refused};
pub(crate) use members::{Held, Member};
pub(crate) use people::{Person, platform_admins};
pub(crate) use regions::Region;
pub(crate) use sign_ins::SignInRow;
pub(crate) use tokens::{Own, TokenPage, TokenRow, View};
pub(crate) use versions::VersionRow;
pub(crate) use workspaces::Workspace;

use jiff::Timestamp;
use store::sqlx::any::AnyRow;
use store::sqlx::{self, Row};
use store::{Step, StoreError};

/// How control's tables came to be.
pub(crate) const STEPS: &[Step] = &[
    Step { version: 1, name: "control", sql: include_str!("../../migrations/0001_control.sql") },
    Step { version: 2, name: "access", sql: include_str!("../../migrations/0002_access.sql") },
    Step { version: 3, name: "sign_in", sql: include_str!("../../migrations/0003_sign_in.sql") },
    audit::step(4),
];

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
