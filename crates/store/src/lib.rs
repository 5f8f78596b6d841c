//! Pools, transactions and migrations over SQLite and PostgreSQL.
//!
//! * **In**: a URL, and the service's own migrations. **Out**: a [`Store`] that hands out reading
//!   connections and writing transactions.
//! * **Absent**: the name of any table. A service owns its tables: its `migrations/` and `sql.rs`
//!   are inside it.
//!
//! One SQL text serves both engines, within bounds that both keep: ids are TEXT, instants are
//! BIGINT milliseconds, flags are BIGINT 0 or 1, JSON is TEXT, bytes are BYTEA, placeholders are
//! `$1`, a sum is `CAST(coalesce(sum(x), 0) AS BIGINT)`.

use std::time::Duration;

pub use sqlx;
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Any, AnyPool, Executor, SqlSafeStr, Transaction};
use tokio::sync::Mutex;

/// A transaction that may write. Dropped without `commit`, it changes nothing.
pub type Write = Transaction<'static, Any>;

/// How long a call waits for a connection before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// SQLite has one writer, and readers are short.
const CONNECTIONS: u32 = 8;

/// A server that hangs must not hold a loop for ever.
const POSTGRES_SETTINGS: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s';";

static MIGRATING: Mutex<()> = Mutex::const_new(());

/// Write-ahead logging lets readers go on beside the writer; `synchronous = FULL` makes a commit
/// durable before it is answered, in this mode too.
const SQLITE_PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;";

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is neither `sqlite://<file>` nor `postgres://…`.
    #[error("a store is `sqlite://<file>` or `postgres://…`, not {scheme:?}")]
    UnknownEngine {
        /// What stands before `://`; the rest may hold a password and is left out.
        scheme: String,
    },
    /// The tables could not be brought up to date.
    #[error("the database can't be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A query failed, or the database does not answer.
    #[error("the database refused")]
    Query(#[from] sqlx::Error),
}

impl StoreError {
    /// Whether a row was refused because one with its key is already there.
    pub fn is_unique_violation(&self) -> bool {
        match self {
            StoreError::Query(sqlx::Error::Database(e)) => e.is_unique_violation(),
            _ => false,
        }
    }
}

/// One step in the life of a service's tables. Steps are only ever added.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Counts from 1.
    pub version: i64,
    /// For people who look into the history table.
    pub name: &'static str,
    /// Statements for both engines.
    pub sql: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Sqlite,
    Postgres,
}

/// A service's own database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    engine: Engine,
}

