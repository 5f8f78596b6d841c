//! Table `tokens`.

use hosting::WorkspaceId;
use jiff::Timestamp;
use store::sqlx::any::AnyRow;
use store::sqlx::{AnyExecutor, AnyPool, AssertSqlSafe, Row, query};
use store::{StoreError, Write};

use super::members::{power_from, power_to};
use super::{corrupt, count, instant, instant_or_none, millis, parsed};
use crate::identity::{IDLE, Life, OwnerId, Purpose};

const API: &str = "api";
const SIGN_IN: &str = "sign-in";

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) purpose: Purpose,
    pub(crate) owner: OwnerId,
    /// The token that it was made with; empty at sign-in.
    pub(crate) made_with: String,
    pub(crate) life: Life,
    /// For people.
    pub(crate) revoked_by: String,
}

/// Who looks at tokens, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) workspace: WorkspaceId,
    pub(crate) own: Own,
    /// Sees everybody's.
    pub(crate) everybodys: bool,
}

/// Which tokens are somebody's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Own {
    /// A person's, or the configured token's: all that it owns.
    OwnedBy(String),
    /// An API token's: itself, and what was made with it. Other tokens of its owner may do more than it.
    MadeWith(String),
}

impl View {
    /// Tokens that are seen from workspace $1 by who looks as $2, and everybody's with $3 = 1: those of
    /// the workspace, and sign-ins of who has a role in it.
    fn seen(&self) -> String {
        let own = match self.own {
            Own::OwnedBy(_) => "t.owner = $2",
            Own::MadeWith(_) => "(t.id = $2 OR t.made_with = $2)",
        };
        format!(
            "(t.workspace = $1 AND ({own} OR $3 = 1)
              OR t.workspace IS NULL AND ({own} OR $3 = 1 AND EXISTS (
                SELECT 1 FROM people p WHERE t.owner = 'person:' || p.id AND (
                    EXISTS (SELECT 1 FROM members m WHERE m.workspace = $1
                            AND (m.who = p.email OR m.who = 'sub:' || p.subject))
                    OR EXISTS (SELECT 1 FROM granted g
                               WHERE g.workspace = $1 AND g.person = p.id)))))"
        )
    }

    fn as_whom(&self) -> &str {
        match &self.own {
            Own::OwnedBy(owner) => owner,
            Own::MadeWith(token) => token,
        }
    }
}

/// Which part of a list of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenPage {
    /// Only those made before this one.
    pub(crate) after: Option<(Timestamp, String)>,
    /// At most so many.
    pub(crate) limit: i64,
    /// Expired and revoked ones, too.
    pub(crate) all: bool,
    pub(crate) now: Timestamp,
}

/// What is shown of a token, with the standing of its workspace.
const SHOWN: &str =
    "SELECT t.id, t.name, t.kind, t.workspace, t.role, t.domains, t.owner, t.made_with,
    t.created_at, t.expires_at, t.last_used_at, t.revoked_at, t.revoked_by,
    w.closed_at AS workspace_closed_at FROM tokens t LEFT JOIN workspaces w ON w.id = t.workspace";

