//! All SQL of this service.

use jiff::Timestamp;
use store::sqlx::{self, Row as _, any::AnyRow};
use store::{Step, Store, StoreError, Write};
use wire::Message as _;
use wire::bus;

use crate::expected::{KINDS, Kind};
use crate::judge::Status;

/// The steps of our tables.
pub(crate) const STEPS: &[Step] =
    &[Step { version: 1, name: "watched", sql: include_str!("../migrations/0001_watched.sql") }];

/// A claim that is looked at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Watched {
    pub(crate) revision: u64,
    pub(crate) document: bus::RecordsDocument,
    pub(crate) changed_at: Timestamp,
    pub(crate) pause_ms: i64,
}

/// A claim that is due, and what tells when to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) claim_id: String,
    pub(crate) revision: u64,
    pub(crate) pause_ms: i64,
}

/// A record's row, as the last look left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) value: String,
    /// None before the first look that got an answer.
    pub(crate) status: Option<Status>,
    pub(crate) found: String,
    pub(crate) hint: String,
    pub(crate) hint_code: String,
    pub(crate) status_since: Option<Timestamp>,
    pub(crate) checked_at: Timestamp,
    pub(crate) check_error: String,
}

/// A document of bucket `dns-status`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StatusRow {
    pub(crate) claim_id: String,
    pub(crate) revision: u64,
    pub(crate) document: Option<Vec<u8>>,
    pub(crate) position: u64,
}

/// Takes a document, or a removal, if it is newer than what is here; then the claim is due now.
/// Says whether it was.
pub(crate) async fn take(
    store: &Store,
    claim_id: &str,
    revision: u64,
    document: Option<&bus::RecordsDocument>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut write = store.write().await?;
    let gone = bus::RecordsDocument::default();
    let bytes = document.map(wire::Message::encode_to_vec).unwrap_or_default();
    let kept = document.unwrap_or(&gone);
    let taken = sqlx::query(
        "INSERT INTO watched (claim_id, revision, removed, workspace_id, domain, document, \
                              changed_at, next_check_at, pause_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 0) \
         ON CONFLICT (claim_id) DO UPDATE SET revision = excluded.revision, \
             removed = excluded.removed, workspace_id = excluded.workspace_id, \
             domain = excluded.domain, document = excluded.document, \
             changed_at = excluded.changed_at, next_check_at = excluded.next_check_at, \
             pause_ms = 0 \
         WHERE watched.revision < excluded.revision",
    )
    .bind(claim_id)
    .bind(signed(revision))
    .bind(i64::from(document.is_none()))
    .bind(&kept.workspace_id)
    .bind(&kept.domain)
    .bind(bytes)
    .bind(now.as_millisecond())
    .execute(&mut *write)
    .await?;
    let taken = taken.rows_affected() > 0;
    if taken && document.is_none() {
        sqlx::query("DELETE FROM records WHERE claim_id = $1")
            .bind(claim_id)
            .execute(&mut *write)
            .await?;
        // Only what was told needs to be taken back.
        sqlx::query(
            "UPDATE statuses SET revision = revision + 1, document = NULL, position = 0, \
                 published = 0 WHERE claim_id = $1 AND document IS NOT NULL",
        )
        .bind(claim_id)
        .execute(&mut *write)
        .await?;
    }
    write.commit().await?;
    Ok(taken)
}

/// Claims that are due, the longest due first.
pub(crate) async fn due(
    store: &Store,
    now: Timestamp,
    most: usize,
) -> Result<Vec<Due>, StoreError> {
    let rows = sqlx::query(
        "SELECT claim_id, revision, pause_ms FROM watched WHERE removed = 0 AND next_check_at <= $1 \
         ORDER BY next_check_at LIMIT $2",
    )
    .bind(now.as_millisecond())
    .bind(i64::try_from(most).unwrap_or(i64::MAX))
    .fetch_all(store.read())
    .await?;
    let due = |row: &AnyRow| {
        Ok(Due {
            claim_id: row.try_get("claim_id")?,
            revision: unsigned(row.try_get("revision")?),
            pause_ms: row.try_get("pause_ms")?,
        })
    };
    rows.iter().map(due).collect()
}

