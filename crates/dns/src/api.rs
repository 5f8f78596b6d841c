//! The gRPC side.

use std::sync::Arc;
use std::time::Duration;

use hosting::{Domain, Refusal};
use service::caller::caller;
use service::clock::SharedClock;
use service::peer::Peer;
use service::supervise::{Fault, Signal, chain};
use store::Store;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};
use tracing::{error, warn};
use wire::bus::RecordsDocument;
use wire::control::GetExpectedRecordsRequest;
use wire::control::claim_service_client::ClaimServiceClient;
use wire::dns;
use wire::dns::record_service_server::RecordService;
use wire::status;
use wire::time::to_wire;

use crate::check::Checks;
use crate::expected::Expected;
use crate::inquiry::Lookup;
use crate::mx::{self, Mx};
use crate::proof;
use crate::show::show;
use crate::sql::{self, Watched};

/// How long control is waited for: what is stored here will do.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers callers.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) checks: Arc<Checks>,
    pub(crate) clock: SharedClock,
    pub(crate) control: Peer,
    pub(crate) verify: Signal,
}

#[tonic::async_trait]
impl RecordService for Api {
    async fn list_records(
        &self,
        request: Request<dns::ListRecordsRequest>,
    ) -> Result<Response<dns::ListRecordsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let domain = domain(&request.domain)?;
        let caller = caller.acting_for(request.workspace_id);
        let expected = self.expected(&caller.workspace, &domain).await?;
        let items = self.items(&expected).await?;
        Ok(Response::new(dns::ListRecordsResponse { items, next_page_token: String::new() }))
    }

    async fn check_records(
        &self,
        request: Request<dns::CheckRecordsRequest>,
    ) -> Result<Response<dns::CheckRecordsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let domain = domain(&request.domain)?;
        let caller = caller.acting_for(request.workspace_id);
        let expected = self.expected(&caller.workspace, &domain).await?;
        self.checks.check(&expected.claim_id).await.map_err(|fault| logged(&*fault))?;
        let items = self.items(&expected).await?;
        Ok(Response::new(dns::CheckRecordsResponse { items, next_page_token: String::new() }))
    }

    async fn lookup_mx(
        &self,
        request: Request<dns::LookupMxRequest>,
    ) -> Result<Response<dns::LookupMxResponse>, Status> {
        let domain = domain(&request.get_ref().domain)?;
        let found = mx::look_up(&self.lookup, &domain).await;
        let answer = |outcome: dns::MxOutcome, hosts, error| dns::LookupMxResponse {
            outcome: outcome.into(),
            hosts,
            error,
            looked_up_at: Some(to_wire(self.clock.now())),
        };
        Ok(Response::new(match found {
            Ok(Mx::Hosts(hosts)) => {
                let host =
                    |(preference, host)| dns::MxHost { preference: u32::from(preference), host };
                let hosts = hosts.into_iter().map(host).collect();
                answer(dns::MxOutcome::Hosts, hosts, String::new())
            }
            Ok(Mx::Null) => answer(dns::MxOutcome::NullMx, Vec::new(), String::new()),
            Ok(Mx::None) => answer(dns::MxOutcome::NoMx, Vec::new(), String::new()),
            Err(why) => answer(dns::MxOutcome::Failed, Vec::new(), why),
        }))
    }

    async fn observe_proof(
        &self,
        request: Request<dns::ObserveProofRequest>,
    ) -> Result<Response<dns::ObserveProofResponse>, Status> {
        let domain = domain(&request.get_ref().domain)?;
        let (servers, error) = match proof::observe(&self.lookup, &domain).await {
            Ok(observed) => (observed.into_iter().map(server_answer).collect(), String::new()),
            Err(why) => (Vec::new(), why.to_string()),
        };
        let observed_at = Some(to_wire(self.clock.now()));
        Ok(Response::new(dns::ObserveProofResponse { servers, error, observed_at }))
    }
}

