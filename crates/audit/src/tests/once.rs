//! One answer for each key, over a real gRPC server.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use jiff::SignedDuration;
use service::Shutdown;
use service::caller::Call;
use store::sqlx::query_scalar;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt;

use super::world::{World, call};
use crate::{Begun, Once, Record};

/// What the service is asked to do.
const CHANGE: &str = "change";
const REFUSE: &str = "refuse";
const WAIT: &str = "wait";
const BREAK: &str = "break";

const FIRST: Answer = Answer { status: ServingStatus::Serving, replayed: false };
const REPLAYED: Answer = Answer { status: ServingStatus::Serving, replayed: true };
/// What a handler answers that finds its change made.
const DONE: Answer = Answer { status: ServingStatus::NotServing, replayed: false };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    status: ServingStatus,
    replayed: bool,
}

/// A service that changes something: it writes a record.
#[derive(Clone)]
struct Changing {
    world: Arc<World>,
    calls: Arc<AtomicUsize>,
    go_on: Arc<Notify>,
}

#[tonic::async_trait]
impl Health for Changing {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let call = request.extensions().get::<Call>().cloned();
        let call = call.unwrap_or_else(call_without_key);
        let World { audit, store, .. } = &*self.world;
        let mut write = store.write().await.unwrap();
        let begun = audit.begin(&mut write, &call).await?;
        let what = request.into_inner().service;
        if what == REFUSE {
            return Err(Status::failed_precondition("no"));
        }
        if begun == Begun::First {
            audit
                .record(&mut write, Record::by_itself("acme", "test.change", &what))
                .await
                .unwrap();
            write.commit().await.unwrap();
        }
        match what.as_str() {
            WAIT => self.go_on.notified().await,
            BREAK => store.close().await,
            _ => {}
        }
        let status = match begun {
            Begun::First => ServingStatus::Serving,
            Begun::Done => ServingStatus::NotServing,
        };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let message = || Ok(HealthCheckResponse { status: ServingStatus::Serving.into() });
        Ok(Response::new(Box::pin(stream::iter([message(), message(), message()]))))
    }
}

fn call_without_key() -> Call {
    call("acme", None)
}

struct Serving {
    service: Changing,
    channel: Channel,
    shutdown: Shutdown,
}

impl Serving {
    async fn new() -> Serving {
        let world = Arc::new(World::new().await);
        let service =
            Changing { world: world.clone(), calls: Arc::default(), go_on: Arc::default() };
        // Stands for the layer in front that finds out who calls.
        let found = |mut request: Request<()>| {
            let text = |name: &str| {
                let value = request.metadata().get(name)?;
                value.to_str().ok().map(str::to_owned)
            };
            if let (Some(key), Some(body)) = (text("idempotency-key"), text("body")) {
                let mut call = call("acme", Some((&key, &body)));
                if let (Some(once), Some(_)) = (&mut call.once, text("another-token")) {
                    once.sealing = [9; 32];
                }
                request.extensions_mut().insert(call);
            }
            Ok(request)
        };
        let once = Once::new(HealthServer::new(service.clone()), world.audit.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let served = Server::builder()
            .add_service(InterceptedService::new(once, found))
            .serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                shutdown.clone().cancelled_owned(),
            );
        tokio::spawn(served);
        let channel = Endpoint::from_shared(at).unwrap().connect().await.unwrap();
        Serving { service, channel, shutdown }
    }

    fn request(key: &str, what: &str) -> Request<HealthCheckRequest> {
        let mut request = Request::new(HealthCheckRequest { service: what.to_owned() });
        request.metadata_mut().insert("idempotency-key", key.parse().unwrap());
        request.metadata_mut().insert("body", what.parse().unwrap());
        request
    }

    async fn ask(&self, key: &str, what: &str) -> Result<Answer, Status> {
        self.send(Serving::request(key, what)).await
    }

    async fn send(&self, request: Request<HealthCheckRequest>) -> Result<Answer, Status> {
        let answer = HealthClient::new(self.channel.clone()).check(request).await?;
        let replayed = answer.metadata().get("idempotency-replayed");
        let replayed = replayed.is_some_and(|value| value == "true");
        Ok(Answer { status: answer.get_ref().status(), replayed })
    }

    fn handled(&self) -> usize {
        self.service.calls.load(Ordering::SeqCst)
    }

    async fn changes(&self) -> u64 {
        self.service.world.audit.verify("acme").await.unwrap().records
    }

