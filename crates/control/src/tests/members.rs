//! Members: who is one, and that somebody stays Platform admin.

use service::caller::Role;
use tonic::Code;
use wire::control as v1;
use wire::control::member_service_server::MemberService;
use wire::control::workspace_service_server::WorkspaceService;
use wire::status::told;

use super::holder::{Holder, from_wire, granted, to_wire};
use super::world::World;

async fn add(world: &World, by: &Holder<'_>, who: &str, role: i32) -> Result<v1::Member, String> {
    let call = v1::AddMemberRequest { who: who.to_owned(), role, domains: Vec::new() };
    let request = by.request(call).await.unwrap();
    match world.api.add_member(request).await {
        Ok(added) => Ok(added.into_inner().member.unwrap()),
        Err(status) => Err(told(&status).reason),
    }
}

async fn update(
    world: &World,
    by: &Holder<'_>,
    who: &str,
    role: Role,
) -> Result<v1::Member, String> {
    let call =
        v1::UpdateMemberRequest { who: who.to_owned(), role: to_wire(role), domains: Vec::new() };
    let request = by.request(call).await.unwrap();
    match world.api.update_member(request).await {
        Ok(updated) => Ok(updated.into_inner().member.unwrap()),
        Err(status) => Err(told(&status).reason),
    }
}

async fn remove(world: &World, by: &Holder<'_>, who: &str) -> Result<(), String> {
    let request = by.request(v1::RemoveMemberRequest { who: who.to_owned() }).await.unwrap();
    match world.api.remove_member(request).await {
        Ok(_) => Ok(()),
        Err(status) => Err(told(&status).reason),
    }
}

#[tokio::test]
async fn a_member_is_added_changed_and_removed() {
    let world = World::start().await;
    let admin = world.admin();
    let added = add(&world, &admin, " Alice@Example.ORG ", 2).await.unwrap();
    assert_eq!(
        (added.who.as_str(), from_wire(added.role)),
        ("alice@example.org", Role::DomainManager)
    );
    assert_eq!((added.source(), added.added_by.as_str()), (v1::MemberSource::Added, "admin"));
    assert_eq!((added.name.as_str(), added.last_seen_at), ("", None));
    assert_eq!(add(&world, &admin, "alice@example.org", 1).await.unwrap_err(), "MEMBER_EXISTS");
    for (who, role) in [("alice", 1), ("bob@example.org", 0), ("bob@example.org", 99)] {
        assert_eq!(add(&world, &admin, who, role).await.unwrap_err(), "INVALID_ARGUMENT");
    }
    let updated = update(&world, &admin, "ALICE@example.org", Role::ReadOnly).await.unwrap();
    assert_eq!(from_wire(updated.role), Role::ReadOnly);
    for wrong in ["bob@example.org", "sub:alice@example.org"] {
        assert_eq!(
            update(&world, &admin, wrong, Role::ReadOnly).await.unwrap_err(),
            "MEMBER_NOT_FOUND"
        );
        assert_eq!(remove(&world, &admin, wrong).await.unwrap_err(), "MEMBER_NOT_FOUND");
    }
    remove(&world, &admin, "alice@example.org").await.unwrap();
    assert_eq!(remove(&world, &admin, "alice@example.org").await.unwrap_err(), "MEMBER_NOT_FOUND");

    // One record for each, with what was and what is.
    let records = world.actions("default", "member.").await;
    let actions: Vec<_> = records.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["member.add", "member.change", "member.remove"]);
    let changed = &records[1];
    assert_eq!(changed.about, "alice@example.org");
    assert_eq!(changed.before.as_ref().unwrap()["role"], "domain-manager");
    assert_eq!(changed.after.as_ref().unwrap()["role"], "read-only");
    assert!(records[0].before.is_none() && records[2].after.is_none());
}

#[tokio::test]
async fn a_change_to_what_is_already_so_leaves_no_record() {
    let world = World::start().await;
    add(&world, &world.admin(), "alice@example.org", 2).await.unwrap();
    update(&world, &world.admin(), "alice@example.org", Role::DomainManager).await.unwrap();
    assert_eq!(world.actions("default", "member.").await.len(), 1);
}

#[tokio::test]
async fn the_last_platform_admin_is_neither_removed_nor_demoted() {
    let world = World::start().await;
    world.add_workspace("acme").await;
    let root = "root@example.org";
    world.add_member("acme", root, Role::PlatformAdmin, &[]).await;
    let by = world.sign_in("root").await;
    assert_eq!(remove(&world, &by, root).await.unwrap_err(), "LAST_PLATFORM_ADMIN");
    for role in [Role::ReadOnly, Role::DomainManager] {
        assert_eq!(update(&world, &by, root, role).await.unwrap_err(), "LAST_PLATFORM_ADMIN");
    }
    let close = by.request(v1::CloseWorkspaceRequest { id: "acme".to_owned() }).await.unwrap();
    let refused = world.api.close_workspace(close).await.unwrap_err();
    assert_eq!(
        told(&refused).reason,
        "LAST_PLATFORM_ADMIN",
        "with the workspace the role would go"
    );
    by.identity().await.unwrap();

    // A token that the configured one has made is no holder that stays.
    let (made, _) = world.admin().within("acme").make(Role::PlatformAdmin).await;
    assert_eq!(remove(&world, &made, root).await.unwrap_err(), "LAST_PLATFORM_ADMIN");

    // With a second one the first may go.
    world.add_member("default", "second@example.org", Role::PlatformAdmin, &[]).await;
    update(&world, &by, root, Role::ReadOnly).await.unwrap();
    let second = world.sign_in("second").await;
    assert_eq!(
        remove(&world, &second, "second@example.org").await.unwrap_err(),
        "LAST_PLATFORM_ADMIN"
    );
    // Whoever holds the configured token stays.
    remove(&world, &world.admin(), "second@example.org").await.unwrap();
}

