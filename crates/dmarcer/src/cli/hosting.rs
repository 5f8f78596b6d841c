//! `dmarcer hosting …`

use clap::Subcommand;
use wire::control::{self, HostingState};

use crate::cli::Context;
use crate::cli::confirm::confirm;
use crate::cli::domain::{DOMAIN, fields};
use crate::cli::failure::Failure;
use crate::cli::rollout::{self, Until};
use crate::cli::wait::{self, Look};

/// Start and stop hosting a domain's policy.
#[derive(Debug, Subcommand)]
pub(crate) enum HostingCommand {
    /// Start hosting, with a policy in testing made from the live MX
    #[command(
        after_help = "Example: dmarcer hosting activate example.org --region eu-1 --wait\n\n\
                      --wait: until the claim is proven, the certificate valid, the policy served \
                      by all live edges and its id announced."
    )]
    Activate {
        /// The domain
        name: String,
        /// The region; may be left out where just one is active
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        region: String,
        #[command(flatten)]
        until: Until,
    },
    /// Begin to stop: mode none is served until no sender can hold an older policy
    #[command(after_help = "Example: dmarcer hosting deactivate example.org --yes")]
    Deactivate {
        /// The domain
        name: String,
        /// Refuse if the policy is not at this revision any more
        #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
        if_revision: u64,
        #[command(flatten)]
        until: Until,
    },
    /// Take a stop back: hosting goes on in testing
    #[command(after_help = "Example: dmarcer hosting cancel example.org")]
    Cancel {
        /// The domain
        name: String,
        #[command(flatten)]
        until: Until,
    },
    /// Show where hosting stands
    #[command(after_help = "Example: dmarcer hosting status example.org --wait")]
    Status {
        /// The domain
        name: String,
        #[command(flatten)]
        until: Until,
    },
}

pub(crate) async fn run(context: &Context, command: HostingCommand) -> Result<(), Failure> {
    let wait = context.options.wait;
    let domain = match command {
        HostingCommand::Activate { name, region, until } => {
            let domain = activate(context, name, region).await?;
            if until.asked(wait) { in_effect(context, &domain.name, &until).await? } else { domain }
        }
        HostingCommand::Deactivate { name, if_revision, until } => {
            let question = format!(
                "stop hosting {name}? Senders are told with mode none, and later nothing is served"
            );
            confirm(&question, context.options.yes).map_err(|refused| refused.about(&name))?;
            let request =
                control::DeactivateHostingRequest { name, expected_revision: if_revision };
            let call = context.client.domains().deactivate_hosting(request).await;
            let domain = context.client.answer(call)?.domain;
            let domain = context.client.given(domain)?;
            let off = domain.hosting.as_ref().is_none_or(|h| h.state() == HostingState::Off);
            announced(context, domain, !off && until.asked(wait), &until).await?
        }
        HostingCommand::Cancel { name, until } => {
            let request = control::CancelDeactivationRequest { name };
            let call = context.client.domains().cancel_deactivation(request).await;
            let domain = context.client.answer(call)?.domain;
            let domain = context.client.given(domain)?;
            announced(context, domain, until.asked(wait), &until).await?
        }
        HostingCommand::Status { name, until } => {
            if until.asked(wait) {
                in_effect(context, &name, &until).await?
            } else {
                show(context, &name).await?
            }
        }
    };
    context.output.one(DOMAIN, &domain, || fields(&domain))
}

async fn activate(
    context: &Context,
    name: String,
    region: String,
) -> Result<control::Domain, Failure> {
    let request = control::ActivateHostingRequest { name, region };
    let answer = context.client.domains().activate_hosting(request).await;
    let answer = context.client.answer(answer)?;
    let domain = context.client.given(answer.domain)?;
    for note in &answer.notes {
        context.output.note(&format!("note: {note}"));
    }
    context.output.note(&format!("next: publish what `dmarcer dns records {}` shows", domain.name));
    Ok(domain)
}

async fn show(context: &Context, name: &str) -> Result<control::Domain, Failure> {
    let request = control::GetDomainRequest { name: name.to_owned() };
    let answer = context.client.domains().get_domain(request).await;
    context.client.given(context.client.answer(answer)?.domain)
}

/// Waits until the policy's id is announced, where that was asked for.
async fn announced(
    context: &Context,
    domain: control::Domain,
    wait: bool,
    until: &Until,
) -> Result<control::Domain, Failure> {
    if !wait {
        return Ok(domain);
    }
    rollout::wait(context, &domain.name, 0, until).await?;
    show(context, &domain.name).await
}

/// Waits for all that makes hosting work: proof, certificate, edges, id.
async fn in_effect(
    context: &Context,
    name: &str,
    until: &Until,
) -> Result<control::Domain, Failure> {
    let later = format!("dmarcer hosting status {name}");
    wait::until(context, name, &later, async || {
        let domain = show(context, name).await?;
        let hosting = domain.hosting.clone().unwrap_or_default();
        let mut steps = vec!["saved".to_owned()];
        match hosting.state() {
            HostingState::Active => steps.push("claim proven".to_owned()),
            HostingState::Pending => return Ok(Look::NotYet(steps, proof_of(&hosting, name))),
            _ => {
                let message = format!("hosting of {name} is off or stopping");
                return Err(Failure::new("HOSTING_OFF", message));
            }
        }
        let certificate = rollout::certificate(context, name).await?;
        if let Some(serial) = &certificate.serial {
            steps.push(format!("certificate {serial}"));
        }
        let rollout = rollout::look(context, name).await?;
        steps.extend(rollout::steps(&rollout).into_iter().skip(1));
        if until.reached(&rollout) {
            return Ok(Look::Done(domain, steps));
        }
        let waits = match &certificate.serial {
            Some(_) => rollout.waiting_for.clone(),
            None => certificate.waits_for,
        };
        Ok(Look::NotYet(steps, waits))
    })
    .await
}

fn proof_of(hosting: &control::Hosting, name: &str) -> String {
    match hosting.cname_target.as_str() {
        "" => hosting.waiting_for.clone(),
        target => format!("mta-sts.{name} CNAME {target}"),
    }
}
