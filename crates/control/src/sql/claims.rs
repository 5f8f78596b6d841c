//! Table `claims`.

use hosting::{Claim, ClaimId, Domain, Hosting, Revision, State, WorkspaceId};
use jiff::Timestamp;
use store::sqlx::any::AnyRow;
use store::sqlx::{AnyExecutor, AnyPool, Row, query};
use store::{StoreError, Write};

use super::{VersionRow, corrupt, count, instant, instant_or_none, millis, number, parsed};

/// A claim with what the product's rules do not decide about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimRow {
    pub(crate) claim: Claim,
    pub(crate) created_at: Timestamp,
    /// The version whose id may be published.
    pub(crate) announced: Option<VersionRow>,
    /// The id that dns last found.
    pub(crate) found_policy_id: String,
    /// While stopping: since when senders can tell.
    pub(crate) none_visible_since: Option<Timestamp>,
}

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// Only what sorts after this.
    pub(crate) after: String,
    /// At most so many.
    pub(crate) limit: i64,
}

/// The columns, and how they are read, of a claim without its versions.
struct Bare {
    claim: Claim,
    created_at: Timestamp,
    region: Option<String>,
    stopping_since: Option<Timestamp>,
    testing_since: Option<Timestamp>,
    revision: Option<u64>,
    announced_revision: Option<u64>,
    found_policy_id: String,
    none_visible_since: Option<Timestamp>,
}

impl ClaimRow {
    /// A workspace's claim to a name, to look at.
    pub(crate) async fn find(
        pool: &AnyPool,
        workspace: &WorkspaceId,
        domain: &Domain,
    ) -> Result<Option<ClaimRow>, StoreError> {
        let row = query(
            "SELECT * FROM claims WHERE workspace = $1 AND domain = $2 AND removed_at IS NULL",
        )
        .bind(workspace.as_str())
        .bind(domain.as_str())
        .fetch_optional(pool)
        .await?;
        match row {
            None => Ok(None),
            Some(row) => Ok(Some(Bare::from_row(&row)?.with_versions(pool).await?)),
        }
    }

    /// A claim by its id, to look at.
    pub(crate) async fn by_id(
        pool: &AnyPool,
        id: &ClaimId,
    ) -> Result<Option<ClaimRow>, StoreError> {
        let row = query("SELECT * FROM claims WHERE id = $1 AND removed_at IS NULL")
            .bind(id.as_str())
            .fetch_optional(pool)
            .await?;
        match row {
            None => Ok(None),
            Some(row) => Ok(Some(Bare::from_row(&row)?.with_versions(pool).await?)),
        }
    }

    /// A claim by its id, to change: nobody else changes it before this transaction ends.
    pub(crate) async fn to_change(
        write: &mut Write,
        id: &ClaimId,
        for_update: &'static str,
    ) -> Result<Option<ClaimRow>, StoreError> {
        let sql = format!("SELECT * FROM claims WHERE id = $1 AND removed_at IS NULL{for_update}");
        let row = query(store::sqlx::AssertSqlSafe(sql))
            .bind(id.as_str())
            .fetch_optional(&mut **write)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let bare = Bare::from_row(&row)?;
        let current = bare.version(bare.revision, &mut **write).await?;
        let announced = bare.version(bare.announced_revision, &mut **write).await?;
        bare.assemble(current, announced).map(Some)
    }

