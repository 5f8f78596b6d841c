//! Follows what control and the edges say: regions, who hosts what, how far edges are.
//!
//! A document is taken if its revision is higher than what there is; one that can't be believed or
//! read is left aside, and delays no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use hosting::{Domain, RegionId};
use service::Shutdown;
use service::supervise::{Fault, keep_running};
use tokio::task::JoinHandle;
use tracing::warn;
use wire::bus::{EdgeDocument, PolicyDocument, RegionDocument};
use wire::envelope::Opened;

use crate::Core;
use crate::sql::Policy;

const REGIONS: &str = "regions";
const EDGES: &str = "edges";

/// Without a signal the list of regions is looked at so often.
const TIMER: Duration = Duration::from_secs(30);

/// Follows bucket `regions`.
pub(crate) async fn regions(core: Arc<Core>) -> Result<(), Fault> {
    let mut watch = core.bus.watch(REGIONS, 0).await?;
    loop {
        let entry = watch.next().await?;
        if let Some(opened) = believed(&core, REGIONS, &entry) {
            take_region(&core, &entry.key, &opened).await?;
        }
    }
}

/// Follows bucket `edges`.
pub(crate) async fn edges(core: Arc<Core>) -> Result<(), Fault> {
    let mut watch = core.bus.watch(EDGES, 0).await?;
    loop {
        let entry = watch.next().await?;
        let Some(opened) = believed(&core, EDGES, &entry) else {
            continue;
        };
        match opened.document::<EdgeDocument>() {
            Ok(Some(document)) if document.edge_id == entry.key => {
                let now = core.clock.now();
                if core.edges.take(opened.place.revision, &document, now) {
                    core.renew.wake();
                }
            }
            Ok(None) => {}
            Ok(Some(_)) => left_aside(EDGES, &entry.key, "its key is not its edge"),
            Err(why) => left_aside(EDGES, &entry.key, &why.to_string()),
        }
    }
}

/// Follows `policies-<region>` of every region that there is.
pub(crate) async fn policies(core: Arc<Core>, shutdown: Shutdown) -> Result<(), Fault> {
    let mut followers = Followers { shutdown: shutdown.child_token(), by_region: HashMap::new() };
    loop {
        for region in core.db.regions().await? {
            followers.follow(&core, region.id);
        }
        core.regions.wait(TIMER).await;
    }
}

/// One follower a region; they end when this is dropped, so that a new start has them once.
struct Followers {
    shutdown: Shutdown,
    by_region: HashMap<String, JoinHandle<()>>,
}

impl Followers {
    fn follow(&mut self, core: &Arc<Core>, region: String) {
        if self.by_region.contains_key(&region) {
            return;
        }
        let (core, shutdown, name) = (core.clone(), self.shutdown.clone(), region.clone());
        let follower = keep_running("issuer follows policies", shutdown, move || {
            policies_of(core.clone(), name.clone())
        });
        self.by_region.insert(region, tokio::spawn(follower));
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn policies_of(core: Arc<Core>, region: String) -> Result<(), Fault> {
    let bucket = format!("policies-{region}");
    let mut watch = core.bus.watch(&bucket, 0).await?;
    loop {
        let entry = watch.next().await?;
        if let Some(opened) = believed(&core, &bucket, &entry) {
            take_policy(&core, &bucket, &region, &entry.key, &opened).await?;
        }
    }
}

async fn take_region(core: &Core, key: &str, opened: &Opened) -> Result<(), Fault> {
    let document = match read_region(key, opened) {
        Ok(document) => document,
        Err(why) => {
            left_aside(REGIONS, key, &why);
            return Ok(());
        }
    };
    let sealing_key = document.as_ref().map(|d| d.sealing_key.as_slice());
    let tag = sealing_key.map(|key| HEXLOWER.encode(digest(&SHA256, key).as_ref()));
    let tag = tag.unwrap_or_default();
    if core.db.take_region(key, opened.place.revision, sealing_key, &tag).await? {
        core.regions.wake();
        core.publish.wake();
    }
    Ok(())
}

async fn take_policy(
    core: &Core,
    bucket: &str,
    region: &str,
    key: &str,
    opened: &Opened,
) -> Result<(), Fault> {
    let claim = match read_policy(key, opened) {
        Ok(claim) => claim,
        Err(why) => {
            left_aside(bucket, key, &why);
            return Ok(());
        }
    };
    let policy = Policy {
        domain: key,
        region,
        revision: opened.place.revision,
        position: opened.place.position,
        claim: claim.as_deref(),
    };
    if core.db.take_policy(&policy).await? {
        core.renew.wake();
        core.publish.wake();
    }
    Ok(())
}

fn read_region(key: &str, opened: &Opened) -> Result<Option<RegionDocument>, String> {
    let document = opened.document::<RegionDocument>().map_err(|e| e.to_string())?;
    if document.as_ref().is_some_and(|d| d.region_id != key) {
        return Err("its key is not its region".to_owned());
    }
    key.parse::<RegionId>().map_err(|e| e.to_string())?;
    Ok(document)
}

/// The claim for which the domain is hosted; `None` when it is no longer.
fn read_policy(key: &str, opened: &Opened) -> Result<Option<String>, String> {
    let document = opened.document::<PolicyDocument>().map_err(|e| e.to_string())?;
    if document.as_ref().is_some_and(|d| d.domain != key) {
        return Err("its key is not its domain".to_owned());
    }
    // Nothing is ever asked of a CA for what is not a domain in its one spelling.
    let domain = Domain::parse(key).map_err(|e| e.to_string())?;
    if domain.as_str() != key {
        return Err(format!("its key should be {domain}"));
    }
    Ok(document.map(|document| document.claim_id))
}

fn believed(core: &Core, bucket: &str, entry: &bus::Entry) -> Option<Opened> {
    match core.trust.open(bucket, &entry.key, &entry.value) {
        Ok(opened) => Some(opened),
        Err(why) => {
            left_aside(bucket, &entry.key, &why.to_string());
            None
        }
    }
}

fn left_aside(bucket: &str, key: &str, why: &str) {
    warn!(bucket, key, why, "left a document aside");
}
