//! Sockets, signatures, and one message at a time.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::dnssec::DnsSecError;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigError;
use hickory_proto::rr::{LowerName, Name, RecordType, TSigResponseContext, TSigner};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::answer::answer;
use crate::key::UpdateKey;
use crate::update::updated;
use crate::zone::Zone;
use crate::zone_file::{self, ZoneFileError};

/// What fits into a datagram where the asker does not say (RFC 1035 section 4.2.1).
const PLAIN_UDP_BYTES: u16 = 512;
/// What we send in a datagram at most: fits any path unfragmented.
const UDP_BYTES: u16 = 1232;
/// Longest DNS message.
const MESSAGE_BYTES: usize = 65_535;
/// More records than that are no message of a person's or a provider's.
const MAX_RECORDS: u16 = 512;
/// Octets of a DNS header.
const HEADER_BYTES: usize = 12;
/// Connections that may be open; more wait.
const CONNECTIONS: usize = 64;
/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// Tries to find a port that is free for UDP and TCP both.
const BIND_TRIES: usize = 16;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum NameServerError {
    /// The address is taken.
    #[error("the name server can't listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A zone could not be read or kept.
    #[error(transparent)]
    Zone(#[from] ZoneFileError),
    /// The key can't sign.
    #[error("the key for DNS updates can't be used")]
    Key(#[from] DnsSecError),
}

/// An authoritative name server.
pub struct NameServer {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    address: SocketAddr,
    authority: Arc<Authority>,
}

impl NameServer {
    /// Opens the zones kept in `folder`, or else begins with `zones`, and binds UDP and TCP.
    /// Port 0 takes one that is free for both.
    ///
    /// # Errors
    /// When the address is taken, or a zone file can't be used.
    pub async fn start(
        address: SocketAddr,
        folder: &Path,
        zones: Vec<Zone>,
        key: &UpdateKey,
    ) -> Result<NameServer, NameServerError> {
        let authority = Arc::new(Authority::open(folder, zones, key)?);
        let (udp, tcp, address) =
            bind(address).await.map_err(|source| NameServerError::Bind { address, source })?;
        Ok(NameServer { udp: Arc::new(udp), tcp, address, authority })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let serve = async {
            tokio::join!(
                datagrams(self.udp, self.authority.clone()),
                connections(self.tcp, self.authority),
            )
        };
        tokio::select! {
            _ = serve => {}
            () = shutdown.cancelled() => {}
        }
    }
}

async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let mut tries = BIND_TRIES;
    loop {
        let udp = UdpSocket::bind(address).await?;
        let bound = udp.local_addr()?;
        tries -= 1;
        match TcpListener::bind(bound).await {
            Ok(tcp) => return Ok((udp, tcp, bound)),
            Err(e) if address.port() != 0 || tries == 0 => return Err(e),
            Err(_) => {}
        }
    }
}

async fn datagrams(socket: Arc<UdpSocket>, authority: Arc<Authority>) {
    let mut buffer = vec![0; MESSAGE_BYTES];
    loop {
        // An error here is the last answer's, come back from a port that has closed.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let (message, authority) = (buffer[..length].to_vec(), authority.clone());
        let socket = socket.clone();
        // A task each: whatever a message does to its own, the next one is answered.
        tokio::spawn(async move {
            if let Some(answer) = authority.respond(&message, Timestamp::now(), Transport::Udp) {
                let _ = socket.send_to(&answer, from).await;
            }
        });
    }
}

async fn connections(listener: TcpListener, authority: Arc<Authority>) {
    let open = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = open.clone().acquire_owned().await else {
            return;
        };
        let Ok((mut stream, _)) = listener.accept().await else {
            // Out of file descriptors, say: it passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let authority = authority.clone();
        tokio::spawn(async move {
            while let Ok(Ok(ControlFlow::Continue(()))) =
                timeout(IDLE, exchange(&mut stream, &authority)).await
            {}
            drop(permit);
        });
    }
}

/// One message and its answer (RFC 1035 section 4.2.2: two octets of length before each).
async fn exchange(stream: &mut TcpStream, authority: &Authority) -> io::Result<ControlFlow<()>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    let Some(answer) = authority.respond(&message, Timestamp::now(), Transport::Tcp) else {
        return Ok(ControlFlow::Break(()));
    };
    let Ok(length) = u16::try_from(answer.len()) else {
        return Ok(ControlFlow::Break(()));
    };
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(answer);
    stream.write_all(&framed).await?;
    Ok(ControlFlow::Continue(()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// The zones, and who may change them.
struct Authority {
    zones: Mutex<Vec<Zone>>,
    folder: PathBuf,
    signer: TSigner,
}

/// What a message's signature makes of its sender.
enum Signed {
    Not,
    ByKey(Vec<u8>),
    UnknownKey(Name),
    Wrongly,
    OutOfTime(Vec<u8>),
}

impl Authority {
    fn open(
        folder: &Path,
        zones: Vec<Zone>,
        key: &UpdateKey,
    ) -> Result<Authority, NameServerError> {
        let mut opened = Vec::new();
        for zone in zones {
            let kept = zone_file::read(folder, &Name::from(zone.origin()))?;
            opened.push(kept.unwrap_or(zone));
        }
        for zone in &opened {
            zone_file::write(folder, zone)?;
        }
        Ok(Authority {
            zones: Mutex::new(opened),
            folder: folder.to_owned(),
            signer: key.signer()?,
        })
    }

    /// The answer to a message; none to what is no question.
    fn respond(&self, bytes: &[u8], now: Timestamp, transport: Transport) -> Option<Vec<u8>> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let id = u16::from_be_bytes([header[0], header[1]]);
        // A response is never answered: two servers would talk for ever.
        if header[2] & 0x80 != 0 {
            return None;
        }
        let broken = || error(id, ResponseCode::FormErr);
        if counted_records(header) > u32::from(MAX_RECORDS) {
            return broken();
        }
        let Ok(request) = Message::from_vec(bytes) else {
            return broken();
        };

        let mut response = Message::response(id, request.op_code);
        response.metadata.recursion_desired = request.recursion_desired;
        // Everything there is, is here: what a resolver would find, this server knows.
        response.metadata.recursion_available = true;
        response.add_queries(request.queries.iter().cloned());
        if let Some(edns) = &request.edns {
            response.set_edns(Edns::new());
            if edns.version() != 0 {
                response.metadata.response_code = ResponseCode::BADVERS;
                return response.to_vec().ok();
            }
        }

        let signed = self.verify(&request, bytes, now);
        match (&signed, request.op_code) {
            (Signed::UnknownKey(_) | Signed::Wrongly | Signed::OutOfTime(_), _) => {
                response.metadata.response_code = ResponseCode::NotAuth;
            }
            (_, OpCode::Query) => answer(&self.zones(), &mut response),
            (Signed::Not, OpCode::Update) => {
                response.metadata.response_code = ResponseCode::Refused;
            }
            (Signed::ByKey(_), OpCode::Update) => {
                response.metadata.response_code = self.update(&request);
            }
            _ => response.metadata.response_code = ResponseCode::NotImp,
        }

        let room = match transport {
            Transport::Tcp => MESSAGE_BYTES,
            Transport::Udp => usize::from(
                request
                    .edns
                    .as_ref()
                    .map_or(PLAIN_UDP_BYTES, |edns| edns.max_payload().min(UDP_BYTES)),
            ),
        };
        let encoded = self.sign(response, signed, now)?;
        if encoded.len() <= room {
            return Some(encoded);
        }
        // The asker comes back over TCP (RFC 2181 section 9).
        Message::from_vec(&encoded).ok()?.truncate().to_vec().ok()
    }

    /// RFC 8945 section 5.2.
    fn verify(&self, request: &Message, bytes: &[u8], now: Timestamp) -> Signed {
        let Some(signature) = request.signature() else {
            return Signed::Not;
        };
        let tsig = &signature.data;
        let same_key = LowerName::new(&signature.name) == LowerName::new(self.signer.signer_name());
        if !same_key || tsig.algorithm != *self.signer.algorithm() {
            return Signed::UnknownKey(signature.name.clone());
        }
        // The library subtracts one from the other unchecked.
        if tsig.time < u64::from(tsig.fudge) {
            return Signed::Wrongly;
        }
        match self.signer.verify_message_byte(bytes, None, true) {
            Err(_) => Signed::Wrongly,
            Ok((mac, _, within)) if within.contains(&seconds(now)) => Signed::ByKey(mac),
            Ok((mac, ..)) => Signed::OutOfTime(mac),
        }
    }

    fn update(&self, request: &Message) -> ResponseCode {
        let [zone] = request.queries.as_slice() else {
            return ResponseCode::FormErr;
        };
        if zone.query_type() != RecordType::SOA {
            return ResponseCode::FormErr;
        }
        let origin = LowerName::new(zone.name());
        let mut zones = self.zones();
        let Some(zone) = zones.iter_mut().find(|zone| *zone.origin() == origin) else {
            return ResponseCode::NotAuth;
        };
        let after = match updated(zone, &request.answers, &request.authorities) {
            Ok(after) => after,
            Err(refused) => return refused,
        };
        // Kept before it is answered, and before anybody finds it.
        if let Err(e) = zone_file::write(&self.folder, &after) {
            warn!(error = %e, "an update could not be kept");
            return ResponseCode::ServFail;
        }
        info!(zone = %origin, changes = request.authorities.len(), "updated");
        *zone = after;
        ResponseCode::NoError
    }

    /// RFC 8945 section 5.3: a signed request gets a signed answer; where the key or the
    /// signature is wrong, one that says so, unsigned.
    fn sign(&self, mut response: Message, signed: Signed, now: Timestamp) -> Option<Vec<u8>> {
        let (id, time, signer) = (response.id, seconds(now), self.signer.clone());
        let context = match signed {
            Signed::Not => return response.to_vec().ok(),
            Signed::ByKey(mac) => TSigResponseContext::new(id, time, signer, mac, None),
            Signed::OutOfTime(mac) => {
                TSigResponseContext::new(id, time, signer, mac, Some(TsigError::BadTime))
            }
            Signed::Wrongly => TSigResponseContext::bad_signature(id, time, signer),
            Signed::UnknownKey(name) => TSigResponseContext::unknown_key(id, time, name),
        };
        let signature = context.sign(&response.to_vec().ok()?).ok()?;
        response.set_signature(signature);
        response.to_vec().ok()
    }

    /// A panic elsewhere leaves the zones whole: a changed one is put in by one assignment.
    fn zones(&self) -> std::sync::MutexGuard<'_, Vec<Zone>> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records that a header announces, in all sections.
fn counted_records(header: &[u8; HEADER_BYTES]) -> u32 {
    let (counts, _) = header[4..].as_chunks::<2>();
    counts.iter().map(|&count| u32::from(u16::from_be_bytes(count))).sum()
}

fn error(id: u16, code: ResponseCode) -> Option<Vec<u8>> {
    let mut response = Message::new(id, MessageType::Response, OpCode::Query);
    response.metadata.response_code = code;
    response.to_vec().ok()
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_second()).unwrap_or(0)
}
