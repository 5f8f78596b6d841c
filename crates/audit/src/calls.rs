//! One effect for each idempotency key: a mark in the transaction of the change.

use std::collections::HashMap;

use jiff::SignedDuration;
use service::caller::{Call, IdempotencyKey};
use store::{StoreError, Write};
use tonic::{Code, Status};
use wire::status::with_reason;

use crate::Audit;
use crate::chain::{Hash, LaidOut, sha256};
use crate::sql::{Calls, Kept};

/// How long a key counts: who has not asked again within a day asks for something new.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// Old keys that one statement deletes, so that it holds up nobody.
const SWEEP_BATCH: i64 = 500;

/// First in what is hashed.
const CALL: &str = "dmarcer call 1";

/// Where a changing transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Make the change. Where the call has a key, it is marked as used by this transaction.
    First,
    /// This very request has made its change already: make none, and answer from what there is.
    Done,
}

/// Why a change is not begun.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The caller has used the key for something else.
    #[error("this idempotency key was used for another request: take a new one")]
    KeyReused,
    /// The database did not do it.
    #[error("the idempotency key could not be marked")]
    Store(#[from] StoreError),
}

impl Audit {
    /// Comes first in a changing transaction. Two of them with one key come one after the other: the
    /// second waits until the first has ended, also on PostgreSQL.
    ///
    /// # Errors
    /// [`BeginError::KeyReused`]; or the database's fault, after which asking again is safe.
    pub async fn begin(&self, write: &mut Write, call: &Call) -> Result<Begun, BeginError> {
        let Some((key, once)) = key(call) else { return Ok(Begun::First) };
        let (now, since) = self.day();
        let hashes = (key.0.as_slice(), once.request_hash.as_slice());
        if Calls::mark(write, hashes, &call.method, now, since).await? {
            return Ok(Begun::First);
        }
        match Calls::marked(write, &key.0).await? {
            Some(Kept { request_hash, .. }) if request_hash == once.request_hash => Ok(Begun::Done),
            // Nobody deletes a mark that counts.
            _ => Err(BeginError::KeyReused),
        }
    }

    /// Deletes keys that no longer count, in small batches, and says how many. [`crate::Once`] does some
    /// of it by the way; a loop that runs this now and then does the rest.
    ///
    /// # Errors
    /// When the database does not do it.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let batch = self.sweep_some().await?;
            deleted += batch;
            if batch < SWEEP_BATCH.unsigned_abs() {
                return Ok(deleted);
            }
        }
    }

    pub(crate) async fn sweep_some(&self) -> Result<u64, StoreError> {
        let (_, since) = self.day();
        let store = &self.inner.store;
        Calls::delete_some(store.read(), since, SWEEP_BATCH, store.for_update()).await
    }

    /// Now, and since when a key counts.
    pub(crate) fn day(&self) -> (i64, i64) {
        let now = self.now_ms();
        (now, now.saturating_sub(KEPT_FOR.as_millis().try_into().unwrap_or(i64::MAX)))
    }
}

/// What a call's key is kept under: each caller has keys of their own in each workspace. None where
/// the call has no key, or nobody sent it.
pub(crate) fn key(call: &Call) -> Option<(Hash, &IdempotencyKey)> {
    let (caller, once) = (call.caller.as_ref()?, call.once.as_ref()?);
    let mut laid_out = LaidOut(Vec::new());
    laid_out.text(CALL);
    laid_out.text(&caller.id);
    laid_out.text(&caller.workspace);
    laid_out.bytes(&once.key_hash);
    Some((sha256(&laid_out.0), once))
}

/// As it is answered: `IDEMPOTENCY_KEY_REUSED`, or, for a fault, which is logged here,
/// `UNAVAILABLE`.
impl From<BeginError> for Status {
    fn from(error: BeginError) -> Status {
        match &error {
            BeginError::KeyReused => {
                let reason = "IDEMPOTENCY_KEY_REUSED";
                with_reason(Code::InvalidArgument, reason, &error.to_string(), HashMap::new())
            }
            BeginError::Store(fault) => unavailable(fault),
        }
    }
}

/// Nothing has been changed, and asking again is safe.
pub(crate) fn unavailable(fault: &StoreError) -> Status {
    tracing::error!(error = fault as &dyn std::error::Error, "idempotency keys can't be looked at");
    let message = "the database isn't answering; nothing was changed, try again";
    with_reason(Code::Unavailable, "UNAVAILABLE", message, HashMap::new())
}
