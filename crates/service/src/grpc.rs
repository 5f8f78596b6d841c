//! One gRPC listener for all the services of a process, with health and reflection.

use std::convert::Infallible;
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Bytes, Service, StdError, http};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::Error as ReflectionError;
use tracing::field::Empty;
use tracing::{Instrument as _, info_span};

use crate::Shutdown;
use crate::access::{self, Access};

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

/// The services that one listener answers. Clones are handles to the same: what is added to one while
/// another one serves is answered from then on, on connections that are open already, too.
#[derive(Clone)]
pub struct Services {
    newest: watch::Sender<Routes>,
    access: Access,
    health: HealthReporter,
}

impl Services {
    /// Health and reflection only. `descriptors` are encoded `FileDescriptorSet`s; `access` stands in
    /// front of all that is added.
    ///
    /// # Errors
    /// When the descriptors can't be read.
    pub fn new(descriptors: &'static [u8], access: Access) -> Result<Services, ListenError> {
        let (health, health_service) = tonic_health::server::health_reporter();
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(descriptors)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let routes = Routes::new(health_service)
            .add_service(reflection().build_v1()?)
            // Older clients, Python's among them, still speak the alpha version.
            .add_service(reflection().build_v1alpha()?);
        Ok(Services { newest: watch::Sender::new(routes), access, health })
    }

    /// Adds a service, answered and healthy from now on.
    pub async fn add<S, B>(&mut self, service: S)
    where
        S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        self.newest
            .send_modify(|routes| *routes = mem::take(routes).add_service(service).prepare());
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
            .serve_with_incoming_shutdown(
                Newest { routes: self.newest, access: self.access },
                TcpListenerStream::new(listener),
                shutdown.cancelled_owned(),
            )
            .await?;
        Ok(())
    }
}

/// Answers each call that may be made by the services that there are when it comes.
#[derive(Clone)]
struct Newest {
    routes: watch::Sender<Routes>,
    access: Access,
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Newest {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Routes are ready at any time.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let (mut routes, access) = (self.routes.borrow().clone(), self.access.clone());
        let id = access::request_id(request.headers());
        let method = request.uri().path();
        let span = info_span!("call", request = id, method, caller = Empty);
        let answer = async move {
            let response = match access.admit(request, &id).await {
                Ok(request) => routes.call(request).await?,
                Err(refused) => refused.into_http(),
            };
            Ok(access::answer(response, &id))
        };
        Box::pin(answer.instrument(span))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;
    use crate::access::{Known, Limits, Need, Rule, Rules};
    use crate::config::Secret;
    use crate::peer::peer;

    /// Stands for a service that starts after the listener.
    #[derive(Clone)]
    struct Late;

    impl NamedService for Late {
        const NAME: &'static str = "test.Late";
    }

    impl Service<http::Request<Body>> for Late {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<http::Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            ready(Ok(http::Response::new(Body::empty())))
        }
    }

    fn services() -> Services {
        let rule = Rule { need: Need::Nothing, changes: false, emergency: false, about: None };
        let rules = Rules::new([("/test.Late/Call".to_owned(), Some(rule))]).unwrap();
        let access = Access::new(rules, Known::default(), Limits::default());
        Services::new(tonic_health::pb::FILE_DESCRIPTOR_SET, access).unwrap()
    }

    async fn late(newest: &mut Newest) -> Option<String> {
        let request = http::Request::post("/test.Late/Call").body(Body::empty()).unwrap();
        let answer = newest.call(request).await.unwrap();
        answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn what_is_added_while_it_serves_is_answered_at_once() {
        const UNIMPLEMENTED: &str = "12";
        let services = services();
        let mut newest =
            Newest { routes: services.newest.clone(), access: services.access.clone() };
        assert_eq!(late(&mut newest).await.as_deref(), Some(UNIMPLEMENTED));
        services.clone().add(Late).await;
        assert_eq!(late(&mut newest).await, None);
    }

    #[tokio::test]
    async fn a_connection_that_is_open_already_finds_what_is_added() {
        let services = services();
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let serving = tokio::spawn(services.clone().serve(listener, shutdown.clone()));
        let to = peer(&at, &Secret::new("none".to_owned())).unwrap();
        let mut client = HealthClient::new(to);
        let about = || HealthCheckRequest { service: Late::NAME.to_owned() };
        assert_eq!(client.check(about()).await.unwrap_err().code(), tonic::Code::NotFound);
        services.clone().add(Late).await;
        client.check(about()).await.unwrap();
        drop(client);
        shutdown.cancel();
        serving.await.unwrap().unwrap();
    }
}