    async fn kept(&self) -> i64 {
        let pool = self.service.world.store.read();
        let sql = "SELECT count(*) FROM calls WHERE answer IS NOT NULL";
        query_scalar(sql).fetch_one(pool).await.unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn wait_for(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !look().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer_and_one_effect() {
    let serving = Serving::new().await;
    assert_eq!(serving.ask("k", CHANGE).await.unwrap(), FIRST);
    for _ in 0..3 {
        assert_eq!(serving.ask("k", CHANGE).await.unwrap(), REPLAYED);
    }
    assert_eq!((serving.handled(), serving.changes().await), (1, 1));
    assert_eq!(serving.ask("k2", CHANGE).await.unwrap(), FIRST);
    assert_eq!((serving.handled(), serving.changes().await), (2, 2));
}

#[tokio::test]
async fn the_same_key_for_another_request_is_refused_with_its_reason() {
    let serving = Serving::new().await;
    serving.ask("k", CHANGE).await.unwrap();
    let refused = serving.ask("k", "another change").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("IDEMPOTENCY_KEY_REUSED", "dmarcer"));
    assert_eq!(serving.handled(), 1);
}

#[tokio::test]
async fn a_refusal_is_not_kept() {
    let serving = Serving::new().await;
    for asked in 1..3 {
        let refused = serving.ask("k", REFUSE).await.unwrap_err();
        assert_eq!((refused.code(), serving.handled()), (Code::FailedPrecondition, asked));
    }
    assert_eq!(serving.ask("k", CHANGE).await.unwrap(), FIRST);
}

#[tokio::test]
async fn calls_without_a_key_pass() {
    let serving = Serving::new().await;
    for _ in 0..2 {
        let request = Request::new(HealthCheckRequest { service: CHANGE.to_owned() });
        assert_eq!(serving.send(request).await.unwrap(), FIRST);
    }
    assert_eq!(serving.changes().await, 2);
}

#[tokio::test]
async fn after_a_crash_between_commit_and_answer_the_change_is_found_made() {
    let serving = Serving::new().await;
    // The handler without what is around it: nobody keeps its answer.
    let mut request = Request::new(HealthCheckRequest { service: CHANGE.to_owned() });
    request.extensions_mut().insert(call("acme", Some(("k", CHANGE))));
    serving.service.check(request).await.unwrap();
    assert_eq!(serving.ask("k", CHANGE).await.unwrap(), DONE);
    // That answer is kept from now on.
    assert_eq!(serving.ask("k", CHANGE).await.unwrap(), Answer { replayed: true, ..DONE });
    assert_eq!((serving.handled(), serving.changes().await), (2, 1));
}

#[tokio::test]
async fn a_caller_who_goes_away_finds_the_answer_when_they_come_back() {
    let serving = Serving::new().await;
    let asking = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::select! {
            answer = serving.ask("k", WAIT) => panic!("not yet: {answer:?}"),
            () = wait_for("the change", async || serving.changes().await == 1) => {}
        }
    });
    // Dropped, the call is reset: the server drops what it does for it.
    asking.await.unwrap();
    serving.service.go_on.notify_one();
    wait_for("the answer", async || serving.kept().await == 1).await;
    assert_eq!(serving.ask("k", WAIT).await.unwrap(), REPLAYED);
    assert_eq!((serving.handled(), serving.changes().await), (1, 1));
}

#[tokio::test]
async fn who_asks_again_too_early_waits_for_the_answer() {
    let serving = Serving::new().await;
    let asks = async {
        tokio::join!(serving.ask("k", WAIT), serving.ask("k", WAIT), serving.ask("k", WAIT))
    };
    let go_on = async {
        wait_for("the change", async || serving.changes().await == 1).await;
        serving.service.go_on.notify_one();
    };
    let ((a, b, c), ()) = tokio::join!(asks, go_on);
    let answers = [a.unwrap(), b.unwrap(), c.unwrap()];
    assert_eq!(answers.iter().filter(|answer| **answer == FIRST).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == REPLAYED).count(), 2, "{answers:?}");
    assert_eq!((serving.handled(), serving.changes().await), (1, 1));
}

#[tokio::test]
async fn an_answer_is_kept_for_a_day() {
    let serving = Serving::new().await;
    serving.ask("k", CHANGE).await.unwrap();
    serving.service.world.clock.advance(SignedDuration::from_hours(24));
    assert_eq!(serving.ask("k", CHANGE).await.unwrap(), REPLAYED);
    serving.service.world.clock.advance(SignedDuration::from_millis(1));
    assert_eq!(serving.ask("k", CHANGE).await.unwrap(), FIRST);
    assert_eq!(serving.ask("k", CHANGE).await.unwrap(), REPLAYED);
    assert_eq!(serving.changes().await, 2);
}

#[tokio::test]
async fn a_kept_answer_opens_only_with_the_callers_own_token() {
    let serving = Serving::new().await;
    serving.ask("k", CHANGE).await.unwrap();
    let mut request = Serving::request("k", CHANGE);
    request.metadata_mut().insert("another-token", "yes".parse().unwrap());
    assert_eq!(serving.send(request).await.unwrap(), DONE);
    assert_eq!(serving.ask("k", CHANGE).await.unwrap(), REPLAYED);

    serving.service.world.sql("UPDATE calls SET answer = request_hash").await.unwrap();
    assert_eq!(serving.ask("k", CHANGE).await.unwrap(), DONE);
    assert_eq!(serving.changes().await, 1);
}

#[tokio::test]
async fn without_a_database_nothing_is_begun() {
    let serving = Serving::new().await;
    serving.service.world.store.close().await;
    let fault = serving.ask("k", CHANGE).await.unwrap_err();
    assert_eq!((fault.code(), serving.handled()), (Code::Unavailable, 0));
    assert_eq!(fault.get_details_error_info().unwrap().reason, "UNAVAILABLE");
}

#[tokio::test]
async fn a_database_that_breaks_after_the_change_does_not_take_the_answer() {
    let serving = Serving::new().await;
    assert_eq!(serving.ask("k", BREAK).await.unwrap(), FIRST);
    let copy = serving.service.world.reopened().await;
    assert_eq!(copy.audit.verify("acme").await.unwrap().records, 1);
}

#[tokio::test]
async fn a_stream_passes_and_is_not_kept() {
    let serving = Serving::new().await;
    for _ in 0..2 {
        let mut client = HealthClient::new(serving.channel.clone());
        let answer = client.watch(Serving::request("k", CHANGE)).await.unwrap();
        assert!(answer.metadata().get("idempotency-replayed").is_none());
        let messages: Vec<_> = answer.into_inner().collect().await;
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(Result::is_ok));
    }
    assert_eq!(serving.kept().await, 0);
}
