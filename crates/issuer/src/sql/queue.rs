//! Who is next: what could go on, and what should begin.

use jiff::Timestamp;
use store::StoreError;
use store::sqlx::{self, Row};

use super::{Db, Reason, sql_count, sql_limit};

/// An order that may be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnderWay {
    pub(crate) id: String,
    pub(crate) domain: String,
}

/// A domain that needs a certificate, and may be tried now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) domain: String,
    pub(crate) reason: Reason,
}

impl Db {
    /// Orders under way that may be looked at now, those that wait for longest first; owners' and our
    /// own turn and turn about, so that neither keeps the other waiting.
    pub(crate) async fn under_way(
        &self,
        now: Timestamp,
        at_most: usize,
    ) -> Result<Vec<UnderWay>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, domain FROM (
                 SELECT o.id AS id, o.domain AS domain,
                     CASE WHEN o.reason = 'reissue' THEN 0 ELSE 1 END AS own,
                     row_number() OVER (
                         PARTITION BY CASE WHEN o.reason = 'reissue' THEN 0 ELSE 1 END
                         ORDER BY o.retry_at, o.created_at
                     ) AS turn
                 FROM in_flight f JOIN orders o ON o.id = f.order_id
                 WHERE o.retry_at <= $1
             ) AS waiting ORDER BY turn, own LIMIT $2",
        )
        .bind(now.as_millisecond())
        .bind(sql_limit(at_most))
        .fetch_all(self.store.read())
        .await?;
        let mut under_way = Vec::new();
        for row in rows {
            under_way.push(UnderWay { id: row.try_get("id")?, domain: row.try_get("domain")? });
        }
        Ok(under_way)
    }

    /// How many orders that no owner asked for could go on now: those that wait for something do not
    /// keep others from beginning.
    pub(crate) async fn own_orders_ready(&self, now: Timestamp) -> Result<i64, StoreError> {
        let count = sqlx::query_scalar(
            "SELECT count(*) FROM in_flight f JOIN orders o ON o.id = f.order_id
             WHERE o.reason <> 'reissue' AND o.retry_at <= $1",
        )
        .bind(now.as_millisecond())
        .fetch_one(self.store.read())
        .await?;
        Ok(count)
    }

    /// Domains without a certificate, or whose certificate is to be renewed or is another
    /// authority's: those whose policy all edges serve, that have no order under way and are not
    /// in a pause. `served` are the regions that can answer the CA, and how far their edges are.
    ///
    /// Certificates in danger first: less than a third of the time between renewal and end is left.
    /// Then first certificates and renewals turn and turn about, so that neither waits for the other.
    pub(crate) async fn due(
        &self,
        served: &[(String, u64)],
        authority: &str,
        now: Timestamp,
        at_most: usize,
    ) -> Result<Vec<Due>, StoreError> {
        if served.is_empty() {
            return Ok(Vec::new());
        }
        // A fleet has a handful of regions.
        let region = |n: usize| format!("(p.region = ${} AND p.position <= ${})", n, n + 1);
        let regions: Vec<_> = (0..served.len()).map(|nth| region(4 + 2 * nth)).collect();
        let text = format!(
            "SELECT domain, not_after FROM (
                 SELECT domain, not_after, lane,
                     row_number() OVER (
                         PARTITION BY lane ORDER BY coalesce(not_after, 0), position
                     ) AS turn
                 FROM (
                     SELECT p.domain AS domain, p.position AS position, c.not_after AS not_after,
                         CASE WHEN c.domain IS NULL THEN 1
                             WHEN 3 * (c.not_after - $1) < c.not_after - c.renew_at THEN 0
                             ELSE 2 END AS lane
                     FROM policies p
                     LEFT JOIN certificates c ON c.domain = p.domain
                     LEFT JOIN names n ON n.domain = p.domain
                     LEFT JOIN in_flight f ON f.domain = p.domain
                     WHERE p.hosted = 1 AND ({})
                         AND (c.domain IS NULL OR c.renew_at <= $1 OR c.authority <> $2)
                         AND (n.domain IS NULL OR n.retry_at <= $1)
                         AND f.domain IS NULL
                 ) AS due
             ) AS ranked
             ORDER BY CASE WHEN lane = 0 THEN 0 ELSE turn END, lane, turn LIMIT $3",
            regions.join(" OR ")
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(now.as_millisecond())
            .bind(authority)
            .bind(sql_limit(at_most));
        for (region, up_to) in served {
            query = query.bind(region.as_str()).bind(sql_count(*up_to));
        }
        let rows = query.fetch_all(self.store.read()).await?;
        let mut due = Vec::new();
        for row in rows {
            let reason = match row.try_get::<Option<i64>, _>("not_after")? {
                None => Reason::First,
                Some(_) => Reason::Renewal,
            };
            due.push(Due { domain: row.try_get("domain")?, reason });
        }
        Ok(due)
    }
}
