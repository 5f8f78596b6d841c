//! Who somebody is, and what their tokens are worth from one call to the next.

use jiff::SignedDuration;
use service::caller::Role;
use tonic::{Code, Request};
use wire::control as v1;
use wire::control::identity_service_server::IdentityService;
use wire::control::workspace_service_server::WorkspaceService;
use wire::status::told;

use super::holder::{Holder, from_wire, granted};
use super::world::{World, until};

/// Why a token isn't taken; empty where it is.
async fn refused(holder: &Holder<'_>) -> String {
    holder.identity().await.err().map(|status| told(&status).reason).unwrap_or_default()
}

async fn worth(holder: &Holder<'_>) -> (Role, String) {
    let identity = holder.identity().await.unwrap();
    (from_wire(identity.role), identity.domains.join(" "))
}

#[tokio::test]
async fn only_the_configured_token_and_tokens_that_were_made_are_known() {
    let world = World::start().await;
    let admin = world.admin().identity().await.unwrap();
    assert_eq!((admin.id.as_str(), admin.owner.as_str()), ("admin", "admin"));
    assert_eq!(
        (admin.workspace_id.as_str(), from_wire(admin.role)),
        ("default", Role::PlatformAdmin)
    );
    for token in ["", " ", "Admin", "admin ", "dmr_000000000000"] {
        assert_eq!(refused(&world.holder(token)).await, "TOKEN_INVALID", "{token:?}");
    }
    for hash in [vec![], vec![0; 31], vec![0; 33]] {
        let call = v1::IdentifyRequest { token_hash: hash, workspace_id: String::new() };
        let status = world.api.identify(Request::new(call)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    let (token, id) = world.admin().make(Role::ReadOnly).await;
    let known = token.identity().await.unwrap();
    assert_eq!(known.id, format!("token:{id}"));
    assert_eq!(known.name, "token CI (admin)");
    assert_eq!(known.owner, "admin");
}

#[tokio::test]
async fn a_revoked_token_is_nobodys_on_the_very_next_call() {
    let world = World::start().await;
    let (token, id) = world.admin().make(Role::DomainManager).await;
    token.identity().await.unwrap();
    world.admin().revoke(&id, false).await.unwrap();
    assert_eq!(refused(&token).await, "TOKEN_INVALID");
    assert_eq!(refused(&token.within("default")).await, "TOKEN_INVALID");
}

#[tokio::test]
async fn an_expired_token_is_nobodys() {
    let world = World::start().await;
    let wanted = v1::CreateTokenRequest {
        name: "short".to_owned(),
        expires_after_seconds: 3600,
        ..Default::default()
    };
    let made = world.admin().create(wanted).await.unwrap();
    let token = world.holder(&made.secret);
    world.clock.advance(SignedDuration::from_secs(3599));
    token.identity().await.unwrap();
    world.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(refused(&token).await, "TOKEN_INVALID");
    let shown = world.admin().get_token(&made.token.unwrap().id).await.unwrap();
    assert_eq!(shown.state(), v1::TokenState::Expired);
}

#[tokio::test]
async fn a_sign_in_ends_when_it_is_left_alone_and_after_a_week_at_the_latest() {
    let world = World::start().await;
    world.add_member("default", "alice@example.org", Role::ReadOnly, &[]).await;
    let left_alone = world.sign_in("alice").await;
    world.clock.advance(SignedDuration::from_hours(12));
    assert_eq!(refused(&left_alone).await, "TOKEN_INVALID");

    let used = world.sign_in("alice").await;
    let id = used.tokens(false).await[0].id.clone();
    for _ in 0..15 {
        world.clock.advance(SignedDuration::from_hours(11));
        used.identity().await.unwrap();
        world.core.callers.settle().await;
        let now = wire::time::to_wire(service::clock::Clock::now(&*world.clock));
        until("its use to be noted", || async {
            let token = world.admin().get_token(&id).await.unwrap();
            (token.last_used_at == Some(now)).then_some(())
        })
        .await;
    }
    world.clock.advance(SignedDuration::from_hours(3));
    assert_eq!(refused(&used).await, "TOKEN_INVALID", "168 hours");
}

#[tokio::test]
async fn a_use_is_noted_to_the_minute_and_for_the_person_too() {
    let world = World::start().await;
    world.add_member("default", "alice@example.org", Role::ReadOnly, &[]).await;
    let alice = world.sign_in("alice").await;
    let (token, id) = alice.make(Role::ReadOnly).await;
    let noted = || async { world.admin().get_token(&id).await.unwrap().last_used_at };
    assert_eq!(noted().await, None);
    world.clock.advance(SignedDuration::from_hours(1));
    token.identity().await.unwrap();
    world.core.callers.settle().await;
    let first = until("the use to be noted", noted).await;

    world.clock.advance(SignedDuration::from_secs(59));
    token.identity().await.unwrap();
    world.core.callers.settle().await;
    assert_eq!(noted().await, Some(first), "within the minute");
    world.clock.advance(SignedDuration::from_secs(1));
    token.identity().await.unwrap();
    world.core.callers.settle().await;
    assert_eq!(noted().await.unwrap().seconds, first.seconds + 60);
    let members = world.members("default").await;
    assert_eq!(members[0].last_seen_at.unwrap().seconds, first.seconds + 60);
}

#[tokio::test]
async fn a_members_change_is_felt_by_their_tokens_on_the_next_call() {
    let world = World::start().await;
    let who = "alice@example.org";
    world.add_member("default", who, Role::DomainManager, &[]).await;
    let alice = world.sign_in("alice").await;
    let (token, id) = alice.make(Role::DomainManager).await;
    let (named, _) = alice.make_for(Role::DomainManager, &["a.example"]).await;
    let none = String::new;
    assert_eq!(worth(&token).await, (Role::DomainManager, none()));

    world.set_member("default", who, Role::DomainManager, &["b.example", "A.example."]).await;
    let both = "a.example b.example".to_owned();
    assert_eq!(worth(&alice).await, (Role::DomainManager, both.clone()));
    assert_eq!(worth(&token).await, (Role::DomainManager, both));
    assert_eq!(worth(&named).await, (Role::DomainManager, "a.example".to_owned()));

    // For nothing in common it looks only, and does not come to manage all.
    world.set_member("default", who, Role::DomainManager, &["b.example"]).await;
    assert_eq!(worth(&named).await, (Role::ReadOnly, none()));

    world.set_member("default", who, Role::ReadOnly, &[]).await;
    for holder in [&alice, &token, &named] {
        assert_eq!(worth(holder).await, (Role::ReadOnly, none()));
    }
    world.remove_member("default", who).await;
    for holder in [&alice, &token, &named] {
        assert_eq!(refused(holder).await, "TOKEN_INVALID");
    }
    let shown = world.admin().get_token(&id).await.unwrap();
    assert_eq!((shown.role, shown.state()), (0, v1::TokenState::Active), "good for nothing");

    // Given back, they are worth no more than they were made for.
    world.add_member("default", who, Role::PlatformAdmin, &[]).await;
    assert_eq!(worth(&named).await, (Role::DomainManager, "a.example".to_owned()));
}

#[tokio::test]
async fn who_is_in_several_workspaces_chooses_one() {
    let world = World::start().await;
    world.add_workspace("acme").await;
    world.add_workspace("third").await;
    world.add_member("default", "alice@example.org", Role::ReadOnly, &[]).await;
    world.add_member("acme", "alice@example.org", Role::DomainManager, &[]).await;
    let alice = world.sign_in("alice").await;
    let told = told(&alice.identity().await.unwrap_err());
    assert_eq!(told.reason, "WORKSPACE_REQUIRED");
    assert_eq!(told.metadata["workspaces"], "acme, default");
    let in_acme = alice.within("acme").identity().await.unwrap();
    assert_eq!(from_wire(in_acme.role), Role::DomainManager);
    assert_eq!(in_acme.id, in_acme.owner);

    let memberships = alice.within("acme").who_am_i().await.memberships;
    let places: Vec<_> = memberships.iter().map(|place| place.workspace_id.as_str()).collect();
    assert_eq!(places, ["acme", "default"]);

    // Somebody else's workspace is answered as one that there is not.
    let third = alice.within("third").identity().await.unwrap_err();
    for nowhere in ["nowhere", "Not an id", "../x"] {
        let nowhere = alice.within(nowhere).identity().await.unwrap_err();
        assert_eq!((nowhere.code(), nowhere.message()), (third.code(), third.message()));
        assert_eq!(nowhere.details(), third.details());
    }
    let (token, _) = alice.within("acme").make(Role::ReadOnly).await;
    assert_eq!(token.identity().await.unwrap().workspace_id, "acme");
    assert_eq!(refused(&token.within("default")).await, "WORKSPACE_NOT_FOUND");
    let memberships = token.who_am_i().await.memberships;
    assert_eq!(memberships.len(), 1);
    assert_eq!(memberships[0].workspace_id, "acme");
}

#[tokio::test]
async fn a_platform_admin_is_one_everywhere() {
    let world = World::start().await;
    world.add_workspace("acme").await;
    world.add_member("acme", "root@example.org", Role::PlatformAdmin, &[]).await;
    world.add_member("default", "root@example.org", Role::ReadOnly, &[]).await;
    let root = world.sign_in("root").await;
    assert_eq!(root.identity().await.unwrap().workspace_id, "acme");
    let default = root.within("default");
    assert_eq!(from_wire(default.identity().await.unwrap().role), Role::PlatformAdmin);
    let (token, _) = default.make(Role::PlatformAdmin).await;
    assert_eq!(from_wire(token.within("acme").identity().await.unwrap().role), Role::PlatformAdmin);
    let (manager, _) = default.make(Role::DomainManager).await;
    assert_eq!(refused(&manager.within("acme")).await, "WORKSPACE_NOT_FOUND");

    world.remove_member("acme", "root@example.org").await;
    assert_eq!(from_wire(token.identity().await.unwrap().role), Role::ReadOnly);
    assert_eq!(refused(&token.within("acme")).await, "WORKSPACE_NOT_FOUND");
}

#[tokio::test]
async fn a_closed_workspaces_members_and_tokens_are_good_for_nothing() {
    let world = World::start().await;
    world.add_workspace("acme").await;
    world.add_member("acme", "alice@example.org", Role::DomainManager, &[]).await;
    let alice = world.sign_in("alice").await;
    let (token, _) = alice.make(Role::ReadOnly).await;
    let (admins, _) = world.admin().within("acme").make(Role::PlatformAdmin).await;
    let close = v1::CloseWorkspaceRequest { id: "acme".to_owned() };
    let request = world.admin().request(close).await.unwrap();
    world.api.close_workspace(request).await.unwrap();
    for holder in [&alice, &token, &admins] {
        assert_eq!(refused(holder).await, "TOKEN_INVALID");
        assert_eq!(refused(&holder.within("default")).await, "TOKEN_INVALID");
        assert_eq!(refused(&holder.within("acme")).await, "WORKSPACE_CLOSED");
    }
    assert_eq!(refused(&world.admin().within("acme")).await, "WORKSPACE_CLOSED");
    world.add_member("default", "bob@example.org", Role::ReadOnly, &[]).await;
    let bob = world.sign_in("bob").await;
    assert_eq!(refused(&bob.within("acme")).await, "WORKSPACE_NOT_FOUND");
    let nobody = world.try_sign_in("alice", Some("alice@example.org"), Vec::new()).await;
    assert_eq!(told(&nobody.err().unwrap()).reason, "NO_ROLE");
}

#[tokio::test]
async fn who_has_no_role_does_not_get_in() {
    let world = World::start().await;
    for (name, email) in [
        ("alice", Some("alice@example.org")),
        ("nobody", None),
        ("x\u{202e}", Some("x@example.org")),
        // Not a member by the looks of their address.
        ("sub", Some("sub:root")),
    ] {
        let status = world.try_sign_in(name, email, Vec::new()).await.err().unwrap();
        assert_eq!(status.code(), Code::PermissionDenied, "{name:?}");
        assert_eq!(told(&status).reason, "NO_ROLE");
        assert!(status.message().contains("ask a Platform admin"), "{}", status.message());
    }
    let nowhere = vec![granted("nowhere", Role::PlatformAdmin, &[])];
    let status = world.try_sign_in("alice", None, nowhere).await.err().unwrap();
    assert_eq!(told(&status).reason, "NO_ROLE", "a workspace that there is not");
}

#[tokio::test]
async fn what_the_provider_says_at_a_sign_in_replaces_what_it_said_before() {
    let world = World::start().await;
    world.add_workspace("acme").await;
    let address = Some("alice@example.org");
    let first = vec![
        granted("default", Role::DomainManager, &["a.example"]),
        granted("default", Role::DomainManager, &["b.example"]),
        granted("acme", Role::ReadOnly, &[]),
    ];
    let alice = world.try_sign_in("alice", address, first).await.unwrap();
    let (token, _) = alice.within("acme").make(Role::ReadOnly).await;
    let identity = alice.within("default").identity().await.unwrap();
    assert_eq!(identity.domains, ["a.example", "b.example"]);

    let second = vec![granted("default", Role::ReadOnly, &[])];
    let again = world.try_sign_in("alice", address, second).await.unwrap();
    assert_eq!(from_wire(again.identity().await.unwrap().role), Role::ReadOnly);
    assert_eq!(from_wire(alice.identity().await.unwrap().role), Role::ReadOnly);
    assert_eq!(refused(&token).await, "TOKEN_INVALID");

    // What was given here stays, and the higher counts.
    world.add_member("default", "alice@example.org", Role::DomainManager, &[]).await;
    assert_eq!(from_wire(again.identity().await.unwrap().role), Role::DomainManager);
    world.remove_member("default", "alice@example.org").await;
    assert_eq!(refused(&again).await, "TOKEN_INVALID", "both were taken away");

    let third = vec![granted("default", Role::ReadOnly, &[])];
    world.try_sign_in("alice", address, third).await.unwrap();
    again.identity().await.unwrap();
    let refusal = world.try_sign_in("alice", address, Vec::new()).await.err().unwrap();
    assert_eq!(told(&refusal).reason, "NO_ROLE");
    assert_eq!(refused(&again).await, "TOKEN_INVALID", "older tokens, too");
}

#[tokio::test]
async fn the_roles_of_an_address_are_those_of_who_showed_it_last() {
    let world = World::start().await;
    world.add_member("default", "desk@example.org", Role::DomainManager, &[]).await;
    let before = world.try_sign_in("alice", Some("desk@example.org"), Vec::new()).await.unwrap();
    let (token, _) = before.make(Role::DomainManager).await;
    let after = world.try_sign_in("bob", Some("Desk@Example.org"), Vec::new()).await.unwrap();
    assert_eq!(after.identity().await.unwrap().name, "desk@example.org");
    assert_eq!(refused(&before).await, "TOKEN_INVALID");
    assert_eq!(refused(&token).await, "TOKEN_INVALID");

    // Who comes back with another address has no role by the old one.
    let other = world.try_sign_in("bob", Some("bob@example.org"), Vec::new()).await;
    assert_eq!(told(&other.err().unwrap()).reason, "NO_ROLE");
    assert_eq!(refused(&after).await, "TOKEN_INVALID");
}

#[tokio::test]
async fn a_member_may_be_known_by_the_providers_name_for_them() {
    let world = World::start().await;
    world.add_member("default", "sub:00u1A", Role::ReadOnly, &[]).await;
    let person = world.try_sign_in("00u1A", None, Vec::new()).await.unwrap();
    assert_eq!(person.identity().await.unwrap().name, "00u1A (sub:00u1A)");
    let other_case = world.try_sign_in("00u1a", None, Vec::new()).await;
    assert_eq!(told(&other_case.err().unwrap()).reason, "NO_ROLE");
}

#[tokio::test]
async fn more_sign_ins_than_anybody_uses_end_the_oldest() {
    let world = World::start().await;
    world.add_member("default", "alice@example.org", Role::ReadOnly, &[]).await;
    let first = world.sign_in("alice").await;
    for _ in 1..50 {
        world.clock.advance(SignedDuration::from_secs(1));
        world.sign_in("alice").await;
    }
    first.identity().await.unwrap();
    let last = world.sign_in("alice").await;
    assert_eq!(refused(&first).await, "TOKEN_INVALID");
    assert_eq!(last.tokens(false).await.len(), 50);
}
