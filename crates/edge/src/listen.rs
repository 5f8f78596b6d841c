//! Takes connections, as many as there is room for, until shutdown.

use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use service::Shutdown;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::seldom::Seldom;

/// Connections that the system may keep for us while we are busy; Linux cuts it to its own bound.
const BACKLOG: u32 = 1024;

/// How long a listener waits when the system has no file or memory for a new connection.
const PAUSE_WITHOUT_FILES: Duration = Duration::from_millis(50);

/// How long connections may take to finish at shutdown: well over the two seconds in which
/// everything is answered, well under what a supervisor waits before it kills.
pub(crate) const DRAIN: Duration = Duration::from_secs(8);

/// A handshake, or the headers of a request, take no longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);
/// The same while three quarters of the room are taken: whoever fills it slowly is sent away, a
/// client that means it needs a few round trips.
const PATIENCE_UNDER_PRESSURE: Duration = Duration::from_secs(2);

/// The part of all room that is for challenges: a CA looks from a few places, once in weeks.
const HTTP_PART: usize = 8;

/// Room for connections, shared by the listeners of one kind.
#[derive(Clone)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    size: usize,
}

impl Room {
    /// Room for `wanted` connections, less if the process may not open so many files: for HTTPS,
    /// and apart from it for HTTP, so that neither can be filled through the other.
    pub(crate) fn both(wanted: usize) -> (Room, Room) {
        // The rest is for the store, the bus, logs and connections being refused.
        let allowed = open_files().map_or(wanted, |files| files / 4 * 3);
        let size = wanted.min(allowed).clamp(1, Semaphore::MAX_PERMITS >> 1);
        if size < wanted {
            warn!(wanted, size, "fewer connections than wanted: raise the limit of open files");
        }
        let room = |size: usize| {
            let size = size.max(1);
            Room { free: Arc::new(Semaphore::new(size)), size }
        };
        let http = size / HTTP_PART;
        (room(size - http), room(http))
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

/// Binds all addresses; port 0 takes a free one.
///
/// # Errors
/// The address that could not be bound.
pub(crate) fn bind_all(
    addresses: &[SocketAddr],
) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    let bind_one = |&address: &SocketAddr| {
        let is_also = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        let only_v6 = address.is_ipv6() && addresses.iter().any(is_also);
        bind(address, only_v6).map_err(|fault| (address, fault))
    };
    addresses.iter().map(bind_one).collect()
}

/// `[::]` takes IPv4 too, unless that port of IPv4 is listened on apart.
fn bind(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if only_v6 {
        SockRef::from(&socket).set_only_v6(true)?;
    }
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
    let said = Seldom::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => begin(stream),
            Err(e) if is_of_one_connection(&e) => {}
            Err(fault) => {
                if said.may_say("") {
                    warn!(%fault, "can't take connections for a moment");
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_families_share_a_port_and_v6_alone_takes_both() {
        let any_v4 = SocketAddr::from(([0, 0, 0, 0], 0));
        let port = bind_all(&[any_v4]).unwrap()[0].local_addr().unwrap().port();
        let (v4, v6) = (SocketAddr::from(([0; 4], port)), SocketAddr::from(([0; 16], port)));
        for addresses in [&[v4, v6][..], &[v6, v4], &[v6]] {
            let listeners = bind_all(addresses).unwrap();
            assert_eq!(listeners.len(), addresses.len());
            TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            TcpStream::connect(("::1", port)).await.unwrap();
        }
        let taken = bind_all(&[v4, v4]).unwrap_err();
        assert_eq!(taken.0, v4);
    }
}
