//! Table `audit_records`.

use std::collections::BTreeSet;

use store::sqlx::any::AnyRow;
use store::sqlx::{AnyPool, AssertSqlSafe, Row, query, query_scalar};
use store::{StoreError, Write};

use super::{Unreadable, held, is_unreadable};
use crate::chain::Stored;
use crate::record::{BEGIN, REGISTER};

const COLUMNS: &str = "workspace, sequence, at, who, who_id, role, from_address, request_id,
                       action, about, before, after, hash";

/// A row as it stands there.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) sequence: Result<i64, Unreadable>,
    pub(crate) hash: Result<Vec<u8>, Unreadable>,
    pub(crate) record: Result<Stored, Unreadable>,
}

/// What is wanted of a list; empty texts want all.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) about: String,
    /// A LIKE pattern, lower-case.
    pub(crate) who: String,
    pub(crate) action: String,
    /// All actions that begin so.
    pub(crate) actions: String,
    pub(crate) request_id: String,
    pub(crate) since: Option<i64>,
    pub(crate) until: Option<i64>,
    /// Older than the record at this time and with this sequence.
    pub(crate) before: Option<(i64, i64)>,
}

/// The table.
pub(crate) struct Records;

impl Records {
    pub(crate) async fn insert(
        write: &mut Write,
        record: &Stored,
        hash: &[u8],
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO audit_records (workspace, sequence, at, who, who_id, role,
                       from_address, request_id, action, about, before, after, hash)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        query(sql)
            .bind(record.workspace.as_str())
            .bind(record.sequence)
            .bind(record.at)
            .bind(record.who.as_str())
            .bind(record.who_id.as_str())
            .bind(record.role.as_str())
            .bind(record.from.as_str())
            .bind(record.request_id.as_str())
            .bind(record.action.as_str())
            .bind(record.about.as_str())
            .bind(record.before.as_deref())
            .bind(record.after.as_deref())
            .bind(hash)
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// The highest sequence of a chain; 0 where it has no records, or none that we wrote.
    pub(crate) async fn last(write: &mut Write, workspace: &str) -> Result<i64, StoreError> {
        let sql = "SELECT max(sequence) AS last FROM audit_records WHERE workspace = $1";
        let row = query(sql).bind(workspace).fetch_one(&mut **write).await;
        let row = match row.map_err(StoreError::from) {
            Err(error) if is_unreadable(&error) => return Ok(0),
            row => row?,
        };
        let last: Option<i64> = held(&row, "last").unwrap_or_default();
        Ok(last.unwrap_or(0))
    }

    /// A page of a chain, in its order.
    pub(crate) async fn page(
        pool: &AnyPool,
        workspace: &str,
        (from, to): (i64, Option<i64>),
        limit: i64,
    ) -> Result<Vec<Place>, StoreError> {
        let mut sql =
            format!("SELECT {COLUMNS} FROM audit_records WHERE workspace = $1 AND sequence >= $2");
        if to.is_some() {
            sql.push_str(" AND sequence <= $4");
        }
        sql.push_str(" ORDER BY sequence LIMIT $3");
        let page = query(AssertSqlSafe(sql)).bind(workspace).bind(from).bind(limit);
        let page = match to {
            Some(to) => page.bind(to),
            None => page,
        };
        Ok(page.fetch_all(pool).await?.iter().map(place).collect())
    }

    /// Records by time, newest first.
    pub(crate) async fn list(
        pool: &AnyPool,
        workspace: &str,
        wanted: &Wanted,
        limit: i64,
    ) -> Result<Vec<Place>, StoreError> {
        let mut sql = format!("SELECT {COLUMNS} FROM audit_records WHERE workspace = $1");
        let mut values = Vec::new();
        let mut when = |text: &str, value: Value| {
            values.push(value);
            // $1 is the workspace, $2 the limit.
            sql.push_str(&text.replace("$n", &format!("${}", values.len() + 2)));
        };
        for (text, value) in [
            (" AND about = $n", &wanted.about),
            (" AND action = $n", &wanted.action),
            (" AND substr(action, 1, length($n)) = $n", &wanted.actions),
            (" AND request_id = $n", &wanted.request_id),
            (
                " AND (lower(who) LIKE $n ESCAPE '\\' OR lower(who_id) LIKE $n ESCAPE '\\')",
                &wanted.who,
            ),
        ] {
            if !value.is_empty() {
                when(text, Value::Text(value.clone()));
            }
        }
        for (text, at) in [(" AND at >= $n", wanted.since), (" AND at < $n", wanted.until)] {
            if let Some(at) = at {
                when(text, Value::Number(at));
            }
        }
        if let Some((at, sequence)) = wanted.before {
            when(" AND at <= $n", Value::Number(at));
            when(" AND (at < $n", Value::Number(at));
            when(" OR sequence < $n)", Value::Number(sequence));
        }
        sql.push_str(" ORDER BY at DESC, sequence DESC LIMIT $2");

        let mut list = query(AssertSqlSafe(sql)).bind(workspace).bind(limit);
        for value in values {
            list = match value {
                Value::Text(text) => list.bind(text),
                Value::Number(number) => list.bind(number),
            };
        }
        Ok(list.fetch_all(pool).await?.iter().map(place).collect())
    }

    /// The hash of one record.
    pub(crate) async fn hash(
        pool: &AnyPool,
        workspace: &str,
        sequence: i64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT hash FROM audit_records WHERE workspace = $1 AND sequence = $2";
        let row = query(sql).bind(workspace).bind(sequence).fetch_optional(pool).await;
        match row.map_err(StoreError::from) {
            Err(error) if is_unreadable(&error) => Ok(None),
            row => Ok(row?.and_then(|row| held(&row, "hash").ok())),
        }
    }

    /// How often the register tells of a chain.
    pub(crate) async fn begun(pool: &AnyPool, workspace: &str) -> Result<i64, StoreError> {
        let sql = "SELECT count(*) FROM audit_records
                   WHERE workspace = $1 AND about = $2 AND action = $3";
        let count = query_scalar(sql).bind(REGISTER).bind(workspace).bind(BEGIN);
        Ok(count.fetch_one(pool).await?)
    }

    /// Every chain that anything tells of, and whether there are names that nothing here writes.
    pub(crate) async fn chains(pool: &AnyPool) -> Result<(BTreeSet<String>, bool), StoreError> {
        let (mut chains, mut unreadable) = (BTreeSet::new(), false);
        // One by one: a name that is no UTF-8 takes the others of its table with it.
        for (sql, values) in [
            ("SELECT workspace FROM audit_heads", [].as_slice()),
            ("SELECT DISTINCT workspace FROM audit_records", &[]),
            (
                "SELECT about FROM audit_records WHERE workspace = $1 AND action = $2",
                &[REGISTER, BEGIN],
            ),
        ] {
            let names = values.iter().fold(query(sql), |query, value| query.bind(*value));
            let names = match names.fetch_all(pool).await.map_err(StoreError::from) {
                Err(error) if is_unreadable(&error) => {
                    unreadable = true;
                    continue;
                }
                names => names?,
            };
            for row in &names {
                match row.try_get(0) {
                    Ok(name) => drop(chains.insert(name)),
                    Err(_) => unreadable = true,
                }
            }
        }
        Ok((chains, unreadable))
    }
}

enum Value {
    Text(String),
    Number(i64),
}

fn place(row: &AnyRow) -> Place {
    Place { sequence: held(row, "sequence"), hash: held(row, "hash"), record: record(row) }
}

fn record(row: &AnyRow) -> Result<Stored, Unreadable> {
    Ok(Stored {
        workspace: held(row, "workspace")?,
        sequence: held(row, "sequence")?,
        at: held(row, "at")?,
        who: held(row, "who")?,
        who_id: held(row, "who_id")?,
        role: held(row, "role")?,
        from: held(row, "from_address")?,
        request_id: held(row, "request_id")?,
        action: held(row, "action")?,
        about: held(row, "about")?,
        before: held(row, "before")?,
        after: held(row, "after")?,
    })
}
