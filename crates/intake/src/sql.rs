//! All SQL of intake.

use store::sqlx::{AnyPool, Row, query};
use store::{Step, StoreError, Write};

/// How intake's tables came to be.
pub(crate) const STEPS: &[Step] =
    &[Step { version: 1, name: "intake", sql: include_str!("../migrations/0001_intake.sql") }];

/// Fetches to add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetches {
    pub(crate) domain: String,
    pub(crate) day: String,
    pub(crate) region: String,
    pub(crate) client: String,
    pub(crate) fetches: u64,
    pub(crate) last_at: i64,
}

impl Fetches {
    pub(crate) async fn add(&self, write: &mut Write) -> Result<(), StoreError> {
        query(
            "INSERT INTO fetches (domain, day, region, client, fetches, last_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (domain, day, region, client) DO UPDATE SET
                 fetches = fetches.fetches + $5,
                 last_at = CASE WHEN fetches.last_at < $6 THEN $6 ELSE fetches.last_at END",
        )
        .bind(&self.domain)
        .bind(&self.day)
        .bind(&self.region)
        .bind(&self.client)
        .bind(i64::try_from(self.fetches).unwrap_or(i64::MAX))
        .bind(self.last_at)
        .execute(&mut **write)
        .await?;
        Ok(())
    }
}

/// Whether the batch is new; from now on it is not.
pub(crate) async fn remember_batch(
    write: &mut Write,
    id: &str,
    now: i64,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO batches (id, counted_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
    let inserted = query(sql).bind(id).bind(now).execute(&mut **write).await?;
    Ok(inserted.rows_affected() == 1)
}

pub(crate) async fn forget_batches(write: &mut Write, before: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM batches WHERE counted_at < $1";
    query(sql).bind(before).execute(&mut **write).await?;
    Ok(())
}

/// Fetches per day from `first` on; days without any are left out.
pub(crate) async fn days(
    pool: &AnyPool,
    domain: &str,
    first: &str,
) -> Result<Vec<(String, u64)>, StoreError> {
    let rows = query(
        "SELECT day, CAST(coalesce(sum(fetches), 0) AS BIGINT) AS fetches FROM fetches
         WHERE domain = $1 AND day >= $2 GROUP BY day ORDER BY day",
    )
    .bind(domain)
    .bind(first)
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("day")?, counted(row.try_get("fetches")?)))).collect()
}

/// Fetches per kind of client from `first` on, most first.
pub(crate) async fn clients(
    pool: &AnyPool,
    domain: &str,
    first: &str,
) -> Result<Vec<(String, u64)>, StoreError> {
    let rows = query(
        "SELECT client, CAST(coalesce(sum(fetches), 0) AS BIGINT) AS fetches FROM fetches
         WHERE domain = $1 AND day >= $2 GROUP BY client ORDER BY 2 DESC, client LIMIT 50",
    )
    .bind(domain)
    .bind(first)
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("client")?, counted(row.try_get("fetches")?)))).collect()
}

/// The last fetch from `first` on, in milliseconds.
pub(crate) async fn last_fetch(
    pool: &AnyPool,
    domain: &str,
    first: &str,
) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT max(last_at) AS last_at FROM fetches WHERE domain = $1 AND day >= $2";
    let row = query(sql).bind(domain).bind(first).fetch_one(pool).await?;
    Ok(row.try_get("last_at")?)
}

fn counted(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or(0)
}
