//! Table `workspaces`.

use hosting::WorkspaceId;
use jiff::Timestamp;
use store::sqlx::any::AnyRow;
use store::sqlx::{AnyExecutor, AnyPool, AssertSqlSafe, Row, query};
use store::{StoreError, Write};

use super::{Page, count, instant, instant_or_none, millis, parsed};

/// A workspace, with what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workspace {
    pub(crate) id: WorkspaceId,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) closed_at: Option<Timestamp>,
    /// Domains in it.
    pub(crate) domains: u64,
    /// Members of it, from here and from the sign-in provider.
    pub(crate) members: u64,
}

/// One column list for all: whoever looks at a workspace sees the same of it.
const SHOWN: &str = "SELECT w.id, w.name, w.created_at, w.closed_at,
    (SELECT count(*) FROM claims c WHERE c.workspace = w.id AND c.removed_at IS NULL) AS domains,
    (SELECT count(*) FROM members m WHERE m.workspace = w.id)
    + (SELECT count(*) FROM granted g JOIN people p ON p.id = g.person
       WHERE g.workspace = w.id AND NOT EXISTS (SELECT 1 FROM members m
           WHERE m.workspace = w.id AND m.who = coalesce(p.email, 'sub:' || p.subject)))
    AS members FROM workspaces w";

impl Workspace {
    pub(crate) async fn find<'e>(
        executor: impl AnyExecutor<'e>,
        id: &WorkspaceId,
    ) -> Result<Option<Workspace>, StoreError> {
        let sql = format!("{SHOWN} WHERE w.id = $1");
        let row = query(AssertSqlSafe(sql)).bind(id.as_str()).fetch_optional(executor).await?;
        row.as_ref().map(Workspace::from_row).transpose()
    }

    /// A page of all workspaces by id, closed ones too.
    pub(crate) async fn list(pool: &AnyPool, page: &Page) -> Result<Vec<Workspace>, StoreError> {
        let sql = format!("{SHOWN} WHERE w.id > $1 ORDER BY w.id LIMIT $2");
        let rows =
            query(AssertSqlSafe(sql)).bind(&page.after).bind(page.limit).fetch_all(pool).await?;
        rows.iter().map(Workspace::from_row).collect()
    }

    /// Whether a workspace is closed; none where there is none.
    pub(crate) async fn is_closed(
        pool: &AnyPool,
        id: &WorkspaceId,
    ) -> Result<Option<bool>, StoreError> {
        let sql = "SELECT closed_at FROM workspaces WHERE id = $1";
        let row = query(sql).bind(id.as_str()).fetch_optional(pool).await?;
        row.map(|row| Ok(instant_or_none(&row, "closed_at")?.is_some())).transpose()
    }

    /// Whether a workspace is closed; none where there is none. Nobody else closes or changes it, or
    /// its members, before this transaction ends.
    pub(crate) async fn hold(
        write: &mut Write,
        id: &WorkspaceId,
        for_update: &'static str,
    ) -> Result<Option<bool>, StoreError> {
        let sql = format!("SELECT closed_at FROM workspaces WHERE id = $1{for_update}");
        let row = query(AssertSqlSafe(sql)).bind(id.as_str()).fetch_optional(&mut **write).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(instant_or_none(&row, "closed_at")?.is_some()))
    }

    pub(crate) async fn insert(
        write: &mut Write,
        id: &WorkspaceId,
        name: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        query("INSERT INTO workspaces (id, name, created_at) VALUES ($1, $2, $3)")
            .bind(id.as_str())
            .bind(name)
            .bind(millis(now))
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    pub(crate) async fn rename(
        write: &mut Write,
        id: &WorkspaceId,
        name: &str,
    ) -> Result<(), StoreError> {
        query("UPDATE workspaces SET name = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(name)
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    pub(crate) async fn close(
        write: &mut Write,
        id: &WorkspaceId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        query("UPDATE workspaces SET closed_at = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(millis(now))
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// Dates what a migration has added, which has no clock.
    pub(crate) async fn date(pool: &AnyPool, now: Timestamp) -> Result<(), StoreError> {
        query("UPDATE workspaces SET created_at = $1 WHERE created_at = 0")
            .bind(millis(now))
            .execute(pool)
            .await?;
        Ok(())
    }

    fn from_row(row: &AnyRow) -> Result<Workspace, StoreError> {
        Ok(Workspace {
            id: parsed(row, "workspaces", "id")?,
            name: row.try_get("name")?,
            created_at: instant(row, "created_at")?,
            closed_at: instant_or_none(row, "closed_at")?,
            domains: count(row, "domains")?,
            members: count(row, "members")?,
        })
    }
}
