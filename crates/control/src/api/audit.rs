//! Who changed what, over all services that change something.

use std::fmt;
use std::str::FromStr;

use audit::to_wire::filter;
use audit::{Filter, PLATFORM};
use jiff::Timestamp;
use service::access::require;
use service::caller::{Caller, Role, caller};
use tonic::{Request, Response, Status};
use wire::audit::AuditRecord;
use wire::control as v1;
use wire::control::audit_service_server::AuditService;
use wire::issuer::AuditTrailPlace;
use wire::time::from_wire;

use super::{Api, broken, page_size};

#[tonic::async_trait]
impl AuditService for Api {
    async fn list_audit_records(
        &self,
        request: Request<v1::ListAuditRecordsRequest>,
    ) -> Result<Response<v1::ListAuditRecordsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let chain = chain(&caller, request.platform)?;
        let wanted = request.filter.unwrap_or_default();
        let list = ["ListAuditRecords", &chain, &format!("{wanted:?}")];
        let place = self.place(&caller, &list, &request.page_token)?;
        let place = place.map_or(Ok(Place::default()), |place| place.parse())?;
        let size = page_size(request.page_size)?;

        let own_filter = filter(Some(wanted.clone()))?;
        let own = self.own_records(&chain, &own_filter, place.control, size + 1);
        let issuers = self.core.peers.audit_trail(&chain, wanted, place.issuer, size + 1);
        let (own, issuers) = tokio::join!(own, issuers);
        let (issuers, missing) = match issuers {
            Ok(records) => (records, Vec::new()),
            Err(away) => (Vec::new(), vec![away.service.to_owned()]),
        };

        let mut items = own?;
        items.extend(issuers);
        items.sort_by_key(|record| std::cmp::Reverse(order(record)));
        let size = usize::try_from(size).unwrap_or(1);
        let more = items.len() > size;
        items.truncate(size);
        let next = more.then(|| place.after(&items).to_string());
        let next_page_token = self.page_token(&caller, &list, next.as_deref());
        Ok(Response::new(v1::ListAuditRecordsResponse { items, next_page_token, missing }))
    }

    async fn verify_audit(
        &self,
        request: Request<v1::VerifyAuditRequest>,
    ) -> Result<Response<v1::VerifyAuditResponse>, Status> {
        let caller = caller(&request)?;
        let all = request.into_inner().all;
        if all {
            require(&caller, Role::PlatformAdmin)?;
        }
        // Going through all records takes connections that other calls need.
        let _alone = self.core.verifying.lock().await;
        let audit = &self.core.audit;
        let chains = match all {
            true => audit.verify_all().await,
            false => audit.verify(&caller.workspace).await.map(|chain| vec![chain]),
        };
        let chains = chains.map_err(|e| broken(&e))?;
        let mut items: Vec<_> = chains.iter().map(|chain| audit.chain_to_wire(chain)).collect();
        let workspace = if all { String::new() } else { caller.workspace };
        let missing = match self.core.peers.verified_trail(workspace).await {
            Ok(more) => {
                items.extend(more);
                Vec::new()
            }
            Err(away) => vec![away.service.to_owned()],
        };
        Ok(Response::new(v1::VerifyAuditResponse { items, missing }))
    }
}

impl Api {
    async fn own_records(
        &self,
        chain: &str,
        filter: &Filter,
        before: Option<AuditTrailPlace>,
        limit: i64,
    ) -> Result<Vec<AuditRecord>, Status> {
        let audit = &self.core.audit;
        let before = before.map(|place| (place.at_milliseconds, place.sequence));
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let entries = audit.list(chain, filter, before, limit).await.map_err(|e| broken(&e))?;
        Ok(entries.iter().map(|entry| audit.record_to_wire(entry)).collect())
    }
}

fn chain(caller: &Caller, platform: bool) -> Result<String, Status> {
    if !platform {
        return Ok(caller.workspace.clone());
    }
    require(caller, Role::PlatformAdmin)?;
    Ok(PLATFORM.to_owned())
}

/// Newest first when reversed; where two services wrote at one moment, by name.
fn order(record: &AuditRecord) -> (i64, String, u64) {
    (at(record), record.service.clone(), record.sequence)
}

fn at(record: &AuditRecord) -> i64 {
    record.at.as_ref().and_then(from_wire).map_or(0, Timestamp::as_millisecond)
}

/// How far a list has got in each service's records; none: not begun.
#[derive(Debug, Default, Clone)]
struct Place {
    control: Option<AuditTrailPlace>,
    issuer: Option<AuditTrailPlace>,
}

impl Place {
    fn after(mut self, shown: &[AuditRecord]) -> Place {
        for record in shown {
            let place = AuditTrailPlace { at_milliseconds: at(record), sequence: record.sequence };
            match record.service.as_str() {
                "issuer" => self.issuer = Some(place),
                _ => self.control = Some(place),
            }
        }
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |place: &Option<AuditTrailPlace>| match place {
            Some(place) => format!("{}.{}", place.at_milliseconds, place.sequence),
            None => String::new(),
        };
        write!(f, "{},{}", part(&self.control), part(&self.issuer))
    }
}

impl FromStr for Place {
    type Err = Status;

    fn from_str(text: &str) -> Result<Place, Status> {
        let read = |part: &str| {
            let (at, sequence) = part.split_once('.')?;
            Some(AuditTrailPlace {
                at_milliseconds: at.parse().ok()?,
                sequence: sequence.parse().ok()?,
            })
        };
        let (control, issuer) = text.split_once(',').unwrap_or_default();
        Ok(Place { control: read(control), issuer: read(issuer) })
    }
}
