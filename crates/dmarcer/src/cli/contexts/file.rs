//! Contexts as `config.toml` has them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Book, Context, TokenSource, parse_name};
use crate::cli::failure::Failure;
use crate::cli::settings::Server;

const HEAD: &str =
    "# Written by `dmarcer context` and `dmarcer login`. Comments of yours are not kept.\n\n";

/// As the file has it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Name>,
    #[serde(default)]
    context: BTreeMap<Name, WrittenContext>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenContext {
    server: WrittenServer,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_command: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Name(String);

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct WrittenServer(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Name, String> {
        parse_name(&text).map(Name).map_err(|why| format!("{text:?} is no context's name: {why}"))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl TryFrom<String> for WrittenServer {
    type Error = String;

    fn try_from(text: String) -> Result<WrittenServer, String> {
        match Server::parse(&text) {
            Ok(_) => Ok(WrittenServer(text)),
            Err(failure) => Err(failure.message().to_owned()),
        }
    }
}

impl From<WrittenServer> for String {
    fn from(server: WrittenServer) -> String {
        server.0
    }
}

/// Understands the file, or says in which line it can't and why.
pub(super) fn understood(text: &str) -> Result<Book, (usize, String)> {
    let text = text.trim_start_matches('\u{feff}');
    let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let written: Written = toml::from_str(text).map_err(|e| {
        let message = e.message().lines().next().unwrap_or_default().to_owned();
        (e.span().map_or(1, |span| line(span.start)), message)
    })?;
    let mut book = Book { current: written.current.map(|name| name.0), ..Book::default() };
    for (Name(name), it) in written.context {
        let token = match (it.token_file, it.token_command) {
            (None, None) => TokenSource::Kept,
            (Some(path), None) => TokenSource::File(path),
            (None, Some(command)) if !command.is_empty() => TokenSource::Command(command),
            (None, Some(_)) => {
                let at = text.find("token_command").unwrap_or(0);
                return Err((line(at), format!("the token_command of {name} is empty")));
            }
            (Some(_), Some(_)) => {
                let at = text.find("token_command").unwrap_or(0);
                return Err((line(at), format!("{name} has a token_file and a token_command")));
            }
        };
        let context =
            Context { name: name.clone(), server: it.server.0, workspace: it.workspace, token };
        book.contexts.insert(name, context);
    }
    Ok(book)
}

/// Writes the file.
pub(super) fn written(book: &Book) -> Result<String, Failure> {
    let context = |it: &Context| WrittenContext {
        server: WrittenServer(it.server.clone()),
        workspace: it.workspace.clone(),
        token_file: match &it.token {
            TokenSource::File(path) => Some(path.clone()),
            _ => None,
        },
        token_command: match &it.token {
            TokenSource::Command(command) => Some(command.clone()),
            _ => None,
        },
    };
    let contexts = book.contexts.iter().map(|(name, it)| (Name(name.clone()), context(it)));
    let written = Written { current: book.current.clone().map(Name), context: contexts.collect() };
    let text = toml::to_string(&written).map_err(|e| Failure::fault(&e))?;
    Ok(format!("{HEAD}{text}"))
}