impl TokenRow {
    /// The token with this hash.
    pub(crate) async fn of_hash<'e>(
        executor: impl AnyExecutor<'e>,
        hash: &[u8],
    ) -> Result<Option<TokenRow>, StoreError> {
        let sql = format!("{SHOWN} WHERE t.hash = $1");
        let row = query(AssertSqlSafe(sql)).bind(hash.to_vec()).fetch_optional(executor).await?;
        row.as_ref().map(TokenRow::from_row).transpose()
    }

    /// A token by its id, whoever may see it.
    pub(crate) async fn of_id<'e>(
        executor: impl AnyExecutor<'e>,
        id: &str,
    ) -> Result<Option<TokenRow>, StoreError> {
        let sql = format!("{SHOWN} WHERE t.id = $1");
        let row = query(AssertSqlSafe(sql)).bind(id).fetch_optional(executor).await?;
        row.as_ref().map(TokenRow::from_row).transpose()
    }

    /// A token that a caller may see from a workspace.
    pub(crate) async fn find<'e>(
        executor: impl AnyExecutor<'e>,
        id: &str,
        view: &View,
    ) -> Result<Option<TokenRow>, StoreError> {
        let sql = format!("{SHOWN} WHERE t.id = $4 AND {}", view.seen());
        let row = query(AssertSqlSafe(sql))
            .bind(view.workspace.as_str())
            .bind(view.as_whom())
            .bind(i64::from(view.everybodys))
            .bind(id)
            .fetch_optional(executor)
            .await?;
        row.as_ref().map(TokenRow::from_row).transpose()
    }

    /// A page of tokens that a caller may see from a workspace, newest first, after a place.
    pub(crate) async fn list(
        pool: &AnyPool,
        view: &View,
        page: &TokenPage,
    ) -> Result<Vec<TokenRow>, StoreError> {
        let seen = view.seen();
        let (before, id) = page.after.clone().unwrap_or((Timestamp::MAX, String::new()));
        let sql = format!(
            "{SHOWN} WHERE {seen}
             AND ($4 = 1 OR t.revoked_at IS NULL AND t.expires_at > $5
                  AND (t.kind <> 'sign-in' OR coalesce(t.last_used_at, t.created_at) > $6))
             AND (t.created_at < $7 OR t.created_at = $7 AND t.id < $8)
             ORDER BY t.created_at DESC, t.id DESC LIMIT $9"
        );
        let rows = query(AssertSqlSafe(sql))
            .bind(view.workspace.as_str())
            .bind(view.as_whom())
            .bind(i64::from(view.everybodys))
            .bind(i64::from(page.all))
            .bind(millis(page.now))
            .bind(millis(page.now.saturating_sub(IDLE).unwrap_or(Timestamp::MIN)))
            .bind(millis(before))
            .bind(id)
            .bind(page.limit)
            .fetch_all(pool)
            .await?;
        rows.iter().map(TokenRow::from_row).collect()
    }

    /// Whether a token is there and taken; nobody else revokes it before this transaction ends.
    pub(crate) async fn hold(
        write: &mut Write,
        id: &str,
        for_update: &'static str,
    ) -> Result<Option<Life>, StoreError> {
        let sql = format!("SELECT * FROM tokens WHERE id = $1{for_update}");
        let row = query(AssertSqlSafe(sql)).bind(id).fetch_optional(&mut **write).await?;
        row.as_ref().map(life).transpose()
    }

    /// API tokens of a workspace that are taken.
    pub(crate) async fn active(
        write: &mut Write,
        workspace: &WorkspaceId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) AS active FROM tokens
                   WHERE workspace = $1 AND revoked_at IS NULL AND expires_at > $2";
        let row =
            query(sql).bind(workspace.as_str()).bind(millis(now)).fetch_one(&mut **write).await?;
        count(&row, "active")
    }

    pub(crate) async fn insert(&self, write: &mut Write, hash: &[u8]) -> Result<(), StoreError> {
        let (kind, workspace, (role, domains)) = match &self.purpose {
            Purpose::SignIn => (SIGN_IN, None, ("", "[]".to_owned())),
            Purpose::Api { workspace, power, .. } => {
                (API, Some(workspace.as_str()), power_to(power))
            }
        };
        query(
            "INSERT INTO tokens (id, hash, kind, name, workspace, role, domains, owner, made_with,
                                 created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(&self.id)
        .bind(hash.to_vec())
        .bind(kind)
        .bind(&self.name)
        .bind(workspace)
        .bind(role)
        .bind(domains)
        .bind(self.owner.to_string())
        .bind(&self.made_with)
        .bind(millis(self.life.created_at))
        .bind(millis(self.life.expires_at))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// Ends a token, unless it was ended before.
    pub(crate) async fn revoke(
        write: &mut Write,
        id: &str,
        now: Timestamp,
        by: &str,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE tokens SET revoked_at = $2, revoked_by = $3
                   WHERE id = $1 AND revoked_at IS NULL";
        let done = query(sql).bind(id).bind(millis(now)).bind(by).execute(&mut **write).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Ids of tokens that are taken, made with another one, with one that was made with it, and so on.
    pub(crate) async fn made_with(
        write: &mut Write,
        id: &str,
        now: Timestamp,
        at_most: i64,
    ) -> Result<Vec<String>, StoreError> {
        // UNION leaves out what it has seen: it ends even on a ring, which nothing here makes.
        let sql = "WITH RECURSIVE tree (id) AS (
                       SELECT id FROM tokens WHERE made_with = $1
                       UNION SELECT t.id FROM tokens t JOIN tree ON t.made_with = tree.id)
                   SELECT t.id FROM tokens t JOIN tree ON tree.id = t.id
                   WHERE t.revoked_at IS NULL AND t.expires_at > $2 ORDER BY t.id LIMIT $3";
        let rows =
            query(sql).bind(id).bind(millis(now)).bind(at_most).fetch_all(&mut **write).await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// Ids of somebody's sign-ins that are taken, those first that were not used for longest.
    pub(crate) async fn sign_ins(
        write: &mut Write,
        owner: &OwnerId,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT id FROM tokens WHERE owner = $1 AND workspace IS NULL
                   AND revoked_at IS NULL AND expires_at > $2
                   ORDER BY coalesce(last_used_at, created_at), id";
        let rows =
            query(sql).bind(owner.to_string()).bind(millis(now)).fetch_all(&mut **write).await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// Notes a use.
    pub(crate) async fn note_used(
        write: &mut Write,
        id: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        query(
            "UPDATE tokens SET last_used_at = $2 WHERE id = $1 AND coalesce(last_used_at, 0) < $2",
        )
        .bind(id)
        .bind(millis(at))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// Forgets tokens that ended before an instant.
    pub(crate) async fn forget(write: &mut Write, before: Timestamp) -> Result<(), StoreError> {
        query("DELETE FROM tokens WHERE expires_at < $1")
            .bind(millis(before))
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    fn from_row(row: &AnyRow) -> Result<TokenRow, StoreError> {
        let life = life(row)?;
        let purpose = match life.is_sign_in {
            true => Purpose::SignIn,
            false => Purpose::Api {
                workspace: parsed(row, "tokens", "workspace")?,
                closed: instant_or_none(row, "workspace_closed_at")?.is_some(),
                power: power_from(row, "tokens")?,
            },
        };
        Ok(TokenRow {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            purpose,
            owner: parsed(row, "tokens", "owner")?,
            made_with: row.try_get("made_with")?,
            life,
            revoked_by: row.try_get("revoked_by")?,
        })
    }
}

fn life(row: &AnyRow) -> Result<Life, StoreError> {
    let kind: String = row.try_get("kind")?;
    Ok(Life {
        is_sign_in: match kind.as_str() {
            API => false,
            SIGN_IN => true,
            _ => return Err(corrupt("tokens", "kind", kind)),
        },
        created_at: instant(row, "created_at")?,
        expires_at: instant(row, "expires_at")?,
        last_used_at: instant_or_none(row, "last_used_at")?,
        revoked_at: instant_or_none(row, "revoked_at")?,
    })
}
