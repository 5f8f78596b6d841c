//! A name server on loopback that says what a test wants, and misbehaves as it wants.
//!
//! Asked with recursion it follows aliases in its own data, as a resolver would.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quirk {
    None,
    Silent,
    /// Answers after so long.
    Slow(Duration),
    /// Has no answer to this type.
    FailsFor(RecordType),
    /// An empty answer without the SOA that shows that there is nothing.
    Bare,
    Code(ResponseCode),
    /// Answers without authority.
    Lame,
    /// Refers to the root.
    RefersUp,
    /// Answers with another id.
    WrongId,
    /// Answers another question.
    WrongQuestion,
    /// First something forged, then the truth.
    ForgedFirst,
    /// Has records for other names in the answer and poison beside it.
    Poison,
    /// Cut over UDP, and nobody listens on TCP.
    CutWithoutTcp,
    /// Refuses EDNS with a bare header.
    NoEdns,
    /// No DNS message at all.
    Garbage,
    /// SERVFAIL, unless validation is switched off.
    Bogus,
}

/// A running server.
pub(super) struct NameServer {
    state: Arc<State>,
}

struct State {
    records: Mutex<Vec<Record>>,
    quirk: Mutex<Quirk>,
    asked: AtomicUsize,
}

/// Servers at 127.0.0.1, 127.0.0.2, …, all on one port.
pub(super) async fn start<const COUNT: usize>() -> (u16, [NameServer; COUNT]) {
    'port: for _ in 0..50 {
        let mut bound = Vec::new();
        let mut port = 0;
        for nth in 1..=COUNT {
            let ip = Ipv4Addr::new(127, 0, 0, u8::try_from(nth).unwrap());
            let Ok(tcp) = TcpListener::bind((ip, port)).await else { continue 'port };
            port = tcp.local_addr().unwrap().port();
            let Ok(udp) = UdpSocket::bind((ip, port)).await else { continue 'port };
            bound.push((tcp, udp));
        }
        let servers: Vec<NameServer> =
            bound.into_iter().map(|(tcp, udp)| NameServer::serve(tcp, udp)).collect();
        return (port, servers.try_into().ok().unwrap());
    }
    panic!("no port is free on all addresses");
}

/// The address of the nth server.
pub(super) fn address(nth: u8, port: u16) -> SocketAddr {
    (IpAddr::from([127, 0, 0, nth]), port).into()
}

impl NameServer {
    fn serve(tcp: TcpListener, udp: UdpSocket) -> NameServer {
        let state = Arc::new(State {
            records: Mutex::default(),
            quirk: Mutex::new(Quirk::None),
            asked: AtomicUsize::new(0),
        });
        tokio::spawn(serve_udp(udp, state.clone()));
        tokio::spawn(serve_tcp(tcp, state.clone()));
        NameServer { state }
    }

    /// Replaces all data: a line per record, `name TYPE data`.
    pub(super) fn set(&self, zone: &str) {
        let lines = zone.lines().map(str::trim).filter(|line| !line.is_empty());
        *self.state.records.lock().unwrap() = lines.map(record).collect();
    }

    /// Adds a record whose data has no place in a line of text.
    pub(super) fn add(&self, name: &str, data: RData) {
        let name = Name::from_ascii(format!("{name}.")).unwrap();
        self.state.records.lock().unwrap().push(Record::from_rdata(name, 60, data));
    }

    /// How many questions came, those that were sent again included.
    pub(super) fn asked(&self) -> usize {
        self.state.asked.load(Ordering::Relaxed)
    }

    pub(super) fn misbehave(&self, quirk: Quirk) {
        *self.state.quirk.lock().unwrap() = quirk;
    }
}

fn record(line: &str) -> Record {
    let mut parts = line.splitn(3, ' ');
    let name = Name::from_ascii(format!("{}.", parts.next().unwrap())).unwrap();
    let kind = parts.next().unwrap();
    let data = parts.next().unwrap();
    let target = || Name::from_ascii(format!("{data}.")).unwrap();
    let data = match kind {
        "A" => RData::A(A(data.parse().unwrap())),
        "AAAA" => RData::AAAA(AAAA(data.parse().unwrap())),
        "CNAME" => RData::CNAME(CNAME(target())),
        "NS" => RData::NS(NS(target())),
        "TXT" => RData::TXT(TXT::new(vec![data.to_owned()])),
        "MX" => {
            let (preference, host) = data.split_once(' ').unwrap();
            let host = Name::from_ascii(format!("{}.", host.trim_end_matches('.'))).unwrap();
            RData::MX(MX::new(preference.parse().unwrap(), host))
        }
        "SOA" => RData::SOA(SOA::new(target(), target(), 1, 1, 1, 1, 1)),
        other => panic!("unknown type {other}"),
    };
    Record::from_rdata(name, 60, data)
}

async fn serve_udp(socket: UdpSocket, state: Arc<State>) {
    let socket = Arc::new(socket);
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let request = Message::from_vec(&buffer[..length]).unwrap();
        state.asked.fetch_add(1, Ordering::Relaxed);
        let (socket, state) = (socket.clone(), state.clone());
        tokio::spawn(async move {
            if let Quirk::Slow(wait) = state.quirk() {
                tokio::time::sleep(wait).await;
            }
            for answer in state.over_udp(&request) {
                let _ = socket.send_to(&answer, from).await;
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<State>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        if state.quirk() == Quirk::CutWithoutTcp {
            continue;
        }
        let length = stream.read_u16().await.unwrap();
        let mut buffer = vec![0; usize::from(length)];
        stream.read_exact(&mut buffer).await.unwrap();
        let answer = state.answer(&Message::from_vec(&buffer).unwrap()).to_vec().unwrap();
        let length = u16::try_from(answer.len()).unwrap();
        stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat()).await.unwrap();
    }
}

impl State {
    fn quirk(&self) -> Quirk {
        *self.quirk.lock().unwrap()
    }

    fn over_udp(&self, request: &Message) -> Vec<Vec<u8>> {
        let mut answer = self.answer(request);
        let truth = answer.clone();
        match self.quirk() {
            Quirk::Silent => return Vec::new(),
            Quirk::Garbage => {
                let id = request.metadata.id.to_be_bytes();
                return vec![[id.as_slice(), b"\xff\xff garbage"].concat()];
            }
            Quirk::WrongId => answer.metadata.id ^= 1,
            Quirk::WrongQuestion => answer.queries[0].name = "other.example.".parse().unwrap(),
            Quirk::ForgedFirst => {
                let mut forged = answer.clone();
                forged.metadata.id ^= 1;
                forged.answers.clear();
                return vec![b"x".to_vec(), forged.to_vec().unwrap(), truth.to_vec().unwrap()];
            }
            Quirk::NoEdns if request.edns.is_some() => {
                let error =
                    Message::error_msg(request.metadata.id, OpCode::Query, ResponseCode::FormErr);
                return vec![error.to_vec().unwrap()];
            }
            _ => {}
        }
        let bytes = answer.to_vec().unwrap();
        let room = request.edns.as_ref().map_or(512, |edns| usize::from(edns.max_payload()));
        if bytes.len() > room || self.quirk() == Quirk::CutWithoutTcp {
            return vec![answer.truncate().to_vec().unwrap()];
        }
        vec![bytes]
    }

    fn answer(&self, request: &Message) -> Message {
        let question = request.queries[0].clone();
        let mut answer = Message::response(request.metadata.id, OpCode::Query);
        answer.add_query(question.clone());
        answer.metadata.recursion_desired = request.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.metadata.authoritative = !request.metadata.recursion_desired;
        match self.quirk() {
            Quirk::Code(code) => answer.metadata.response_code = code,
            Quirk::FailsFor(kind) if kind == question.query_type() => {
                answer.metadata.response_code = ResponseCode::ServFail;
            }
            Quirk::Bare => {}
            Quirk::Bogus if !request.metadata.checking_disabled => {
                answer.metadata.response_code = ResponseCode::ServFail;
            }
            Quirk::Lame => {
                self.fill(&mut answer, question.name(), question.query_type());
                answer.metadata.authoritative = false;
            }
            Quirk::RefersUp => {
                answer.metadata.authoritative = false;
                let root = RData::NS(NS("a.root.test.".parse().unwrap()));
                answer.add_authority(Record::from_rdata(Name::root(), 60, root));
            }
            Quirk::Poison => {
                let good = RData::TXT(TXT::new(vec!["v=STSv1; id=abc123;".into()]));
                let record =
                    Record::from_rdata("other.example.".parse().unwrap(), 60, good.clone());
                answer.add_answer(record);
                answer.add_additional(Record::from_rdata(question.name().clone(), 60, good));
                self.fill(&mut answer, question.name(), question.query_type());
            }
            _ => self.fill(&mut answer, question.name(), question.query_type()),
        }
        answer
    }

    fn fill(&self, answer: &mut Message, name: &Name, kind: RecordType) {
        let records = self.records.lock().unwrap();
        let mut at = name.clone();
        // A loop is given as such, and ends.
        for _ in 0..40 {
            if let (false, Some(cut)) = (answer.metadata.recursion_desired, cut(&records, &at)) {
                answer.metadata.authoritative = false;
                answer.authorities.extend(cut);
                return;
            }
            let here = |r: &&Record| r.name == at;
            let of_kind = |r: &&Record| r.record_type() == kind;
            let found: Vec<Record> = records.iter().filter(here).filter(of_kind).cloned().collect();
            if !found.is_empty() {
                answer.answers.extend(found);
                return;
            }
            let alias =
                records.iter().find(|r| r.name == at && r.record_type() == RecordType::CNAME);
            let Some(alias) = alias else { break };
            answer.answers.push(alias.clone());
            let RData::CNAME(target) = &alias.data else { unreachable!() };
            at = target.0.clone();
        }
        let is_ours =
            records.iter().find(|r| r.record_type() == RecordType::SOA && r.name.zone_of(&at));
        if let Some(soa) = is_ours {
            answer.authorities.push(soa.clone());
        }
        if !records.iter().any(|r| at.zone_of(&r.name)) && (is_ours.is_some() || at == *name) {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
    }
}

/// The NS records of a zone below ours that a name is in.
fn cut(records: &[Record], name: &Name) -> Option<Vec<Record>> {
    let has_soa =
        |at: &Name| records.iter().any(|r| r.record_type() == RecordType::SOA && r.name == *at);
    let cut = records
        .iter()
        .find(|r| r.record_type() == RecordType::NS && r.name.zone_of(name) && !has_soa(&r.name))?;
    let same = |r: &&Record| r.record_type() == RecordType::NS && r.name == cut.name;
    Some(records.iter().filter(same).cloned().collect())
}
