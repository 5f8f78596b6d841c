//! `dmarcer audit verify`: whether the chains are what was written.

use std::cmp::Ordering;

use clap::Args;
use serde_json::json;
use wire::json::to_json;
use wire::{audit, control};

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::table::Table;

const VERIFIED: &str = "dmarcer.control.v1.VerifyAuditResponse";
/// Where records are that belong to no workspace.
const PLATFORM: &str = "platform";

/// The chain that lists a service's chains, so that none can go missing as a whole.
const REGISTER: &str = "*";

/// Go through the records and say what is not as it was written.
#[derive(Debug, Args)]
#[command(after_help = "Example: dmarcer audit verify --all\n\n\
    A chain that was set back as a whole looks whole. Note the heads that this prints somewhere else, \
    and hand them in next time:\n\n  \
    dmarcer audit verify --contains control/default:41:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
pub(super) struct VerifyArgs {
    /// Every chain of the installation, for a Platform admin
    #[arg(long)]
    all: bool,
    /// A head that was noted before, as SERVICE/WORKSPACE:SEQUENCE:HASH; may be repeated
    #[arg(long, value_name = "HEAD", value_parser = noted, num_args = 1..)]
    contains: Vec<Noted>,
    /// Let it pass that a service isn't answering
    #[arg(long)]
    allow_missing: bool,
}

/// A head of a chain as it once was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Noted {
    service: String,
    workspace: String,
    sequence: u64,
    hash: String,
}

fn noted(text: &str) -> Result<Noted, String> {
    let parts = || {
        let (service, rest) = text.trim().split_once('/')?;
        let (rest, hash) = rest.rsplit_once(':')?;
        let (workspace, sequence) = rest.rsplit_once(':')?;
        let sequence = sequence.parse().ok()?;
        let hash = hash.to_lowercase();
        let hex = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let fits = hex && !service.is_empty() && !workspace.is_empty();
        let (service, workspace) = (service.to_owned(), workspace.to_owned());
        fits.then_some(Noted { service, workspace, sequence, hash })
    };
    parts().ok_or_else(|| "it is SERVICE/WORKSPACE:SEQUENCE:HASH, as verify prints it".to_owned())
}

pub(super) async fn run(session: &Session, args: VerifyArgs) -> Result<(), Failure> {
    let client = &session.client;
    let request = control::VerifyAuditRequest { all: args.all };
    let verified = client.answer(client.audit().verify_audit(request).await)?;

    let mut problems = Vec::new();
    for chain in &verified.items {
        for problem in &chain.problems {
            let (name, sequence) = (name(chain), problem.sequence);
            problems.push(format!("{name}, record {sequence}: {}", problem.what));
        }
    }
    for noted in &args.contains {
        problems.extend(contained(session, &verified.items, noted).await?);
    }
    print(session, &verified)?;
    if !problems.is_empty() {
        return Err(Failure::several("AUDIT_DAMAGED", problems));
    }
    match verified.missing.is_empty() || args.allow_missing {
        true => Ok(()),
        false => {
            let missing = verified.missing.join(", ");
            let message = format!("not verified, since it isn't answering: {missing}");
            Err(Failure::new("AUDIT_INCOMPLETE", message)
                .with("services", missing)
                .hint("try again, or pass --allow-missing"))
        }
    }
}

fn print(session: &Session, verified: &control::VerifyAuditResponse) -> Result<(), Failure> {
    let mut value = to_json(VERIFIED, verified)?;
    value["nextPageToken"] = json!("");
    session.output.value(
        || value,
        || {
            let mut table = Table::new(&["STATE", "RECORDS", "HEAD"]);
            for chain in &verified.items {
                let state = if chain.problems.is_empty() { "whole" } else { "DAMAGED" };
                let head = format!("{}:{}:{}", name(chain), chain.sequence, chain.hash);
                table.row([state.to_owned(), chain.records.to_string(), head]);
            }
            table.render(session.output.headers())
        },
    )
}

fn name(chain: &audit::AuditChain) -> String {
    format!("{}/{}", chain.service, chain.workspace_id)
}

/// What speaks against a chain still holding what was noted of it.
async fn contained(
    session: &Session,
    chains: &[audit::AuditChain],
    noted: &Noted,
) -> Result<Option<String>, Failure> {
    match held_against(chains, noted) {
        Held::Whole => Ok(None),
        Held::Not(problem) => Ok(Some(problem)),
        Held::AtRecord => {
            let found = hash_at(session, noted).await?;
            Ok((found != noted.hash).then(|| another(noted)))
        }
    }
}

