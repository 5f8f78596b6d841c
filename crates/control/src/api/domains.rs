//! Domains and their hosting.

use hosting::{Claim, Domain, Fresh, Kind, LiveMx, Refusal, RegionId, mx_lines};
use service::caller::caller;
use tonic::{Request, Response, Status};
use wire::control as v1;
use wire::control::domain_service_server::DomainService;

use super::{Api, asked, broken, expected, page_size, refused, target, told, workspace};
use crate::sql::{ClaimRow, Page, Region, VersionRow};
use crate::to_wire;

/// A longer part of a name matches nothing.
const MAX_CONTAINS_BYTES: usize = 253;

#[tonic::async_trait]
impl DomainService for Api {
    async fn add_domain(
        &self,
        request: Request<v1::AddDomainRequest>,
    ) -> Result<Response<v1::AddDomainResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let kind = kind(request.kind)?.unwrap_or(Kind::Standard);
        let target = target(asked, &request.name)?;
        let row = self.core.domains.add(&target, kind).await.map_err(told)?;
        let domain = Some(self.shown_domain(&row).await?);
        Ok(Response::new(v1::AddDomainResponse { domain, warnings: warnings(&target.domain) }))
    }

    async fn list_domains(
        &self,
        request: Request<v1::ListDomainsRequest>,
    ) -> Result<Response<v1::ListDomainsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        if request.contains.len() > MAX_CONTAINS_BYTES {
            return Ok(Response::new(v1::ListDomainsResponse::default()));
        }
        let size = page_size(request.page_size)?;
        // One more than asked for tells whether there is another page.
        let contains = request.contains.trim().to_lowercase();
        let list = ["ListDomains", contains.as_str()];
        let after = self.place(&caller, &list, &request.page_token)?.unwrap_or_default();
        let page = Page { after, limit: size + 1 };
        if contains.contains(char::is_control) {
            return Ok(Response::new(v1::ListDomainsResponse::default()));
        }
        let pool = self.core.domains.store().read();
        let rows = ClaimRow::list(pool, &workspace(&caller.workspace)?, &contains, &page).await;
        let mut rows = rows.map_err(|e| broken(&e))?;
        let size = usize::try_from(size).unwrap_or(1);
        let more = rows.len() > size;
        rows.truncate(size);
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            items.push(self.shown_domain(row).await?);
        }
        let last = items.last().filter(|_| more);
        let last = last.map(|domain| domain.name.as_str());
        let next_page_token = self.page_token(&caller, &list, last);
        Ok(Response::new(v1::ListDomainsResponse { items, next_page_token }))
    }

    async fn get_domain(
        &self,
        request: Request<v1::GetDomainRequest>,
    ) -> Result<Response<v1::GetDomainResponse>, Status> {
        let asked = asked(&request)?;
        let target = target(asked, &request.into_inner().name)?;
        let row = self.core.domains.find(&target).await.map_err(told)?;
        Ok(Response::new(v1::GetDomainResponse { domain: Some(self.shown_domain(&row).await?) }))
    }

    async fn convert_domain(
        &self,
        request: Request<v1::ConvertDomainRequest>,
    ) -> Result<Response<v1::ConvertDomainResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let kind = kind(request.kind)?
            .ok_or_else(|| wire::status::invalid("kind", "say standard or parked"))?;
        let target = target(asked, &request.name)?;
        let convert = |claim: &Claim, _| claim.convert(kind).map(Some);
        let changed = self.core.domains.change(&target, "domain.convert", convert);
        let row = changed.await.map_err(told)?;
        let domain = Some(self.shown_domain(&row).await?);
        Ok(Response::new(v1::ConvertDomainResponse { domain }))
    }

    async fn remove_domain(
        &self,
        request: Request<v1::RemoveDomainRequest>,
    ) -> Result<Response<v1::RemoveDomainResponse>, Status> {
        let asked = asked(&request)?;
        let target = target(asked, &request.into_inner().name)?;
        self.core.domains.remove(&target).await.map_err(told)?;
        Ok(Response::new(v1::RemoveDomainResponse {}))
    }

    async fn activate_hosting(
        &self,
        request: Request<v1::ActivateHostingRequest>,
    ) -> Result<Response<v1::ActivateHostingResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let target = target(asked, &request.name)?;
        // What can be refused without asking DNS is refused at once.
        self.core.domains.find(&target).await.map_err(told)?;
        let region = self.region_for(&request.region).await?;
        let mx = self.core.peers.live_mx(&target.domain).await;

        let activate = |claim: &Claim, fresh: Fresh| claim.activate(&region, &mx, fresh).map(Some);
        let row =
            self.core.domains.change(&target, "hosting.activate", activate).await.map_err(told)?;
        Ok(Response::new(v1::ActivateHostingResponse {
            domain: Some(self.shown_domain(&row).await?),
            notes: notes(&row, &mx),
        }))
    }

    async fn deactivate_hosting(
        &self,
        request: Request<v1::DeactivateHostingRequest>,
    ) -> Result<Response<v1::DeactivateHostingResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let expected = expected(request.expected_revision)?;
        let target = target(asked, &request.name)?;
        let deactivate = |claim: &Claim, fresh| claim.deactivate(expected, fresh).map(Some);
        let changed = self.core.domains.change(&target, "hosting.deactivate", deactivate);
        let row = changed.await.map_err(told)?;
        let domain = Some(self.shown_domain(&row).await?);
        Ok(Response::new(v1::DeactivateHostingResponse { domain }))
    }

    async fn cancel_deactivation(
        &self,
        request: Request<v1::CancelDeactivationRequest>,
    ) -> Result<Response<v1::CancelDeactivationResponse>, Status> {
        let asked = asked(&request)?;
        let target = target(asked, &request.into_inner().name)?;
        let cancel = |claim: &Claim, fresh| claim.cancel(fresh).map(Some);
        let changed = self.core.domains.change(&target, "hosting.cancel", cancel);
        let row = changed.await.map_err(told)?;
        let domain = Some(self.shown_domain(&row).await?);
        Ok(Response::new(v1::CancelDeactivationResponse { domain }))
    }
}

