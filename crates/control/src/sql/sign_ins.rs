//! Table `sign_ins`.

use jiff::Timestamp;
use store::sqlx::{Row, query, query_scalar};
use store::{Store, StoreError, Write};

use super::{instant, millis};

/// A sign-in that has begun and not ended.
pub(crate) struct SignInRow {
    pub(crate) state_hash: Vec<u8>,
    pub(crate) binding_hash: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
    pub(crate) redirect_uri: String,
    pub(crate) begun_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

impl SignInRow {
    pub(crate) async fn insert(&self, write: &mut Write) -> Result<(), StoreError> {
        let sql = "INSERT INTO sign_ins
                   (state_hash, binding_hash, sealed, redirect_uri, begun_at, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6)";
        query(sql)
            .bind(self.state_hash.as_slice())
            .bind(self.binding_hash.as_slice())
            .bind(self.sealed.as_slice())
            .bind(self.redirect_uri.as_str())
            .bind(millis(self.begun_at))
            .bind(millis(self.expires_at))
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// The one with this state, to be deleted in the same transaction.
    pub(crate) async fn find(
        write: &mut Write,
        store: &Store,
        state_hash: &[u8],
    ) -> Result<Option<SignInRow>, StoreError> {
        let sql = format!(
            "SELECT state_hash, binding_hash, sealed, redirect_uri, begun_at, expires_at
             FROM sign_ins WHERE state_hash = $1{}",
            store.for_update()
        );
        let row = query(store::sqlx::AssertSqlSafe(sql))
            .bind(state_hash)
            .fetch_optional(&mut **write)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(SignInRow {
            state_hash: row.try_get("state_hash")?,
            binding_hash: row.try_get("binding_hash")?,
            sealed: row.try_get("sealed")?,
            redirect_uri: row.try_get("redirect_uri")?,
            begun_at: instant(&row, "begun_at")?,
            expires_at: instant(&row, "expires_at")?,
        }))
    }

    pub(crate) async fn delete(&self, write: &mut Write) -> Result<(), StoreError> {
        query("DELETE FROM sign_ins WHERE state_hash = $1")
            .bind(self.state_hash.as_slice())
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// Deletes what is too old, and the oldest of what is more than `keep`.
    pub(crate) async fn sweep(
        write: &mut Write,
        now: Timestamp,
        keep: i64,
    ) -> Result<(), StoreError> {
        query("DELETE FROM sign_ins WHERE expires_at <= $1")
            .bind(millis(now))
            .execute(&mut **write)
            .await?;
        let pending: i64 =
            query_scalar("SELECT count(*) FROM sign_ins").fetch_one(&mut **write).await?;
        if pending > keep {
            let sql = "DELETE FROM sign_ins WHERE state_hash IN
                       (SELECT state_hash FROM sign_ins ORDER BY begun_at LIMIT $1)";
            query(sql).bind(pending - keep).execute(&mut **write).await?;
        }
        Ok(())
    }
}
