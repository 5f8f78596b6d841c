//! One answer for each idempotency key, around a service.

mod answer;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::{fmt, mem};

use service::caller::{Call, IdempotencyKey};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tracing::Instrument as _;
use zeroize::Zeroizing;

use crate::Audit;
use crate::calls::{BeginError, key, unavailable};
use crate::chain::Hash;
use crate::once::answer::{open, read, replay, seal};
use crate::sql::{Calls, Kept};

/// Old keys are looked for after each so many answers that were kept.
const SWEEP_EVERY: u64 = 64;

/// Answers a call that has an idempotency key as it was answered the first time, for 24 hours.
///
/// Goes around a service, inside [`service::access`], whose [`Call`] it reads. Only answers without an
/// error are kept, up to 256 KiB, encrypted with what only the caller has; the answer then carries
/// `idempotency-replayed: true`. Once begun, a call is finished even if the caller goes away: that is
/// just when they will ask again. Where there was no time left to keep the answer, the call reaches
/// its handler again, which learns from [`Audit::begin`] that the change is made ([`crate::Begun::Done`]).
#[derive(Clone)]
pub struct Once<S> {
    inner: S,
    audit: Audit,
}

impl<S> Once<S> {
    /// Around `inner`, with the keys kept beside the records of `audit`.
    pub fn new(inner: S, audit: Audit) -> Once<S> {
        Once { inner, audit }
    }
}

impl<S> fmt::Debug for Once<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Once({:?})", self.audit)
    }
}

impl<S: NamedService> NamedService for Once<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Once<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let marked = request.extensions().get::<Call>().and_then(Marked::new);
        let Some(marked) = marked else { return Box::pin(self.inner.call(request)) };
        // The one that was polled until it was ready.
        let next = self.inner.clone();
        let inner = mem::replace(&mut self.inner, next);
        let audit = self.audit.clone();
        Box::pin(async move {
            Ok(audit.once(inner, request, marked).await.unwrap_or_else(Status::into_http))
        })
    }
}

/// A call with a key.
struct Marked {
    key: Hash,
    once: IdempotencyKey,
    method: Arc<str>,
}

impl Marked {
    fn new(call: &Call) -> Option<Marked> {
        let (key, once) = key(call)?;
        Some(Marked { key, once: once.clone(), method: call.method.clone() })
    }

    fn hashes(&self) -> (&[u8], &[u8]) {
        (&self.key.0, &self.once.request_hash)
    }
}

impl Audit {
    async fn once<S>(
        self,
        mut inner: S,
        request: Request<Body>,
        marked: Marked,
    ) -> Result<Response<Body>, Status>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
    {
        // Who asks again while the first call is under way waits for its answer.
        let turn = self.inner.turns.wait(marked.key).await;
        if let Some(message) = self.kept(&marked).await? {
            return Ok(replay(&message));
        }
        let finished = async move {
            let Ok(response) = inner.call(request).await;
            let (response, message) = read(response).await;
            if let Some(message) = message {
                self.keep(&marked, &message).await;
            }
            drop::<OwnedMutexGuard<()>>(turn);
            response
        };
        // A task of its own: a connection that breaks drops its calls.
        tokio::spawn(finished.in_current_span()).await.map_err(|fault| {
            tracing::error!(%fault, "a call with an idempotency key ended early");
            wire::status::internal()
        })
    }

    /// The message that this very request was answered with.
    async fn kept(&self, marked: &Marked) -> Result<Option<Zeroizing<Vec<u8>>>, Status> {
        let (_, since) = self.day();
        let kept = Calls::find(self.inner.store.read(), &marked.key.0, since).await;
        match kept.map_err(|fault| unavailable(&fault))? {
            None => Ok(None),
            Some(Kept { request_hash, .. }) if request_hash != marked.once.request_hash => {
                Err(BeginError::KeyReused.into())
            }
            Some(Kept { answer, .. }) => {
                Ok(answer.and_then(|answer| open(&marked.once, &marked.key, &answer)))
            }
        }
    }

    /// Keeps an answer. The change is made by now: what goes wrong here is logged, and the answer sent.
    async fn keep(&self, marked: &Marked, message: &[u8]) {
        let Some(sealed) = seal(&marked.once, &marked.key, message) else {
            return tracing::warn!(method = %marked.method, "an answer can't be sealed");
        };
        let (now, since) = self.day();
        let pool = self.inner.store.read();
        let kept = Calls::keep(pool, marked.hashes(), &marked.method, &sealed, now, since).await;
        if let Err(fault) = kept {
            let error = &fault as &dyn std::error::Error;
            tracing::warn!(error, method = %marked.method, "an answer can't be kept");
        }
        if self.inner.kept.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1
            && let Err(fault) = self.sweep_some().await
        {
            let error = &fault as &dyn std::error::Error;
            tracing::warn!(error, "old idempotency keys can't be deleted");
        }
    }
}

/// Calls with the same key, one after the other. Only within this process: between processes it is the
/// mark in the transaction that keeps the change to one.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<Hash, Arc<Turn<()>>>>);

impl Turns {
    async fn wait(&self, key: Hash) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds or waits for: as many as there are calls stay.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(key).or_default().clone()
        };
        turn.lock_owned().await
    }
}
