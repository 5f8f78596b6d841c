//! What a process may do on the server: the least that its part needs, as subjects to allow.
//!
//! Pure data, for an operator's configuration of users. Names are whole: NATS matches whole parts of
//! a subject, so `policies-*` can't be allowed without allowing every bucket. Whoever adds a region
//! adds its buckets to the permissions.
//!
//! **What this does not stop**: who may make a consumer to read by may have the server send it
//! messages *to* a subject of its choice ([nats-server 8274]). The buckets' and streams' subjects
//! here are wildcards, which such a consumer does not reach on the versions tried; other people's
//! inboxes have names that can't be guessed. Where that is not enough, give readers an account, or a
//! leaf node, of their own. And nothing is believed because it is in a bucket.
//!
//! [nats-server 8274]: https://github.com/nats-io/nats-server/issues/8274

use std::collections::BTreeSet;

use super::bucket::{stream_of, subject_of};
use super::life::WITNESSES;
use super::link::api;
use super::options::Options;
use super::stream;

/// A process's part, with whole names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Buckets that it reads.
    pub reads: Vec<String>,
    /// Buckets all of whose documents it writes, and whose lives it keeps.
    pub keeps: Vec<String>,
    /// Single keys that it writes, as `(bucket, key)`.
    pub writes: Vec<(String, String)>,
    /// Streams that it publishes to.
    pub publishes: Vec<String>,
    /// Consumers that it reads streams as, as `(stream, consumer)`.
    pub consumes: Vec<(String, String)>,
    /// Buckets that it makes where they are missing.
    pub makes_buckets: Vec<String>,
    /// Streams that it makes where they are missing, with their consumers.
    pub makes_streams: Vec<(String, Vec<String>)>,
}

/// Subjects to allow a user; everything else is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects to publish on.
    pub publish: BTreeSet<String>,
    /// Subjects to subscribe to.
    pub subscribe: BTreeSet<String>,
}

/// The permissions of a process with this part and these options.
pub fn permissions(access: &Access, options: &Options) -> Permissions {
    let home = options.home_domain.as_ref().or(options.domain.as_ref());
    let (reading, writing) = (api(options.domain.as_ref()), api(home));
    let put = |subject: String| match home {
        None => subject,
        Some(_) => format!("{writing}.{subject}"),
    };
    let mut publish = BTreeSet::new();
    for bucket in &access.reads {
        let (stream, all) = (stream_of(bucket), subject_of(bucket, ">"));
        publish.insert(format!("{reading}.STREAM.INFO.{stream}"));
        publish.insert(format!("{reading}.STREAM.MSG.GET.{stream}"));
        // A value is asked for where it is written.
        publish.insert(format!("{writing}.STREAM.MSG.GET.{stream}"));
        publish.insert(format!("{reading}.CONSUMER.CREATE.{stream}.*.{all}"));
        publish.insert(format!("{reading}.CONSUMER.MSG.NEXT.{stream}.*"));
    }
    for bucket in &access.keeps {
        let stream = stream_of(bucket);
        publish.insert(put(subject_of(bucket, ">")));
        publish.insert(format!("{writing}.STREAM.INFO.{stream}"));
        publish.insert(format!("{writing}.STREAM.MSG.GET.{stream}"));
        publish.insert(format!("{writing}.STREAM.PURGE.{stream}"));
        publish.insert(put(subject_of(WITNESSES, bucket)));
        publish.insert(format!("{writing}.STREAM.MSG.GET.{}", stream_of(WITNESSES)));
    }
    for (bucket, key) in &access.writes {
        publish.insert(put(subject_of(bucket, key)));
        publish.insert(format!("{writing}.STREAM.MSG.GET.{}", stream_of(bucket)));
    }
    for name in &access.publishes {
        publish.insert(stream::subject_of(name, &options.name));
    }
    for (stream, consumer) in &access.consumes {
        publish.insert(format!("{writing}.CONSUMER.INFO.{stream}.{consumer}"));
        publish.insert(format!("{writing}.CONSUMER.MSG.NEXT.{stream}.{consumer}"));
        // In the two forms that servers give messages: without and with domain and account.
        publish.insert(format!("$JS.ACK.{stream}.{consumer}.>"));
        publish.insert(format!("$JS.ACK.*.*.{stream}.{consumer}.>"));
    }
    let makes_kept = access.makes_buckets.iter().any(|bucket| access.keeps.contains(bucket));
    let witnesses = makes_kept.then(|| WITNESSES.to_owned());
    for bucket in access.makes_buckets.iter().chain(&witnesses) {
        let stream = stream_of(bucket);
        for api in [&reading, &writing] {
            publish.insert(format!("{api}.STREAM.INFO.{stream}"));
            publish.insert(format!("{api}.STREAM.CREATE.{stream}"));
        }
    }
    for (stream, consumers) in &access.makes_streams {
        for call in ["INFO", "CREATE", "UPDATE"] {
            publish.insert(format!("{writing}.STREAM.{call}.{stream}"));
        }
        for consumer in consumers {
            publish.insert(format!("{writing}.CONSUMER.INFO.{stream}.{consumer}"));
            publish.insert(format!("{writing}.CONSUMER.CREATE.{stream}.{consumer}"));
        }
    }
    let subscribe = BTreeSet::from([format!("{}.>", options.inbox())]);
    Permissions { publish, subscribe }
}

