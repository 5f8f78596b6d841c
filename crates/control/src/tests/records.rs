//! What the audit log tells of changes, and that each is made once.

use audit::{Filter, PLATFORM};
use hosting::Refusal;
use service::caller::{Call, Caller, IdempotencyKey, Role};
use tonic::{Code, Request};
use wire::control as v1;
use wire::control::audit_service_server::AuditService;
use wire::control::domain_service_server::DomainService;
use wire::control::policy_service_server::PolicyService;
use wire::control::region_service_server::RegionService;
use wire::status::told;

use super::name;
use super::world::{World, request, request_of};

/// Actions of a chain, oldest first, each with who did it.
async fn actions(world: &World, chain: &str) -> Vec<(String, String)> {
    let entries = world.core.audit.list(chain, &Filter::default(), None, 1000).await.unwrap();
    let told = entries.into_iter().rev().map(|entry| (entry.action, entry.who));
    told.collect()
}

fn marked<T>(message: T, key: u8, body: u8) -> Request<T> {
    let mut request = Request::new(message);
    let caller = Caller::new("a person", "default", Role::DomainManager);
    let once = IdempotencyKey { key_hash: [key; 32], request_hash: [body; 32], sealing: [1; 32] };
    request.extensions_mut().insert(Call { once: Some(once), ..Call::from_here(caller) });
    request
}

#[tokio::test]
async fn each_change_leaves_one_record_with_who_and_what() {
    let world = World::hosted().await;
    world.promote().await.unwrap();
    world.revert().await.unwrap();
    let set =
        v1::SetPolicyRequest { name: name(), max_age_seconds: Some(200_000), ..Default::default() };
    world.api.set_policy(request(set)).await.unwrap();
    let stop = v1::DeactivateHostingRequest { name: name(), expected_revision: 0 };
    world.api.deactivate_hosting(request(stop)).await.unwrap();
    let cancel = v1::CancelDeactivationRequest { name: name() };
    world.api.cancel_deactivation(request(cancel)).await.unwrap();

    let person = |action: &str| (action.to_owned(), "a person".to_owned());
    let expected = vec![
        person("domain.add"),
        person("hosting.activate"),
        ("claim.prove".to_owned(), "DMARCER".to_owned()),
        person("policy.promote"),
        person("policy.revert"),
        person("policy.set"),
        person("hosting.deactivate"),
        person("hosting.cancel"),
    ];
    assert_eq!(actions(&world, "default").await, expected);

    let promoted = Filter { action: "policy.promote".to_owned(), ..Filter::default() };
    let entries = world.core.audit.list("default", &promoted, None, 10).await.unwrap();
    let (before, after) = (entries[0].before.clone().unwrap(), entries[0].after.clone().unwrap());
    assert_eq!(
        (&before["hosting"]["mode"], &before["hosting"]["revision"]),
        (&"testing".into(), &1.into())
    );
    assert_eq!(
        (&after["hosting"]["mode"], &after["hosting"]["revision"]),
        (&"enforce".into(), &2.into())
    );
    assert!(after["accepted"].as_array().is_some_and(|accepted| !accepted.is_empty()));
    assert_eq!(entries[0].about, "example.com");
    assert!(world.core.audit.verify("default").await.unwrap().is_whole());
}

#[tokio::test]
async fn what_is_refused_leaves_no_record() {
    let world = World::start().await;
    world.activate().await;
    let before = actions(&world, "default").await;
    let refused = world.promote().await.unwrap_err();
    assert_eq!(told(&refused).reason, "NOT_PROVEN");
    let again = v1::AddDomainRequest { name: name(), kind: 0 };
    world.api.add_domain(request(again)).await.unwrap_err();
    assert_eq!(actions(&world, "default").await, before);
}

#[tokio::test]
async fn a_change_that_is_asked_for_again_with_its_mark_is_made_once() {
    let world = World::hosted().await;
    let set = |seconds| v1::SetPolicyRequest {
        name: name(),
        max_age_seconds: Some(seconds),
        ..Default::default()
    };
    let first = world.api.set_policy(marked(set(200_000), 1, 1)).await.unwrap().into_inner();
    let again = world.api.set_policy(marked(set(200_000), 1, 1)).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_eq!(first.policy.unwrap().revision, 2);

    let reused = world.api.set_policy(marked(set(300_000), 1, 2)).await.unwrap_err();
    assert_eq!(told(&reused).reason, "IDEMPOTENCY_KEY_REUSED");

    let add = |name: &str| v1::AddDomainRequest { name: name.to_owned(), kind: 0 };
    world.api.add_domain(marked(add("example.org"), 2, 1)).await.unwrap();
    world.api.add_domain(marked(add("example.org"), 2, 1)).await.unwrap();
    let unmarked = world.api.add_domain(request(add("example.org"))).await.unwrap_err();
    assert_eq!(told(&unmarked).reason, "DOMAIN_EXISTS");

    let remove = || v1::RemoveDomainRequest { name: "example.org".to_owned() };
    world.api.remove_domain(marked(remove(), 3, 1)).await.unwrap();
    world.api.remove_domain(marked(remove(), 3, 1)).await.unwrap();
}

