//! A look at the server at start: what is wrong with it, and whether that is a reason not to start.
//!
//! `facts` reads, [`judge`] decides and is pure.
//!
//! **What can't be read**: whether the server syncs each write to its disk (`sync_interval: always`).
//! Clients are not told; only the system account is. So a single server is always warned about it,
//! and a cluster is relied on for its replicas. Nor are the versions of other servers of a cluster.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::bucket::stream_of;
use super::declare::{BucketPlan, DEDUPE_WINDOW, Layout, StreamPlan};
use super::link::{Failed, Link, Nothing};
use crate::{BusError, MAX_VALUE_BYTES};

/// Replicas that a cluster needs: one server may be lost, and be wrong, without losing what it
/// acknowledged.
const REPLICAS: usize = 3;

/// What a message needs beside its value: its headers.
const HEADERS: usize = 1024;

/// What a server is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standard {
    /// A cluster for a fleet: what may lose data is refused.
    Cluster,
    /// A single server, which may lose what it has; its writers put it again.
    SingleServer,
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gravity {
    /// Don't start like this.
    Refuse,
    /// Start, and tell.
    Warn,
}

/// Something that is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether to start all the same.
    pub gravity: Gravity,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.problem)
    }
}

/// What can be wrong. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Earlier versions lose acknowledged messages.
    #[error("the server's version {version} is too old: take 2.12.7, 2.14.0 or a later one")]
    OldServer {
        /// What it calls itself.
        version: String,
    },
    /// JetStream is off.
    #[error("JetStream isn't on: configure jetstream on the server")]
    NoJetStream,
    /// Long values don't fit.
    #[error("the server takes messages of {bytes} bytes at most: set max_payload to 2MB")]
    SmallMessages {
        /// Its limit.
        bytes: usize,
    },
    /// Not there yet.
    #[error("{what} isn't there: start the service that declares it")]
    Missing {
        /// Which bucket, stream or consumer.
        what: String,
    },
    /// A server less can lose what was acknowledged.
    #[error("{stream} has {replicas} replicas: give it {REPLICAS}")]
    FewReplicas {
        /// The JetStream stream.
        stream: String,
        /// How many it has.
        replicas: usize,
    },
    /// A server of the stream is away.
    #[error("{stream} has a replica that is offline or behind: {server}")]
    ReplicaBehind {
        /// The JetStream stream.
        stream: String,
        /// The server.
        server: String,
    },
    /// What happens when it is full.
    #[error("{stream} discards old messages when it is full: set discard to new")]
    DiscardsOld {
        /// The JetStream stream.
        stream: String,
    },
    /// How long messages stay.
    #[error("{stream} has retention {retention:?}: it has to be {needed:?}")]
    Retention {
        /// The JetStream stream.
        stream: String,
        /// What it has.
        retention: String,
        /// What it has to have.
        needed: &'static str,
    },
    /// Messages vanish by their age.
    #[error("{stream} drops messages after some time: set max_age to 0")]
    Expires {
        /// The JetStream stream.
        stream: String,
    },
    /// A restart loses everything.
    #[error("{stream} is in memory: set storage to file")]
    InMemory {
        /// The JetStream stream.
        stream: String,
    },
    /// Messages published again may be stored again.
    #[error("{stream} knows ids for {seconds} s: set duplicate_window to at least {needed} s")]
    DedupeWindow {
        /// The JetStream stream.
        stream: String,
        /// For how long it knows an id.
        seconds: u64,
        /// For how long it has to.
        needed: u64,
    },
    /// Readers are given old values, too.
    #[error("{stream} keeps {values} values of a key: set max_msgs_per_subject to 1")]
    History {
        /// The JetStream stream.
        stream: String,
        /// How many it keeps.
        values: i64,
    },
    /// Nobody but an operator can know.
    #[error(
        "a crash of this single server's machine loses its last writes unless sync_interval is always, which can't be read from here"
    )]
    SyncUnknown,
}

