//! `dmarcer whoami`: who calls, and what they may do where.

use jiff::Timestamp;
use wire::control;

use crate::cli::Session;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::role;
use crate::cli::table::{Fields, Table};
use crate::cli::when::when;

const WHO: &str = "dmarcer.control.v1.WhoAmIResponse";

pub(crate) async fn run(session: &Session) -> Result<(), Failure> {
    let ask = async |client: &Client| {
        client.answer(client.identity().who_am_i(control::WhoAmIRequest {}).await)
    };
    let who = session.client.anywhere(ask).await?;
    let identity = session.client.given(who.identity.clone())?;
    session.output.one(WHO, &who, || text(session, &who, &identity))?;
    if session.settings.workspace.is_none() && who.memberships.len() > 1 {
        session.output.note("no workspace is chosen: pass --workspace ID");
    }
    Ok(())
}

fn text(session: &Session, who: &control::WhoAmIResponse, identity: &control::Identity) -> String {
    let expires = match &who.expires_at {
        Some(at) => when(Some(at), Timestamp::now()),
        None => "never".to_owned(),
    };
    let owner = Some(&identity.owner).filter(|owner| **owner != identity.id);
    let fields = Fields::default()
        .with("You are", &identity.name)
        .with("Id", &identity.id)
        .with_some("Owner", owner.cloned().unwrap_or_default())
        .with("Workspace", &identity.workspace_id)
        .with("Role", role::shown(identity.role()))
        .with_some("Domains", role::reach(identity.role(), &identity.domains))
        .with("Server", session.settings.server.as_str())
        .with_some("Context", session.settings.context.clone().unwrap_or_default())
        .with("Token from", session.settings.token_from.to_string())
        .with("Expires", expires)
        .render();
    let mut table = Table::new(&["WORKSPACE", "NAME", "ROLE", "DOMAINS"]);
    for it in &who.memberships {
        table.row([
            it.workspace_id.clone(),
            it.workspace_name.clone(),
            role::shown(it.role()),
            role::reach(it.role(), &it.domains),
        ]);
    }
    match table.is_empty() {
        true => fields,
        false => format!("{fields}\n{}", table.render(!session.options.no_headers)),
    }
}
