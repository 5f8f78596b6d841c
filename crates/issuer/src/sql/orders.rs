//! Orders: how far they are, and how they end; each in one transaction with what hangs on it.

use audit::Record;
use jiff::Timestamp;
use serde_json::{Value, json};
use store::sqlx::any::AnyRow;
use store::sqlx::{self, Row};
use store::{StoreError, Write};

use super::{Db, instant, maybe_instant, sql_limit};
use crate::certificate::Chain;

/// Why an order was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// What we know of it is not so any more; what the other wrote stays.
    #[error("another process has taken order {0} further")]
    Overtaken(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for OrderError {
    fn from(e: sqlx::Error) -> OrderError {
        OrderError::Store(e.into())
    }
}

/// Why something is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    First,
    Renewal,
    Reissue,
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderStep {
    /// The CA knows nothing of it.
    New,
    /// The CA was asked; its answer has not come, or not been stored.
    Asked,
    /// The CA's URL of the order is stored; the CA knows how far it is.
    Ordered,
    Issued,
    Failed,
}

/// One order.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) domain: String,
    pub(crate) region: String,
    pub(crate) workspace: String,
    pub(crate) reason: Reason,
    pub(crate) step: OrderStep,
    pub(crate) account: String,
    pub(crate) order_url: String,
    pub(crate) sealed_key: Option<Vec<u8>>,
    pub(crate) created_at: Timestamp,
    /// When the CA was last asked for it, unless that can't have reached it.
    pub(crate) asked_at: Option<Timestamp>,
    pub(crate) times_asked: i64,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) retry_at: Timestamp,
    pub(crate) outages: i64,
    pub(crate) error: String,
    pub(crate) serial: String,
}

/// What an order begins with.
#[derive(Debug, Clone)]
pub(crate) struct NewOrder {
    pub(crate) id: String,
    pub(crate) domain: String,
    pub(crate) region: String,
    pub(crate) workspace: String,
    pub(crate) reason: Reason,
    pub(crate) sealed_key: Vec<u8>,
    /// The caller's id; nobody's for an order of our own.
    pub(crate) asked_by: Option<String>,
    /// SHA-256 of the caller's idempotency key.
    pub(crate) key_hash: Option<[u8; 32]>,
}

/// How an order failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) why: String,
    /// The CA did not find our answer to its challenge.
    pub(crate) validation_failed: bool,
    /// When we try again by ourselves; `None` leaves that as it is.
    pub(crate) retry: Option<Retry>,
}

/// What a name waits for after an order failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) at: Timestamp,
    /// Orders in a row that the CA has turned down.
    pub(crate) failures: i64,
}

const COLUMNS: &str = "id, domain, region, workspace, reason, step, account, order_url, \
     sealed_key, created_at, asked_at, times_asked, finished_at, retry_at, outages, error, serial";

impl Db {
    /// Stores where the CA keeps the order.
    pub(crate) async fn ordered(&self, order: &Order, url: &str) -> Result<Order, OrderError> {
        let mut write = self.store.write().await?;
        fence(&mut write, order).await?;
        sqlx::query("UPDATE orders SET step = 'ordered', order_url = $2 WHERE id = $1")
            .bind(order.id.as_str())
            .bind(url)
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        Ok(Order { step: OrderStep::Ordered, order_url: url.to_owned(), ..order.clone() })
    }

    /// Begins an order again from its start: the CA does not know it any more.
    pub(crate) async fn start_again(&self, order: &Order) -> Result<Order, OrderError> {
        let mut write = self.store.write().await?;
        fence(&mut write, order).await?;
        sqlx::query("UPDATE orders SET step = 'new', order_url = '', account = '' WHERE id = $1")
            .bind(order.id.as_str())
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        let (order_url, account) = Default::default();
        Ok(Order { step: OrderStep::New, order_url, account, ..order.clone() })
    }

    /// Leaves an order for later, and says why.
    pub(crate) async fn postpone(
        &self,
        order: &Order,
        until: Timestamp,
        outages: i64,
        why: &str,
    ) -> Result<(), OrderError> {
        let mut write = self.store.write().await?;
        fence(&mut write, order).await?;
        sqlx::query("UPDATE orders SET retry_at = $2, outages = $3 WHERE id = $1")
            .bind(order.id.as_str())
            .bind(until.as_millisecond())
            .bind(outages)
            .execute(&mut *write)
            .await?;
        sqlx::query("UPDATE names SET last_error = $2 WHERE domain = $1")
            .bind(order.domain.as_str())
            .bind(why)
            .execute(&mut *write)
            .await?;
        Ok(write.commit().await?)
    }

