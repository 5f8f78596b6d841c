//! Workspaces: tenants that do not see each other.

use audit::PLATFORM;
use service::caller::Role;
use store::Store;
use store::sqlx::query;
use tonic::{Code, Status};
use wire::control as v1;
use wire::control::domain_service_server::DomainService;
use wire::control::workspace_service_server::WorkspaceService;
use wire::status::told;

use super::holder::Holder;
use super::world::World;
use crate::sql::{Page, STEPS, Workspace};

async fn add(world: &World, id: &str, name: &str) -> Result<v1::Workspace, Status> {
    let call = v1::AddWorkspaceRequest { id: id.to_owned(), name: name.to_owned() };
    let added = world.api.add_workspace(world.admin().request(call).await?).await?;
    Ok(added.into_inner().workspace.unwrap())
}

async fn close(world: &World, id: &str) -> Result<v1::Workspace, Status> {
    let call = v1::CloseWorkspaceRequest { id: id.to_owned() };
    let closed = world.api.close_workspace(world.admin().request(call).await?).await?;
    Ok(closed.into_inner().workspace.unwrap())
}

async fn rename(world: &World, id: &str, name: &str) -> Result<v1::Workspace, Status> {
    let call = v1::UpdateWorkspaceRequest { id: id.to_owned(), name: name.to_owned() };
    let renamed = world.api.update_workspace(world.admin().request(call).await?).await?;
    Ok(renamed.into_inner().workspace.unwrap())
}

async fn list(world: &World, by: &Holder<'_>) -> Vec<String> {
    let request = by.request(v1::ListWorkspacesRequest::default()).await.unwrap();
    let page = world.api.list_workspaces(request).await.unwrap().into_inner();
    page.items.into_iter().map(|workspace| workspace.id).collect()
}

async fn get(world: &World, by: &Holder<'_>, id: &str) -> Result<String, Status> {
    let call = v1::GetWorkspaceRequest { id: id.to_owned() };
    let found = world.api.get_workspace(by.request(call).await?).await?;
    Ok(found.into_inner().workspace.unwrap().id)
}

#[tokio::test]
async fn a_workspace_is_added_renamed_and_closed_for_ever() {
    let world = World::start().await;
    let added = add(&world, "acme", "").await.unwrap();
    assert_eq!((added.id.as_str(), added.name.as_str()), ("acme", "acme"));
    assert_eq!((added.domains, added.members, added.closed_at), (0, 0, None));
    let renamed = rename(&world, "acme", " Acme, Inc. ").await.unwrap();
    assert_eq!(renamed.name, "Acme, Inc.");
    let closed = close(&world, "acme").await.unwrap();
    assert!(closed.closed_at.is_some());
    assert_eq!(close(&world, "acme").await.unwrap(), closed, "once is enough");

    for (id, name, reason) in [
        ("acme", "", "WORKSPACE_EXISTS"),
        ("default", "", "WORKSPACE_EXISTS"),
        ("platform", "", "WORKSPACE_EXISTS"),
        ("", "", "INVALID_ARGUMENT"),
        ("Acme", "", "INVALID_ARGUMENT"),
        ("-a", "", "INVALID_ARGUMENT"),
        (&"a".repeat(33), "", "INVALID_ARGUMENT"),
        ("new", "a\nb", "INVALID_ARGUMENT"),
        ("new", &"n".repeat(65), "INVALID_ARGUMENT"),
    ] {
        assert_eq!(
            told(&add(&world, id, name).await.unwrap_err()).reason,
            reason,
            "{id:?} {name:?}"
        );
    }
    for (id, name, reason) in [
        ("acme", "x", "WORKSPACE_CLOSED"),
        ("nowhere", "x", "WORKSPACE_NOT_FOUND"),
        ("default", "", "INVALID_ARGUMENT"),
    ] {
        assert_eq!(told(&rename(&world, id, name).await.unwrap_err()).reason, reason, "{id:?}");
    }
    assert_eq!(told(&close(&world, "default").await.unwrap_err()).reason, "INVALID_ARGUMENT");
    assert_eq!(told(&close(&world, "nowhere").await.unwrap_err()).reason, "WORKSPACE_NOT_FOUND");

    let records = world.actions(PLATFORM, "workspace.").await;
    let actions: Vec<_> = records.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["workspace.add", "workspace.rename", "workspace.close"]);
    assert!(records.iter().all(|entry| entry.about == "acme"));
}

#[tokio::test]
async fn the_default_workspace_is_there_and_dated() {
    let world = World::start().await;
    let default = world.workspace("default").await;
    assert_eq!(
        default.created_at,
        Some(wire::time::to_wire(service::clock::Clock::now(&*world.clock)))
    );
}

