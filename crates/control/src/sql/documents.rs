//! Tables `documents` and `feeds`: the outbox.

use store::sqlx::any::AnyRow;
use store::sqlx::{AnyExecutor, Row, query};
use store::{StoreError, Write};

use super::{count, number};

/// The newest document of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) revision: u64,
    /// None for a tombstone.
    pub(crate) payload: Option<Vec<u8>>,
    /// 0: none yet.
    pub(crate) position: u64,
    pub(crate) published: bool,
}

/// A bucket's feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Feed {
    pub(crate) bucket: String,
    pub(crate) position: u64,
    pub(crate) generation: String,
}

impl Document {
    /// Whether it is on the bus, and no tombstone.
    pub(crate) fn is_served(&self) -> bool {
        self.published && self.payload.is_some()
    }

    /// Replaces a key's document, in the transaction that makes the change. A document that says
    /// the same as before is not a new one.
    pub(crate) async fn put(
        write: &mut Write,
        bucket: &str,
        key: &str,
        payload: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        if let Some(before) = Document::find(&mut **write, bucket, key).await? {
            if before.payload.as_deref() == payload {
                return Ok(());
            }
        } else if payload.is_none() {
            return Ok(());
        }
        query("INSERT INTO feeds (bucket) VALUES ($1) ON CONFLICT (bucket) DO NOTHING")
            .bind(bucket)
            .execute(&mut **write)
            .await?;
        query(
            "INSERT INTO documents (bucket, key, revision, payload) VALUES ($1, $2, 1, $3)
             ON CONFLICT (bucket, key) DO UPDATE SET revision = documents.revision + 1,
                 payload = $3, position = 0, published = 0",
        )
        .bind(bucket)
        .bind(key)
        .bind(payload.map(<[u8]>::to_vec))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    pub(crate) async fn find<'e>(
        executor: impl AnyExecutor<'e>,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Document>, StoreError> {
        let row = query("SELECT * FROM documents WHERE bucket = $1 AND key = $2")
            .bind(bucket)
            .bind(key)
            .fetch_optional(executor)
            .await?;
        row.as_ref().map(Document::from_row).transpose()
    }

    /// Documents to put on the bus, in order: those with a position first, as after a crash
    /// between giving the position and putting.
    pub(crate) async fn unpublished<'e>(
        executor: impl AnyExecutor<'e>,
        bucket: &str,
        limit: i64,
    ) -> Result<Vec<Document>, StoreError> {
        let rows = query(
            "SELECT * FROM documents WHERE bucket = $1 AND published = 0
             ORDER BY CASE WHEN position = 0 THEN 1 ELSE 0 END, position, key LIMIT $2",
        )
        .bind(bucket)
        .bind(limit)
        .fetch_all(executor)
        .await?;
        rows.iter().map(Document::from_row).collect()
    }

    /// Published documents after a position, in order: to fill a bucket that lost its values.
    pub(crate) async fn published_after<'e>(
        executor: impl AnyExecutor<'e>,
        bucket: &str,
        position: u64,
        limit: i64,
    ) -> Result<Vec<Document>, StoreError> {
        let rows = query(
            "SELECT * FROM documents WHERE bucket = $1 AND published = 1 AND position > $2
             ORDER BY position LIMIT $3",
        )
        .bind(bucket)
        .bind(number(position))
        .bind(limit)
        .fetch_all(executor)
        .await?;
        rows.iter().map(Document::from_row).collect()
    }

    /// Gives the document its place, unless it has been replaced meanwhile.
    pub(crate) async fn set_position(
        &self,
        write: &mut Write,
        position: u64,
    ) -> Result<(), StoreError> {
        query(
            "UPDATE documents SET position = $4 WHERE bucket = $1 AND key = $2 AND revision = $3",
        )
        .bind(&self.bucket)
        .bind(&self.key)
        .bind(number(self.revision))
        .bind(number(position))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// Notes that the document is on the bus, unless it has been replaced meanwhile.
    pub(crate) async fn set_published(&self, write: &mut Write) -> Result<(), StoreError> {
        query(
            "UPDATE documents SET published = 1 WHERE bucket = $1 AND key = $2 AND revision = $3",
        )
        .bind(&self.bucket)
        .bind(&self.key)
        .bind(number(self.revision))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    fn from_row(row: &AnyRow) -> Result<Document, StoreError> {
        Ok(Document {
            bucket: row.try_get("bucket")?,
            key: row.try_get("key")?,
            revision: count(row, "revision")?,
            payload: row.try_get("payload")?,
            position: count(row, "position")?,
            published: count(row, "published")? == 1,
        })
    }
}

impl Feed {
    pub(crate) async fn all<'e>(executor: impl AnyExecutor<'e>) -> Result<Vec<Feed>, StoreError> {
        let rows = query("SELECT * FROM feeds ORDER BY bucket").fetch_all(executor).await?;
        rows.iter().map(Feed::from_row).collect()
    }

    pub(crate) async fn find<'e>(
        executor: impl AnyExecutor<'e>,
        bucket: &str,
    ) -> Result<Option<Feed>, StoreError> {
        let row = query("SELECT * FROM feeds WHERE bucket = $1")
            .bind(bucket)
            .fetch_optional(executor)
            .await?;
        row.as_ref().map(Feed::from_row).transpose()
    }

    pub(crate) async fn set_position(
        &self,
        write: &mut Write,
        position: u64,
    ) -> Result<(), StoreError> {
        query("UPDATE feeds SET position = $2 WHERE bucket = $1")
            .bind(&self.bucket)
            .bind(number(position))
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// Notes which life of the bucket holds all our documents.
    pub(crate) async fn set_generation<'e>(
        &self,
        executor: impl AnyExecutor<'e>,
        generation: &str,
    ) -> Result<(), StoreError> {
        query("UPDATE feeds SET generation = $2 WHERE bucket = $1")
            .bind(&self.bucket)
            .bind(generation)
            .execute(executor)
            .await?;
        Ok(())
    }

    fn from_row(row: &AnyRow) -> Result<Feed, StoreError> {
        Ok(Feed {
            bucket: row.try_get("bucket")?,
            position: count(row, "position")?,
            generation: row.try_get("generation")?,
        })
    }
}
