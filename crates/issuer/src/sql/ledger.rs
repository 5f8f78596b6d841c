//! What is counted: re-issues, which the product allows three of, and questions to the CA, which
//! the CA allows so many of. Counted in the transaction that writes what is counted.

use audit::{BeginError, Begun, Record};
use hosting::{REISSUES_PER_WINDOW, Refusal, may_reissue};
use jiff::Timestamp;
use serde_json::json;
use service::caller::{Call, Caller};
use store::sqlx;
use store::{StoreError, Write};

use super::orders::{OrderError, OrderStep, certificate_now, fence};
use super::{Db, NewOrder, Order, Reason, from_ms, sql_limit};
use crate::schedule::{FAILED_VALIDATIONS, ORDERS_PER_ACCOUNT, room_at};

/// The CA would refuse one more now, so it is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooMany {
    #[error("{} orders in {} h are as many as a CA takes of us", ORDERS_PER_ACCOUNT.times, ORDERS_PER_ACCOUNT.window.as_hours())]
    Orders { until: Timestamp },
    #[error("{} failed validations in an hour are as many as a CA takes", FAILED_VALIDATIONS.times)]
    FailedValidations { until: Timestamp },
}

/// What became of an owner's wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reissue {
    /// There is an order, by this id: begun now, or when the same was asked for before.
    Order(String),
    /// A rule says no.
    Refused(Refusal),
    /// The caller has used the idempotency key for something else.
    KeyReused,
}

impl Db {
    /// Begins an order of our own.
    pub(crate) async fn begin(
        &self,
        new: &NewOrder,
        now: Timestamp,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let mut write = self.store.write().await?;
        if let Err(refusal) = insert(&mut write, new, now).await? {
            return Ok(Err(refusal));
        }
        write.commit().await?;
        Ok(Ok(()))
    }

    /// Begins an order that somebody asks for, once for each idempotency key. The mark of the key and
    /// the record of the change are in the order's own transaction: there is none of them without the
    /// others.
    pub(crate) async fn begin_reissue(
        &self,
        new: &NewOrder,
        by: &Caller,
        call: &Call,
        now: Timestamp,
    ) -> Result<Reissue, StoreError> {
        let mut write = self.store.write().await?;
        match self.audit.begin(&mut write, call).await {
            Ok(Begun::First) => {}
            Ok(Begun::Done) => return Ok(Reissue::Order(asked_before(&mut write, new).await?)),
            Err(BeginError::KeyReused) => return Ok(Reissue::KeyReused),
            Err(BeginError::Store(fault)) => return Err(fault),
        }
        if let Err(refusal) = insert(&mut write, new, now).await? {
            return Ok(Reissue::Refused(refusal));
        }
        let record = Record::by_call(by, call, "certificate.reissue", &new.domain)
            .after(json!({ "order": new.id, "region": new.region }));
        let record = match certificate_now(&mut write, &new.domain).await? {
            Some(before) => record.before(before),
            None => record,
        };
        self.audit.record(&mut write, record).await?;
        write.commit().await?;
        Ok(Reissue::Order(new.id.clone()))
    }

    /// The newest re-issues of a domain that count, by whoever asked for them.
    pub(crate) async fn reissues(&self, domain: &str) -> Result<Vec<Timestamp>, StoreError> {
        let used = sqlx::query_scalar(REISSUES)
            .bind(domain)
            .bind(sql_limit(REISSUES_PER_WINDOW))
            .fetch_all(self.store.read())
            .await?;
        Ok(used.into_iter().map(from_ms).collect())
    }

