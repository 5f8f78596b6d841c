//! Every statement of the issuer: what is known of the world here, orders in `orders`, which of them
//! is next in `queue`, what is counted in `ledger`, what is published in `feeds`. What is written down
//! of changes is the audit crate's, in the same database.

mod feeds;
mod ledger;
mod orders;
mod queue;

use audit::{Audit, AuditKey};
use jiff::Timestamp;
use service::clock::SharedClock;
use store::sqlx::any::AnyRow;
use store::sqlx::{self, Row};
use store::{Step, Store, StoreError};

pub(crate) use feeds::{Change, Document};
pub(crate) use ledger::Reissue;
pub(crate) use orders::{End, NewOrder, Order, OrderStep, Reason, Retry};
pub(crate) use queue::Due;

const STEPS: &[Step] = &[
    Step { version: 1, name: "init", sql: include_str!("../migrations/0001_init.sql") },
    Step { version: 2, name: "fence", sql: include_str!("../migrations/0002_fence.sql") },
    audit::step(3),
    Step { version: 4, name: "asked", sql: include_str!("../migrations/0004_asked.sql") },
];

/// The issuer's database.
#[derive(Debug, Clone)]
pub(crate) struct Db {
    store: Store,
    /// Of the changes in this database.
    pub(crate) audit: Audit,
}

/// A region that can be published to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) id: String,
    pub(crate) sealing_key: Vec<u8>,
    /// Stands for the key where a document's content is described.
    pub(crate) sealing_tag: String,
}

/// A policy document or tombstone, as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy<'a> {
    pub(crate) domain: &'a str,
    pub(crate) region: &'a str,
    pub(crate) revision: u64,
    pub(crate) position: u64,
    /// The claim that it is of; `None`: hosted no longer.
    pub(crate) claim: Option<&'a str>,
}

/// The newest certificate of a domain.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) order_id: String,
    pub(crate) chain: String,
    pub(crate) sealed_key: Vec<u8>,
    pub(crate) serial: String,
    pub(crate) issuer: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) renew_at: Timestamp,
}

/// What is remembered of a domain.
#[derive(Debug, Clone, Default)]
pub(crate) struct Name {
    pub(crate) workspace: String,
    pub(crate) failures: i64,
    pub(crate) retry_at: Option<Timestamp>,
    pub(crate) last_error: String,
}

/// What we are at an authority.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    pub(crate) sealed: Vec<u8>,
    pub(crate) public_part: String,
}

impl Db {
    pub(crate) async fn open(
        url: &str,
        key: &AuditKey,
        clock: SharedClock,
    ) -> Result<Db, StoreError> {
        let store = Store::open(url, "issuer", STEPS).await?;
        let audit = Audit::new("issuer", key, store.clone(), clock);
        Ok(Db { store, audit })
    }

    /// Takes a region document, or its removal, if it is newer than what there is.
    pub(crate) async fn take_region(
        &self,
        region: &str,
        revision: u64,
        sealing_key: Option<&[u8]>,
        sealing_tag: &str,
    ) -> Result<bool, StoreError> {
        let taken = sqlx::query(
            "INSERT INTO regions (region, revision, sealing_key, sealing_tag)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (region) DO UPDATE SET revision = excluded.revision,
                 sealing_key = excluded.sealing_key, sealing_tag = excluded.sealing_tag
             WHERE excluded.revision > regions.revision",
        )
        .bind(region)
        .bind(sql_count(revision))
        .bind(sealing_key)
        .bind(sealing_tag)
        .execute(self.store.read())
        .await?;
        Ok(taken.rows_affected() > 0)
    }

    /// Regions that there are, by id.
    pub(crate) async fn regions(&self) -> Result<Vec<Region>, StoreError> {
        let rows = sqlx::query(
            "SELECT region, sealing_key, sealing_tag FROM regions
             WHERE sealing_tag <> '' ORDER BY region",
        )
        .fetch_all(self.store.read())
        .await?;
        let mut regions = Vec::new();
        for row in rows {
            regions.push(Region {
                id: row.try_get("region")?,
                sealing_key: row.try_get("sealing_key")?,
                sealing_tag: row.try_get("sealing_tag")?,
            });
        }
        Ok(regions)
    }

