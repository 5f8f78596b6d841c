//! Table `calls`.

use store::sqlx::any::AnyRow;
use store::sqlx::{AnyPool, AssertSqlSafe, query};
use store::{StoreError, Write};

use super::held;

/// A key that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) request_hash: Vec<u8>,
    pub(crate) answer: Option<Vec<u8>>,
}

/// The table. `since` is the oldest that still counts.
pub(crate) struct Calls;

impl Calls {
    /// Marks a key as used, and says whether it was not yet. Another transaction that does the same is
    /// waited for.
    pub(crate) async fn mark(
        write: &mut Write,
        (key, request_hash): (&[u8], &[u8]),
        method: &str,
        now: i64,
        since: i64,
    ) -> Result<bool, StoreError> {
        query("DELETE FROM calls WHERE key = $1 AND at < $2")
            .bind(key)
            .bind(since)
            .execute(&mut **write)
            .await?;
        let sql = "INSERT INTO calls (key, request_hash, method, at) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (key) DO NOTHING";
        let done = query(sql).bind(key).bind(request_hash).bind(method).bind(now);
        Ok(done.execute(&mut **write).await?.rows_affected() == 1)
    }

    /// What a key was used for, in the transaction that could not mark it.
    pub(crate) async fn marked(write: &mut Write, key: &[u8]) -> Result<Option<Kept>, StoreError> {
        let sql = "SELECT request_hash, answer FROM calls WHERE key = $1";
        let row = query(sql).bind(key).fetch_optional(&mut **write).await?;
        Ok(row.as_ref().map(kept))
    }

    /// What a key was used for.
    pub(crate) async fn find(
        pool: &AnyPool,
        key: &[u8],
        since: i64,
    ) -> Result<Option<Kept>, StoreError> {
        let sql = "SELECT request_hash, answer FROM calls WHERE key = $1 AND at >= $2";
        let row = query(sql).bind(key).bind(since).fetch_optional(pool).await?;
        Ok(row.as_ref().map(kept))
    }

    /// Keeps an answer, unless one is kept. A call that changed nothing has left no mark: its answer is
    /// the mark.
    pub(crate) async fn keep(
        pool: &AnyPool,
        (key, request_hash): (&[u8], &[u8]),
        method: &str,
        answer: &[u8],
        now: i64,
        since: i64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO calls (key, request_hash, method, at, answer)
                   VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT (key) DO UPDATE SET
                       request_hash = excluded.request_hash, method = excluded.method,
                       at = CASE WHEN calls.at < $6 THEN excluded.at ELSE calls.at END,
                       answer = excluded.answer
                   WHERE calls.at < $6
                      OR (calls.request_hash = excluded.request_hash AND calls.answer IS NULL)";
        query(sql)
            .bind(key)
            .bind(request_hash)
            .bind(method)
            .bind(now)
            .bind(answer)
            .bind(since)
            .execute(pool)
            .await?;
        Ok(())
    }

    /// Deletes some of the keys that no longer count, and says how many. Rows that a call is just
    /// using are left for the next time.
    pub(crate) async fn delete_some(
        pool: &AnyPool,
        since: i64,
        at_most: i64,
        for_update: &'static str,
    ) -> Result<u64, StoreError> {
        let skip = if for_update.is_empty() { "" } else { " SKIP LOCKED" };
        // As a common table expression: in a subquery PostgreSQL may select anew for each row.
        let sql = format!(
            "WITH old AS MATERIALIZED (
                 SELECT key FROM calls WHERE at < $1 ORDER BY at LIMIT $2{for_update}{skip})
             DELETE FROM calls WHERE key IN (SELECT key FROM old)"
        );
        let done = query(AssertSqlSafe(sql)).bind(since).bind(at_most).execute(pool).await?;
        Ok(done.rows_affected())
    }
}

fn kept(row: &AnyRow) -> Kept {
    Kept {
        request_hash: held(row, "request_hash").unwrap_or_default(),
        answer: held(row, "answer").unwrap_or_default(),
    }
}
