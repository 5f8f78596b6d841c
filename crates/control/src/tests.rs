//! Control between a bus and peers that the tests play: what is promised of one change.

mod claims_machine;
mod flaky;
mod holder;
mod identity;
mod members;
mod records;
mod tokens;
mod workspaces;
mod world;

use hosting::Refusal;
use wire::control as v1;
use wire::control::domain_service_server::DomainService;
use wire::control::policy_service_server::PolicyService;
use wire::status::told;

use world::{World, request};

fn name() -> String {
    "example.com".to_owned()
}

#[tokio::test]
async fn nothing_is_published_before_the_claim_is_proven() {
    let world = World::start().await;
    world.edge("a", 0, 0).await;
    world.activate().await;

    // What dns is to look for goes out at once; the policy does not.
    let records = world.records().await;
    assert_eq!(records.policy_id, "");
    assert!(!records.proven);
    assert_eq!(world.policy_document().await, None);

    // Another claim's target, seen by a confused dns, proves nothing.
    world.peers.answer_cname("zzzzzzzzzzzzzzzzzzzz.eu-1.region.test");
    world.say_proof_seen(&records.claim_id).await;
    world.settle().await;
    assert_eq!(world.policy_document().await, None);

    world.prove().await;
    let document = world.policy_document_when(|_| true).await;
    assert_eq!(document.revision, 1);
    assert!(document.body.starts_with(b"version: STSv1\r\nmode: testing\r\n"));
}

#[tokio::test]
async fn the_first_id_waits_for_all_live_edges_and_their_certificate() {
    let world = World::start().await;
    world.edge("a", 0, 0).await;
    world.edge("b", 0, 0).await;
    world.activate().await;
    world.prove().await;
    let position = world.policy_position().await;

    world.edge("a", position, 0).await;
    world.edge("b", position, 0).await;
    world.settle().await;
    assert_eq!(world.policy().await.policy_id, "", "no certificate yet");

    world.peers.issue(7);
    world.edge("a", position, 7).await;
    world.settle().await;
    assert_eq!(world.policy().await.policy_id, "", "b has no certificate");

    world.edge("b", position, 7).await;
    let policy = world.policy_when(|policy| !policy.policy_id.is_empty()).await;
    assert_eq!(policy.pending_policy_id, None);
    assert_eq!(world.records_when(|r| !r.policy_id.is_empty()).await.policy_id, policy.policy_id);
}

#[tokio::test]
async fn a_new_id_is_not_announced_while_a_live_edge_serves_the_old_body() {
    let world = World::hosted().await;
    world.edge("b", world.policy_position().await, 7).await;
    let before = world.policy().await;
    world.promote().await.unwrap();

    let pending = world.policy().await;
    assert_eq!(pending.policy_id, before.policy_id);
    let next = pending.pending_policy_id.clone().unwrap();
    assert_ne!(next, before.policy_id);
    assert!(pending.body.contains("mode: enforce"));

    let position = world.position_above(world.acknowledged()).await;
    world.edge("a", position, 7).await;
    world.settle().await;
    assert_eq!(world.policy().await.policy_id, before.policy_id, "b still serves the old body");
    assert_eq!(world.records().await.policy_id, before.policy_id);

    world.edge("b", position, 7).await;
    let after = world.policy_when(|policy| policy.policy_id == next).await;
    assert_eq!(after.pending_policy_id, None);
    let records = world.records_when(|records| records.policy_id == next).await;
    assert_eq!(records.former_policy_ids, [before.policy_id]);
}

#[tokio::test]
async fn an_edge_that_refused_the_document_does_not_count_as_serving_it() {
    let world = World::hosted().await;
    let before = world.policy().await.policy_id;
    world.promote().await.unwrap();
    let position = world.position_above(world.acknowledged()).await;
    world.edge_that_refused("a", position).await;
    world.settle().await;
    assert_eq!(world.policy().await.policy_id, before);
}

#[tokio::test]
async fn a_silent_edge_is_waited_for_no_longer_than_half_a_minute() {
    let world = World::hosted().await;
    world.edge("b", world.policy_position().await, 7).await;
    world.promote().await.unwrap();
    let next = world.policy().await.pending_policy_id.unwrap();
    let position = world.position_above(world.acknowledged()).await;

    world.clock.advance(jiff::SignedDuration::from_secs(31));
    world.edge("a", position, 7).await;
    world.policy_when(|policy| policy.policy_id == next).await;
}

