//! Counts what the edges tell of.

use std::sync::Arc;

use jiff::tz::TimeZone;
use service::supervise::Fault;
use tracing::warn;
use wire::Message;
use wire::bus::{FetchBatch, FetchCount};
use wire::time::from_wire;

use crate::sql::Fetches;
use crate::{Core, FETCHES_CONSUMER, sql};

/// A batch that comes again after this long would be counted twice; edges try again every second.
const REMEMBER_BATCHES_DAYS: i64 = 60;
/// Edges send at most so many; a longer batch is cut.
const MAX_COUNTS: usize = 10_000;

/// Counts for ever.
pub(crate) async fn fetches(core: Arc<Core>) -> Result<(), Fault> {
    let mut consumer = core.bus.consume("fetches", FETCHES_CONSUMER).await?;
    loop {
        let delivery = consumer.next().await?;
        match FetchBatch::decode(delivery.payload().as_ref()) {
            Ok(batch) => count(&core, &batch).await?,
            Err(why) => warn!(id = delivery.id(), %why, "a batch of fetches can't be read"),
        }
        delivery.acknowledge().await?;
    }
}

async fn count(core: &Core, batch: &FetchBatch) -> Result<(), Fault> {
    let now = core.clock.now().as_millisecond();
    let mut write = core.store.write().await?;
    if !sql::remember_batch(&mut write, &batch.batch_id, now).await? {
        return Ok(());
    }
    for count in batch.counts.iter().take(MAX_COUNTS) {
        if let Some(fetches) = fetches_of(batch, count) {
            fetches.add(&mut write).await?;
        }
    }
    let forget = now - REMEMBER_BATCHES_DAYS * 24 * 60 * 60 * 1000;
    sql::forget_batches(&mut write, forget).await?;
    write.commit().await?;
    Ok(())
}

/// None for a count without a usable hour.
fn fetches_of(batch: &FetchBatch, count: &FetchCount) -> Option<Fetches> {
    let hour = count.hour.as_ref().and_then(from_wire)?;
    let last_at = count.last_at.as_ref().and_then(from_wire).unwrap_or(hour);
    Some(Fetches {
        domain: count.domain.clone(),
        day: hour.to_zoned_datetime(TimeZone::UTC).date().to_string(),
        region: batch.region_id.clone(),
        client: count.client.clone(),
        fetches: count.fetches,
        last_at: last_at.as_millisecond(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus::embedded::EmbeddedBus;
    use service::Shutdown;
    use service::clock::SystemClock;
    use service::config::Secret;
    use wire::control::claim_service_client::ClaimServiceClient;
    use wire::time::to_wire;

    async fn core(folder: &tempfile::TempDir) -> Arc<Core> {
        let url = format!("sqlite://{}/intake.db", folder.path().display());
        let nobody = service::peer::peer("http://127.0.0.1:1", &Secret::new("t".into())).unwrap();
        Arc::new(Core {
            store: store::Store::open(&url, "intake", sql::STEPS).await.unwrap(),
            bus: EmbeddedBus::new(&[]),
            control: ClaimServiceClient::new(nobody),
            clock: Arc::new(SystemClock),
            shutdown: Shutdown::new(),
        })
    }

    fn batch(id: &str, hour: &str, fetches: u64) -> FetchBatch {
        let hour = Some(to_wire(hour.parse().unwrap()));
        let count = FetchCount {
            domain: "example.com".into(),
            hour,
            client: "curl".into(),
            revision: 1,
            fetches,
            last_at: hour,
        };
        FetchBatch {
            batch_id: id.into(),
            edge_id: "a".into(),
            region_id: "eu-1".into(),
            counts: vec![count],
        }
    }

    #[tokio::test]
    async fn a_batch_that_comes_twice_is_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let core = core(&folder).await;
        for _ in 0..2 {
            count(&core, &batch("a-1", "2026-11-23T10:00:00Z", 3)).await.unwrap();
        }
        count(&core, &batch("a-2", "2026-11-23T23:00:00Z", 4)).await.unwrap();
        count(&core, &batch("a-3", "2026-11-24T00:00:00Z", 5)).await.unwrap();

        let days = sql::days(core.store.read(), "example.com", "2026-11-23").await.unwrap();
        assert_eq!(days, [("2026-11-23".to_owned(), 7), ("2026-11-24".to_owned(), 5)]);
    }
}
