//! Small writes of one turn as one. h2 flushes after every frame of more than a few hundred bytes,
//! which would cost a system call for each answer of that size.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are gathered at most. Too low: a system call each for large answers, which is fair. Too
/// high: memory per connection.
const GATHERED_BYTES: usize = 32 << 10;

/// Says when to gather; clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold(Arc<AtomicBool>);

impl Hold {
    /// While set, a flush may leave things behind. It must be followed by one when it is not.
    pub(super) fn set(&self, hold: bool) {
        self.0.store(hold, Relaxed);
    }
}

/// A socket that writes late.
pub(super) struct Gather<S> {
    socket: S,
    hold: Hold,
    waiting: Vec<u8>,
    /// Bytes of these that the socket has taken.
    taken: usize,
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    pub(super) fn new(socket: S, hold: Hold) -> Self {
        Self { socket, hold, waiting: Vec::new(), taken: 0 }
    }

    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken < self.waiting.len() {
            let left = &self.waiting[self.taken..];
            match ready!(Pin::new(&mut self.socket).poll_write(context, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.taken += count,
            }
        }
        self.waiting.clear();
        self.taken = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() + bytes.len() > GATHERED_BYTES {
            ready!(self.poll_drain(context))?;
        }
        if bytes.len() > GATHERED_BYTES / 2 && self.waiting.is_empty() {
            return Pin::new(&mut self.socket).poll_write(context, bytes);
        }
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hold.0.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_is_held_goes_out_in_order() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let hold = Hold::default();
        let mut gather = Gather::new(near, hold.clone());
        hold.set(true);
        let mut sent = Vec::new();
        for size in [1, 300, 20_000, 20_000, 40_000, 5] {
            let part = vec![size as u8; size];
            gather.write_all(&part).await.expect("room");
            gather.flush().await.expect("nothing to do");
            sent.extend(part);
        }
        let mut got = vec![0; sent.len() - 5];
        far.read_exact(&mut got).await.expect("more than fits was written");
        let mut last = [0; 5];
        let early = tokio::time::timeout(std::time::Duration::from_millis(20), far.read_exact(&mut last));
        early.await.expect_err("the last part is held");
        hold.set(false);
        gather.flush().await.expect("written");
        far.read_exact(&mut last).await.expect("written");
        got.extend(last);
        assert!(got == sent, "in order and whole");
        hold.set(true);
        gather.write_all(b"bye").await.expect("room");
        gather.shutdown().await.expect("written");
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.expect("closed");
        assert_eq!(rest, b"bye");
    }
}