#[tokio::test]
async fn an_emergency_revert_waits_for_no_other_service() {
    let world = World::hosted().await;
    world.promote().await.unwrap();
    world.edge("a", world.position_above(world.acknowledged()).await, 7).await;
    world.policy_when(|policy| policy.pending_policy_id.is_none()).await;

    world.peers.fail_all();
    world.revert().await.unwrap();
    let next = world.policy().await.pending_policy_id.unwrap();
    world.edge("a", world.position_above(world.acknowledged()).await, 7).await;
    world.policy_when(|policy| policy.policy_id == next).await;
}

#[tokio::test]
async fn promotion_names_what_is_open() {
    let world = World::hosted().await;
    let call = v1::PromotePolicyRequest { name: name(), ..Default::default() };
    let refused = world.api.promote_policy(request(call)).await.unwrap_err();
    let refused = told(&refused);
    assert_eq!(refused.reason, "NOT_READY");
    assert!(refused.message.contains("fetched"), "{}", refused.message);

    world.peers.uncover_mx();
    let refused = told(&world.promote().await.unwrap_err());
    assert_eq!(refused.reason, "NOT_READY");
    assert!(refused.message.contains("mx_covered"), "{}", refused.message);
}

#[tokio::test]
async fn an_older_sight_of_the_policy_changes_nothing() {
    let world = World::hosted().await;
    let stale = v1::SetPolicyRequest {
        name: name(),
        expected_revision: 99,
        max_age_seconds: Some(172_800),
        ..Default::default()
    };
    let refused = world.api.set_policy(request(stale)).await.unwrap_err();
    assert_eq!(told(&refused).reason, "REVISION_CONFLICT");
    assert_eq!(world.policy().await.revision, 1);
}

#[tokio::test]
async fn every_body_has_an_id_of_its_own_also_after_removing_and_adding_again() {
    let world = World::start().await;
    let mut ids = std::collections::BTreeSet::new();
    let mut last_revision = 0;
    for _ in 0..3 {
        world.activate().await;
        let policy = world.policy().await;
        assert!(policy.revision > last_revision, "{} after {last_revision}", policy.revision);
        last_revision = policy.revision;
        assert!(ids.insert(policy.pending_policy_id.unwrap()));
        world.deactivate_unproven().await;
        let remove = v1::RemoveDomainRequest { name: name() };
        world.api.remove_domain(request(remove)).await.unwrap();
    }
}

#[tokio::test]
async fn no_change_is_lost_or_announced_early_whichever_call_to_the_bus_fails() {
    for nth in 1.. {
        let world = World::hosted().await;
        let before = world.policy().await.policy_id;
        world.flaky.fail_at(nth);
        world.promote().await.unwrap();
        let next = world.policy().await.pending_policy_id.unwrap();
        assert_eq!(world.policy().await.policy_id, before, "call {nth}: announced early");
        world.edge("a", world.position_above(world.acknowledged()).await, 7).await;
        world.policy_when(|policy| policy.policy_id == next).await;
        world.records_when(|records| records.policy_id == next).await;
        // Once the failure lies beyond what one change calls, every call has had its turn.
        if !world.flaky.has_failed() {
            assert!(nth > 3, "a change is more than {nth} calls");
            break;
        }
    }
}

#[tokio::test]
async fn everything_is_put_again_on_a_bus_that_lost_its_values() {
    let world = World::hosted().await;
    let before = world.policy_document_when(|_| true).await;
    let position = world.policy_position().await;
    let world = world.restart_with_an_empty_bus().await;
    assert_eq!(world.policy_document_when(|_| true).await, before);
    assert_eq!(world.policy_position().await, position);
    assert_eq!(world.policy().await.pending_policy_id, None, "what was announced stays so");
}

