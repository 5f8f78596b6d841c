//! The bus over NATS JetStream.
//!
//! A bucket is a JetStream key-value bucket: a stream called `KV_<bucket>` with one message under
//! each subject `$KV.<bucket>.<key>`. A stream is one of *interest*: it holds each message until all
//! of its declared consumers have acknowledged it, and takes no more when it is full.
//!
//! * **In**: [`Options`], a [`Layout`] from whoever may declare it. **Out**: what [`Bus`] promises.
//! * **Listens**: nowhere. Answers come on subjects beginning with [`Options::inbox`].
//! * **Owns**: in each bucket that this process keeps, one mark under a key that no service can use,
//!   and its witness in the bucket `bus-lives`; see `life`, which tells how a loss is noticed.
//! * **Absent**: trust in what a bucket holds, and in its sequences. They only ever say where to go
//!   on reading.
//!
//! Reading order: [`Options`], `link` (one way to ask, always with an end), `bucket`, `life`, `pull`
//! and `watch`, `stream`; then [`Layout`], [`check`] and [`permissions`], which operators meet.

mod bucket;
pub mod check;
mod declare;
mod events;
mod life;
mod link;
mod options;
pub mod permissions;
mod position;
mod pull;
mod stream;
mod watch;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

pub use declare::{BucketPlan, DEDUPE_WINDOW, Layout, StreamPlan};
pub use events::Health;
pub use link::OPERATION_TIMEOUT;
pub use options::{Credentials, Options, OptionsError, Secret};

use crate::{Bus, BusError, Bytes, Consumer, Entry, Watch, check_key, check_length};
use bucket::Sequences;
use check::{Finding, Standard};
use life::{Lives, WITNESSES};
use link::{Failed, Link};
use stream::StreamConsumer;
use watch::BucketWatch;

/// A connection to NATS, used as a bus.
pub struct NatsBus {
    link: Arc<Link>,
    layout: Mutex<Layout>,
    lives: Lives,
    sequences: Sequences,
}

impl NatsBus {
    /// Connects in the background: the server may be away, now and at any later time.
    ///
    /// # Errors
    /// When the options can never work: a URL that is none, a file that can't be read.
    pub async fn connect(options: Options) -> Result<Arc<NatsBus>, OptionsError> {
        let link = Arc::new(Link::open(&options).await?);
        Ok(Arc::new(NatsBus {
            link,
            layout: Mutex::default(),
            lives: Lives::of(options.keeps),
            sequences: Sequences::default(),
        }))
    }

    /// Makes the buckets and streams that are not there yet; what is there stays as it is, whatever
    /// its configuration ([`check_server`](NatsBus::check_server) compares). What can't be made
    /// now, and buckets whose names are patterns, are made when they are first needed.
    ///
    /// # Errors
    /// When the server is away, or lets this process make nothing. The layout is known all the same.
    pub async fn declare(&self, layout: Layout) -> Result<(), BusError> {
        *lock(&self.layout) = layout.clone();
        for plan in layout.buckets.iter().filter(|plan| !plan.is_pattern()) {
            self.declare_one(Target::Bucket(&plan.name)).await?;
        }
        for plan in &layout.streams {
            self.declare_one(Target::Stream(&plan.name)).await?;
        }
        Ok(())
    }