impl Api {
    async fn shown_domain(&self, row: &ClaimRow) -> Result<v1::Domain, Status> {
        let pool = self.core.domains.store().read();
        let region = match &row.claim.hosting {
            None => None,
            Some(hosting) => Region::find(pool, &hosting.region).await.map_err(|e| broken(&e))?,
        };
        let ledger = match row.claim.stopping_since() {
            None => Vec::new(),
            Some(_) => VersionRow::ledger(pool, &row.claim.domain).await.map_err(|e| broken(&e))?,
        };
        Ok(to_wire::domain(row, region.as_ref(), &ledger))
    }

    /// The region that was asked for, or the only one that is active.
    async fn region_for(&self, asked: &str) -> Result<RegionId, Status> {
        if !asked.is_empty() {
            let region = self.region(asked).await?;
            return match region.disabled {
                true => Err(refused(Refusal::RegionDisabled { region: region.id })),
                false => Ok(region.id),
            };
        }
        let all = Region::all(self.core.domains.store().read()).await.map_err(|e| broken(&e))?;
        let mut active = all.into_iter().filter(|region| !region.disabled);
        match (active.next(), active.next()) {
            (None, _) => Err(refused(Refusal::NoActiveRegion)),
            (Some(only), None) => Ok(only.id),
            (Some(first), Some(second)) => {
                let rest: Vec<String> = active.map(|region| region.id.to_string()).collect();
                let mut ids = vec![first.id.to_string(), second.id.to_string()];
                ids.extend(rest);
                let why = format!("say which one: {}", ids.join(", "));
                Err(wire::status::invalid("region", &why))
            }
        }
    }
}

/// None where the caller did not say.
fn kind(asked: i32) -> Result<Option<Kind>, Status> {
    match v1::DomainKind::try_from(asked) {
        Ok(v1::DomainKind::Unspecified) => Ok(None),
        Ok(v1::DomainKind::Standard) => Ok(Some(Kind::Standard)),
        Ok(v1::DomainKind::Parked) => Ok(Some(Kind::Parked)),
        Err(_) => Err(wire::status::invalid("kind", "there is no such kind of domain")),
    }
}

/// A name that looks like another one is taken, and pointed out.
fn warnings(domain: &Domain) -> Vec<String> {
    if !domain.looks_mixed_script() {
        return Vec::new();
    }
    let name = domain.unicode();
    vec![format!("{name} mixes letters of several scripts: make sure that it is {domain} you mean")]
}

/// Why the policy has the mx lines it has, and what was left out.
fn notes(row: &ClaimRow, mx: &LiveMx) -> Vec<String> {
    let Ok(lines) = mx_lines(&row.claim.domain, mx) else { return Vec::new() };
    let mut notes: Vec<String> =
        lines.lines.iter().map(|line| format!("mx {}: {}", line.pattern, line.because)).collect();
    notes.extend(lines.skipped.iter().map(|(host, why)| format!("left out {host}: {why}")));
    if lines.placeholder {
        notes.push("no MX was found: add MX records, then refresh the policy".to_owned());
    }
    notes
}
