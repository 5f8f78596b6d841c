//! Each thing that can be wrong with a server, and what follows from it.

use super::*;

#[test]
fn old_versions_are_told_from_new_ones() {
    let check = |version: &str, fine| assert_eq!(is_new_enough(version), fine, "{version}");
    check("2.9.10", false);
    check("2.11.99", false);
    check("2.12.6", false);
    check("2.12.7", true);
    check("2.13.9", false);
    check("2.14.0", true);
    check("2.14.0-RC.1", false);
    check("2.15.1", true);
    check("3.0.0", true);
    check("", false);
}

#[test]
fn each_wrong_setting_is_found_and_weighed() {
    use Gravity::{Refuse, Warn};
    let check = |wrong: fn(&mut Facts), said: &str, in_cluster, on_single: Option<Gravity>| {
        let mut facts = good();
        wrong(&mut facts);
        assert_eq!(find(&facts, said, Standard::Cluster), Some(in_cluster), "cluster: {said}");
        assert_eq!(find(&facts, said, Standard::SingleServer), on_single, "single: {said}");
    };
    check(|f| f.version = "2.12.6".into(), "2.12.6 is too old", Refuse, Some(Warn));
    check(|f| f.jetstream = false, "JetStream isn't on", Refuse, Some(Refuse));
    check(|f| f.max_payload = 1 << 20, "1048576 bytes at most", Warn, Some(Warn));
    check(|f| drop(f.streams.remove(0)), "bucket regions isn't there", Warn, Some(Warn));
    check(|f| drop(f.streams.remove(1)), "stream facts isn't there", Warn, Some(Warn));
    check(|f| f.consumers.clear(), "consumer reader of stream facts", Warn, Some(Warn));
    check(|f| f.streams[0].config.num_replicas = 1, "KV_regions has 1 replicas", Refuse, None);
    check(|f| f.streams[1].config.discard = "old".into(), "facts discards old", Refuse, Some(Warn));
    check(|f| f.streams[0].config.discard = "old".into(), "KV_regions disc", Refuse, Some(Warn));
    check(|f| f.streams[1].config.retention = "limits".into(), "\"limits\"", Refuse, Some(Warn));
    check(|f| f.streams[0].config.retention = "interest".into(), "\"limits\"", Refuse, Some(Warn));
    check(|f| f.streams[1].config.max_age = 1, "facts drops messages", Refuse, Some(Warn));
    check(|f| f.streams[0].config.storage = "memory".into(), "in memory", Refuse, Some(Warn));
    check(|f| f.streams[1].config.duplicate_window = 5, "knows ids for 0 s", Refuse, Some(Warn));
    check(|f| f.streams[0].config.max_msgs_per_subject = 5, "keeps 5 values", Warn, Some(Warn));
    check(|f| f.streams[0].cluster = Some(behind()), "behind: n2", Warn, Some(Warn));
}

#[test]
fn a_good_server_is_good_but_for_what_nobody_can_see() {
    assert_eq!(judge(&good(), &layout(), Standard::Cluster), []);
    let findings = judge(&good(), &layout(), Standard::SingleServer);
    let unseen = Finding { gravity: Gravity::Warn, problem: Problem::SyncUnknown };
    assert_eq!(findings, [unseen]);
}

#[test]
fn a_mirror_need_not_refuse_what_its_origin_has() {
    let mut facts = good();
    facts.streams[0].config.discard = "old".into();
    facts.streams[0].config.mirror = Some(serde_json::json!({"name": "KV_regions"}));
    assert_eq!(judge(&facts, &layout(), Standard::Cluster), []);
}

fn layout() -> Layout {
    let bucket =
        |name: &str| BucketPlan { name: name.into(), replicas: 3, max_bytes: 1, mirror_of: None };
    Layout {
        // Which buckets a pattern stands for can't be known: it is not looked at.
        buckets: vec![bucket("regions"), bucket("policies-*")],
        streams: vec![StreamPlan {
            name: "facts".into(),
            consumers: vec!["reader".into()],
            replicas: 3,
            max_bytes: 1,
        }],
    }
}

fn good() -> Facts {
    let config = StreamConfig {
        discard: "new".into(),
        storage: "file".into(),
        num_replicas: 3,
        duplicate_window: DEDUPE_WINDOW.as_nanos() as u64,
        max_msgs_per_subject: 1,
        ..StreamConfig::default()
    };
    let stream = |name: &str, retention: &str| StreamFacts {
        config: StreamConfig { name: name.into(), retention: retention.into(), ..config.clone() },
        cluster: None,
    };
    Facts {
        version: "2.15.1".into(),
        jetstream: true,
        max_payload: 2 << 20,
        streams: vec![stream("KV_regions", "limits"), stream("facts", "interest")],
        consumers: vec![("facts".into(), "reader".into())],
    }
}

fn behind() -> ClusterFacts {
    let replica = |name: &str, current| ReplicaFacts { name: name.into(), current, offline: false };
    ClusterFacts { replicas: vec![replica("n1", true), replica("n2", false)] }
}

fn find(facts: &Facts, said: &str, standard: Standard) -> Option<Gravity> {
    let findings = judge(facts, &layout(), standard);
    let found = findings.iter().find(|finding| finding.to_string().contains(said));
    found.map(|finding| finding.gravity)
}