#[tokio::test]
async fn a_refused_change_leaves_its_mark_unused() {
    let world = World::start().await;
    let activate = || v1::ActivateHostingRequest { name: name(), region: String::new() };
    let refused = world.api.activate_hosting(marked(activate(), 1, 1)).await.unwrap_err();
    assert_eq!(told(&refused).reason, "DOMAIN_NOT_FOUND");
    let add = v1::AddDomainRequest { name: name(), kind: 0 };
    world.api.add_domain(request(add)).await.unwrap();
    world.api.activate_hosting(marked(activate(), 1, 1)).await.unwrap();
    assert!(world.policy().await.revision == 1);
}

#[tokio::test]
async fn regions_are_recorded_in_the_platforms_own_chain() {
    let world = World::start().await;
    let set = v1::UpdateRegionRequest {
        id: "eu-1".to_owned(),
        reports: Some("tlsrpt@reports.test".to_owned()),
        ..Default::default()
    };
    world.api.update_region(request(set)).await.unwrap();
    let expected = vec![
        ("region.add".to_owned(), "DMARCER".to_owned()),
        ("region.change".to_owned(), "a person".to_owned()),
    ];
    assert_eq!(actions(&world, PLATFORM).await, expected);
    assert!(actions(&world, "default").await.is_empty());
}

#[tokio::test]
async fn who_lost_a_name_is_not_told_to_whom() {
    let world = World::hosted().await;
    world.activate_elsewhere("other").await;
    world.move_to("other").await;
    let lost = actions(&world, "default").await.pop().unwrap();
    assert_eq!(lost, ("claim.supersede".to_owned(), "DMARCER".to_owned()));
    let entries = world.core.audit.list("default", &Filter::default(), None, 1000).await.unwrap();
    assert!(!format!("{entries:?}").contains("other"), "{entries:?}");
    let won = actions(&world, "other").await.pop().unwrap();
    assert_eq!(won, ("claim.prove".to_owned(), "DMARCER".to_owned()));
}

#[tokio::test]
async fn the_log_is_read_page_by_page_and_by_its_own_workspace_only() {
    let world = World::hosted().await;
    world.promote().await.unwrap();
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let list = v1::ListAuditRecordsRequest { page_size: 2, page_token, ..Default::default() };
        let page = world.api.list_audit_records(request(list)).await.unwrap().into_inner();
        assert!(page.items.len() <= 2);
        // The issuer is a stand-in here that keeps no log.
        assert_eq!(page.missing, ["issuer"]);
        seen.extend(page.items.into_iter().map(|record| record.action));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        let others = v1::ListAuditRecordsRequest {
            page_size: 2,
            page_token: page_token.clone(),
            ..Default::default()
        };
        let refused = world.api.list_audit_records(request_of("other", others)).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    }
    let all: Vec<String> =
        actions(&world, "default").await.into_iter().rev().map(|(action, _)| action).collect();
    assert_eq!(seen, all);

    let list = v1::ListAuditRecordsRequest::default();
    let others = world.api.list_audit_records(request_of("other", list)).await.unwrap();
    assert!(others.into_inner().items.is_empty());
}

#[tokio::test]
async fn only_a_platform_admin_sees_beyond_the_workspace() {
    let world = World::start().await;
    let reader = |message| {
        let mut request = Request::new(message);
        let caller = Caller::new("a reader", "default", Role::DomainManager);
        request.extensions_mut().insert(Call::from_here(caller));
        request
    };
    let platform = v1::ListAuditRecordsRequest { platform: true, ..Default::default() };
    let refused = world.api.list_audit_records(reader(platform)).await.unwrap_err();
    assert_eq!(told(&refused).reason, "ROLE_REQUIRED");
    let mut all = Request::new(v1::VerifyAuditRequest { all: true });
    all.extensions_mut().insert(Call::from_here(Caller::new(
        "a reader",
        "default",
        Role::ReadOnly,
    )));
    let refused = world.api.verify_audit(all).await.unwrap_err();
    assert_eq!(told(&refused).reason, "ROLE_REQUIRED");
    let all = v1::VerifyAuditRequest { all: true };
    let chains = world.api.verify_audit(request(all)).await.unwrap().into_inner().items;
    assert!(chains.iter().all(|chain| chain.problems.is_empty()), "{chains:?}");
    assert!(chains.iter().any(|chain| chain.workspace_id == PLATFORM));
}

/// Refusals are the same whether or not a mark came with them.
#[tokio::test]
async fn a_mark_changes_no_refusal() {
    let world = World::start().await;
    let remove = || v1::RemoveDomainRequest { name: name() };
    let plain = world.api.remove_domain(request(remove())).await.unwrap_err();
    let marked = world.api.remove_domain(marked(remove(), 1, 1)).await.unwrap_err();
    let domain = hosting::Domain::parse("example.com").unwrap();
    assert_eq!(told(&plain).reason, Refusal::DomainNotFound { domain }.code());
    assert_eq!(told(&plain), told(&marked));
}
