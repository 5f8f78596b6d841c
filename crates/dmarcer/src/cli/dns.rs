//! `dmarcer dns …`

use clap::Subcommand;
use jiff::Timestamp;
use wire::dns::{self, RecordStatus};

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output::word;
use crate::cli::table::Table;
use crate::cli::when::when;

const RECORD: &str = "dmarcer.dns.v1.Record";

/// The records to publish, and what senders find.
#[derive(Debug, Subcommand)]
pub(crate) enum DnsCommand {
    /// List the records to publish, with what was last found
    #[command(after_help = "Example: dmarcer dns records example.org")]
    Records {
        /// The domain
        name: String,
    },
    /// Look now, then list
    #[command(after_help = "Example: dmarcer dns check example.org")]
    Check {
        /// The domain
        name: String,
    },
}

pub(crate) async fn run(session: &Session, command: DnsCommand) -> Result<(), Failure> {
    let records = match command {
        DnsCommand::Records { name } => listed(session, &name).await?,
        DnsCommand::Check { name } => checked(session, &name).await?,
    };
    print(session, &records)
}

/// Prints the records, and what is to be said of each.
pub(crate) fn print(session: &Session, records: &[dns::Record]) -> Result<(), Failure> {
    let empty = "nothing to publish: hosting is off";
    session.output.list(RECORD, records, empty, || table(records))?;
    for record in records {
        for line in remarks(record) {
            session.output.note(&format!("{}: {line}", record.name));
        }
    }
    Ok(())
}

/// The records as they were last seen.
pub(crate) async fn listed(session: &Session, domain: &str) -> Result<Vec<dns::Record>, Failure> {
    let request = dns::ListRecordsRequest { domain: domain.to_owned(), ..Default::default() };
    let answer = session.client.records().list_records(request).await;
    Ok(session.client.answer(answer)?.items)
}

/// The records as they are seen now.
pub(crate) async fn checked(session: &Session, domain: &str) -> Result<Vec<dns::Record>, Failure> {
    let request = dns::CheckRecordsRequest { domain: domain.to_owned(), ..Default::default() };
    let answer = session.client.records().check_records(request).await;
    Ok(session.client.answer(answer)?.items)
}

fn table(records: &[dns::Record]) -> Table {
    let now = Timestamp::now();
    let mut table = Table::new(&["NAME", "TYPE", "STATUS", "VALUE", "CHECKED"]);
    for record in records {
        table.row([
            record.name.clone(),
            record.r#type.clone(),
            status(record.status()),
            record.value.clone(),
            when(record.checked_at.as_ref(), now),
        ]);
    }
    table
}

fn status(status: RecordStatus) -> String {
    match status {
        RecordStatus::Unspecified => "not looked yet".to_owned(),
        RecordStatus::RegionIntakeNotConfigured => "region intake not configured".to_owned(),
        other => word(other.as_str_name(), "RECORD_STATUS_"),
    }
}

fn remarks(record: &dns::Record) -> Vec<String> {
    let mut remarks = Vec::new();
    if record.status() == RecordStatus::Mismatch {
        remarks.push(format!("found {}", record.found));
    }
    if !record.hint.is_empty() {
        remarks.push(record.hint.clone());
    }
    if !record.check_error.is_empty() {
        remarks.push(format!("the last look got no answer: {}", record.check_error));
    }
    remarks
}
