//! Regions.

use audit::{BeginError, Begun, PLATFORM, Record};
use hosting::{Domain, Refusal, RegionId};
use serde_json::{Value, json};
use service::caller::{Caller, Role, caller};
use store::{StoreError, Write};
use tonic::{Request, Response, Status};
use wire::control::region_service_server::RegionService;
use wire::{Message, bus, control as v1, status};

use super::{Api, asked, broken, page_size, refused, told};
use crate::change::{Asked, ChangeError};
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
        let asked = asked(&request)?;
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
        if !add(&self.core, &region, By::Caller(&asked)).await.map_err(told)? {
            let why = format!("there is a region {} already: choose another id", region.id);
            return Err(status::with_reason(
                tonic::Code::AlreadyExists,
                "REGION_EXISTS",
                &why,
                [("region".to_owned(), region.id.to_string())].into(),
            ));
        }
        Ok(Response::new(v1::AddRegionResponse {
            region: Some(self.shown(&asked.caller, &region).await?),
        }))
    }

    async fn list_regions(
        &self,
        request: Request<v1::ListRegionsRequest>,
    ) -> Result<Response<v1::ListRegionsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let size = usize::try_from(page_size(request.page_size)?).unwrap_or(1);
        let all = Region::all(self.core.domains.store().read()).await.map_err(|e| broken(&e))?;
        let list = ["ListRegions"];
        let after = self.place(&caller, &list, &request.page_token)?.unwrap_or_default();
        let mut rest = all;
        rest.retain(|region| region.id.as_str() > after.as_str());
        let more = rest.len() > size;
        rest.truncate(size);
        let mut items = Vec::with_capacity(rest.len());
        for region in &rest {
            items.push(self.shown(&caller, region).await?);
        }
        let last = items.last().filter(|_| more);
        let next_page_token =
            self.page_token(&caller, &list, last.map(|region| region.id.as_str()));
        Ok(Response::new(v1::ListRegionsResponse { items, next_page_token }))
    }

    async fn get_region(
        &self,
        request: Request<v1::GetRegionRequest>,
    ) -> Result<Response<v1::GetRegionResponse>, Status> {
        let caller = caller(&request)?;
        let region = self.region(&request.into_inner().id).await?;
        Ok(Response::new(v1::GetRegionResponse {
            region: Some(self.shown(&caller, &region).await?),
        }))
    }

    async fn update_region(
        &self,
        request: Request<v1::UpdateRegionRequest>,
    ) -> Result<Response<v1::UpdateRegionResponse>, Status> {
        let asked = asked(&request)?;
        let request = request.into_inner();
        let id = self.region(&request.id).await?.id;
        let name = request.name.map(|wanted| name(&wanted, &id)).transpose()?;
        let reports = request.reports.map(|mailbox| reports(&mailbox)).transpose()?;
        let region = self.change_region(&id, By::Caller(&asked), |region| {
            region.disabled = request.active.map_or(region.disabled, |active| !active);
            region.name = name.unwrap_or(region.name.clone());
            region.reports = reports.unwrap_or(region.reports.clone());
        });
        let region = region.await?;
        Ok(Response::new(v1::UpdateRegionResponse {
            region: Some(self.shown(&asked.caller, &region).await?),
        }))
    }

    async fn disable_region(
        &self,
        request: Request<v1::DisableRegionRequest>,
    ) -> Result<Response<v1::DisableRegionResponse>, Status> {
        let asked = asked(&request)?;
        let id = self.region(&request.into_inner().id).await?.id;
        let disable = |region: &mut Region| region.disabled = true;
        let region = self.change_region(&id, By::Caller(&asked), disable).await?;
        Ok(Response::new(v1::DisableRegionResponse {
            region: Some(self.shown(&asked.caller, &region).await?),
        }))
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
        by: By<'_>,
        edit: impl FnOnce(&mut Region) + Send,
    ) -> Result<Region, Status> {
        let changed = change(&self.core, id, by, edit).await.map_err(told)?;
        changed.ok_or_else(|| refused(Refusal::RegionNotFound { region: id.clone() }))
    }

    /// Who is no Platform admin sees how many of their own domains are there, and nobody else's.
    async fn shown(&self, by: &Caller, region: &Region) -> Result<v1::Region, Status> {
        let pool = self.core.domains.store().read();
        let domains = match by.role >= Role::PlatformAdmin {
            true => Region::domains(pool, &region.id).await,
            false => Region::domains_of(pool, &region.id, &by.workspace).await,
        };
        let domains = domains.map_err(|e| broken(&e))?;
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
                change(core, &id, By::Configuration, |region| {
                    region.name = name.unwrap_or(region.name.clone());
                    region.reports = mailbox.unwrap_or(region.reports.clone());
                    region.sealing_key = sealing_key.unwrap_or(region.sealing_key.clone());
                })
                .await
                .map_err(not_stored)?;
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
                add(core, &region, By::Configuration).await.map_err(not_stored)?;
            }
        }
    }
    Ok(())
}

fn not_stored(error: ChangeError) -> StartError {
    match error {
        ChangeError::Store(fault) | ChangeError::Marked(BeginError::Store(fault)) => fault.into(),
        // The configuration has no mark, and asks for nothing that a rule refuses.
        other => StartError::Region { id: String::new(), why: other.to_string() },
    }
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

/// Who changes a region.
#[derive(Clone, Copy)]
enum By<'a> {
    Caller(&'a Asked),
    /// The configuration file, at the start.
    Configuration,
}

impl By<'_> {
    async fn begin(self, core: &Core, write: &mut Write) -> Result<Begun, BeginError> {
        match self {
            By::Caller(asked) => core.audit.begin(write, &asked.call).await,
            By::Configuration => Ok(Begun::First),
        }
    }

    /// Regions belong to no workspace.
    fn record(self, action: &str, region: &Region) -> Record {
        let id = region.id.as_str();
        match self {
            By::Caller(Asked { caller, call }) => {
                Record::by_call(caller, call, action, id).in_workspace(PLATFORM)
            }
            By::Configuration => Record::by_itself(PLATFORM, action, id),
        }
        .after(shown_in_log(region))
    }
}

/// A region as the audit log tells of it.
fn shown_in_log(region: &Region) -> Value {
    json!({
        "name": region.name,
        "host": region.host,
        "reports": region.reports,
        "active": !region.disabled,
    })
}

/// Stores a new region with its document; false where there is one of that id already.
async fn add(core: &Core, region: &Region, by: By<'_>) -> Result<bool, ChangeError> {
    let mut write = core.domains.store().write().await?;
    if by.begin(core, &mut write).await? == Begun::Done {
        return Ok(true);
    }
    match region.insert(&mut write).await {
        Err(fault) if fault.is_unique_violation() => return Ok(false),
        inserted => inserted?,
    }
    write_document(&mut write, region).await?;
    core.audit.record(&mut write, by.record("region.add", region)).await?;
    write.commit().await?;
    core.signals.publish.wake();
    Ok(true)
}

/// Changes a region; none where there is none of that id. What follows for its domains from a new
/// mailbox is written bit by bit afterwards.
async fn change(
    core: &Core,
    id: &RegionId,
    by: By<'_>,
    edit: impl FnOnce(&mut Region) + Send,
) -> Result<Option<Region>, ChangeError> {
    let store = core.domains.store();
    let mut write = store.write().await?;
    if by.begin(core, &mut write).await? == Begun::Done {
        drop(write);
        return Ok(Region::find(store.read(), id).await?);
    }
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
    let record = by.record("region.change", &region).before(shown_in_log(&before));
    core.audit.record(&mut write, record).await?;
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
