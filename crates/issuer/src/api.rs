//! The gRPC API: what an owner sees of a certificate, and the wish for a new one.

use std::sync::Arc;

use audit::BeginError;
use hosting::{Domain, REISSUES_PER_WINDOW, Refusal, next_reissue_at, reissues_left};
use jiff::Timestamp;
use service::caller::{Caller, call, caller};
use service::supervise::{Fault, chain};
use tonic::{Code, Request, Response, Status};
use tracing::error;
use wire::issuer as v1;
use wire::issuer::certificate_service_server::CertificateService;
use wire::status::{internal, invalid, refusal, unavailable};
use wire::time::to_wire;

use crate::Core;
use crate::control::Hosted;
use crate::order;
use crate::publish::certificates_bucket;
use crate::sql::{Certificate, Order, OrderStep, Reason, Reissue};

const DEFAULT_PAGE: i32 = 100;
const LONGEST_PAGE: i32 = 1_000;

/// Answers the API.
pub(crate) struct Api {
    pub(crate) core: Arc<Core>,
}

#[tonic::async_trait]
impl CertificateService for Api {
    async fn get_certificate(
        &self,
        request: Request<v1::GetCertificateRequest>,
    ) -> Result<Response<v1::GetCertificateResponse>, Status> {
        let by = caller(&request)?;
        let request = request.into_inner();
        let by = by.acting_for(request.workspace_id);
        let domain = parse(&request.domain)?;
        let hosted = self.visible(&domain, &by).await?;
        let certificate = self.standing(&domain, &hosted).await.map_err(fault)?;
        Ok(Response::new(v1::GetCertificateResponse { certificate: Some(certificate) }))
    }

    async fn reissue_certificate(
        &self,
        request: Request<v1::ReissueCertificateRequest>,
    ) -> Result<Response<v1::ReissueCertificateResponse>, Status> {
        let (by, call) = call(&request)?;
        let domain = parse(&request.get_ref().domain)?;
        let hosted = self.hosted_now(&domain, &by).await?;
        if !hosted.proven {
            return Err(refusal(&Refusal::NotProven { domain }));
        }
        let reissue = order::begin_reissue(&self.core, &domain, &hosted.region, &by, &call).await;
        let id = match reissue.map_err(fault)? {
            Reissue::Order(id) => id,
            Reissue::Refused(no) => return Err(refusal(&no)),
            Reissue::KeyReused => return Err(BeginError::KeyReused.into()),
        };
        self.core.renew.wake();

        let order = self.core.db.order(&id).await.map_err(|e| fault(e.into()))?;
        let certificate = self.standing(&domain, &hosted).await.map_err(fault)?;
        Ok(Response::new(v1::ReissueCertificateResponse {
            certificate: Some(certificate),
            order: order.as_ref().map(order_to_wire),
        }))
    }

    async fn list_orders(
        &self,
        request: Request<v1::ListOrdersRequest>,
    ) -> Result<Response<v1::ListOrdersResponse>, Status> {
        let by = caller(&request)?;
        let request = request.into_inner();
        let domain = parse(&request.domain)?;
        let list = ["ListOrders", domain.as_str()];
        let place = self.core.pages.read(&by, &list, &request.page_token);
        let place = place.map_err(|why| invalid("page_token", &why.to_string()))?;
        let before = before(place)?;
        let length = page_length(request.page_size)?;
        self.visible(&domain, &by).await?;
        let (created_at, id) = (before.0, before.1.as_str());
        let orders = self
            .core
            .db
            .orders(domain.as_str(), &by.workspace, (created_at, id), length + 1)
            .await
            .map_err(|e| fault(e.into()))?;
        let more = orders.len() > length;
        let page = &orders[..orders.len().min(length)];
        let last = page.last().filter(|_| more);
        Ok(Response::new(v1::ListOrdersResponse {
            items: page.iter().map(order_to_wire).collect(),
            next_page_token: last
                .map(|last| self.core.pages.write(&by, &list, &place_of(last)))
                .unwrap_or_default(),
        }))
    }
}

