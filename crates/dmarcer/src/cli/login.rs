//! `dmarcer login`: a person signs in with a browser, and a token is kept in a context.
//!
//! The browser comes back to a listener on loopback (RFC 8252 section 7.3). Where browser and terminal are
//! on different machines, the address that the browser ended at is pasted.

mod loopback;

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use service::config::Secret;
use tokio::sync::mpsc;
use url::Url;
use wire::control;
use wire::json::to_json;

use crate::cli::ClientOptions;
use crate::cli::client::Client;
use crate::cli::context::{clear_text, overridden};
use crate::cli::contexts::{Book, Context, Contexts, TokenSource, parse_name};
use crate::cli::failure::Failure;
use crate::cli::login::loopback::{Came, Loopback, Page};
use crate::cli::output::Output;
use crate::cli::role;
use crate::cli::settings::{Environment, Server, server_of};
use crate::cli::table::{Fields, Table, printable};
use crate::cli::when::when;

const SIGNED_IN: &str = "dmarcer.control.v1.CompleteSignInResponse";
/// The server lets no sign-in take longer.
const SIGN_IN_WITHIN: Duration = Duration::from_secs(10 * 60);
/// No address that a browser comes back with is longer.
const MAX_PASTED_BYTES: u64 = 8 * 1024;
/// Letters of a provider's own words that are shown.
const MAX_REFUSAL_LETTERS: usize = 200;

/// Sign in with your organisation's account.
#[derive(Debug, Args)]
#[command(after_help = "Example: dmarcer login --server http://127.0.0.1:7443\n         \
                  dmarcer login --context prod --no-browser\n\n\
    The sign-in is kept in a context: the one of --context, the one in use if it is of this server, or \
    a new one with the name of the server.")]
pub(crate) struct LoginArgs {
    /// Don't open a browser; paste the address that yours ends at
    #[arg(long)]
    no_browser: bool,
}

pub(crate) async fn run(args: &LoginArgs, options: &ClientOptions) -> Result<(), Failure> {
    let environment = Environment::of_this_process();
    let contexts = Contexts::of(&environment);
    let output = Output::new(options.output, !options.no_headers);
    let context = context(options, &environment, &contexts.book()?)?;
    let server = Server::parse(&context.server)?;
    clear_text(&output, &server);

    let client = Client::nobody(&server)?;
    let answer = client.sign_in().get_sign_in_provider(control::GetSignInProviderRequest {}).await;
    let provider = client.answer(answer)?;
    if !provider.configured {
        let message = format!("nobody can sign in at {server}: no sign-in provider is configured");
        return Err(Failure::refused("SIGN_IN_NOT_CONFIGURED", message));
    }
    let signed_in = sign_in(args, &client, &provider.name).await?;
    keep(&contexts, &context, &Secret::new(signed_in.token.clone()))?;
    contexts.warn(options.output);
    overridden(&output, &environment, &context);
    print(&output, &context, signed_in)
}

/// The context that the sign-in is kept in; it may be a new one.
fn context(
    options: &ClientOptions,
    environment: &Environment,
    book: &Book,
) -> Result<Context, Failure> {
    let named = options.context.as_ref().or(environment.context.as_ref());
    let there = match named {
        Some(name) => book.contexts.get(name),
        None => book.current.as_ref().and_then(|name| book.contexts.get(name)),
    };
    let theirs = there.map(|it| Server::parse(&it.server)).transpose()?;
    let server = server_of(options, environment, theirs.as_ref())?;
    let of_server = |it: &&Context| Server::parse(&it.server).is_ok_and(|theirs| theirs == server);
    let there = match named {
        Some(_) => there,
        None => there.filter(of_server).or_else(|| book.contexts.values().find(of_server)),
    };
    if let Some(it) = there {
        let Context { name, server: theirs, .. } = it;
        if !of_server(&it) {
            let message = format!("context {name} is of {theirs}, and not of {server}");
            return Err(Failure::new("CONTEXT_EXISTS", message)
                .hint("choose another name with --context, or leave --server out"));
        }
        if it.token != TokenSource::Kept {
            let message = format!("context {name} has its token from elsewhere already");
            return Err(
                Failure::new("CONTEXT_EXISTS", message).hint("choose another name with --context")
            );
        }
        let workspace = options.workspace.clone().or(it.workspace.clone());
        return Ok(Context { workspace, ..it.clone() });
    }
    let name = match named {
        Some(name) => name.clone(),
        None => name_of(&server),
    };
    let name = parse_name(&name)
        .map_err(|why| Failure::usage(format!("{name:?} is no context's name: {why}")))?;
    if book.contexts.contains_key(&name) {
        let message = format!("there is a context {name} already, of another server");
        let hint = "choose another name with --context";
        return Err(Failure::new("CONTEXT_EXISTS", message).hint(hint));
    }
    let workspace = options.workspace.clone();
    Ok(Context { name, server: server.to_string(), workspace, token: TokenSource::Kept })
}

/// `http://sts.example.net:7443` is `sts.example.net-7443`.
fn name_of(server: &Server) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = server.host().to_lowercase().chars().map(plain).collect();
    name.trim_start_matches('-').chars().take(64).collect()
}

