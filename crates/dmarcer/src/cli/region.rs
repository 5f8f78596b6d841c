//! `dmarcer region …`

use clap::Subcommand;
use data_encoding::HEXLOWER_PERMISSIVE;
use jiff::Timestamp;
use wire::control;

use crate::cli::Session;
use crate::cli::client::PAGE_SIZE;
use crate::cli::confirm::confirm;
use crate::cli::failure::Failure;
use crate::cli::table::{Fields, Table};
use crate::cli::when::when;

const REGION: &str = "dmarcer.control.v1.Region";

/// Where policies are served from.
#[derive(Debug, Subcommand)]
pub(crate) enum RegionCommand {
    /// Add a region
    #[command(
        after_help = "Example: dmarcer region add eu-1 --name Frankfurt --host eu-1.sts.example.net"
    )]
    Add {
        /// 1 to 32 of a-z, 0-9 and inner hyphens
        id: String,
        /// Host name that claims' CNAME targets end in; publish `*.` below it for the edges
        #[arg(long)]
        host: String,
        /// For people; the id where left out
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// Mailbox that takes the region's TLS-RPT reports
        #[arg(long, value_name = "MAILBOX", default_value = "", hide_default_value = true)]
        reports: String,
        /// X25519 public key in hex that keys are sealed to; made by `dmarcer up` where left out
        #[arg(long, value_name = "HEX", value_parser = hex)]
        sealing_key: Option<SealingKey>,
    },
    /// List regions
    #[command(after_help = "Example: dmarcer region list")]
    List,
    /// Show a region
    #[command(after_help = "Example: dmarcer region show eu-1")]
    Show {
        /// The region
        id: String,
    },
    /// Change a region's name or report mailbox
    #[command(after_help = "Example: dmarcer region set eu-1 --reports tls@reports.example.net")]
    Set {
        /// The region
        id: String,
        /// For people
        #[arg(long, required_unless_present_any = ["reports", "enable"])]
        name: Option<String>,
        /// Mailbox that takes TLS-RPT reports; "" switches them off
        #[arg(long, value_name = "MAILBOX")]
        reports: Option<String>,
        /// Let new domains choose it again, after `region disable`
        #[arg(long)]
        enable: bool,
    },
    /// Close a region to new domains; what it hosts goes on
    #[command(after_help = "Example: dmarcer region disable eu-1 --yes")]
    Disable {
        /// The region
        id: String,
    },
}

/// A raw public key.
#[derive(Debug, Clone)]
pub(crate) struct SealingKey(Vec<u8>);

fn hex(text: &str) -> Result<SealingKey, String> {
    let key = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|e| e.to_string())?;
    match key.len() {
        32 => Ok(SealingKey(key)),
        bytes => Err(format!("it has {bytes} bytes and not 32")),
    }
}

pub(crate) async fn run(session: &Session, command: RegionCommand) -> Result<(), Failure> {
    let client = &session.client;
    let mut regions = client.regions();
    let region = match command {
        RegionCommand::Add { id, host, name, reports, sealing_key } => {
            let sealing_key = sealing_key.map(|key| key.0).unwrap_or_default();
            let request = control::AddRegionRequest { id, name, host, reports, sealing_key };
            client.answer(regions.add_region(request).await)?.region
        }
        RegionCommand::List => return list(session).await,
        RegionCommand::Show { id } => {
            let request = control::GetRegionRequest { id };
            client.answer(regions.get_region(request).await)?.region
        }
        RegionCommand::Set { id, name, reports, enable } => {
            let active = enable.then_some(true);
            let request = control::UpdateRegionRequest { id, name, reports, active };
            client.answer(regions.update_region(request).await)?.region
        }
        RegionCommand::Disable { id } => {
            let question = format!("close region {id} to new domains?");
            confirm(&question, session.options.yes)?;
            let request = control::DisableRegionRequest { id };
            client.answer(regions.disable_region(request).await)?.region
        }
    };
    let region = client.given(region)?;
    session.output.one(REGION, &region, || fields(&region))
}

async fn list(session: &Session) -> Result<(), Failure> {
    let client = &session.client;
    let regions = client
        .all(async |page_token| {
            let request = control::ListRegionsRequest { page_size: PAGE_SIZE, page_token };
            let page = client.answer(client.regions().list_regions(request).await)?;
            Ok((page.items, page.next_page_token))
        })
        .await?;
    let empty = "no regions yet: dmarcer region add ID --host HOST";
    session.output.list(REGION, &regions, empty, || {
        let mut table = Table::new(&["ID", "NAME", "HOST", "ACTIVE", "DOMAINS", "LIVE EDGES"]);
        for region in &regions {
            table.row([
                region.id.clone(),
                region.name.clone(),
                region.host.clone(),
                active(region),
                region.domains.to_string(),
                region.live_edges.to_string(),
            ]);
        }
        table
    })
}

fn fields(region: &control::Region) -> String {
    let reports = match region.reports.as_str() {
        "" => "not configured",
        mailbox => mailbox,
    };
    Fields::default()
        .with("Region", &region.id)
        .with("Name", &region.name)
        .with("Host", &region.host)
        .with("Reports", reports)
        .with("Active", active(region))
        .with("Domains", region.domains.to_string())
        .with("Live edges", region.live_edges.to_string())
        .with("Added", when(region.created_at.as_ref(), Timestamp::now()))
        .render()
}

fn active(region: &control::Region) -> String {
    if region.active { "yes" } else { "no" }.to_owned()
}
