//! One question to one server: UDP, TCP where the answer is cut, within bounds.
//!
//! The messages are hickory's; the exchange is ours, as it has to tell apart what a resolver
//! library folds together: a refusal from silence, no data from a referral, and a server that
//! can't read EDNS from one that is broken.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep_until, timeout};

use crate::answer::{Failure, Question};
use crate::foreign::plain;

/// A question is sent at once and after each of these; the last is how long the answer is then
/// still waited for. Five seconds in all, as slow but working servers need.
const WAITS: [Duration; 3] =
    [Duration::from_millis(1_000), Duration::from_millis(1_500), Duration::from_millis(2_500)];

/// For connecting, asking and reading over TCP.
const TCP_TIMEOUT: Duration = Duration::from_secs(3);

/// What an answer over UDP may have: no fragments on any usual path
/// ([DNS flag day 2020](https://www.dnsflagday.net/2020/)).
const UDP_BYTES: u16 = 1232;

/// How many questions may go out at once after a quiet time, in seconds' worth of the rate.
const BURST: Duration = Duration::from_millis(500);

/// How a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// For what it knows itself.
    Iterative,
    /// To find out.
    Recursive,
    /// To find out, and to answer even where DNSSEC fails.
    Unvalidated,
}

/// Asks, at a bounded rate.
pub(crate) struct Asker {
    between: Duration,
    next: Mutex<Instant>,
}

impl Asker {
    /// Asks at most so often.
    pub(crate) fn new(questions_per_second: u32) -> Asker {
        Asker {
            between: Duration::from_secs(1) / questions_per_second.max(1),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Asks one server one question.
    ///
    /// # Errors
    /// When no message came back that answers it.
    pub(crate) async fn ask(
        &self,
        server: SocketAddr,
        question: &Question,
        manner: Manner,
    ) -> Result<Message, Failure> {
        let answer = self.exchange(server, &request(question, manner, true)).await?;
        // Old servers know no EDNS and say so in one of these ways (RFC 6891 section 7).
        match answer.metadata.response_code {
            ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS => {
                self.exchange(server, &request(question, manner, false)).await
            }
            _ => Ok(answer),
        }
    }

    async fn exchange(&self, server: SocketAddr, request: &Message) -> Result<Message, Failure> {
        sleep_until(self.turn()).await;
        let bytes = request.to_vec().map_err(|e| Failure::Malformed(e.to_string()))?;
        let answer = over_udp(server, request, &bytes).await?;
        if !answer.metadata.truncation {
            return Ok(answer);
        }
        match timeout(TCP_TIMEOUT, over_tcp(server, request, &bytes)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(why.at("the answer is too long for UDP, and over TCP")),
            Err(_) => Err(Failure::Timeout.at("the answer is too long for UDP, and over TCP")),
        }
    }

    /// When the next question may go out.
    fn turn(&self) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        *next = (*next).max(earliest) + self.between;
        *next
    }
}

fn request(question: &Question, manner: Manner, edns: bool) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(question.name.clone(), question.kind));
    message.metadata.recursion_desired = manner != Manner::Iterative;
    message.metadata.checking_disabled = manner == Manner::Unvalidated;
    if edns {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_BYTES);
        message.set_edns(edns);
    }
    message
}

async fn over_udp(server: SocketAddr, request: &Message, bytes: &[u8]) -> Result<Message, Failure> {
    // One socket per question: a new random port each time. Connected, so that the kernel drops
    // what comes from elsewhere and tells of a port that nobody listens on.
    let socket = connect(server).await.map_err(unreachable)?;
    for wait in WAITS {
        socket.send(bytes).await.map_err(unreachable)?;
        if let Ok(answer) = timeout(wait, receive(&socket, request)).await {
            return answer;
        }
    }
    Err(Failure::Timeout)
}

/// A socket towards a server; fails at once where there is no way to its address.
pub(crate) async fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    Ok(socket)
}

/// Waits for the answer, and passes over everything that is none: it may be forged.
async fn receive(socket: &UdpSocket, request: &Message) -> Result<Message, Failure> {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(unreachable)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        if bytes.get(..2) != Some(&request.metadata.id.to_be_bytes()) {
            continue;
        }
        let answer = parse(bytes)?;
        if answers(&answer, request) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, request: &Message, bytes: &[u8]) -> Result<Message, Failure> {
    let mut stream = TcpStream::connect(server).await.map_err(unreachable)?;
    let length = u16::try_from(bytes.len()).map_err(|e| Failure::Malformed(e.to_string()))?;
    let framed = [&length.to_be_bytes(), bytes].concat();
    stream.write_all(&framed).await.map_err(unreachable)?;
    let length = stream.read_u16().await.map_err(unreachable)?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await.map_err(unreachable)?;
    let answer = parse(&buffer)?;
    if answer.metadata.id == request.metadata.id && answers(&answer, request) {
        Ok(answer)
    } else {
        Err(Failure::Malformed("it answers another question".to_owned()))
    }
}

fn parse(bytes: &[u8]) -> Result<Message, Failure> {
    // The error may repeat what stands in the message.
    Message::from_vec(bytes).map_err(|e| Failure::Malformed(plain(&e.to_string())))
}

/// Whether it is a response to this very question. An error may come without the question.
fn answers(answer: &Message, request: &Message) -> bool {
    let is_error =
        !matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
    answer.metadata.message_type == MessageType::Response
        && (answer.queries == request.queries || is_error && answer.queries.is_empty())
}

fn unreachable(error: io::Error) -> Failure {
    Failure::Unreachable(error.to_string())
}
