use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use wire::control::sign_in_service_server::{SignInService, SignInServiceServer};

use super::*;
use crate::cli::settings::Server;

const STATE: &str = "the-state";

/// A server that signs in whoever brings code `good`.
#[derive(Clone, Default)]
struct Provider {
    redirects: Arc<Mutex<Option<mpsc::UnboundedSender<String>>>>,
    completed: Arc<Mutex<Vec<control::CompleteSignInRequest>>>,
}

#[tonic::async_trait]
impl SignInService for Provider {
    async fn get_sign_in_provider(
        &self,
        _: Request<control::GetSignInProviderRequest>,
    ) -> Result<Response<control::GetSignInProviderResponse>, Status> {
        Ok(Response::new(control::GetSignInProviderResponse::default()))
    }

    async fn begin_sign_in(
        &self,
        request: Request<control::BeginSignInRequest>,
    ) -> Result<Response<control::BeginSignInResponse>, Status> {
        if let Some(redirects) = &*self.redirects.lock().unwrap() {
            redirects.send(request.into_inner().redirect_uri).unwrap();
        }
        Ok(Response::new(control::BeginSignInResponse {
            authorization_url: "https://idp.example/authorize?client_id=x".to_owned(),
            state: STATE.to_owned(),
            binding: "the-binding".to_owned(),
            expires_at: None,
        }))
    }

    async fn complete_sign_in(
        &self,
        request: Request<control::CompleteSignInRequest>,
    ) -> Result<Response<control::CompleteSignInResponse>, Status> {
        let request = request.into_inner();
        self.completed.lock().unwrap().push(request.clone());
        match request.code.as_str() {
            "good" => Ok(Response::new(control::CompleteSignInResponse {
                token: "dmr_token".to_owned(),
                name: "alice@example.org".to_owned(),
                ..Default::default()
            })),
            _ => Err(Status::permission_denied("no")),
        }
    }
}

async fn world() -> (Provider, Client, mpsc::UnboundedReceiver<String>) {
    let provider = Provider::default();
    let (sender, redirects) = mpsc::unbounded_channel();
    *provider.redirects.lock().unwrap() = Some(sender);
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = incoming.local_addr().unwrap();
    let router =
        tonic::transport::Server::builder().add_service(SignInServiceServer::new(provider.clone()));
    tokio::spawn(router.serve_with_incoming(incoming));
    let client = Client::nobody(&Server::parse(&at.to_string()).unwrap()).unwrap();
    (provider, client, redirects)
}

fn place(redirect: &str) -> SocketAddr {
    redirect.strip_prefix("http://").unwrap().strip_suffix("/callback").unwrap().parse().unwrap()
}

