//! `dmarcer logout`: ends the sign-in of a context.

use clap::Args;
use service::config::Secret;
use service::token::Token;
use wire::control;

use crate::cli::client::Client;
use crate::cli::confirm::confirm;
use crate::cli::contexts::{Context, Contexts, TokenSource};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::settings::{Environment, Server, TokenFrom, chosen};
use crate::cli::{ClientOptions, token};

/// End the sign-in of a context.
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// Only forget the token here, without telling the server: it stays good
    #[arg(long)]
    forget_only: bool,
}

pub(crate) async fn run(args: &LogoutArgs, options: &ClientOptions) -> Result<(), Failure> {
    let environment = Environment::of_this_process();
    let contexts = Contexts::of(&environment);
    let output = Output::new(options.output, !options.no_headers);
    if options.token.is_some() {
        let message =
            "logout ends the sign-in of a context: another token ends by dmarcer token revoke";
        return Err(Failure::usage(message));
    }
    let Some(context) = chosen(options, &environment, &contexts)? else {
        let message = "there is no context in use, so there is nothing to end";
        return Err(Failure::new("CONTEXT_NOT_FOUND", message).hint("dmarcer context list"));
    };
    let server = Server::parse(&context.server)?;
    let elsewhere = options.server.as_deref().map(Server::parse).transpose()?;
    if elsewhere.is_some_and(|elsewhere| elsewhere != server) {
        let message = format!("context {} is of {server}: leave --server out", context.name);
        return Err(Failure::usage(message));
    }
    if context.token != TokenSource::Kept {
        let name = &context.name;
        let message =
            format!("the token of context {name} is not kept here, so logout can't end it");
        return Err(Failure::new("NOT_SIGNED_IN", message)
            .hint(format!("dmarcer token revoke --context {name}")));
    }
    let said = match contexts.token(&context)? {
        None => "was not signed in".to_owned(),
        Some(kept) => end(args, options, &contexts, &context, &server, &kept).await?,
    };
    if environment.token.is_some() {
        output.note("note: DMARCER_TOKEN is set and still used");
    }
    contexts.warn(options.output);
    output.done(&format!("context {}: {said}", context.name))
}

/// Ends and forgets a token; says what came of it.
async fn end(
    args: &LogoutArgs,
    options: &ClientOptions,
    contexts: &Contexts,
    context: &Context,
    server: &Server,
    kept: &Secret,
) -> Result<String, Failure> {
    let said = match Token::parse(kept.expose()) {
        _ if args.forget_only => "the token is forgotten here, and stays good until it expires",
        // The admin token is configured: only whoever configures can end it.
        Err(_) => "the token is forgotten here; it is the server's own and stays good",
        Ok(token) => match revoke(options, context, server, kept, token.id()).await {
            Ok(()) => "signed out",
            Err(failure) if failure.reason() == "TOKEN_INVALID" => "the sign-in had ended already",
            Err(failure) => {
                return Err(failure.hint("to only forget it here: dmarcer logout --forget-only"));
            }
        },
    };
    contexts.change(|changing| {
        // Somebody may have signed in again meanwhile.
        let now = changing.kept_token(&context.name);
        match now.is_some_and(|now| now.trim() == kept.expose()) {
            true => changing.forget_token(&context.name),
            false => Ok(()),
        }
    })?;
    Ok(said.to_owned())
}

async fn revoke(
    options: &ClientOptions,
    context: &Context,
    server: &Server,
    kept: &Secret,
    id: &str,
) -> Result<(), Failure> {
    let from = TokenFrom::Context(context.name.clone());
    let client = Client::as_somebody(server, kept, from)?;
    let client = client.marking(options.idempotency_key.clone())?;
    let found = client
        .anywhere(async |client| {
            let request = control::GetTokenRequest { id: id.to_owned() };
            client.given(client.answer(client.tokens().get_token(request).await)?.token)
        })
        .await?;
    if found.kind() == control::TokenKind::Api {
        let named = token::named(&found);
        let question =
            format!("revoke the API token {named}? Anything that uses it stops working at once");
        confirm(&question, options.yes)?;
    }
    client
        .anywhere(async |client| {
            let request = control::RevokeTokenRequest::default();
            client.answer(client.tokens().revoke_token(request).await).map(drop)
        })
        .await
}
