//! What buckets and streams there are to be, and making them.
//!
//! Only what is missing is made. What is there belongs to its operators, who may have placed it or
//! sized it anew; [`check`](super::check) tells where it differs from what is needed.

use std::time::Duration;

use async_nats::jetstream::consumer;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, External, RetentionPolicy, Source, StorageType,
};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bucket::{stream_of, subject_of};
use super::life::{WITNESSES, first_sequence};
use super::link::{Failed, Link, Nothing, api, code};
use super::stream;

/// How long a stream knows the ids of messages, so that one published again is stored once. An
/// outage is often longer: consumers count by id, too.
pub const DEDUPE_WINDOW: Duration = Duration::from_secs(10 * 60);

/// How long a consumer may take for a message: then it comes again. A consumer that fails says so,
/// and when it is to come again; growing times configured on the server would be added to those.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(30);

/// A witness is a line of text; there is one for each kept bucket, a few for each region.
const WITNESS_BYTES: u64 = 16 * 1024 * 1024;

/// Messages that a consumer may hold unacknowledged, over all its processes.
const UNACKNOWLEDGED: i64 = 64;

/// The buckets and streams of an installation, as far as one process may declare them.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// Buckets.
    pub buckets: Vec<BucketPlan>,
    /// Streams with their consumers.
    pub streams: Vec<StreamPlan>,
}

/// A bucket to be made.
#[derive(Debug, Clone)]
pub struct BucketPlan {
    /// Its name; or `policies-*` for every name that begins so, made when it is first needed.
    pub name: String,
    /// On how many servers: 3 in a cluster, 1 on a single server.
    pub replicas: usize,
    /// How large it may grow; it takes nothing beyond.
    pub max_bytes: u64,
    /// On a leaf: the JetStream domain whose bucket of the same name it mirrors.
    pub mirror_of: Option<String>,
}

/// A stream to be made, with all its consumers: a message stays until each has acknowledged it.
#[derive(Debug, Clone)]
pub struct StreamPlan {
    /// Its name.
    pub name: String,
    /// Its consumers' names.
    pub consumers: Vec<String>,
    /// On how many servers.
    pub replicas: usize,
    /// How large it may grow; publishers then have to wait.
    pub max_bytes: u64,
}

impl Layout {
    pub(super) fn bucket(&self, name: &str) -> Option<&BucketPlan> {
        self.buckets.iter().find(|plan| matches(&plan.name, name))
    }

    pub(super) fn stream(&self, name: &str) -> Option<&StreamPlan> {
        self.streams.iter().find(|plan| plan.name == name)
    }
}

impl BucketPlan {
    pub(super) fn is_pattern(&self) -> bool {
        self.name.ends_with('*')
    }

    /// Where witnesses of buckets of this plan are kept: as safe, and small.
    pub(super) fn witness(&self) -> BucketPlan {
        let name = WITNESSES.to_owned();
        BucketPlan { name, replicas: self.replicas, max_bytes: WITNESS_BYTES, mirror_of: None }
    }

    fn config(&self, name: &str) -> Config {
        let config = Config {
            name: stream_of(name),
            max_bytes: bytes(self.max_bytes),
            max_messages: -1,
            max_messages_per_subject: 1,
            storage: StorageType::File,
            num_replicas: self.replicas,
            allow_direct: true,
            ..Config::default()
        };
        match &self.mirror_of {
            None => Config {
                subjects: vec![subject_of(name, ">")],
                // A bucket that is full says so; it does not forget others' values.
                discard: DiscardPolicy::New,
                // Nobody needs to take single messages out; putting is enough to remove.
                deny_delete: true,
                first_sequence: Some(first_sequence()),
                ..config
            },
            Some(domain) => Config {
                mirror: Some(Source {
                    name: stream_of(name),
                    external: Some(External {
                        api_prefix: api(Some(domain)),
                        delivery_prefix: None,
                    }),
                    ..Source::default()
                }),
                mirror_direct: true,
                ..config
            },
        }
    }
}

impl StreamPlan {
    fn config(&self, subject: String) -> Config {
        Config {
            name: self.name.clone(),
            subjects: vec![subject],
            max_bytes: bytes(self.max_bytes),
            max_messages: -1,
            retention: RetentionPolicy::Interest,
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas: self.replicas,
            duplicate_window: DEDUPE_WINDOW,
            ..Config::default()
        }
    }
}

