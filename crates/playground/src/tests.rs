//! The server as others meet it: over its sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

use crate::key::UpdateKey;
use crate::publish::{PublishError, publish};
use crate::server::NameServer;
use crate::world::zones;

struct Running {
    address: SocketAddr,
    key: UpdateKey,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn start(folder: &Path, key: UpdateKey) -> Running {
    let address = (Ipv4Addr::LOCALHOST, 0).into();
    let zones = zones(Ipv4Addr::LOCALHOST).unwrap();
    let server = NameServer::start(address, folder, zones, &key).await.unwrap();
    let (address, stop) = (server.address(), CancellationToken::new());
    tokio::spawn(server.run(stop.clone()));
    Running { address, key, stop }
}

fn key() -> UpdateKey {
    UpdateKey::generate("playground.").unwrap()
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

async fn udp(server: SocketAddr, message: &[u8]) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(message, server).await.unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).await.unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn tcp(server: SocketAddr, message: &[u8]) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let length = u16::try_from(message.len()).unwrap();
    stream.write_u16(length).await.unwrap();
    stream.write_all(message).await.unwrap();
    let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn query(owner: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(name(owner), kind));
    message
}

async fn ask(server: SocketAddr, owner: &str, kind: RecordType) -> Message {
    udp(server, &query(owner, kind).to_vec().unwrap()).await
}

/// The outcome, and the values found, as text.
async fn look(server: SocketAddr, owner: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
    let message = ask(server, owner, kind).await;
    let values = message.answers.iter().map(|record| record.data.to_string());
    (message.response_code, values.collect())
}

fn txt(owner: &str, value: &str) -> Record {
    Record::from_rdata(name(owner), 5, RData::TXT(TXT::new(vec![value.to_owned()])))
}

fn classed(mut record: Record, class: DNSClass, ttl: u32) -> Record {
    record.dns_class = class;
    record.ttl = ttl;
    record
}

fn empty(owner: &str, kind: RecordType, class: DNSClass) -> Record {
    classed(Record::update0(name(owner), 0, kind), class, 0)
}

fn update(zone: &str, prerequisites: Vec<Record>, updates: Vec<Record>) -> Message {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.add_query(Query::query(name(zone), RecordType::SOA));
    message.answers = prerequisites;
    message.authorities = updates;
    message
}

async fn send_signed(server: &Running, mut message: Message) -> ResponseCode {
    let now = u64::try_from(Timestamp::now().as_second()).unwrap();
    message.finalize(&server.key.signer().unwrap(), now).unwrap();
    udp(server.address, &message.to_vec().unwrap()).await.response_code
}

#[tokio::test]
async fn the_world_is_found_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), key()).await;
    for (owner, kind, code, values) in [
        ("example.test.", RecordType::MX, ResponseCode::NoError, vec!["10 mx.example.test."]),
        ("EXAMPLE.test.", RecordType::NS, ResponseCode::NoError, vec!["ns.region.test."]),
        ("mx.example.test.", RecordType::A, ResponseCode::NoError, vec!["127.0.0.1"]),
        ("mx.example.test.", RecordType::AAAA, ResponseCode::NoError, vec![]),
        ("abc.region.test.", RecordType::A, ResponseCode::NoError, vec!["127.0.0.1"]),
        ("mta-sts.example.test.", RecordType::CNAME, ResponseCode::NXDomain, vec![]),
        ("example.org.", RecordType::MX, ResponseCode::NXDomain, vec![]),
        ("test.", RecordType::NS, ResponseCode::NXDomain, vec![]),
        ("example.test.", RecordType::AXFR, ResponseCode::Refused, vec![]),
    ] {
        let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
        assert_eq!(look(server.address, owner, kind).await, (code, values), "{owner} {kind}");
    }
    let nothing = ask(server.address, "nothing.example.test.", RecordType::TXT).await;
    assert!(nothing.authoritative);
    assert_eq!(nothing.authorities[0].name, name("example.test."));
    let soa = query("example.test.", RecordType::SOA).to_vec().unwrap();
    assert_eq!(tcp(server.address, &soa).await.answers.len(), 1);
}

