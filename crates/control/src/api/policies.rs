//! Policies: the way from testing to enforce, and back.

use std::collections::BTreeSet;

use hosting::{CheckId, Claim, Promote, Refusal, Set};
use mta_sts::MxPattern;
use serde_json::json;
use tonic::{Request, Response, Status};
use wire::control as v1;
use wire::control::policy_service_server::PolicyService;
use wire::status;

use super::{Api, asked, broken, expected, page_size, refused, target, told};
use crate::announce::spread;
use crate::change::{Action, Target};
use crate::facts;
use crate::sql::{ClaimRow, VersionRow};
use crate::to_wire;

/// More lines than this never make a policy; they are counted before they are parsed.
const MAX_MX_LINES: usize = 250;

#[tonic::async_trait]
impl PolicyService for Api {
    async fn get_policy(
        &self,
        request: Request<v1::GetPolicyRequest>,
    ) -> Result<Response<v1::GetPolicyResponse>, Status> {
        let asked = asked(&request)?;
        let target = target(asked, &request.into_inner().name)?;
        let row = self.core.domains.find(&target).await.map_err(told)?;
        Ok(Response::new(v1::GetPolicyResponse { policy: Some(shown(&row)?) }))
    }

    async fn list_policy_versions(
        &self,
        request: Request<v1::ListPolicyVersionsRequest>,
    ) -> Result<Response<v1::ListPolicyVersionsResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let target = target(asked, &request.name)?;
        let row = self.core.domains.find(&target).await.map_err(told)?;
        let by = &target.asked.caller;
        let list = ["ListPolicyVersions", target.domain.as_str()];
        let below = match self.place(by, &list, &request.page_token)? {
            None => i64::MAX.unsigned_abs(),
            Some(place) => place.parse().unwrap_or(0),
        };
        let size = page_size(request.page_size)?;
        let pool = self.core.domains.store().read();
        let rows = VersionRow::of_claim(pool, &row.claim.id, below, size + 1).await;
        let mut rows = rows.map_err(|e| broken(&e))?;
        let size = usize::try_from(size).unwrap_or(1);
        let more = rows.len() > size;
        rows.truncate(size);
        let last = rows.last().filter(|_| more);
        let last = last.map(|row| row.version.revision.to_string());
        let next_page_token = self.page_token(by, &list, last.as_deref());
        let items = rows.iter().map(to_wire::version).collect();
        Ok(Response::new(v1::ListPolicyVersionsResponse { items, next_page_token }))
    }

    async fn get_readiness(
        &self,
        request: Request<v1::GetReadinessRequest>,
    ) -> Result<Response<v1::GetReadinessResponse>, Status> {
        let asked = asked(&request)?;
        let target = target(asked, &request.into_inner().name)?;
        let row = self.core.domains.find(&target).await.map_err(told)?;
        let readiness = facts::readiness(&self.core, &row).await.map_err(|e| broken(&e))?;
        let readiness = to_wire::readiness(&row.claim, &readiness, self.core.clock.now());
        Ok(Response::new(v1::GetReadinessResponse { readiness: Some(readiness) }))
    }

    async fn promote_policy(
        &self,
        request: Request<v1::PromotePolicyRequest>,
    ) -> Result<Response<v1::PromotePolicyResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let target = target(asked, &request.name)?;
        let accepted: Result<BTreeSet<CheckId>, _> =
            request.accept.iter().map(|id| id.parse()).collect();
        let command = Promote {
            expected: expected(request.expected_revision)?,
            accepted: accepted.map_err(|why| refused(Refusal::UnknownCheck(why)))?,
        };
        let row = self.core.domains.find(&target).await.map_err(told)?;
        let readiness = facts::readiness(&self.core, &row).await.map_err(|e| broken(&e))?;

        let action = Action::with("policy.promote", json!({ "accepted": request.accept }));
        let promote = |claim: &Claim, fresh| claim.promote(&command, &readiness, fresh).map(Some);
        let row = self.core.domains.change(&target, action, promote).await.map_err(told)?;
        Ok(Response::new(v1::PromotePolicyResponse { policy: Some(shown(&row)?) }))
    }

    async fn revert_policy(
        &self,
        request: Request<v1::RevertPolicyRequest>,
    ) -> Result<Response<v1::RevertPolicyResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let expected = expected(request.expected_revision)?;
        let target = target(asked, &request.name)?;
        let revert = |claim: &Claim, fresh| claim.revert(expected, fresh).map(Some);
        let row = self.core.domains.change(&target, "policy.revert", revert).await.map_err(told)?;
        Ok(Response::new(v1::RevertPolicyResponse { policy: Some(shown(&row)?) }))
    }

    async fn plan_mx_refresh(
        &self,
        request: Request<v1::PlanMxRefreshRequest>,
    ) -> Result<Response<v1::PlanMxRefreshResponse>, Status> {
        let asked = asked(&request)?;
        let target = target(asked, &request.into_inner().name)?;
        let plan = self.plan(&target).await?;
        Ok(Response::new(v1::PlanMxRefreshResponse { plan: Some(plan) }))
    }

    async fn refresh_mx(
        &self,
        request: Request<v1::RefreshMxRequest>,
    ) -> Result<Response<v1::RefreshMxResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let target = target(asked, &request.name)?;
        let expected = expected(request.expected_revision)?;
        let before = self.core.domains.find(&target).await.map_err(told)?;
        let mx = self.core.peers.live_mx(&target.domain).await;

        let mut plan = None;
        let refresh = |claim: &Claim, fresh| {
            plan = Some(to_wire::plan(claim, &claim.plan_refresh(&mx)?));
            claim.refresh(expected, &mx, request.accept_removals, fresh)
        };
        let row =
            self.core.domains.change(&target, "policy.refresh-mx", refresh).await.map_err(told)?;
        let changed = row.claim.revision() != before.claim.revision();
        Ok(Response::new(v1::RefreshMxResponse { policy: Some(shown(&row)?), changed, plan }))
    }

    async fn set_policy(
        &self,
        request: Request<v1::SetPolicyRequest>,
    ) -> Result<Response<v1::SetPolicyResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let target = target(asked, &request.name)?;
        let expected = expected(request.expected_revision)?;
        let command = Set { max_age_seconds: request.max_age_seconds, mx: patterns(&request.mx)? };
        self.core.domains.find(&target).await.map_err(told)?;
        let mx = match &command.mx {
            Some(_) => Some(self.core.peers.live_mx(&target.domain).await),
            None => None,
        };

        let set = |claim: &Claim, fresh| claim.set(expected, &command, mx.as_ref(), fresh);
        let row = self.core.domains.change(&target, "policy.set", set).await.map_err(told)?;
        Ok(Response::new(v1::SetPolicyResponse { policy: Some(shown(&row)?) }))
    }

    async fn get_rollout(
        &self,
        request: Request<v1::GetRolloutRequest>,
    ) -> Result<Response<v1::GetRolloutResponse>, Status> {
        let asked = asked(&request)?;
        let target = target(asked, &request.into_inner().name)?;
        let row = self.core.domains.find(&target).await.map_err(told)?;
        let spread = spread(&self.core, &row.claim).await.map_err(|e| broken(&e))?;
        let rollout = to_wire::rollout(&row, spread).ok_or_else(|| hosting_off(&row))?;
        Ok(Response::new(v1::GetRolloutResponse { rollout: Some(rollout) }))
    }
}

