//! The command line: noun, verb, name.
//!
//! A command is a file of its own. What they share, in the order in which a call meets it:
//!
//! * [`settings`]: which server, as whom, in which workspace: from flags, the environment and the user's
//!   [`contexts`].
//! * [`client`]: the calls; [`calls`] puts on each what the server has to know, and tries it again where
//!   an answer was lost.
//! * [`output`] and [`failure`]: what came of it, for people and for scripts.

pub(crate) mod activity;
pub(crate) mod audit;
pub(crate) mod calls;
pub(crate) mod cert;
pub(crate) mod client;
pub(crate) mod confirm;
pub(crate) mod context;
pub(crate) mod contexts;
pub(crate) mod dns;
pub(crate) mod domain;
pub(crate) mod duration;
pub(crate) mod failure;
pub(crate) mod fleet;
pub(crate) mod help;
pub(crate) mod hosting;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod member;
pub(crate) mod output;
pub(crate) mod policy;
pub(crate) mod readiness;
pub(crate) mod refresh;
pub(crate) mod region;
pub(crate) mod role;
pub(crate) mod rollout;
pub(crate) mod settings;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod token;
mod usage;
pub(crate) mod wait;
pub(crate) mod when;
pub(crate) mod whoami;
pub(crate) mod workspace;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::cli::client::Client;
use crate::cli::contexts::Contexts;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::settings::{Environment, Settings};
use crate::{config_check, playground, up};

/// Hosted MTA-STS (RFC 8461): policies made, served, watched and promoted for your domains.
#[derive(Debug, Parser)]
#[command(name = "dmarcer", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) client: ClientOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command that calls a server takes. What is left out may be in the environment or in a
/// context: [`settings`] knows.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Client options")]
pub(crate) struct ClientOptions {
    /// Where the server is [env: DMARCER_SERVER] [default: http://127.0.0.1:7443]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Who you are [env: DMARCER_TOKEN]; `dmarcer up` keeps the first token in <data_dir>/admin-token
    #[arg(long, global = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// The context to take server, token and workspace from [env: DMARCER_CONTEXT]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The workspace to work in [env: DMARCER_WORKSPACE]; your own where left out
    #[arg(long, global = true, value_name = "ID")]
    pub(crate) workspace: Option<String>,
    /// Marks a change: repeated with the same key within 24 hours it is made once
    #[arg(long, global = true, value_name = "KEY", value_parser = calls::parse_key)]
    pub(crate) idempotency_key: Option<String>,
    /// How to print
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// Leave out the headers of tables
    #[arg(long, global = true)]
    pub(crate) no_headers: bool,
    /// Don't ask, go ahead
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Wait until the change is in effect
    #[arg(long, global = true)]
    pub(crate) wait: bool,
    /// How long to wait at most, for example 90s, 10m
    #[arg(long, global = true, value_name = "TIME", default_value = "10m", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
}

// Without `///`: clap would print a paragraph for each value.
/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // Columns for people.
    Table,
    // One JSON value, and errors as JSON too.
    Json,
}

