//! `dmarcer context …`: servers by a short name.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{self, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};
use service::config::Secret;
use zeroize::Zeroizing;

use crate::cli::ClientOptions;
use crate::cli::client::look_at;
use crate::cli::contexts::{Book, Context, Contexts, TokenSource, parse_name};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::settings::{Environment, Server, chosen};
use crate::cli::table::{Fields, Table};

/// No token is longer, by far.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Servers that you work with, and the tokens for them.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Add a context; --workspace goes with it, and the first one is in use at once
    #[command(
        after_help = "Example: dmarcer context add prod --server http://127.0.0.1:7443 --token-stdin\n         \
                      dmarcer context add ci --server http://sts:7443 --token-file /run/secrets/dmarcer\n         \
                      dmarcer context add acme --server http://sts:7443 --workspace acme \
                      --token-command pass show dmarcer"
    )]
    Add {
        /// 1 to 64 of a-z, 0-9, '-', '.' and '_'
        #[arg(value_parser = parse_name)]
        name: String,
        /// A file that has the token; it is read at each call and never written
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// Read the token from standard input, and keep it
        #[arg(long, conflicts_with = "token_file")]
        token_stdin: bool,
        /// A program that prints the token; the last option, with the program's own behind it
        #[arg(long, value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true,
              conflicts_with_all = ["token_file", "token_stdin"])]
        token_command: Vec<String>,
    },
    /// List contexts
    #[command(after_help = "Example: dmarcer context list")]
    List,
    /// Take a context into use; with --workspace, in that workspace from now on
    #[command(after_help = "Example: dmarcer context use prod\n         \
                      dmarcer context use prod --workspace acme")]
    Use {
        /// The context
        name: String,
    },
    /// Show a context, without its token
    #[command(after_help = "Example: dmarcer context show prod")]
    Show {
        /// The context; the one in use where left out
        name: Option<String>,
    },
    /// Remove a context, and forget its token
    #[command(after_help = "Example: dmarcer context remove prod")]
    Remove {
        /// The context
        name: String,
    },
}

pub(crate) fn run(command: ContextCommand, options: &ClientOptions) -> Result<(), Failure> {
    let environment = Environment::of_this_process();
    let contexts = Contexts::of(&environment);
    let output = Output::new(options.output, !options.no_headers);
    let outcome = carry_out(command, options, &environment, &contexts, &output);
    contexts.warn(options.output);
    outcome
}

fn carry_out(
    command: ContextCommand,
    options: &ClientOptions,
    environment: &Environment,
    contexts: &Contexts,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        ContextCommand::Add { name, token_file, token_stdin, token_command } => {
            let source = source(token_file, token_command)?;
            let given = options.token.is_some();
            if given && (token_stdin || source != TokenSource::Kept) {
                return Err(Failure::usage("--token is one of several tokens given: pass one"));
            }
            let Some(server) = &options.server else {
                return Err(Failure::usage("context add needs --server URL"));
            };
            let token = match (token_stdin, &options.token) {
                (true, _) => Some(token_from_stdin()?),
                (false, Some(token)) => Some(looked_at(token, "--token")?),
                (false, None) => None,
            };
            let server = Server::parse(server)?;
            let context = Context {
                name,
                server: server.to_string(),
                workspace: options.workspace.clone().filter(|id| !id.is_empty()),
                token: source,
            };
            add(contexts, &context, token.as_ref())?;
            clear_text(output, &server);
            if context.token == TokenSource::Kept && token.is_none() {
                output.note(&format!("next: dmarcer login --context {}", context.name));
            }
            print(contexts, output, &context.name)
        }
        ContextCommand::List => list(contexts, output),
        ContextCommand::Use { name } => {
            let context = contexts.change(|changing| {
                changing.book.get(&name)?;
                changing.book.current = Some(name.clone());
                let in_book = changing.book.contexts.get_mut(&name);
                if let (Some(context), Some(workspace)) = (in_book, &options.workspace) {
                    context.workspace = Some(workspace.clone()).filter(|id| !id.is_empty());
                }
                changing.book.get(&name)
            })?;
            overridden(output, environment, &context);
            print(contexts, output, &name)
        }
        ContextCommand::Show { name: Some(name) } => print(contexts, output, &name),
        ContextCommand::Show { name: None } => match chosen(options, environment, contexts)? {
            Some(context) => print(contexts, output, &context.name),
            None => Err(Failure::new("CONTEXT_NOT_FOUND", "there is no context in use")
                .hint("dmarcer context use NAME")),
        },
        ContextCommand::Remove { name } => {
            let had_token = contexts.change(|changing| {
                changing.book.get(&name)?;
                changing.book.contexts.remove(&name);
                changing.book.current.take_if(|current| *current == name);
                let had_token = changing.kept_token(&name).is_some();
                changing.forget_token(&name)?;
                Ok(had_token)
            })?;
            if had_token {
                output.note(
                    "its token is forgotten here and still good: dmarcer token revoke ends one",
                );
            }
            output.done(&format!("context {name} is removed"))
        }
    }
}

fn source(file: Option<PathBuf>, command: Vec<String>) -> Result<TokenSource, Failure> {
    match (file, command.is_empty()) {
        (Some(file), _) => {
            // It means the same from wherever the next command is called.
            let file = path::absolute(&file).map_err(|e| Failure::fault(&e))?;
            Ok(TokenSource::File(file))
        }
        (None, false) => Ok(TokenSource::Command(command)),
        (None, true) => Ok(TokenSource::Kept),
    }
}

