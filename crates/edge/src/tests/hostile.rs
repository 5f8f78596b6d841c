//! What clients must not be able to do.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http2;
use crate::testing::{Region, Running, ask, ask_plain, client, connect, connect_with, fetch};

const PATH: &str = "/.well-known/mta-sts.txt";

async fn serving(region: &Region) -> Running {
    let edge = region.run().await;
    for domain in ["example.com", "other.example"] {
        region.host(domain).await;
        region.served(&edge, domain).await;
    }
    edge
}

#[tokio::test]
async fn a_name_that_is_not_hosted_gets_a_fatal_alert_and_no_certificate() {
    let region = Region::new();
    let edge = serving(&region).await;
    for name in ["mta-sts.unknown.example", "example.com", "mta-sts.com", "mta-sts", "127.0.0.1"] {
        let config = client(rustls::ALL_VERSIONS, &[]);
        let refused = connect_with(config, edge.https, name).await.unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("alert"), "{name}: {refused}");
    }
    let mut without_name = client(rustls::ALL_VERSIONS, &[]);
    without_name.enable_sni = false;
    let refused = connect_with(without_name, edge.https, "mta-sts.example.com").await.unwrap_err();
    assert!(refused.to_string().contains("alert"), "{refused}");

    // Upper case is the same name.
    let config = client(rustls::ALL_VERSIONS, &[]);
    connect_with(config, edge.https, "MTA-STS.Example.COM").await.unwrap();
}

#[tokio::test]
async fn only_the_policy_is_answered() {
    let region = Region::new();
    let edge = serving(&region).await;
    let host = "Host: mta-sts.example.com\r\n";
    let long_path = format!("GET /{} HTTP/1.1\r\n{host}", "a".repeat(7000));
    let too_long = format!("GET {PATH} HTTP/1.1\r\n{host}X: {}\r\n", "a".repeat(70_000));
    let many = format!("GET {PATH} HTTP/1.1\r\n{host}{}", "X: y\r\n".repeat(200));
    let get = |rest: &str| format!("GET {PATH} HTTP/1.1\r\n{rest}");
    let path = |path: &str| format!("GET {path} HTTP/1.1\r\n{host}");
    let method = |method: &str| format!("{method} {PATH} HTTP/1.1\r\n{host}");
    let cases = [
        (get(host), "200"),
        (get("hOST: MTA-STS.EXAMPLE.COM\r\n"), "200"),
        (get("Host: mta-sts.example.com:443\r\n"), "200"),
        (get("Host: mta-sts.example.com.\r\n"), "200"),
        (get(&format!("{host}X-Forwarded-Host: mta-sts.other.example\r\n")), "200"),
        (get(&format!("{host}Range: bytes=0-3\r\n")), "200"),
        (get(&format!("{host}If-None-Match: *\r\nAccept: image/*\r\n")), "200"),
        (get(&format!("{host}Accept-Encoding: gzip, br\r\n")), "200"),
        (get(&format!("{host}Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n")), "200"),
        (format!("GET {PATH} HTTP/1.0\r\n"), "200"),
        (format!("GET https://mta-sts.example.com{PATH} HTTP/1.1\r\n{host}"), "200"),
        (format!("GET https://mta-sts.other.example{PATH} HTTP/1.1\r\n{host}"), "421"),
        (format!("GET http://mta-sts.example.com{PATH} HTTP/1.1\r\n{host}"), "421"),
        (get("Host: mta-sts.other.example\r\n"), "421"),
        (get("Host: example.com\r\n"), "421"),
        (get("Host: 127.0.0.1\r\n"), "421"),
        (get("Host: mta-sts.example.com:0\r\n"), "421"),
        (get("Host: mta-sts.example.com:443:443\r\n"), "421"),
        (get("Host: \r\n"), "421"),
        (get(&format!("Host: {}\r\n", "a".repeat(300))), "421"),
        (get(""), "400"),
        (get("Host: mta-sts.example.com\r\nHost: mta-sts.example.com\r\n"), "400"),
        (path("/"), "404"),
        (path("/.well-known/mta-sts.txt?x"), "404"),
        (path("//.well-known/mta-sts.txt"), "404"),
        (path("/./.well-known/mta-sts.txt"), "404"),
        (path("/%2ewell-known/mta-sts.txt"), "404"),
        (path("/.well-known/MTA-STS.txt"), "404"),
        (path("/.well-known/mta-sts.txt/"), "404"),
        (path("/.well-known/mta-sts.txt;x"), "404"),
        (path("/.well-known/acme-challenge/abc"), "404"),
        (long_path, "404"),
        (method("POST"), "405"),
        (method("PUT"), "405"),
        (method("OPTIONS"), "405"),
        (method("TRACE"), "405"),
        (method("get"), "405"),
        (format!("OPTIONS * HTTP/1.1\r\n{host}"), "405"),
        (format!("CONNECT mta-sts.example.com:443 HTTP/1.1\r\n{host}"), "405"),
        (too_long, "431"),
        (many, "431"),
        (get(&format!("{host}Content-Length: -1\r\n")), "400"),
        (get(&format!("{host}Content-Length: 1\r\nContent-Length: 2\r\n")), "400"),
        (get(&format!("{host}X: a\0b\r\n")), "400"),
        (get("Host: a\r\n b\r\n"), "400"),
        (format!("GET {PATH}\r\n"), "400"),
        (format!("GET {PATH} HTTP/3.0\r\n{host}"), "400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n".to_owned(), "400"),
    ];
    for (request, status) in cases {
        let shown: String = request.chars().take(90).collect();
        let whole = format!("{request}Connection: close\r\n\r\n");
        let answer = ask(edge.https, "example.com", whole.as_bytes()).await.unwrap_or_default();
        let found = answer.split(' ').nth(1).unwrap_or("closed");
        // What is closed with unread bytes may reach the client as a reset.
        let closed_at_once = ["400", "431"].contains(&status) && found == "closed";
        assert!(found == status || closed_at_once, "{shown:?}: {found}");
        let head = answer.to_lowercase();
        let head = head.split("\r\n\r\n").next().unwrap_or_default();
        assert!(!head.contains("location:") && !head.contains("html"), "{shown:?}: {head}");
        assert!(!head.contains("content-encoding"), "{shown:?}: {head}");
        if status != "400" && status != "431" {
            assert!(head.contains("content-type: text/plain"), "{shown:?}: {head}");
        }
    }
    fetch(edge.https, "example.com").await.unwrap();
}

