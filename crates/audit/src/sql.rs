//! All SQL of this crate, a file per table.

mod calls;
mod heads;
mod records;

pub(crate) use calls::{Calls, Kept};
pub(crate) use heads::{End, Ends};
pub(crate) use records::{Place, Records, Wanted};

use store::sqlx::Row;
use store::sqlx::any::AnyRow;
use store::{StoreError, sqlx};

/// A number or text that the database may hold in a form which nothing here writes: SQLite keeps what
/// it is given, whatever the column is declared as.
fn held<'r, T>(row: &'r AnyRow, column: &'static str) -> Result<T, Unreadable>
where
    T: sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
{
    row.try_get(column).map_err(|_| Unreadable { column })
}

/// A column that holds what nothing here writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) column: &'static str,
}

/// Whether a query failed since a row holds what can't be read at all, for example no UTF-8 in a text.
pub(crate) fn is_unreadable(error: &StoreError) -> bool {
    use sqlx::Error::{AnyDriverError, ColumnDecode, Decode};
    matches!(error, StoreError::Query(ColumnDecode { .. } | Decode(_) | AnyDriverError(_)))
}