    /// Says, before the CA is asked for a new order, that it will have been; refuses what the CA
    /// would refuse. Limits are an account's: where there is none, as at the local CA, nothing is.
    pub(crate) async fn ask(
        &self,
        order: &Order,
        authority: &str,
        account: &str,
        now: Timestamp,
    ) -> Result<Result<Order, TooMany>, OrderError> {
        let mut write = self.store.write().await?;
        fence(&mut write, order).await?;
        // Locks the account on PostgreSQL: two orders don't both take the last place.
        sqlx::query("UPDATE authorities SET name = name WHERE name = $1")
            .bind(authority)
            .execute(&mut *write)
            .await?;
        if let Some(too_many) = too_many(&mut write, account, &order.domain, now).await? {
            return Ok(Err(too_many));
        }
        let forgotten = now.saturating_sub(ORDERS_PER_ACCOUNT.window).unwrap_or(now);
        sqlx::query("DELETE FROM asks WHERE asked_at < $1")
            .bind(forgotten.as_millisecond())
            .execute(&mut *write)
            .await?;
        sqlx::query("INSERT INTO asks (order_id, asked_at, account) VALUES ($1, $2, $3)")
            .bind(order.id.as_str())
            .bind(now.as_millisecond())
            .bind(account)
            .execute(&mut *write)
            .await?;
        sqlx::query(
            "UPDATE orders SET step = 'asked', account = $2, order_url = '', asked_at = $3,
                 times_asked = times_asked + 1
             WHERE id = $1",
        )
        .bind(order.id.as_str())
        .bind(account)
        .bind(now.as_millisecond())
        .execute(&mut *write)
        .await?;
        write.commit().await?;
        Ok(Ok(Order {
            step: OrderStep::Asked,
            account: account.to_owned(),
            order_url: String::new(),
            asked_at: Some(now),
            times_asked: order.times_asked + 1,
            ..order.clone()
        }))
    }

    /// Gives the account back what `asked` took: the CA has said that it made no order.
    pub(crate) async fn refund(&self, asked: &Order) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM asks WHERE order_id = $1 AND asked_at = $2")
            .bind(asked.id.as_str())
            .bind(asked.asked_at.map(Timestamp::as_millisecond))
            .execute(self.store.read())
            .await?;
        Ok(())
    }

    /// Takes a question back that can't have reached the CA: `asked` is as it was `before` again.
    pub(crate) async fn unask(&self, asked: &Order, before: &Order) -> Result<Order, OrderError> {
        self.refund(asked).await?;
        let mut write = self.store.write().await?;
        fence(&mut write, asked).await?;
        sqlx::query(
            "UPDATE orders SET step = 'new', asked_at = $2, times_asked = $3 WHERE id = $1",
        )
        .bind(asked.id.as_str())
        .bind(before.asked_at.map(Timestamp::as_millisecond))
        .bind(before.times_asked)
        .execute(&mut *write)
        .await?;
        write.commit().await?;
        let (asked_at, times_asked) = (before.asked_at, before.times_asked);
        Ok(Order { step: OrderStep::New, asked_at, times_asked, ..asked.clone() })
    }
}

#[cfg(test)]
impl Db {
    /// How often an account has asked, as far as its limit knows.
    pub(crate) async fn asks(&self, account: &str) -> Result<i64, StoreError> {
        let asks = sqlx::query_scalar("SELECT count(*) FROM asks WHERE account = $1").bind(account);
        Ok(asks.fetch_one(self.store.read()).await?)
    }
}

impl TooMany {
    pub(crate) fn until(&self) -> Timestamp {
        match self {
            TooMany::Orders { until } | TooMany::FailedValidations { until } => *until,
        }
    }
}

/// The order that the same caller has asked for with the same key: the newest, since a key counts for
/// a day and an order is kept for ever.
async fn asked_before(write: &mut Write, new: &NewOrder) -> Result<String, StoreError> {
    let order = sqlx::query_scalar(
        "SELECT id FROM orders
         WHERE domain = $1 AND workspace = $2 AND asked_by = $3 AND key_hash = $4
         ORDER BY created_at DESC LIMIT 1",
    )
    .bind(new.domain.as_str())
    .bind(new.workspace.as_str())
    .bind(new.asked_by.as_deref())
    .bind(new.key_hash.as_ref().map(<[u8; 32]>::as_slice));
    Ok(order.fetch_one(&mut **write).await?)
}