/// One claim, unless it has been removed.
pub(crate) async fn watched(store: &Store, claim_id: &str) -> Result<Option<Watched>, StoreError> {
    let row = sqlx::query(
        "SELECT revision, document, changed_at, pause_ms FROM watched \
         WHERE claim_id = $1 AND removed = 0",
    )
    .bind(claim_id)
    .fetch_optional(store.read())
    .await?;
    row.as_ref().map(read_watched).transpose()
}

/// A workspace's claim to a domain, the newest where there were several.
pub(crate) async fn watched_domain(
    store: &Store,
    workspace_id: &str,
    domain: &str,
) -> Result<Option<Watched>, StoreError> {
    let row = sqlx::query(
        "SELECT revision, document, changed_at, pause_ms FROM watched \
         WHERE workspace_id = $1 AND domain = $2 AND removed = 0 \
         ORDER BY changed_at DESC, claim_id LIMIT 1",
    )
    .bind(workspace_id)
    .bind(domain)
    .fetch_optional(store.read())
    .await?;
    row.as_ref().map(read_watched).transpose()
}

fn read_watched(row: &AnyRow) -> Result<Watched, StoreError> {
    let document: Vec<u8> = row.try_get("document")?;
    let document = bus::RecordsDocument::decode(document.as_slice())
        .map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
    Ok(Watched {
        revision: unsigned(row.try_get("revision")?),
        document,
        changed_at: instant(row.try_get("changed_at")?),
        pause_ms: row.try_get("pause_ms")?,
    })
}

/// Sets when a claim is looked at next, unless its document has changed since.
pub(crate) async fn schedule(
    write: &mut Write,
    claim_id: &str,
    revision: u64,
    next_check_at: Timestamp,
    pause_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE watched SET next_check_at = $3, pause_ms = $4 \
         WHERE claim_id = $1 AND revision = $2 AND removed = 0",
    )
    .bind(claim_id)
    .bind(signed(revision))
    .bind(next_check_at.as_millisecond())
    .bind(pause_ms)
    .execute(&mut **write)
    .await?;
    Ok(())
}

/// Whether a claim is still watched for the document of this revision; held so until the
/// transaction ends.
pub(crate) async fn still_watched(
    store: &Store,
    write: &mut Write,
    claim_id: &str,
    revision: u64,
) -> Result<bool, StoreError> {
    let select = format!(
        "SELECT 1 FROM watched WHERE claim_id = $1 AND revision = $2 AND removed = 0{}",
        store.for_update()
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(select))
        .bind(claim_id)
        .bind(signed(revision))
        .fetch_optional(&mut **write)
        .await?;
    Ok(row.is_some())
}

/// The rows of a claim's records, those that have been looked at.
pub(crate) async fn rows<'c>(
    connection: impl sqlx::Executor<'c, Database = sqlx::Any>,
    claim_id: &str,
) -> Result<Vec<(Kind, Row)>, StoreError> {
    let rows = sqlx::query(
        "SELECT kind, value, status, found, hint, hint_code, status_since, checked_at, \
                check_error FROM records WHERE claim_id = $1",
    )
    .bind(claim_id)
    .fetch_all(connection)
    .await?;
    let mut read = Vec::new();
    for row in &rows {
        let kind: String = row.try_get("kind")?;
        if let Some(kind) = KINDS.into_iter().find(|known| known.as_str() == kind) {
            read.push((kind, read_row(row)?));
        }
    }
    Ok(read)
}

