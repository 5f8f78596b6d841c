//! `dmarcer --help`, with the commands in groups.

use clap::{Command, CommandFactory};

use crate::cli::Cli;

/// The commands in the order in which people meet them.
pub(crate) const GROUPS: [(&str, &[&str]); 5] = [
    ("Run", &["up", "playground", "config"]),
    ("Domains", &["domain", "hosting", "dns", "policy", "readiness", "cert", "activity"]),
    ("Access", &["login", "logout", "whoami", "context", "token", "member", "audit"]),
    ("Platform", &["workspace", "region", "fleet"]),
    ("Shell", &["completions"]),
];

/// Commands that call no server, or bring its address themselves.
const LOCAL: [&str; 4] = ["up", "playground", "config", "completions"];

/// The command line as it is parsed and shown.
pub(crate) fn command() -> Command {
    let mut command = Cli::command();
    let groups = grouped(&command);
    command = command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}\nOptions:\n{{options}}\n\n\
         A change is asked for, and then carried out by the fleet: --wait follows it.\n"
    ));
    for name in LOCAL {
        command = command.mut_subcommand(name, hide_client_options);
    }
    command
}

fn grouped(command: &Command) -> String {
    let line = |name: &&str| {
        let about = command.find_subcommand(name).and_then(Command::get_about);
        format!("  {name:<12}{}\n", about.map(ToString::to_string).unwrap_or_default())
    };
    let group = |(title, names): (&str, &[&str])| {
        format!("{title}:\n{}\n", names.iter().map(line).collect::<String>())
    };
    GROUPS.map(group).concat().trim_end().to_owned() + "\n"
}

/// They are still taken there, since a script may give them to every command.
fn hide_client_options(command: Command) -> Command {
    let options: Vec<_> =
        Cli::command().get_arguments().filter(|a| a.is_global_set()).cloned().collect();
    let taken =
        |command: &Command, id: &clap::Id| command.get_arguments().any(|a| a.get_id() == id);
    options.into_iter().fold(command, |command, option| match taken(&command, option.get_id()) {
        true => command,
        false => command.arg(option.hide(true)),
    })
}
