//! Regions.

use hosting::{Domain, Refusal, RegionId};
use service::caller::{Role, caller_with};
use store::{StoreError, Write};
use tonic::{Request, Response, Status};
use wire::control::region_service_server::RegionService;
use wire::{Message, bus, control as v1, status};

use super::{Api, broken, page_size, refused};
use crate::config::RegionConfig;
use crate::sql::{Document, Edge, Region};
use crate::{Core, StartError, to_wire};

/// The bucket that tells of regions.
const BUCKET: &str = "regions";
/// Bytes of a raw X25519 public key.
const SEALING_KEY_BYTES: usize = 32;
/// With `+` and a nonce of 32 it makes the 64 bytes that a local part can have (RFC 5321 section
/// 4.5.3.1.1).
const MAX_LOCAL_PART_BYTES: usize = 31;
/// For people; longer names break their tables.
const MAX_NAME_CHARS: usize = 64;

#[tonic::async_trait]
impl RegionService for Api {
    async fn add_region(
        &self,
        request: Request<v1::AddRegionRequest>,
    ) -> Result<Response<v1::AddRegionResponse>, Status> {
        caller_with(&request, Role::PlatformAdmin)?;
        let request = request.into_inner();
        let id: RegionId = request.id.parse().map_err(|why| refused(Refusal::InvalidName(why)))?;
        let sealing_key = match (request.sealing_key, (self.core.region_keys)(&id)) {
            (given, _) if given.len() == SEALING_KEY_BYTES => given,
            (given, Some(own)) if given.is_empty() => own,
            _ => {
                return Err(status::invalid(
                    "sealing_key",
                    "it has to be a raw X25519 public key, 32 bytes",
                ));
            }
        };
        let region = Region {
            name: name(&request.name, &id)?,
            host: host(&request.host)?,
            reports: reports(&request.reports)?,
            id,
            sealing_key,
            disabled: false,
            created_at: self.core.clock.now(),
        };
        if !add(&self.core, &region).await.map_err(|e| broken(&e))? {
            let why = format!("there is a region {} already: choose another id", region.id);
            return Err(status::with_reason(
                tonic::Code::AlreadyExists,
                "REGION_EXISTS",
                &why,
                [("region".to_owned(), region.id.to_string())].into(),
            ));
        }
        Ok(Response::new(v1::AddRegionResponse { region: Some(self.shown(&region).await?) }))
    }

    async fn list_regions(
        &self,
        request: Request<v1::ListRegionsRequest>,
    ) -> Result<Response<v1::ListRegionsResponse>, Status> {
        caller_with(&request, Role::ReadOnly)?;
        let request = request.into_inner();
        let size = usize::try_from(page_size(request.page_size)?).unwrap_or(1);
        let all = Region::all(self.core.domains.store().read()).await.map_err(|e| broken(&e))?;
        let after = request.page_token.as_str();
        let mut rest = all;
        rest.retain(|region| region.id.as_str() > after);
        let more = rest.len() > size;
        rest.truncate(size);
        let mut items = Vec::with_capacity(rest.len());
        for region in &rest {
            items.push(self.shown(region).await?);
        }
        let last = items.last().filter(|_| more);
        let next_page_token = last.map(|region| region.id.clone()).unwrap_or_default();
        Ok(Response::new(v1::ListRegionsResponse { items, next_page_token }))
    }

    async fn get_region(
        &self,
        request: Request<v1::GetRegionRequest>,
    ) -> Result<Response<v1::GetRegionResponse>, Status> {
        caller_with(&request, Role::ReadOnly)?;
        let region = self.region(&request.into_inner().id).await?;
        Ok(Response::new(v1::GetRegionResponse { region: Some(self.shown(&region).await?) }))
    }

    async fn update_region(
        &self,
        request: Request<v1::UpdateRegionRequest>,
    ) -> Result<Response<v1::UpdateRegionResponse>, Status> {
        caller_with(&request, Role::PlatformAdmin)?;
        let request = request.into_inner();
        let id = self.region(&request.id).await?.id;
        let name = request.name.map(|wanted| name(&wanted, &id)).transpose()?;
        let reports = request.reports.map(|mailbox| reports(&mailbox)).transpose()?;
        let region = self.change_region(&id, |region| {
            region.name = name.unwrap_or(region.name.clone());
            region.reports = reports.unwrap_or(region.reports.clone());
        });
        let region = region.await?;
        Ok(Response::new(v1::UpdateRegionResponse { region: Some(self.shown(&region).await?) }))
    }

    async fn disable_region(
        &self,
        request: Request<v1::DisableRegionRequest>,
    ) -> Result<Response<v1::DisableRegionResponse>, Status> {
        caller_with(&request, Role::PlatformAdmin)?;
        let id = self.region(&request.into_inner().id).await?.id;
        let region = self.change_region(&id, |region| region.disabled = true).await?;
        Ok(Response::new(v1::DisableRegionResponse { region: Some(self.shown(&region).await?) }))
    }
}

impl Api {
    pub(super) async fn region(&self, id: &str) -> Result<Region, Status> {
        let id: RegionId = id.parse().map_err(|why| refused(Refusal::InvalidName(why)))?;
        let found = Region::find(self.core.domains.store().read(), &id).await;
        let found = found.map_err(|e| broken(&e))?;
        found.ok_or_else(|| refused(Refusal::RegionNotFound { region: id }))
    }

    async fn change_region(
        &self,
        id: &RegionId,
        edit: impl FnOnce(&mut Region) + Send,
    ) -> Result<Region, Status> {
        let changed = change(&self.core, id, edit).await.map_err(|e| broken(&e))?;
        changed.ok_or_else(|| refused(Refusal::RegionNotFound { region: id.clone() }))
    }

