//! Messages to one peer: a bounded queue and the connection that empties it.

use super::dial::dial;
use super::frame::{FrameError, FrameReader, GREETING_BYTES_MAX, put_envelopes};
use super::handshake::{HandshakeError, Local};
use super::inbox::Inbox;
use super::transport::Traffic;
use crate::config::Url;
use bytes::BytesMut;
use oarlock_proto::internal::peer::{Envelope, handshake::Purpose};
use oarlock_state::NodeId;
use prost::Message;
use slog::{Logger, debug, info, warn};
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

/// Pause after the first failed attempt; doubled up to the longest, and spread at random so that
/// the members do not call each other in step.
const PAUSE_MS: u64 = 50;
const PAUSE_MS_MAX: u64 = 1000;
/// The same after a refusal, which a person must mend: both sides log each attempt.
const REFUSED_PAUSE_MS_MAX: u64 = 10_000;
/// A buffer that grew beyond this for one large message is given back.
const BUFFER_KEPT: usize = 1 << 20;
/// What a removed member hears; see `listener`.
pub(super) const REMOVED: &str = "it was removed from the cluster";

/// Messages waiting for one peer. When they exceed the bound, or there is no connection, new ones
/// are dropped and the node is told once per loss, until something gets through again.
pub(super) struct Queue {
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    envelopes: Vec<Envelope>,
    bytes: usize,
    connected: bool,
    loss_told: bool,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, waiting: Mutex::default(), arrived: Notify::new() }
    }

    /// Queues it, or drops it. Returns whether it was dropped as the first since the last success.
    pub(super) fn push(&self, envelope: Envelope, traffic: &Traffic) -> bool {
        let bytes = envelope.encoded_len();
        let mut waiting = self.lock();
        if !waiting.connected || waiting.bytes + bytes > self.bytes_max {
            traffic.dropped.fetch_add(1, Relaxed);
            return !std::mem::replace(&mut waiting.loss_told, true);
        }
        let first = waiting.envelopes.is_empty();
        waiting.bytes += bytes;
        waiting.envelopes.push(envelope);
        drop(waiting);
        if first {
            self.arrived.notify_one();
        }
        false
    }

    /// Completes with everything that waits, once there is something.
    async fn take(&self, emptied: &mut Vec<Envelope>) {
        loop {
            {
                let mut waiting = self.lock();
                if !waiting.envelopes.is_empty() {
                    emptied.clear();
                    std::mem::swap(&mut waiting.envelopes, emptied);
                    waiting.bytes = 0;
                    waiting.loss_told = false;
                    return;
                }
            }
            self.arrived.notified().await;
        }
    }

    /// What waited for an old connection is stale when the next one is up.
    fn set_connected(&self, connected: bool) {
        *self.lock() = Waiting { connected, ..Waiting::default() };
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no code panics while it holds the queue")
    }
}

/// Keeps a connection to one peer.
pub(super) struct Outgoing {
    pub(super) local: Local,
    pub(super) peer: NodeId,
    pub(super) urls: Vec<Url>,
    pub(super) source: Option<IpAddr>,
    pub(super) queue: Arc<Queue>,
    pub(super) inbox: Arc<dyn Inbox>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) logger: Logger,
}

impl Outgoing {
    /// Connects again and again. Ends only with its task.
    pub(super) async fn run(self) {
        let mut failures = 0_u32;
        loop {
            let result = self.serve(&mut failures).await;
            self.queue.set_connected(false);
            self.inbox.unreachable(self.peer);
            failures = failures.saturating_add(1);
            let mut longest = PAUSE_MS_MAX;
            match result {
                Ok(()) => info!(self.logger, "peer closed the connection"),
                Err(error) => {
                    if matches!(error, HandshakeError::Refused(_)) {
                        longest = REFUSED_PAUSE_MS_MAX;
                    }
                    self.report(&error, failures);
                }
            }
            tokio::time::sleep(pause(failures, longest)).await;
        }
    }

    /// A lost peer is a line when it is lost, then one every so often.
    fn report(&self, error: &HandshakeError, failures: u32) {
        if let HandshakeError::Refused(reason) = error {
            if reason.contains(REMOVED) {
                self.inbox.told_removed(self.peer, reason);
            }
            if failures == 1 || failures.is_multiple_of(60) {
                warn!(self.logger, "peer refuses this member"; "reason" => reason);
            }
        } else if failures == 1 || failures.is_multiple_of(60) {
            info!(self.logger, "peer cannot be reached"; "error" => %error, "attempts" => failures);
        } else {
            debug!(self.logger, "peer cannot be reached"; "error" => %error, "attempts" => failures);
        }
    }

    async fn serve(&self, failures: &mut u32) -> Result<(), HandshakeError> {
        let mut stream = dial(&self.urls, self.source).await?;
        let (read, mut write) = stream.split();
        let mut reader = FrameReader::new(read, GREETING_BYTES_MAX);
        let reply = self.local.greet(self.peer, Purpose::Messages, &mut reader, &mut write).await?;
        *failures = 0;
        self.queue.set_connected(true);
        info!(self.logger, "connected to peer"; "version" => reply.version);
        tokio::select! {
            result = self.write(&mut write) => result,
            // Nothing comes back on this connection but its end.
            ended = reader.next() => ended.map(drop).map_err(Into::into),
        }
    }

    async fn write(&self, write: &mut (impl AsyncWriteExt + Unpin)) -> Result<(), HandshakeError> {
        let mut envelopes = Vec::new();
        let mut out = BytesMut::new();
        loop {
            self.queue.take(&mut envelopes).await;
            put_envelopes(&mut out, &envelopes);
            write.write_all(&out).await.map_err(FrameError::from)?;
            self.traffic.sent_bytes.fetch_add(out.len() as u64, Relaxed);
            self.traffic.sent.fetch_add(envelopes.len() as u64, Relaxed);
            if out.capacity() > BUFFER_KEPT {
                out = BytesMut::new();
            }
            out.clear();
        }
    }
}

fn pause(failures: u32, longest_ms: u64) -> Duration {
    let longest = longest_ms.min(PAUSE_MS << failures.min(10));
    Duration::from_millis(rand::random_range(longest / 2..=longest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_proto::internal::peer::envelope::Body;

    fn envelope(bytes: usize) -> Envelope {
        Envelope { body: Some(Body::Raft(vec![0; bytes].into())) }
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_tells_once() {
        let (queue, traffic) = (Queue::new(100), Traffic::default());
        assert!(queue.push(envelope(1), &traffic), "not connected, told");
        assert!(!queue.push(envelope(1), &traffic), "told already");
        queue.set_connected(true);
        assert!(!queue.push(envelope(50), &traffic));
        assert!(queue.push(envelope(60), &traffic), "does not fit");
        assert_eq!(traffic.dropped.load(Relaxed), 3);
        let mut taken = Vec::new();
        queue.take(&mut taken).await;
        assert_eq!(taken, [envelope(50)]);
        assert!(!queue.push(envelope(60), &traffic), "room again");
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        assert!(pause(1, PAUSE_MS_MAX) <= Duration::from_millis(2 * PAUSE_MS));
        assert!(pause(1000, PAUSE_MS_MAX) <= Duration::from_millis(PAUSE_MS_MAX));
        assert!(pause(1000, PAUSE_MS_MAX) >= Duration::from_millis(PAUSE_MS_MAX / 2));
    }
}
