//! A record beside each change, in its transaction; and each call once.
//!
//! * **In**: a change's transaction and what it changed; a call with an idempotency key.
//! * **Out**: a chain of records per workspace that can be listed and verified; the answer that was
//!   given the first time.
//! * **Owns**: tables `audit_records`, `audit_heads` and `calls`, inside the database of the service
//!   that makes the changes ([`step`] is one of its migrations).
//! * **Absent**: what the actions are called and who may read about them: services say that. Nothing
//!   here deletes or changes a record.
//!
//! Each record's hash covers the record before it, and the end of each chain is sealed with a key that
//! is not in the database ([`AuditKey`]). So [`Audit::verify`] finds what somebody who can only write
//! SQL has edited, deleted, inserted, swapped, moved or cut off, or a chain that is gone altogether.
//! A register of all chains, itself such a chain, tells which there are.
//!
//! What is **not** found: a chain, or the whole database, set back to what it once was, by somebody who
//! kept a copy; the same is true of a restored backup. For that, note [`Chain::head`] elsewhere, and ask
//! [`Audit::still_contains`]. Whoever has the key too, and so our process, can write what they like.
//!
//! Reading order: `record.rs` (what is written down), `chain.rs` (how it is hashed and sealed),
//! `append.rs` (in the transaction), `verify.rs`, `list.rs`; then `calls.rs` (one effect for each
//! key), `once.rs` (one answer). `to_wire.rs` is how services answer it.

mod append;
mod calls;
mod chain;
mod list;
mod once;
mod record;
mod sql;
pub mod sweep;
pub mod to_wire;
mod verify;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use aws_lc_rs::hmac;
use service::clock::SharedClock;
use store::{Step, Store};

pub use crate::calls::{BeginError, Begun};
pub use crate::chain::{AuditKey, BadHash, BadKey, Hash, Head};
pub use crate::list::{Entry, Filter};
pub use crate::once::Once;
pub use crate::record::{PLATFORM, REGISTER, Record};
pub use crate::verify::{Chain, Problem};

/// How the three tables came to be, as one step of the service that owns the database.
#[must_use]
pub const fn step(version: i64) -> Step {
    Step { version, name: "audit", sql: include_str!("../migrations/audit.sql") }
}

/// Writes and reads what was changed in one service. Clones are handles to the same.
#[derive(Clone)]
pub struct Audit {
    inner: Arc<Inner>,
}

struct Inner {
    service: &'static str,
    key: hmac::Key,
    store: Store,
    clock: SharedClock,
    turns: once::Turns,
    kept: AtomicU64,
}

impl Audit {
    /// For the service of this name, whose store has had [`step`]. The name is part of every hash and
    /// seal: records of one service are no records of another.
    #[must_use]
    pub fn new(service: &'static str, key: &AuditKey, store: Store, clock: SharedClock) -> Audit {
        let inner = Inner {
            service,
            key: key.for_sealing(),
            store,
            clock,
            turns: once::Turns::default(),
            kept: AtomicU64::new(0),
        };
        Audit { inner: Arc::new(inner) }
    }

    /// The service whose changes these are.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.inner.service
    }

    fn now_ms(&self) -> i64 {
        self.inner.clock.now().as_millisecond()
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Audit({})", self.inner.service)
    }
}
