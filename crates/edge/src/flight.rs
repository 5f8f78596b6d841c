//! A socket whose last words go out together.
//!
//! An answer over HTTP/1.1 ends its connection: no sender asks twice, and one that only holds a
//! connection open takes the place of another. So the answer and TLS's goodbye can leave in one
//! packet with one system call, which is a good part of what a fetch costs besides cryptography.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// What is held back at most. A usual policy has a few hundred bytes.
const HOLD_BYTES: usize = 16 * 1024;

/// Linux's `MSG_MORE`: the end of the connection is what comes.
#[cfg(target_os = "linux")]
const MORE_TO_COME: i32 = 0x8000;
#[cfg(not(target_os = "linux"))]
const MORE_TO_COME: i32 = 0;

/// What is read and dropped at a time at the end.
const DROP_BYTES: usize = 1024;

/// A TCP connection.
pub(crate) struct Flight {
    stream: TcpStream,
    /// Bytes to be sent with the next ones, or at the end.
    held: Vec<u8>,
    holds: bool,
}

impl Flight {
    /// Sends everything at once, until told otherwise.
    pub(crate) fn new(stream: TcpStream) -> Flight {
        Flight { stream, held: Vec::new(), holds: false }
    }

    /// From now on a flush means nothing: bytes go out when there are many, or at the end.
    pub(crate) fn hold(&mut self) {
        self.holds = true;
    }

    fn poll_send_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.held))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is held so that it leaves in one packet with the end of the connection.
    fn poll_send_last(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.send_with_more_to_come() {
                Ok(sent) => drop(self.held.drain(..sent)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn send_with_more_to_come(&self) -> io::Result<usize> {
        let send = || SockRef::from(&self.stream).send_with_flags(&self.held, MORE_TO_COME);
        self.stream.try_io(Interest::WRITABLE, send)
    }

    /// Bytes that nobody read make the system reset the connection when it is closed, and the
    /// answer may be lost with it. What is here is read; what comes later finds the answer sent.
    fn drop_unread(&mut self, cx: &mut Context<'_>) {
        let mut bytes = [0; DROP_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        while let Poll::Ready(Ok(())) = Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            if buffer.filled().is_empty() {
                break;
            }
            buffer.clear();
        }
    }
}

impl Drop for Flight {
    /// Who is done without saying goodbye, as HTTP is after an offer to upgrade, still answers.
    fn drop(&mut self) {
        if !self.held.is_empty() {
            let _ = self.send_with_more_to_come();
        }
    }
}

impl AsyncRead for Flight {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Flight {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.holds && self.held.len() + bytes.len() <= HOLD_BYTES {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_send_held(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.holds && self.held.len() + length <= HOLD_BYTES {
            for slice in slices {
                self.held.extend_from_slice(slice);
            }
            return Poll::Ready(Ok(length));
        }
        ready!(self.poll_send_held(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP stream keeps nothing back, and what is held is held on purpose.
        Poll::Ready(Ok(()))
    }

    /// The end of the connection follows at once and says the same as a shutdown of one side.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.drop_unread(cx);
        self.poll_send_last(cx)
    }
}
