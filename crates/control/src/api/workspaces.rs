//! Workspaces: tenants.

use std::collections::BTreeSet;

use audit::{Begun, PLATFORM, Record};
use hosting::WorkspaceId;
use serde_json::json;
use service::caller::{Caller, Role};
use store::Write;
use tonic::{Request, Response, Status};
use wire::control as v1;
use wire::control::workspace_service_server::WorkspaceService;
use wire::time::to_wire;

use super::{Api, asked, page_size};
use crate::Core;
use crate::change::Asked;
use crate::identity::{
    DEFAULT_WORKSPACE, Failure, OwnerId, Places, Refused, admins_stay, name, new_workspace,
};
use crate::sql::{Page, Person, Workspace, platform_admins};

const LIST: &[&str] = &["ListWorkspaces"];

#[tonic::async_trait]
impl WorkspaceService for Api {
    async fn add_workspace(
        &self,
        request: Request<v1::AddWorkspaceRequest>,
    ) -> Result<Response<v1::AddWorkspaceResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let id = new_workspace(&request.id)?;
        let wanted = if request.name.is_empty() { request.id } else { request.name };
        let name = name("name", &wanted)?;
        add(&self.core, &asked, &id, &name).await?;
        let workspace = Some(self.shown_workspace(&id).await?);
        Ok(Response::new(v1::AddWorkspaceResponse { workspace }))
    }

    async fn list_workspaces(
        &self,
        request: Request<v1::ListWorkspacesRequest>,
    ) -> Result<Response<v1::ListWorkspacesResponse>, Status> {
        let caller = asked(&request)?.caller;
        let request = request.into_inner();
        let size = usize::try_from(page_size(request.page_size)?).unwrap_or(1);
        let after = self.place(&caller, LIST, &request.page_token)?.unwrap_or_default();
        // One more than asked for tells whether there is another page.
        let mut page = self.workspaces_after(&caller, &after, size + 1).await?;
        let more = page.len() > size;
        page.truncate(size);
        let last = page.last().filter(|_| more).map(|workspace| workspace.id.as_str());
        let next_page_token = self.page_token(&caller, LIST, last);
        let items = page.iter().map(shown).collect();
        Ok(Response::new(v1::ListWorkspacesResponse { items, next_page_token }))
    }

    async fn get_workspace(
        &self,
        request: Request<v1::GetWorkspaceRequest>,
    ) -> Result<Response<v1::GetWorkspaceResponse>, Status> {
        let caller = asked(&request)?.caller;
        let id = request.into_inner().id;
        let id = if id.is_empty() { &caller.workspace } else { &id };
        let id = id.parse().map_err(|_| Refused::WorkspaceNotFound)?;
        if caller.role < Role::PlatformAdmin && !self.theirs(&caller).await?.contains(&id) {
            return Err(Refused::WorkspaceNotFound.into());
        }
        let workspace = Some(self.shown_workspace(&id).await?);
        Ok(Response::new(v1::GetWorkspaceResponse { workspace }))
    }

    async fn update_workspace(
        &self,
        request: Request<v1::UpdateWorkspaceRequest>,
    ) -> Result<Response<v1::UpdateWorkspaceResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let id = request.id.parse().map_err(|_| Refused::WorkspaceNotFound)?;
        let name = name("name", &request.name)?;
        rename(&self.core, &asked, &id, &name).await?;
        let workspace = Some(self.shown_workspace(&id).await?);
        Ok(Response::new(v1::UpdateWorkspaceResponse { workspace }))
    }

    async fn close_workspace(
        &self,
        request: Request<v1::CloseWorkspaceRequest>,
    ) -> Result<Response<v1::CloseWorkspaceResponse>, Status> {
        let asked = asked(&request)?;
        let id = request.into_inner().id;
        if id == DEFAULT_WORKSPACE {
            let why = "the default workspace stays: it is where the configured token is at home";
            return Err(Refused::invalid("id", why).into());
        }
        let id = id.parse().map_err(|_| Refused::WorkspaceNotFound)?;
        close(&self.core, &asked, &id).await?;
        let workspace = Some(self.shown_workspace(&id).await?);
        Ok(Response::new(v1::CloseWorkspaceResponse { workspace }))
    }
}

impl Api {
    async fn shown_workspace(&self, id: &WorkspaceId) -> Result<v1::Workspace, Failure> {
        let found = Workspace::find(self.core.domains.store().read(), id).await?;
        Ok(shown(&found.ok_or(Refused::WorkspaceNotFound)?))
    }

