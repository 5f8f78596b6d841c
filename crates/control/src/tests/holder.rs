//! Somebody with a token, who calls as the layer in front of the handlers lets them.

use hosting::Domain;
use service::access::token_hash;
use service::caller::{Call, Caller, IdempotencyKey, Role};
use tonic::{Request, Status};
use wire::access;
use wire::control as v1;
use wire::control::identity_service_server::IdentityService;
use wire::control::member_service_server::MemberService;
use wire::control::token_service_server::TokenService;
use wire::control::workspace_service_server::WorkspaceService;

use super::world::World;
use crate::identity::{Grant, SignedIn, sign_in};

/// Whoever holds a token.
#[derive(Clone)]
pub(super) struct Holder<'a> {
    world: &'a World,
    pub(super) token: String,
    workspace: String,
}

pub(super) fn to_wire(role: Role) -> i32 {
    match role {
        Role::ReadOnly => access::Role::ReadOnly.into(),
        Role::DomainManager => access::Role::DomainManager.into(),
        Role::PlatformAdmin | Role::Service => access::Role::PlatformAdmin.into(),
    }
}

pub(super) fn from_wire(role: i32) -> Role {
    match access::Role::try_from(role).unwrap() {
        access::Role::ReadOnly => Role::ReadOnly,
        access::Role::DomainManager => Role::DomainManager,
        access::Role::PlatformAdmin => Role::PlatformAdmin,
        access::Role::Unspecified => panic!("no role"),
    }
}

/// A role that the sign-in provider gives.
pub(super) fn granted(workspace: &str, role: Role, domains: &[&str]) -> Grant {
    let domains = domains.iter().map(|name| Domain::parse(name).unwrap()).collect();
    Grant { workspace: workspace.parse().unwrap(), role, domains }
}

impl World {
    /// Whoever holds the token in the configuration.
    pub(super) fn admin(&self) -> Holder<'_> {
        self.holder("admin")
    }

    pub(super) fn holder(&self, token: &str) -> Holder<'_> {
        Holder { world: self, token: token.to_owned(), workspace: String::new() }
    }

    pub(super) async fn add_workspace(&self, id: &str) {
        let call = v1::AddWorkspaceRequest { id: id.to_owned(), name: String::new() };
        let request = self.admin().request(call).await.unwrap();
        self.api.add_workspace(request).await.unwrap();
    }

    pub(super) async fn add_member(&self, workspace: &str, who: &str, role: Role, named: &[&str]) {
        let call = v1::AddMemberRequest {
            who: who.to_owned(),
            role: to_wire(role),
            domains: named.iter().map(|&name| name.to_owned()).collect(),
        };
        let request = self.admin().within(workspace).request(call).await.unwrap();
        self.api.add_member(request).await.unwrap();
    }

    pub(super) async fn set_member(&self, workspace: &str, who: &str, role: Role, named: &[&str]) {
        let call = v1::UpdateMemberRequest {
            who: who.to_owned(),
            role: to_wire(role),
            domains: named.iter().map(|&name| name.to_owned()).collect(),
        };
        let request = self.admin().within(workspace).request(call).await.unwrap();
        self.api.update_member(request).await.unwrap();
    }

    pub(super) async fn remove_member(&self, workspace: &str, who: &str) {
        let call = v1::RemoveMemberRequest { who: who.to_owned() };
        let request = self.admin().within(workspace).request(call).await.unwrap();
        self.api.remove_member(request).await.unwrap();
    }

    /// Everybody in a workspace.
    pub(super) async fn members(&self, workspace: &str) -> Vec<v1::Member> {
        let call = v1::ListMembersRequest::default();
        let request = self.admin().within(workspace).request(call).await.unwrap();
        self.api.list_members(request).await.unwrap().into_inner().items
    }

    pub(super) async fn workspace(&self, id: &str) -> v1::Workspace {
        let call = v1::GetWorkspaceRequest { id: id.to_owned() };
        let request = self.admin().request(call).await.unwrap();
        self.api.get_workspace(request).await.unwrap().into_inner().workspace.unwrap()
    }

    /// Records of a chain whose action begins so, oldest first.
    pub(super) async fn actions(&self, chain: &str, action: &str) -> Vec<audit::Entry> {
        let all = audit::Filter::default();
        let mut entries = self.core.audit.list(chain, &all, None, 1000).await.unwrap();
        entries.retain(|entry| entry.action.starts_with(action));
        entries.reverse();
        entries
    }

    /// A person of the provider signs in. Their subject is their name.
    pub(super) async fn try_sign_in(
        &self,
        name: &str,
        email: Option<&str>,
        granted: Vec<Grant>,
    ) -> Result<Holder<'_>, Status> {
        let signed_in = SignedIn {
            issuer: "https://provider.test".to_owned(),
            subject: name.to_owned(),
            email: email.map(str::to_owned),
            name: name.to_owned(),
            granted,
        };
        let nobody = Call { caller: None, ..Call::from_here(Caller::new("", "", Role::ReadOnly)) };
        let new = sign_in(&self.core, signed_in, &nobody).await?;
        Ok(self.holder(new.token.expose()))
    }

    /// A person with the address `<name>@example.org` signs in, of whom the provider says nothing more.
    pub(super) async fn sign_in(&self, name: &str) -> Holder<'_> {
        let email = format!("{name}@example.org");
        self.try_sign_in(name, Some(&email), Vec::new()).await.unwrap()
    }
}

