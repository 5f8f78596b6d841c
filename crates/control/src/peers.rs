//! What control asks the other services.

use std::time::Duration;

use hosting::{Answer, Claim, Domain, LiveMx, MxHost, Observed};
use jiff::Timestamp;
use service::peer::Peer;
use tonic::{Code, Request, Status};
use wire::audit::{AuditChain, AuditFilter, AuditRecord};
use wire::dns::record_service_client::RecordServiceClient;
use wire::intake::activity_service_client::ActivityServiceClient;
use wire::issuer::audit_trail_service_client::AuditTrailServiceClient;
use wire::issuer::certificate_service_client::CertificateServiceClient;
use wire::time::from_wire;
use wire::{control, dns, intake, issuer};

/// A service that hangs is taken for one that does not answer after this long.
const PATIENCE: Duration = Duration::from_secs(2);

/// The services that control calls.
pub(crate) struct Peers {
    dns: RecordServiceClient<Peer>,
    issuer: CertificateServiceClient<Peer>,
    issuer_audit: AuditTrailServiceClient<Peer>,
    intake: ActivityServiceClient<Peer>,
}

/// A certificate as far as control cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) not_after: Option<Timestamp>,
    /// Place in the region's feed of certificates.
    pub(crate) position: u64,
}

/// A peer gave no answer; says why, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{service} isn't answering: {why}")]
pub(crate) struct NoAnswer {
    pub(crate) service: &'static str,
    pub(crate) why: String,
}

impl Peers {
    pub(crate) fn new(dns: Peer, issuer: Peer, intake: Peer) -> Peers {
        Peers {
            dns: RecordServiceClient::new(dns),
            issuer: CertificateServiceClient::new(issuer.clone()),
            issuer_audit: AuditTrailServiceClient::new(issuer),
            intake: ActivityServiceClient::new(intake),
        }
    }

    /// The MX of a domain, now. That nobody could look is one of the answers.
    pub(crate) async fn live_mx(&self, domain: &Domain) -> LiveMx {
        let request = dns::LookupMxRequest { domain: domain.to_string() };
        let response = match self.dns.clone().lookup_mx(request).await {
            Ok(response) => response.into_inner(),
            Err(status) => return LiveMx::Failed { why: no_answer("dns", &status).to_string() },
        };
        match response.outcome() {
            dns::MxOutcome::Hosts => {
                let hosts = response.hosts.into_iter().map(|host| MxHost {
                    preference: u16::try_from(host.preference).unwrap_or(u16::MAX),
                    host: host.host,
                });
                LiveMx::Hosts(hosts.collect())
            }
            dns::MxOutcome::NullMx => LiveMx::Null,
            dns::MxOutcome::NoMx => LiveMx::None,
            dns::MxOutcome::Failed | dns::MxOutcome::Unspecified => {
                LiveMx::Failed { why: response.error }
            }
        }
    }

    /// What each of the zone's name servers says about the names that can prove a claim.
    pub(crate) async fn observe_proof(&self, domain: &Domain) -> Result<Observed, NoAnswer> {
        let request = dns::ObserveProofRequest { domain: domain.to_string() };
        let response = self.dns.clone().observe_proof(request).await;
        let response = response.map_err(|status| no_answer("dns", &status))?.into_inner();
        if !response.error.is_empty() {
            return Err(NoAnswer { service: "dns", why: response.error });
        }
        let at = response.observed_at.as_ref().and_then(from_wire).unwrap_or(Timestamp::MIN);
        let (mut cname, mut txt) = (Vec::new(), Vec::new());
        for server in response.servers {
            let failed = (!server.error.is_empty()).then_some(server.error);
            let answer = |values: Vec<String>| Answer {
                server: server.server.clone(),
                values: failed.clone().map_or(Ok(values), Err),
            };
            let targets = Some(server.cname_target).filter(|target| !target.is_empty());
            cname.push(answer(targets.into_iter().collect()));
            txt.push(answer(server.proof_txt));
        }
        Ok(Observed { at, cname, txt })
    }

    /// The records of a claim's domain, as dns last saw them, or as it sees them `now`.
    pub(crate) async fn records(
        &self,
        claim: &Claim,
        now: bool,
    ) -> Result<Vec<dns::Record>, NoAnswer> {
        let (domain, workspace_id) = (claim.domain.to_string(), claim.workspace.to_string());
        let mut dns = self.dns.clone();
        let items = if now {
            let request = dns::CheckRecordsRequest { domain, workspace_id };
            dns.check_records(request).await.map(|response| response.into_inner().items)
        } else {
            let request = dns::ListRecordsRequest { domain, workspace_id };
            dns.list_records(request).await.map(|response| response.into_inner().items)
        };
        items.map_err(|status| no_answer("dns", &status))
    }

