//! For the fleet's own services: what gives power is asked here.

use hosting::{Refusal, State};
use tonic::{Request, Response, Status};
use wire::control as v1;
use wire::control::claim_service_server::ClaimService;
use wire::{Message, bus, status};

use super::{Api, asked, broken, domain, refused, target, told};
use crate::change::RECORDS_BUCKET;
use crate::sql::{ClaimRow, Document};

#[tonic::async_trait]
impl ClaimService for Api {
    async fn authorize_issuance(
        &self,
        request: Request<v1::AuthorizeIssuanceRequest>,
    ) -> Result<Response<v1::AuthorizeIssuanceResponse>, Status> {
        let request = request.into_inner();
        let name = domain(&request.domain)?;
        let owner = ClaimRow::owner_of(self.core.domains.store().read(), &name).await;
        let owner = owner.map_err(|e| broken(&e))?.filter(|row| row.claim.is_proven());
        let hosted = |row: &ClaimRow| {
            let hosting = row.claim.hosting.as_ref();
            hosting.is_some_and(|hosting| hosting.region.as_str() == request.region_id)
                && row.claim.state() != State::Off
        };
        Ok(Response::new(match owner {
            None => v1::AuthorizeIssuanceResponse::default(),
            Some(row) => v1::AuthorizeIssuanceResponse {
                allowed: hosted(&row),
                claim_id: row.claim.id.to_string(),
                workspace_id: row.claim.workspace.to_string(),
            },
        }))
    }

    async fn get_expected_records(
        &self,
        request: Request<v1::GetExpectedRecordsRequest>,
    ) -> Result<Response<v1::GetExpectedRecordsResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let target = target(asked.acting_for(request.workspace_id), &request.domain)?;
        let row = self.core.domains.find(&target).await.map_err(told)?;
        let pool = self.core.domains.store().read();
        let document = Document::find(pool, RECORDS_BUCKET, row.claim.id.as_str()).await;
        let document = document.map_err(|e| broken(&e))?;
        let Some((payload, revision)) =
            document.and_then(|document| Some((document.payload?, document.revision)))
        else {
            return Err(refused(Refusal::HostingOff { domain: target.domain }));
        };
        let records = bus::RecordsDocument::decode(payload.as_slice());
        let records = records.map_err(|_| status::internal())?;
        Ok(Response::new(v1::GetExpectedRecordsResponse { records: Some(records), revision }))
    }
}