impl<'a> Holder<'a> {
    /// The same token, asking for a workspace.
    pub(super) fn within(&self, workspace: &str) -> Holder<'a> {
        Holder { workspace: workspace.to_owned(), ..self.clone() }
    }

    pub(super) async fn identity(&self) -> Result<v1::Identity, Status> {
        let call = v1::IdentifyRequest {
            token_hash: token_hash(&self.token).to_vec(),
            workspace_id: self.workspace.clone(),
        };
        let identified = self.world.api.identify(Request::new(call)).await?;
        Ok(identified.into_inner().identity.unwrap())
    }

    pub(super) async fn caller(&self) -> Result<Caller, Status> {
        let identity = self.identity().await?;
        Ok(Caller {
            id: identity.id,
            name: identity.name,
            workspace: identity.workspace_id,
            role: from_wire(identity.role),
            domains: identity.domains,
            owner: identity.owner,
        })
    }

    /// A call with this token.
    pub(super) async fn request<T>(&self, message: T) -> Result<Request<T>, Status> {
        let caller = self.caller().await?;
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request.extensions_mut().insert(Call::from_here(caller));
        Ok(request)
    }

    /// A call that is to be made once, however often it is asked for.
    pub(super) async fn marked<T>(&self, message: T, key: u8) -> Request<T> {
        let mut request = self.request(message).await.unwrap();
        let call = request.extensions_mut().get_mut::<Call>().unwrap();
        let (key_hash, request_hash, sealing) = ([key; 32], [1; 32], [1; 32]);
        call.once = Some(IdempotencyKey { key_hash, request_hash, sealing });
        request
    }

    pub(super) async fn create(
        &self,
        wanted: v1::CreateTokenRequest,
    ) -> Result<v1::CreateTokenResponse, Status> {
        let request = self.request(wanted).await?;
        Ok(self.world.api.create_token(request).await?.into_inner())
    }

    /// An API token with a role, and its id.
    pub(super) async fn make(&self, role: Role) -> (Holder<'a>, String) {
        self.make_for(role, &[]).await
    }

    pub(super) async fn make_for(&self, role: Role, domains: &[&str]) -> (Holder<'a>, String) {
        let wanted = v1::CreateTokenRequest {
            name: "CI".to_owned(),
            role: to_wire(role),
            domains: domains.iter().map(|&name| name.to_owned()).collect(),
            expires_after_seconds: 0,
        };
        let made = self.create(wanted).await.unwrap();
        (self.world.holder(&made.secret), made.token.unwrap().id)
    }

    pub(super) async fn tokens(&self, all: bool) -> Vec<v1::Token> {
        let call = v1::ListTokensRequest { all, ..Default::default() };
        let request = self.request(call).await.unwrap();
        self.world.api.list_tokens(request).await.unwrap().into_inner().items
    }

    pub(super) async fn get_token(&self, id: &str) -> Result<v1::Token, Status> {
        let request = self.request(v1::GetTokenRequest { id: id.to_owned() }).await?;
        let shown = self.world.api.get_token(request).await?.into_inner();
        Ok(shown.token.unwrap())
    }

    pub(super) async fn revoke(
        &self,
        id: &str,
        made_with_it_too: bool,
    ) -> Result<v1::RevokeTokenResponse, Status> {
        let call = v1::RevokeTokenRequest { id: id.to_owned(), made_with_it_too };
        let request = self.request(call).await?;
        Ok(self.world.api.revoke_token(request).await?.into_inner())
    }

    pub(super) async fn who_am_i(&self) -> v1::WhoAmIResponse {
        let request = self.request(v1::WhoAmIRequest {}).await.unwrap();
        self.world.api.who_am_i(request).await.unwrap().into_inner()
    }
}
