//! Table `audit_heads`.

use store::sqlx::any::AnyRow;
use store::sqlx::{AnyPool, AssertSqlSafe, query};
use store::{StoreError, Write};

use super::{Unreadable, held, is_unreadable};

/// The end of a chain, as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) sequence: i64,
    pub(crate) hash: Vec<u8>,
    pub(crate) seal: Vec<u8>,
}

/// A chain's end and its last record, at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// None: there is no such row.
    pub(crate) end: Option<Result<End, Unreadable>>,
    /// None: there are no records.
    pub(crate) last: Result<Option<i64>, Unreadable>,
}

/// The table.
pub(crate) struct Ends;

impl Ends {
    pub(crate) async fn exists(write: &mut Write, workspace: &str) -> Result<bool, StoreError> {
        let sql = "SELECT workspace FROM audit_heads WHERE workspace = $1";
        Ok(query(sql).bind(workspace).fetch_optional(&mut **write).await?.is_some())
    }

    /// Makes sure that a chain has an end, and says whether it had none. Another transaction that
    /// does the same is waited for.
    pub(crate) async fn ensure(
        write: &mut Write,
        workspace: &str,
        hash: &[u8],
        seal: &[u8],
    ) -> Result<bool, StoreError> {
        let sql = "INSERT INTO audit_heads (workspace, sequence, hash, seal)
                   VALUES ($1, 0, $2, $3) ON CONFLICT (workspace) DO NOTHING";
        let done = query(sql).bind(workspace).bind(hash).bind(seal).execute(&mut **write).await?;
        Ok(done.rows_affected() == 1)
    }

    /// A chain's end, which nobody else can change until the transaction ends; none where it is not
    /// what we write.
    pub(crate) async fn lock(
        write: &mut Write,
        workspace: &str,
        for_update: &'static str,
    ) -> Result<Option<End>, StoreError> {
        let sql = "SELECT sequence, hash, seal FROM audit_heads WHERE workspace = $1";
        let sql = AssertSqlSafe(format!("{sql}{for_update}"));
        let row = query(sql).bind(workspace).fetch_one(&mut **write).await;
        match row.map_err(StoreError::from) {
            Err(error) if is_unreadable(&error) => Ok(None),
            row => Ok(end(&row?).ok()),
        }
    }

    pub(crate) async fn update(
        write: &mut Write,
        workspace: &str,
        end: &End,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE audit_heads SET sequence = $2, hash = $3, seal = $4 WHERE workspace = $1";
        query(sql)
            .bind(workspace)
            .bind(end.sequence)
            .bind(end.hash.as_slice())
            .bind(end.seal.as_slice())
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// One statement, so that no writer can come between.
    pub(crate) async fn snapshot(pool: &AnyPool, workspace: &str) -> Result<Snapshot, StoreError> {
        let sql = "SELECT records.last, heads.workspace AS present, heads.sequence, heads.hash,
                          heads.seal
                   FROM (SELECT max(sequence) AS last FROM audit_records WHERE workspace = $1)
                        AS records
                   LEFT JOIN audit_heads AS heads ON heads.workspace = $1";
        let row = query(sql).bind(workspace).fetch_one(pool).await?;
        let present: Option<String> = held(&row, "present").unwrap_or_default();
        Ok(Snapshot { end: present.map(|_| end(&row)), last: held(&row, "last") })
    }
}

fn end(row: &AnyRow) -> Result<End, Unreadable> {
    Ok(End { sequence: held(row, "sequence")?, hash: held(row, "hash")?, seal: held(row, "seal")? })
}