/// Sends a request as it is and gives the whole answer.
async fn sent(at: SocketAddr, request: &str) -> String {
    let mut connection = TcpStream::connect(at).await.unwrap();
    // A server that has read enough may hang up.
    let _ = connection.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn visited(at: SocketAddr, path: &str) -> String {
    sent(at, &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n")).await
}

fn begin(client: Client) -> tokio::task::JoinHandle<Result<String, Failure>> {
    tokio::spawn(async move {
        let signed_in = sign_in(&LoginArgs { no_browser: false }, &client, "Example").await?;
        Ok(signed_in.token)
    })
}

#[tokio::test]
async fn a_browser_that_comes_back_is_signed_in() {
    let (provider, client, mut redirects) = world().await;
    let signing_in = begin(client);
    let at = place(&redirects.recv().await.unwrap());
    assert!(at.ip().is_loopback());

    let port = at.port();
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\nHost: {at}\r\n\r\n"), 404),
        (format!("GET /favicon.ico HTTP/1.1\r\nHost: {at}\r\n\r\n"), 404),
        (format!("GET /callback/ HTTP/1.1\r\nHost: {at}\r\n\r\n"), 404),
        (format!("POST /callback?state={STATE}&code=good HTTP/1.1\r\nHost: {at}\r\n\r\n"), 404),
        (
            format!("GET /callback?state={STATE}&code=good HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
            404,
        ),
        (
            format!(
                "GET /callback?state={STATE}&code=good HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"
            ),
            404,
        ),
        (format!("GET /callback HTTP/1.1\r\nHost: {at}\r\n\r\n"), 400),
        (format!("GET /callback?state=other&code=good HTTP/1.1\r\nHost: {at}\r\n\r\n"), 400),
        (format!("GET /callback?state={STATE} HTTP/1.1\r\nHost: {at}\r\n\r\n"), 400),
        (
            format!("GET /callback?state={STATE}&code=a&code=good HTTP/1.1\r\nHost: {at}\r\n\r\n"),
            400,
        ),
        (format!("GET /callback?x={} HTTP/1.1\r\nHost: {at}\r\n\r\n", "x".repeat(20_000)), 431),
        ("hello\r\n\r\n".to_owned(), 400),
    ] {
        let answer = sent(at, &request).await;
        let status_line = format!("HTTP/1.1 {status} ");
        let (shown, _) = request.split_at(request.len().min(80));
        // hyper hangs up on what is too long to be looked at.
        let too_long = status == 431 && (answer.is_empty() || answer.contains(" 414 "));
        assert!(too_long || answer.starts_with(&status_line), "{shown}: {answer}");
    }
    assert!(provider.completed.lock().unwrap().is_empty());

    let page =
        visited(at, &format!("/callback?state={STATE}&code=good&iss=https%3A%2F%2Fidp")).await;
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("Signed in."), "{page}");
    assert!(page.contains("no-store") && page.contains("no-referrer"), "{page}");
    assert_eq!(signing_in.await.unwrap().unwrap(), "dmr_token");
    // Nobody listens there any more.
    assert!(TcpStream::connect(at).await.is_err());
    let completed = provider.completed.lock().unwrap();
    let control::CompleteSignInRequest { state, binding, issuer, .. } = &completed[0];
    let brought = (state.as_str(), binding.as_str(), issuer.as_str());
    assert_eq!(brought, (STATE, "the-binding", "https://idp"));
}

#[tokio::test]
async fn a_sign_in_that_fails_is_told_in_the_browser_and_in_the_terminal() {
    for (query, said) in [
        ("code=bad", "no"),
        ("error=access_denied", "the provider said no: access_denied"),
        ("error=x&error_description=Not+you", "the provider said no: Not you (x)"),
    ] {
        let (provider, client, mut redirects) = world().await;
        let signing_in = begin(client);
        let at = place(&redirects.recv().await.unwrap());
        let page = visited(at, &format!("/callback?state={STATE}&{query}")).await;
        assert!(page.contains("didn't work"), "{page}");
        let failure = signing_in.await.unwrap().unwrap_err();
        assert!(failure.message().ends_with(said), "{}", failure.message());
        assert_eq!(provider.completed.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn where_the_browser_ended_may_be_pasted() {
    let mut loopback = Loopback::bind().await.unwrap();
    let (sender, pasted) = mpsc::unbounded_channel();
    let redirect = loopback.redirect_uri();
    for line in ["\n", "hello\n", &format!("{redirect}?state=other&code=x\n")] {
        sender.send(line.to_owned()).unwrap();
    }
    sender.send(format!(" {redirect}?code=good&state={STATE}\n")).unwrap();
    let came = loopback.wait(STATE, Some(pasted)).await.unwrap();
    assert_eq!((came.code.as_str(), came.refusal), ("good", None));
}

#[test]
fn only_the_web_is_opened() {
    assert!(web_address("https://idp.example/authorize").is_ok());
    for text in ["", "file:///etc/passwd", "--help", "javascript:alert(1)", "idp.example"] {
        assert_eq!(web_address(text).unwrap_err().reason(), "SIGN_IN_FAILED", "{text}");
    }
}

fn options(typed: &str) -> ClientOptions {
    use clap::FromArgMatches as _;
    let typed = ["dmarcer", "login"].into_iter().chain(typed.split_whitespace());
    let matches = crate::cli::help::command().try_get_matches_from(typed).unwrap();
    crate::cli::Cli::from_arg_matches(&matches).unwrap().client
}

#[test]
fn a_sign_in_goes_into_the_context_of_its_server() {
    let mut book = Book { current: Some("prod".to_owned()), ..Book::default() };
    for (name, server, token) in [
        ("prod", "http://prod.example:1", TokenSource::Kept),
        ("test", "http://test.example:1", TokenSource::Kept),
        ("ci", "http://ci.example:1", TokenSource::File("/x".into())),
    ] {
        let (name, server) = (name.to_owned(), server.to_owned());
        book.contexts.insert(name.clone(), Context { name, server, workspace: None, token });
    }
    let environment = Environment::default();
    let of = |typed: &str| context(&options(typed), &environment, &book);
    for (typed, name, server) in [
        ("", "prod", "http://prod.example:1"),
        ("--context test", "test", "http://test.example:1"),
        ("--server test.example:1", "test", "http://test.example:1"),
        ("--server new.example:1", "new.example-1", "http://new.example:1"),
        ("--server [::1]:1", "1--1", "http://[::1]:1"),
        ("--server new.example:1 --context new", "new", "http://new.example:1"),
    ] {
        let Ok(context) = of(typed) else { panic!("{typed}") };
        assert_eq!((context.name.as_str(), context.server.as_str()), (name, server));
    }
    for (typed, reason) in [
        ("--context prod --server test.example:1", "CONTEXT_EXISTS"),
        ("--context ci", "CONTEXT_EXISTS"),
        ("--server ci.example:1", "CONTEXT_EXISTS"),
        ("--context ../x --server x:1", "USAGE"),
    ] {
        assert_eq!(of(typed).unwrap_err().reason(), reason, "{typed}");
    }
}