#[tokio::test]
async fn http2_is_held_to_the_same_names() {
    let region = Region::new();
    let edge = serving(&region).await;
    for (origin, expected) in [
        ("https://mta-sts.example.com", 200),
        ("https://MTA-STS.example.com:443", 200),
        ("https://mta-sts.other.example", 421),
        ("http://mta-sts.example.com", 421),
    ] {
        let config = client(rustls::ALL_VERSIONS, &["h2"]);
        let stream = connect_with(config, edge.https, "mta-sts.example.com").await.unwrap();
        let (status, _) = http2::get(stream, origin).await;
        assert_eq!(status, expected, "{origin}");
    }
}

#[tokio::test]
async fn of_pipelined_requests_the_first_is_answered_in_full() {
    let region = Region::new();
    let edge = serving(&region).await;
    let one = format!("GET {PATH} HTTP/1.1\r\nHost: mta-sts.example.com\r\n\r\n");
    for times in [2, 1_000] {
        let all = one.repeat(times);
        let answer = ask(edge.https, "example.com", all.as_bytes()).await.unwrap();
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1, "{times}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
        assert!(answer.ends_with("max_age: 86400\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn the_wrong_protocol_on_either_port_harms_nobody() {
    let region = Region::new();
    let edge = serving(&region).await;
    let sslv2 = [0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 7, 0, 0xc0];
    let empty_hello = [22, 3, 1, 0, 4, 1, 0, 0, 0];
    let huge_record = [22, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xff];
    for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], &sslv2, &empty_hello, &huge_record, b"\0\0\0"] {
        let mut stream = TcpStream::connect(edge.https).await.unwrap();
        stream.write_all(junk).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer[0] == 21, "an alert, or nothing: {answer:?}");
    }
    let answer = ask_plain(edge.http, &[22, 3, 1, 0, 4, 1, 0, 0, 0, 13, 10, 13, 10]).await;
    assert!(answer.is_ok_and(|answer| answer.is_empty() || answer.contains(" 400 ")));
    // An end in the middle of a handshake, and of a request.
    drop(TcpStream::connect(edge.https).await.unwrap());
    let mut stream = connect(edge.https, "example.com").await.unwrap();
    stream.write_all(b"GET /").await.unwrap();
    drop(stream);
    fetch(edge.https, "example.com").await.unwrap();
}

