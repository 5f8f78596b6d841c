//! `dmarcer policy …`

use clap::Subcommand;
use jiff::Timestamp;
use wire::control;

use crate::cli::client::PAGE_SIZE;
use crate::cli::confirm::{confirm, is_possible};
use crate::cli::failure::Failure;
use crate::cli::output::word;
use crate::cli::rollout::{self, Until};
use crate::cli::table::{Fields, Table};
use crate::cli::when::when;
use crate::cli::{Session, duration, readiness, refresh};

/// The message that most of these print.
pub(crate) const POLICY: &str = "dmarcer.control.v1.Policy";
const VERSION: &str = "dmarcer.control.v1.PolicyVersion";

/// A domain's policy: testing, enforce and back.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Show the policy
    #[command(after_help = "Example: dmarcer policy show example.org")]
    Show {
        /// The domain
        name: String,
        #[command(flatten)]
        until: Until,
    },
    /// Enforce the policy: senders refuse to deliver where TLS fails
    #[command(
        after_help = "Example: dmarcer policy promote example.org --accept mx_tls --wait\n\n\
                      `dmarcer readiness NAME` shows the checks. An open one that does not block \
                      is accepted by its id; give --accept once for each."
    )]
    Promote {
        /// The domain
        name: String,
        /// An open check to accept, by id; repeat it for more
        #[arg(long, value_name = "ID")]
        accept: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Go back to testing; never asks, never waits for a check
    #[command(after_help = "Example: dmarcer policy revert example.org --wait")]
    Revert {
        /// The domain
        name: String,
        #[command(flatten)]
        change: Change,
    },
    /// Rebuild the mx lines from the live MX
    #[command(after_help = "Example: dmarcer policy refresh-mx example.org --accept-removals")]
    RefreshMx {
        /// The domain
        name: String,
        /// Under enforce: remove mx lines whose hosts are gone from DNS
        #[arg(long)]
        accept_removals: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Show what refresh-mx would change; changes nothing
    #[command(after_help = "Example: dmarcer policy plan-mx example.org")]
    PlanMx {
        /// The domain
        name: String,
    },
    /// Set max_age or the mx lines by hand
    #[command(after_help = "Example: dmarcer policy set example.org --max-age 1w\n         \
                      dmarcer policy set example.org --mx mx1.example.org '*.example.net'")]
    Set {
        /// The domain
        name: String,
        /// How long senders may keep the policy: seconds, or for example 1d, 1w
        #[arg(long, value_name = "TIME", value_parser = duration::parse_seconds, required_unless_present = "mx")]
        max_age: Option<u32>,
        /// All mx lines, in place of those there are
        #[arg(long, value_name = "HOST", num_args = 1..)]
        mx: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// List all versions, newest first
    #[command(after_help = "Example: dmarcer policy history example.org")]
    History {
        /// The domain
        name: String,
    },
}

/// What every change of a policy takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Change {
    /// Refuse if the policy is not at this revision any more
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub(crate) if_revision: u64,
    #[command(flatten)]
    pub(crate) until: Until,
}

pub(crate) async fn run(session: &Session, command: PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Show { name, until } => {
            if until.asked(session.options.wait) {
                rollout::wait(session, &name, 0, &until).await?;
            }
            print(session, &current(session, &name).await?)
        }
        PolicyCommand::Promote { name, accept, change } => {
            let policy = promote(session, name, accept, change.if_revision).await?;
            finish(session, policy, &change.until).await
        }
        PolicyCommand::Revert { name, change } => {
            let expected_revision = change.if_revision;
            let request = control::RevertPolicyRequest { name, expected_revision };
            let answer = session.client.policies().revert_policy(request).await;
            let policy = session.client.answer(answer)?.policy;
            finish(session, session.client.given(policy)?, &change.until).await
        }
        PolicyCommand::RefreshMx { name, accept_removals, change } => {
            let refreshed = refresh::refresh(session, name, accept_removals, &change).await?;
            match refreshed {
                (policy, true) => finish(session, policy, &change.until).await,
                (policy, false) => print(session, &policy),
            }
        }
        PolicyCommand::PlanMx { name } => refresh::plan(session, name).await,
        PolicyCommand::Set { name, max_age, mx, change } => {
            let request = control::SetPolicyRequest {
                name,
                expected_revision: change.if_revision,
                max_age_seconds: max_age,
                mx,
            };
            let answer = session.client.policies().set_policy(request).await;
            let policy = session.client.answer(answer)?.policy;
            finish(session, session.client.given(policy)?, &change.until).await
        }
        PolicyCommand::History { name } => history(session, &name).await,
    }
}

