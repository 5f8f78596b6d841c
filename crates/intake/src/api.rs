//! gRPC: a domain's activity.

use std::collections::BTreeMap;
use std::sync::Arc;

use hosting::{Domain, Refusal};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use service::caller::{Caller, Role, caller};
use service::grpc::Services;
use service::supervise::chain;
use store::StoreError;
use tonic::{Code, Request, Response, Status};
use tracing::error;
use wire::control::GetExpectedRecordsRequest;
use wire::intake as v1;
use wire::intake::activity_service_server::{ActivityService, ActivityServiceServer};
use wire::status;
use wire::time::to_wire;

use crate::{Core, sql};

const DEFAULT_DAYS: u32 = 7;
const MAX_DAYS: u32 = 90;

#[derive(Clone)]
struct Api {
    core: Arc<Core>,
}

pub(crate) async fn add_to(core: &Arc<Core>, services: &mut Services) {
    let api = Api { core: core.clone() };
    services.add(ActivityServiceServer::new(api)).await;
}

#[tonic::async_trait]
impl ActivityService for Api {
    async fn get_activity(
        &self,
        request: Request<v1::GetActivityRequest>,
    ) -> Result<Response<v1::GetActivityResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let domain = Domain::parse(&request.domain)
            .map_err(|why| status::refusal(&Refusal::InvalidDomain(why)))?;
        let days = match request.days {
            0 => DEFAULT_DAYS,
            days @ 1..=MAX_DAYS => days,
            _ => return Err(status::invalid("days", "ask for 1 to 90")),
        };
        let today = self.core.clock.now().to_zoned_datetime(TimeZone::UTC).date();
        let activity = if self.is_owner(&caller, &domain).await? {
            self.activity(&domain, today, days).await.map_err(|fault| broken(&fault))?
        } else {
            empty(&domain, today, days)
        };
        Ok(Response::new(v1::GetActivityResponse { activity: Some(activity) }))
    }
}

impl Api {
    /// Whether what the edges counted is the caller's: only who has proven a name sees it. To the
    /// others a name of somebody else looks like a name that nobody fetches.
    async fn is_owner(&self, caller: &Caller, domain: &Domain) -> Result<bool, Status> {
        if caller.role == Role::Service {
            return Ok(true);
        }
        let request = GetExpectedRecordsRequest {
            domain: domain.to_string(),
            workspace_id: caller.workspace.clone(),
        };
        match self.core.control.clone().get_expected_records(request).await {
            Ok(response) => Ok(response.into_inner().records.is_some_and(|r| r.proven)),
            Err(told) if told.code() == Code::FailedPrecondition => Ok(false),
            Err(told) if told.code() == Code::NotFound => Err(told),
            Err(told) => Err(status::unavailable("control", told.message())),
        }
    }

    async fn activity(
        &self,
        domain: &Domain,
        today: Date,
        days: u32,
    ) -> Result<v1::Activity, StoreError> {
        let pool = self.core.store.read();
        let first = first_day(today, days).to_string();
        let counted = sql::days(pool, domain.as_str(), &first).await?.into_iter().collect();
        let clients = sql::clients(pool, domain.as_str(), &first).await?;
        let last = sql::last_fetch(pool, domain.as_str(), &first).await?;

        let mut activity = with_days(domain, today, days, &counted);
        activity.clients = clients
            .into_iter()
            .map(|(client, fetches)| v1::ActivityClient { client, fetches })
            .collect();
        let last = last.and_then(|millis| Timestamp::from_millisecond(millis).ok());
        activity.last_fetch_at = last.map(to_wire);
        Ok(activity)
    }
}

fn empty(domain: &Domain, today: Date, days: u32) -> v1::Activity {
    with_days(domain, today, days, &BTreeMap::new())
}

fn with_days(
    domain: &Domain,
    today: Date,
    days: u32,
    counted: &BTreeMap<String, u64>,
) -> v1::Activity {
    let mut date = first_day(today, days);
    let mut shown = Vec::new();
    while date <= today {
        let text = date.to_string();
        let fetches = counted.get(&text).copied().unwrap_or(0);
        shown.push(v1::ActivityDay { date: text, fetches });
        date = date.saturating_add(1.day());
    }
    v1::Activity {
        domain: domain.to_string(),
        total: shown.iter().map(|day| day.fetches).sum(),
        days: shown,
        clients: Vec::new(),
        last_fetch_at: None,
    }
}

fn first_day(today: Date, days: u32) -> Date {
    today.saturating_sub(i64::from(days.saturating_sub(1)).days())
}

fn broken(fault: &StoreError) -> Status {
    error!(fault = chain(fault), "the database failed a call");
    status::internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_without_a_fetch_are_there_with_zero() {
        let domain = Domain::parse("example.com").unwrap();
        let today = "2026-03-02".parse().unwrap();
        let counted = BTreeMap::from([("2026-02-28".to_owned(), 5)]);
        let activity = with_days(&domain, today, 3, &counted);
        let days: Vec<_> = activity.days.iter().map(|d| (d.date.as_str(), d.fetches)).collect();
        assert_eq!(days, [("2026-02-28", 5), ("2026-03-01", 0), ("2026-03-02", 0)]);
        assert_eq!(activity.total, 5);
    }
}
