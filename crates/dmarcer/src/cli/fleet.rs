//! `dmarcer fleet …`

use clap::Subcommand;
use jiff::Timestamp;
use wire::control;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::table::Table;
use crate::cli::when::when;

const STATUS: &str = "dmarcer.control.v1.FleetStatus";

/// The services and edges.
#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// Show services and edges
    #[command(after_help = "Example: dmarcer fleet status")]
    Status,
}

pub(crate) async fn run(session: &Session, command: &FleetCommand) -> Result<(), Failure> {
    let FleetCommand::Status = command;
    let answer = session.client.fleet().get_fleet_status(control::GetFleetStatusRequest {}).await;
    let status = session.client.given(session.client.answer(answer)?.status)?;
    session.output.one(STATUS, &status, || text(session, &status))?;
    for edge in &status.edges {
        for refused in &edge.refused {
            session.output.note(&format!("{}: {refused}", edge.id));
        }
    }
    Ok(())
}

fn text(session: &Session, status: &control::FleetStatus) -> String {
    let headers = !session.options.no_headers;
    let now = Timestamp::now();
    let mut services = Table::new(&["SERVICE", "SERVING", "DETAIL"]);
    for service in &status.services {
        let serving = if service.serving { "yes" } else { "no" };
        services.row([service.name.clone(), serving.to_owned(), service.detail.clone()]);
    }
    let mut edges =
        Table::new(&["EDGE", "REGION", "LIVE", "POSITION", "LAG", "DOMAINS", "HEARD", "VERSION"]);
    for edge in &status.edges {
        edges.row([
            edge.id.clone(),
            edge.region.clone(),
            if edge.live { "yes" } else { "no" }.to_owned(),
            edge.position.to_string(),
            edge.lag.to_string(),
            edge.domains.to_string(),
            when(edge.heard_at.as_ref(), now),
            edge.version.clone(),
        ]);
    }
    let edges = match edges.is_empty() {
        true => "no edges yet\n".to_owned(),
        false => edges.render(headers),
    };
    format!("{}\n{edges}", services.render(headers))
}
