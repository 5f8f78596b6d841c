//! From the outbox to the bus.
//!
//! The row is the outbox: a document that is not on the bus yet gets the next position of its
//! bucket's feed, is signed, and put under its key. What was published before is put again when
//! the bucket has lost its values, which its generation tells.
//!
//! One publisher a feed: positions are given in one place, in order, so that an edge that has
//! passed a position has seen everything before it.

use std::sync::Arc;
use std::time::Duration;

use bus::Bytes;
use service::supervise::Fault;
use wire::envelope::Place;

use crate::Core;
use crate::sql::{Document, Feed};

/// The timer beside the signal.
const AT_LEAST_EVERY: Duration = Duration::from_secs(2);
/// Documents that are read, and given positions, at a time.
const BATCH: i64 = 256;

/// Publishes for ever.
pub(crate) async fn publish(core: Arc<Core>) -> Result<(), Fault> {
    loop {
        // A batch of each feed at a time: a change to one policy does not wait until a long feed of
        // another bucket has been emptied.
        let mut more = true;
        while more {
            more = false;
            for feed in Feed::all(core.domains.store().read()).await? {
                more |= publish_some(&core, &feed).await?;
            }
        }
        core.signals.publish.wait(AT_LEAST_EVERY).await;
    }
}

/// Publishes the next batch of a feed; nothing is left when it gives false.
async fn publish_some(core: &Core, feed: &Feed) -> Result<bool, Fault> {
    let store = core.domains.store();
    let generation = core.bus.generation(&feed.bucket).await?;
    if generation != feed.generation {
        refill(core, feed).await?;
        feed.set_generation(store.read(), &generation).await?;
    }
    let batch = give_positions(core, &feed.bucket).await?;
    if batch.is_empty() {
        return Ok(false);
    }
    for document in &batch {
        put(core, document).await?;
    }
    let mut write = store.write().await?;
    for document in &batch {
        document.set_published(&mut write).await?;
    }
    write.commit().await?;
    core.signals.announce.wake();
    core.signals.announce_first.wake();
    Ok(true)
}

/// The next documents to put, each with its place, which is stored before anybody sees it.
async fn give_positions(core: &Core, bucket: &str) -> Result<Vec<Document>, Fault> {
    let mut write = core.domains.store().write().await?;
    let Some(feed) = Feed::find(&mut *write, bucket).await? else { return Ok(Vec::new()) };
    let mut batch = Document::unpublished(&mut *write, bucket, BATCH).await?;
    let mut position = feed.position;
    for document in batch.iter_mut().filter(|document| document.position == 0) {
        position += 1;
        document.set_position(&mut write, position).await?;
        document.position = position;
    }
    feed.set_position(&mut write, position).await?;
    write.commit().await?;
    Ok(batch)
}

/// Puts everything again that was published before, in the order of its positions.
async fn refill(core: &Core, feed: &Feed) -> Result<(), Fault> {
    let mut after = 0;
    loop {
        let pool = core.domains.store().read();
        let batch = Document::published_after(pool, &feed.bucket, after, BATCH).await?;
        let Some(last) = batch.last() else { return Ok(()) };
        after = last.position;
        for document in &batch {
            put(core, document).await?;
        }
    }
}

async fn put(core: &Core, document: &Document) -> Result<(), Fault> {
    let place = Place { revision: document.revision, position: document.position };
    let (bucket, key) = (&document.bucket, &document.key);
    let envelope = core.signer.seal_encoded(bucket, key, place, document.payload.clone());
    core.bus.put(bucket, key, Bytes::from(envelope)).await?;
    Ok(())
}