    /// Ends an order with its certificate. The key moves with it: no key is without an owner. Nobody
    /// asks for this moment, but owners look for it, so it is written down as our own doing.
    pub(crate) async fn issued(
        &self,
        order: &Order,
        authority: &str,
        chain: &Chain,
        renew_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), OrderError> {
        let mut write = self.store.write().await?;
        fence(&mut write, order).await?;
        let before = certificate_now(&mut write, &order.domain).await?;
        sqlx::query(
            "INSERT INTO certificates (domain, order_id, chain, sealed_key, serial, issuer,
                 not_before, not_after, renew_at, authority)
             SELECT domain, id, $2, sealed_key, $3, $4, $5, $6, $7, $8 FROM orders WHERE id = $1
             ON CONFLICT (domain) DO UPDATE SET order_id = excluded.order_id,
                 authority = excluded.authority,
                 chain = excluded.chain, sealed_key = excluded.sealed_key,
                 serial = excluded.serial, issuer = excluded.issuer,
                 not_before = excluded.not_before, not_after = excluded.not_after,
                 renew_at = excluded.renew_at",
        )
        .bind(order.id.as_str())
        .bind(chain.pem.as_str())
        .bind(chain.serial.as_str())
        .bind(chain.issuer.as_str())
        .bind(chain.not_before.as_millisecond())
        .bind(chain.not_after.as_millisecond())
        .bind(renew_at.as_millisecond())
        .bind(authority)
        .execute(&mut *write)
        .await?;
        sqlx::query(
            "UPDATE orders SET step = 'issued', finished_at = $2, serial = $3, sealed_key = NULL
             WHERE id = $1",
        )
        .bind(order.id.as_str())
        .bind(now.as_millisecond())
        .bind(chain.serial.as_str())
        .execute(&mut *write)
        .await?;
        sqlx::query(
            "UPDATE names SET failures = 0, retry_at = 0, last_error = '' WHERE domain = $1",
        )
        .bind(order.domain.as_str())
        .execute(&mut *write)
        .await?;
        land(&mut write, order).await?;
        let mut after = told(&chain.serial, chain.not_after);
        after["order"] = json!(order.id);
        after["reason"] = json!(order.reason.as_str());
        let record = Record::by_itself(&order.workspace, "certificate.issued", &order.domain);
        let record = record.after(after);
        let record = match before {
            Some(before) => record.before(before),
            None => record,
        };
        self.audit.record(&mut write, record).await?;
        Ok(write.commit().await?)
    }

    /// Ends an order without a certificate. One for which the CA was not asked is none of the owner's
    /// three.
    pub(crate) async fn failed(
        &self,
        order: &Order,
        end: &End,
        now: Timestamp,
    ) -> Result<(), OrderError> {
        let mut write = self.store.write().await?;
        fence(&mut write, order).await?;
        sqlx::query(
            "UPDATE orders SET step = 'failed', finished_at = $2, error = $3,
                 validation_failed = $4,
                 counts = CASE WHEN asked_at IS NULL THEN 0 ELSE counts END,
                 sealed_key = NULL
             WHERE id = $1",
        )
        .bind(order.id.as_str())
        .bind(now.as_millisecond())
        .bind(end.why.as_str())
        .bind(i64::from(end.validation_failed))
        .execute(&mut *write)
        .await?;
        sqlx::query("UPDATE names SET last_error = $2 WHERE domain = $1")
            .bind(order.domain.as_str())
            .bind(end.why.as_str())
            .execute(&mut *write)
            .await?;
        if let Some(retry) = end.retry {
            sqlx::query("UPDATE names SET failures = $2, retry_at = $3 WHERE domain = $1")
                .bind(order.domain.as_str())
                .bind(retry.failures)
                .bind(retry.at.as_millisecond())
                .execute(&mut *write)
                .await?;
        }
        land(&mut write, order).await?;
        Ok(write.commit().await?)
    }

    pub(crate) async fn order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        let text = format!("SELECT {COLUMNS} FROM orders WHERE id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(id)
            .fetch_optional(self.store.read())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The order under way for a domain.
    pub(crate) async fn in_flight(&self, domain: &str) -> Result<Option<Order>, StoreError> {
        let id: Option<String> =
            sqlx::query_scalar("SELECT order_id FROM in_flight WHERE domain = $1")
                .bind(domain)
                .fetch_optional(self.store.read())
                .await?;
        match id {
            Some(id) => self.order(&id).await,
            None => Ok(None),
        }
    }

    /// A page of a workspace's orders for a domain, newest first, those before `(created_at, id)`.
    pub(crate) async fn orders(
        &self,
        domain: &str,
        workspace: &str,
        before: (i64, &str),
        at_most: usize,
    ) -> Result<Vec<Order>, StoreError> {
        let text = format!(
            "SELECT {COLUMNS} FROM orders WHERE domain = $1 AND workspace = $2
                 AND (created_at < $3 OR (created_at = $3 AND id < $4))
             ORDER BY created_at DESC, id DESC LIMIT $5"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(domain)
            .bind(workspace)
            .bind(before.0)
            .bind(before.1)
            .bind(sql_limit(at_most))
            .fetch_all(self.store.read())
            .await?;
        rows.iter().map(read).collect()
    }
}

/// Locks an order's row, if it still is as it was read.
pub(super) async fn fence(write: &mut Write, order: &Order) -> Result<(), OrderError> {
    let same = sqlx::query(
        "UPDATE orders SET step = step WHERE id = $1 AND step = $2 AND times_asked = $3",
    )
    .bind(order.id.as_str())
    .bind(order.step.as_str())
    .bind(order.times_asked)
    .execute(&mut **write)
    .await?;
    match same.rows_affected() {
        0 => Err(OrderError::Overtaken(order.id.clone())),
        _ => Ok(()),
    }
}

/// A domain's certificate as records of changes tell of it.
pub(super) async fn certificate_now(
    write: &mut Write,
    domain: &str,
) -> Result<Option<Value>, StoreError> {
    let row = sqlx::query("SELECT serial, not_after FROM certificates WHERE domain = $1")
        .bind(domain)
        .fetch_optional(&mut **write)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    Ok(Some(told(row.try_get("serial")?, instant(&row, "not_after")?)))
}

fn told(serial: &str, not_after: Timestamp) -> Value {
    json!({ "serial": serial, "notAfter": not_after.to_string() })
}

async fn land(write: &mut Write, order: &Order) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM in_flight WHERE domain = $1 AND order_id = $2")
        .bind(order.domain.as_str())
        .bind(order.id.as_str())
        .execute(&mut **write)
        .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<Order, StoreError> {
    Ok(Order {
        id: row.try_get("id")?,
        domain: row.try_get("domain")?,
        region: row.try_get("region")?,
        workspace: row.try_get("workspace")?,
        reason: Reason::read(row.try_get("reason")?),
        step: OrderStep::read(row.try_get("step")?),
        account: row.try_get("account")?,
        order_url: row.try_get("order_url")?,
        sealed_key: row.try_get("sealed_key")?,
        created_at: instant(row, "created_at")?,
        asked_at: maybe_instant(row, "asked_at")?,
        times_asked: row.try_get("times_asked")?,
        finished_at: maybe_instant(row, "finished_at")?,
        retry_at: instant(row, "retry_at")?,
        outages: row.try_get("outages")?,
        error: row.try_get("error")?,
        serial: row.try_get("serial")?,
    })
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Reason::First => "first",
            Reason::Renewal => "renewal",
            Reason::Reissue => "reissue",
        }
    }

    fn read(text: String) -> Reason {
        match text.as_str() {
            "first" => Reason::First,
            "reissue" => Reason::Reissue,
            _ => Reason::Renewal,
        }
    }
}

impl OrderStep {
    fn as_str(self) -> &'static str {
        match self {
            OrderStep::New => "new",
            OrderStep::Asked => "asked",
            OrderStep::Ordered => "ordered",
            OrderStep::Issued => "issued",
            OrderStep::Failed => "failed",
        }
    }

    fn read(text: String) -> OrderStep {
        match text.as_str() {
            "new" => OrderStep::New,
            "asked" => OrderStep::Asked,
            "ordered" => OrderStep::Ordered,
            "issued" => OrderStep::Issued,
            _ => OrderStep::Failed,
        }
    }
}
