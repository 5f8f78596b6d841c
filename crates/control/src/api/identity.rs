//! Who calls.

use service::caller::{Role, caller};
use service::supervise::chain;
use tonic::{Request, Response, Status};
use tracing::error;
use wire::control as v1;
use wire::control::identity_service_server::IdentityService;
use wire::status;
use wire::time::to_wire;

use super::{Api, broken};
use crate::identity::{
    self, Failure, Owner, Purpose, identity_of, is_admin_token, memberships, role_to_wire,
};
use crate::sql::Workspace;

#[tonic::async_trait]
impl IdentityService for Api {
    async fn identify(
        &self,
        request: Request<v1::IdentifyRequest>,
    ) -> Result<Response<v1::IdentifyResponse>, Status> {
        let request = request.into_inner();
        let hash = request.token_hash.as_slice().try_into();
        let hash = hash.map_err(|_| status::invalid("token_hash", "it has to have 32 bytes"))?;
        let identified = identity::identify(&self.core, hash, &request.workspace_id).await;
        let identity = identified.map_err(|failure| match failure {
            Failure::Store(fault) => {
                // Not INTERNAL: whoever asked for somebody else's call is to ask again.
                error!(fault = chain(&fault), "a caller can't be looked up");
                status::unavailable("control", "its database does not answer")
            }
            failure => failure.into(),
        })?;
        Ok(Response::new(v1::IdentifyResponse { identity: Some(identity) }))
    }

    async fn who_am_i(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        let caller = caller(&request)?;
        let pool = self.core.domains.store().read();
        if caller.role == Role::Service || is_admin_token(&caller) {
            let memberships = self.own_membership(&caller).await?;
            let identity = Some(identity_of(caller));
            return Ok(Response::new(v1::WhoAmIResponse {
                identity,
                memberships,
                expires_at: None,
            }));
        }
        let token = self.in_use(&request).await?;
        let (owner, _) = token.owner.find(pool).await.map_err(|e| broken(&e))?;
        let memberships = match (&token.purpose, &owner) {
            (Purpose::SignIn, Owner::Person(places)) => memberships(places),
            (Purpose::SignIn, Owner::Admin) | (Purpose::Api { .. }, _) => {
                self.own_membership(&caller).await?
            }
        };
        Ok(Response::new(v1::WhoAmIResponse {
            identity: Some(identity_of(caller)),
            memberships,
            expires_at: Some(to_wire(token.life.expires_at)),
        }))
    }
}

impl Api {
    /// The one workspace that a caller is in.
    async fn own_membership(
        &self,
        caller: &service::caller::Caller,
    ) -> Result<Vec<v1::Membership>, Failure> {
        let Ok(id) = caller.workspace.parse() else { return Ok(Vec::new()) };
        let pool = self.core.domains.store().read();
        let workspace = Workspace::find(pool, &id).await?;
        let membership = workspace.map(|workspace| v1::Membership {
            workspace_id: workspace.id.to_string(),
            workspace_name: workspace.name,
            role: role_to_wire(caller.role).into(),
            domains: caller.domains.clone(),
        });
        Ok(membership.into_iter().collect())
    }
}