/// What was read of the server.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The version of the server connected to.
    pub version: String,
    /// Whether it has JetStream.
    pub jetstream: bool,
    /// Its longest message, headers included.
    pub max_payload: usize,
    /// The JetStream streams that are there.
    pub streams: Vec<StreamFacts>,
    /// Consumers that are there, as `(stream, name)`.
    pub consumers: Vec<(String, String)>,
}

/// What was read of a JetStream stream.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct StreamFacts {
    /// How it is configured.
    pub config: StreamConfig,
    /// Where it is kept.
    #[serde(default)]
    pub cluster: Option<ClusterFacts>,
}

/// The part of a stream's configuration that matters here, as JetStream tells it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StreamConfig {
    /// Its name.
    pub name: String,
    /// `limits`, `interest` or `workqueue`.
    pub retention: String,
    /// `old` or `new`.
    pub discard: String,
    /// `file` or `memory`.
    pub storage: String,
    /// On how many servers.
    pub num_replicas: usize,
    /// For how long it knows ids, in nanoseconds.
    pub duplicate_window: u64,
    /// How old a message may get, in nanoseconds; 0: any age.
    pub max_age: u64,
    /// How many messages it keeps of a subject.
    pub max_msgs_per_subject: i64,
    /// What it mirrors, if it does.
    pub mirror: Option<serde_json::Value>,
}

/// A stream's place in a cluster.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ClusterFacts {
    /// The servers beside the leader.
    pub replicas: Vec<ReplicaFacts>,
}

/// One server of a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaFacts {
    /// Its name.
    pub name: String,
    /// Whether it has everything.
    pub current: bool,
    /// Whether it is away.
    pub offline: bool,
}

/// Reads the facts that a layout is judged by.
pub(super) async fn facts(link: &Link, layout: &Layout) -> Result<Facts, BusError> {
    let mut facts = Facts::default();
    let buckets = layout.buckets.iter().filter(|plan| !plan.is_pattern());
    let buckets = buckets.map(|plan| {
        let api = if plan.mirror_of.is_some() { &link.reading } else { &link.writing };
        (api, stream_of(&plan.name))
    });
    let streams = layout.streams.iter().map(|plan| (&link.writing, plan.name.clone()));
    for (api, stream) in buckets.chain(streams) {
        match link.call::<StreamFacts>(api, &format!("STREAM.INFO.{stream}"), &Nothing {}).await {
            Ok(found) => facts.streams.push(found),
            Err(Failed::Missing) => {}
            Err(failed) => return Err(failed.about(&stream)),
        }
    }
    for plan in &layout.streams {
        for consumer in &plan.consumers {
            #[derive(Deserialize)]
            struct Found {}
            let call = format!("CONSUMER.INFO.{}.{consumer}", plan.name);
            match link.call::<Found>(&link.writing, &call, &Nothing {}).await {
                Ok(Found {}) => facts.consumers.push((plan.name.clone(), consumer.clone())),
                Err(Failed::Missing) => {}
                Err(failed) => return Err(failed.about(&plan.name)),
            }
        }
    }
    let server = link.client.try_server_info().unwrap_or_default();
    facts.version = server.version;
    // A server without it may lead to others that have it.
    facts.jetstream = server.jetstream || !facts.streams.is_empty();
    facts.max_payload = server.max_payload;
    Ok(facts)
}

/// Tells what is wrong with a server for this layout.
pub fn judge(facts: &Facts, layout: &Layout, standard: Standard) -> Vec<Finding> {
    let mut problems = Vec::new();
    if !is_new_enough(&facts.version) {
        problems.push(Problem::OldServer { version: facts.version.clone() });
    }
    if !facts.jetstream {
        problems.push(Problem::NoJetStream);
    }
    if facts.max_payload < MAX_VALUE_BYTES + HEADERS {
        problems.push(Problem::SmallMessages { bytes: facts.max_payload });
    }
    for plan in layout.buckets.iter().filter(|plan| !plan.is_pattern()) {
        judge_bucket(facts, plan, &mut problems);
    }
    for plan in &layout.streams {
        judge_stream(facts, plan, &mut problems);
    }
    if standard == Standard::SingleServer {
        problems.retain(|problem| !matches!(problem, Problem::FewReplicas { .. }));
        problems.push(Problem::SyncUnknown);
    }
    let grave = |problem| Finding { gravity: gravity(&problem, standard), problem };
    problems.into_iter().map(grave).collect()
}

