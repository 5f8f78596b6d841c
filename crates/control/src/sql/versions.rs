//! Table `versions`: the served-policy ledger.

use hosting::{ClaimId, Domain, Revision, Served, Version};
use jiff::Timestamp;
use mta_sts::{MxPattern, Policy};
use store::sqlx::any::AnyRow;
use store::sqlx::{AnyExecutor, Row, query};
use store::{StoreError, Write};

use super::{corrupt, count, instant, instant_or_none, millis, number, parsed};

/// A version with what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionRow {
    pub(crate) version: Version,
    pub(crate) announced_at: Option<Timestamp>,
    pub(crate) announced_until: Option<Timestamp>,
    pub(crate) last_served_at: Option<Timestamp>,
}

impl VersionRow {
    pub(crate) async fn insert(
        write: &mut Write,
        domain: &Domain,
        claim: &ClaimId,
        version: &Version,
    ) -> Result<(), StoreError> {
        let patterns: Vec<&str> = version.policy.mx.iter().map(MxPattern::as_str).collect();
        query(
            "INSERT INTO versions (domain, revision, claim, policy_id, mode, mx, max_age_seconds,
                 placeholder, body, change, changed_at, changed_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(domain.as_str())
        .bind(number(version.revision.number()))
        .bind(claim.as_str())
        .bind(version.policy_id.as_str())
        .bind(version.policy.mode.as_str())
        .bind(serde_json::Value::from(patterns).to_string())
        .bind(i64::from(version.policy.max_age_seconds))
        .bind(i64::from(version.placeholder))
        .bind(&version.body)
        .bind(version.change.as_str())
        .bind(millis(version.changed_at))
        .bind(&version.changed_by)
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    pub(crate) async fn find<'e>(
        executor: impl AnyExecutor<'e>,
        domain: &Domain,
        revision: u64,
    ) -> Result<Option<VersionRow>, StoreError> {
        let row = query("SELECT * FROM versions WHERE domain = $1 AND revision = $2")
            .bind(domain.as_str())
            .bind(number(revision))
            .fetch_optional(executor)
            .await?;
        row.as_ref().map(VersionRow::from_row).transpose()
    }

    /// Versions of a claim below a revision, newest first.
    pub(crate) async fn of_claim<'e>(
        executor: impl AnyExecutor<'e>,
        claim: &ClaimId,
        below: u64,
        limit: i64,
    ) -> Result<Vec<VersionRow>, StoreError> {
        let rows = query(
            "SELECT * FROM versions WHERE claim = $1 AND revision < $2
             ORDER BY revision DESC LIMIT $3",
        )
        .bind(claim.as_str())
        .bind(number(below))
        .bind(limit)
        .fetch_all(executor)
        .await?;
        rows.iter().map(VersionRow::from_row).collect()
    }

    /// What senders may hold of a name, under whichever claim it was served.
    pub(crate) async fn ledger<'e>(
        executor: impl AnyExecutor<'e>,
        domain: &Domain,
    ) -> Result<Vec<Served>, StoreError> {
        let rows = query(
            "SELECT revision, mode, max_age_seconds, announced_at, announced_until, last_served_at
             FROM versions WHERE domain = $1 AND mode <> 'none'
             AND (announced_at IS NOT NULL OR last_served_at IS NOT NULL) ORDER BY revision",
        )
        .bind(domain.as_str())
        .fetch_all(executor)
        .await?;
        rows.iter()
            .map(|row| {
                let until = instant_or_none(row, "announced_until")?;
                Ok(Served {
                    revision: revision(row)?,
                    mode: parsed(row, "versions", "mode")?,
                    max_age_seconds: max_age(row)?,
                    last_served_at: instant_or_none(row, "last_served_at")?,
                    announced_until: until.max(instant_or_none(row, "announced_at")?),
                })
            })
            .collect()
    }

    /// Ids that a name has announced, newest first.
    pub(crate) async fn announced_ids<'e>(
        executor: impl AnyExecutor<'e>,
        domain: &Domain,
        limit: i64,
    ) -> Result<Vec<String>, StoreError> {
        let rows = query(
            "SELECT policy_id FROM versions WHERE domain = $1 AND announced_at IS NOT NULL
             ORDER BY revision DESC LIMIT $2",
        )
        .bind(domain.as_str())
        .bind(limit)
        .fetch_all(executor)
        .await?;
        rows.iter().map(|row| Ok(row.try_get("policy_id")?)).collect()
    }

    pub(crate) async fn note_announced(
        write: &mut Write,
        domain: &Domain,
        revision: Revision,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        query(
            "UPDATE versions SET announced_at = $3 WHERE domain = $1 AND revision = $2
             AND announced_at IS NULL",
        )
        .bind(domain.as_str())
        .bind(number(revision.number()))
        .bind(millis(at))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// Notes that an edge has served a version, unless a later time is known.
    pub(crate) async fn note_served(
        write: &mut Write,
        domain: &str,
        revision: u64,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        query(
            "UPDATE versions SET last_served_at = $3 WHERE domain = $1 AND revision = $2
             AND (last_served_at IS NULL OR last_served_at < $3)",
        )
        .bind(domain)
        .bind(number(revision))
        .bind(millis(at))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    pub(crate) async fn note_seen_in_dns(
        write: &mut Write,
        domain: &Domain,
        policy_id: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        // Only ever later: documents may come again, and out of order.
        let sql = "UPDATE versions SET announced_until = $3 WHERE domain = $1 AND policy_id = $2
                   AND (announced_until IS NULL OR announced_until < $3)";
        query(sql)
            .bind(domain.as_str())
            .bind(policy_id)
            .bind(millis(at))
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    fn from_row(row: &AnyRow) -> Result<VersionRow, StoreError> {
        let placeholder: i64 = row.try_get("placeholder")?;
        let patterns: String = row.try_get("mx")?;
        let bad_patterns = || corrupt("versions", "mx", patterns.clone());
        let texts: Vec<String> = serde_json::from_str(&patterns).map_err(|_| bad_patterns())?;
        let mx: Result<Vec<MxPattern>, _> = texts.iter().map(|text| text.parse()).collect();
        let policy = Policy {
            mode: parsed(row, "versions", "mode")?,
            mx: mx.map_err(|_| bad_patterns())?,
            max_age_seconds: max_age(row)?,
        };
        let version = Version {
            revision: revision(row)?,
            policy,
            placeholder: placeholder != 0,
            policy_id: parsed(row, "versions", "policy_id")?,
            body: row.try_get("body")?,
            changed_at: instant(row, "changed_at")?,
            changed_by: row.try_get("changed_by")?,
            change: parsed(row, "versions", "change")?,
        };
        Ok(VersionRow {
            version,
            announced_at: instant_or_none(row, "announced_at")?,
            announced_until: instant_or_none(row, "announced_until")?,
            last_served_at: instant_or_none(row, "last_served_at")?,
        })
    }
}

fn revision(row: &AnyRow) -> Result<Revision, StoreError> {
    let number = count(row, "revision")?;
    Revision::new(number).map_err(|_| corrupt("versions", "revision", number.to_string()))
}

fn max_age(row: &AnyRow) -> Result<u32, StoreError> {
    Ok(u32::try_from(count(row, "max_age_seconds")?).unwrap_or(u32::MAX))
}