    async fn workspaces_after(
        &self,
        caller: &Caller,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Workspace>, Failure> {
        let pool = self.core.domains.store().read();
        if caller.role >= Role::PlatformAdmin {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            return Ok(Workspace::list(pool, &Page { after: after.to_owned(), limit }).await?);
        }
        let theirs = self.theirs(caller).await?;
        let mut page = Vec::new();
        for id in theirs.iter().filter(|id| id.as_str() > after).take(limit) {
            page.extend(Workspace::find(pool, id).await?);
        }
        Ok(page)
    }

    /// The workspaces that a caller who is no Platform admin may know of: a person's all, a token's
    /// own.
    async fn theirs(&self, caller: &Caller) -> Result<BTreeSet<WorkspaceId>, Failure> {
        let own = caller.workspace.parse();
        let mut theirs: BTreeSet<WorkspaceId> = own.into_iter().collect();
        if let Ok(OwnerId::Person(id)) = caller.id.parse() {
            let pool = self.core.domains.store().read();
            if let Some(person) = Person::find(pool, &id).await? {
                theirs.extend(Places::of(person.given(pool).await?).all());
            }
        }
        Ok(theirs)
    }
}

async fn add(core: &Core, asked: &Asked, id: &WorkspaceId, name: &str) -> Result<(), Failure> {
    let store = core.domains.store();
    let mut write = store.write().await?;
    if core.audit.begin(&mut write, &asked.call).await? == Begun::Done {
        return Ok(());
    }
    let exists = || Refused::WorkspaceExists { workspace: id.to_string() };
    if Workspace::hold(&mut write, id, store.for_update()).await?.is_some() {
        return Err(exists().into());
    }
    match Workspace::insert(&mut write, id, name, core.clock.now()).await {
        // Another call was faster: PostgreSQL lets both look before either writes.
        Err(fault) if fault.is_unique_violation() => return Err(exists().into()),
        inserted => inserted?,
    }
    let record = record(asked, "workspace.add", id).after(json!({ "name": name }));
    core.audit.record(&mut write, record).await?;
    Ok(write.commit().await?)
}

async fn rename(core: &Core, asked: &Asked, id: &WorkspaceId, name: &str) -> Result<(), Failure> {
    let mut write = core.domains.store().write().await?;
    if core.audit.begin(&mut write, &asked.call).await? == Begun::Done {
        return Ok(());
    }
    let before = to_change(core, &mut write, id).await?;
    if before.closed_at.is_some() {
        return Err(Refused::WorkspaceClosed { workspace: id.clone() }.into());
    }
    if before.name == name {
        return Ok(());
    }
    Workspace::rename(&mut write, id, name).await?;
    let record = record(asked, "workspace.rename", id);
    let record = record.before(json!({ "name": before.name })).after(json!({ "name": name }));
    core.audit.record(&mut write, record).await?;
    Ok(write.commit().await?)
}

async fn close(core: &Core, asked: &Asked, id: &WorkspaceId) -> Result<(), Failure> {
    let mut write = core.domains.store().write().await?;
    if core.audit.begin(&mut write, &asked.call).await? == Begun::Done {
        return Ok(());
    }
    let before = to_change(core, &mut write, id).await?;
    if before.closed_at.is_some() {
        return Ok(());
    }
    if before.domains > 0 {
        let (workspace, domains) = (id.clone(), before.domains);
        return Err(Refused::WorkspaceHasDomains { workspace, domains }.into());
    }
    let admins = platform_admins(&mut write).await?;
    let now = core.clock.now();
    Workspace::close(&mut write, id, now).await?;
    admins_stay(&asked.caller, admins, platform_admins(&mut write).await?)?;
    let record = record(asked, "workspace.close", id);
    let record = record
        .before(json!({ "name": &before.name, "members": before.members }))
        .after(json!({ "name": &before.name, "closedAt": now.to_string() }));
    core.audit.record(&mut write, record).await?;
    Ok(write.commit().await?)
}

/// A workspace to change: neither it nor anybody's role changes meanwhile.
async fn to_change(core: &Core, write: &mut Write, id: &WorkspaceId) -> Result<Workspace, Failure> {
    hold_roles(core, write).await?;
    Workspace::hold(write, id, core.domains.store().for_update()).await?;
    let found = Workspace::find(&mut **write, id).await?;
    Ok(found.ok_or(Refused::WorkspaceNotFound)?)
}

/// Changes of roles come one after the other: two of them together could leave no Platform admin.
pub(super) async fn hold_roles(core: &Core, write: &mut Write) -> Result<(), Failure> {
    let default = DEFAULT_WORKSPACE.parse().map_err(|_| Refused::WorkspaceNotFound)?;
    Workspace::hold(write, &default, core.domains.store().for_update()).await?;
    Ok(())
}

/// An open workspace in which something is to change.
pub(super) async fn hold_open(
    core: &Core,
    write: &mut Write,
    id: &WorkspaceId,
) -> Result<(), Failure> {
    match Workspace::hold(write, id, core.domains.store().for_update()).await? {
        Some(false) => Ok(()),
        Some(true) => Err(Refused::WorkspaceClosed { workspace: id.clone() }.into()),
        None => Err(Refused::WorkspaceNotFound.into()),
    }
}

fn record(asked: &Asked, action: &str, id: &WorkspaceId) -> Record {
    Record::by_call(&asked.caller, &asked.call, action, id.as_str()).in_workspace(PLATFORM)
}

fn shown(workspace: &Workspace) -> v1::Workspace {
    v1::Workspace {
        id: workspace.id.to_string(),
        name: workspace.name.clone(),
        created_at: Some(to_wire(workspace.created_at)),
        closed_at: workspace.closed_at.map(to_wire),
        domains: workspace.domains,
        members: workspace.members,
    }
}