/// What the heads alone say of a noted one.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    Whole,
    Not(String),
    /// The chain has gone on: the record itself has to be looked at.
    AtRecord,
}

fn held_against(chains: &[audit::AuditChain], noted: &Noted) -> Held {
    let Noted { service, workspace, sequence, hash } = noted;
    // Every chain began empty.
    if *sequence == 0 {
        return Held::Whole;
    }
    let chain = chains.iter().find(|it| it.service == *service && it.workspace_id == *workspace);
    let Some(chain) = chain else {
        let why = "it is missing, or another workspace's: pass --all";
        return Held::Not(format!("{service}/{workspace} was not verified: {why}"));
    };
    match chain.sequence.cmp(sequence) {
        Ordering::Less => Held::Not(format!(
            "{service}/{workspace} was at {sequence} and is at {}: its end is missing",
            chain.sequence
        )),
        Ordering::Equal if chain.hash == *hash => Held::Whole,
        Ordering::Equal => Held::Not(another(noted)),
        // The list of chains only grows, and its older records are not shown to anybody.
        Ordering::Greater if *workspace == REGISTER => Held::Whole,
        Ordering::Greater => Held::AtRecord,
    }
}

fn another(noted: &Noted) -> String {
    let Noted { service, workspace, sequence, .. } = noted;
    format!("{service}/{workspace}, record {sequence}: it is not the one that was noted")
}

/// The hash of an older record; empty where it isn't there.
async fn hash_at(session: &Session, noted: &Noted) -> Result<String, Failure> {
    let platform = noted.workspace == PLATFORM;
    let theirs;
    let client = match platform {
        true => &session.client,
        false => {
            theirs = session.client.in_workspace(&noted.workspace)?;
            &theirs
        }
    };
    let mut page_token = String::new();
    loop {
        let request = control::ListAuditRecordsRequest {
            page_size: i32::try_from(super::RECORDS_PAGE).unwrap_or(i32::MAX),
            page_token: page_token.clone(),
            filter: None,
            platform,
        };
        let page = client.answer(client.audit().list_audit_records(request).await)?;
        let theirs = page.items.iter().filter(|record| record.service == noted.service);
        // Newest first: the sequence goes down.
        if let Some(record) = theirs.into_iter().find(|it| it.sequence <= noted.sequence) {
            let there = record.sequence == noted.sequence;
            return Ok(if there { record.hash.clone() } else { String::new() });
        }
        if page.next_page_token.is_empty() {
            return Ok(String::new());
        }
        if page.next_page_token == page_token {
            return Err(client.endless());
        }
        page_token = page.next_page_token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noted_head_is_read_back_as_it_is_printed() {
        let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let read = noted(&format!("control/default:41:{hash}")).unwrap();
        assert_eq!((read.service.as_str(), read.workspace.as_str()), ("control", "default"));
        assert_eq!((read.sequence, read.hash.as_str()), (41, hash));
        for text in ["", "control", "control/default", "control/default:41:abc", "/:1:"] {
            assert!(noted(text).is_err(), "{text}");
        }
        assert!(noted(&format!("control/default:x:{hash}")).is_err());
    }

    #[test]
    fn a_noted_head_is_held_against_the_chain_as_it_is_now() {
        let (ours, others) = ("a".repeat(64), "b".repeat(64));
        let chain = |workspace: &str| audit::AuditChain {
            service: "control".to_owned(),
            workspace_id: workspace.to_owned(),
            sequence: 5,
            hash: ours.clone(),
            ..Default::default()
        };
        let chains = [chain("acme"), chain(REGISTER)];
        let held = |head: &str, hash: &str| {
            held_against(&chains, &noted(&format!("control/{head}:{hash}")).unwrap())
        };
        assert_eq!(held("acme:5", &ours), Held::Whole);
        assert_eq!(held("acme:4", &others), Held::AtRecord);
        assert_eq!(held("*:4", &others), Held::Whole);
        assert_eq!(held("other:0", &others), Held::Whole);
        for (head, hash) in
            [("acme:5", &others), ("acme:6", &ours), ("*:5", &others), ("x:1", &ours)]
        {
            assert!(matches!(held(head, hash), Held::Not(_)), "{head}");
        }
    }
}
