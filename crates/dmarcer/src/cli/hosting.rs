//! `dmarcer hosting …`

use clap::Subcommand;
use wire::control::{self, HostingState};

use crate::cli::Session;
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

pub(crate) async fn run(session: &Session, command: HostingCommand) -> Result<(), Failure> {
    let wait = session.options.wait;
    let domain = match command {
        HostingCommand::Activate { name, region, until } => {
            let domain = activate(session, name, region).await?;
            if until.asked(wait) { in_effect(session, &domain.name, &until).await? } else { domain }
        }
        HostingCommand::Deactivate { name, if_revision, until } => {
            let question = format!(
                "stop hosting {name}? Senders are told with mode none, and later nothing is served"
            );
            confirm(&question, session.options.yes).map_err(|refused| refused.about(&name))?;
            let request =
                control::DeactivateHostingRequest { name, expected_revision: if_revision };
            let call = session.client.domains().deactivate_hosting(request).await;
            let domain = session.client.answer(call)?.domain;
            let domain = session.client.given(domain)?;
            let off = domain.hosting.as_ref().is_none_or(|h| h.state() == HostingState::Off);
            announced(session, domain, !off && until.asked(wait), &until).await?
        }
        HostingCommand::Cancel { name, until } => {
            let request = control::CancelDeactivationRequest { name };
            let call = session.client.domains().cancel_deactivation(request).await;
            let domain = session.client.answer(call)?.domain;
            let domain = session.client.given(domain)?;
            announced(session, domain, until.asked(wait), &until).await?
        }
        HostingCommand::Status { name, until } => {
            if until.asked(wait) {
                in_effect(session, &name, &until).await?
            } else {
                show(session, &name).await?
            }
        }
    };
    session.output.one(DOMAIN, &domain, || fields(&domain))
}

async fn activate(
    session: &Session,
    name: String,
    region: String,
) -> Result<control::Domain, Failure> {
    let request = control::ActivateHostingRequest { name, region };
    let answer = session.client.domains().activate_hosting(request).await;
    let answer = session.client.answer(answer)?;
    let domain = session.client.given(answer.domain)?;
    for note in &answer.notes {
        session.output.note(&format!("note: {note}"));
    }
    session.output.note(&format!("next: publish what `dmarcer dns records {}` shows", domain.name));
    Ok(domain)
}

async fn show(session: &Session, name: &str) -> Result<control::Domain, Failure> {
    let request = control::GetDomainRequest { name: name.to_owned() };
    let answer = session.client.domains().get_domain(request).await;
    session.client.given(session.client.answer(answer)?.domain)
}

/// Waits until the policy's id is announced, where that was asked for.
async fn announced(
    session: &Session,
    domain: control::Domain,
    wait: bool,
    until: &Until,
) -> Result<control::Domain, Failure> {
    if !wait {
        return Ok(domain);
    }
    rollout::wait(session, &domain.name, 0, until).await?;
    show(session, &domain.name).await
}

/// Waits for all that makes hosting work: proof, certificate, edges, id.
async fn in_effect(
    session: &Session,
    name: &str,
    until: &Until,
) -> Result<control::Domain, Failure> {
    let later = format!("dmarcer hosting status {name}");
    wait::until(session, name, &later, async || {
        let domain = show(session, name).await?;
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
        let certificate = rollout::certificate(session, name).await?;
        if let Some(serial) = &certificate.serial {
            steps.push(format!("certificate {serial}"));
        }
        let rollout = rollout::look(session, name).await?;
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
