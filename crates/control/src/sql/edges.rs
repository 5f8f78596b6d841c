//! Table `edges`.

use hosting::RegionId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use store::sqlx::any::AnyRow;
use store::sqlx::{AnyExecutor, Row, query};
use store::{StoreError, Write};

use super::{count, instant, millis, number, parsed};

/// An edge that was silent for longer is waited for no longer: one lost machine must not hold up
/// everybody's changes.
pub(crate) const LIVE_FOR: SignedDuration = SignedDuration::from_secs(30);

/// What an edge has last said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) id: String,
    pub(crate) region: RegionId,
    /// Of its last document.
    pub(crate) revision: u64,
    pub(crate) policies_position: u64,
    pub(crate) certificates_position: u64,
    pub(crate) domains: u64,
    pub(crate) software: String,
    pub(crate) refused: Vec<Refused>,
    pub(crate) heard_at: Timestamp,
}

/// A document that an edge would not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) position: u64,
    pub(crate) reason: String,
}

impl Edge {
    /// Whether it counts as alive.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        now.duration_since(self.heard_at) <= LIVE_FOR
    }

    /// Whether it durably serves the document that has this place in the policies' feed.
    pub(crate) fn serves_policy(&self, domain: &str, position: u64) -> bool {
        let refused = self.has_refused("policies-", domain, position);
        position > 0 && self.policies_position >= position && !refused
    }

    /// Whether it has the certificate that has this place in the certificates' feed.
    pub(crate) fn serves_certificate(&self, domain: &str, position: u64) -> bool {
        let refused = self.has_refused("certificates-", domain, position);
        position > 0 && self.certificates_position >= position && !refused
    }

    /// Position 0: it could not read which one it refused, so it may be any.
    fn has_refused(&self, buckets: &str, domain: &str, position: u64) -> bool {
        self.refused.iter().any(|refused| {
            refused.key == domain
                && refused.bucket.starts_with(buckets)
                && (refused.position >= position || refused.position == 0)
        })
    }

    pub(crate) async fn all<'e>(executor: impl AnyExecutor<'e>) -> Result<Vec<Edge>, StoreError> {
        let rows = query("SELECT * FROM edges ORDER BY region, id").fetch_all(executor).await?;
        rows.iter().map(Edge::from_row).collect()
    }

    /// Takes what an edge says, if it is newer than what it said before.
    pub(crate) async fn put(&self, write: &mut Write) -> Result<(), StoreError> {
        let refused = serde_json::to_string(&self.refused).unwrap_or_else(|_| "[]".to_owned());
        query(
            "INSERT INTO edges (id, region, revision, policies_position, certificates_position,
                 domains, software, refused, heard_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (id) DO UPDATE SET region = $2, revision = $3, policies_position = $4,
                 certificates_position = $5, domains = $6, software = $7, refused = $8,
                 heard_at = $9
             WHERE edges.revision < $3",
        )
        .bind(&self.id)
        .bind(self.region.as_str())
        .bind(number(self.revision))
        .bind(number(self.policies_position))
        .bind(number(self.certificates_position))
        .bind(number(self.domains))
        .bind(&self.software)
        .bind(refused)
        .bind(millis(self.heard_at))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    fn from_row(row: &AnyRow) -> Result<Edge, StoreError> {
        let refused: String = row.try_get("refused")?;
        Ok(Edge {
            id: row.try_get("id")?,
            region: parsed(row, "edges", "region")?,
            revision: count(row, "revision")?,
            policies_position: count(row, "policies_position")?,
            certificates_position: count(row, "certificates_position")?,
            domains: count(row, "domains")?,
            software: row.try_get("software")?,
            refused: serde_json::from_str(&refused)
                .map_err(|_| super::corrupt("edges", "refused", refused))?,
            heard_at: instant(row, "heard_at")?,
        })
    }
}