impl Permissions {
    /// As the `permissions` block of a user in a server's configuration file.
    pub fn to_config(&self) -> String {
        let list = |subjects: &BTreeSet<String>| {
            let quoted: Vec<String> = subjects.iter().map(|s| format!("\"{s}\"")).collect();
            quoted.join(", ")
        };
        let (publish, subscribe) = (list(&self.publish), list(&self.subscribe));
        format!("{{ publish: {{ allow: [{publish}] }}, subscribe: {{ allow: [{subscribe}] }} }}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(access: Access, options: &Options, publish: &[&str]) {
        let permissions = permissions(&access, options);
        let expected: BTreeSet<String> = publish.iter().map(|&s| s.to_owned()).collect();
        assert_eq!(permissions.publish, expected);
        assert_eq!(permissions.subscribe, BTreeSet::from(["_INBOX_edge-1.>".to_owned()]));
    }

    #[test]
    fn each_part_is_allowed_what_it_needs() {
        let options = Options::new("nats://127.0.0.1", "edge-1");
        let at = |name: &str| vec![name.to_owned()];
        let reads = Access { reads: at("regions"), ..Access::default() };
        check(
            reads,
            &options,
            &[
                "$JS.API.STREAM.INFO.KV_regions",
                "$JS.API.STREAM.MSG.GET.KV_regions",
                "$JS.API.CONSUMER.CREATE.KV_regions.*.$KV.regions.>",
                "$JS.API.CONSUMER.MSG.NEXT.KV_regions.*",
            ],
        );
        let writes = vec![("edges".to_owned(), "edge-1".to_owned())];
        let writes = Access { writes, publishes: at("fetches"), ..Access::default() };
        let own = ["$KV.edges.edge-1", "$JS.API.STREAM.MSG.GET.KV_edges", "streams.fetches.edge-1"];
        check(writes, &options, &own);
        let keeps = Access { keeps: at("regions"), ..Access::default() };
        check(
            keeps,
            &options,
            &[
                "$KV.regions.>",
                "$JS.API.STREAM.INFO.KV_regions",
                "$JS.API.STREAM.MSG.GET.KV_regions",
                "$JS.API.STREAM.PURGE.KV_regions",
                "$KV.bus-lives.regions",
                "$JS.API.STREAM.MSG.GET.KV_bus-lives",
            ],
        );
    }

    #[test]
    fn at_a_leaf_writing_goes_home() {
        let options = Options::new("nats://127.0.0.1", "edge-1");
        let options = Options { home_domain: Some("hub".into()), ..options };
        let writes = vec![("edges".to_owned(), "edge-1".to_owned())];
        let own = ["$JS.hub.API.$KV.edges.edge-1", "$JS.hub.API.STREAM.MSG.GET.KV_edges"];
        check(Access { writes, ..Access::default() }, &options, &own);
    }
}
