//! A connection that counts what goes through it.

use prometheus_client::metrics::counter::Counter;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of all client connections, with everything that HTTP adds.
#[derive(Clone, Debug, Default)]
pub struct ClientBytes {
    /// Read from clients.
    pub received: Counter,
    /// Written to clients.
    pub sent: Counter,
}

/// Passes everything on, and counts it.
pub struct Counted<S> {
    stream: S,
    bytes: ClientBytes,
}

impl<S> Counted<S> {
    /// Counts what goes through this connection.
    pub fn new(stream: S, bytes: ClientBytes) -> Self {
        Self { stream, bytes }
    }

    fn sent(&self, count: usize) -> usize {
        self.bytes.sent.inc_by(count as u64);
        count
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.bytes.received.inc_by((buffer.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        Poll::Ready(Ok(self.sent(count)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, parts))?;
        Poll::Ready(Ok(self.sent(count)))
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn both_directions_are_counted() {
        let bytes = ClientBytes::default();
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Counted::new(near, bytes.clone());
        near.write_all(b"hello").await.expect("room");
        far.write_all(b"you").await.expect("room");
        near.read_exact(&mut [0; 3]).await.expect("written");
        assert_eq!((bytes.received.get(), bytes.sent.get()), (3, 5));
    }
}
