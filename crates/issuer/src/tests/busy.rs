//! A CA that gives out accounts and then has no time: what an order loses by it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;
use wire::issuer::OrderOutcome;

use super::world::{World, wait_for};
use crate::Config;
use crate::sql::OrderStep;

/// What the CA says, with this status and kind of problem.
#[derive(Debug, Clone, Copy)]
struct Says {
    to_new_nonce: u16,
    to_new_order: (u16, &'static str),
}

struct BusyCa {
    config: Config,
    says: Arc<Mutex<Says>>,
    _root: tempfile::TempPath,
}

impl BusyCa {
    async fn saying(says: Says) -> BusyCa {
        let identity = generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
        let root = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&root, identity.cert.pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
        let chain = vec![identity.cert.der().clone()];
        let tls = ServerConfig::builder().with_no_client_auth();
        let tls = TlsAcceptor::from(Arc::new(tls.with_single_cert(chain, key.into()).unwrap()));

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let says = Arc::new(Mutex::new(says));
        let said = says.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, said) = (tls.clone(), said.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = service_fn(|request: Request<Incoming>| {
                        let answer = answer(&request, &address.to_string(), *said.lock().unwrap());
                        async { Ok::<_, Infallible>(answer) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        let config = Config {
            directory: format!("https://{address}/dir"),
            ca_file: Some(root.to_path_buf()),
            ..Config::default()
        };
        BusyCa { config, says, _root: root }
    }
}

fn answer(request: &Request<Incoming>, at: &str, says: Says) -> Response<Full<Bytes>> {
    let answer = Response::builder().header("replay-nonce", "bm9uY2U");
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, _) => {
            let url = |name: &str| format!(r#""{name}":"https://{at}/{name}""#);
            let urls = ["newNonce", "newAccount", "newOrder", "revokeCert"].map(url).join(",");
            (200, format!("{{{urls}}}"))
        }
        (&Method::HEAD, _) => (says.to_new_nonce, String::new()),
        (_, "/newAccount") => (201, r#"{"status":"valid"}"#.to_owned()),
        _ => {
            let (status, kind) = says.to_new_order;
            let kind = format!("urn:ietf:params:acme:error:{kind}");
            (status, format!(r#"{{"type":"{kind}","detail":"Later.","status":{status}}}"#))
        }
    };
    let answer = answer.status(status).header("location", format!("https://{at}/account/1"));
    answer.header("retry-after", "7200").body(Full::from(body)).unwrap()
}

#[tokio::test]
async fn a_rate_limit_ends_the_order_until_the_ca_takes_the_next() {
    let says = Says { to_new_nonce: 200, to_new_order: (429, "rateLimited") };
    let ca = BusyCa::saying(says).await;
    let world = World::with(ca.config.clone()).await;
    // More than may be under way at once: nobody's limit keeps another's order from beginning.
    for n in 0..40 {
        world.hosts(&format!("d{n}.example"), "acme").await;
    }
    for n in 0..40 {
        let domain = format!("d{n}.example");
        let orders = wait_for(&format!("{domain} is refused"), || async {
            let orders = world.orders("acme", &domain).await;
            orders.first().is_some_and(|o| o.outcome() == OrderOutcome::Failed).then_some(orders)
        })
        .await;
        assert!(orders[0].error.contains("takes no more orders"), "{}", orders[0].error);
        assert!(world.core.db.in_flight(&domain).await.unwrap().is_none());
        let name = world.core.db.name(&domain).await.unwrap();
        assert_eq!(name.retry_at, Some(world.clock_now() + SignedDuration::from_hours(2)));
    }
}

#[tokio::test]
async fn a_ca_that_gives_no_nonce_was_not_asked() {
    let says = Says { to_new_nonce: 200, to_new_order: (503, "serverInternal") };
    let ca = BusyCa::saying(says).await;
    let world = World::with(ca.config.clone()).await;
    wait_for("the account", || async {
        world.core.authority.thumbprint(&world.core).await.unwrap()
    })
    .await;
    ca.says.lock().unwrap().to_new_nonce = 503;
    world.hosts("example.com", "acme").await;
    wait_for("the order waits", || async {
        let shown = world.show("acme", "example.com").await.unwrap();
        shown.last_error.contains("503").then_some(())
    })
    .await;
    let order = world.core.db.in_flight("example.com").await.unwrap().unwrap();
    assert_eq!((order.asked_at, order.times_asked), (None, 0));
}

#[tokio::test]
async fn a_ca_that_turned_an_order_away_is_asked_again_after_its_pause() {
    let says = Says { to_new_nonce: 200, to_new_order: (503, "serverInternal") };
    let ca = BusyCa::saying(says).await;
    let world = World::with(ca.config.clone()).await;
    world.hosts("example.com", "acme").await;
    let order = wait_for("the order waits", || async {
        let order = world.core.db.in_flight("example.com").await.unwrap()?;
        (order.outages > 0).then_some(order)
    })
    .await;
    assert_eq!((order.step, order.times_asked), (OrderStep::Asked, 1));
    assert_eq!(order.retry_at, world.clock_now() + SignedDuration::from_hours(2));
    let account = world.core.authority.thumbprint(&world.core).await.unwrap().unwrap();
    // It took no room of the account's.
    assert_eq!(world.core.db.asks(&account).await.unwrap(), 0);
}
