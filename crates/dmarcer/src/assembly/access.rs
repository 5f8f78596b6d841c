//! Who may call what: the rules that the RPCs carry, and control, who knows the callers.

use std::sync::Arc;

use async_trait::async_trait;
use service::access::{Access, Identify, Known, Limits, Need, Rule, Rules, Unruled};
use service::caller::{Caller, Role, token_invalid};
use service::config::Secret;
use service::peer::Peer;
use tonic::{Code, Status};
use tracing::error;
use wire::access::{Need as WireNeed, Role as WireRole, Rpc};
use wire::control::IdentifyRequest;
use wire::control::identity_service_client::IdentityServiceClient;
use wire::status::unavailable;

/// What stands in front of every service: the fleet's own token is known here, all others by control.
pub(super) fn access(fleet: &Secret, control: Peer, limits: Limits) -> Result<Access, Unruled> {
    let services = Caller::new("service:fleet", "default", Role::Service);
    let known = Known::here([(fleet.expose().to_owned(), services)]);
    let known = known.or_ask(Arc::new(Control(IdentityServiceClient::new(control))));
    let rules = Rules::new(wire::access::rpcs().into_iter().map(rule))?;
    Ok(Access::new(rules, known, limits))
}

fn rule(rpc: Rpc) -> (String, Option<Rule>) {
    let need = match rpc.need {
        WireNeed::Unspecified => None,
        WireNeed::Nothing => Some(Need::Nothing),
        WireNeed::ReadOnly => Some(Need::Role(Role::ReadOnly)),
        WireNeed::DomainManager => Some(Need::Role(Role::DomainManager)),
        WireNeed::PlatformAdmin => Some(Need::Role(Role::PlatformAdmin)),
        WireNeed::Service => Some(Need::Role(Role::Service)),
    };
    let rule = need.map(|need| Rule {
        need,
        changes: rpc.changes,
        emergency: rpc.emergency,
        about: rpc.domain,
    });
    (rpc.path, rule)
}

/// Asks control whose a token is.
struct Control(IdentityServiceClient<Peer>);

#[async_trait]
impl Identify for Control {
    async fn identify(&self, token_hash: [u8; 32], workspace: &str) -> Result<Caller, Status> {
        let request =
            IdentifyRequest { token_hash: token_hash.to_vec(), workspace_id: workspace.to_owned() };
        let answer = self.0.clone().identify(request).await.map_err(said)?.into_inner();
        let identity = answer.identity.ok_or_else(token_invalid)?;
        let role = match identity.role() {
            WireRole::ReadOnly => Role::ReadOnly,
            WireRole::DomainManager => Role::DomainManager,
            WireRole::PlatformAdmin => Role::PlatformAdmin,
            WireRole::Unspecified => return Err(token_invalid()),
        };
        Ok(Caller {
            id: identity.id,
            name: identity.name,
            workspace: identity.workspace_id,
            role,
            domains: identity.domains,
            owner: identity.owner,
        })
    }
}

/// What control says of the caller is for the caller; anything else is ours.
fn said(status: Status) -> Status {
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::InvalidArgument => {
            let details = status.details().to_vec();
            Status::with_details(status.code(), status.message(), details.into())
        }
        // It listens before it has started.
        Code::Unimplemented => unavailable("control", "it is starting"),
        _ => {
            error!(%status, "control doesn't say whose a token is");
            unavailable("control", "it knows who you are")
        }
    }
}
