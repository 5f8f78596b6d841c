//! An edge from outside: real sockets, real TLS.

mod hostile;
mod lasting;

use bus::Bus;
use wire::Message;
use wire::bus::FetchBatch;
use wire::envelope::Place;

use crate::testing::{
    REGION, Region, THUMBPRINT, ask, ask_plain, body, client, connect_with, fetch, fetch_as, wait,
};

#[tokio::test]
async fn a_policy_is_served_to_every_kind_of_client() {
    let region = Region::new();
    let edge = region.run().await;
    region.host("example.com").await;
    region.served(&edge, "example.com").await;

    let request = b"GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.example.com\r\n\
                    Connection: close\r\n\r\n";
    let versions: [&[&rustls::SupportedProtocolVersion]; 2] =
        [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];
    for versions in versions {
        for alpn in [&[][..], &["http/1.1"], &["http/1.1", "h2"]] {
            let config = client(versions, alpn);
            let stream = connect_with(config, edge.https, "mta-sts.example.com").await.unwrap();
            let session = stream.get_ref().1;
            if session.alpn_protocol() == Some(b"h2") {
                let (status, body) = http2::get(stream, "https://mta-sts.example.com").await;
                assert_eq!((status, body), (200, self::body("example.com", "testing")));
            }
        }
    }
    let answer = ask(edge.https, "example.com", request).await.unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    for header in ["content-type: text/plain", "cache-control: max-age=60", "content-length: 67"] {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert_eq!(text.as_bytes(), body("example.com", "testing"));
}

#[tokio::test]
async fn a_change_is_served_at_once_and_acknowledged_after() {
    let region = Region::new();
    let edge = region.run().await;
    region.host("example.com").await;
    region.served(&edge, "example.com").await;
    for revision in 2..6 {
        let mode = if revision % 2 == 0 { "enforce" } else { "testing" };
        region.put_policy("example.com", revision, mode).await;
        let told = region.told(|told| told.policies_position == revision * 10).await;
        assert_eq!((told.domains, told.region_id.as_str()), (1, REGION));
        let answer = fetch(edge.https, "example.com").await.unwrap();
        assert!(answer.contains(mode), "{answer}");
    }
}

#[tokio::test]
async fn a_removed_policy_is_no_longer_served_and_an_older_one_does_not_come_back() {
    let region = Region::new();
    let edge = region.run().await;
    region.host("example.com").await;
    region.served(&edge, "example.com").await;
    let place = Place { revision: 2, position: 20 };
    let tombstone = region.control.tombstone("policies-eu-1", "example.com", place);
    region.put("policies", "example.com", tombstone).await;
    region.passed(20).await;
    assert!(fetch(edge.https, "example.com").await.is_err());

    region.put_policy("example.com", 1, "enforce").await;
    region.host("other.example").await;
    region.served(&edge, "other.example").await;
    assert!(fetch(edge.https, "example.com").await.is_err());
    region.put_policy("example.com", 3, "enforce").await;
    assert!(region.served(&edge, "example.com").await.contains("enforce"));
}

#[tokio::test]
async fn challenges_are_answered_for_hosted_names_only() {
    let region = Region::new();
    let edge = region.run().await;
    // Before there is a certificate: it is what the challenge is for.
    region.host("example.com").await;
    region.put_policy("waiting.example", 1, "testing").await;
    region.told(|told| told.policies_position == 10 && told.challenges_position == 1).await;
    wait(async || challenge(&edge, "mta-sts.waiting.example", "abc").await).await;

    let (good, token) = ("mta-sts.example.com", "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA");
    let expected = format!("{token}.{THUMBPRINT}");
    let long = "a".repeat(129);
    let longest = "a".repeat(128);
    for (host, token, answered) in [
        (good, token, true),
        ("MTA-STS.example.com:80", token, true),
        ("mta-sts.example.com.", token, true),
        (good, longest.as_str(), true),
        (good, long.as_str(), false),
        (good, "", false),
        (good, "../../etc/passwd", false),
        (good, "a%2eb", false),
        (good, "a.b", false),
        (good, "a?b", false),
        ("example.com", token, false),
        ("mta-sts.unknown.example", token, false),
        ("127.0.0.1", token, false),
        ("", token, false),
    ] {
        let answer = challenge(&edge, host, token).await;
        assert_eq!(answer.is_some(), answered, "{host} {token}");
    }
    assert_eq!(challenge(&edge, good, token).await, Some(expected));

    for request in [
        "GET / HTTP/1.1\r\nHost: mta-sts.example.com\r\n",
        "GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.example.com\r\n",
        "POST /.well-known/acme-challenge/abc HTTP/1.1\r\nHost: mta-sts.example.com\r\n",
    ] {
        let request = format!("{request}Connection: close\r\n\r\n");
        let answer = ask_plain(edge.http, request.as_bytes()).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(!answer.to_lowercase().contains("location"), "{answer}");
    }
}

#[tokio::test]
async fn a_name_may_have_a_thumbprint_of_its_own() {
    let region = Region::new();
    let edge = region.run().await;
    region.host("example.com").await;
    region.host("other.example").await;
    let own = "A".repeat(43);
    let document = wire::bus::ChallengeDocument { thumbprints: vec![own.clone()] };
    let place = Place { revision: 1, position: 2 };
    let envelope = region.issuer.seal("challenges-eu-1", "example.com", place, &document);
    region.put("challenges", "example.com", envelope).await;
    region.told(|told| told.challenges_position == 2 && told.domains == 2).await;
    assert_eq!(challenge(&edge, "mta-sts.example.com", "t").await, Some(format!("t.{own}")));
    let account = format!("t.{THUMBPRINT}");
    assert_eq!(challenge(&edge, "mta-sts.other.example", "t").await, Some(account));
}

#[tokio::test]
async fn fetches_are_counted_and_probes_are_not() {
    let region = Region::new();
    let edge = region.run().await;
    region.host("example.com").await;
    region.served(&edge, "example.com").await;
    for agent in ["curl/8", "curl/7", "dmarcer-probe/1", "Go-http-client/2.0"] {
        fetch_as(edge.https, "example.com", agent).await.unwrap();
    }
    let head = b"HEAD /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.example.com\r\n\
                 Connection: close\r\n\r\n";
    let answer = ask(edge.https, "example.com", head).await.unwrap();
    assert!(answer.ends_with("\r\n\r\n") && answer.contains("content-length: 67"), "{answer}");

    let mut found = std::collections::BTreeMap::new();
    let mut consumer = region.bus.consume("fetches", "intake").await.unwrap();
    while found.values().sum::<u64>() < 4 {
        let delivery = consumer.next().await.unwrap();
        let batch = FetchBatch::decode(delivery.payload().clone()).unwrap();
        assert_eq!(delivery.id(), batch.batch_id);
        assert_eq!((batch.edge_id.as_str(), batch.region_id.as_str()), ("eu-1-a", REGION));
        for count in batch.counts {
            assert_eq!((count.domain.as_str(), count.revision), ("example.com", 101));
            assert_eq!(count.hour.unwrap().seconds % 3600, 0);
            *found.entry(count.client).or_default() += count.fetches;
        }
        delivery.acknowledge().await.unwrap();
    }
    let expected = [("Go-http-client", 1), ("curl", 2), ("postfix-mta-sts-resolver", 1)];
    assert_eq!(found, expected.map(|(kind, count)| (kind.to_owned(), count)).into());
}

async fn challenge(edge: &crate::testing::Running, host: &str, token: &str) -> Option<String> {
    let request = format!(
        "GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {host}\r\n\
         Connection: close\r\n\r\n"
    );
    let answer = ask_plain(edge.http, request.as_bytes()).await.unwrap();
    let (head, text) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200 ").then(|| text.to_owned())
}

mod http2 {
    use http_body_util::{BodyExt, Empty};
    use hyper::body::Bytes;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::TcpStream;
    use tokio_rustls::client::TlsStream;

    pub(super) async fn get(stream: TlsStream<TcpStream>, origin: &str) -> (u16, Vec<u8>) {
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::get(format!("{origin}/.well-known/mta-sts.txt"));
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, body.to_vec())
    }
}
