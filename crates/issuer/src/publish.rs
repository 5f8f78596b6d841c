//! Publishes to each region: certificates with their keys sealed to it, and the account whose
//! challenges its edges answer.
//!
//! The rows are the outbox. A change is first given its place, then put on the bus, then marked; one
//! that was cut off between is put again at its place. A bucket that has lost its values is filled
//! again in the order of the feed. A document that can't be made now gets a place behind the others
//! before they pass it: whoever has come by a position was given everything up to it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bus::Bytes;
use service::supervise::{Fault, chain};
use tracing::{error, info};
use wire::Message;
use wire::bus::{CertificateDocument, ChallengeDocument};
use wire::envelope::Place;
use wire::sealing;
use wire::time::to_wire;

use crate::Core;
use crate::certificate::der_chain;
use crate::order::key_place;
use crate::sql::{Change, Document, Region};

/// The key in `challenges-<region>` that holds for every domain.
pub(crate) const ACCOUNT_KEY: &str = "account";

/// Without a signal everything is looked at so often.
const TIMER: Duration = Duration::from_secs(10);

/// Documents of one transaction.
const BATCH: usize = 100;

/// The bucket of a region's certificates.
pub(crate) fn certificates_bucket(region: &str) -> String {
    format!("certificates-{region}")
}

/// The bucket of a region's challenges.
pub(crate) fn challenges_bucket(region: &str) -> String {
    format!("challenges-{region}")
}

/// One of a region's two feeds.
struct Feed<'a> {
    region: &'a Region,
    bucket: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Challenges,
    Certificates,
}

/// Publishes round after round, until its task is ended.
pub(crate) async fn run(core: Arc<Core>) -> Result<(), Fault> {
    loop {
        for region in core.db.regions().await? {
            challenges(&core, &region).await?;
            certificates(&core, &region).await?;
        }
        core.publish.wait(TIMER).await;
    }
}

async fn challenges(core: &Core, region: &Region) -> Result<(), Fault> {
    let bucket = challenges_bucket(&region.id);
    let account = core.authority.thumbprint(core).await?.unwrap_or_default();
    let known = core.db.document(&bucket, ACCOUNT_KEY).await?;
    let published = known.map(|document| document.content).unwrap_or_default();
    if account != published {
        let change = Change { key: ACCOUNT_KEY.to_owned(), content: account };
        core.db.place(&bucket, &[change]).await?;
    }
    let feed = Feed { region, bucket, kind: Kind::Challenges };
    if feed.put_all(core).await? > 0 {
        // Orders wait for edges to pass this.
        core.renew.wake();
    }
    Ok(())
}

async fn certificates(core: &Core, region: &Region) -> Result<(), Fault> {
    let feed = Feed { region, bucket: certificates_bucket(&region.id), kind: Kind::Certificates };
    loop {
        let changes = core.db.certificate_changes(&feed.bucket, region, BATCH).await?;
        core.db.place(&feed.bucket, &changes).await?;
        let put = feed.put_all(core).await?;
        if put > 0 {
            info!(bucket = feed.bucket, put, "published");
        }
        if changes.is_empty() {
            return Ok(());
        }
    }
}

impl Feed<'_> {
    /// Puts what is pending, or all of it if the bus holds nothing of it, in the order of the feed.
    /// What could not be made is pending afterwards, so that a bucket is filled all the same.
    async fn put_all(&self, core: &Core) -> Result<usize, Fault> {
        let generation = core.bus.generation(&self.bucket).await?;
        let all = core.db.generation(&self.bucket).await? != generation;
        let (mut after, mut put) = (0, 0);
        let mut not_made = HashSet::new();
        loop {
            let documents = core.db.documents(&self.bucket, after, all, BATCH).await?;
            let Some(last) = documents.last() else {
                break;
            };
            after = last.position;
            // What was not made is met again at its new place: once a round is enough.
            let documents = documents.into_iter().filter(|d| !not_made.contains(&d.key));
            let (made, later) = self.make(core, documents.collect()).await;
            core.db.place(&self.bucket, &later).await?;
            not_made.extend(later.into_iter().map(|change| change.key));
            let mut taken = Vec::new();
            for (document, envelope) in made {
                core.bus.put(&self.bucket, &document.key, envelope).await?;
                taken.push(document);
            }
            put += taken.len();
            core.db.put(&self.bucket, &taken).await?;
        }
        if all {
            core.db.filled(&self.bucket, &generation).await?;
        }
        Ok(put)
    }

    /// Signs each document for its place. One that can't be made delays no other: it is to be
    /// placed again.
    async fn make(
        &self,
        core: &Core,
        documents: Vec<Document>,
    ) -> (Vec<(Document, Bytes)>, Vec<Change>) {
        let (mut made, mut later) = (Vec::new(), Vec::new());
        for document in documents {
            match self.payload(core, &document).await {
                Ok(payload) => {
                    let Document { key, revision, position, .. } = &document;
                    let place = Place { revision: *revision, position: *position };
                    let envelope = core.signer.seal_encoded(&self.bucket, key, place, payload);
                    made.push((document, Bytes::from(envelope)));
                }
                Err(fault) => {
                    let fault = chain(&*fault);
                    error!(bucket = self.bucket, key = document.key, fault, "can't be published");
                    later.push(Change { key: document.key, content: document.content });
                }
            }
        }
        (made, later)
    }

    /// What a document holds now; `None`: nothing any more.
    async fn payload(&self, core: &Core, document: &Document) -> Result<Option<Vec<u8>>, Fault> {
        if document.content.is_empty() {
            return Ok(None);
        }
        match self.kind {
            Kind::Challenges => {
                let document = ChallengeDocument { thumbprints: vec![document.content.clone()] };
                Ok(Some(document.encode_to_vec()))
            }
            Kind::Certificates => {
                let document = certificate(core, self.region, &document.key).await?;
                Ok(Some(document.encode_to_vec()))
            }
        }
    }
}

/// The newest certificate of a domain, its key sealed to the region's key of now.
async fn certificate(
    core: &Core,
    region: &Region,
    domain: &str,
) -> Result<CertificateDocument, Fault> {
    let certificate = core.db.certificate(domain).await?;
    let certificate = certificate.ok_or("its certificate is not stored any more")?;
    let key = core.kek.open(&key_place(&certificate.order_id), &certificate.sealed_key)?;
    let chain = der_chain(&certificate.chain)?;
    Ok(CertificateDocument {
        domain: domain.to_owned(),
        chain: chain.iter().map(|der| der.to_vec()).collect(),
        key: Some(sealing::seal(&region.sealing_key, &region.id, domain, &key)?),
        not_before: Some(to_wire(certificate.not_before)),
        not_after: Some(to_wire(certificate.not_after)),
        serial: certificate.serial,
    })
}