#[tokio::test]
async fn a_published_alias_leads_into_the_region_and_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), key()).await;
    let records = [
        ("mta-sts.example.test", "CNAME", "n0nce.region.test"),
        ("_mta-sts.example.test", "TXT", "v=STSv1; id=\"a\\b\";"),
    ]
    .map(|(name, kind, value)| (name.to_owned(), kind.to_owned(), value.to_owned()));
    for _ in 0..2 {
        publish(server.address, &server.key, &records).await.unwrap();
    }

    let expected = ["n0nce.region.test.", "127.0.0.1"].map(str::to_owned).to_vec();
    let found = look(server.address, "mta-sts.example.test.", RecordType::A).await;
    assert_eq!(found, (ResponseCode::NoError, expected.clone()));

    let again = start(folder.path(), server.key.clone()).await;
    let found = look(again.address, "mta-sts.example.test.", RecordType::A).await;
    assert_eq!(found, (ResponseCode::NoError, expected));
    let found = look(again.address, "_mta-sts.example.test.", RecordType::TXT).await;
    assert_eq!(found.1, ["v=STSv1; id=\"a\\b\";"]);
}

#[tokio::test]
async fn only_the_key_changes_a_zone() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), key()).await;
    let change = || update("example.test.", vec![], vec![txt("x.example.test.", "1")]);

    let unsigned = udp(server.address, &change().to_vec().unwrap()).await;
    assert_eq!(unsigned.response_code, ResponseCode::Refused);

    let records = [("x.example.test".into(), "TXT".into(), "1".into())];
    for stranger in [key(), UpdateKey::generate("other.").unwrap()] {
        let refused = publish(server.address, &stranger, &records).await;
        let not_auth = matches!(refused, Err(PublishError::Refused(ResponseCode::NotAuth)));
        assert!(not_auth, "{refused:?}");
    }

    let mut late = change();
    late.finalize(&server.key.signer().unwrap(), 1_000_000).unwrap();
    let late = udp(server.address, &late.to_vec().unwrap()).await;
    assert_eq!(late.response_code, ResponseCode::NotAuth);

    let none = look(server.address, "x.example.test.", RecordType::TXT).await;
    assert_eq!(none.0, ResponseCode::NXDomain);
}

#[tokio::test]
async fn an_update_is_whole_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), key()).await;
    let (a, b) = ("a.example.test.", "b.example.test.");
    let serial = async || look(server.address, "example.test.", RecordType::SOA).await.1;
    let before = serial().await;

    for (prerequisites, updates, expected) in [
        (vec![empty(a, RecordType::TXT, DNSClass::ANY)], vec![txt(b, "1")], ResponseCode::NXRRSet),
        (vec![empty(a, RecordType::ANY, DNSClass::ANY)], vec![txt(b, "1")], ResponseCode::NXDomain),
        (vec![classed(txt(a, "1"), DNSClass::IN, 0)], vec![txt(b, "1")], ResponseCode::NXRRSet),
        (
            vec![empty("example.test.", RecordType::MX, DNSClass::NONE)],
            vec![txt(b, "1")],
            ResponseCode::YXRRSet,
        ),
        (
            vec![empty("example.test.", RecordType::ANY, DNSClass::NONE)],
            vec![txt(b, "1")],
            ResponseCode::YXDomain,
        ),
        (vec![txt(a, "1")], vec![txt(b, "1")], ResponseCode::FormErr),
        (vec![], vec![txt(b, "1"), txt("b.example.org.", "1")], ResponseCode::NotZone),
        (vec![], vec![txt(b, "1"), txt(a, "\u{e9}")], ResponseCode::Refused),
        (vec![], vec![txt(b, "1"), classed(txt(a, "1"), DNSClass::ANY, 0)], ResponseCode::FormErr),
    ] {
        let answer = send_signed(&server, update("example.test.", prerequisites, updates)).await;
        assert_eq!(answer, expected);
    }
    let other = update("example.org.", vec![], vec![txt(b, "1")]);
    assert_eq!(send_signed(&server, other).await, ResponseCode::NotAuth);
    assert_eq!(look(server.address, b, RecordType::TXT).await.0, ResponseCode::NXDomain);
    assert_eq!(serial().await, before);

    let holds = vec![
        empty(a, RecordType::ANY, DNSClass::NONE),
        empty("example.test.", RecordType::MX, DNSClass::ANY),
    ];
    let added = update("example.test.", holds, vec![txt(a, "1"), txt(a, "2"), txt(a, "2")]);
    assert_eq!(send_signed(&server, added).await, ResponseCode::NoError);
    assert_eq!(look(server.address, a, RecordType::TXT).await.1, ["1", "2"]);
    assert_ne!(serial().await, before);

    let same = vec![classed(txt(a, "2"), DNSClass::IN, 0), classed(txt(a, "1"), DNSClass::IN, 0)];
    let swapped = vec![classed(txt(a, "1"), DNSClass::NONE, 0), txt(a, "3")];
    let swapped = update("example.test.", same, swapped);
    assert_eq!(send_signed(&server, swapped).await, ResponseCode::NoError);
    assert_eq!(look(server.address, a, RecordType::TXT).await.1, ["2", "3"]);

    let gone = update("example.test.", vec![], vec![empty(a, RecordType::ANY, DNSClass::ANY)]);
    assert_eq!(send_signed(&server, gone).await, ResponseCode::NoError);
    assert_eq!(look(server.address, a, RecordType::TXT).await.0, ResponseCode::NXDomain);
}

