//! One gRPC listener for services that start one by one.

use std::net::SocketAddr;
use std::sync::Arc;

use service::Shutdown;
use service::access::Access;
use service::grpc::{ListenError, Services, bind};
use service::supervise::keep_running;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tracing::error;

/// The services that answer gRPC: control, dns, issuer, intake.
const ANSWERING: usize = 4;

/// The gRPC listener. It answers the services that have started; one more is answered from the moment
/// at which it is added.
pub(super) struct Answering {
    /// Those that have started.
    pub(super) services: Services,
    listening: watch::Sender<bool>,
    started: watch::Sender<usize>,
}

impl Answering {
    /// Answers health and reflection only.
    pub(super) fn new(access: Access) -> Result<Arc<Answering>, ListenError> {
        let services = Services::new(wire::DESCRIPTORS, access)?;
        let (listening, started) = (watch::Sender::new(false), watch::Sender::new(0));
        Ok(Arc::new(Answering { services, listening, started }))
    }

    /// Says that one more service has started and been added.
    pub(super) fn one_more(&self) {
        self.started.send_modify(|started| *started += 1);
    }

    /// Waits until every service is answered.
    pub(super) async fn ready(&self) {
        // The senders are in self.
        let _ = self.listening.subscribe().wait_for(|listening| *listening).await;
        let _ = self.started.subscribe().wait_for(|started| *started == ANSWERING).await;
    }

    /// Serves on `first`, or where it could not be bound, on `address` as soon as it can be.
    pub(super) async fn serve(
        self: Arc<Self>,
        address: SocketAddr,
        first: Option<TcpListener>,
        shutdown: Shutdown,
    ) {
        let first = Arc::new(Mutex::new(first));
        let until = shutdown.clone();
        keep_running("grpc", shutdown, move || {
            let (own, first, until) = (self.clone(), first.clone(), until.clone());
            async move {
                let listener = match first.lock().await.take() {
                    Some(listener) => listener,
                    None => bind(address).await?,
                };
                own.listening.send_replace(true);
                Ok(own.services.clone().serve(listener, until).await?)
            }
        })
        .await;
    }
}

/// Binds the gRPC listener. Where the address is taken now, it is tried again later: the edge is
/// to serve meanwhile.
pub(super) async fn listen(
    address: SocketAddr,
) -> Result<(Option<TcpListener>, SocketAddr), ListenError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        std::io::Result::Ok((listener, bound))
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
