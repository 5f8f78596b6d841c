//! `dmarcer workspace …`

use clap::Subcommand;
use jiff::Timestamp;
use wire::control;

use crate::cli::Session;
use crate::cli::client::{Client, PAGE_SIZE};
use crate::cli::confirm::confirm;
use crate::cli::failure::Failure;
use crate::cli::table::{Fields, Table};
use crate::cli::when::when;

const WORKSPACE: &str = "dmarcer.control.v1.Workspace";

/// Tenants.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkspaceCommand {
    /// Add a workspace
    #[command(after_help = "Example: dmarcer workspace add acme --name 'Acme'")]
    Add {
        /// 1 to 32 of a-z, 0-9 and inner hyphens; never changes, and is never used again
        id: String,
        /// For people; the id where left out
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
    },
    /// List the workspaces that you may see, closed ones too
    #[command(after_help = "Example: dmarcer workspace list")]
    List,
    /// Show a workspace
    #[command(after_help = "Example: dmarcer workspace show acme")]
    Show {
        /// The workspace; the one that you work in where left out
        #[arg(default_value = "", hide_default_value = true)]
        id: String,
    },
    /// Change a workspace's name
    #[command(after_help = "Example: dmarcer workspace rename acme 'Acme'")]
    Rename {
        /// The workspace
        id: String,
        /// Its new name
        name: String,
    },
    /// Close a workspace that has no domains left; its members and tokens are good for nothing then
    #[command(after_help = "Example: dmarcer workspace close acme --yes")]
    Close {
        /// The workspace
        id: String,
    },
}

pub(crate) async fn run(session: &Session, command: WorkspaceCommand) -> Result<(), Failure> {
    let client = &session.client;
    let mut workspaces = client.workspaces();
    let workspace = match command {
        WorkspaceCommand::Add { id, name } => {
            let request = control::AddWorkspaceRequest { id: id.clone(), name };
            let added = client.answer(workspaces.add_workspace(request).await)?.workspace;
            session.output.note(&format!("next: dmarcer member add WHO --workspace {id} --role …"));
            added
        }
        WorkspaceCommand::List => return list(session).await,
        WorkspaceCommand::Show { id } => {
            let request = control::GetWorkspaceRequest { id };
            client.answer(workspaces.get_workspace(request).await)?.workspace
        }
        WorkspaceCommand::Rename { id, name } => {
            let request = control::UpdateWorkspaceRequest { id, name };
            client.answer(workspaces.update_workspace(request).await)?.workspace
        }
        WorkspaceCommand::Close { id } => {
            let question = format!(
                "close workspace {id} for good? Its members and tokens are good for nothing then"
            );
            confirm(&question, session.options.yes)?;
            let request = control::CloseWorkspaceRequest { id };
            client.answer(workspaces.close_workspace(request).await)?.workspace
        }
    };
    let workspace = client.given(workspace)?;
    session.output.one(WORKSPACE, &workspace, || fields(&workspace))
}

async fn list(session: &Session) -> Result<(), Failure> {
    let all = async |client: &Client| {
        let page = async |page_token| {
            let request = control::ListWorkspacesRequest { page_size: PAGE_SIZE, page_token };
            let page = client.answer(client.workspaces().list_workspaces(request).await)?;
            Ok((page.items, page.next_page_token))
        };
        client.all(page).await
    };
    let workspaces = session.client.anywhere(all).await?;
    let now = Timestamp::now();
    session.output.list(WORKSPACE, &workspaces, "you are in no workspace", || {
        let mut table = Table::new(&["ID", "NAME", "DOMAINS", "MEMBERS", "ADDED", "CLOSED"]);
        for workspace in &workspaces {
            table.row([
                workspace.id.clone(),
                workspace.name.clone(),
                workspace.domains.to_string(),
                workspace.members.to_string(),
                when(workspace.created_at.as_ref(), now),
                when(workspace.closed_at.as_ref(), now),
            ]);
        }
        table
    })
}

fn fields(workspace: &control::Workspace) -> String {
    let now = Timestamp::now();
    let fields = Fields::default()
        .with("Workspace", &workspace.id)
        .with("Name", &workspace.name)
        .with("Domains", workspace.domains.to_string())
        .with("Members", workspace.members.to_string())
        .with("Added", when(workspace.created_at.as_ref(), now));
    match &workspace.closed_at {
        Some(at) => fields.with("Closed", when(Some(at), now)),
        None => fields,
    }
    .render()
}