    /// Takes a policy document, or its removal, if it is newer than what there is.
    ///
    /// Looks first: at a start everything that the bus has comes again, and is not news. With another
    /// claim, or none left, nobody is remembered as the owner: control has to say who it is.
    pub(crate) async fn take_policy(&self, policy: &Policy<'_>) -> Result<bool, StoreError> {
        let known: Option<i64> =
            sqlx::query_scalar("SELECT revision FROM policies WHERE domain = $1 AND region = $2")
                .bind(policy.domain)
                .bind(policy.region)
                .fetch_optional(self.store.read())
                .await?;
        if known.is_some_and(|known| known >= sql_count(policy.revision)) {
            return Ok(false);
        }
        let claim = policy.claim.unwrap_or_default();
        let mut write = self.store.write().await?;
        let taken = sqlx::query(
            "INSERT INTO policies (domain, region, revision, position, hosted, claim)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (domain, region) DO UPDATE SET revision = excluded.revision,
                 position = excluded.position, hosted = excluded.hosted
             WHERE excluded.revision > policies.revision",
        )
        .bind(policy.domain)
        .bind(policy.region)
        .bind(sql_count(policy.revision))
        .bind(sql_count(policy.position))
        .bind(i64::from(policy.claim.is_some()))
        .bind(claim)
        .execute(&mut *write)
        .await?;
        if taken.rows_affected() == 0 {
            return Ok(false);
        }
        // The row still has the claim from before.
        sqlx::query(
            "UPDATE names SET workspace = '' WHERE domain = $1 AND (
                 EXISTS (SELECT 1 FROM policies
                     WHERE domain = $1 AND hosted = 1 AND $2 <> '' AND claim NOT IN ($2, ''))
                 OR NOT EXISTS (SELECT 1 FROM policies WHERE domain = $1 AND hosted = 1))",
        )
        .bind(policy.domain)
        .bind(claim)
        .execute(&mut *write)
        .await?;
        sqlx::query("UPDATE policies SET claim = $3 WHERE domain = $1 AND region = $2")
            .bind(policy.domain)
            .bind(policy.region)
            .bind(claim)
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        Ok(true)
    }

    /// Regions that host a domain, each with the position of its policy.
    pub(crate) async fn hosted_in(&self, domain: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT region, position FROM policies WHERE domain = $1 AND hosted = 1
             ORDER BY region",
        )
        .bind(domain)
        .fetch_all(self.store.read())
        .await?;
        let mut hosted_in = Vec::new();
        for row in rows {
            hosted_in.push((row.try_get("region")?, count(&row, "position")?));
        }
        Ok(hosted_in)
    }

    pub(crate) async fn certificate(
        &self,
        domain: &str,
    ) -> Result<Option<Certificate>, StoreError> {
        let row = sqlx::query(
            "SELECT order_id, chain, sealed_key, serial, issuer, not_before, not_after, renew_at
             FROM certificates WHERE domain = $1",
        )
        .bind(domain)
        .fetch_optional(self.store.read())
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        Ok(Some(Certificate {
            order_id: row.try_get("order_id")?,
            chain: row.try_get("chain")?,
            sealed_key: row.try_get("sealed_key")?,
            serial: row.try_get("serial")?,
            issuer: row.try_get("issuer")?,
            not_before: instant(&row, "not_before")?,
            not_after: instant(&row, "not_after")?,
            renew_at: instant(&row, "renew_at")?,
        }))
    }

    /// What is remembered of a domain; nothing of one for which nothing was ever ordered.
    pub(crate) async fn name(&self, domain: &str) -> Result<Name, StoreError> {
        let row = sqlx::query(
            "SELECT workspace, failures, retry_at, last_error FROM names WHERE domain = $1",
        )
        .bind(domain)
        .fetch_optional(self.store.read())
        .await?;
        let Some(row) = row else {
            return Ok(Name::default());
        };
        let retry_at = instant(&row, "retry_at")?;
        Ok(Name {
            workspace: row.try_get("workspace")?,
            failures: row.try_get("failures")?,
            retry_at: (retry_at > Timestamp::UNIX_EPOCH).then_some(retry_at),
            last_error: row.try_get("last_error")?,
        })
    }

    /// Leaves a domain alone until then.
    pub(crate) async fn pause(&self, domain: &str, until: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO names (domain, workspace, retry_at) VALUES ($1, '', $2)
             ON CONFLICT (domain) DO UPDATE SET retry_at = excluded.retry_at",
        )
        .bind(domain)
        .bind(until.as_millisecond())
        .execute(self.store.read())
        .await?;
        Ok(())
    }

    pub(crate) async fn membership(
        &self,
        authority: &str,
    ) -> Result<Option<Membership>, StoreError> {
        let row = sqlx::query("SELECT sealed, public_part FROM authorities WHERE name = $1")
            .bind(authority)
            .fetch_optional(self.store.read())
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        Ok(Some(Membership {
            sealed: row.try_get("sealed")?,
            public_part: row.try_get("public_part")?,
        }))
    }

    pub(crate) async fn join(
        &self,
        authority: &str,
        membership: &Membership,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO authorities (name, sealed, public_part, created_at)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed,
                 public_part = excluded.public_part, created_at = excluded.created_at",
        )
        .bind(authority)
        .bind(membership.sealed.as_slice())
        .bind(membership.public_part.as_str())
        .bind(now.as_millisecond())
        .execute(self.store.read())
        .await?;
        Ok(())
    }

    /// Forgets an account that the CA does not know any more, unless it is another by now.
    pub(crate) async fn leave(&self, authority: &str, account: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM authorities WHERE name = $1 AND public_part = $2")
            .bind(authority)
            .bind(account)
            .execute(self.store.read())
            .await?;
        Ok(())
    }

    /// Stores the known value that tells the key-encryption key, if there is none; gives the stored.
    pub(crate) async fn key_check(&self, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        sqlx::query(
            "INSERT INTO key_check (id, sealed) VALUES (1, $1) ON CONFLICT (id) DO NOTHING",
        )
        .bind(sealed)
        .execute(self.store.read())
        .await?;
        let stored = sqlx::query_scalar("SELECT sealed FROM key_check WHERE id = 1");
        Ok(stored.fetch_one(self.store.read()).await?)
    }
}

fn instant(row: &AnyRow, column: &str) -> Result<Timestamp, StoreError> {
    let at: i64 = row.try_get(column)?;
    Ok(from_ms(at))
}

fn maybe_instant(row: &AnyRow, column: &str) -> Result<Option<Timestamp>, StoreError> {
    let at: Option<i64> = row.try_get(column)?;
    Ok(at.map(from_ms))
}

fn from_ms(at: i64) -> Timestamp {
    let end = if at < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at).unwrap_or(end)
}

fn count(row: &AnyRow, column: &str) -> Result<u64, StoreError> {
    let count: i64 = row.try_get(column)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// SQL has no unsigned numbers; no count of ours comes near the end.
fn sql_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn sql_limit(at_most: usize) -> i64 {
    i64::try_from(at_most).unwrap_or(i64::MAX)
}
