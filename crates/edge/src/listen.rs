//! Takes connections, as many as there is room for, until shutdown.

use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use service::Shutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// Connections that the system may keep for us while we are busy; Linux cuts it to its own bound.
const BACKLOG: u32 = 1024;

/// How long a listener waits when the system has no file or memory for a new connection.
const PAUSE_WITHOUT_FILES: Duration = Duration::from_millis(50);

/// How long connections may take to finish at shutdown: well over the two seconds in which
/// everything is answered, well under what a supervisor waits before it kills.
pub(crate) const DRAIN: Duration = Duration::from_secs(8);

/// A handshake, or the headers of a request, take no longer.
const PATIENCE: Duration = Duration::from_secs(8);
/// The same while three quarters of the room are taken: whoever fills it slowly is sent away, a
/// client that means it needs a few round trips.
const PATIENCE_UNDER_PRESSURE: Duration = Duration::from_secs(2);

/// Room for connections, shared by all listeners.
#[derive(Clone)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    size: usize,
}

impl Room {
    /// Room for `wanted` connections, less if the process may not open so many files.
    pub(crate) fn new(wanted: usize) -> Room {
        // The rest is for the store, the bus, logs and connections being refused.
        let allowed = open_files().map_or(wanted, |files| files / 4 * 3);
        let size = wanted.min(allowed).clamp(1, Semaphore::MAX_PERMITS >> 1);
        if size < wanted {
            warn!(wanted, size, "fewer connections than wanted: raise the limit of open files");
        }
        Room { free: Arc::new(Semaphore::new(size)), size }
    }

    /// How long a client may take for the step it is at.
    pub(crate) fn patience(&self) -> Duration {
        if self.free.available_permits() > self.size / 4 {
            PATIENCE
        } else {
            PATIENCE_UNDER_PRESSURE
        }
    }

    fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_owned().ok()
    }

    /// Waits until all connections have ended, but no longer than [`DRAIN`].
    pub(crate) async fn drained(&self) {
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        if timeout(DRAIN, self.free.acquire_many(all)).await.is_err() {
            let open = self.size - self.free.available_permits();
            info!(open, "connections are cut off at shutdown");
        }
    }
}

/// Binds an address; port 0 takes a free one.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart need not wait for connections of the former process to be forgotten.
    socket.set_reuseaddr(true)?;
    // Connections inherit it: an answer is one small packet, with nothing to wait for.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Hands each connection to `serve`, in a task of its own.
pub(crate) async fn accept<Serve, Served>(
    listener: TcpListener,
    room: Room,
    shutdown: Shutdown,
    serve: Serve,
) where
    Serve: Fn(TcpStream) -> Served,
    Served: Future<Output = ()> + Send + 'static,
{
    let begin = |stream: TcpStream| {
        // Without room the connection is closed at once: the client learns it now, not later.
        let Some(place) = room.enter() else { return };
        // In a box of its own, it is not copied on its way into the task.
        let served = Box::pin(serve(stream));
        tokio::spawn(async move {
            served.await;
            drop(place);
        });
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => begin(stream),
            Err(e) if is_of_one_connection(&e) => {}
            Err(fault) => {
                warn!(%fault, "can't take connections for a moment");
                sleep(PAUSE_WITHOUT_FILES).await;
            }
        }
    }
    // Who is in the queue already has been let in by the system, and would be cut off.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        begin(stream);
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// How many files this process may have open.
fn open_files() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}
