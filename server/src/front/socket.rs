//! A client's socket, of which the first bytes were read to see which HTTP it speaks.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What every connection of HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1, or nothing that we know; the parser of HTTP/1 tells.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Gives back what was read, then reads on.
pub struct Socket<S> {
    stream: S,
    begun: [u8; PREFACE.len()],
    /// Bytes of it that were read, and of these that were given back.
    read: usize,
    given: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Reads until it is clear what the client speaks; `None` if it says nothing.
    ///
    /// # Errors
    /// The socket's.
    pub async fn begin(mut stream: S) -> io::Result<Option<(Self, Version)>> {
        let (mut begun, mut read) = ([0; PREFACE.len()], 0);
        let version = loop {
            match stream.read(&mut begun[read..]).await? {
                0 if read == 0 => return Ok(None),
                0 => break Version::Http1,
                more => read += more,
            }
            if begun[..read] != PREFACE[..read] {
                break Version::Http1;
            }
            if read == PREFACE.len() {
                break Version::Http2;
            }
        };
        Ok(Some((Self { stream, begun, read, given: 0 }, version)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        let left = &me.begun[me.given..me.read];
        if left.is_empty() {
            return Pin::new(&mut me.stream).poll_read(context, buffer);
        }
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        me.given += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn begin(parts: &[&[u8]]) -> Option<(Vec<u8>, Version)> {
        let (mut far, near) = tokio::io::duplex(8);
        let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
        let client = async move {
            for part in parts {
                far.write_all(&part).await.expect("read");
            }
        };
        let server = async {
            let (mut socket, version) = Socket::begin(near).await.expect("no error")?;
            let mut all = Vec::new();
            socket.read_to_end(&mut all).await.expect("no error");
            Some((all, version))
        };
        tokio::join!(client, server).1
    }

    #[tokio::test]
    async fn nothing_is_lost_by_looking() {
        for (parts, version) in [
            (&[&PREFACE[..], b"more"][..], Version::Http2),
            (&[&PREFACE[..3], &PREFACE[3..], b"more"], Version::Http2),
            (&[b"GET / HTTP/1.1\r\n\r\n"], Version::Http1),
            (&[b"P", b"UT / HTTP/1.1\r\n\r\n"], Version::Http1),
            (&[b"PRI"], Version::Http1),
        ] {
            assert_eq!(begin(parts).await, Some((parts.concat(), version)), "{parts:?}");
        }
        assert_eq!(begin(&[]).await, None);
    }
}
