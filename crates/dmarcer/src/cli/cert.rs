//! `dmarcer cert …`

use clap::Subcommand;
use jiff::Timestamp;
use wire::issuer::{self, CertificateStatus, OrderOutcome};

use crate::cli::Session;
use crate::cli::client::PAGE_SIZE;
use crate::cli::failure::Failure;
use crate::cli::output::word;
use crate::cli::table::{Fields, Table};
use crate::cli::wait::{self, Look};
use crate::cli::when::when;

const CERTIFICATE: &str = "dmarcer.issuer.v1.Certificate";
const ORDER: &str = "dmarcer.issuer.v1.Order";

/// A domain's certificate.
#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// Show the certificate
    #[command(after_help = "Example: dmarcer cert show example.org")]
    Show {
        /// The domain
        name: String,
    },
    /// Order a new one: three in any seven days; the old one is served until it is there
    #[command(after_help = "Example: dmarcer cert reissue example.org --wait")]
    Reissue {
        /// The domain
        name: String,
    },
    /// List orders, newest first
    #[command(after_help = "Example: dmarcer cert history example.org")]
    History {
        /// The domain
        name: String,
    },
}

pub(crate) async fn run(session: &Session, command: CertCommand) -> Result<(), Failure> {
    match command {
        CertCommand::Show { name } => {
            let certificate = match session.options.wait {
                true => valid(session, &name).await?,
                false => current(session, &name).await?,
            };
            print(session, &certificate)
        }
        CertCommand::Reissue { name } => print(session, &reissue(session, name).await?),
        CertCommand::History { name } => history(session, &name).await,
    }
}

async fn reissue(session: &Session, name: String) -> Result<issuer::Certificate, Failure> {
    let request = issuer::ReissueCertificateRequest { domain: name };
    let answer = session.client.certificates().reissue_certificate(request).await;
    let answer = session.client.answer(answer)?;
    let certificate = session.client.given(answer.certificate)?;
    match (session.options.wait, answer.order) {
        (true, Some(order)) => ordered(session, &certificate.domain, &order.id).await,
        _ => Ok(certificate),
    }
}

/// Waits until an order has ended, and its certificate is the one that is valid.
async fn ordered(
    session: &Session,
    domain: &str,
    order: &str,
) -> Result<issuer::Certificate, Failure> {
    let later = format!("dmarcer cert history {domain}");
    wait::until(session, domain, &later, async || {
        let mut steps = vec!["ordered".to_owned()];
        let order = orders(session, domain).await?.into_iter().find(|found| found.id == order);
        let order = session.client.given(order)?;
        match order.outcome() {
            OrderOutcome::Issued => steps.push(format!("issued ({})", order.serial)),
            OrderOutcome::Unspecified => return Ok(Look::NotYet(steps, "the CA".to_owned())),
            OrderOutcome::Failed => {
                let message = format!("the order for {domain} failed: {}", order.error);
                return Err(Failure::new("ORDER_FAILED", message)
                    .hint("the certificate that was there is still served"));
            }
        }
        let certificate = current(session, domain).await?;
        if certificate.serial == order.serial && is_valid(&certificate) {
            return Ok(Look::Done(certificate, steps));
        }
        Ok(Look::NotYet(steps, "the certificate".to_owned()))
    })
    .await
}

/// Waits until there is a valid certificate.
async fn valid(session: &Session, domain: &str) -> Result<issuer::Certificate, Failure> {
    let later = format!("dmarcer cert show {domain}");
    wait::until(session, domain, &later, async || {
        let certificate = current(session, domain).await?;
        let status = status(&certificate);
        if is_valid(&certificate) {
            return Ok(Look::Done(certificate, vec![status]));
        }
        let waits = match certificate.last_error.as_str() {
            "" => "the certificate".to_owned(),
            error => format!("another try ({error})"),
        };
        Ok(Look::NotYet(vec![status], waits))
    })
    .await
}

async fn current(session: &Session, domain: &str) -> Result<issuer::Certificate, Failure> {
    let domain = domain.to_owned();
    let request = issuer::GetCertificateRequest { domain, ..Default::default() };
    let answer = session.client.certificates().get_certificate(request).await;
    session.client.given(session.client.answer(answer)?.certificate)
}

async fn orders(session: &Session, domain: &str) -> Result<Vec<issuer::Order>, Failure> {
    let client = &session.client;
    client
        .all(async |page_token| {
            let request = issuer::ListOrdersRequest {
                domain: domain.to_owned(),
                page_size: PAGE_SIZE,
                page_token,
            };
            let page = client.answer(client.certificates().list_orders(request).await)?;
            Ok((page.items, page.next_page_token))
        })
        .await
}

fn print(session: &Session, certificate: &issuer::Certificate) -> Result<(), Failure> {
    let now = Timestamp::now();
    let instant = |at: &Option<wire::Timestamp>| match at {
        Some(_) => when(at.as_ref(), now),
        None => String::new(),
    };
    session.output.one(CERTIFICATE, certificate, || {
        Fields::default()
            .with("Host", &certificate.host)
            .with("Status", status(certificate))
            .with_some("Serial", &certificate.serial)
            .with_some("Issuer", &certificate.issuer)
            .with_some("Valid from", instant(&certificate.not_before))
            .with_some("Valid until", instant(&certificate.not_after))
            .with_some("Renewal", instant(&certificate.renew_at))
            .with("Re-issues left", certificate.reissues_left.to_string())
            .with_some("Next re-issue", instant(&certificate.next_reissue_at))
            .with_some("Last error", &certificate.last_error)
            .with_some("Tried again", instant(&certificate.retry_at))
            .render()
    })
}

async fn history(session: &Session, domain: &str) -> Result<(), Failure> {
    let orders = orders(session, domain).await?;
    let now = Timestamp::now();
    let empty = format!("no orders yet: dmarcer cert show {domain}");
    session.output.list(ORDER, &orders, &empty, || {
        let mut table = Table::new(&["BEGAN", "REASON", "OUTCOME", "SERIAL", "ERROR"]);
        for order in &orders {
            let outcome = match order.outcome() {
                OrderOutcome::Unspecified => "under way".to_owned(),
                outcome => word(outcome.as_str_name(), "ORDER_OUTCOME_"),
            };
            table.row([
                when(order.created_at.as_ref(), now),
                word(order.reason().as_str_name(), "ORDER_REASON_"),
                outcome,
                order.serial.clone(),
                order.error.clone(),
            ]);
        }
        table
    })
}

fn is_valid(certificate: &issuer::Certificate) -> bool {
    matches!(certificate.status(), CertificateStatus::Valid | CertificateStatus::Renewing)
}

fn status(certificate: &issuer::Certificate) -> String {
    word(certificate.status().as_str_name(), "CERTIFICATE_STATUS_")
}