fn read_row(row: &AnyRow) -> Result<Row, StoreError> {
    let since: i64 = row.try_get("status_since")?;
    Ok(Row {
        value: row.try_get("value")?,
        status: status(row.try_get("status")?),
        found: row.try_get("found")?,
        hint: row.try_get("hint")?,
        hint_code: row.try_get("hint_code")?,
        status_since: (since != 0).then(|| instant(since)),
        checked_at: instant(row.try_get("checked_at")?),
        check_error: row.try_get("check_error")?,
    })
}

/// Writes a record's row.
pub(crate) async fn put_row(
    write: &mut Write,
    claim_id: &str,
    kind: Kind,
    row: &Row,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO records (claim_id, kind, value, status, found, hint, hint_code, \
                              status_since, checked_at, check_error) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT (claim_id, kind) DO UPDATE SET value = excluded.value, \
             status = excluded.status, found = excluded.found, hint = excluded.hint, \
             hint_code = excluded.hint_code, status_since = excluded.status_since, \
             checked_at = excluded.checked_at, check_error = excluded.check_error",
    )
    .bind(claim_id)
    .bind(kind.as_str())
    .bind(&row.value)
    .bind(status_text(row.status))
    .bind(&row.found)
    .bind(&row.hint)
    .bind(&row.hint_code)
    .bind(row.status_since.map_or(0, Timestamp::as_millisecond))
    .bind(row.checked_at.as_millisecond())
    .bind(&row.check_error)
    .execute(&mut **write)
    .await?;
    Ok(())
}

/// The status document of a claim as last written.
pub(crate) async fn status_document(
    write: &mut Write,
    claim_id: &str,
) -> Result<Option<bus::DnsStatusDocument>, StoreError> {
    let document: Option<Option<Vec<u8>>> =
        sqlx::query_scalar("SELECT document FROM statuses WHERE claim_id = $1")
            .bind(claim_id)
            .fetch_optional(&mut **write)
            .await?;
    let decode = |bytes: Vec<u8>| bus::DnsStatusDocument::decode(bytes.as_slice());
    Ok(document.flatten().map(decode).transpose().map_err(|e| sqlx::Error::Decode(Box::new(e)))?)
}

/// Puts a new status document into the outbox.
pub(crate) async fn put_status_document(
    write: &mut Write,
    document: &bus::DnsStatusDocument,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO statuses (claim_id, revision, document, position, published) \
         VALUES ($1, 1, $2, 0, 0) \
         ON CONFLICT (claim_id) DO UPDATE SET revision = statuses.revision + 1, \
             document = excluded.document, position = 0, published = 0",
    )
    .bind(&document.claim_id)
    .bind(document.encode_to_vec())
    .execute(&mut **write)
    .await?;
    Ok(())
}

/// Gives the next positions to documents that have none, and returns those not yet published.
pub(crate) async fn next_to_publish(
    store: &Store,
    bucket: &str,
    most: i64,
) -> Result<Vec<StatusRow>, StoreError> {
    let mut write = store.write().await?;
    let select = format!("SELECT position FROM feed WHERE bucket = $1{}", store.for_update());
    let mut position: i64 =
        sqlx::query_scalar(sqlx::AssertSqlSafe(select)).bind(bucket).fetch_one(&mut *write).await?;
    let rows = sqlx::query(
        "SELECT claim_id, revision, document, position FROM statuses WHERE published = 0 \
         ORDER BY CASE WHEN position = 0 THEN 1 ELSE 0 END, position, claim_id LIMIT $1",
    )
    .bind(most)
    .fetch_all(&mut *write)
    .await?;
    let mut next = Vec::new();
    for row in &rows {
        let mut row = read_status(row)?;
        if row.position == 0 {
            if !give_position(&mut write, &row, position + 1).await? {
                continue;
            }
            position += 1;
            row.position = unsigned(position);
        }
        next.push(row);
    }
    sqlx::query("UPDATE feed SET position = $2 WHERE bucket = $1")
        .bind(bucket)
        .bind(position)
        .execute(&mut *write)
        .await?;
    write.commit().await?;
    Ok(next)
}

