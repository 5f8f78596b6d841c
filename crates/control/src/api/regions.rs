//! Regions.

use hosting::{Domain, Refusal, RegionId};
use service::caller::{Role, caller_with};
use store::{StoreError, Write};
use tonic::{Request, Response, Status};
use wire::control::region_service_server::RegionService;
use wire::{Message, bus, control as v1, status};

use super::{Api, broken, not_our_token, page_size, refused};
use crate::config::RegionConfig;
use crate::sql::{ClaimRow, Document, Edge, Region};
use crate::{Core, StartError, to_wire};

/// The bucket that tells of regions.
const BUCKET: &str = "regions";
/// With a nonce of 32 and a dot before it, it is still a name (RFC 1035 section 3.1).
const MAX_HOST_BYTES: usize = 253 - 33;
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
            (given, _) if can_be_sealed_to(&given) => given,
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
        if let Some(why) = taken_host(&self.core, &region).await.map_err(|e| broken(&e))? {
            return Err(status::invalid("host", &why));
        }
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
        if !after.is_empty() && after.parse::<RegionId>().is_err() {
            return Err(not_our_token());
        }
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
            region.disabled = request.active.map_or(region.disabled, |active| !active);
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
                if let Some(why) = taken_host(core, &region).await? {
                    return Err(wrong(why));
                }
                add(core, &region).await?;
            }
        }
    }
    Ok(())
}

/// Why a new region can't have its host; none where it can. Names below it are told apart by their
/// first label alone, so no other region may live above or below, and no workspace's domain.
async fn taken_host(core: &Core, region: &Region) -> Result<Option<String>, StoreError> {
    let pool = core.domains.store().read();
    let host = &region.host;
    for other in Region::all(pool).await?.iter().filter(|other| other.id != region.id) {
        if is_within(host, &other.host) || is_within(&other.host, host) {
            let (id, taken) = (&other.id, &other.host);
            return Ok(Some(format!("region {id} has {taken}: choose a host apart from it")));
        }
    }
    if ClaimRow::any_within(pool, host).await? {
        return Ok(Some(format!(
            "a workspace holds {host} or a name below it: choose another one"
        )));
    }
    Ok(None)
}

fn is_within(name: &str, parent: &str) -> bool {
    name == parent || name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether private keys can be sealed to a public key: an X25519 key, and none of the few that give
/// everybody the same secret.
fn can_be_sealed_to(key: &[u8]) -> bool {
    wire::sealing::seal(key, "probe", "probe", b"probe").is_ok()
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
    if host.as_str().len() > MAX_HOST_BYTES {
        let why = format!("it can have {MAX_HOST_BYTES} bytes: claims' names stand below it");
        return Err(status::invalid("host", &why));
    }
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
