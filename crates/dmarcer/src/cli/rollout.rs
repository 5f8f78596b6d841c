//! How far a change has got on its way to senders.

use clap::Args;
use tonic::Code;
use wire::control;
use wire::issuer::{self, CertificateStatus};

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::wait::{self, Look};

/// How long `--wait` waits.
#[derive(Debug, Clone, Args)]
pub(crate) struct Until {
    /// Wait until senders find the new id in DNS, too
    #[arg(long)]
    pub(crate) wait_dns: bool,
}

impl Until {
    /// Whether to wait at all.
    pub(crate) fn asked(&self, wait: bool) -> bool {
        wait || self.wait_dns
    }

    /// Whether there is nothing more to wait for.
    pub(crate) fn reached(&self, rollout: &control::Rollout) -> bool {
        rollout.announced && (rollout.seen_in_dns || !self.wait_dns)
    }
}

/// Waits until the change that made `revision`, or a later one, is in effect.
pub(crate) async fn wait(
    session: &Session,
    name: &str,
    revision: u64,
    until: &Until,
) -> Result<(), Failure> {
    let later = format!("dmarcer policy show {name}");
    wait::until(session, name, &later, async || {
        let rollout = look(session, name).await?;
        let steps = steps(&rollout);
        if rollout.revision >= revision && until.reached(&rollout) {
            return Ok(Look::Done((), steps));
        }
        Ok(Look::NotYet(steps, rollout.waiting_for))
    })
    .await
}

/// How far the current policy has got.
pub(crate) async fn look(session: &Session, name: &str) -> Result<control::Rollout, Failure> {
    let request = control::GetRolloutRequest { name: name.to_owned() };
    let answer = session.client.policies().get_rollout(request).await;
    session.client.given(session.client.answer(answer)?.rollout)
}

/// The steps that have been taken.
pub(crate) fn steps(rollout: &control::Rollout) -> Vec<String> {
    let mut steps = vec![format!("saved (revision {})", rollout.revision)];
    let (serving, live) = (rollout.edges_serving, rollout.edges_live);
    if live > 0 {
        let edges = if live == 1 { "edge" } else { "edges" };
        steps.push(format!("served by {serving} of {live} {edges}"));
    }
    if rollout.announced {
        steps.push(format!("id announced ({})", rollout.policy_id));
    }
    if rollout.seen_in_dns {
        steps.push("seen in DNS".to_owned());
    }
    steps
}

/// A certificate on its way.
pub(crate) struct Certified {
    /// Of the one that is valid.
    pub(crate) serial: Option<String>,
    /// What a missing one waits for.
    pub(crate) waits_for: String,
}

/// The domain's certificate.
pub(crate) async fn certificate(session: &Session, domain: &str) -> Result<Certified, Failure> {
    let request = issuer::GetCertificateRequest { domain: domain.to_owned(), ..Default::default() };
    let answer = session.client.certificates().get_certificate(request).await;
    // Nothing is known of it before the issuer has heard of the claim.
    if answer.as_ref().is_err_and(|status| status.code() == Code::NotFound) {
        return Ok(Certified { serial: None, waits_for: "the certificate".to_owned() });
    }
    let certificate = session.client.answer(answer)?.certificate;
    let certificate = session.client.given(certificate)?;
    let valid =
        matches!(certificate.status(), CertificateStatus::Valid | CertificateStatus::Renewing);
    let waits_for = match certificate.last_error.as_str() {
        "" => "the certificate".to_owned(),
        error => format!("the certificate ({error})"),
    };
    Ok(Certified { serial: Some(certificate.serial).filter(|_| valid), waits_for })
}
