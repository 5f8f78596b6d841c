//! What is kept between the begin of a sign-in and its end.
//!
//! The row that is kept is of no use to somebody who reads the database: of the state and the
//! binding, which are needed to end the sign-in, it holds only hashes, and the nonce and the verifier
//! are encrypted under a key that is made of state and binding. State and binding are random, 256
//! bits each, so their hashes tell nothing of them.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA256, digest};
use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use service::sealed::{KEK_BYTES, Kek};
use store::{Store, StoreError};
use tracing::error;

use crate::sql::SignInRow;

/// How long somebody has for their password, their second factor and a coffee.
const LONGEST_SIGN_IN: SignedDuration = SignedDuration::from_mins(10);
/// Anybody can begin a sign-in. When there are more, the oldest go: it takes a flood of hundreds a
/// second to push out one that takes half a minute.
const MAX_PENDING: i64 = 20_000;
/// Where a sealed value stands.
const PLACE: &str = "sign_ins.sealed";
/// Tells the key of a row from any other hash of the same bytes.
const KEY_PURPOSE: &[u8] = b"dmarcer sign-in: nonce and verifier";

type Random = [u8; 32];

/// A sign-in that has begun.
pub(super) struct Pending {
    state: Random,
    binding: Random,
    nonce: Random,
    verifier: Random,
    pub(super) redirect_uri: String,
    pub(super) begun_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

impl Pending {
    pub(super) fn new(redirect_uri: String, now: Timestamp) -> Pending {
        Pending {
            state: rand::random(),
            binding: rand::random(),
            nonce: rand::random(),
            verifier: rand::random(),
            redirect_uri,
            begun_at: now,
            expires_at: now.saturating_add(LONGEST_SIGN_IN).unwrap_or(Timestamp::MAX),
        }
    }

    pub(super) fn state_text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.state)
    }

    pub(super) fn binding_text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.binding)
    }

    pub(super) fn nonce_text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.nonce)
    }

    /// 43 characters, as many as a verifier has to have (RFC 7636 section 4.1).
    pub(super) fn verifier_text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.verifier)
    }

    /// Keeps it until it is taken.
    pub(super) async fn keep(&self, store: &Store) -> Result<(), StoreError> {
        let sealed = key(&self.state, &self.binding)
            .and_then(|key| key.seal(PLACE, &[self.nonce, self.verifier].concat()).ok());
        let row = SignInRow {
            state_hash: hash(&self.state).to_vec(),
            binding_hash: hash(&self.binding).to_vec(),
            // The system gives no randomness only where nothing works any more. The row is then one
            // that can't be taken.
            sealed: sealed.unwrap_or_default(),
            redirect_uri: self.redirect_uri.clone(),
            begun_at: self.begun_at,
            expires_at: self.expires_at,
        };
        let mut write = store.write().await?;
        SignInRow::sweep(&mut write, self.begun_at, MAX_PENDING - 1).await?;
        row.insert(&mut write).await?;
        Ok(write.commit().await?)
    }

    /// Takes it, which can be done once. None where it is not there, is too old, or was begun with
    /// another binding; then it stays for who has the right one.
    pub(super) async fn take(
        store: &Store,
        state: &str,
        binding: &str,
        now: Timestamp,
    ) -> Result<Option<Pending>, StoreError> {
        let (Some(state), Some(binding)) = (random(state), random(binding)) else {
            return Ok(None);
        };
        let mut write = store.write().await?;
        let Some(row) = SignInRow::find(&mut write, store, &hash(&state)).await? else {
            return Ok(None);
        };
        if verify_slices_are_equal(&hash(&binding), &row.binding_hash).is_err() {
            return Ok(None);
        }
        row.delete(&mut write).await?;
        write.commit().await?;
        let opened = key(&state, &binding).and_then(|key| key.open(PLACE, &row.sealed).ok());
        let Some((nonce, verifier)) = opened.as_deref().and_then(|opened| halves(opened)) else {
            error!("a pending sign-in can't be opened: its row has been changed");
            return Ok(None);
        };
        let SignInRow { redirect_uri, begun_at, expires_at, .. } = row;
        let pending =
            Pending { state, binding, nonce, verifier, redirect_uri, begun_at, expires_at };
        Ok(Some(pending).filter(|pending| now < pending.expires_at))
    }
}

fn hash(secret: &Random) -> Random {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret).as_ref());
    hash
}

fn key(state: &Random, binding: &Random) -> Option<Kek> {
    const _: () = assert!(KEK_BYTES == 32, "SHA-256 gives a key");
    let mut context = Context::new(&SHA256);
    context.update(KEY_PURPOSE);
    context.update(state);
    context.update(binding);
    Kek::new(context.finish().as_ref()).ok()
}

fn halves(opened: &[u8]) -> Option<(Random, Random)> {
    let (nonce, verifier) = opened.split_first_chunk()?;
    Some((*nonce, verifier.try_into().ok()?))
}

fn random(text: &str) -> Option<Random> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()
}