    /// Looks at the server, and at the buckets and streams of a layout with a full name, and tells
    /// what is not as it has to be.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn check_server(
        &self,
        layout: &Layout,
        standard: Standard,
    ) -> Result<Vec<Finding>, BusError> {
        let what = "looking at the server";
        let facts = self.link.in_time(what, check::facts(&self.link, layout)).await?;
        Ok(check::judge(&facts, layout, standard))
    }

    /// Empties a bucket that this process keeps and gives it another life, so that its writer puts
    /// everything again: for use after restoring NATS from a backup, which nothing here can notice.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn renew(&self, bucket: &str) -> Result<(), BusError> {
        let renew = || self.lives.renew(&self.link, &self.sequences, bucket).boxed();
        self.at(Target::Bucket(bucket), "renewing", renew).await
    }

    /// How the connection fares.
    pub fn health(&self) -> Health {
        self.link.events.health(self.link.is_connected())
    }

    /// Does it; where the bucket or stream isn't there and this process knows how to make it, makes
    /// it and does it again.
    async fn at<'a, T>(
        &'a self,
        target: Target<'a>,
        what: &str,
        attempt: impl Fn() -> BoxFuture<'a, Result<T, Failed>> + Send,
    ) -> Result<T, BusError> {
        let done = async {
            match attempt().await {
                Err(Failed::Missing) if self.make(target).await? => attempt().await,
                done => done,
            }
        };
        let done = async { done.await.map_err(|failed| failed.about(&target.to_string())) };
        self.link.in_time(&format!("{what} {target}"), done).await
    }

    /// Makes what its plan is known of here; tells whether it is.
    async fn make(&self, target: Target<'_>) -> Result<bool, Failed> {
        match target {
            Target::Bucket(name) => {
                let Some(plan) = lock(&self.layout).bucket(name).cloned() else {
                    return Ok(false);
                };
                declare::bucket(&self.link, &plan, name).await?;
                if self.lives.keeps(name) {
                    declare::bucket(&self.link, &plan.witness(), WITNESSES).await?;
                }
            }
            Target::Stream(name) => {
                let Some(plan) = lock(&self.layout).stream(name).cloned() else {
                    return Ok(false);
                };
                declare::stream(&self.link, &plan).await?;
            }
        }
        Ok(true)
    }

    async fn declare_one(&self, target: Target<'_>) -> Result<(), BusError> {
        let made = async {
            let made = self.make(target).await;
            made.map_err(|failed| failed.about(&target.to_string()))
        };
        self.link.in_time(&format!("declaring {target}"), made).await.map(drop)
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn put(&self, bucket: &str, key: &str, value: Bytes) -> Result<u64, BusError> {
        check_bucket(bucket)?;
        check_key(key)?;
        check_length(&value)?;
        let put = || bucket::put(&self.link, &self.sequences, bucket, key, value.clone()).boxed();
        let sequence = self.at(Target::Bucket(bucket), "putting into", put).await?;
        if self.lives.keeps(bucket) {
            self.lives.saw(bucket, sequence);
        }
        Ok(sequence)
    }

    async fn get(&self, bucket: &str, key: &str) -> Result<Option<Entry>, BusError> {
        check_bucket(bucket)?;
        check_key(key)?;
        let get = || bucket::get(&self.link, bucket, key).boxed();
        self.at(Target::Bucket(bucket), "getting from", get).await
    }

    async fn watch(&self, bucket: &str, sequence: u64) -> Result<Box<dyn Watch>, BusError> {
        check_bucket(bucket)?;
        let watch = || BucketWatch::open(self.link.clone(), bucket, sequence).boxed();
        Ok(Box::new(self.at(Target::Bucket(bucket), "watching", watch).await?))
    }

    async fn generation(&self, bucket: &str) -> Result<String, BusError> {
        check_bucket(bucket)?;
        let look = || self.lives.generation(&self.link, &self.sequences, bucket).boxed();
        self.at(Target::Bucket(bucket), "looking at", look).await
    }

    async fn publish(&self, stream: &str, id: &str, payload: Bytes) -> Result<(), BusError> {
        check_length(&payload)?;
        let publish = || stream::publish(&self.link, stream, id, payload.clone()).boxed();
        self.at(Target::Stream(stream), "publishing to", publish).await
    }

    async fn consume(&self, stream: &str, name: &str) -> Result<Box<dyn Consumer>, BusError> {
        let consume = || StreamConsumer::open(self.link.clone(), stream, name).boxed();
        Ok(Box::new(self.at(Target::Stream(stream), "consuming", consume).await?))
    }
}

/// What a call is about.
#[derive(Clone, Copy)]
enum Target<'a> {
    Bucket(&'a str),
    Stream(&'a str),
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Bucket(name) => write!(f, "bucket {name}"),
            Target::Stream(name) => write!(f, "stream {name}"),
        }
    }
}

fn check_bucket(bucket: &str) -> Result<(), BusError> {
    if options::is_token(bucket) {
        return Ok(());
    }
    let why = "a bucket's name is letters, digits, '-' and '_'";
    Err(BusError::InvalidKey { key: bucket.chars().take(64).collect(), why })
}

/// A panic elsewhere while holding a lock leaves what it guards whole: each change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
