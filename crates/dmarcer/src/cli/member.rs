//! `dmarcer member …`

use clap::Subcommand;
use jiff::Timestamp;
use wire::control;

use crate::cli::Session;
use crate::cli::client::PAGE_SIZE;
use crate::cli::confirm::confirm;
use crate::cli::failure::Failure;
use crate::cli::output::word;
use crate::cli::role::{self, Domains, Role};
use crate::cli::table::{Fields, Table};
use crate::cli::when::when;

const MEMBER: &str = "dmarcer.control.v1.Member";

/// People of a workspace.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Add a person
    #[command(
        after_help = "Example: dmarcer member add alice@example.org --role read-only\n         \
                      dmarcer member add bob@example.org --role domain-manager --domain example.org"
    )]
    Add {
        /// Their e-mail address as your sign-in provider has verified it, or sub: and its own name for them
        who: String,
        /// What they may do
        #[arg(long)]
        role: Role,
        #[command(flatten)]
        domains: Domains,
    },
    /// List the people of the workspace
    #[command(after_help = "Example: dmarcer member list")]
    List,
    /// Change what a person may do; their tokens and sign-ins feel it within a second
    #[command(after_help = "Example: dmarcer member set bob@example.org --role domain-manager")]
    Set {
        /// The person
        who: String,
        /// What they may do from now on
        #[arg(long)]
        role: Role,
        #[command(flatten)]
        domains: Domains,
    },
    /// Remove a person; their tokens are good for nothing here then
    #[command(after_help = "Example: dmarcer member remove bob@example.org --yes")]
    Remove {
        /// The person
        who: String,
    },
}

pub(crate) async fn run(session: &Session, command: MemberCommand) -> Result<(), Failure> {
    let client = &session.client;
    let mut members = client.members();
    let member = match command {
        MemberCommand::Add { who, role, domains } => {
            let domains = domains.of(Some(role))?;
            let request = control::AddMemberRequest { who, role: role.to_wire(), domains };
            client.answer(members.add_member(request).await)?.member
        }
        MemberCommand::List => return list(session).await,
        MemberCommand::Set { who, role, domains } => {
            let domains = domains.of(Some(role))?;
            let request = control::UpdateMemberRequest { who, role: role.to_wire(), domains };
            client.answer(members.update_member(request).await)?.member
        }
        MemberCommand::Remove { who } => {
            let question = format!("remove {who}? Their tokens are good for nothing here then");
            confirm(&question, session.options.yes)?;
            let request = control::RemoveMemberRequest { who: who.clone() };
            client.answer(members.remove_member(request).await)?;
            return session.output.done(&format!("{who} is removed"));
        }
    };
    let member = client.given(member)?;
    session.output.one(MEMBER, &member, || fields(&member))
}

async fn list(session: &Session) -> Result<(), Failure> {
    let client = &session.client;
    let members = client
        .all(async |page_token| {
            let request = control::ListMembersRequest { page_size: PAGE_SIZE, page_token };
            let page = client.answer(client.members().list_members(request).await)?;
            Ok((page.items, page.next_page_token))
        })
        .await?;
    let now = Timestamp::now();
    let empty = "no members yet: dmarcer member add WHO --role read-only";
    session.output.list(MEMBER, &members, empty, || {
        let mut table = Table::new(&["WHO", "NAME", "ROLE", "DOMAINS", "BY", "LAST SEEN"]);
        for member in &members {
            table.row([
                member.who.clone(),
                member.name.clone(),
                role::shown(member.role()),
                role::reach(member.role(), &member.domains),
                source(member),
                when(member.last_seen_at.as_ref(), now),
            ]);
        }
        table
    })
}

fn fields(member: &control::Member) -> String {
    let now = Timestamp::now();
    Fields::default()
        .with("Member", &member.who)
        .with_some("Name", &member.name)
        .with("Role", role::shown(member.role()))
        .with_some("Domains", role::reach(member.role(), &member.domains))
        .with("Added", format!("{} by {}", when(member.added_at.as_ref(), now), source(member)))
        .with("Last seen", when(member.last_seen_at.as_ref(), now))
        .render()
}

/// Who or what made them a member.
fn source(member: &control::Member) -> String {
    match member.source() {
        control::MemberSource::Provider => "sign-in provider".to_owned(),
        source if member.added_by.is_empty() => word(source.as_str_name(), "MEMBER_SOURCE_"),
        _ => member.added_by.clone(),
    }
}