async fn promote(
    session: &Session,
    name: String,
    accept: Vec<String>,
    if_revision: u64,
) -> Result<control::Policy, Failure> {
    let mut expected_revision = if_revision;
    if !session.options.yes {
        // Who is asked decides about the policy that they were shown.
        if is_possible() && expected_revision == 0 {
            expected_revision = current(session, &name).await?.revision;
        }
        let question = format!(
            "enforce the policy of {name}? Senders then refuse to deliver where TLS to your MX fails"
        );
        confirm(&question, false).map_err(|refused| refused.about(&name))?;
    }
    let request = control::PromotePolicyRequest {
        name: name.clone(),
        expected_revision,
        accept: accept.clone(),
    };
    let answer = session.client.policies().promote_policy(request).await;
    match session.client.answer(answer) {
        Ok(answer) => session.client.given(answer.policy),
        Err(failure) if failure.reason() == "NOT_READY" => {
            Err(readiness::explain(session, &name, &accept, failure).await)
        }
        Err(failure) => Err(failure),
    }
}

/// Waits where that was asked for, and prints the policy as it is then.
async fn finish(session: &Session, policy: control::Policy, until: &Until) -> Result<(), Failure> {
    if !until.asked(session.options.wait) {
        if policy.pending_policy_id.is_some() {
            let name = &policy.domain;
            session.output.note(&format!(
                "saved; on its way to the edges: dmarcer policy show {name} --wait"
            ));
        }
        return print(session, &policy);
    }
    rollout::wait(session, &policy.domain, policy.revision, until).await?;
    print(session, &current(session, &policy.domain).await?)
}

async fn current(session: &Session, name: &str) -> Result<control::Policy, Failure> {
    let request = control::GetPolicyRequest { name: name.to_owned() };
    let answer = session.client.policies().get_policy(request).await;
    session.client.given(session.client.answer(answer)?.policy)
}

fn print(session: &Session, policy: &control::Policy) -> Result<(), Failure> {
    session.output.one(POLICY, policy, || {
        let placeholder = if policy.placeholder { " (a placeholder: no MX was found)" } else { "" };
        let fields = Fields::default()
            .with("Domain", &policy.domain)
            .with("Mode", mode(policy.mode()))
            .with("Id", &policy.policy_id)
            .with_some("Pending id", policy.pending_policy_id.clone().unwrap_or_default())
            .with("Revision", policy.revision.to_string())
            .with("MX", policy.mx.join(", ") + placeholder)
            .with("Max age", duration::show(policy.max_age_seconds.into()))
            .with("Changed", changed(policy.changed_at.as_ref(), &policy.changed_by))
            .render();
        let lines = policy.body.lines().map(|line| format!("  {line}\n"));
        format!("{fields}\n{}", lines.collect::<String>())
    })
}

async fn history(session: &Session, name: &str) -> Result<(), Failure> {
    let client = &session.client;
    let versions = client
        .all(async |page_token| {
            let request = control::ListPolicyVersionsRequest {
                name: name.to_owned(),
                page_size: PAGE_SIZE,
                page_token,
            };
            let page = client.answer(client.policies().list_policy_versions(request).await)?;
            Ok((page.items, page.next_page_token))
        })
        .await?;
    let now = Timestamp::now();
    let empty = format!("no policy yet: dmarcer hosting activate {name}");
    session.output.list(VERSION, &versions, &empty, || {
        let mut table =
            Table::new(&["REVISION", "MODE", "CHANGE", "BY", "CHANGED", "ANNOUNCED", "ID", "MX"]);
        for version in &versions {
            table.row([
                version.revision.to_string(),
                mode(version.mode()),
                version.change.clone(),
                version.changed_by.clone(),
                when(version.changed_at.as_ref(), now),
                when(version.announced_at.as_ref(), now),
                version.policy_id.clone(),
                version.mx.join(", "),
            ]);
        }
        table
    })
}

fn changed(at: Option<&wire::Timestamp>, by: &str) -> String {
    let at = when(at, Timestamp::now());
    if by.is_empty() { at } else { format!("{at} by {by}") }
}

fn mode(mode: control::PolicyMode) -> String {
    word(mode.as_str_name(), "POLICY_MODE_")
}
