//! What gives power is asked of control, never believed from the bus.

use std::time::Duration;

use hosting::Domain;
use service::peer::Peer;
use tonic::{Code, Request, Status};
use wire::control::claim_service_client::ClaimServiceClient;
use wire::control::{AuthorizeIssuanceRequest, GetExpectedRecordsRequest};

/// Both answers are one look into control's database.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Control, as far as we need it.
#[derive(Clone)]
pub(crate) struct Control(ClaimServiceClient<Peer>);

/// A workspace's hosted domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hosted {
    pub(crate) region: String,
    pub(crate) proven: bool,
}

impl Control {
    pub(crate) fn new(peer: Peer) -> Control {
        Control(ClaimServiceClient::new(peer))
    }

    /// The workspace for which a certificate may be ordered now; `None` when none may.
    pub(crate) async fn authorize(
        &self,
        domain: &str,
        region: &str,
    ) -> Result<Option<String>, Status> {
        let mut request = Request::new(AuthorizeIssuanceRequest {
            domain: domain.to_owned(),
            region_id: region.to_owned(),
        });
        request.set_timeout(ANSWER_TIMEOUT);
        let answer = self.0.clone().authorize_issuance(request).await?.into_inner();
        Ok(answer.allowed.then_some(answer.workspace_id))
    }

    /// A workspace's domain; `None` when it has none of that name.
    pub(crate) async fn hosted(
        &self,
        domain: &Domain,
        workspace: &str,
    ) -> Result<Option<Hosted>, Status> {
        let mut request = Request::new(GetExpectedRecordsRequest {
            domain: domain.to_string(),
            workspace_id: workspace.to_owned(),
        });
        request.set_timeout(ANSWER_TIMEOUT);
        match self.0.clone().get_expected_records(request).await {
            Ok(answer) => Ok(answer
                .into_inner()
                .records
                .map(|records| Hosted { region: records.region_id, proven: records.proven })),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }
}
