//! Table `regions`.

use hosting::{ClaimId, RegionId};
use jiff::Timestamp;
use store::sqlx::any::AnyRow;
use store::sqlx::{AnyExecutor, AssertSqlSafe, Row, query, query_scalar};
use store::{StoreError, Write};

use super::{instant, millis, parsed};

/// A region as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) id: RegionId,
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) reports: String,
    pub(crate) sealing_key: Vec<u8>,
    pub(crate) disabled: bool,
    pub(crate) created_at: Timestamp,
}

impl Region {
    pub(crate) async fn find<'e>(
        executor: impl AnyExecutor<'e>,
        id: &RegionId,
    ) -> Result<Option<Region>, StoreError> {
        let row = query("SELECT * FROM regions WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(executor)
            .await?;
        row.as_ref().map(Region::from_row).transpose()
    }

    /// All regions: there are a handful.
    pub(crate) async fn all<'e>(executor: impl AnyExecutor<'e>) -> Result<Vec<Region>, StoreError> {
        let rows = query("SELECT * FROM regions ORDER BY id").fetch_all(executor).await?;
        rows.iter().map(Region::from_row).collect()
    }

    /// Domains hosted in a region.
    pub(crate) async fn domains<'e>(
        executor: impl AnyExecutor<'e>,
        id: &RegionId,
    ) -> Result<i64, StoreError> {
        let sql = "SELECT count(*) FROM claims WHERE region = $1 AND removed_at IS NULL";
        Ok(query_scalar(sql).bind(id.as_str()).fetch_one(executor).await?)
    }

    /// Domains of a workspace hosted in a region.
    pub(crate) async fn domains_of<'e>(
        executor: impl AnyExecutor<'e>,
        id: &RegionId,
        workspace: &str,
    ) -> Result<i64, StoreError> {
        let sql = "SELECT count(*) FROM claims \
                   WHERE region = $1 AND workspace = $2 AND removed_at IS NULL";
        Ok(query_scalar(sql).bind(id.as_str()).bind(workspace).fetch_one(executor).await?)
    }

    /// A region to change: nobody else changes it before this transaction ends.
    pub(crate) async fn to_change(
        write: &mut Write,
        id: &RegionId,
        for_update: &'static str,
    ) -> Result<Option<Region>, StoreError> {
        let sql = format!("SELECT * FROM regions WHERE id = $1{for_update}");
        let row = query(AssertSqlSafe(sql)).bind(id.as_str()).fetch_optional(&mut **write).await?;
        row.as_ref().map(Region::from_row).transpose()
    }

    pub(crate) async fn insert(&self, write: &mut Write) -> Result<(), StoreError> {
        query(
            "INSERT INTO regions (id, name, host, reports, sealing_key, disabled, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(self.id.as_str())
        .bind(&self.name)
        .bind(&self.host)
        .bind(&self.reports)
        .bind(&self.sealing_key)
        .bind(i64::from(self.disabled))
        .bind(millis(self.created_at))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// Writes what may change of a region: not its host, and not its birth.
    pub(crate) async fn update(&self, write: &mut Write) -> Result<(), StoreError> {
        query(
            "UPDATE regions SET name = $2, reports = $3, sealing_key = $4, disabled = $5
             WHERE id = $1",
        )
        .bind(self.id.as_str())
        .bind(&self.name)
        .bind(&self.reports)
        .bind(&self.sealing_key)
        .bind(i64::from(self.disabled))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// Has the records of all the region's claims written again, from the first.
    pub(crate) async fn begin_rewriting(&self, write: &mut Write) -> Result<(), StoreError> {
        query("UPDATE regions SET rewriting_after = '' WHERE id = $1")
            .bind(self.id.as_str())
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// The last claim whose records have been written again; none when none are to be.
    pub(crate) async fn rewriting_after(
        write: &mut Write,
        id: &RegionId,
    ) -> Result<Option<String>, StoreError> {
        let sql = "SELECT rewriting_after FROM regions WHERE id = $1";
        let after: Option<Option<String>> =
            query_scalar(sql).bind(id.as_str()).fetch_optional(&mut **write).await?;
        Ok(after.flatten())
    }

    pub(crate) async fn set_rewriting_after(
        write: &mut Write,
        id: &RegionId,
        after: Option<&ClaimId>,
    ) -> Result<(), StoreError> {
        query("UPDATE regions SET rewriting_after = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(after.map(ClaimId::as_str))
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    fn from_row(row: &AnyRow) -> Result<Region, StoreError> {
        let disabled: i64 = row.try_get("disabled")?;
        Ok(Region {
            id: parsed(row, "regions", "id")?,
            name: row.try_get("name")?,
            host: row.try_get("host")?,
            reports: row.try_get("reports")?,
            sealing_key: row.try_get("sealing_key")?,
            disabled: disabled != 0,
            created_at: instant(row, "created_at")?,
        })
    }
}
