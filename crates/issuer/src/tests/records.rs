//! What is written down of changes: by whom, of what, and in the very transaction.

use audit::{Entry, Filter};
use jiff::SignedDuration;
use serde_json::json;
use service::caller::{Call, Caller, IdempotencyKey, Role};
use tonic::Code;
use wire::issuer::{CertificateStatus, OrderOutcome};

use super::world::{self, World, wait_for};
use audit::sweep::Sweep;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What is written down of a workspace's certificates, oldest first.
async fn records(world: &World, workspace: &str) -> Vec<Entry> {
    let listed = world.core.db.audit.list(workspace, &Filter::default(), None, 1_000).await;
    let mut entries = listed.unwrap();
    entries.reverse();
    entries
}

async fn actions(world: &World) -> Vec<String> {
    records(world, "acme").await.into_iter().map(|entry| entry.action).collect()
}

fn alices_call() -> Call {
    let alice = Caller {
        name: "alice@example.org".into(),
        ..Caller::new("person:alice", "acme", Role::DomainManager)
    };
    Call {
        request_id: "request-1".into(),
        from: Some([192, 0, 2, 7].into()),
        ..Call::from_here(alice)
    }
}

/// With an idempotency key, for one and the same request.
fn alices_call_with_key(key: u8) -> Call {
    let once = IdempotencyKey { key_hash: [key; 32], request_hash: [1; 32], sealing: [1; 32] };
    Call { once: Some(once), ..alices_call() }
}

/// A valid certificate with another serial, and nothing under way.
async fn successor(world: &World, serial: &str) -> wire::issuer::Certificate {
    wait_for("the new one", || async {
        let shown = world.show("acme", "example.com").await.unwrap();
        let new = shown.serial != serial && shown.status() == CertificateStatus::Valid;
        new.then_some(shown)
    })
    .await
}

async fn marks(world: &World) -> u64 {
    world.sql("UPDATE calls SET method = method".into()).await
}

#[tokio::test]
async fn a_reissue_is_written_down_with_who_where_and_what_it_replaces() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    let old = world.core.db.certificate("example.com").await.unwrap().unwrap();
    let answer = world.reissue_by(alices_call(), "Example.COM").await.unwrap();

    let records = records(&world, "acme").await;
    let record = records.iter().find(|record| record.action == "certificate.reissue").unwrap();
    assert_eq!(
        (record.who.as_str(), record.who_id.as_str()),
        ("alice@example.org", "person:alice")
    );
    assert_eq!((record.role.as_str(), record.from.as_str()), ("domain-manager", "192.0.2.7"));
    assert_eq!((record.about.as_str(), record.request_id.as_str()), ("example.com", "request-1"));
    let before = json!({ "serial": old.serial, "notAfter": old.not_after.to_string() });
    assert_eq!(record.before, Some(before));
    let after = json!({ "order": answer.order.unwrap().id, "region": "eu-1" });
    assert_eq!(record.after, Some(after));
}

#[tokio::test]
async fn a_reissue_of_what_there_is_not_yet_replaces_nothing() {
    let (config, _ca_file) = world::unreachable_ca();
    let world = World::with(config).await;
    world.hosts("example.com", "acme").await;
    world.reissue("acme", "example.com").await.unwrap();
    assert_eq!(records(&world, "acme").await[0].before, None);
}

#[tokio::test]
async fn each_certificate_that_comes_is_in_its_owners_chain() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    let first = successor(&world, "").await;
    world.clock.advance(DAY * 61);
    world.edge_breathes().await;
    world.core.renew.wake();
    let second = successor(&world, &first.serial).await;
    world.clock.advance(SignedDuration::from_secs(1));
    world.reissue_by(alices_call(), "example.com").await.unwrap();
    let third = successor(&world, &second.serial).await;

    let orders = world.orders("acme", "example.com").await;
    let records = records(&world, "acme").await;
    let issued: Vec<_> = records.iter().filter(|it| it.action == "certificate.issued").collect();
    let told = |certificate: &wire::issuer::Certificate| {
        let not_after = wire::time::from_wire(&certificate.not_after.unwrap()).unwrap();
        json!({ "serial": certificate.serial, "notAfter": not_after.to_string() })
    };
    let steps = [
        ("first", None, &first),
        ("renewal", Some(&first), &second),
        ("reissue", Some(&second), &third),
    ];
    assert_eq!(issued.len(), steps.len());
    for (n, (reason, before, after)) in steps.into_iter().enumerate() {
        let record = issued[n];
        assert_eq!((record.who.as_str(), record.who_id.as_str()), ("DMARCER", "dmarcer"));
        assert_eq!(record.about, "example.com");
        assert_eq!(record.before, before.map(told));
        let mut expected = told(after);
        expected["order"] = json!(orders[2 - n].id);
        expected["reason"] = json!(reason);
        assert_eq!(record.after, Some(expected));
    }
    let chain = world.core.db.audit.verify("acme").await.unwrap();
    assert!(chain.is_whole() && chain.sequence == 4, "{chain:?}");
}

#[tokio::test]
async fn nothing_is_written_down_of_what_changed_nothing() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    successor(&world, "").await;
    for _ in 0..3 {
        let serial = world.show("acme", "example.com").await.unwrap().serial;
        world.reissue("acme", "example.com").await.unwrap();
        successor(&world, &serial).await;
    }
    let before = actions(&world).await;
    let refused = world.reissue_by(alices_call_with_key(1), "example.com").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let refused = world.reissue_by(alices_call_with_key(1), "example.net").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(actions(&world).await, before);
    assert_eq!(marks(&world).await, 0, "a refusal uses no key up");
}

