//! gRPC: who calls, what they ask, and the answer. Each handler gathers, decides, commits.

mod claims;
mod domains;
mod fleet;
mod policies;
pub(crate) mod regions;

use std::sync::Arc;

use hosting::{Domain, Refusal, Revision, WorkspaceId};
use service::caller::{Authenticator, Caller};
use service::grpc::Services;
use service::supervise::chain;
use store::StoreError;
use tonic::Status;
use tracing::error;
use wire::control as v1;
use wire::status;

use crate::Core;
use crate::change::{ChangeError, Target};

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

    pub(crate) async fn add_to(&self, services: &mut Services, auth: &Authenticator) {
        use v1::claim_service_server::ClaimServiceServer;
        use v1::domain_service_server::DomainServiceServer;
        use v1::fleet_service_server::FleetServiceServer;
        use v1::policy_service_server::PolicyServiceServer;
        use v1::region_service_server::RegionServiceServer;
        let api = || self.clone();
        services.add(RegionServiceServer::with_interceptor(api(), auth.clone())).await;
        services.add(DomainServiceServer::with_interceptor(api(), auth.clone())).await;
        services.add(PolicyServiceServer::with_interceptor(api(), auth.clone())).await;
        services.add(FleetServiceServer::with_interceptor(api(), auth.clone())).await;
        services.add(ClaimServiceServer::with_interceptor(api(), auth.clone())).await;
    }
}

/// A change's error as a status: refusals as they are, faults logged and kept inside.
fn told(error: ChangeError) -> Status {
    match error {
        ChangeError::Refused(refusal) => status::refusal(&refusal),
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

/// The domain that a call is about.
fn target(caller: Caller, name: &str) -> Result<Target, Status> {
    let workspace = workspace(&caller.workspace)?;
    Ok(Target { workspace, domain: domain(name)?, by: caller.name })
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

fn not_our_token() -> Status {
    status::invalid("page_token", "it is not one of ours: start again without one")
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