fn add(contexts: &Contexts, context: &Context, token: Option<&Secret>) -> Result<(), Failure> {
    let name = &context.name;
    contexts.change(|changing| {
        if changing.book.contexts.contains_key(name) {
            let message = format!("there is a context {name} already");
            return Err(Failure::new("CONTEXT_EXISTS", message)
                .hint(format!("dmarcer context show {name}"))
                .hint(format!("dmarcer context remove {name}")));
        }
        // One that lies here was for another server.
        changing.forget_token(name)?;
        changing.book.contexts.insert(name.clone(), context.clone());
        changing.book.current.get_or_insert_with(|| name.clone());
        if let Some(token) = token {
            changing.keep_token(name, token);
        }
        Ok(())
    })
}

fn token_from_stdin() -> Result<Secret, Failure> {
    let mut text = Zeroizing::new(String::new());
    if io::stdin().is_terminal() {
        write!(io::stderr(), "token: ")?;
        io::stdin().read_line(&mut text)?;
    } else {
        io::stdin().take(MAX_TOKEN_BYTES).read_to_string(&mut text)?;
    }
    looked_at(&text, "standard input")
}

fn looked_at(token: &str, from: &str) -> Result<Secret, Failure> {
    let token = token.trim();
    let looked = if token.is_empty() { Err("is missing") } else { look_at(token) };
    match looked {
        Ok(()) => Ok(Secret::new(token.to_owned())),
        Err(why) => Err(Failure::new("TOKEN_INVALID", format!("{from}: the token {why}"))),
    }
}

/// Tells people that what they send can be read on its way.
pub(crate) fn clear_text(output: &Output, server: &Server) {
    if !server.is_loopback() {
        output.note(&format!(
            "warning: tokens go to {server} in clear: ssh -L 7443:127.0.0.1:7443 HOST keeps them secret"
        ));
    }
}

/// Tells people what in the environment goes before this context.
pub(crate) fn overridden(output: &Output, environment: &Environment, context: &Context) {
    let Environment { server, token, context: name, workspace, .. } = environment;
    let another =
        |said: &String| Server::parse(said).map_or(true, |it| it.to_string() != context.server);
    let set = [
        ("DMARCER_SERVER", server.as_ref().is_some_and(another)),
        ("DMARCER_TOKEN", token.is_some()),
        ("DMARCER_CONTEXT", name.as_ref().is_some_and(|name| *name != context.name)),
        ("DMARCER_WORKSPACE", workspace.is_some() && *workspace != context.workspace),
    ];
    let set: Vec<_> = set.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
    if !set.is_empty() {
        output.note(&format!("note: {} is set and goes before the context", set.join(", ")));
    }
}

fn list(contexts: &Contexts, output: &Output) -> Result<(), Failure> {
    let book = contexts.book()?;
    if book.contexts.is_empty() {
        output.note("no contexts yet: dmarcer context add NAME --server URL");
    }
    let items = || book.contexts.values().map(|it| value(contexts, &book, it)).collect::<Vec<_>>();
    output.value(
        || json!({ "items": items(), "nextPageToken": "" }),
        || {
            let mut table = Table::new(&["IN USE", "NAME", "SERVER", "WORKSPACE", "TOKEN"]);
            for it in book.contexts.values() {
                let current = if book.current.as_ref() == Some(&it.name) { "yes" } else { "" };
                table.row([
                    current.to_owned(),
                    it.name.clone(),
                    it.server.clone(),
                    it.workspace.clone().unwrap_or_default(),
                    token(contexts, it),
                ]);
            }
            if table.is_empty() { String::new() } else { table.render(output.headers()) }
        },
    )
}

fn print(contexts: &Contexts, output: &Output, name: &str) -> Result<(), Failure> {
    let book = contexts.book()?;
    let context = book.get(name)?;
    let in_use = if book.current.as_deref() == Some(name) { "yes" } else { "no" };
    output.value(
        || value(contexts, &book, &context),
        || {
            Fields::default()
                .with("Context", &context.name)
                .with("Server", &context.server)
                .with_some("Workspace", context.workspace.clone().unwrap_or_default())
                .with("Token", token(contexts, &context))
                .with("In use", in_use)
                .render()
        },
    )
}

fn value(contexts: &Contexts, book: &Book, context: &Context) -> Value {
    let (file, command) = match &context.token {
        TokenSource::File(path) => (path.to_string_lossy().into_owned(), Vec::new()),
        TokenSource::Command(command) => (String::new(), command.clone()),
        TokenSource::Kept => (String::new(), Vec::new()),
    };
    json!({
        "name": context.name,
        "server": context.server,
        "workspace": context.workspace.clone().unwrap_or_default(),
        "inUse": book.current.as_ref() == Some(&context.name),
        "hasToken": contexts.has_token(context),
        "tokenFile": file,
        "tokenCommand": command,
    })
}

/// Where the token is.
fn token(contexts: &Contexts, context: &Context) -> String {
    match &context.token {
        TokenSource::File(path) => format!("in {}", path.display()),
        TokenSource::Command(command) => format!("by {}", command.join(" ")),
        TokenSource::Kept if contexts.has_token(context) => "kept here".to_owned(),
        TokenSource::Kept => "none".to_owned(),
    }
}