#[tokio::test]
async fn an_order_that_failed_is_in_the_list_of_orders_only() {
    let (config, _ca_file) = world::unreachable_ca();
    let world = World::with(config).await;
    world.hosts("example.com", "acme").await;
    world.reissue("acme", "example.com").await.unwrap();
    wait_for("it has ended", || async {
        let orders = world.orders("acme", "example.com").await;
        (orders[0].outcome() == OrderOutcome::Failed).then_some(())
    })
    .await;
    assert_eq!(actions(&world).await, ["certificate.reissue"]);
}

#[tokio::test]
async fn the_same_key_after_a_lost_reply_is_one_reissue_and_the_same_order() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    let first = successor(&world, "").await;
    // As if the process had ended before the answer could be kept.
    let answer = world.reissue_by(alices_call_with_key(1), "example.com").await.unwrap();
    let second = successor(&world, &first.serial).await;
    // Somebody else's comes between.
    world.clock.advance(SignedDuration::from_secs(1));
    world.reissue("acme", "example.com").await.unwrap();
    successor(&world, &second.serial).await;

    let again = world.reissue_by(alices_call_with_key(1), "example.com").await.unwrap();
    assert_eq!(id(&again), id(&answer));
    assert_eq!(world.show("acme", "example.com").await.unwrap().reissues_left, 1);
    let reissues = actions(&world).await.iter().filter(|it| *it == "certificate.reissue").count();
    assert_eq!(reissues, 2);

    // A key counts for a day. The next one who takes it asks for something new.
    world.clock.advance(DAY);
    world.edge_breathes().await;
    let new = world.reissue_by(alices_call_with_key(1), "example.com").await.unwrap();
    assert_ne!(id(&new), id(&answer));
    let again = world.reissue_by(alices_call_with_key(1), "example.com").await.unwrap();
    assert_eq!(id(&again), id(&new));
}

fn id(answer: &wire::issuer::ReissueCertificateResponse) -> String {
    answer.order.as_ref().unwrap().id.clone()
}

#[tokio::test]
async fn another_callers_same_key_is_another_key() {
    let (config, _ca_file) = world::unreachable_ca();
    let world = World::with(config).await;
    world.hosts("example.com", "acme").await;
    world.reissue_by(alices_call_with_key(1), "example.com").await.unwrap();
    let mut bobs = alices_call_with_key(1);
    bobs.caller = Some(Caller::new("person:bob", "acme", Role::DomainManager));
    wait_for("it has ended", || async {
        let orders = world.orders("acme", "example.com").await;
        (orders[0].outcome() == OrderOutcome::Failed).then_some(())
    })
    .await;
    world.reissue_by(bobs, "example.com").await.unwrap();
    assert_eq!(world.orders("acme", "example.com").await.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_written_down_does_not_happen() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    let first = successor(&world, "").await;
    world.sql("ALTER TABLE audit_records RENAME TO elsewhere".into()).await;
    let refused = world.reissue_by(alices_call_with_key(1), "example.com").await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert_eq!(world.orders("acme", "example.com").await.len(), 1);
    assert!(world.core.db.in_flight("example.com").await.unwrap().is_none());
    assert_eq!(marks(&world).await, 0);

    // Nor does a certificate come.
    world.hosts("example.net", "acme").await;
    wait_for("its order is under way", || async {
        world.core.db.in_flight("example.net").await.unwrap().filter(|order| order.times_asked > 0)
    })
    .await;
    assert!(world.core.db.certificate("example.net").await.unwrap().is_none());

    world.sql("ALTER TABLE elsewhere RENAME TO audit_records".into()).await;
    world.core.renew.wake();
    world.certificate("example.net").await;
    world.reissue_by(alices_call_with_key(1), "example.com").await.unwrap();
    successor(&world, &first.serial).await;
    let chain = world.core.db.audit.verify("acme").await.unwrap();
    assert!(chain.is_whole(), "{chain:?}");
}

#[tokio::test]
async fn the_ends_of_chains_are_noted_at_a_start_and_once_a_day() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    successor(&world, "").await;
    let mut sweep = Sweep::default();
    let noted = sweep.look(&world.core.db.audit).await.unwrap();
    let names: Vec<_> = noted.iter().map(|chain| chain.workspace.as_str()).collect();
    assert_eq!(names, [audit::REGISTER, "acme"]);
    let kept = noted[1].head();
    assert_eq!(kept.sequence, 1);
    assert!(world.core.db.audit.still_contains("acme", &kept).await.unwrap());

    world.clock.advance(DAY - HOUR);
    assert!(sweep.look(&world.core.db.audit).await.unwrap().is_empty());
    world.clock.advance(HOUR);
    assert_eq!(sweep.look(&world.core.db.audit).await.unwrap().len(), 2);
}

#[tokio::test]
async fn keys_are_forgotten_after_a_day() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    successor(&world, "").await;
    world.reissue_by(alices_call_with_key(1), "example.com").await.unwrap();
    world.clock.advance(DAY);
    world.core.sweep.wake();
    let mut sweep = Sweep::default();
    sweep.look(&world.core.db.audit).await.unwrap();
    assert_eq!(marks(&world).await, 1);
    world.clock.advance(SignedDuration::from_millis(1));
    // The loop does it by itself.
    world.core.sweep.wake();
    wait_for("the key is forgotten", || async { (marks(&world).await == 0).then_some(()) }).await;
}
