//! A way to a server on which replies get lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

use crate::Outcome;

/// Bytes before each frame of HTTP/2, and the type of one that begins a reply
/// ([RFC 9113 section 4.1](https://www.rfc-editor.org/rfc/rfc9113#section-4.1)).
const HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;

/// A TCP proxy in front of a server of HTTP/2. On every n-th connection the first reply is lost: the
/// server has given it, and then the connection ends.
pub struct Lossy {
    address: SocketAddr,
    lost: Arc<AtomicUsize>,
}

impl Lossy {
    /// Listens on a port of loopback until the runtime ends.
    ///
    /// # Errors
    ///
    /// When it can't listen.
    pub async fn start(server: SocketAddr, every: usize) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let lost = Arc::new(AtomicUsize::new(0));
        let counted = lost.clone();
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                number += 1;
                let (loses, lost) = (number % every == 0, counted.clone());
                // However a connection ends, that is what happens to connections.
                tokio::spawn(async move { pass(client, server, loses, &lost).await.ok() });
            }
        });
        Ok(Self { address, lost })
    }

    /// The server's address by this way.
    pub fn server(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replies that were lost so far.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }
}

async fn pass(
    client: TcpStream,
    server: SocketAddr,
    loses: bool,
    lost: &AtomicUsize,
) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
    loop {
        let mut head = [0; HEAD_BYTES];
        if from_server.read_exact(&mut head).await.is_err() {
            break;
        }
        if loses && head[3] == HEADERS {
            lost.fetch_add(1, Ordering::SeqCst);
            break;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut frame = vec![0; usize::try_from(length).unwrap_or_default()];
        from_server.read_exact(&mut frame).await?;
        to_client.write_all(&head).await?;
        to_client.write_all(&frame).await?;
    }
    requests.abort();
    Ok(())
}
