//! The issuer's part of the audit log, as control asks for it to show the whole.

use audit::Audit;
use audit::to_wire::filter;
use service::caller::caller;
use service::supervise::chain as causes;
use store::StoreError;
use tonic::{Request, Response, Status};
use tracing::error;
use wire::issuer::audit_trail_service_server::AuditTrailService;
use wire::issuer::{
    ListAuditTrailRequest, ListAuditTrailResponse, VerifyAuditTrailRequest,
    VerifyAuditTrailResponse,
};
use wire::status::{internal, invalid};

/// A page as people ask for it has at most 1,000 records; one more tells whether there are more.
const MOST_RECORDS: u32 = 1_001;

/// Answers control.
pub(crate) struct Trail {
    pub(crate) audit: Audit,
}

#[tonic::async_trait]
impl AuditTrailService for Trail {
    async fn list_audit_trail(
        &self,
        request: Request<ListAuditTrailRequest>,
    ) -> Result<Response<ListAuditTrailResponse>, Status> {
        caller(&request)?;
        let request = request.into_inner();
        if request.workspace_id.is_empty() {
            return Err(invalid("workspace_id", "say whose records"));
        }
        let filter = filter(request.filter)?;
        let limit = limit(request.limit)?;
        let before = request.before.map(|place| (place.at_milliseconds, place.sequence));

        let listed = self.audit.list(&request.workspace_id, &filter, before, limit).await;
        let listed = listed.map_err(fault)?;
        let items = listed.iter().map(|entry| self.audit.record_to_wire(entry)).collect();
        Ok(Response::new(ListAuditTrailResponse { items }))
    }

    async fn verify_audit_trail(
        &self,
        request: Request<VerifyAuditTrailRequest>,
    ) -> Result<Response<VerifyAuditTrailResponse>, Status> {
        caller(&request)?;
        let workspace = request.into_inner().workspace_id;
        let chains = match workspace.as_str() {
            "" => self.audit.verify_all().await,
            one => self.audit.verify(one).await.map(|chain| vec![chain]),
        };
        let chains = chains.map_err(fault)?;
        let items = chains.iter().map(|chain| self.audit.chain_to_wire(chain)).collect();
        Ok(Response::new(VerifyAuditTrailResponse { items }))
    }
}

fn limit(asked: i32) -> Result<u32, Status> {
    let limit = u32::try_from(asked).ok().filter(|limit| (1..=MOST_RECORDS).contains(limit));
    limit.ok_or_else(|| invalid("limit", "ask for 1 to 1001"))
}

fn fault(fault: StoreError) -> Status {
    error!(fault = causes(&fault), "the audit records can't be read");
    internal()
}
