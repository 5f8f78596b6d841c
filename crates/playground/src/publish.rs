//! Publishing records as a domain's owner: a signed dynamic update, sent and confirmed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::key::UpdateKey;

/// Seconds that what is published may be kept.
const TTL: u32 = 1;
/// A server on the same machine has answered by then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A TXT string has one octet of length (RFC 1035 section 3.3).
const STRING_BYTES: usize = 255;

/// Why a record was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It can't be a record.
    #[error("{name} can't be published: {why}")]
    NoRecord {
        /// The record's name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The server is not there.
    #[error("the name server at {server} doesn't answer: is `dmarcer playground` running")]
    Unreachable {
        /// Where it was looked for.
        server: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// It answered something that can't be understood, or not with our key.
    #[error("the answer of the name server can't be believed: {0}")]
    Unbelievable(String),
    /// It said no.
    #[error("the name server refused the update: {0}")]
    Refused(ResponseCode),
}

/// Makes each record the only one of its name and type; all of them, or none.
/// A record is a name, a type (`CNAME` or `TXT`) and a value.
///
/// # Errors
/// [`PublishError`]; nothing is changed then, or that is not known.
pub async fn publish(
    server: SocketAddr,
    key: &UpdateKey,
    records: &[(String, String, String)],
) -> Result<(), PublishError> {
    let records = records
        .iter()
        .map(|(name, kind, value)| record(name, kind, value))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(first) = records.first() else {
        return Ok(());
    };
    let zone = zone_of(server, &first.name).await?;

    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(zone, RecordType::SOA));
    for record in records {
        let mut gone = Record::update0(record.name.clone(), 0, record.record_type());
        gone.dns_class = DNSClass::ANY;
        message.authorities.extend([gone, record]);
    }

    let unbelievable = |e: &dyn std::fmt::Display| PublishError::Unbelievable(e.to_string());
    let signer = key.signer().map_err(|e| unbelievable(&e))?;
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    let verifier = message.finalize(&signer, now).map_err(|e| unbelievable(&e))?;
    let answer = ask(server, &message).await?;
    let response = Message::from_vec(&answer).map_err(|e| unbelievable(&e))?;
    // A refusal for a wrong key can't be signed.
    if response.response_code == ResponseCode::NotAuth {
        return Err(PublishError::Refused(ResponseCode::NotAuth));
    }
    if let Some(mut verifier) = verifier {
        verifier.verify(&answer).map_err(|e| unbelievable(&e))?;
    }
    match response.response_code {
        ResponseCode::NoError => Ok(()),
        code => Err(PublishError::Refused(code)),
    }
}

/// The zone that a name is in: the nearest name above it, or itself, that has an SOA.
async fn zone_of(server: SocketAddr, name: &Name) -> Result<Name, PublishError> {
    let mut above = name.clone();
    loop {
        let mut query = Message::query();
        query.add_query(Query::query(above.clone(), RecordType::SOA));
        let answer = ask(server, &query).await?;
        let response =
            Message::from_vec(&answer).map_err(|e| PublishError::Unbelievable(e.to_string()))?;
        let its_own =
            |record: &Record| record.record_type() == RecordType::SOA && record.name == above;
        if response.answers.iter().any(its_own) {
            return Ok(above);
        }
        if above.is_root() {
            return Err(PublishError::NoRecord {
                name: name.to_ascii(),
                why: "the name server is not the authority for it".to_owned(),
            });
        }
        above = above.base_name();
    }
}

async fn ask(server: SocketAddr, message: &Message) -> Result<Vec<u8>, PublishError> {
    let unbelievable = |e: &dyn std::fmt::Display| PublishError::Unbelievable(e.to_string());
    let bytes = message.to_vec().map_err(|e| unbelievable(&e))?;
    let length = u16::try_from(bytes.len()).map_err(|e| unbelievable(&e))?;
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    let outcome = timeout(ANSWER_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    outcome.map_err(|source| PublishError::Unreachable { server, source })
}

fn record(name: &str, kind: &str, value: &str) -> Result<Record, PublishError> {
    let fail = |why: String| PublishError::NoRecord { name: name.to_owned(), why };
    let host = |text: &str| {
        let mut host = Name::from_ascii(text).map_err(|e| fail(e.to_string()))?;
        host.set_fqdn(true);
        Ok(host)
    };
    let data = match kind {
        "CNAME" => RData::CNAME(CNAME(host(value)?)),
        "TXT" => RData::TXT(TXT::from_bytes(value.as_bytes().chunks(STRING_BYTES).collect())),
        other => return Err(fail(format!("a record of type {other} is not one of ours"))),
    };
    Ok(Record::from_rdata(host(name)?, TTL, data))
}