#[tokio::test]
async fn of_two_platform_admins_who_remove_each_other_one_stays() {
    let world = World::start().await;
    for who in ["one", "two"] {
        world.add_member("default", &format!("{who}@example.org"), Role::PlatformAdmin, &[]).await;
    }
    let (one, two) = (world.sign_in("one").await, world.sign_in("two").await);
    let (first, second) = tokio::join!(
        remove(&world, &one, "two@example.org"),
        remove(&world, &two, "one@example.org")
    );
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    assert_eq!(world.members("default").await.len(), 1);
}

#[tokio::test]
async fn who_the_provider_makes_a_member_is_one_until_the_next_sign_in() {
    let world = World::start().await;
    let grants = || vec![granted("default", Role::DomainManager, &["a.example"])];
    let address = Some("alice@example.org");
    world.try_sign_in("alice", address, grants()).await.unwrap();
    world.try_sign_in("0001", None, vec![granted("default", Role::ReadOnly, &[])]).await.unwrap();
    let members = world.members("default").await;
    let shown: Vec<_> =
        members.iter().map(|m| (m.who.as_str(), m.source(), m.name.as_str())).collect();
    let provider = v1::MemberSource::Provider;
    assert_eq!(shown, [("alice@example.org", provider, "alice"), ("sub:0001", provider, "0001")]);
    assert_eq!(members[0].domains, ["a.example"]);

    // The provider's word can't be changed here, only topped.
    let admin = world.admin();
    let refused = update(&world, &admin, "alice@example.org", Role::ReadOnly).await.unwrap_err();
    assert_eq!(refused, "MEMBER_NOT_FOUND");
    let topped = add(&world, &admin, "alice@example.org", 2).await.unwrap();
    assert_eq!((topped.source(), topped.domains.len()), (v1::MemberSource::Added, 0));
    let lowered = update(&world, &admin, "alice@example.org", Role::ReadOnly).await.unwrap();
    assert_eq!((lowered.source(), lowered.domains.len()), (provider, 1), "the higher counts");
    assert_eq!(world.members("default").await.len(), 2, "one entry for both");
    let shown = world.workspace("default").await;
    assert_eq!(shown.members, 2);

    remove(&world, &admin, "alice@example.org").await.unwrap();
    assert_eq!(world.members("default").await.len(), 1);
    world.try_sign_in("alice", address, grants()).await.unwrap();
    assert_eq!(world.members("default").await.len(), 2);
    // By them, as the provider said: their role is told of like any other.
    let told = world.actions("default", "member.add").await;
    assert_eq!(told.last().unwrap().after.as_ref().unwrap()["source"], "provider");
}

#[tokio::test]
async fn a_list_of_members_is_that_of_the_workspace_and_goes_on_for_its_caller_only() {
    let world = World::start().await;
    world.add_workspace("acme").await;
    for n in 0..5 {
        world.add_member("acme", &format!("m{n}@example.org"), Role::ReadOnly, &[]).await;
        world.add_member("default", &format!("d{n}@example.org"), Role::ReadOnly, &[]).await;
    }
    world.try_sign_in("p", None, vec![granted("acme", Role::ReadOnly, &[])]).await.unwrap();
    world.try_sign_in("q", None, vec![granted("default", Role::ReadOnly, &[])]).await.unwrap();
    let m0 = world.sign_in("m0").await;
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let call = v1::ListMembersRequest { page_size: 2, page_token };
        let page = world.api.list_members(m0.request(call).await.unwrap()).await.unwrap();
        let page = page.into_inner();
        seen.extend(page.items.into_iter().map(|member| member.who));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        let call = v1::ListMembersRequest { page_size: 2, page_token: page_token.clone() };
        for other in [world.admin(), world.admin().within("acme"), world.sign_in("m1").await] {
            let refused = world.api.list_members(other.request(call.clone()).await.unwrap()).await;
            assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
        }
    }
    let expected: Vec<String> = (0..5).map(|n| format!("m{n}@example.org")).collect();
    assert_eq!(seen, [expected, vec!["sub:p".to_owned()]].concat());
    for page_size in [-1, i32::MIN] {
        let call = v1::ListMembersRequest { page_size, page_token: String::new() };
        let refused = world.api.list_members(m0.request(call).await.unwrap()).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_member_is_added_once_however_often_the_same_call_is_made() {
    let world = World::start().await;
    let call =
        v1::AddMemberRequest { who: "a@example.org".to_owned(), role: 1, domains: Vec::new() };
    for _ in 0..2 {
        let request = world.admin().marked(call.clone(), 1).await;
        world.api.add_member(request).await.unwrap();
    }
    assert_eq!(world.actions("default", "member.add").await.len(), 1);
}