#[tokio::test]
async fn no_update_breaks_a_zone() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), key()).await;
    let apex = "example.test.";
    let emptied = vec![
        empty(apex, RecordType::ANY, DNSClass::ANY),
        empty(apex, RecordType::SOA, DNSClass::ANY),
        empty(apex, RecordType::NS, DNSClass::ANY),
    ];
    let answer = send_signed(&server, update(apex, vec![], emptied)).await;
    assert_eq!(answer, ResponseCode::NoError);
    assert_eq!(look(server.address, apex, RecordType::MX).await.1, Vec::<String>::new());
    assert_eq!(look(server.address, apex, RecordType::NS).await.1.len(), 1);
    assert_eq!(look(server.address, apex, RecordType::SOA).await.1.len(), 1);
}

#[tokio::test]
async fn hostile_messages_are_answered_or_passed_over_and_the_next_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), key()).await;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let good = query("example.test.", RecordType::MX).to_vec().unwrap();
    let response = Message::response(1, OpCode::Query).to_vec().unwrap();
    let mut many = good.clone();
    many[6..10].copy_from_slice(&[0xff; 4]);
    for hostile in [&b""[..], b"\0", &[0xff; 12], &good[..good.len() - 1], &response, &many] {
        socket.send_to(hostile, server.address).await.unwrap();
    }
    assert_eq!(look(server.address, "example.test.", RecordType::MX).await.1.len(), 1);
}

#[tokio::test]
async fn a_long_answer_is_fetched_over_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), key()).await;
    let long = |n: u32| txt("long.example.test.", &format!("{n}{}", "x".repeat(200)));
    let added = update("example.test.", vec![], (0..10).map(long).collect());
    let mut added_over_tcp = added;
    let now = u64::try_from(Timestamp::now().as_second()).unwrap();
    added_over_tcp.finalize(&server.key.signer().unwrap(), now).unwrap();
    let answer = tcp(server.address, &added_over_tcp.to_vec().unwrap()).await;
    assert_eq!(answer.response_code, ResponseCode::NoError);

    let mut asked = query("long.example.test.", RecordType::TXT);
    asked.set_edns(Edns::new());
    let short = udp(server.address, &asked.to_vec().unwrap()).await;
    assert!(short.truncation && short.answers.is_empty());
    let whole = tcp(server.address, &asked.to_vec().unwrap()).await;
    assert_eq!(whole.answers.len(), 10);
}

#[test]
fn a_key_is_written_as_update_clients_take_it() {
    let key = key();
    assert!(key.expose().starts_with("hmac-sha256:playground.:"));
    assert_eq!(UpdateKey::parse(&format!("{}\n", key.expose())).unwrap().expose(), key.expose());
    for text in ["", "hmac-sha256:a", "hmac-md5:a:YQ==", "hmac-sha256:a:!", "hmac-sha256:.:YQ=="] {
        assert!(UpdateKey::parse(text).is_err(), "{text}");
    }
}