impl Api {
    async fn plan(&self, target: &Target) -> Result<v1::MxPlan, Status> {
        let row = self.core.domains.find(target).await.map_err(told)?;
        let mx = self.core.peers.live_mx(&target.domain).await;
        let plan = row.claim.plan_refresh(&mx).map_err(refused)?;
        Ok(to_wire::plan(&row.claim, &plan))
    }
}

fn shown(row: &ClaimRow) -> Result<v1::Policy, Status> {
    to_wire::policy(row).ok_or_else(|| hosting_off(row))
}

fn hosting_off(row: &ClaimRow) -> Status {
    refused(Refusal::HostingOff { domain: row.claim.domain.clone() })
}

/// None to leave the lines as they are.
fn patterns(lines: &[String]) -> Result<Option<Vec<MxPattern>>, Status> {
    if lines.is_empty() {
        return Ok(None);
    }
    if lines.len() > MAX_MX_LINES {
        return Err(status::invalid("mx", "a policy has at most 250 mx lines"));
    }
    let parsed: Result<Vec<MxPattern>, _> =
        lines.iter().map(|line| line.to_lowercase().parse::<MxPattern>()).collect();
    let parsed = parsed.map_err(|why| status::invalid("mx", &why.to_string()))?;
    for pattern in &parsed {
        // `localhost` and `*.com` are names, and never the MX of anybody's domain.
        if !pattern.as_str().trim_start_matches("*.").contains('.') {
            let why = format!("{pattern} has too few labels: enter a host such as mx.example.org");
            return Err(status::invalid("mx", &why));
        }
    }
    Ok(Some(parsed))
}