#[tokio::test]
async fn whoever_had_domains_before_there_were_workspaces_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/control.db", folder.path().display());
    let before = Store::open(&url, "control", &STEPS[..1]).await.unwrap();
    for sql in [
        "INSERT INTO names (domain) VALUES ('example.com')",
        "INSERT INTO claims (id, workspace, domain, kind, nonce, created_at)
         VALUES ('c1', 'acme', 'example.com', 'standard', 'n1', 7)",
        "INSERT INTO claims (id, workspace, domain, kind, nonce, created_at)
         VALUES ('c2', 'default', 'example.com', 'standard', 'n2', 8)",
    ] {
        query(sql).execute(before.read()).await.unwrap();
    }
    before.close().await;
    let after = Store::open(&url, "control", STEPS).await.unwrap();
    let all = Page { after: String::new(), limit: 10 };
    let all = Workspace::list(after.read(), &all).await.unwrap();
    let shown: Vec<_> = all.iter().map(|it| (it.id.as_str(), it.domains)).collect();
    assert_eq!(shown, [("acme", 1), ("default", 1)]);
}

#[tokio::test]
async fn a_workspace_with_domains_stays_open() {
    let world = World::start().await;
    add(&world, "acme", "").await.unwrap();
    let admin = world.admin().within("acme");
    let domain = |name: &str| v1::AddDomainRequest { name: name.to_owned(), kind: 0 };
    let request = admin.request(domain("example.com")).await.unwrap();
    world.api.add_domain(request).await.unwrap();
    let refused = close(&world, "acme").await.unwrap_err();
    assert_eq!(
        (refused.code(), told(&refused).reason.as_str()),
        (Code::FailedPrecondition, "WORKSPACE_HAS_DOMAINS")
    );

    // The layer in front remembers callers for a moment: a claim may come just after the end.
    let late = admin.request(domain("late.example")).await.unwrap();
    let remove = v1::RemoveDomainRequest { name: "example.com".to_owned() };
    world.api.remove_domain(admin.request(remove).await.unwrap()).await.unwrap();
    close(&world, "acme").await.unwrap();
    let refused = world.api.add_domain(late).await.unwrap_err();
    assert_eq!(told(&refused).reason, "WORKSPACE_CLOSED");
}

#[tokio::test]
async fn nobody_sees_another_tenants_workspace() {
    let world = World::start().await;
    for id in ["acme", "globex", "initech"] {
        add(&world, id, "").await.unwrap();
    }
    world.add_member("acme", "alice@example.org", Role::ReadOnly, &[]).await;
    world.add_member("globex", "alice@example.org", Role::ReadOnly, &[]).await;
    let alice = world.sign_in("alice").await.within("acme");
    let (token, _) = alice.make(Role::ReadOnly).await;
    assert_eq!(list(&world, &alice).await, ["acme", "globex"]);
    assert_eq!(list(&world, &token).await, ["acme"], "a token knows of its own");
    let all = list(&world, &world.admin()).await;
    assert_eq!(all, ["acme", "default", "globex", "initech", "other"]);

    assert_eq!(get(&world, &alice, "").await.unwrap(), "acme");
    assert_eq!(get(&world, &alice, "globex").await.unwrap(), "globex");
    assert_eq!(get(&world, &token, "").await.unwrap(), "acme");
    let missing = get(&world, &alice, "nowhere").await.unwrap_err();
    for (holder, id) in
        [(&alice, "initech"), (&alice, "default"), (&alice, "No Id"), (&token, "globex")]
    {
        let status = get(&world, holder, id).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (missing.code(), missing.message()));
        assert_eq!(status.details(), missing.details());
    }
    assert_eq!(get(&world, &world.admin(), "initech").await.unwrap(), "initech");
}

#[tokio::test]
async fn a_list_of_workspaces_goes_on_for_its_caller_only() {
    let world = World::start().await;
    for n in 0..3 {
        add(&world, &format!("w{n}"), "").await.unwrap();
        world.add_member(&format!("w{n}"), "alice@example.org", Role::ReadOnly, &[]).await;
    }
    world.add_member("default", "root@example.org", Role::PlatformAdmin, &[]).await;
    let (alice, root) = (world.sign_in("alice").await.within("w0"), world.sign_in("root").await);
    for (holder, other, expected) in [
        (&alice, &root, &["w0", "w1", "w2"][..]),
        (&root, &alice, &["default", "other", "w0", "w1", "w2"]),
    ] {
        let (mut seen, mut page_token) = (Vec::new(), String::new());
        loop {
            let call = v1::ListWorkspacesRequest { page_size: 1, page_token };
            let page = world.api.list_workspaces(holder.request(call).await.unwrap()).await;
            let page = page.unwrap().into_inner();
            seen.extend(page.items.into_iter().map(|workspace| workspace.id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
            let call = v1::ListWorkspacesRequest { page_size: 1, page_token: page_token.clone() };
            let refused = world.api.list_workspaces(other.request(call).await.unwrap()).await;
            assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
        }
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn a_workspace_is_added_once_however_often_the_same_call_is_made() {
    let world = World::start().await;
    let call = v1::AddWorkspaceRequest { id: "acme".to_owned(), name: String::new() };
    for _ in 0..2 {
        let request = world.admin().marked(call.clone(), 1).await;
        let added = world.api.add_workspace(request).await.unwrap();
        assert_eq!(added.into_inner().workspace.unwrap().id, "acme");
    }
    assert_eq!(world.actions(PLATFORM, "workspace.add").await.len(), 1);
}