/// Gives a document its position, unless a newer one has come since it was read: that one takes a
/// position of its own. Says whether it did.
async fn give_position(
    write: &mut Write,
    row: &StatusRow,
    position: i64,
) -> Result<bool, StoreError> {
    let given =
        sqlx::query("UPDATE statuses SET position = $3 WHERE claim_id = $1 AND revision = $2")
            .bind(&row.claim_id)
            .bind(signed(row.revision))
            .bind(position)
            .execute(&mut **write)
            .await?;
    Ok(given.rows_affected() > 0)
}

/// Notes that the bus has these, those that have not changed since.
pub(crate) async fn published(store: &Store, rows: &[StatusRow]) -> Result<(), StoreError> {
    let mut write = store.write().await?;
    for row in rows {
        sqlx::query("UPDATE statuses SET published = 1 WHERE claim_id = $1 AND revision = $2")
            .bind(&row.claim_id)
            .bind(signed(row.revision))
            .execute(&mut *write)
            .await?;
    }
    write.commit().await?;
    Ok(())
}

fn read_status(row: &AnyRow) -> Result<StatusRow, StoreError> {
    Ok(StatusRow {
        claim_id: row.try_get("claim_id")?,
        revision: unsigned(row.try_get("revision")?),
        document: row.try_get("document")?,
        position: unsigned(row.try_get("position")?),
    })
}

/// The life of the bucket that this outbox is for.
pub(crate) async fn generation(store: &Store, bucket: &str) -> Result<String, StoreError> {
    let generation = sqlx::query_scalar("SELECT generation FROM feed WHERE bucket = $1")
        .bind(bucket)
        .fetch_one(store.read())
        .await?;
    Ok(generation)
}

/// Puts everything into the outbox again, at the positions that it has, for a new life of the
/// bucket.
pub(crate) async fn refill(
    store: &Store,
    bucket: &str,
    generation: &str,
) -> Result<(), StoreError> {
    let mut write = store.write().await?;
    sqlx::query("UPDATE statuses SET published = 0").execute(&mut *write).await?;
    sqlx::query("UPDATE feed SET generation = $2 WHERE bucket = $1")
        .bind(bucket)
        .bind(generation)
        .execute(&mut *write)
        .await?;
    write.commit().await?;
    Ok(())
}

fn status(text: &str) -> Option<Status> {
    match text {
        "live" => Some(Status::Live),
        "mismatch" => Some(Status::Mismatch),
        "not_published" => Some(Status::NotPublished),
        "region_intake_not_configured" => Some(Status::RegionIntakeNotConfigured),
        _ => None,
    }
}

fn status_text(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::Live) => "live",
        Some(Status::Mismatch) => "mismatch",
        Some(Status::NotPublished) => "not_published",
        Some(Status::RegionIntakeNotConfigured) => "region_intake_not_configured",
        None => "",
    }
}

/// What we wrote ourselves is always an instant.
fn instant(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Counters start at 1 and never get near the end.
fn signed(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}

fn unsigned(counter: i64) -> u64 {
    u64::try_from(counter).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_document_never_takes_the_position_of_an_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("dns.db").display());
        let store = Store::open(&url, "dns", STEPS).await.unwrap();
        let document = bus::DnsStatusDocument { claim_id: "claim-1".into(), ..Default::default() };
        let mut write = store.write().await.unwrap();
        put_status_document(&mut write, &document).await.unwrap();
        put_status_document(&mut write, &document).await.unwrap();
        let row = |revision| StatusRow {
            claim_id: "claim-1".into(),
            revision,
            document: None,
            position: 0,
        };
        assert!(!give_position(&mut write, &row(1), 1).await.unwrap());
        assert!(give_position(&mut write, &row(2), 2).await.unwrap());
    }
}