impl Api {
    /// The caller's domain, as control has it; while control does not answer, as it last was here.
    async fn visible(&self, domain: &Domain, by: &Caller) -> Result<Hosted, Status> {
        match self.hosted_now(domain, by).await {
            Err(status) if status.code() == Code::Unavailable => {
                let remembered = self.remembered(domain, by).await;
                remembered.map_err(fault)?.ok_or(status)
            }
            answer => answer,
        }
    }

    /// The caller's domain, as control has it. Another's looks like none.
    async fn hosted_now(&self, domain: &Domain, by: &Caller) -> Result<Hosted, Status> {
        match self.core.control.hosted(domain, &by.workspace).await {
            Ok(Some(hosted)) => Ok(hosted),
            Ok(None) => Err(refusal(&Refusal::DomainNotFound { domain: domain.clone() })),
            // What control says of the domain itself is for the caller.
            Err(status) if status.code() == Code::FailedPrecondition => Err(Status::with_details(
                status.code(),
                status.message(),
                bytes::Bytes::copy_from_slice(status.details()),
            )),
            Err(status) => {
                error!(%domain, %status, "control doesn't say whose domain it is");
                Err(unavailable("control", "it knows whose domain it is"))
            }
        }
    }

    async fn remembered(&self, domain: &Domain, by: &Caller) -> Result<Option<Hosted>, Fault> {
        let name = self.core.db.name(domain.as_str()).await?;
        if name.workspace.is_empty() || name.workspace != by.workspace {
            return Ok(None);
        }
        let hosted_in = self.core.db.hosted_in(domain.as_str()).await?;
        Ok(hosted_in.into_iter().next().map(|(region, _)| Hosted { region, proven: true }))
    }

    /// All that an owner is told. While the claim is not proven, nothing that may be another's.
    async fn standing(&self, domain: &Domain, hosted: &Hosted) -> Result<v1::Certificate, Fault> {
        let told = v1::Certificate {
            domain: domain.to_string(),
            host: domain.policy_host(),
            region: hosted.region.clone(),
            status: v1::CertificateStatus::Waiting.into(),
            reissues_left: REISSUES_PER_WINDOW as u32,
            ..Default::default()
        };
        if !hosted.proven {
            return Ok(told);
        }
        let (core, now) = (&self.core, self.core.clock.now());
        let certificate = core.db.certificate(domain.as_str()).await?;
        let under_way = core.db.in_flight(domain.as_str()).await?;
        let name = core.db.name(domain.as_str()).await?;
        let used = core.db.reissues(domain.as_str()).await?;
        let hosted_in = core.db.hosted_in(domain.as_str()).await?;
        let served = hosted_in.iter().any(|(region, _)| *region == hosted.region);
        let status =
            status(certificate.as_ref(), under_way.is_some(), &name.last_error, served, now);

        // An order that waits for a CA says when it goes on; else the name's own pause counts.
        let waits_until = under_way.map(|order| order.retry_at).or(name.retry_at);
        let told = v1::Certificate {
            status: status.into(),
            last_error: name.last_error,
            retry_at: waits_until.filter(|at| *at > now).map(to_wire),
            reissues_left: u32::try_from(reissues_left(&used, now)).unwrap_or(0),
            next_reissue_at: next_reissue_at(&used, now).map(to_wire),
            ..told
        };
        let Some(certificate) = certificate else {
            let quiet =
                told.status() == v1::CertificateStatus::Issuing && told.last_error.is_empty();
            let waits_for =
                if quiet { self.waits_for(domain, &hosted.region).await? } else { None };
            return Ok(v1::Certificate {
                last_error: waits_for.unwrap_or(told.last_error),
                ..told
            });
        };
        Ok(v1::Certificate {
            position: self.position(domain, &hosted.region, &certificate.serial).await?,
            not_before: Some(to_wire(certificate.not_before)),
            not_after: Some(to_wire(certificate.not_after)),
            renew_at: Some(to_wire(certificate.renew_at)),
            serial: certificate.serial,
            issuer: certificate.issuer,
            ..told
        })
    }