#[tokio::test]
async fn a_stop_serves_none_until_no_sender_can_hold_an_older_policy() {
    let world = World::hosted().await;
    let call = v1::DeactivateHostingRequest { name: name(), expected_revision: 0 };
    world.api.deactivate_hosting(request(call)).await.unwrap();
    let document = world.policy_document_when(|document| document.revision == 2).await;
    assert!(document.body.starts_with(b"version: STSv1\r\nmode: none\r\nmx: "));
    world.edge("a", world.position_above(world.acknowledged()).await, 7).await;
    let none = world.policy_when(|policy| policy.pending_policy_id.is_none()).await;

    assert_eq!(world.domain().await.stops_at, None, "the clock starts when the id is seen");
    world.say_found(&none.policy_id).await;
    world.domain_when(|hosting| hosting.stops_at.is_some()).await;
    world.clock.advance(jiff::SignedDuration::from_hours(23));
    world.core.signals.stop.wake();
    world.settle().await;
    assert!(world.policy_document().await.is_some(), "still served after 23 hours");

    world.clock.advance(jiff::SignedDuration::from_hours(2));
    world.core.signals.stop.wake();
    world.domain_when(|hosting| hosting.state() == v1::HostingState::Off).await;
    world.policy_tombstone().await;
}

#[tokio::test]
async fn a_stop_ends_where_no_certificate_could_be_had() {
    let world = World::start().await;
    world.edge("a", 0, 0).await;
    world.activate().await;
    world.prove().await;
    let call = v1::DeactivateHostingRequest { name: name(), expected_revision: 0 };
    world.api.deactivate_hosting(request(call)).await.unwrap();
    world.edge("a", world.position_above(world.policy_position().await - 1).await, 0).await;
    let document = world.policy_document_when(|document| document.revision == 2).await;
    assert!(document.body.starts_with(b"version: STSv1\r\nmode: none\r\n"));
    world.edge("a", world.policy_position().await, 0).await;
    world.policy_when(|policy| policy.pending_policy_id.is_none()).await;
    world.say_absent().await;
    world.core.signals.stop.wake();
    world.domain_when(|hosting| hosting.state() == v1::HostingState::Off).await;
}

#[tokio::test]
async fn a_name_that_passes_on_starts_anew_wherever_it_comes_back_to() {
    let world = World::hosted().await;
    world.promote().await.unwrap();
    let first_id = world.policy().await.pending_policy_id.unwrap();
    world.activate_elsewhere("other").await;
    world.move_to("other").await;

    // The first owner holds the claim, and nothing is hosted under it any more.
    let before = world.claim_of("default").await;
    assert_eq!((before.claim.proven_at, before.claim.hosting.is_some()), (None, false));
    let owner = world.claim_of("other").await.claim.id;
    let is_owners = |document: &wire::bus::PolicyDocument| document.claim_id == owner.as_str();
    let document = world.policy_document_when(is_owners).await;
    assert!(document.body.starts_with(b"version: STSv1\r\nmode: testing\r\n"));

    // It comes back: in testing, under an id of its own.
    let call = v1::ActivateHostingRequest { name: name(), region: String::new() };
    world.api.activate_hosting(request(call)).await.unwrap();
    world.move_to("default").await;
    let policy = world.policy().await;
    assert_eq!(policy.mode(), v1::PolicyMode::Testing);
    assert_eq!(policy.policy_id, "", "nothing is announced before edges serve it");
    assert_ne!(policy.pending_policy_id.unwrap(), first_id);
}

#[tokio::test]
async fn an_unproven_claim_learns_nothing_of_the_owners_policy() {
    let world = World::hosted().await;
    world.activate_elsewhere("other").await;
    let call = v1::GetRolloutRequest { name: name() };
    let rollout = world.api.get_rollout(world::request_of("other", call)).await.unwrap();
    assert_eq!(rollout.into_inner().rollout.unwrap().edges_serving, 0);
    let call = v1::GetReadinessRequest { name: name() };
    let readiness = world.api.get_readiness(world::request_of("other", call)).await.unwrap();
    let checks = readiness.into_inner().readiness.unwrap().checks;
    for id in ["claim_proven", "edges_current", "fetched"] {
        let check = checks.iter().find(|check| check.id == id).unwrap();
        assert_ne!(check.status(), v1::CheckStatus::Met, "{id}: {}", check.evidence);
    }
}