    /// A claim's certificate; none where there is none yet. Waits no longer than [`PATIENCE`].
    pub(crate) async fn certificate(&self, claim: &Claim) -> Result<Option<Certificate>, NoAnswer> {
        let mut request = Request::new(issuer::GetCertificateRequest {
            domain: claim.domain.to_string(),
            workspace_id: claim.workspace.to_string(),
        });
        request.set_timeout(PATIENCE);
        match self.issuer.clone().get_certificate(request).await {
            Ok(response) => Ok(response.into_inner().certificate.map(|certificate| Certificate {
                not_after: certificate.not_after.as_ref().and_then(from_wire),
                position: certificate.position,
            })),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(no_answer("issuer", &status)),
        }
    }

    /// Which services answer. Asked for a name that can't be, they are told apart from the dead by
    /// their refusal.
    pub(crate) async fn serving(&self) -> Vec<control::ServiceStatus> {
        let domain = String::new;
        let (mut dns, mut issuer, mut intake) =
            (self.dns.clone(), self.issuer.clone(), self.intake.clone());
        let workspace_id = String::new;
        let (dns, issuer, intake) = tokio::join!(
            dns.list_records(dns::ListRecordsRequest {
                domain: domain(),
                workspace_id: workspace_id()
            }),
            issuer.get_certificate(issuer::GetCertificateRequest {
                domain: domain(),
                workspace_id: workspace_id()
            }),
            intake.get_activity(intake::GetActivityRequest {
                domain: domain(),
                days: 1,
                workspace_id: workspace_id()
            }),
        );
        vec![
            status("control", None),
            status("dns", dns.err()),
            status("issuer", issuer.err()),
            status("intake", intake.err()),
        ]
    }

    /// The issuer's records of changes, newest first.
    pub(crate) async fn audit_trail(
        &self,
        workspace: &str,
        filter: AuditFilter,
        before: Option<issuer::AuditTrailPlace>,
        limit: i64,
    ) -> Result<Vec<AuditRecord>, NoAnswer> {
        let mut request = Request::new(issuer::ListAuditTrailRequest {
            workspace_id: workspace.to_owned(),
            filter: Some(filter),
            limit: i32::try_from(limit).unwrap_or(i32::MAX),
            before,
        });
        request.set_timeout(PATIENCE);
        let answer = self.issuer_audit.clone().list_audit_trail(request).await;
        Ok(answer.map_err(|status| no_answer("issuer", &status))?.into_inner().items)
    }

    /// The issuer's chain of a workspace, or all of them for an empty one, verified now.
    pub(crate) async fn verified_trail(
        &self,
        workspace_id: String,
    ) -> Result<Vec<AuditChain>, NoAnswer> {
        let request = issuer::VerifyAuditTrailRequest { workspace_id };
        let answer = self.issuer_audit.clone().verify_audit_trail(request).await;
        Ok(answer.map_err(|status| no_answer("issuer", &status))?.into_inner().items)
    }

    /// Fetches of the last seven days.
    pub(crate) async fn activity(&self, claim: &Claim) -> Result<intake::Activity, NoAnswer> {
        let request = intake::GetActivityRequest {
            domain: claim.domain.to_string(),
            days: 7,
            workspace_id: claim.workspace.to_string(),
        };
        let response = self.intake.clone().get_activity(request).await;
        let response = response.map_err(|status| no_answer("intake", &status))?.into_inner();
        Ok(response.activity.unwrap_or_default())
    }
}

fn status(name: &str, said: Option<Status>) -> control::ServiceStatus {
    let dead = said.filter(|said| {
        matches!(
            said.code(),
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::Cancelled
                | Code::Unimplemented
                | Code::Unknown
        )
    });
    control::ServiceStatus {
        name: name.to_owned(),
        serving: dead.is_none(),
        detail: dead.map(|said| said.message().to_owned()).unwrap_or_default(),
    }
}

fn no_answer(service: &'static str, status: &Status) -> NoAnswer {
    NoAnswer { service, why: status.message().to_owned() }
}
