//! `dmarcer token …`

use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;
use wire::control;

use crate::cli::Session;
use crate::cli::client::PAGE_SIZE;
use crate::cli::confirm::confirm;
use crate::cli::contexts::Contexts;
use crate::cli::duration;
use crate::cli::failure::Failure;
use crate::cli::output::word;
use crate::cli::role::{self, Domains, Role};
use crate::cli::settings::{Environment, TokenFrom};
use crate::cli::table::{Fields, Table};
use crate::cli::when::when;

const TOKEN: &str = "dmarcer.control.v1.Token";
const CREATED: &str = "dmarcer.control.v1.CreateTokenResponse";

/// Tokens for programs, and the sign-ins of people.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token that can do no more than you; standard output has it and nothing else
    #[command(
        after_help = "Example: dmarcer token create deploy --role domain-manager --expires 30d\n         \
                      dmarcer token create mx --role domain-manager --domain example.org"
    )]
    Create {
        /// For people, 1 to 64 characters
        name: String,
        /// What it may do; read-only where left out
        #[arg(long)]
        role: Option<Role>,
        #[command(flatten)]
        domains: Domains,
        /// How long it is good, 1h to 366d; 90d where left out, and never longer than yours
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        expires: Option<Lifetime>,
    },
    /// List your tokens; for a Platform admin, all of the workspace
    #[command(after_help = "Example: dmarcer token list --all")]
    List {
        /// Expired and revoked ones, too
        #[arg(long)]
        all: bool,
    },
    /// Show a token, without its secret
    #[command(after_help = "Example: dmarcer token show 0f3k9m2q7xvb")]
    Show {
        /// The twelve letters and digits after dmr_
        #[arg(value_parser = token_id)]
        id: String,
    },
    /// End a token: within a second no service takes it
    #[command(after_help = "Example: dmarcer token revoke 0f3k9m2q7xvb --made-with-it-too --yes")]
    Revoke {
        /// The twelve letters and digits after dmr_; your own token where left out
        #[arg(value_parser = token_id)]
        id: Option<String>,
        /// The tokens that were made with it, and with those, too
        #[arg(long)]
        made_with_it_too: bool,
    },
}

/// How long a token is good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetime(u32);

fn lifetime(text: &str) -> Result<Lifetime, String> {
    const HOUR: Duration = Duration::from_secs(3600);
    const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
    let lifetime = duration::parse(text)?;
    let seconds = u32::try_from(lifetime.as_secs()).ok();
    let fits = (HOUR..=LONGEST).contains(&lifetime);
    seconds.filter(|_| fits).map(Lifetime).ok_or_else(|| "choose 1h to 366d".to_owned())
}

/// Reads a token's id. A whole token is not taken: it would stand in the shell's history.
fn token_id(text: &str) -> Result<String, String> {
    let id = text.strip_prefix(service::token::PREFIX).unwrap_or(text);
    match id.len() == service::token::ID_LETTERS || !text.starts_with(service::token::PREFIX) {
        true => Ok(id.to_owned()),
        false => Err("pass only the twelve letters and digits after dmr_, not its secret".into()),
    }
}

pub(crate) async fn run(session: &Session, command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create { name, role, domains, expires } => {
            let request = control::CreateTokenRequest {
                name,
                role: role.map(Role::to_wire).unwrap_or_default(),
                domains: domains.of(role)?,
                expires_after_seconds: expires.map_or(0, |it| it.0),
            };
            create(session, request).await
        }
        TokenCommand::List { all } => list(session, all).await,
        TokenCommand::Show { id } => print(session, &find(session, id).await?),
        TokenCommand::Revoke { id, made_with_it_too } => {
            revoke(session, id, made_with_it_too).await
        }
    }
}

async fn create(session: &Session, request: control::CreateTokenRequest) -> Result<(), Failure> {
    let client = &session.client;
    let created = client.answer(client.tokens().create_token(request).await)?;
    let token = client.given(created.token.clone())?;
    session.output.note_text(&fields(&token));
    session.output.note("Copy it now. It won't be shown again.");
    session.output.one(CREATED, &created, || format!("{}\n", created.secret))
}

