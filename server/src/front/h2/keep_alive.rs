//! Whether a silent client is still there: it is asked by a ping, and must answer in time, so that
//! the watches of clients that vanished end.

use h2::{Ping, PingPong};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Asks, and waits for answers.
pub(super) struct KeepAlive {
    pings: PingPong,
    interval: Duration,
    timeout: Duration,
    alarm: Pin<Box<Sleep>>,
    /// Something came in since the alarm was set.
    heard: bool,
    /// A ping is on its way.
    asked: bool,
}

impl KeepAlive {
    /// Asks after an interval of silence; the answer must come before the time-out.
    pub(super) fn new(pings: PingPong, interval: Duration, timeout: Duration) -> Self {
        let alarm = Box::pin(tokio::time::sleep(interval));
        Self { pings, interval, timeout, alarm, heard: false, asked: false }
    }

    /// The client said something.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// Completes when the client did not answer.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.asked && matches!(self.pings.poll_pong(context), Poll::Ready(Ok(_))) {
            self.asked = false;
            self.wait(self.interval);
        }
        while self.alarm.as_mut().poll(context).is_ready() {
            if self.asked {
                return Poll::Ready(());
            }
            if std::mem::take(&mut self.heard) || self.pings.send_ping(Ping::opaque()).is_err() {
                self.wait(self.interval);
            } else {
                self.asked = true;
                self.wait(self.timeout);
                // Registers for the answer.
                let _ = self.pings.poll_pong(context);
            }
        }
        Poll::Pending
    }

    fn wait(&mut self, time: Duration) {
        self.alarm.as_mut().reset(Instant::now() + time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::future::poll_fn;
    use tokio::io::DuplexStream;

    const SOON: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_secs(1);

    /// Serves a client, which runs if it is to answer, until it is found to be gone.
    async fn serve(answers: bool, timeout: Duration) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (server, client) = tokio::join!(h2::server::handshake(near), h2::client::handshake(far));
        let mut server: h2::server::Connection<DuplexStream, Bytes> = server.expect("HTTP/2");
        let (_requests, client) = client.expect("HTTP/2");
        let mut client = Box::pin(client);
        let mut keep_alive = KeepAlive::new(server.ping_pong().expect("not taken yet"), SOON, timeout);
        poll_fn(|context| {
            if answers {
                assert!(client.as_mut().poll(context).is_pending());
            }
            assert!(server.poll_closed(context).is_pending());
            let gone = keep_alive.poll(context);
            // What it sent goes out at once.
            assert!(server.poll_closed(context).is_pending());
            gone
        })
        .await;
    }

    #[tokio::test]
    async fn only_a_client_that_does_not_answer_is_gone() {
        tokio::time::timeout(30 * PATIENCE, serve(false, SOON)).await.expect("it is noticed");
        let noticed = tokio::time::timeout(2 * PATIENCE, serve(true, PATIENCE)).await;
        noticed.expect_err("it answers, again and again");
    }
}