impl Api {
    /// What a workspace's domain is to publish: as control has just committed it, or as it was
    /// last told here, where control is away.
    async fn expected(&self, workspace: &str, domain: &Domain) -> Result<Expected, Status> {
        let stored = match self.ask_control(workspace, domain).await {
            Ok(Some((document, revision))) => self.take(&document, revision).await?,
            Ok(None) => None,
            Err(away) => {
                let stored = sql::watched_domain(&self.store, workspace, domain.as_str()).await;
                match stored.map_err(|fault| logged(&fault))? {
                    Some(watched) => Some(watched),
                    None => return Err(away),
                }
            }
        };
        let watched = stored.ok_or_else(|| no_records(domain))?;
        Expected::from_document(watched.document).map_err(|fault| logged(&fault))
    }

    /// Control's answer; none when it knows of no records for this workspace.
    async fn ask_control(
        &self,
        workspace: &str,
        domain: &Domain,
    ) -> Result<Option<(RecordsDocument, u64)>, Status> {
        let mut request = Request::new(GetExpectedRecordsRequest {
            domain: domain.to_string(),
            workspace_id: workspace.to_owned(),
        });
        request.set_timeout(CONTROL_TIMEOUT);
        let mut control = ClaimServiceClient::new(self.control.clone());
        // The request's own limit covers no connecting.
        let asked = timeout(CONTROL_TIMEOUT, control.get_expected_records(request)).await;
        match asked.unwrap_or_else(|_| Err(Status::deadline_exceeded("it took too long"))) {
            Ok(response) => {
                let response = response.into_inner();
                let revision = response.revision;
                Ok(response.records.map(|records| (records, revision)))
            }
            // No such domain of theirs, or hosting is off.
            Err(refused)
                if [Code::NotFound, Code::FailedPrecondition].contains(&refused.code()) =>
            {
                Ok(None)
            }
            Err(away) => {
                warn!(code = %away.code(), why = away.message(), "control doesn't answer");
                Err(status::unavailable("control", "it knows which records to look for"))
            }
        }
    }

    /// Keeps control's answer if it is newer, and returns what is then kept.
    async fn take(
        &self,
        document: &RecordsDocument,
        revision: u64,
    ) -> Result<Option<Watched>, Status> {
        let claim_id = &document.claim_id;
        let kept = async {
            Expected::from_document(document.clone())?;
            let now = self.clock.now();
            if sql::take(&self.store, claim_id, revision, Some(document), now).await? {
                self.verify.wake();
            }
            Ok::<_, Fault>(sql::watched(&self.store, claim_id).await?)
        };
        kept.await.map_err(|fault| logged(&*fault))
    }

    async fn items(&self, expected: &Expected) -> Result<Vec<dns::Record>, Status> {
        let rows = sql::rows(self.store.read(), &expected.claim_id).await;
        let rows = rows.map_err(|fault| logged(&fault))?;
        Ok(show(expected, &rows))
    }
}

fn domain(input: &str) -> Result<Domain, Status> {
    Domain::parse(input).map_err(|wrong| status::refusal(&Refusal::InvalidDomain(wrong)))
}

fn no_records(domain: &Domain) -> Status {
    let message = format!(
        "there are no records to publish for {domain}: add the domain and activate hosting first"
    );
    let metadata = [("domain".to_owned(), domain.to_string())].into();
    status::with_reason(Code::NotFound, "NOT_FOUND", &message, metadata)
}

fn server_answer(observed: proof::Observed) -> dns::ServerAnswer {
    let server = observed.server;
    match observed.found {
        Ok((cname_target, proof_txt)) => {
            dns::ServerAnswer { server, cname_target, proof_txt, error: String::new() }
        }
        Err(why) => dns::ServerAnswer { server, error: why.to_string(), ..Default::default() },
    }
}

/// Logs a fault once, and tells the caller nothing of it.
fn logged(fault: &(dyn std::error::Error + 'static)) -> Status {
    error!(fault = chain(fault), "a call failed");
    status::internal()
}