#[tokio::test]
async fn records_that_nobody_could_confirm_are_no_ground_to_promote() {
    let world = World::hosted().await;
    world.peers.fail_looks();
    let refused = told(&world.promote().await.unwrap_err());
    assert_eq!(refused.reason, "NOT_READY");
    assert!(refused.message.contains("txt_live"), "{}", refused.message);
}

#[tokio::test]
async fn a_new_mailbox_reaches_every_domains_records() {
    use wire::control::region_service_server::RegionService;
    let world = World::hosted().await;
    assert_eq!(world.records().await.reports_uri, "");
    let call = v1::UpdateRegionRequest {
        id: "eu-1".to_owned(),
        reports: Some("tlsrpt@reports.example.net".to_owned()),
        ..Default::default()
    };
    world.api.update_region(request(call)).await.unwrap();
    let records = world.records_when(|records| !records.reports_uri.is_empty()).await;
    let wanted = format!("mailto:tlsrpt+{}@reports.example.net", records.nonce);
    assert_eq!(records.reports_uri, wanted);

    // A start with a configuration that leaves it out leaves it as it was set.
    let world = world.restart_with_an_empty_bus().await;
    assert_eq!(world.records().await.reports_uri, wanted);
}

#[tokio::test]
async fn an_edge_that_is_ahead_of_our_feed_proves_nothing() {
    let world = World::hosted().await;
    let before = world.policy().await.policy_id;
    world.promote().await.unwrap();
    world.position_above(world.acknowledged()).await;
    world.edge("a", 4711, 7).await;
    world.settle().await;
    assert_eq!(world.policy().await.policy_id, before);
}

#[tokio::test]
async fn another_workspaces_domain_looks_like_none() {
    let world = World::hosted().await;
    let call = v1::GetDomainRequest { name: name() };
    let refused = world.api.get_domain(world::request_of("other", call)).await.unwrap_err();
    let missing = v1::GetDomainRequest { name: "nothing.example.com".to_owned() };
    let missing = world.api.get_domain(world::request_of("other", missing)).await.unwrap_err();
    assert_eq!(told(&refused).reason, told(&missing).reason);
    assert_eq!(refused.code(), missing.code());
}

#[tokio::test]
async fn a_region_has_a_host_of_its_own() {
    use wire::control::region_service_server::RegionService;
    let world = World::start().await;
    let claimed = v1::AddDomainRequest { name: "mail.claimed.example".to_owned(), kind: 0 };
    world.api.add_domain(request(claimed)).await.unwrap();
    let long = format!(
        "{}.example",
        ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(40)].join(".")
    );
    for host in [
        "eu-1.region.test",
        "EU-1.region.test.",
        "x.eu-1.region.test",
        "region.test",
        "claimed.example",
        "mail.claimed.example",
        &long,
    ] {
        let call = v1::AddRegionRequest {
            id: "eu-2".to_owned(),
            host: host.to_owned(),
            ..Default::default()
        };
        let refused = world.api.add_region(request(call)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{host}");
    }
    let add = |sealing_key| v1::AddRegionRequest {
        id: "eu-2".to_owned(),
        host: "eu-2.region.test".to_owned(),
        sealing_key,
        ..Default::default()
    };
    let weak = world.api.add_region(request(add(vec![0; 32]))).await.unwrap_err();
    assert!(weak.message().contains("sealing_key"), "{}", weak.message());
    world.api.add_region(request(add(Vec::new()))).await.unwrap();

    let disable = v1::DisableRegionRequest { id: "eu-2".to_owned() };
    world.api.disable_region(request(disable)).await.unwrap();
    let enable =
        v1::UpdateRegionRequest { id: "eu-2".to_owned(), active: Some(true), ..Default::default() };
    let enabled = world.api.update_region(request(enable)).await.unwrap().into_inner();
    assert!(enabled.region.unwrap().active);
}

#[tokio::test]
async fn names_under_a_region_are_ours() {
    let world = World::start().await;
    for name in ["eu-1.region.test", "x.eu-1.region.test"] {
        let call = v1::AddDomainRequest { name: name.to_owned(), kind: 0 };
        let refused = told(&world.api.add_domain(request(call)).await.unwrap_err());
        let wanted = Refusal::DomainReserved { domain: hosting::Domain::parse(name).unwrap() };
        assert_eq!(refused.reason, wanted.code());
    }
}
