//! gRPC: who calls, what they ask, and the answer. Each handler gathers, decides, commits.

mod audit;
mod claims;
mod domains;
mod fleet;
mod identity;
mod members;
mod policies;
pub(crate) mod regions;
mod sign_in;
mod tokens;
mod workspaces;

use std::sync::Arc;

use ::audit::Once;
use hosting::{Domain, Refusal, Revision, WorkspaceId};
use service::caller::{Caller, call};
use service::grpc::Services;
use service::supervise::chain;
use store::StoreError;
use tonic::{Request, Status};
use tracing::error;
use wire::control as v1;
use wire::status;

use crate::Core;
use crate::change::{Asked, ChangeError, Target};

/// A page has at most so many items; a larger wish is cut, not refused.
const MAX_PAGE: i32 = 1000;
/// What a caller gets who does not say.
const DEFAULT_PAGE: i32 = 100;

/// Answers control's gRPC services.
#[derive(Clone)]
pub(crate) struct Api {
    core: Arc<Core>,
}

impl Api {
    pub(crate) fn new(core: Arc<Core>) -> Api {
        Api { core }
    }

    pub(crate) async fn add_to(&self, services: &mut Services) {
        use v1::audit_service_server::AuditServiceServer;
        use v1::claim_service_server::ClaimServiceServer;
        use v1::domain_service_server::DomainServiceServer;
        use v1::fleet_service_server::FleetServiceServer;
        use v1::identity_service_server::IdentityServiceServer;
        use v1::member_service_server::MemberServiceServer;
        use v1::policy_service_server::PolicyServiceServer;
        use v1::region_service_server::RegionServiceServer;
        use v1::sign_in_service_server::SignInServiceServer;
        use v1::token_service_server::TokenServiceServer;
        use v1::workspace_service_server::WorkspaceServiceServer;
        let (api, audit) = (|| self.clone(), || self.core.audit.clone());
        services.add(Once::new(RegionServiceServer::new(api()), audit())).await;
        services.add(Once::new(DomainServiceServer::new(api()), audit())).await;
        services.add(Once::new(PolicyServiceServer::new(api()), audit())).await;
        services.add(Once::new(WorkspaceServiceServer::new(api()), audit())).await;
        services.add(Once::new(MemberServiceServer::new(api()), audit())).await;
        services.add(Once::new(TokenServiceServer::new(api()), audit())).await;
        services.add(IdentityServiceServer::new(api())).await;
        services.add(FleetServiceServer::new(api())).await;
        services.add(ClaimServiceServer::new(api())).await;
        services.add(SignInServiceServer::new(api())).await;
        services.add(AuditServiceServer::new(api())).await;
    }
}

/// A change's error as a status: refusals as they are, faults logged and kept inside.
fn told(error: ChangeError) -> Status {
    match error {
        ChangeError::Refused(refusal) => status::refusal(&refusal),
        ChangeError::Marked(wrong) => wrong.into(),
        ChangeError::NotHere(refused) => refused.into(),
        ChangeError::Store(fault) => broken(&fault),
    }
}

fn refused(refusal: impl Into<Refusal>) -> Status {
    status::refusal(&refusal.into())
}

fn broken(fault: &StoreError) -> Status {
    error!(fault = chain(fault), "the database failed a call");
    status::internal()
}

/// Who asks, and with which call.
fn asked<T>(request: &Request<T>) -> Result<Asked, Status> {
    let (caller, call) = call(request)?;
    Ok(Asked { caller, call })
}

/// The domain that a call is about.
fn target(asked: Asked, name: &str) -> Result<Target, Status> {
    let workspace = workspace(&asked.caller.workspace)?;
    Ok(Target { workspace, domain: domain(name)?, asked })
}

fn workspace(id: &str) -> Result<WorkspaceId, Status> {
    id.parse().map_err(|why| refused(Refusal::InvalidName(why)))
}

fn domain(name: &str) -> Result<Domain, Status> {
    Domain::parse(name).map_err(|why| refused(Refusal::InvalidDomain(why)))
}

/// 0 expects nothing.
fn expected(revision: u64) -> Result<Option<Revision>, Status> {
    match revision {
        0 => Ok(None),
        revision => {
            Revision::new(revision).map(Some).map_err(|why| refused(Refusal::InvalidName(why)))
        }
    }
}

impl Api {
    /// The place after which a caller's page begins, before which there was nothing yet: none.
    /// `list` names the call and all by which it picks.
    fn place(&self, by: &Caller, list: &[&str], token: &str) -> Result<Option<String>, Status> {
        let place = self.core.pages.read(by, list, token);
        place.map_err(|why| status::invalid("page_token", &why.to_string()))
    }

    /// The token of the page after `place`; empty where there is none.
    fn page_token(&self, by: &Caller, list: &[&str], place: Option<&str>) -> String {
        place.map(|place| self.core.pages.write(by, list, place)).unwrap_or_default()
    }
}

fn page_size(asked: i32) -> Result<i64, Status> {
    match asked {
        0 => Ok(DEFAULT_PAGE.into()),
        1.. => Ok(asked.min(MAX_PAGE).into()),
        _ => Err(status::invalid(
            "page_size",
            "it can't be negative: leave it out, or ask for 1 to 1000",
        )),
    }
}