/// Writes an order: the rule, the order and its place in flight are one transaction, so that of any
/// number of requests at once no more than the allowed ones become orders.
async fn insert(
    write: &mut Write,
    new: &NewOrder,
    now: Timestamp,
) -> Result<Result<(), Refusal>, StoreError> {
    // Also locks the name on PostgreSQL: what is read below can't change until the commit.
    sqlx::query(
        "INSERT INTO names (domain, workspace) VALUES ($1, $2)
         ON CONFLICT (domain) DO UPDATE SET workspace = excluded.workspace",
    )
    .bind(new.domain.as_str())
    .bind(new.workspace.as_str())
    .execute(&mut **write)
    .await?;
    let in_flight: Option<String> =
        sqlx::query_scalar("SELECT order_id FROM in_flight WHERE domain = $1")
            .bind(new.domain.as_str())
            .fetch_optional(&mut **write)
            .await?;
    let allowed = match new.reason {
        Reason::Reissue => may_reissue(&used(write, &new.domain).await?, in_flight.is_some(), now),
        _ if in_flight.is_some() => Err(Refusal::ReissueInFlight),
        _ => Ok(()),
    };
    if let Err(refusal) = allowed {
        return Ok(Err(refusal));
    }
    sqlx::query(
        "INSERT INTO orders (id, domain, region, workspace, reason, step, sealed_key, created_at,
             counts, asked_by, key_hash)
         VALUES ($1, $2, $3, $4, $5, 'new', $6, $7, $8, $9, $10)",
    )
    .bind(new.id.as_str())
    .bind(new.domain.as_str())
    .bind(new.region.as_str())
    .bind(new.workspace.as_str())
    .bind(new.reason.as_str())
    .bind(new.sealed_key.as_slice())
    .bind(now.as_millisecond())
    .bind(i64::from(new.reason == Reason::Reissue))
    .bind(new.asked_by.as_deref())
    .bind(new.key_hash.as_ref().map(<[u8; 32]>::as_slice))
    .execute(&mut **write)
    .await?;
    sqlx::query("INSERT INTO in_flight (domain, order_id) VALUES ($1, $2)")
        .bind(new.domain.as_str())
        .bind(new.id.as_str())
        .execute(&mut **write)
        .await?;
    Ok(Ok(()))
}

const REISSUES: &str = "SELECT coalesce(asked_at, created_at) AS used_at FROM orders
     WHERE domain = $1 AND counts = 1 ORDER BY used_at DESC LIMIT $2";

async fn used(write: &mut Write, domain: &str) -> Result<Vec<Timestamp>, StoreError> {
    let used = sqlx::query_scalar(REISSUES)
        .bind(domain)
        .bind(sql_limit(REISSUES_PER_WINDOW))
        .fetch_all(&mut **write)
        .await?;
    Ok(used.into_iter().map(from_ms).collect())
}

async fn too_many(
    write: &mut Write,
    account: &str,
    domain: &str,
    now: Timestamp,
) -> Result<Option<TooMany>, StoreError> {
    if account.is_empty() {
        return Ok(None);
    }
    let asked = sqlx::query_scalar(
        "SELECT asked_at FROM asks WHERE account = $1 ORDER BY asked_at DESC LIMIT $2",
    )
    .bind(account)
    .bind(sql_limit(ORDERS_PER_ACCOUNT.times))
    .fetch_all(&mut **write)
    .await?;
    let asked: Vec<_> = asked.into_iter().map(from_ms).collect();
    if let Some(until) = room_at(ORDERS_PER_ACCOUNT, &asked, now) {
        return Ok(Some(TooMany::Orders { until }));
    }
    let failed = sqlx::query_scalar(
        "SELECT finished_at FROM orders
         WHERE domain = $1 AND account = $2 AND validation_failed = 1
         ORDER BY finished_at DESC LIMIT $3",
    )
    .bind(domain)
    .bind(account)
    .bind(sql_limit(FAILED_VALIDATIONS.times))
    .fetch_all(&mut **write)
    .await?;
    let failed: Vec<_> = failed.into_iter().map(from_ms).collect();
    let room = room_at(FAILED_VALIDATIONS, &failed, now);
    Ok(room.map(|until| TooMany::FailedValidations { until }))
}
