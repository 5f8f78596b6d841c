//! Which server is called, as whom, and in which workspace.
//!
//! A flag goes before the environment, that before the context in use, that before the default. A
//! context that is named by `--context` was chosen for this one call, so it goes before the environment
//! as a whole.
//!
//! **Invariant**: a context's token goes to the context's server and to no other, whichever way another
//! one was said. Its workspace is not used there either: it means something else there.

use std::fmt;

use service::config::Secret;
use url::Url;

use crate::cli::ClientOptions;
use crate::cli::contexts::{Context, Contexts};
use crate::cli::failure::{EXPORT_TOKEN, Failure};

/// Where `dmarcer up` listens unless it is told otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7443";

/// What one command line works with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) server: Server,
    pub(crate) token: Secret,
    pub(crate) token_from: TokenFrom,
    /// The workspace to ask for; the caller's own where nothing says.
    pub(crate) workspace: Option<String>,
    /// The context that any of this came from.
    pub(crate) context: Option<String>,
}

/// The address of a server, in its one spelling: two that are equal are the same server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server(String);

/// Who gave a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenFrom {
    Flag,
    Environment,
    Context(String),
}

/// What the environment says. A variable that is empty says nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    pub(crate) server: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) workspace: Option<String>,
    pub(crate) config_home: Option<String>,
    pub(crate) home: Option<String>,
}

impl Environment {
    /// What this process was started with.
    pub(crate) fn of_this_process() -> Environment {
        let set = |name: &str| {
            let value = std::env::var_os(name)?.to_string_lossy().into_owned();
            Some(value).filter(|value| !value.trim().is_empty())
        };
        Environment {
            server: set("DMARCER_SERVER"),
            token: set("DMARCER_TOKEN"),
            context: set("DMARCER_CONTEXT"),
            workspace: set("DMARCER_WORKSPACE"),
            config_home: set("XDG_CONFIG_HOME"),
            home: set("HOME"),
        }
    }
}

impl Settings {
    /// Puts together what flags, environment and contexts say.
    ///
    /// # Errors
    /// `TOKEN_REQUIRED` where nobody gave a token for this server.
    pub(crate) fn find(
        options: &ClientOptions,
        environment: &Environment,
        contexts: &Contexts,
    ) -> Result<Settings, Failure> {
        let named = options.context.is_some();
        let server = options.server.as_ref().or(environment.server.as_ref());
        let token = options.token.as_ref().or(environment.token.as_ref());
        // Who says both needs no context, and a damaged file doesn't matter to them.
        let context = match (named, server, token) {
            (false, Some(_), Some(_)) => None,
            _ => chosen(options, environment, contexts)?,
        };
        let theirs = context.as_ref().map(|context| Server::parse(&context.server)).transpose()?;
        let server = server_of(options, environment, theirs.as_ref())?;
        // Elsewhere a context has nothing to say.
        let context_here = context.as_ref().filter(|_| theirs.as_ref() == Some(&server));

        let given = Given { options, environment, named };
        let workspace = given.pick(
            options.workspace.clone(),
            environment.workspace.clone(),
            context_here.and_then(|context| context.workspace.clone()),
        );
        let (token, token_from) = match given.token(&server, context_here, contexts)? {
            Some(found) => found,
            None => return Err(token_required(&server, context.as_ref(), contexts, environment)),
        };
        let context = context_here.map(|context| context.name.clone());
        Ok(Settings { server, token, token_from, workspace, context })
    }

    /// This and nothing else.
    pub(crate) fn given(
        server: &str,
        token: &str,
        workspace: Option<String>,
    ) -> Result<Settings, Failure> {
        Ok(Settings {
            server: Server::parse(server)?,
            token: Secret::new(token.to_owned()),
            token_from: TokenFrom::Flag,
            workspace,
            context: None,
        })
    }
}

/// The context that is meant: named by a flag or the environment, or the one in use.
pub(crate) fn chosen(
    options: &ClientOptions,
    environment: &Environment,
    contexts: &Contexts,
) -> Result<Option<Context>, Failure> {
    let named = options.context.as_ref().or(environment.context.as_ref());
    match named {
        Some(name) => contexts.get(name).map(Some),
        None => contexts.current(),
    }
}

/// The server that is meant.
pub(crate) fn server_of(
    options: &ClientOptions,
    environment: &Environment,
    theirs: Option<&Server>,
) -> Result<Server, Failure> {
    let named = options.context.is_some();
    match (&options.server, &environment.server, theirs) {
        (Some(server), _, _) => Server::parse(server),
        (None, _, Some(theirs)) if named => Ok(theirs.clone()),
        (None, Some(server), _) => Server::parse(server),
        (None, None, Some(theirs)) => Ok(theirs.clone()),
        (None, None, None) => Server::parse(DEFAULT_SERVER),
    }
}

