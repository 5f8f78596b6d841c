//! One gRPC listener for services that start one by one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use service::Shutdown;
use service::caller::Authenticator;
use service::grpc::{ListenError, Services};
use service::supervise::{Fault, keep_running};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tracing::error;

/// The services that answer gRPC: control, dns, issuer, intake.
const ANSWERING: usize = 4;

/// The gRPC listener. It answers the services that have started; when one more has, a new server
/// with all of them takes over the socket, and the old one finishes its calls.
pub(super) struct Answering {
    /// Those that have started.
    pub(super) services: Mutex<Services>,
    /// Stands in front of each.
    pub(super) auth: Authenticator,
    started: watch::Sender<usize>,
    ready: watch::Sender<bool>,
}

impl Answering {
    /// Answers health and reflection only, and says when all services have started.
    pub(super) fn new(
        auth: Authenticator,
    ) -> Result<(Arc<Answering>, watch::Receiver<bool>), ListenError> {
        let services = Mutex::new(Services::new(wire::DESCRIPTORS)?);
        let (ready, is_ready) = watch::channel(false);
        let answering = Answering { services, auth, started: watch::Sender::new(0), ready };
        Ok((Arc::new(answering), is_ready))
    }

    /// Says that one more service has started and been added.
    pub(super) fn one_more(&self) {
        self.started.send_modify(|started| *started += 1);
    }

    /// Serves on `first`, or where it could not be bound, on `address` as soon as it can be.
    pub(super) async fn serve(
        self: Arc<Self>,
        address: SocketAddr,
        first: Option<std::net::TcpListener>,
        shutdown: Shutdown,
    ) {
        let first = Arc::new(Mutex::new(first));
        let until = shutdown.clone();
        keep_running("grpc", shutdown, move || {
            let (own, first, until) = (self.clone(), first.clone(), until.clone());
            async move {
                let listener = match first.lock().await.take() {
                    Some(listener) => listener,
                    None => TcpListener::bind(address).await?.into_std()?,
                };
                own.serve_on(listener, until).await
            }
        })
        .await;
    }

    async fn serve_on(
        &self,
        listener: std::net::TcpListener,
        shutdown: Shutdown,
    ) -> Result<(), Fault> {
        let mut started = self.started.subscribe();
        let mut servers = JoinSet::new();
        loop {
            let count = *started.borrow_and_update();
            let services = self.services.lock().await.clone();
            let stop = shutdown.child_token();
            let socket = TcpListener::from_std(listener.try_clone()?)?;
            servers.spawn(services.serve(socket, stop.clone()));
            if count == ANSWERING {
                self.ready.send_replace(true);
            }
            tokio::select! {
                // The sender is in self.
                _ = started.changed() => stop.cancel(),
                () = shutdown.cancelled() => {
                    while servers.join_next().await.is_some() {}
                    return Ok(());
                }
                Some(ended) = servers.join_next(), if count == ANSWERING => ended??,
            }
        }
    }
}

/// Binds the gRPC listener. Where the address is taken now, it is tried again later: the edge is
/// to serve meanwhile.
pub(super) async fn listen(
    address: SocketAddr,
) -> Result<(Option<std::net::TcpListener>, SocketAddr), ListenError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        io::Result::Ok((listener.into_std()?, bound))
    };
    match bound.await {
        Ok((listener, bound)) => Ok((Some(listener), bound)),
        Err(source) if address.port() == 0 => Err(ListenError::Bind { address, source }),
        Err(fault) => {
            error!(%address, %fault, "can't listen (control.listen), is tried again");
            Ok((None, address))
        }
    }
}