/// All there is.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every service in one process
    Up(up::UpArgs),
    /// Try everything on this machine: a closed world on loopback
    Playground(playground::PlaygroundArgs),
    /// Check a configuration file
    #[command(subcommand)]
    Config(config_check::ConfigCommand),
    /// Where policies are served from
    #[command(subcommand)]
    Region(region::RegionCommand),
    /// Domains of your workspace
    #[command(subcommand)]
    Domain(domain::DomainCommand),
    /// Start and stop hosting a domain's policy
    #[command(subcommand)]
    Hosting(hosting::HostingCommand),
    /// The records to publish, and what senders find
    #[command(subcommand)]
    Dns(dns::DnsCommand),
    /// A domain's policy: testing, enforce and back
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// A domain's certificate
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// How often senders fetch a domain's policy
    #[command(after_help = "Example: dmarcer activity example.org --days 30")]
    Activity(activity::ActivityArgs),
    /// Whether a domain's policy can be enforced
    #[command(after_help = "Example: dmarcer readiness example.org")]
    Readiness(readiness::ReadinessArgs),
    /// The services and edges
    #[command(subcommand)]
    Fleet(fleet::FleetCommand),
    /// Sign in with your organisation's account
    Login(login::LoginArgs),
    /// End the sign-in of a context, and forget it
    #[command(after_help = "Example: dmarcer logout")]
    Logout(logout::LogoutArgs),
    /// Who you are, and what you may do where
    #[command(name = "whoami", after_help = "Example: dmarcer whoami")]
    WhoAmI,
    /// Servers that you work with, and the tokens for them
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Tokens for programs, and the sign-ins of people
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// People of a workspace, and what they may do
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// Tenants: each has domains, members and tokens of its own
    #[command(subcommand)]
    Workspace(workspace::WorkspaceCommand),
    /// Who changed what
    Audit(audit::AuditArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example: dmarcer completions bash > /etc/bash_completion.d/dmarcer")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Reads the command line.
///
/// # Errors
/// The exit code on wrong usage and after help.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    let matches = help::command().try_get_matches();
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    cli.map_err(|error| usage::report(&error, std::env::args_os()))
}

/// Carries out one command.
pub(crate) async fn run(cli: Cli) -> ExitCode {
    let format = cli.client.output;
    match Box::pin(dispatch(cli)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(format),
    }
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let options = &cli.client;
    let call = || Session::new(options);
    match cli.command {
        Command::Up(args) => up::run(&args).await,
        Command::Playground(args) => playground::run(args, options).await,
        Command::Config(command) => config_check::run(&command, options.output),
        Command::Completions { shell } => completions(shell),
        Command::Region(command) => region::run(&call()?, command).await,
        Command::Domain(command) => domain::run(&call()?, command).await,
        Command::Hosting(command) => hosting::run(&call()?, command).await,
        Command::Dns(command) => dns::run(&call()?, command).await,
        Command::Policy(command) => policy::run(&call()?, command).await,
        Command::Cert(command) => cert::run(&call()?, command).await,
        Command::Activity(args) => activity::run(&call()?, &args).await,
        Command::Readiness(args) => readiness::run(&call()?, &args).await,
        Command::Fleet(command) => fleet::run(&call()?, &command).await,
        Command::Login(args) => login::run(&args, options).await,
        Command::Logout(args) => logout::run(&args, options).await,
        Command::WhoAmI => whoami::run(&call()?).await,
        Command::Context(command) => context::run(command, options),
        Command::Token(command) => token::run(&call()?, command).await,
        Command::Member(command) => member::run(&call()?, command).await,
        Command::Workspace(command) => workspace::run(&call()?, command).await,
        Command::Audit(args) => audit::run(&call()?, args).await,
    }
}

/// What a client command works with.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) output: Output,
    pub(crate) options: ClientOptions,
    pub(crate) settings: Settings,
}

impl Session {
    /// Calls the server that flags, environment and contexts say.
    ///
    /// # Errors
    /// When nothing says who calls, or a token would go to another server than its own.
    pub(crate) fn new(options: &ClientOptions) -> Result<Session, Failure> {
        let environment = Environment::of_this_process();
        let contexts = Contexts::of(&environment);
        let settings = Settings::find(options, &environment, &contexts)?;
        contexts.warn(options.output);
        Session::with(settings, options)
    }

    /// Calls this server with this token, whatever environment and contexts say.
    ///
    /// # Errors
    /// When either can't be used.
    pub(crate) fn at(
        server: &str,
        token: &str,
        options: &ClientOptions,
    ) -> Result<Session, Failure> {
        let settings = Settings::given(server, token, options.workspace.clone())?;
        Session::with(settings, options)
    }

    fn with(settings: Settings, options: &ClientOptions) -> Result<Session, Failure> {
        let client = Client::with(&settings)?.marking(options.idempotency_key.clone())?;
        let output = Output::new(options.output, !options.no_headers);
        Ok(Session { client, output, options: options.clone(), settings })
    }
}

fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut help::command(), "dmarcer", &mut script);
    output::write_all(&mut io::stdout().lock(), &script)
}
