use std::path::Path;

use clap::FromArgMatches as _;

use super::*;
use crate::cli::failure::Said;
use crate::cli::{Cli, help};

const PROD: &str = "http://prod.example:7443";
const OTHER: &str = "http://other.example:7443";

fn said(failure: Failure) -> Said {
    match failure {
        Failure::Said(said) => *said,
        Failure::ClosedPipe => panic!("nothing is said"),
    }
}

fn options(typed: &str) -> ClientOptions {
    let typed = ["dmarcer"].into_iter().chain(typed.split_whitespace()).chain(["whoami"]);
    let matches = help::command().try_get_matches_from(typed).unwrap();
    Cli::from_arg_matches(&matches).unwrap().client
}

/// `prod` with a token and a workspace is in use; `bare` has neither.
fn written(home: &Path) {
    let folder = home.join("dmarcer");
    std::fs::create_dir_all(folder.join("tokens")).unwrap();
    let text = format!(
        "current = \"prod\"\n\n[context.prod]\nserver = \"{PROD}\"\nworkspace = \"acme\"\n\n\
         [context.bare]\nserver = \"{PROD}\"\n"
    );
    std::fs::write(folder.join("config.toml"), text).unwrap();
    std::fs::write(folder.join("tokens/prod"), "prods\n").unwrap();
}

fn environment(home: &Path, set: &str) -> Environment {
    let mut environment =
        Environment { config_home: Some(home.display().to_string()), ..Environment::default() };
    for it in set.split_whitespace() {
        let (name, value) = it.split_once('=').unwrap();
        let value = Some(value.to_owned());
        match name {
            "SERVER" => environment.server = value,
            "TOKEN" => environment.token = value,
            "CONTEXT" => environment.context = value,
            "WORKSPACE" => environment.workspace = value,
            other => panic!("{other}"),
        }
    }
    environment
}

fn found(typed: &str, set: &str) -> Result<Settings, Failure> {
    let home = tempfile::tempdir().unwrap();
    written(home.path());
    let environment = environment(home.path(), set);
    Settings::find(&options(typed), &environment, &Contexts::of(&environment))
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_context() {
    for (typed, set, server, token, workspace) in [
        ("", "", PROD, "prods", "acme"),
        ("", "TOKEN=e", PROD, "e", "acme"),
        ("", "WORKSPACE=w", PROD, "prods", "w"),
        ("--workspace f", "WORKSPACE=w", PROD, "prods", "f"),
        ("--token f", "TOKEN=e", PROD, "f", "acme"),
        ("", "SERVER=other.example:7443 TOKEN=e", OTHER, "e", ""),
        ("--server other.example:7443", "TOKEN=e", OTHER, "e", ""),
        ("--server prod.example:7443/", "", PROD, "prods", "acme"),
        ("--server HTTP://PROD.example:7443", "", PROD, "prods", "acme"),
        ("--server other.example:7443 --token f", "SERVER=x:1 WORKSPACE=w", OTHER, "f", "w"),
        // A context that is named here and now goes before the environment.
        ("--context prod", "SERVER=other.example:7443 TOKEN=e WORKSPACE=w", PROD, "prods", "acme"),
        ("--context bare", "TOKEN=e WORKSPACE=w", PROD, "e", "w"),
        ("--context bare", "TOKEN=e SERVER=prod.example:7443", PROD, "e", ""),
        ("--context prod --token f", "TOKEN=e", PROD, "f", "acme"),
        // One that the environment names doesn't.
        ("", "CONTEXT=prod TOKEN=e", PROD, "e", "acme"),
        ("", "CONTEXT=bare TOKEN=e", PROD, "e", ""),
    ] {
        let found = found(typed, set).unwrap_or_else(|e| panic!("{typed} {set}: {e:?}"));
        let is = (found.server.as_str(), found.token.expose(), found.workspace.as_deref());
        assert_eq!(
            is,
            (server, token, Some(workspace).filter(|it| !it.is_empty())),
            "{typed} {set}"
        );
    }
}

#[test]
fn a_token_is_not_sent_to_another_server_than_its_own() {
    for (typed, set, about) in [
        ("--server other.example:7443", "", "of context prod"),
        ("--server http://prod.example", "", "of context prod"),
        ("--server http://prod.example:7444", "", "of context prod"),
        ("", "SERVER=other.example:7443", "of context prod"),
        ("--context prod --server other.example:7443", "", "of context prod"),
        ("--context bare", "TOKEN=e SERVER=other.example:7443", "DMARCER_TOKEN"),
    ] {
        let said = said(found(typed, set).unwrap_err());
        assert_eq!(said.reason, "TOKEN_REQUIRED", "{typed} {set}");
        assert!(said.message.contains(about), "{typed} {set}: {}", said.message);
        assert!(said.message.contains("is not sent to"), "{typed} {set}: {}", said.message);
        assert!(!said.message.contains("prods"));
    }
    assert_eq!(said(found("--context bare", "").unwrap_err()).reason, "TOKEN_REQUIRED");
}

#[test]
fn who_has_no_contexts_calls_this_machine() {
    let home = tempfile::tempdir().unwrap();
    let environment = environment(home.path(), "TOKEN=e");
    let contexts = Contexts::of(&environment);
    let found = Settings::find(&options(""), &environment, &contexts).unwrap();
    assert_eq!(found.server.as_str(), DEFAULT_SERVER);
    assert_eq!(found.token_from, TokenFrom::Environment);
    let nobody = Environment { token: None, ..environment };
    let refused = Settings::find(&options(""), &nobody, &contexts).unwrap_err();
    assert_eq!(refused.reason(), "TOKEN_REQUIRED");
}

#[test]
fn a_damaged_file_is_no_matter_to_who_needs_none() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("dmarcer")).unwrap();
    std::fs::write(home.path().join("dmarcer/config.toml"), "[context").unwrap();
    let environment = environment(home.path(), "TOKEN=e");
    let contexts = Contexts::of(&environment);
    let find = |typed: &str| Settings::find(&options(typed), &environment, &contexts);
    assert!(find("--server x:1").is_ok());
    assert_eq!(find("").unwrap_err().reason(), "CONTEXTS_DAMAGED");
}

#[test]
fn two_spellings_of_a_server_are_one() {
    let is = |text: &str| Server::parse(text).unwrap().as_str().to_owned();
    for text in ["x:7443", "http://x:7443", "HTTP://X:7443/", " x:7443 "] {
        assert_eq!(is(text), "http://x:7443", "{text}");
    }
    assert_eq!(is("http://x"), "http://x:80");
    assert_eq!(is("[::1]:7443"), "http://[::1]:7443");
    assert!(Server::parse("[::1]:1").unwrap().is_loopback());
    assert!(Server::parse("127.0.0.1:1").unwrap().is_loopback());
    assert!(!Server::parse("x.example:1").unwrap().is_loopback());
    for text in [
        "",
        "http://",
        "ftp://x",
        "https://x",
        "http://trusted.example@evil.example",
        "http://x/path",
        "http://x?y",
        "x y",
        "http://x:99999",
    ] {
        assert_eq!(Server::parse(text).unwrap_err().reason(), "SERVER_INVALID", "{text}");
    }
}