async fn sign_in(
    args: &LoginArgs,
    client: &Client,
    provider: &str,
) -> Result<control::CompleteSignInResponse, Failure> {
    let mut loopback = Loopback::bind().await?;
    let request = control::BeginSignInRequest { redirect_uri: loopback.redirect_uri() };
    let begun = client.answer(client.sign_in().begin_sign_in(request).await)?;
    let address = web_address(&begun.authorization_url)?;
    let opened = !args.no_browser && open(&address).is_ok();
    // A person reads this, whatever the result is printed as.
    let mut out = io::stderr();
    let provider = if provider.is_empty() { "the provider" } else { provider };
    let lead = match opened {
        true => "Your browser opens. If it doesn't, open this:",
        false => "Open this in your browser:",
    };
    writeln!(out, "Signing in with {}. {lead}\n\n  {address}\n", printable(provider))?;
    let pasted = (args.no_browser || io::stdin().is_terminal()).then(pasted);
    if pasted.is_some() {
        writeln!(out, "If it is on another machine, paste the address that it ends at:")?;
    }

    let came = loopback.wait(&begun.state, pasted);
    let came = tokio::time::timeout(SIGN_IN_WITHIN, came).await;
    let mut came = came.map_err(|_| {
        let message = "nobody signed in within ten minutes";
        Failure::refused("SIGN_IN_EXPIRED", message.to_owned())
    })??;
    let outcome = complete(client, begun, &came).await;
    let page = if outcome.is_ok() { Page::SignedIn } else { Page::Failed };
    came.answer(page);
    loopback.finish().await;
    outcome
}

async fn complete(
    client: &Client,
    begun: control::BeginSignInResponse,
    came: &Came,
) -> Result<control::CompleteSignInResponse, Failure> {
    // Without a code, where the provider said no: then nobody else can end it either.
    let request = control::CompleteSignInRequest {
        state: begun.state,
        code: came.code.clone(),
        binding: begun.binding,
        issuer: came.issuer.clone(),
    };
    let outcome = client.answer(client.sign_in().complete_sign_in(request).await);
    match (&came.refusal, outcome) {
        (Some(words), _) => {
            let words: String = words.chars().take(MAX_REFUSAL_LETTERS).collect();
            Err(Failure::refused("SIGN_IN_REFUSED", format!("the provider said no: {words}")))
        }
        (None, outcome) => outcome,
    }
}

/// An address that a browser may be sent to: nothing but the web, and no option of a program.
fn web_address(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).ok().filter(|url| ["https", "http"].contains(&url.scheme()));
    url.ok_or_else(|| {
        let message = "the server gave no address to sign in at".to_owned();
        Failure::refused("SIGN_IN_FAILED", message)
    })
}

/// Opens a browser where there is a screen to show it on.
fn open(address: &Url) -> io::Result<()> {
    let screen = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let program = match (cfg!(target_os = "macos"), screen("DISPLAY") || screen("WAYLAND_DISPLAY"))
    {
        (true, _) => "open",
        (false, true) => "xdg-open",
        (false, false) => return Err(io::Error::other("there is no screen")),
    };
    let mut command = std::process::Command::new(program);
    let command = command.arg(address.as_str()).stdin(Stdio::null());
    // It may run for as long as the browser does.
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(drop)
}

/// Lines that are typed or pasted. Whoever reads them may stop at any time: the thread ends with the
/// process.
fn pasted() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut line = String::new();
            match stdin.by_ref().take(MAX_PASTED_BYTES).read_line(&mut line) {
                Ok(1..) if sender.send(line).is_ok() => {}
                _ => return,
            }
        }
    });
    receiver
}

fn keep(contexts: &Contexts, context: &Context, token: &Secret) -> Result<(), Failure> {
    let name = &context.name;
    contexts.change(|changing| {
        let before = changing.book.contexts.insert(name.clone(), context.clone());
        if before.is_some_and(|before| before.server != context.server) {
            let message = format!("context {name} has become another server's meanwhile");
            return Err(Failure::new("CONTEXT_EXISTS", message));
        }
        changing.book.current = Some(name.clone());
        changing.keep_token(name, token);
        Ok(())
    })
}

fn print(
    output: &Output,
    context: &Context,
    signed_in: control::CompleteSignInResponse,
) -> Result<(), Failure> {
    // It is kept; it need not stand on a screen as well.
    let signed_in = control::CompleteSignInResponse { token: String::new(), ..signed_in };
    let mut value = to_json(SIGNED_IN, &signed_in)?;
    if let Some(object) = value.as_object_mut() {
        object.remove("token");
        object.insert("context".to_owned(), json!(context.name));
        object.insert("server".to_owned(), json!(context.server));
    }
    output.value(
        || value,
        || {
            let fields = Fields::default()
                .with("Signed in as", &signed_in.name)
                .with("Context", &context.name)
                .with("Server", &context.server)
                .with("Until", when(signed_in.expires_at.as_ref(), Timestamp::now()))
                .render();
            let mut table = Table::new(&["WORKSPACE", "NAME", "ROLE", "DOMAINS"]);
            for it in &signed_in.memberships {
                table.row([
                    it.workspace_id.clone(),
                    it.workspace_name.clone(),
                    role::shown(it.role()),
                    role::reach(it.role(), &it.domains),
                ]);
            }
            format!("{fields}\n{}", table.render(output.headers()))
        },
    )?;
    if signed_in.memberships.len() > 1 && context.workspace.is_none() {
        let name = &context.name;
        let choose = format!("dmarcer context use {name} --workspace ID chooses one");
        output.note(&format!("you are in several workspaces: {choose}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
