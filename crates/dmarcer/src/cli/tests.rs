//! The command line as scripts and people meet it.

use std::collections::BTreeSet;

use clap::Command;

use super::help::{GROUPS, command};

fn usable(arguments: &[&str]) -> bool {
    command().try_get_matches_from([&["dmarcer"], arguments].concat()).is_ok()
}

#[test]
fn the_command_line_is_sound() {
    command().debug_assert();
}

#[test]
fn every_command_stands_in_one_group_of_the_help() {
    let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let command = command();
    let all: BTreeSet<&str> = command.get_subcommands().map(Command::get_name).collect();
    assert_eq!(grouped.iter().copied().collect::<BTreeSet<_>>(), all);
    assert_eq!(grouped.len(), all.len());
}

#[test]
fn every_command_says_what_it_is_for_and_shows_an_example() {
    fn check(command: &Command) {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name} says nothing");
        if command.get_subcommands().next().is_none() {
            let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(example.starts_with("Example: dmarcer "), "{name} shows no example");
        }
        command.get_subcommands().for_each(check);
    }
    command().get_subcommands().for_each(check);
}

#[test]
fn examples_in_the_help_can_be_typed() {
    fn check(command: &Command) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines() {
            let line = line.trim().trim_start_matches("Example: ");
            let Some(typed) = line.strip_prefix("dmarcer ") else { continue };
            let typed = typed.split_once(" > ").map_or(typed, |(typed, _)| typed);
            let typed: Vec<&str> =
                typed.split_whitespace().map(|word| word.trim_matches('\'')).collect();
            assert!(usable(&typed), "{line}");
        }
        command.get_subcommands().for_each(check);
    }
    command().get_subcommands().for_each(check);
}

#[test]
fn options_of_clients_are_taken_before_and_after_the_command() {
    for typed in [
        &["--server", "http://x:1", "-o", "json", "domain", "list"][..],
        &["domain", "list", "--server", "http://x:1", "-o", "json", "--no-headers"],
        &["policy", "promote", "a.example", "--accept", "mx_tls", "--accept", "fetched", "--yes"],
        &["policy", "revert", "a.example", "--wait", "--timeout", "90s", "--yes"],
        &["policy", "set", "a.example", "--max-age", "1w"],
        &["policy", "set", "a.example", "--mx", "a.example", "*.b.example"],
        &["playground", "publish", "a.example", "--dir", "x"],
        &["playground", "--dir", "x"],
        &["--context", "prod", "domain", "list", "--workspace", "acme"],
        &["domain", "remove", "a.example", "--idempotency-key", "b5c0a1", "--yes"],
        &["audit", "-o", "json", "verify", "--all"],
        &["-o", "json", "audit", "--since", "7d", "--until", "2026-11-23", "--limit", "5"],
        &["token", "revoke", "--yes"],
        &["context", "add", "a", "--server", "x:1", "--token-command", "pass", "--workspace", "x"],
        &["member", "add", "a@b.example", "--role", "domain-manager", "--domain", "a.example"],
    ] {
        assert!(usable(typed), "{typed:?}");
    }
}

#[test]
fn wrong_usage_is_refused_before_anything_is_asked() {
    for typed in [
        &[][..],
        &["domain"],
        &["domain", "convert", "a.example"],
        &["domain", "convert", "a.example", "--to", "spare"],
        &["policy", "set", "a.example"],
        &["policy", "set", "a.example", "--max-age", "forever"],
        &["policy", "promote", "a.example", "--accept"],
        &["region", "set", "eu-1"],
        &["region", "add", "eu-1"],
        &["region", "add", "eu-1", "--host", "x.example", "--sealing-key", "abcd"],
        &["activity", "a.example", "--days", "91"],
        &["domain", "list", "-o", "xml"],
        &["policy", "revert", "a.example", "--timeout", "soon"],
        &["config", "check"],
        &["serve", "edge"],
        &["member", "add", "a@b.example"],
        &["member", "add", "a@b.example", "--role", "owner"],
        &["token", "create", "a", "--expires", "10m"],
        &["token", "create", "a", "--expires", "400d"],
        // A whole token would stand in the shell's history.
        &["token", "show", "dmr_004h46s45mv3yj2hb9hprxbygy89k8nbpjywdkyrw7nf3ygrk87"],
        &["context", "add", "../a", "--server", "x:1"],
        &["context", "add", "a", "--server", "x:1", "--token-stdin", "--token-file", "x"],
        &["audit", "--since", "yesterday"],
        &["audit", "--limit", "0"],
        &["audit", "verify", "--contains", "control:1"],
        &["domain", "list", "--idempotency-key", "two words"],
    ] {
        assert!(!usable(typed), "{typed:?}");
    }
}

#[test]
fn a_program_for_tokens_takes_all_that_stands_behind_it() {
    let typed = ["dmarcer", "context", "add", "a", "--token-command", "pass", "-n", "--yes", "x"];
    let matches = command().try_get_matches_from(typed).unwrap();
    let (_, context) = matches.subcommand().unwrap();
    let (_, add) = context.subcommand().unwrap();
    let program: Vec<&String> = add.get_many("token_command").unwrap().collect();
    assert_eq!(program, ["pass", "-n", "--yes", "x"]);
}

#[test]
fn local_commands_do_not_show_the_options_of_clients() {
    for name in ["up", "playground", "config"] {
        let mut command = command();
        command.build();
        let help = command.find_subcommand_mut(name).unwrap().render_long_help().to_string();
        assert!(!help.contains("--server"), "{help}");
    }
}