    async fn shown(&self, region: &Region) -> Result<v1::Region, Status> {
        let pool = self.core.domains.store().read();
        let domains = Region::domains(pool, &region.id).await.map_err(|e| broken(&e))?;
        let edges = Edge::all(pool).await.map_err(|e| broken(&e))?;
        let now = self.core.clock.now();
        let live = edges.iter().filter(|e| e.region == region.id && e.is_live(now)).count();
        Ok(to_wire::region(region, domains, live))
    }
}

/// Adds configured regions that are not there, and takes over what may change of the others.
pub(crate) async fn ensure_configured(
    core: &Core,
    configured: &[RegionConfig],
) -> Result<(), StartError> {
    for config in configured {
        let wrong = |why: String| StartError::Region { id: config.id.clone(), why };
        let said = |status: Status| wrong(status.message().to_owned());
        let id: RegionId =
            config.id.parse().map_err(|why: hosting::InvalidName| wrong(why.to_string()))?;
        let host = host(&config.host).map_err(said)?;
        let name = config.name.as_deref().map(|n| name(n, &id)).transpose().map_err(said)?;
        let mailbox = config.reports.as_deref().map(reports).transpose().map_err(said)?;
        let sealing_key = (core.region_keys)(&id);
        match Region::find(core.domains.store().read(), &id).await? {
            Some(region) if region.host != host => {
                let was = &region.host;
                return Err(wrong(format!(
                    "its host was {was}, and customers' CNAMEs end in it: keep {was}, or add \
                     {host} as a new region"
                )));
            }
            Some(_) => {
                // What the file leaves out stays as `dmarcer region set` has set it.
                change(core, &id, |region| {
                    region.name = name.unwrap_or(region.name.clone());
                    region.reports = mailbox.unwrap_or(region.reports.clone());
                    region.sealing_key = sealing_key.unwrap_or(region.sealing_key.clone());
                })
                .await?;
            }
            None => {
                let region = Region {
                    sealing_key: sealing_key.ok_or_else(|| {
                        wrong("no edge of this process serves it: it has no sealing key".to_owned())
                    })?,
                    name: name.unwrap_or_else(|| id.to_string()),
                    id,
                    host,
                    reports: mailbox.unwrap_or_default(),
                    disabled: false,
                    created_at: core.clock.now(),
                };
                add(core, &region).await?;
            }
        }
    }
    Ok(())
}

/// Stores a new region with its document; false where there is one of that id already.
async fn add(core: &Core, region: &Region) -> Result<bool, StoreError> {
    let mut write = core.domains.store().write().await?;
    match region.insert(&mut write).await {
        Err(fault) if fault.is_unique_violation() => return Ok(false),
        inserted => inserted?,
    }
    write_document(&mut write, region).await?;
    write.commit().await?;
    core.signals.publish.wake();
    Ok(true)
}

/// Changes a region; none where there is none of that id. What follows for its domains from a new
/// mailbox is written bit by bit afterwards.
async fn change(
    core: &Core,
    id: &RegionId,
    edit: impl FnOnce(&mut Region) + Send,
) -> Result<Option<Region>, StoreError> {
    let store = core.domains.store();
    let mut write = store.write().await?;
    let Some(before) = Region::to_change(&mut write, id, store.for_update()).await? else {
        return Ok(None);
    };
    let mut region = before.clone();
    edit(&mut region);
    if region == before {
        return Ok(Some(region));
    }
    region.update(&mut write).await?;
    if region.reports != before.reports {
        region.begin_rewriting(&mut write).await?;
    }
    write_document(&mut write, &region).await?;
    write.commit().await?;
    core.signals.publish.wake();
    core.signals.rewrite.wake();
    Ok(Some(region))
}

async fn write_document(write: &mut Write, region: &Region) -> Result<(), StoreError> {
    let document = bus::RegionDocument {
        region_id: region.id.to_string(),
        host: region.host.clone(),
        sealing_key: region.sealing_key.clone(),
        reports_mailbox: region.reports.clone(),
        disabled: region.disabled,
    };
    let payload = document.encode_to_vec();
    Document::put(write, BUCKET, region.id.as_str(), Some(&payload)).await
}

fn name(wanted: &str, id: &RegionId) -> Result<String, Status> {
    let wanted = wanted.trim();
    if wanted.chars().any(char::is_control) || wanted.chars().count() > MAX_NAME_CHARS {
        return Err(status::invalid(
            "name",
            "it can have 64 characters, none of them a control character",
        ));
    }
    Ok(if wanted.is_empty() { id.to_string() } else { wanted.to_owned() })
}

fn host(host: &str) -> Result<String, Status> {
    let host = Domain::parse(host).map_err(|why| status::invalid("host", &why.to_string()))?;
    Ok(host.to_string())
}

fn reports(mailbox: &str) -> Result<String, Status> {
    let mailbox = mailbox.trim();
    if mailbox.is_empty() {
        return Ok(String::new());
    }
    let wrong = || {
        status::invalid(
            "reports",
            "it has to be a mail address, such as tlsrpt@reports.example.net",
        )
    };
    let (local, host) = mailbox.rsplit_once('@').ok_or_else(wrong)?;
    // The detail after `+` is ours, and what a URI would have to escape is refused.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if local.is_empty() || local.len() > MAX_LOCAL_PART_BYTES || !local.chars().all(plain) {
        return Err(wrong());
    }
    let host = Domain::parse(host).map_err(|_| wrong())?;
    Ok(format!("{local}@{host}"))
}
