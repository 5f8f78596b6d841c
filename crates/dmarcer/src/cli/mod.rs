//! The command line: noun, verb, name.

pub(crate) mod activity;
pub(crate) mod cert;
pub(crate) mod client;
pub(crate) mod confirm;
pub(crate) mod dns;
pub(crate) mod domain;
pub(crate) mod duration;
pub(crate) mod failure;
pub(crate) mod fleet;
pub(crate) mod help;
pub(crate) mod hosting;
pub(crate) mod output;
pub(crate) mod policy;
pub(crate) mod readiness;
pub(crate) mod refresh;
pub(crate) mod region;
pub(crate) mod rollout;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod usage;
pub(crate) mod wait;
pub(crate) mod when;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
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

/// What every command that calls a server takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Client options")]
pub(crate) struct ClientOptions {
    /// Where the server is
    #[arg(
        long,
        global = true,
        env = "DMARCER_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:7443"
    )]
    pub(crate) server: String,
    /// Who you are: `dmarcer up` keeps the first token in <data_dir>/admin-token
    #[arg(long, global = true, env = "DMARCER_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
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
    let call = || Context::new(options);
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
    }
}

/// What a client command works with.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) output: Output,
    pub(crate) options: ClientOptions,
}

impl Context {
    pub(crate) fn new(options: &ClientOptions) -> Result<Context, Failure> {
        Ok(Context {
            client: Client::new(&options.server, options.token.as_deref())?,
            output: Output::new(options.output, !options.no_headers),
            options: options.clone(),
        })
    }
}

fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut help::command(), "dmarcer", &mut script);
    output::write_all(&mut io::stdout().lock(), &script)
}
