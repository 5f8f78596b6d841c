//! One gRPC listener for all the services of a process, with health and reflection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Bytes, Service, StdError, http};
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::Server;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::Error as ReflectionError;

use crate::Shutdown;

/// Calls that one connection may have under way; more wait.
const CALLS_PER_CONNECTION: usize = 256;
/// No call that we answer takes longer: a sender of a request is told rather than left waiting.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// gRPC's own default is 16 MiB.
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;

/// Why the listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken or not ours.
    #[error("can't listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The descriptors could not be read.
    #[error("reflection can't read the descriptors")]
    Reflection(#[from] ReflectionError),
    /// The server ended on its own.
    #[error("the gRPC server failed")]
    Serve(#[from] tonic::transport::Error),
}

/// Binds an address; port 0 takes a free one.
///
/// # Errors
/// [`ListenError::Bind`] names the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError::Bind { address, source })
}

/// The services that one listener answers. A clone answers them too: a listener that began with some of
/// them is replaced by one with more.
#[derive(Clone)]
pub struct Services {
    routes: RoutesBuilder,
    health: HealthReporter,
}

impl Services {
    /// Health and reflection only. `descriptors` are encoded `FileDescriptorSet`s.
    ///
    /// # Errors
    /// When the descriptors can't be read.
    pub fn new(descriptors: &'static [u8]) -> Result<Services, ListenError> {
        let (health, health_service) = tonic_health::server::health_reporter();
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(descriptors)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let mut routes = Routes::builder();
        routes.add_service(health_service);
        routes.add_service(reflection().build_v1()?);
        // Older clients, Python's among them, still speak the alpha version.
        routes.add_service(reflection().build_v1alpha()?);
        Ok(Services { routes, health })
    }

    /// Adds a service, healthy from now on.
    pub async fn add<S, B>(&mut self, service: S)
    where
        S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        self.routes.add_service(service);
        self.health.set_serving::<S>().await;
    }

    /// Answers calls until shutdown, then finishes those under way.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) -> Result<(), ListenError> {
        Server::builder()
            .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
            .http2_max_header_list_size(Some(MAX_HEADER_LIST_BYTES))
            .timeout(CALL_TIMEOUT)
            .add_routes(self.routes.routes())
            .serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                shutdown.cancelled_owned(),
            )
            .await?;
        Ok(())
    }
}
