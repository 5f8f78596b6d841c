//! `dmarcer audit`: who changed what, and whether the record of it is whole.

mod change;
mod verify;

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use wire::json::to_json;
use wire::time::to_wire;
use wire::{audit, control};

use crate::cli::Session;
use crate::cli::client::Client;
use crate::cli::duration;
use crate::cli::failure::Failure;
use crate::cli::table::Table;

const PAGE: &str = "dmarcer.control.v1.ListAuditRecordsResponse";
/// As many are asked for at once: a page of records with long policies still fits in one answer.
const RECORDS_PAGE: usize = 200;
/// Nobody reads more at a time, and it all is held here; older ones are had with --until.
const MAX_RECORDS: u64 = 100_000;

/// Who changed what.
#[derive(Debug, Args)]
#[command(after_help = "Example: dmarcer audit --about example.org --since 7d\n         \
                  dmarcer audit --action policy. --who alice --limit 20\n         \
                  dmarcer audit verify")]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    wanted: Wanted,
    #[command(subcommand)]
    command: Option<AuditCommand>,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Go through the records and say what is not as it was written
    Verify(verify::VerifyArgs),
}

/// Which records.
#[derive(Debug, Args)]
struct Wanted {
    /// Only changes of this: a domain, a member, a token's id …
    #[arg(long, value_name = "NAME")]
    about: Option<String>,
    /// Only changes by them: a part of the name or id
    #[arg(long, value_name = "WHO")]
    who: Option<String>,
    /// Only this action, or all that begin with, for example, policy.
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Not before: 7d, 12h, a day or an instant such as 2026-11-23T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<Timestamp>,
    /// Before: 7d, 12h, a day or an instant
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
    /// Only what this call changed, by its reference
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// At most so many [default: 100]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=MAX_RECORDS))]
    limit: Option<u64>,
    /// What belongs to no workspace (regions, workspaces), for a Platform admin
    #[arg(long)]
    platform: bool,
}

impl Wanted {
    /// How many, unless somebody says.
    const LIMIT: u64 = 100;

    fn is_said(&self) -> bool {
        let Wanted { about, who, action, since, until, request, limit, platform } = self;
        let texts = [about, who, action, request].iter().any(|text| text.is_some());
        texts || since.is_some() || until.is_some() || limit.is_some() || *platform
    }

    fn filter(&self) -> audit::AuditFilter {
        audit::AuditFilter {
            about: self.about.clone().unwrap_or_default(),
            who: self.who.clone().unwrap_or_default(),
            action: self.action.clone().unwrap_or_default(),
            since: self.since.map(to_wire),
            until: self.until.map(to_wire),
            request_id: self.request.clone().unwrap_or_default(),
        }
    }
}

pub(crate) async fn run(session: &Session, args: AuditArgs) -> Result<(), Failure> {
    match args.command {
        Some(AuditCommand::Verify(_)) if args.wanted.is_said() => {
            Err(Failure::usage("audit verify looks at all records: leave the filters out"))
        }
        Some(AuditCommand::Verify(args)) => verify::run(session, args).await,
        None => list(session, &args.wanted).await,
    }
}

/// Records, newest first.
struct Found {
    page: control::ListAuditRecordsResponse,
    more: bool,
}

async fn list(session: &Session, wanted: &Wanted) -> Result<(), Failure> {
    let limit = usize::try_from(wanted.limit.unwrap_or(Wanted::LIMIT)).unwrap_or(usize::MAX);
    let found = find(&session.client, &wanted.filter(), wanted.platform, limit).await?;
    // The values of before and after are had as JSON only.
    let page = to_json(PAGE, &found.page)?;
    let empty = Vec::new();
    let items = page["items"].as_array().unwrap_or(&empty);
    let text = || table(items).render(session.output.headers());
    if items.is_empty() {
        session.output.note("no such records");
    }
    session.output.value(
        || json!({ "items": items, "nextPageToken": "", "missing": found.page.missing }),
        || if items.is_empty() { String::new() } else { text() },
    )?;
    for service in &found.page.missing {
        let missing =
            format!("warning: {service} isn't answering, so its records are missing here");
        session.output.note(&missing);
    }
    if found.more {
        session.output.note("there are older ones: --limit shows more, --until goes further back");
    }
    Ok(())
}

async fn find(
    client: &Client,
    filter: &audit::AuditFilter,
    platform: bool,
    limit: usize,
) -> Result<Found, Failure> {
    let mut found = control::ListAuditRecordsResponse::default();
    let mut page_token = String::new();
    loop {
        let wanted = (limit - found.items.len()).min(RECORDS_PAGE);
        let request = control::ListAuditRecordsRequest {
            page_size: i32::try_from(wanted).unwrap_or(i32::MAX),
            page_token: page_token.clone(),
            filter: Some(filter.clone()),
            platform,
        };
        let page = client.answer(client.audit().list_audit_records(request).await)?;
        for service in page.missing {
            if !found.missing.contains(&service) {
                found.missing.push(service);
            }
        }
        found.items.extend(page.items);
        found.items.truncate(limit);
        let more = !page.next_page_token.is_empty();
        if !more || found.items.len() >= limit {
            return Ok(Found { page: found, more });
        }
        if page.next_page_token == page_token {
            return Err(client.endless());
        }
        page_token = page.next_page_token;
    }
}

fn table(items: &[Value]) -> Table {
    let mut table = Table::new(&["TIME", "WHO", "ACTION", "ABOUT", "CHANGE"]);
    for item in items {
        let text = |field: &str| item[field].as_str().unwrap_or_default().to_owned();
        table.row([
            at(&text("at")),
            text("who"),
            text("action"),
            text("about"),
            change::between(&item["before"], &item["after"]),
        ]);
    }
    table
}

/// To the second: who looks for a cause compares.
fn at(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(at) => format!("{} UTC", at.strftime("%Y-%m-%d %H:%M:%S")),
        Err(_) => text.to_owned(),
    }
}

/// Reads an instant, or how long ago it was.
fn instant(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        return TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).map_err(|e| e.to_string());
    }
    let ago = match text.ends_with(|last: char| last.is_ascii_digit()) {
        // `2026` is more likely a year than seconds.
        true => None,
        false => duration::parse(text).ok(),
    };
    let ago = ago.and_then(|ago| SignedDuration::try_from(ago).ok());
    ago.and_then(|ago| Timestamp::now().checked_sub(ago).ok()).ok_or_else(|| {
        "write 7d, 12h, a day such as 2026-11-23, or an instant such as 2026-11-23T10:00:00Z".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_people_type_them() {
        let now = Timestamp::now();
        let ago = |text: &str| (now.as_second() - instant(text).unwrap().as_second()).abs();
        assert!((ago("7d") - 7 * 24 * 3600).abs() <= 1);
        assert!((ago("90s") - 90).abs() <= 1);
        let noon = "2026-11-23T12:00:00Z".parse().unwrap();
        assert_eq!(instant("2026-11-23T12:00:00Z"), Ok(noon));
        assert_eq!(instant("2026-11-23T13:00:00+01:00"), Ok(noon));
        assert_eq!(instant("2026-11-23"), Ok("2026-11-23T00:00:00Z".parse().unwrap()));
        for text in ["", "2026", "yesterday", "7", "99999999999999w", "2026-13-01"] {
            assert!(instant(text).is_err(), "{text}");
        }
    }
}
