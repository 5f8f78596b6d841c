//! Serves the policy file, and nothing else.
//!
//! Everything here is answered from memory, or from a few pages of the store. No answer redirects
//! (RFC 8461 section 3.3 forbids senders to follow), none is HTML, none is compressed, and none
//! depends on anything that the client says but name, path and method.

mod answer;

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use service::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

pub(crate) use answer::{http_host, plain};

use crate::counts::Counts;
use crate::flight::Flight;
use crate::listen::{DRAIN, PATIENCE, Room};
use crate::sites::Sites;
use crate::tls::{H2, domain_of};

/// No connection lives longer, whatever goes on in it. A fetch takes milliseconds, and a minute is
/// all that a sender waits (RFC 8461 section 3.3).
const LIFETIME: Duration = Duration::from_secs(30);

/// Bytes of a request's head, and what hyper needs at least for its buffer.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Header fields of a request. Real ones have five.
const MAX_HEADERS: usize = 64;
/// Requests that may be open at a time in one connection. Real clients send one.
const MAX_STREAMS: u32 = 16;
/// Streams that a client may open and reset before the connection is closed ("rapid reset").
const MAX_RESETS: usize = 32;
/// Nobody needs to send us a body.
const WINDOW_BYTES: u32 = 16 * 1024;
/// A policy file is at most 64 KiB, and usually fits in one packet.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// How requests are read, over TLS or without.
pub(crate) struct Protocols {
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
    shutdown: Shutdown,
}

impl Protocols {
    /// With limits for clients that mean no good.
    pub(crate) fn new(shutdown: Shutdown) -> Protocols {
        let mut http1 = Builder::new(TokioExecutor::new()).http1_only();
        http1
            .http1()
            // One answer, then the end: see `flight.rs`. Real clients send one request.
            .keep_alive(false)
            .timer(TokioTimer::new())
            // Who has asked may say at once that nothing more comes.
            .half_close(true)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS);
        let mut http2 = Builder::new(TokioExecutor::new()).http2_only();
        http2
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_RESETS)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(PATIENCE)
            .keep_alive_timeout(PATIENCE);
        Protocols { http1, http2, shutdown }
    }

    /// Answers the requests of one connection, until it ends, its time is over, or shutdown. The
    /// first has to be here within `patience`.
    pub(crate) async fn serve<IO, Answer>(
        &self,
        io: IO,
        is_http2: bool,
        patience: Duration,
        answer: Answer,
    ) where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        Answer: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + 'static,
    {
        let asked = Arc::new(AtomicBool::new(false));
        let has_asked = asked.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let mut response = answer(&request);
            // Over HTTP/1.1 hyper leaves the body out; over HTTP/2 it would send it
            // (RFC 9110 section 9.3.2).
            if is_http2 && request.method() == Method::HEAD {
                *response.body_mut() = Full::default();
            }
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let protocol = if is_http2 { &self.http2 } else { &self.http1 };
        let mut connection = pin!(protocol.serve_connection(TokioIo::new(io), service));
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                timeout(DRAIN, connection).await.unwrap_or(Ok(()))
            }
            () = sleep(LIFETIME) => Ok(()),
            () = silence(patience, &has_asked) => Ok(()),
        };
        if let Err(fault) = ended {
            // Anyone can cause these, at any rate.
            debug!(%fault, "a connection ended");
        }
    }
}

/// Ends when nothing was asked by then.
async fn silence(patience: Duration, has_asked: &AtomicBool) {
    sleep(patience).await;
    if has_asked.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
}

/// The HTTPS side.
pub(crate) struct Server {
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) protocols: Protocols,
    pub(crate) sites: Arc<Sites>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) room: Room,
}

impl Server {
    /// Serves one connection: handshake, requests, end.
    pub(crate) async fn connection(self: Arc<Self>, stream: TcpStream) {
        let accepting = TlsAcceptor::from(self.tls.clone()).accept(Flight::new(stream));
        let mut accepted = match timeout(self.room.patience(), accepting).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(fault)) => return debug!(%fault, "a handshake failed"),
            Err(_) => return debug!("a handshake took too long"),
        };
        let (flight, session) = accepted.get_mut();
        let is_http2 = session.alpn_protocol() == Some(H2);
        if !is_http2 {
            flight.hold();
        }
        // The handshake would not have passed without.
        let Some(domain) = session.server_name().and_then(domain_of) else { return };
        let (sites, counts) = (self.sites.clone(), self.counts.clone());
        let answer =
            move |request: &Request<Incoming>| answer::answer(request, &domain, &sites, &counts);
        self.protocols.serve(accepted, is_http2, self.room.patience(), answer).await;
    }
}
