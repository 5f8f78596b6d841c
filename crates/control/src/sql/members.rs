//! Table `members`, and the list of all who have a role in a workspace.

use hosting::{Domain, WorkspaceId};
use jiff::Timestamp;
use service::caller::Role;
use store::sqlx::any::AnyRow;
use store::sqlx::{AnyExecutor, AnyPool, AssertSqlSafe, Row, query};
use store::{StoreError, Write};

use super::{Page, corrupt, instant, instant_or_none, millis, parsed};
use crate::identity::Power;

/// A role that was given here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) workspace: WorkspaceId,
    pub(crate) who: String,
    pub(crate) power: Power,
    pub(crate) added_at: Timestamp,
    /// For people.
    pub(crate) added_by: String,
}

/// A role, wherever it comes from, with what is known of the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) who: String,
    /// Given by the sign-in provider.
    pub(crate) of_provider: bool,
    pub(crate) power: Power,
    pub(crate) added_at: Timestamp,
    /// Empty where the provider did.
    pub(crate) added_by: String,
    /// Empty for who has not signed in.
    pub(crate) name: String,
    pub(crate) last_seen_at: Option<Timestamp>,
}

/// Everybody with a role in workspace $1.
const HELD: &str =
    "SELECT m.who AS who, CAST(0 AS BIGINT) AS of_provider, m.role AS role, m.domains AS domains,
            m.added_at AS added_at, m.added_by AS added_by,
            coalesce(e.name, s.name, '') AS name,
            coalesce(e.last_seen_at, s.last_seen_at) AS last_seen_at
     FROM members m LEFT JOIN people e ON e.email = m.who
     LEFT JOIN people s ON m.who LIKE 'sub:%' AND s.subject = substr(m.who, 5)
     WHERE m.workspace = $1
     UNION ALL
     SELECT coalesce(p.email, 'sub:' || p.subject), CAST(1 AS BIGINT), g.role, g.domains, g.granted_at, '', p.name,
            p.last_seen_at
     FROM granted g JOIN people p ON p.id = g.person WHERE g.workspace = $1";

impl Member {
    pub(crate) async fn find(
        write: &mut Write,
        workspace: &WorkspaceId,
        who: &str,
    ) -> Result<Option<Member>, StoreError> {
        let row = query("SELECT * FROM members WHERE workspace = $1 AND who = $2")
            .bind(workspace.as_str())
            .bind(who)
            .fetch_optional(&mut **write)
            .await?;
        row.as_ref().map(Member::from_row).transpose()
    }

    pub(crate) async fn insert(&self, write: &mut Write) -> Result<(), StoreError> {
        let (role, domains) = power_to(&self.power);
        query(
            "INSERT INTO members (workspace, who, role, domains, added_at, added_by)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(self.workspace.as_str())
        .bind(&self.who)
        .bind(role)
        .bind(domains)
        .bind(millis(self.added_at))
        .bind(&self.added_by)
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    pub(crate) async fn update(&self, write: &mut Write) -> Result<(), StoreError> {
        let (role, domains) = power_to(&self.power);
        query("UPDATE members SET role = $3, domains = $4 WHERE workspace = $1 AND who = $2")
            .bind(self.workspace.as_str())
            .bind(&self.who)
            .bind(role)
            .bind(domains)
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    fn from_row(row: &AnyRow) -> Result<Member, StoreError> {
        Ok(Member {
            workspace: parsed(row, "members", "workspace")?,
            who: row.try_get("who")?,
            power: power_from(row, "members")?,
            added_at: instant(row, "added_at")?,
            added_by: row.try_get("added_by")?,
        })
    }
}

impl Held {
    /// Every role of one member of a workspace: what was given here, and by the provider.
    pub(crate) async fn of<'e>(
        executor: impl AnyExecutor<'e>,
        workspace: &WorkspaceId,
        who: &str,
    ) -> Result<Vec<Held>, StoreError> {
        let sql = format!("SELECT * FROM ({HELD}) AS held WHERE who = $2 ORDER BY of_provider");
        let rows = query(AssertSqlSafe(sql))
            .bind(workspace.as_str())
            .bind(who)
            .fetch_all(executor)
            .await?;
        rows.iter().map(Held::from_row).collect()
    }

    /// Every role of a page of a workspace's members, by who they are. `page.limit` counts members.
    pub(crate) async fn list(
        pool: &AnyPool,
        workspace: &WorkspaceId,
        page: &Page,
    ) -> Result<Vec<Held>, StoreError> {
        let sql = format!(
            "WITH held AS ({HELD}), page AS
                (SELECT DISTINCT who FROM held WHERE who > $2 ORDER BY who LIMIT $3)
             SELECT held.* FROM held JOIN page ON page.who = held.who
             ORDER BY held.who, held.of_provider"
        );
        let rows = query(AssertSqlSafe(sql))
            .bind(workspace.as_str())
            .bind(&page.after)
            .bind(page.limit)
            .fetch_all(pool)
            .await?;
        rows.iter().map(Held::from_row).collect()
    }

    /// Takes away every role that somebody has in a workspace.
    pub(crate) async fn remove(
        write: &mut Write,
        workspace: &WorkspaceId,
        who: &str,
    ) -> Result<(), StoreError> {
        query("DELETE FROM members WHERE workspace = $1 AND who = $2")
            .bind(workspace.as_str())
            .bind(who)
            .execute(&mut **write)
            .await?;
        query(
            "DELETE FROM granted WHERE workspace = $1 AND person IN
                (SELECT id FROM people WHERE coalesce(email, 'sub:' || subject) = $2)",
        )
        .bind(workspace.as_str())
        .bind(who)
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    fn from_row(row: &AnyRow) -> Result<Held, StoreError> {
        let of_provider: i64 = row.try_get("of_provider")?;
        Ok(Held {
            who: row.try_get("who")?,
            of_provider: of_provider != 0,
            power: power_from(row, "members")?,
            added_at: instant(row, "added_at")?,
            added_by: row.try_get("added_by")?,
            name: row.try_get("name")?,
            last_seen_at: instant_or_none(row, "last_seen_at")?,
        })
    }
}

/// A role and its domains, as they are stored.
pub(super) fn power_to(power: &Power) -> (&'static str, String) {
    (power.role().as_str(), serde_json::json!(power.domains()).to_string())
}

pub(super) fn power_from(row: &AnyRow, table: &'static str) -> Result<Power, StoreError> {
    let role: Role = parsed(row, table, "role")?;
    let domains: String = row.try_get("domains")?;
    // What can't be read as a list must not read as no limit.
    let wrong = || corrupt(table, "domains", domains.clone());
    let names: Vec<String> = serde_json::from_str(&domains).map_err(|_| wrong())?;
    let named = names.iter().map(|name| Domain::stored(name).map_err(|_| wrong()));
    Ok(Power::new(role, named.collect::<Result<Vec<Domain>, StoreError>>()?))
}