    /// What the first order of a domain waits for.
    async fn waits_for(&self, domain: &Domain, region: &str) -> Result<Option<String>, Fault> {
        match self.core.authority.thumbprint(&self.core).await? {
            Some(account) => order::not_served(&self.core, domain.as_str(), region, &account).await,
            None => Ok(Some("there is no account at the CA yet".to_owned())),
        }
    }

    /// Where this very certificate stands in the region's feed; 0 until it has been published.
    async fn position(&self, domain: &Domain, region: &str, serial: &str) -> Result<u64, Fault> {
        let bucket = certificates_bucket(region);
        let document = self.core.db.document(&bucket, domain.as_str()).await?;
        let holds = |content: &str| content.split('/').next() == Some(serial);
        let published = document.filter(|d| !d.pending && holds(&d.content));
        Ok(published.map_or(0, |document| document.position))
    }
}

fn status(
    certificate: Option<&Certificate>,
    under_way: bool,
    last_error: &str,
    served: bool,
    now: Timestamp,
) -> v1::CertificateStatus {
    match certificate {
        Some(certificate) if certificate.not_after <= now => v1::CertificateStatus::Expired,
        Some(_) if under_way => v1::CertificateStatus::Renewing,
        Some(_) => v1::CertificateStatus::Valid,
        None if under_way => v1::CertificateStatus::Issuing,
        None if !last_error.is_empty() => v1::CertificateStatus::Failed,
        // Proven and hosted: the order begins as soon as edges can answer the CA.
        None if served => v1::CertificateStatus::Issuing,
        None => v1::CertificateStatus::Waiting,
    }
}

fn order_to_wire(order: &Order) -> v1::Order {
    let reason = match order.reason {
        Reason::First => v1::OrderReason::First,
        Reason::Renewal => v1::OrderReason::Renewal,
        Reason::Reissue => v1::OrderReason::Reissue,
    };
    let outcome = match order.step {
        OrderStep::Issued => v1::OrderOutcome::Issued,
        OrderStep::Failed => v1::OrderOutcome::Failed,
        OrderStep::New | OrderStep::Asked | OrderStep::Ordered => v1::OrderOutcome::Unspecified,
    };
    v1::Order {
        id: order.id.clone(),
        reason: reason.into(),
        outcome: outcome.into(),
        created_at: Some(to_wire(order.created_at)),
        finished_at: order.finished_at.map(to_wire),
        error: order.error.clone(),
        serial: order.serial.clone(),
    }
}

fn parse(text: &str) -> Result<Domain, Status> {
    Domain::parse(text).map_err(|e| refusal(&Refusal::from(e)))
}

fn page_length(asked: i32) -> Result<usize, Status> {
    let length = match asked {
        0 => DEFAULT_PAGE,
        1..=LONGEST_PAGE => asked,
        _ => return Err(invalid("page_size", "ask for 1 to 1000")),
    };
    usize::try_from(length).map_err(|_| invalid("page_size", "ask for 1 to 1000"))
}

/// A page goes on after the last order of the one before.
fn place_of(last: &Order) -> String {
    format!("{}-{}", last.created_at.as_millisecond(), last.id)
}

fn before(place: Option<String>) -> Result<(i64, String), Status> {
    let Some(place) = place else { return Ok((i64::MAX, String::new())) };
    let bad = || invalid("page_token", "pass the one of the response before");
    let (created_at, id) = place.split_once('-').ok_or_else(bad)?;
    Ok((created_at.parse().map_err(|_| bad())?, id.to_owned()))
}

fn fault(fault: Fault) -> Status {
    if let Some(status) = fault.downcast_ref::<Status>() {
        error!(%status, "control doesn't say whether a certificate may be ordered");
        return unavailable("control", "it decides what may be ordered");
    }
    error!(fault = chain(&*fault), "a call failed");
    internal()
}
