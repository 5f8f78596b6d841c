//! `dmarcer readiness`: each check with its evidence.

use clap::Args;
use wire::control::{self, Check, CheckStatus};

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output::word;
use crate::cli::table::Table;

const READINESS: &str = "dmarcer.control.v1.Readiness";

/// Whether a domain's policy can be enforced.
#[derive(Debug, Args)]
pub(crate) struct ReadinessArgs {
    /// The domain
    name: String,
}

pub(crate) async fn run(session: &Session, args: &ReadinessArgs) -> Result<(), Failure> {
    let readiness = judged(session, &args.name).await?;
    session.output.one(READINESS, &readiness, || {
        let verdict = word(readiness.verdict().as_str_name(), "VERDICT_");
        let table = table(readiness.checks.iter()).render(!session.options.no_headers);
        format!("{table}\n{}: {verdict}\n", readiness.domain)
    })
}

/// Adds to a refused promotion what is open and how to go on.
pub(crate) async fn explain(
    session: &Session,
    name: &str,
    accepted: &[String],
    refused: Failure,
) -> Failure {
    let Ok(readiness) = judged(session, name).await else {
        return refused.hint(format!("dmarcer readiness {name}"));
    };
    let open = || readiness.checks.iter().filter(|check| check.status() != CheckStatus::Met);
    session.output.note_table(&table(open()));
    if open().any(|check| check.blocking) {
        return refused.hint("mend what blocks; it can't be accepted");
    }
    // Those that were accepted stay accepted, in the order of the checks.
    let missing = open().map(|check| &check.id).filter(|id| !accepted.contains(id));
    let flags = accepted.iter().chain(missing).map(|id| format!(" --accept {id}"));
    let flags: String = flags.collect();
    refused.hint(format!("dmarcer policy promote {name}{flags}"))
}

async fn judged(session: &Session, name: &str) -> Result<control::Readiness, Failure> {
    let request = control::GetReadinessRequest { name: name.to_owned() };
    let answer = session.client.policies().get_readiness(request).await;
    session.client.given(session.client.answer(answer)?.readiness)
}

fn table<'a>(checks: impl Iterator<Item = &'a Check>) -> Table {
    let mut table = Table::new(&["CHECK", "STATUS", "BLOCKS", "EVIDENCE"]);
    for check in checks {
        let blocks = if check.blocking { "yes" } else { "no" };
        table.row([
            check.id.clone(),
            word(check.status().as_str_name(), "CHECK_STATUS_"),
            blocks.to_owned(),
            check.evidence.clone(),
        ]);
    }
    table
}