async fn list(session: &Session, all: bool) -> Result<(), Failure> {
    let client = &session.client;
    let tokens = client
        .all(async |page_token| {
            let request = control::ListTokensRequest { page_size: PAGE_SIZE, page_token, all };
            let page = client.answer(client.tokens().list_tokens(request).await)?;
            Ok((page.items, page.next_page_token))
        })
        .await?;
    let now = Timestamp::now();
    let empty = "no tokens: dmarcer token create NAME";
    session.output.list(TOKEN, &tokens, empty, || {
        let mut table = Table::new(&[
            "ID",
            "NAME",
            "FOR",
            "STATE",
            "ROLE",
            "DOMAINS",
            "OWNER",
            "LAST USED",
            "EXPIRES",
        ]);
        for token in &tokens {
            table.row([
                token.id.clone(),
                token.name.clone(),
                kind(token),
                state(token),
                role::shown(token.role()),
                role::reach(token.role(), &token.domains),
                token.owner.clone(),
                when(token.last_used_at.as_ref(), now),
                when(token.expires_at.as_ref(), now),
            ]);
        }
        table
    })
}

async fn revoke(
    session: &Session,
    id: Option<String>,
    made_with_it_too: bool,
) -> Result<(), Failure> {
    let what = match &id {
        // Who is asked sees what they are asked about.
        Some(id) if !session.options.yes => named(&find(session, id.clone()).await?),
        Some(id) => id.clone(),
        None => format!("the token in use, from {}", session.settings.token_from),
    };
    let too = if made_with_it_too { ", and the tokens made with it" } else { "" };
    let question = format!("revoke {what}{too}? Anything that uses it stops working at once");
    confirm(&question, session.options.yes)?;

    let own = id.is_none();
    let request = control::RevokeTokenRequest { id: id.unwrap_or_default(), made_with_it_too };
    let client = &session.client;
    let answer = client.answer(client.tokens().revoke_token(request).await)?;
    let token = client.given(answer.token)?;
    if let (true, TokenFrom::Context(name)) = (own, &session.settings.token_from) {
        let contexts = Contexts::of(&Environment::of_this_process());
        contexts.change(|changing| changing.forget_token(name))?;
    }
    print(session, &token)?;
    if answer.still_active_made_with_it > 0 {
        let (count, id) = (answer.still_active_made_with_it, &token.id);
        session.output.note(&format!(
            "still good, made with it: {count}; to end them: dmarcer token revoke {id} \
             --made-with-it-too"
        ));
    }
    Ok(())
}

/// One token.
pub(crate) async fn find(session: &Session, id: String) -> Result<control::Token, Failure> {
    let client = &session.client;
    let request = control::GetTokenRequest { id };
    client.given(client.answer(client.tokens().get_token(request).await)?.token)
}

fn print(session: &Session, token: &control::Token) -> Result<(), Failure> {
    session.output.one(TOKEN, token, || fields(token))
}

fn fields(token: &control::Token) -> String {
    let now = Timestamp::now();
    let instant = |at: &Option<wire::Timestamp>| match at {
        Some(_) => when(at.as_ref(), now),
        None => String::new(),
    };
    Fields::default()
        .with("Token", &token.id)
        .with("Name", &token.name)
        .with("For", kind(token))
        .with("State", state(token))
        .with("Workspace", &token.workspace_id)
        .with("Role", role::shown(token.role()))
        .with_some("Domains", role::reach(token.role(), &token.domains))
        .with("Owner", &token.owner)
        .with_some("Made with", &token.made_with)
        .with("Made", when(token.created_at.as_ref(), now))
        .with("Expires", when(token.expires_at.as_ref(), now))
        .with("Last used", when(token.last_used_at.as_ref(), now))
        .with_some("Revoked", instant(&token.revoked_at))
        .with_some("Revoked by", &token.revoked_by)
        .render()
}

/// A token as a question names it.
pub(crate) fn named(token: &control::Token) -> String {
    let used = when(token.last_used_at.as_ref(), Timestamp::now());
    format!("{:?} ({}, owner {}, last used {used})", token.name, token.id, token.owner)
}

fn kind(token: &control::Token) -> String {
    word(token.kind().as_str_name(), "TOKEN_KIND_")
}

fn state(token: &control::Token) -> String {
    word(token.state().as_str_name(), "TOKEN_STATE_")
}