    /// The id of a workspace's claim to a name.
    pub(crate) async fn id_of<'e>(
        executor: impl AnyExecutor<'e>,
        workspace: &WorkspaceId,
        domain: &Domain,
    ) -> Result<Option<ClaimId>, StoreError> {
        let row = query(
            "SELECT id FROM claims WHERE workspace = $1 AND domain = $2 AND removed_at IS NULL",
        )
        .bind(workspace.as_str())
        .bind(domain.as_str())
        .fetch_optional(executor)
        .await?;
        row.map(|row| parsed(&row, "claims", "id")).transpose()
    }

    /// A page of a workspace's claims by name.
    pub(crate) async fn list(
        pool: &AnyPool,
        workspace: &WorkspaceId,
        contains: &str,
        page: &Page,
    ) -> Result<Vec<ClaimRow>, StoreError> {
        // In a LIKE pattern `_` and `%` would stand for other characters.
        let pattern = contains.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let rows = query(
            "SELECT * FROM claims WHERE workspace = $1 AND removed_at IS NULL AND domain > $2
             AND domain LIKE $3 ESCAPE '\\' ORDER BY domain LIMIT $4",
        )
        .bind(workspace.as_str())
        .bind(&page.after)
        .bind(format!("%{pattern}%"))
        .bind(page.limit)
        .fetch_all(pool)
        .await?;
        let mut claims = Vec::with_capacity(rows.len());
        for row in &rows {
            claims.push(Bare::from_row(row)?.with_versions(pool).await?);
        }
        Ok(claims)
    }

    /// Ids of claims that a loop has to look at.
    pub(crate) async fn waiting<'e>(
        executor: impl AnyExecutor<'e>,
        what: WaitingFor,
    ) -> Result<Vec<ClaimId>, StoreError> {
        let sql = match what {
            WaitingFor::FirstId => {
                "SELECT id FROM claims WHERE removed_at IS NULL AND region IS NOT NULL
                 AND proven_at IS NOT NULL AND announced_revision IS NULL
                 ORDER BY id"
            }
            WaitingFor::NextId => {
                "SELECT id FROM claims WHERE removed_at IS NULL AND region IS NOT NULL
                 AND proven_at IS NOT NULL AND announced_revision < revision
                 ORDER BY id"
            }
            WaitingFor::EndOfStop => {
                "SELECT id FROM claims WHERE removed_at IS NULL AND stopping_since IS NOT NULL
                 ORDER BY id"
            }
        };
        let rows = query(sql).fetch_all(executor).await?;
        rows.iter().map(|row| parsed(row, "claims", "id")).collect()
    }

    /// Whether anybody claims a name, or one below it.
    pub(crate) async fn any_within(pool: &AnyPool, name: &str) -> Result<bool, StoreError> {
        // Host names have neither `%` nor `_`, which would stand for other characters.
        let sql = "SELECT id FROM claims WHERE removed_at IS NULL
                   AND (domain = $1 OR domain LIKE $2) LIMIT 1";
        let below = format!("%.{name}");
        Ok(query(sql).bind(name).bind(below).fetch_optional(pool).await?.is_some())
    }

    /// Ids of a region's claims, in their order, after one of them.
    pub(crate) async fn ids_in_region(
        write: &mut Write,
        region: &hosting::RegionId,
        after: &str,
        at_most: i64,
    ) -> Result<Vec<ClaimId>, StoreError> {
        let sql = "SELECT id FROM claims WHERE removed_at IS NULL AND region = $1 AND id > $2
                   ORDER BY id LIMIT $3";
        let rows = query(sql)
            .bind(region.as_str())
            .bind(after)
            .bind(at_most)
            .fetch_all(&mut **write)
            .await?;
        rows.iter().map(|row| parsed(row, "claims", "id")).collect()
    }

    pub(crate) async fn insert(
        write: &mut Write,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        query(
            "INSERT INTO claims (id, workspace, domain, kind, nonce, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(claim.id.as_str())
        .bind(claim.workspace.as_str())
        .bind(claim.domain.as_str())
        .bind(claim.kind.as_str())
        .bind(claim.nonce.as_str())
        .bind(millis(now))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// Writes the whole row back.
    pub(crate) async fn update(&self, write: &mut Write) -> Result<(), StoreError> {
        let claim = &self.claim;
        let hosting = claim.hosting.as_ref();
        let stopping_since = match claim.state() {
            State::Stopping { since } => Some(millis(since)),
            State::Off | State::Active => None,
        };
        let announced = self.announced.as_ref().map(|row| row.version.revision);
        query(
            "UPDATE claims SET kind = $2, proven_at = $3, region = $4, stopping_since = $5,
                 testing_since = $6, revision = $7, announced_revision = $8,
                 found_policy_id = $9, none_visible_since = $10
             WHERE id = $1",
        )
        .bind(claim.id.as_str())
        .bind(claim.kind.as_str())
        .bind(claim.proven_at.map(millis))
        .bind(hosting.map(|hosting| hosting.region.as_str()))
        .bind(stopping_since)
        .bind(hosting.and_then(|hosting| hosting.testing_since).map(millis))
        .bind(claim.revision().map(|revision| number(revision.number())))
        .bind(announced.map(|revision: Revision| number(revision.number())))
        .bind(&self.found_policy_id)
        .bind(self.none_visible_since.map(millis))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    pub(crate) async fn remove(
        write: &mut Write,
        id: &ClaimId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        query("UPDATE claims SET removed_at = $2, proven_at = NULL WHERE id = $1")
            .bind(id.as_str())
            .bind(millis(now))
            .execute(&mut **write)
            .await?;
        Ok(())
    }
}

/// What a claim waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitingFor {
    /// None of its ids has been announced yet.
    FirstId,
    /// Its newest id has not been announced, one before has.
    NextId,
    /// It is stopping.
    EndOfStop,
}

impl Bare {
    fn from_row(row: &AnyRow) -> Result<Bare, StoreError> {
        let optional = |column: &str| -> Result<Option<u64>, StoreError> {
            let stored: Option<i64> = row.try_get(column)?;
            stored.map(|_| count(row, column)).transpose()
        };
        Ok(Bare {
            claim: Claim {
                id: parsed(row, "claims", "id")?,
                workspace: parsed(row, "claims", "workspace")?,
                domain: domain(row)?,
                kind: parsed(row, "claims", "kind")?,
                nonce: parsed(row, "claims", "nonce")?,
                proven_at: instant_or_none(row, "proven_at")?,
                hosting: None,
            },
            created_at: instant(row, "created_at")?,
            region: row.try_get("region")?,
            stopping_since: instant_or_none(row, "stopping_since")?,
            testing_since: instant_or_none(row, "testing_since")?,
            revision: optional("revision")?,
            announced_revision: optional("announced_revision")?,
            found_policy_id: row.try_get("found_policy_id")?,
            none_visible_since: instant_or_none(row, "none_visible_since")?,
        })
    }

    async fn with_versions(self, pool: &AnyPool) -> Result<ClaimRow, StoreError> {
        let current = self.version(self.revision, pool).await?;
        let announced = self.version(self.announced_revision, pool).await?;
        self.assemble(current, announced)
    }

    async fn version<'e>(
        &self,
        revision: Option<u64>,
        executor: impl AnyExecutor<'e>,
    ) -> Result<Option<VersionRow>, StoreError> {
        match revision {
            None => Ok(None),
            Some(revision) => VersionRow::find(executor, &self.claim.domain, revision).await,
        }
    }

    fn assemble(
        self,
        current: Option<VersionRow>,
        announced: Option<VersionRow>,
    ) -> Result<ClaimRow, StoreError> {
        let hosting = match (self.region, current) {
            (Some(region), Some(current)) => Some(Hosting {
                region: region.parse().map_err(|_| corrupt("claims", "region", region))?,
                state: match self.stopping_since {
                    Some(since) => State::Stopping { since },
                    None => State::Active,
                },
                current: current.version,
                testing_since: self.testing_since,
            }),
            _ => None,
        };
        Ok(ClaimRow {
            claim: Claim { hosting, ..self.claim },
            created_at: self.created_at,
            announced,
            found_policy_id: self.found_policy_id,
            none_visible_since: self.none_visible_since,
        })
    }
}

fn domain(row: &AnyRow) -> Result<Domain, StoreError> {
    let text: String = row.try_get("domain")?;
    Domain::stored(&text).map_err(|_| corrupt("claims", "domain", text))
}