impl Store {
    /// Opens a database and brings the tables of `service` up to date.
    ///
    /// A SQLite file is created where there is none. Each service has a file or a PostgreSQL
    /// database (or schema) of its own: tables of two services may have the same name.
    ///
    /// # Errors
    /// When the URL is of another kind, the database does not answer, or a step fails.
    pub async fn open(url: &str, service: &str, steps: &[Step]) -> Result<Store, StoreError> {
        install_default_drivers();
        let engine = engine(url)?;
        let options = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    let settings = match engine {
                        Engine::Sqlite => SQLITE_PRAGMAS,
                        Engine::Postgres => POSTGRES_SETTINGS,
                    };
                    connection.execute(settings).await?;
                    Ok(())
                })
            });
        let url = match engine {
            Engine::Sqlite if !url.contains('?') => format!("{url}?mode=rwc"),
            _ => url.to_owned(),
        };
        let pool = options.connect(&url).await?;

        let steps = steps.iter().map(|step| {
            let sql = step.sql.into_sql_str();
            Migration::new(step.version, step.name.into(), MigrationType::Simple, sql, false)
        });
        let mut migrator = Migrator::with_migrations(steps.collect());
        migrator.dangerous_set_table_name(format!("_migrations_{service}"));
        // PostgreSQL has an advisory lock for this. On SQLite, two processes are kept apart by the
        // lock on the data directory, and two pools in one process here.
        let _alone = MIGRATING.lock().await;
        migrator.run(&pool).await?;
        Ok(Store { pool, engine })
    }

    /// For single statements; each is a transaction of its own.
    pub fn read(&self) -> &AnyPool {
        &self.pool
    }

    /// Begins a transaction that may write.
    ///
    /// On SQLite it takes the write lock at once: a transaction that reads first and writes later
    /// would fail as soon as another has written between. On PostgreSQL, select what you are going
    /// to change with [`for_update`](Store::for_update).
    ///
    /// # Errors
    /// When the database does not answer, or stays locked.
    pub async fn write(&self) -> Result<Write, StoreError> {
        let begin = match self.engine {
            Engine::Sqlite => "BEGIN IMMEDIATE",
            Engine::Postgres => "BEGIN",
        };
        Ok(self.pool.begin_with(begin).await?)
    }

    /// What to end a SELECT with whose rows are going to be changed: empty on SQLite, where the
    /// transaction is the only one that writes.
    pub fn for_update(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite => "",
            Engine::Postgres => " FOR UPDATE",
        }
    }

    /// Ends all connections, waiting for those in use.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn engine(url: &str) -> Result<Engine, StoreError> {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("sqlite") => Ok(Engine::Sqlite),
        Some("postgres" | "postgresql") => Ok(Engine::Postgres),
        other => Err(StoreError::UnknownEngine { scheme: other.unwrap_or("").to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[Step] = &[Step {
        version: 1,
        name: "counters",
        sql: "CREATE TABLE counters (name TEXT PRIMARY KEY, n BIGINT NOT NULL)",
    }];

    async fn open(folder: &tempfile::TempDir) -> Store {
        let url = format!("sqlite://{}/test.db", folder.path().display());
        Store::open(&url, "test", STEPS).await.unwrap()
    }

    async fn add_one(store: &Store) -> Result<(), StoreError> {
        let mut write = store.write().await?;
        let n: i64 = sqlx::query_scalar("SELECT n FROM counters WHERE name = 'a'")
            .fetch_one(&mut *write)
            .await?;
        sqlx::query("UPDATE counters SET n = $1 WHERE name = 'a'")
            .bind(n + 1)
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        Ok(())
    }

    #[tokio::test]
    async fn writers_that_read_first_do_not_lose_each_others_changes() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder).await;
        sqlx::query("INSERT INTO counters VALUES ('a', 0)").execute(store.read()).await.unwrap();

        let writers: Vec<_> = (0..8)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    for _ in 0..10 {
                        add_one(&store).await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let n: i64 =
            sqlx::query_scalar("SELECT n FROM counters").fetch_one(store.read()).await.unwrap();
        assert_eq!(n, 80);
    }

    #[tokio::test]
    async fn opening_twice_migrates_once() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = tokio::join!(open(&folder), open(&folder));
        sqlx::query("INSERT INTO counters VALUES ('a', 0)").execute(first.read()).await.unwrap();
        let n: i64 = sqlx::query_scalar("SELECT count(*) FROM counters")
            .fetch_one(second.read())
            .await
            .unwrap();
        assert_eq!(n, 1);
    }

    #[tokio::test]
    async fn a_transaction_that_is_dropped_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder).await;
        let mut write = store.write().await.unwrap();
        sqlx::query("INSERT INTO counters VALUES ('a', 0)").execute(&mut *write).await.unwrap();
        drop(write);
        let n: i64 = sqlx::query_scalar("SELECT count(*) FROM counters")
            .fetch_one(store.read())
            .await
            .unwrap();
        assert_eq!(n, 0);
    }

    #[tokio::test]
    async fn a_url_of_another_kind_is_refused_without_its_password() {
        let refused = Store::open("mysql://me:secret@db/x", "test", STEPS).await.unwrap_err();
        assert!(refused.to_string().contains("mysql"));
        assert!(!refused.to_string().contains("secret"));
    }
}