fn judge_bucket(facts: &Facts, plan: &BucketPlan, problems: &mut Vec<Problem>) {
    let stream = stream_of(&plan.name);
    let Some(found) = find(facts, &stream) else {
        problems.push(Problem::Missing { what: format!("bucket {}", plan.name) });
        return;
    };
    judge_storage(found, problems);
    let config = &found.config;
    if config.retention != "limits" {
        let retention = config.retention.clone();
        problems.push(Problem::Retention { stream: stream.clone(), retention, needed: "limits" });
    }
    if config.max_msgs_per_subject != 1 {
        let values = config.max_msgs_per_subject;
        problems.push(Problem::History { stream: stream.clone(), values });
    }
    // A mirror takes what its origin has; it can't refuse.
    if config.discard != "new" && config.mirror.is_none() {
        problems.push(Problem::DiscardsOld { stream });
    }
}

fn judge_stream(facts: &Facts, plan: &StreamPlan, problems: &mut Vec<Problem>) {
    let stream = plan.name.clone();
    let Some(found) = find(facts, &stream) else {
        problems.push(Problem::Missing { what: format!("stream {stream}") });
        return;
    };
    judge_storage(found, problems);
    let config = &found.config;
    if config.retention != "interest" {
        let retention = config.retention.clone();
        problems.push(Problem::Retention { stream: stream.clone(), retention, needed: "interest" });
    }
    if config.discard != "new" {
        problems.push(Problem::DiscardsOld { stream: stream.clone() });
    }
    let (window, needed) = (Duration::from_nanos(config.duplicate_window), DEDUPE_WINDOW);
    if window < needed {
        let (seconds, needed) = (window.as_secs(), needed.as_secs());
        problems.push(Problem::DedupeWindow { stream: stream.clone(), seconds, needed });
    }
    for consumer in &plan.consumers {
        if !facts.consumers.contains(&(stream.clone(), consumer.clone())) {
            let what = format!("consumer {consumer} of stream {stream}");
            problems.push(Problem::Missing { what });
        }
    }
}

fn judge_storage(found: &StreamFacts, problems: &mut Vec<Problem>) {
    let config = &found.config;
    let stream = || config.name.clone();
    if config.num_replicas < REPLICAS {
        let replicas = config.num_replicas;
        problems.push(Problem::FewReplicas { stream: stream(), replicas });
    }
    if config.storage != "file" {
        problems.push(Problem::InMemory { stream: stream() });
    }
    if config.max_age != 0 {
        problems.push(Problem::Expires { stream: stream() });
    }
    for replica in found.cluster.iter().flat_map(|cluster| &cluster.replicas) {
        if replica.offline || !replica.current {
            let server = replica.name.clone();
            problems.push(Problem::ReplicaBehind { stream: stream(), server });
        }
    }
}

fn find<'a>(facts: &'a Facts, stream: &str) -> Option<&'a StreamFacts> {
    facts.streams.iter().find(|found| found.config.name == stream)
}

/// What passes by itself, or only costs a call, is no reason not to start; nor is anything on a
/// single server that its writers make good.
fn gravity(problem: &Problem, standard: Standard) -> Gravity {
    match (problem, standard) {
        (Problem::NoJetStream, _) => Gravity::Refuse,
        (
            Problem::Missing { .. }
            | Problem::ReplicaBehind { .. }
            | Problem::SmallMessages { .. }
            | Problem::History { .. }
            | Problem::SyncUnknown,
            _,
        ) => Gravity::Warn,
        (_, Standard::Cluster) => Gravity::Refuse,
        (_, Standard::SingleServer) => Gravity::Warn,
    }
}

/// From 2.12.7 in its line, and from 2.14.0 on. A version that can't be read, or a preview of one,
/// is taken for an old one.
fn is_new_enough(version: &str) -> bool {
    let numbers: Option<Vec<u64>> = version.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[2, 12, patch]) => patch >= 7,
        Some(&[major, minor, _]) => (major, minor) >= (2, 14),
        _ => false,
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
