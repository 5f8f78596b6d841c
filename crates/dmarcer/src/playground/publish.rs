//! `dmarcer playground publish`: does what a domain's owner does at their DNS provider.

use std::collections::BTreeSet;

use ::playground::publish::publish;
use wire::dns::{Record, RecordStatus};

use super::{Folder, update_key};
use crate::cli::failure::Failure;
use crate::cli::wait::{self, Look};
use crate::cli::{ClientOptions, dns};

/// Publishes whatever has a value to publish, until all records are live. The `_mta-sts` row gets
/// its value only once the policy is served, so this takes a few looks.
pub(super) async fn run(
    folder: &Folder,
    options: &ClientOptions,
    name: &str,
) -> Result<(), Failure> {
    let (session, places) = folder.session(options)?;
    let key = update_key(&std::fs::read(folder.update_key())?)?;
    let mut published = BTreeSet::new();
    let mut steps = Vec::new();
    let later = format!("dmarcer dns check {name}");
    let records = wait::until(&session, name, &later, async || {
        let records = dns::checked(&session, name).await?;
        if records.is_empty() {
            let message = format!("there is nothing to publish for {name}");
            return Err(Failure::new("NOTHING_TO_PUBLISH", message)
                .hint(format!("dmarcer hosting activate {name}")));
        }
        let new: Vec<_> = records
            .iter()
            .filter(|record| record.status() != RecordStatus::Live && !record.value.is_empty())
            .map(|record| (record.name.clone(), record.r#type.clone(), record.value.clone()))
            .filter(|record| !published.contains(record))
            .collect();
        publish(places.dns, &key, &new).await.map_err(|e| Failure::fault(&e))?;
        for record in new {
            steps.push(format!("published {} {} {}", record.0, record.1, record.2));
            published.insert(record);
        }
        match records.iter().find(|record| !is_done(record)) {
            None => Ok(Look::Done(records, steps.clone())),
            Some(open) => Ok(Look::NotYet(steps.clone(), waits(open))),
        }
    })
    .await?;
    dns::print(&session, &records)
}

fn is_done(record: &Record) -> bool {
    matches!(record.status(), RecordStatus::Live | RecordStatus::RegionIntakeNotConfigured)
}

fn waits(record: &Record) -> String {
    match (record.value.is_empty(), record.hint.is_empty()) {
        (true, false) => format!("the value of {}: {}", record.name, record.hint),
        (true, true) => format!("the value of {}", record.name),
        (false, _) => format!("{} to be found", record.name),
    }
}