struct Given<'a> {
    options: &'a ClientOptions,
    environment: &'a Environment,
    /// The context was named by a flag.
    named: bool,
}

impl Given<'_> {
    fn pick<T>(&self, flag: Option<T>, environment: Option<T>, context: Option<T>) -> Option<T> {
        match self.named {
            true => flag.or(context).or(environment),
            false => flag.or(environment).or(context),
        }
    }

    fn token(
        &self,
        server: &Server,
        context: Option<&Context>,
        contexts: &Contexts,
    ) -> Result<Option<(Secret, TokenFrom)>, Failure> {
        let secret = |text: &String| Secret::new(text.clone());
        let flag = self.options.token.as_ref().map(|text| (secret(text), TokenFrom::Flag));
        let environment = match &self.environment.token {
            // Next to a context that a flag names, the environment's token is its server's.
            Some(_) if self.named && !self.environment_means(server) => None,
            token => token.as_ref().map(|text| (secret(text), TokenFrom::Environment)),
        };
        if flag.is_some() || (!self.named && environment.is_some()) {
            // A context's command is not run for nothing.
            return Ok(flag.or(environment));
        }
        let theirs = context.map(|context| contexts.token(context)).transpose()?.flatten();
        let theirs =
            theirs.zip(context).map(|(token, it)| (token, TokenFrom::Context(it.name.clone())));
        Ok(self.pick(None, environment, theirs))
    }

    fn environment_means(&self, server: &Server) -> bool {
        let theirs = self.environment.server.as_ref();
        theirs.is_none_or(|theirs| Server::parse(theirs).is_ok_and(|theirs| theirs == *server))
    }
}

/// Why there is no token for `server`, and what to do.
fn token_required(
    server: &Server,
    context: Option<&Context>,
    contexts: &Contexts,
    environment: &Environment,
) -> Failure {
    let Some(Context { name, server: theirs, .. }) = context else {
        return Failure::token_required();
    };
    let required = |message: String| Failure::new("TOKEN_REQUIRED", message);
    let elsewhere = Server::parse(theirs).is_ok_and(|theirs| theirs != *server);
    match (elsewhere, &environment.server) {
        (true, _) if context.is_some_and(|context| contexts.has_token(context)) => {
            let message = format!(
                "the token of context {name} is for {theirs} and is not sent to {server}: pass \
                 --token, or choose another context"
            );
            required(message)
                .hint("dmarcer context list")
                .hint(format!("dmarcer login --server {server}"))
        }
        (true, _) => Failure::token_required(),
        (false, Some(other)) if environment.token.is_some() => {
            let message = format!(
                "context {name} has no token, and DMARCER_TOKEN is for {other} and is not sent \
                 to {server}: pass --token"
            );
            required(message).hint(format!("dmarcer login --context {name}"))
        }
        (false, _) => required(format!("context {name} has no token"))
            .hint(format!("dmarcer login --context {name}"))
            .hint(EXPORT_TOKEN),
    }
}

impl Server {
    /// Reads an address; `http://` may be left out.
    ///
    /// # Errors
    /// `SERVER_INVALID` says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Server, Failure> {
        let text = text.trim();
        let invalid = |why: &str| {
            let message = format!("{text} is no address of a server: {why}");
            Failure::new("SERVER_INVALID", message)
        };
        let full = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let url = Url::parse(&full).map_err(|e| invalid(&format!("{e}: pass --server URL")))?;
        if url.scheme() == "https" {
            let message = format!("{text} can't be called over TLS yet: pass an http:// address");
            return Err(Failure::new("SERVER_INVALID", message)
                .hint("ssh -L 7443:127.0.0.1:7443 HOST, then --server http://127.0.0.1:7443"));
        }
        if url.scheme() != "http" {
            return Err(invalid("it begins with http://"));
        }
        // `http://example.org@example.net` goes to example.net.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("a name in front of the host has no meaning here"));
        }
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let Some(host) = url.host_str().filter(|_| bare) else {
            return Err(invalid("pass a host and a port, and no path"));
        };
        let port = url.port_or_known_default().unwrap_or(80);
        Ok(Server(format!("http://{host}:{port}")))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Host and port.
    pub(crate) fn host(&self) -> &str {
        self.0.trim_start_matches("http://")
    }

    /// Whether what is sent there stays on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host().rsplit_once(':').map_or("", |(host, _)| host);
        let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TokenFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenFrom::Flag => f.write_str("--token"),
            TokenFrom::Environment => f.write_str("DMARCER_TOKEN"),
            TokenFrom::Context(name) => write!(f, "context {name}"),
        }
    }
}

#[cfg(test)]
mod tests;
