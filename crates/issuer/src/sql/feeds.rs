//! What is published: which document of which bucket holds what, and at which place.

use store::StoreError;
use store::sqlx::{self, Row};

use super::{Db, Region, count, sql_count, sql_limit};

/// A document that is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: String,
    /// What it is to hold; empty: nothing any more.
    pub(crate) content: String,
}

/// A document with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) key: String,
    pub(crate) revision: u64,
    pub(crate) position: u64,
    pub(crate) content: String,
    pub(crate) pending: bool,
}

impl Db {
    /// Certificate documents of a region that do not hold what they should: the newest certificate,
    /// sealed to `region`'s key, of each hosted domain, and nothing of any other.
    ///
    /// The key is the one that the caller will seal to, not the stored one: that may be newer, and a
    /// document must not be taken for sealed to it.
    pub(crate) async fn certificate_changes(
        &self,
        bucket: &str,
        region: &Region,
        at_most: usize,
    ) -> Result<Vec<Change>, StoreError> {
        let newer = sqlx::query(
            "SELECT p.domain AS doc_key, c.serial || '/' || $4 AS content
             FROM policies p
             JOIN certificates c ON c.domain = p.domain
             LEFT JOIN documents d ON d.bucket = $1 AND d.doc_key = p.domain
             WHERE p.region = $2 AND p.hosted = 1
                 AND (d.content IS NULL OR d.content <> c.serial || '/' || $4)
             ORDER BY p.domain LIMIT $3",
        )
        .bind(bucket)
        .bind(region.id.as_str())
        .bind(sql_limit(at_most))
        .bind(region.sealing_tag.as_str())
        .fetch_all(self.store.read())
        .await?;
        let gone = sqlx::query(
            "SELECT d.doc_key AS doc_key, '' AS content
             FROM documents d
             LEFT JOIN policies p ON p.domain = d.doc_key AND p.region = $2
             WHERE d.bucket = $1 AND d.content <> '' AND (p.domain IS NULL OR p.hosted = 0)
             ORDER BY d.doc_key LIMIT $3",
        )
        .bind(bucket)
        .bind(region.id.as_str())
        .bind(sql_limit(at_most))
        .fetch_all(self.store.read())
        .await?;
        let mut changes = Vec::new();
        for row in newer.iter().chain(&gone) {
            changes.push(Change { key: row.try_get("doc_key")?, content: row.try_get("content")? });
        }
        Ok(changes)
    }

    /// Gives each change the next place of the feed; they are pending from then on.
    pub(crate) async fn place(&self, bucket: &str, changes: &[Change]) -> Result<(), StoreError> {
        let mut write = self.store.write().await?;
        for change in changes {
            let position: i64 = sqlx::query_scalar(
                "INSERT INTO feeds (bucket, position) VALUES ($1, 1)
                 ON CONFLICT (bucket) DO UPDATE SET position = feeds.position + 1
                 RETURNING position",
            )
            .bind(bucket)
            .fetch_one(&mut *write)
            .await?;
            sqlx::query(
                "INSERT INTO documents (bucket, doc_key, revision, position, content, pending)
                 VALUES ($1, $2, 1, $3, $4, 1)
                 ON CONFLICT (bucket, doc_key) DO UPDATE SET revision = documents.revision + 1,
                     position = excluded.position, content = excluded.content, pending = 1",
            )
            .bind(bucket)
            .bind(change.key.as_str())
            .bind(position)
            .bind(change.content.as_str())
            .execute(&mut *write)
            .await?;
        }
        Ok(write.commit().await?)
    }

    /// Documents in the order of the feed, after a position: all of them, or those pending.
    pub(crate) async fn documents(
        &self,
        bucket: &str,
        after: u64,
        all: bool,
        at_most: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let rows = sqlx::query(
            "SELECT doc_key, revision, position, content, pending FROM documents
             WHERE bucket = $1 AND position > $2 AND (pending = 1 OR $3 = 1)
             ORDER BY position LIMIT $4",
        )
        .bind(bucket)
        .bind(sql_count(after))
        .bind(i64::from(all))
        .bind(sql_limit(at_most))
        .fetch_all(self.store.read())
        .await?;
        rows.iter().map(read).collect()
    }

    /// One document.
    pub(crate) async fn document(
        &self,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Document>, StoreError> {
        let row = sqlx::query(
            "SELECT doc_key, revision, position, content, pending FROM documents
             WHERE bucket = $1 AND doc_key = $2",
        )
        .bind(bucket)
        .bind(key)
        .fetch_optional(self.store.read())
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// The bus has taken these.
    pub(crate) async fn put(&self, bucket: &str, taken: &[Document]) -> Result<(), StoreError> {
        let mut write = self.store.write().await?;
        for document in taken {
            sqlx::query(
                "UPDATE documents SET pending = 0
                 WHERE bucket = $1 AND doc_key = $2 AND revision = $3",
            )
            .bind(bucket)
            .bind(document.key.as_str())
            .bind(sql_count(document.revision))
            .execute(&mut *write)
            .await?;
        }
        Ok(write.commit().await?)
    }

    /// The life of the bucket that was filled last; empty before.
    pub(crate) async fn generation(&self, bucket: &str) -> Result<String, StoreError> {
        let generation = sqlx::query_scalar("SELECT generation FROM feeds WHERE bucket = $1")
            .bind(bucket)
            .fetch_optional(self.store.read())
            .await?;
        Ok(generation.unwrap_or_default())
    }

    /// This life of the bucket holds everything.
    pub(crate) async fn filled(&self, bucket: &str, generation: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO feeds (bucket, position, generation) VALUES ($1, 0, $2)
             ON CONFLICT (bucket) DO UPDATE SET generation = excluded.generation",
        )
        .bind(bucket)
        .bind(generation)
        .execute(self.store.read())
        .await?;
        Ok(())
    }
}

fn read(row: &sqlx::any::AnyRow) -> Result<Document, StoreError> {
    let pending: i64 = row.try_get("pending")?;
    Ok(Document {
        key: row.try_get("doc_key")?,
        revision: count(row, "revision")?,
        position: count(row, "position")?,
        content: row.try_get("content")?,
        pending: pending == 1,
    })
}