#[tokio::test]
async fn nothing_is_resumed() {
    let region = Region::new();
    let edge = serving(&region).await;
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        // The client keeps tickets and sessions, if it is given any.
        let config = client(versions, &[]);
        for _ in 0..3 {
            let name = "mta-sts.example.com";
            let mut stream = connect_with(config.clone(), edge.https, name).await.unwrap();
            assert_eq!(
                stream.get_ref().1.handshake_kind(),
                Some(rustls::HandshakeKind::Full),
                "{versions:?}"
            );
            let request = format!(
                "GET {PATH} HTTP/1.1\r\nHost: mta-sts.example.com\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let _ = stream.read_to_end(&mut vec![]).await;
        }
    }
}

/// All room that there is, taken by clients that say nothing at one step or another. A quarter of
/// them meet an edge under pressure, which waits two seconds for a step.
#[tokio::test]
async fn idle_connections_do_not_keep_others_out() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let region = Region::new();
    let edge = serving(&region).await;
    let handshake = async |alpn: &[&str], then: &[u8]| {
        let config = client(&[&rustls::version::TLS13], alpn);
        let mut stream = connect_with(config, edge.https, "mta-sts.example.com").await?;
        stream.write_all(then).await?;
        Ok::<_, std::io::Error>(stream)
    };
    for step in ["tcp", "h1", "h2", "preface"] {
        let (mut silent, mut connected) = (vec![], vec![]);
        for _ in 0..200 {
            let stream = match step {
                "tcp" => {
                    silent.push(TcpStream::connect(edge.https).await.unwrap());
                    continue;
                }
                "h1" => handshake(&["http/1.1"], b"").await,
                "h2" => handshake(&["h2"], b"").await,
                _ => handshake(&["h2"], PREFACE).await,
            };
            // Refused once there is no more room.
            connected.extend(stream.ok());
        }
        let fetched = timeout(Duration::from_secs(6), async {
            while fetch(edge.https, "example.com").await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        fetched.await.unwrap_or_else(|_| panic!("{step}: the idle ones are sent away"));
    }
}

#[tokio::test]
async fn whoever_fills_one_port_keeps_nobody_from_the_other() {
    let region = Region::new();
    let edge = serving(&region).await;
    let mut idle = vec![];
    for _ in 0..300 {
        idle.push(TcpStream::connect(edge.http).await.unwrap());
    }
    fetch(edge.https, "example.com").await.unwrap();
}

#[tokio::test]
async fn a_head_request_over_http2_gets_no_body() {
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let region = Region::new();
    let edge = serving(&region).await;
    for (authority, path, status) in [
        ("mta-sts.example.com", PATH, 200),
        ("mta-sts.example.com", "/", 404),
        ("mta-sts.other.example", PATH, 421),
    ] {
        let config = client(rustls::ALL_VERSIONS, &["h2"]);
        let stream = connect_with(config, edge.https, "mta-sts.example.com").await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::head(format!("https://{authority}{path}"));
        let request = request.body(http_body_util::Empty::<hyper::body::Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        if status == 200 {
            assert_eq!(response.headers()["content-length"], "67");
        }
        // The stream ends with the headers, or hyper would have something to read.
        assert!(hyper::body::Body::is_end_stream(response.body()), "{path}");
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
        assert!(body.to_bytes().is_empty());
    }
}

#[tokio::test]
async fn a_client_that_says_goodbye_with_its_request_is_answered() {
    let region = Region::new();
    let edge = serving(&region).await;
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: mta-sts.example.com\r\n\r\n");
    for says_goodbye in [true, false] {
        let mut stream = connect(edge.https, "example.com").await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        if says_goodbye {
            // close_notify, and the end of that side.
            stream.shutdown().await.unwrap();
        } else {
            stream.flush().await.unwrap();
            stream.get_mut().0.shutdown().await.unwrap();
        }
        let mut answer = vec![];
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.ends_with("max_age: 86400\r\n"), "{says_goodbye}: {answer}");
    }
    let mut stream = TcpStream::connect(edge.http).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: mta-sts.example.com\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
