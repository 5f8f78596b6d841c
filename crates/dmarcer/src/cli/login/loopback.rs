//! Where the browser comes back to: one address on loopback, for one sign-in.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, REFERRER_POLICY,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::codegen::Bytes;
use url::{Url, form_urlencoded};

use crate::cli::failure::Failure;

const PATH: &str = "/callback";
/// A provider's answer is a few hundred bytes; hyper takes no lower bound.
const MAX_REQUEST_BYTES: usize = 8 * 1024;
/// Browsers open a few connections in advance.
const MAX_CONNECTIONS: usize = 8;
/// Whoever connects here has something to say.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// What the server makes of a sign-in is known by then.
const PAGE_WITHIN: Duration = Duration::from_secs(60);
/// The last page is written within this.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// A listener for one sign-in.
pub(super) struct Loopback {
    listener: TcpListener,
    address: SocketAddr,
    connections: JoinSet<()>,
}

/// What a browser brought back.
pub(super) struct Came {
    /// Empty where the provider said no.
    pub(super) code: String,
    /// The `iss` of RFC 9207; empty where there is none.
    pub(super) issuer: String,
    /// Why the provider said no.
    pub(super) refusal: Option<String>,
    page: Option<oneshot::Sender<Page>>,
}

/// What the browser is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    SignedIn,
    Failed,
    /// Of another sign-in, an older one say.
    Stranger,
    NotFound,
}

/// What the query of an address says.
type Query = HashMap<String, String>;

impl Loopback {
    /// Listens where only this machine gets to.
    pub(super) async fn bind() -> Result<Loopback, Failure> {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = bound.map_err(|e| Failure::fault(&e))?;
        let address = listener.local_addr()?;
        Ok(Loopback { listener, address, connections: JoinSet::new() })
    }

    /// Where the provider is to send the browser.
    pub(super) fn redirect_uri(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Waits until a browser comes back from the sign-in of this `state`, or somebody pastes where it
    /// ended.
    pub(super) async fn wait(
        &mut self,
        state: &str,
        mut pasted: Option<mpsc::UnboundedReceiver<String>>,
    ) -> Result<Came, Failure> {
        let state: Arc<str> = state.into();
        let (sender, mut came) = mpsc::channel(1);
        loop {
            let line = async {
                match &mut pasted {
                    Some(pasted) => pasted.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(came) = came.recv() => return Ok(came),
                accepted = self.listener.accept() => match accepted {
                    Ok((connection, _)) => self.answer(connection, &state, &sender),
                    // A machine without free descriptors gets some back.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(_) = self.connections.join_next() => {}
                line = line => match line {
                    None => pasted = None,
                    Some(line) => match read(&line, &state) {
                        Some(came) => return Ok(came),
                        None if line.trim().is_empty() => {}
                        None => writeln!(
                            io::stderr(),
                            "That is not where this sign-in ended: it has code=… and state=…. Again:"
                        )?,
                    },
                },
            }
        }
    }

    /// Lets the last page be written.
    pub(super) async fn finish(mut self) {
        let written = async { while self.connections.join_next().await.is_some() {} };
        // One that is only held open is cut off.
        let _ = timeout(FINISH_WITHIN, written).await;
    }

    fn answer(&mut self, connection: TcpStream, state: &Arc<str>, sender: &mpsc::Sender<Came>) {
        if self.connections.len() >= MAX_CONNECTIONS {
            return;
        }
        let (state, sender, address) = (state.clone(), sender.clone(), self.address);
        let service = service_fn(move |request: Request<Incoming>| {
            let (state, sender) = (state.clone(), sender.clone());
            async move {
                let page = page(&request, address, &state, &sender).await;
                Ok::<_, Infallible>(page.response())
            }
        });
        self.connections.spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(REQUEST_WITHIN);
            http.max_buf_size(MAX_REQUEST_BYTES).keep_alive(false);
            // What a stranger sends here is no fault of ours.
            let _ = http.serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

impl Came {
    /// Shows the browser what came of it, if it still waits.
    pub(super) fn answer(&mut self, page: Page) {
        if let Some(waiting) = self.page.take() {
            let _ = waiting.send(page);
        }
    }
}

async fn page(
    request: &Request<Incoming>,
    address: SocketAddr,
    state: &str,
    sender: &mpsc::Sender<Came>,
) -> Page {
    // Only who was sent here knows the port; a page elsewhere that has the name of its own host point
    // here doesn't get through.
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let ours = host == Some(address.to_string().as_str());
    if !ours || request.method() != Method::GET || request.uri().path() != PATH {
        return Page::NotFound;
    }
    let came = query(request.uri().query().unwrap_or_default());
    let Some(mut came) = came.and_then(|query| came_back(query, state)) else {
        return Page::Stranger;
    };
    let (waiting, page) = oneshot::channel();
    came.page = Some(waiting);
    if sender.try_send(came).is_err() {
        return Page::Stranger;
    }
    match timeout(PAGE_WITHIN, page).await {
        Ok(Ok(page)) => page,
        _ => Page::Failed,
    }
}

/// Reads an address that somebody pasted.
fn read(line: &str, state: &str) -> Option<Came> {
    let url = Url::parse(line.trim()).ok()?;
    came_back(query(url.query()?)?, state)
}

/// A query in which nothing stands twice.
fn query(text: &str) -> Option<Query> {
    let mut query = Query::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        if query.insert(name.into_owned(), value.into_owned()).is_some() {
            return None;
        }
    }
    Some(query)
}

/// What a browser brought, if it comes from the sign-in of this state.
fn came_back(mut query: Query, state: &str) -> Option<Came> {
    if query.remove("state")? != state {
        return None;
    }
    let issuer = query.remove("iss").unwrap_or_default();
    let code = query.remove("code").unwrap_or_default();
    let refusal = query.remove("error").map(|error| match query.remove("error_description") {
        Some(words) if !words.is_empty() => format!("{words} ({error})"),
        _ => error,
    });
    match (&refusal, code.is_empty()) {
        (None, true) => None,
        (Some(_), _) => Some(Came { code: String::new(), issuer, refusal, page: None }),
        (None, false) => Some(Came { code, issuer, refusal, page: None }),
    }
}

impl Page {
    fn response(self) -> Response<Full<Bytes>> {
        let (status, text) = match self {
            Page::SignedIn => (StatusCode::OK, "Signed in. You can close this window."),
            Page::Failed => (StatusCode::OK, "That didn't work. The terminal says why."),
            Page::Stranger => (
                StatusCode::BAD_REQUEST,
                "This is not the sign-in that is waited for. Start again.",
            ),
            Page::NotFound => (StatusCode::NOT_FOUND, "There is nothing here."),
        };
        let html = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>DMARCER</title>\
             <p>{text}</p></html>\n"
        );
        let mut response = Response::new(Full::new(Bytes::from(html)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // The address has a code in it.
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
        response
    }
}