/// Makes a bucket if there is none.
pub(super) async fn bucket(link: &Link, plan: &BucketPlan, name: &str) -> Result<(), Failed> {
    // A mirror is made where this process reads, a bucket where it is written.
    let api = if plan.mirror_of.is_some() { &link.reading } else { &link.writing };
    make(link, api, &plan.config(name)).await
}

/// Makes a stream and its consumers, as far as they are missing.
///
/// A stream of interest forgets at once what comes while it has no consumer, and tells its publisher
/// that it is stored. So it listens to nobody until all its consumers are there.
pub(super) async fn stream(link: &Link, plan: &StreamPlan) -> Result<(), Failed> {
    let (api, name) = (&link.writing, &plan.name);
    let (closed, open) = (format!("closed.{name}"), stream::subject_of(name, "*"));
    make(link, api, &plan.config(closed.clone())).await?;
    for consumer in &plan.consumers {
        make_consumer(link, name, consumer).await?;
    }
    #[derive(Deserialize)]
    struct Info {
        config: Value,
    }
    let mut info: Info = link.call(api, &format!("STREAM.INFO.{name}"), &Nothing {}).await?;
    if info.config["subjects"] == json!([closed]) {
        info.config["subjects"] = json!([open]);
        let _: IgnoredAny = link.call(api, &format!("STREAM.UPDATE.{name}"), &info.config).await?;
    }
    Ok(())
}

async fn make(link: &Link, api: &str, config: &Config) -> Result<(), Failed> {
    let name = &config.name;
    let info = link.call::<IgnoredAny>(api, &format!("STREAM.INFO.{name}"), &Nothing {}).await;
    match info {
        Err(Failed::Missing) => {}
        info => return info.map(drop),
    }
    let made: Result<IgnoredAny, Failed> =
        link.call(api, &format!("STREAM.CREATE.{name}"), config).await;
    match made {
        // Somebody else was faster.
        Err(Failed::Refused { code: code::NAME_IN_USE, .. }) => Ok(()),
        made => made.map(drop),
    }
}

async fn make_consumer(link: &Link, stream: &str, name: &str) -> Result<(), Failed> {
    #[derive(Serialize)]
    struct Create<'a> {
        stream_name: &'a str,
        config: consumer::Config,
    }
    let call = format!("CONSUMER.INFO.{stream}.{name}");
    match link.call::<IgnoredAny>(&link.writing, &call, &Nothing {}).await {
        Err(Failed::Missing) => {}
        info => return info.map(drop),
    }
    let config = consumer::Config {
        durable_name: Some(name.to_owned()),
        name: Some(name.to_owned()),
        ack_policy: consumer::AckPolicy::Explicit,
        // For ever: a fact that can't be taken in today may be tomorrow. What can't ever be is for
        // its consumer to acknowledge and tell.
        max_deliver: -1,
        ack_wait: ACKNOWLEDGE_WITHIN,
        max_ack_pending: UNACKNOWLEDGED,
        ..consumer::Config::default()
    };
    let create = Create { stream_name: stream, config };
    let call = format!("CONSUMER.CREATE.{stream}.{name}");
    link.call::<IgnoredAny>(&link.writing, &call, &create).await.map(drop)
}

/// Whether a name is this one, or begins as a pattern `…*` does.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

fn bytes(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_all_that_begin_so() {
        let check = |pattern: &str, name: &str, yes| assert_eq!(matches(pattern, name), yes);
        check("regions", "regions", true);
        check("regions", "regions-eu", false);
        check("policies-*", "policies-eu-1", true);
        check("policies-*", "policies", false);
    }

    #[test]
    fn no_bucket_begins_where_an_earlier_one_did() {
        let plan = BucketPlan { name: "b".into(), replicas: 1, max_bytes: 1, mirror_of: None };
        let first = plan.config("b").first_sequence.unwrap();
        // More puts than a bucket can take in its life lie between two of them.
        std::thread::sleep(Duration::from_millis(2));
        assert!(plan.config("b").first_sequence.unwrap() > first + 1000);
        assert!(first < 1 << 53);
    }
}
