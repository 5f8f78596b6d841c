//! People in a workspace.

use audit::{Begun, Record};
use hosting::WorkspaceId;
use store::Write;
use tonic::{Request, Response, Status};
use wire::control as v1;
use wire::control::member_service_server::MemberService;
use wire::time::to_wire;

use super::workspaces::{hold_open, hold_roles};
use super::{Api, asked, page_size, workspace};
use crate::Core;
use crate::change::Asked;
use crate::identity::{Failure, Power, Refused, admins_stay, power, role_to_wire, who};
use crate::sql::{Held, Member, Page, platform_admins};

const LIST: &[&str] = &["ListMembers"];

#[tonic::async_trait]
impl MemberService for Api {
    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<Response<v1::AddMemberResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let member = self.member(&asked, &request.who, request.role, &request.domains)?;
        add(&self.core, &asked, &member).await?;
        let member = Some(self.shown_member(&member).await?);
        Ok(Response::new(v1::AddMemberResponse { member }))
    }

    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        let caller = asked(&request)?.caller;
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let after = self.place(&caller, LIST, &request.page_token)?.unwrap_or_default();
        // One more than asked for tells whether there is another page.
        let page = Page { after, limit: size + 1 };
        let pool = self.core.domains.store().read();
        let held = Held::list(pool, &workspace(&caller.workspace)?, &page).await;
        let held = held.map_err(Failure::from)?;
        let mut items: Vec<v1::Member> =
            held.chunk_by(|one, next| one.who == next.who).map(shown).collect();
        let size = usize::try_from(size).unwrap_or(1);
        let more = items.len() > size;
        items.truncate(size);
        let last = items.last().filter(|_| more).map(|member| member.who.as_str());
        let next_page_token = self.page_token(&caller, LIST, last);
        Ok(Response::new(v1::ListMembersResponse { items, next_page_token }))
    }

    async fn update_member(
        &self,
        request: Request<v1::UpdateMemberRequest>,
    ) -> Result<Response<v1::UpdateMemberResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let member = self.member(&asked, &request.who, request.role, &request.domains)?;
        change(&self.core, &asked, &member).await?;
        let member = Some(self.shown_member(&member).await?);
        Ok(Response::new(v1::UpdateMemberResponse { member }))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let asked = asked(&request)?;
        let workspace = workspace(&asked.caller.workspace)?;
        let who = who(&request.into_inner().who)?;
        remove(&self.core, &asked, &workspace, &who).await?;
        Ok(Response::new(v1::RemoveMemberResponse {}))
    }
}

impl Api {
    fn member(
        &self,
        asked: &Asked,
        name: &str,
        role: i32,
        domains: &[String],
    ) -> Result<Member, Status> {
        Ok(Member {
            workspace: workspace(&asked.caller.workspace)?,
            who: who(name)?,
            power: power(role, domains)?,
            added_at: self.core.clock.now(),
            added_by: asked.caller.name.clone(),
        })
    }

    async fn shown_member(&self, member: &Member) -> Result<v1::Member, Failure> {
        let pool = self.core.domains.store().read();
        let held = Held::of(pool, &member.workspace, &member.who).await?;
        if held.is_empty() {
            return Err(Refused::MemberNotFound { who: member.who.clone() }.into());
        }
        Ok(shown(&held))
    }
}

async fn add(core: &Core, asked: &Asked, member: &Member) -> Result<(), Failure> {
    let mut write = core.domains.store().write().await?;
    if core.audit.begin(&mut write, &asked.call).await? == Begun::Done {
        return Ok(());
    }
    hold_open(core, &mut write, &member.workspace).await?;
    if Member::find(&mut write, &member.workspace, &member.who).await?.is_some() {
        return Err(Refused::MemberExists { who: member.who.clone() }.into());
    }
    member.insert(&mut write).await?;
    let record = record(asked, "member.add", &member.who).after(member.power.recorded());
    core.audit.record(&mut write, record).await?;
    Ok(write.commit().await?)
}

async fn change(core: &Core, asked: &Asked, member: &Member) -> Result<(), Failure> {
    let mut write = core.domains.store().write().await?;
    if core.audit.begin(&mut write, &asked.call).await? == Begun::Done {
        return Ok(());
    }
    hold_roles(core, &mut write).await?;
    hold_open(core, &mut write, &member.workspace).await?;
    let Some(before) = Member::find(&mut write, &member.workspace, &member.who).await? else {
        return Err(not_added(&mut write, member).await?.into());
    };
    if before.power == member.power {
        return Ok(());
    }
    let admins = platform_admins(&mut write).await?;
    member.update(&mut write).await?;
    admins_stay(&asked.caller, admins, platform_admins(&mut write).await?)?;
    let record = record(asked, "member.change", &member.who);
    let record = record.before(before.power.recorded()).after(member.power.recorded());
    core.audit.record(&mut write, record).await?;
    Ok(write.commit().await?)
}

/// Why somebody can't be changed who was not added here.
async fn not_added(write: &mut Write, member: &Member) -> Result<Refused, Failure> {
    let who = member.who.clone();
    let of_provider = Held::of(&mut **write, &member.workspace, &who).await?;
    Ok(match of_provider.is_empty() {
        true => Refused::MemberNotFound { who },
        false => Refused::MemberOfProvider { who },
    })
}

async fn remove(
    core: &Core,
    asked: &Asked,
    workspace: &WorkspaceId,
    who: &str,
) -> Result<(), Failure> {
    let mut write = core.domains.store().write().await?;
    if core.audit.begin(&mut write, &asked.call).await? == Begun::Done {
        return Ok(());
    }
    hold_roles(core, &mut write).await?;
    hold_open(core, &mut write, workspace).await?;
    let held = Held::of(&mut *write, workspace, who).await?;
    let Some(power) = highest(&held) else {
        return Err(Refused::MemberNotFound { who: who.to_owned() }.into());
    };
    let admins = platform_admins(&mut write).await?;
    Held::remove(&mut write, workspace, who).await?;
    admins_stay(&asked.caller, admins, platform_admins(&mut write).await?)?;
    let record = record(asked, "member.remove", who).before(power.recorded());
    core.audit.record(&mut write, record).await?;
    Ok(write.commit().await?)
}

fn record(asked: &Asked, action: &str, who: &str) -> Record {
    Record::by_call(&asked.caller, &asked.call, action, who)
}

fn highest(held: &[Held]) -> Option<Power> {
    held.iter().map(|held| held.power.clone()).reduce(Power::or)
}

/// A member of all their roles, of which there is one at least. Those that were given here come first,
/// and tell when and by whom.
fn shown(held: &[Held]) -> v1::Member {
    let power = highest(held).unwrap_or(Power::ReadOnly);
    let added_here = held.iter().filter(|held| !held.of_provider);
    let here = added_here.map(|held| held.power.clone()).reduce(Power::or);
    let source = match here {
        Some(here) if here == power => v1::MemberSource::Added,
        _ => v1::MemberSource::Provider,
    };
    let first = held.first();
    let name = held.iter().map(|held| &held.name).find(|name| !name.is_empty());
    v1::Member {
        who: first.map(|held| held.who.clone()).unwrap_or_default(),
        role: role_to_wire(power.role()).into(),
        domains: power.domains(),
        source: source.into(),
        name: name.cloned().unwrap_or_default(),
        added_at: first.map(|held| to_wire(held.added_at)),
        added_by: first.map(|held| held.added_by.clone()).unwrap_or_default(),
        last_seen_at: held.iter().filter_map(|held| held.last_seen_at).max().map(to_wire),
    }
}
