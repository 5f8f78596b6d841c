//! `dmarcer domain …`

use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use wire::control;

use crate::cli::Session;
use crate::cli::client::PAGE_SIZE;
use crate::cli::confirm::confirm;
use crate::cli::failure::Failure;
use crate::cli::output::word;
use crate::cli::table::{Fields, Table};
use crate::cli::when::when;

/// The message that `domain` and `hosting` print.
pub(crate) const DOMAIN: &str = "dmarcer.control.v1.Domain";

/// Domains of your workspace.
#[derive(Debug, Subcommand)]
pub(crate) enum DomainCommand {
    /// Add a domain; nothing is served yet
    #[command(after_help = "Example: dmarcer domain add example.org")]
    Add {
        /// The domain, in any spelling
        name: String,
        /// It receives no mail
        #[arg(long)]
        parked: bool,
    },
    /// List domains
    #[command(after_help = "Example: dmarcer domain list --contains example")]
    List {
        /// Only names that contain this
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        contains: String,
    },
    /// Show a domain
    #[command(after_help = "Example: dmarcer domain show example.org")]
    Show {
        /// The domain
        name: String,
    },
    /// Make a Standard domain Parked, or back; hosting has to be off
    #[command(after_help = "Example: dmarcer domain convert example.org --to parked --yes")]
    Convert {
        /// The domain
        name: String,
        /// What it is to be
        #[arg(long, value_name = "KIND")]
        to: Kind,
    },
    /// Give up a domain; hosting has to be off
    #[command(after_help = "Example: dmarcer domain remove example.org --yes")]
    Remove {
        /// The domain
        name: String,
    },
}

/// What a domain is for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    // Receives mail.
    Standard,
    // Receives no mail.
    Parked,
}

impl Kind {
    fn to_wire(self) -> i32 {
        match self {
            Kind::Standard => control::DomainKind::Standard,
            Kind::Parked => control::DomainKind::Parked,
        }
        .into()
    }
}

pub(crate) async fn run(session: &Session, command: DomainCommand) -> Result<(), Failure> {
    let client = &session.client;
    let mut domains = client.domains();
    let domain = match command {
        DomainCommand::Add { name, parked } => {
            let kind = if parked { Kind::Parked } else { Kind::Standard }.to_wire();
            let request = control::AddDomainRequest { name, kind };
            let added = client.answer(domains.add_domain(request).await)?;
            let domain = client.given(added.domain)?;
            for warning in &added.warnings {
                session.output.note(&format!("warning: {warning}"));
            }
            if !parked {
                let name = &domain.name;
                session.output.note(&format!("next: dmarcer hosting activate {name}"));
            }
            Some(domain)
        }
        DomainCommand::List { contains } => return list(session, &contains).await,
        DomainCommand::Show { name } => {
            let request = control::GetDomainRequest { name };
            client.answer(domains.get_domain(request).await)?.domain
        }
        DomainCommand::Convert { name, to } => {
            let kind = word(&format!("{to:?}"), "");
            confirm(&format!("make {name} a {kind} domain?"), session.options.yes)
                .map_err(|refused| refused.about(&name))?;
            let request = control::ConvertDomainRequest { name, kind: to.to_wire() };
            client.answer(domains.convert_domain(request).await)?.domain
        }
        DomainCommand::Remove { name } => {
            confirm(&format!("give up {name}?"), session.options.yes)
                .map_err(|refused| refused.about(&name))?;
            let request = control::RemoveDomainRequest { name: name.clone() };
            client.answer(domains.remove_domain(request).await)?;
            return session.output.done(&format!("{name} is removed"));
        }
    };
    let domain = client.given(domain)?;
    session.output.one(DOMAIN, &domain, || fields(&domain))
}

async fn list(session: &Session, contains: &str) -> Result<(), Failure> {
    let client = &session.client;
    let domains = client
        .all(async |page_token| {
            let contains = contains.to_owned();
            let request =
                control::ListDomainsRequest { page_size: PAGE_SIZE, page_token, contains };
            let page = client.answer(client.domains().list_domains(request).await)?;
            Ok((page.items, page.next_page_token))
        })
        .await?;
    let empty = match contains {
        "" => "no domains yet: dmarcer domain add example.org".to_owned(),
        text => format!("no domain contains {text:?}"),
    };
    let now = Timestamp::now();
    session.output.list(DOMAIN, &domains, &empty, || {
        let mut table = Table::new(&["NAME", "KIND", "HOSTING", "REGION", "ADDED"]);
        for domain in &domains {
            let hosting = domain.hosting.clone().unwrap_or_default();
            table.row([
                domain.name.clone(),
                kind(domain),
                state(&hosting),
                hosting.region,
                when(domain.created_at.as_ref(), now),
            ]);
        }
        table
    })
}

/// A domain as people read it.
pub(crate) fn fields(domain: &control::Domain) -> String {
    let now = Timestamp::now();
    let hosting = domain.hosting.clone().unwrap_or_default();
    let written = Some(&domain.unicode_name).filter(|name| **name != domain.name);
    let instant = |at: &Option<wire::Timestamp>| match at {
        Some(_) => when(at.as_ref(), now),
        None => String::new(),
    };
    Fields::default()
        .with("Domain", &domain.name)
        .with_some("Written", written.cloned().unwrap_or_default())
        .with("Kind", kind(domain))
        .with("Hosting", state(&hosting))
        .with_some("Region", &hosting.region)
        .with_some("CNAME target", &hosting.cname_target)
        .with_some("Proof TXT", &hosting.proof_txt)
        .with_some("Proven", instant(&hosting.proven_at))
        .with_some("Stops", instant(&hosting.stops_at))
        .with_some("Waits for", &hosting.waiting_for)
        .with("Added", when(domain.created_at.as_ref(), now))
        .render()
}

fn kind(domain: &control::Domain) -> String {
    word(domain.kind().as_str_name(), "DOMAIN_KIND_")
}

fn state(hosting: &control::Hosting) -> String {
    word(hosting.state().as_str_name(), "HOSTING_STATE_")
}
