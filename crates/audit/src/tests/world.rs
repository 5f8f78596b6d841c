//! A database of its own for each test, and calls.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::SignedDuration;
use serde_json::json;
use service::caller::{Call, Caller, IdempotencyKey, Role};
use service::clock::SetClock;
use store::sqlx::{self, AssertSqlSafe, Executor, Row};
use store::{Store, StoreError};

use crate::{Audit, AuditKey, Record, step};

pub(super) struct World {
    pub(super) audit: Audit,
    pub(super) store: Store,
    pub(super) clock: Arc<SetClock>,
    folder: tempfile::TempDir,
}

impl World {
    pub(super) async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let url = store_url(folder.path()).await;
        World::at(&url, folder).await
    }

    async fn at(url: &str, folder: tempfile::TempDir) -> World {
        let store = Store::open(url, "test", &[step(1)]).await.unwrap();
        let clock = SetClock::at("2026-11-23T10:00:00Z".parse().unwrap());
        let key = AuditKey::new(&[7; 32]).unwrap();
        let audit = Audit::new("test", &key, store.clone(), clock.clone());
        World { audit, store, clock, folder }
    }

    /// Another database that holds the same.
    pub(super) async fn copy(&self) -> World {
        let folder = tempfile::tempdir().unwrap();
        let url = store_url(folder.path()).await;
        if is_sqlite() {
            let into = format!("VACUUM INTO '{}/test.db'", folder.path().display());
            sqlx::query(AssertSqlSafe(into)).execute(self.store.read()).await.unwrap();
            return World::at(&url, folder).await;
        }
        let copy = World::at(&url, folder).await;
        let from = schema(self.folder.path());
        for table in ["audit_records", "audit_heads", "calls"] {
            copy.sql(&format!("INSERT INTO {table} SELECT * FROM {from}.{table}")).await.unwrap();
        }
        copy
    }

    /// The same database, opened again.
    pub(super) async fn reopened(&self) -> World {
        World::at(&store_url(self.folder.path()).await, tempfile::tempdir().unwrap()).await
    }

    /// The same database, opened by somebody with another key, or by another service.
    pub(super) fn as_another(&self, service: &'static str, key: u8) -> Audit {
        let key = AuditKey::new(&[key; 32]).unwrap();
        Audit::new(service, &key, self.store.clone(), self.clock.clone())
    }

    pub(super) async fn record(&self, record: Record) {
        self.record_all(vec![record]).await.unwrap();
    }

    pub(super) async fn record_all(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let mut write = self.store.write().await?;
        self.audit.record_all(&mut write, records).await?;
        write.commit().await?;
        Ok(())
    }

    /// Some changes in three workspaces and the platform.
    pub(super) async fn some_history(&self) {
        for n in 0..8 {
            self.clock.advance(SignedDuration::from_secs(1));
            for workspace in ["acme", "globex", "initech"] {
                let record = Record::by_call(
                    &caller(workspace),
                    &call(workspace, None),
                    if n % 2 == 0 { "policy.promote" } else { "policy.revert" },
                    &format!("d{n}.example"),
                );
                let was = json!({ "mode": "testing", "revision": n + 70 });
                let record = match n % 4 {
                    0 => record.after(was),
                    1 => record.before(was).after(json!({ "mode": "enforce", "days": 7 })),
                    2 => record.before(json!([n, 7.5])).after(json!("")),
                    _ => record.before(json!(null)),
                };
                self.record(record).await;
            }
        }
        self.record(Record::by_itself(crate::PLATFORM, "region.add", "eu-1")).await;
    }

    /// Executes statements as an attacker would, together or not at all.
    pub(super) async fn sql(&self, statements: &str) -> Result<(), sqlx::Error> {
        let mut write = self.store.write().await.unwrap();
        for statement in statements.split(";\n") {
            let statement = AssertSqlSafe(statement.to_owned());
            // Unprepared: statements are made up as they come.
            (&mut *write).execute(statement).await?;
        }
        write.commit().await
    }

    /// Everything that the chains are made of; none where it can't even be read.
    pub(super) async fn dump(&self) -> Option<Vec<String>> {
        let mut dump = Vec::new();
        for table in ["audit_records", "audit_heads"] {
            let sql = format!("SELECT * FROM {table} ORDER BY 1, 2");
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(self.store.read()).await.ok()?;
            dump.extend(rows.iter().map(|row| {
                let columns = 0..row.columns().len();
                let values = columns.map(|at| row.try_get_raw(at).map(|v| format!("{v:?}")));
                format!("{values:?}", values = values.collect::<Vec<_>>())
            }));
        }
        Some(dump)
    }
}

pub(super) fn is_sqlite() -> bool {
    std::env::var("DMARCER_TEST_POSTGRES").is_err()
}

/// SQLite in a folder, or a schema of its own on the PostgreSQL server.
async fn store_url(folder: &Path) -> String {
    let Ok(server) = std::env::var("DMARCER_TEST_POSTGRES") else {
        return format!("sqlite://{}/test.db", folder.display());
    };
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(&server).await.unwrap();
    let schema = schema(folder);
    let create = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
    sqlx::query(AssertSqlSafe(create)).execute(&pool).await.unwrap();
    pool.close().await;
    format!("{server}?options=-c%20search_path%3D{schema}")
}

fn schema(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().as_encoded_bytes();
    format!("t{}", data_encoding::HEXLOWER.encode(name))
}

pub(super) fn caller(workspace: &str) -> Caller {
    Caller {
        id: "person:alice".to_owned(),
        name: "alice@example.org".to_owned(),
        workspace: workspace.to_owned(),
        role: Role::DomainManager,
        domains: Vec::new(),
        owner: "person:alice".to_owned(),
    }
}

/// A call, with an idempotency key and a body if they are given.
pub(super) fn call(workspace: &str, once: Option<(&str, &str)>) -> Call {
    Call {
        caller: Some(caller(workspace)),
        request_id: format!("request-of-{workspace}"),
        from: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        method: "/test.Service/Change".into(),
        once: once.map(|(key, body)| IdempotencyKey {
            key_hash: sha256(key),
            request_hash: sha256(body),
            sealing: sha256(&format!("token and {key}")),
        }),
    }
}

fn sha256(text: &str) -> [u8; 32] {
    digest(&SHA256, text.as_bytes()).as_ref().try_into().unwrap()
}
