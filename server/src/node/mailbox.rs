//! The one queue into a node. Doors, peers and background jobs put things in from any thread; the
//! driver takes out everything at once, so a busy node pays for one lock and one wake-up per round
//! and not per request.
//!
//! Three lanes, because being full means something else for each:
//!
//! | lane | bound | when full |
//! | --- | --- | --- |
//! | requests | count and bytes | refused with [`Refusal::Busy`]; waiting would only hide the overload |
//! | peers | count and bytes | dropped and counted; consensus repeats itself |
//! | own | by the jobs the node started itself | never |

use super::io::Input;
use super::request::{Origin, Refusal, Request};
use oarlock_proto::internal::peer::Envelope;
use oarlock_state::{Caller, NodeId};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// How much a mailbox holds.
#[derive(Clone, Copy, Debug)]
pub struct MailboxLimits {
    /// Requests waiting. Too low: `Busy` under a short burst. Too high: long waits instead of `Busy`.
    pub requests: usize,
    /// Bytes of requests waiting.
    pub request_bytes: usize,
    /// Messages of peers waiting. Too low: dropped messages and repeated work after a stall.
    pub peer_messages: usize,
    /// Bytes of peer messages waiting.
    pub peer_bytes: usize,
}

impl Default for MailboxLimits {
    fn default() -> Self {
        Self {
            requests: 128 * 1024,
            request_bytes: 64 << 20,
            peer_messages: 64 * 1024,
            peer_bytes: 128 << 20,
        }
    }
}

/// Where replies and watch frames of one connection go. Called on the driver's thread: it must not
/// block and must not take long.
pub trait ReplySink: Send + Sync {
    /// The answer to the request that was submitted under `tag`. Exactly one per request, except
    /// that a connection that is gone gets none.
    fn reply(&self, tag: u64, result: super::request::Result);
    /// A frame of the watch that was begun under `tag`. Comes before any reply of this connection
    /// that could reveal it.
    fn watch(&self, tag: u64, frame: super::request::WatchFrame);
    /// The round is over: whatever was collected may now go out in one piece.
    fn flush(&self) {}
}

/// Something for the driver.
#[allow(clippy::large_enum_variant, reason = "nearly all mail is of the large variant")]
pub(super) enum Mail {
    /// A connection begins; its replies go there.
    Open { conn: u64, sink: Arc<dyn ReplySink> },
    /// A connection is gone.
    Close { conn: u64 },
    /// Something for the core.
    Input(Input),
}

/// Everything that had come in, in order within each lane.
#[derive(Default)]
pub(super) struct Batch {
    /// Results of the node's own jobs: first, because others wait for them.
    pub own: Vec<Input>,
    /// Messages of peers.
    pub peers: Vec<(NodeId, Envelope)>,
    /// Requests of doors, and connections coming and going.
    pub requests: Vec<Mail>,
}

impl Batch {
    /// Whether nothing had come in.
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.peers.is_empty() && self.requests.is_empty()
    }
}

/// What was turned away so far.
#[derive(Debug, Default)]
pub struct Turned {
    /// Requests refused as `Busy`.
    pub requests: AtomicU64,
    /// Peer messages dropped.
    pub peers: AtomicU64,
}

/// Wakes the driver. Ringing twice is ringing once.
pub type Bell = Box<dyn Fn() + Send + Sync>;

/// The queue itself.
pub struct Mailbox {
    limits: MailboxLimits,
    lanes: Mutex<Lanes>,
    bell: OnceLock<Bell>,
    turned: Turned,
}

#[derive(Default)]
struct Lanes {
    batch: Batch,
    requests: usize,
    request_bytes: usize,
    peer_bytes: usize,
    closed: bool,
    rung: bool,
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new(limits: MailboxLimits) -> Self {
        Self { limits, lanes: Mutex::default(), bell: OnceLock::new(), turned: Turned::default() }
    }

    /// What wakes the driver, set once by the runtime before anything is put in.
    pub(super) fn set_bell(&self, bell: Bell) {
        let _ = self.bell.set(bell);
    }

    /// What was turned away so far.
    pub fn turned(&self) -> &Turned {
        &self.turned
    }

    /// Puts in all of these requests of one connection, or none of them. Whoever puts them in tells
    /// how many they are and what they weigh.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when they do not fit now, [`Refusal::ShuttingDown`] once the node stops.
    pub(super) fn put_requests(
        &self,
        conn: u64,
        caller: &Caller,
        count: usize,
        bytes: usize,
        requests: impl Iterator<Item = (u64, Request)>,
    ) -> Result<(), Refusal> {
        let mut lanes = self.lock();
        if lanes.closed {
            return Err(Refusal::ShuttingDown);
        }
        let fits = lanes.requests + count <= self.limits.requests
            && lanes.request_bytes + bytes <= self.limits.request_bytes;
        if !fits {
            drop(lanes);
            self.turned.requests.fetch_add(count as u64, Relaxed);
            return Err(Refusal::Busy { queue: "the request mailbox" });
        }
        lanes.requests += count;
        lanes.request_bytes += bytes;
        lanes.batch.requests.extend(requests.map(|(tag, request)| {
            let (origin, caller) = (Origin { conn, tag }, caller.clone());
            Mail::Input(Input::Request { origin, caller, request })
        }));
        self.ring(lanes);
        Ok(())
    }

    /// Connections come and go, and watches get credit, however full the mailbox is: their number
    /// is bounded by that of the connections, and losing one would leak its watches.
    pub(super) fn put(&self, mail: Mail) {
        let mut lanes = self.lock();
        lanes.batch.requests.push(mail);
        self.ring(lanes);
    }

    /// Messages of one peer; what does not fit is dropped. Returns how many were dropped.
    pub fn put_peer(&self, from: NodeId, envelopes: Vec<Envelope>, bytes: usize) -> usize {
        let count = envelopes.len();
        let mut lanes = self.lock();
        let fits = lanes.batch.peers.len() + count <= self.limits.peer_messages
            && lanes.peer_bytes + bytes <= self.limits.peer_bytes;
        if !fits {
            drop(lanes);
            self.turned.peers.fetch_add(count as u64, Relaxed);
            return count;
        }
        lanes.peer_bytes += bytes;
        lanes.batch.peers.extend(envelopes.into_iter().map(|envelope| (from, envelope)));
        self.ring(lanes);
        0
    }

    /// The result of a job of the node's own, or a word of its transport.
    pub fn put_own(&self, input: Input) {
        let mut lanes = self.lock();
        lanes.batch.own.push(input);
        self.ring(lanes);
    }

    /// Takes everything out, leaving `emptied` (cleared) in its place so that its memory is reused.
    pub(super) fn take(&self, mut emptied: Batch) -> Batch {
        let mut lanes = self.lock();
        lanes.requests = 0;
        lanes.request_bytes = 0;
        lanes.peer_bytes = 0;
        lanes.rung = false;
        std::mem::swap(&mut lanes.batch, &mut emptied);
        emptied
    }

    /// From now on requests are refused. Members are heard to the end: leadership is handed over.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// Rings once per batch: the driver clears `rung` when it takes the batch out.
    fn ring(&self, mut lanes: MutexGuard<'_, Lanes>) {
        let first = !std::mem::replace(&mut lanes.rung, true);
        drop(lanes);
        if let Some(bell) = self.bell.get().filter(|_| first) {
            bell();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().expect("no code panics while it holds the lanes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn small() -> Mailbox {
        Mailbox::new(MailboxLimits { requests: 2, request_bytes: 4096, peer_messages: 1, peer_bytes: 100 })
    }

    fn ask(mailbox: &Mailbox, count: u64) -> Result<(), Refusal> {
        mailbox.put_requests(
            1,
            &Caller::Anonymous,
            count as usize,
            256,
            (0..count).map(|tag| (tag, Request::Status)),
        )
    }

    #[test]
    fn a_full_lane_refuses_whole_batches_and_says_so() {
        let mailbox = small();
        ask(&mailbox, 1).expect("one fits");
        assert!(matches!(ask(&mailbox, 2), Err(Refusal::Busy { .. })));
        assert_eq!(mailbox.turned().requests.load(Relaxed), 2);
        assert_eq!(mailbox.take(Batch::default()).requests.len(), 1);
        ask(&mailbox, 2).expect("empty again");
    }

    #[test]
    fn peers_are_dropped_not_refused() {
        let mailbox = small();
        assert_eq!(mailbox.put_peer(NodeId(2), vec![Envelope::default()], 10), 0);
        assert_eq!(mailbox.put_peer(NodeId(2), vec![Envelope::default()], 10), 1);
        mailbox.put_own(Input::Tick);
        let batch = mailbox.take(Batch::default());
        assert_eq!((batch.peers.len(), batch.own.len()), (1, 1));
    }

    #[test]
    fn the_bell_rings_once_per_batch() {
        let mailbox = small();
        let rings = Arc::new(AtomicUsize::new(0));
        let counted = rings.clone();
        mailbox.set_bell(Box::new(move || {
            counted.fetch_add(1, Relaxed);
        }));
        ask(&mailbox, 1).expect("fits");
        ask(&mailbox, 1).expect("fits");
        assert_eq!(rings.load(Relaxed), 1);
        assert!(!mailbox.take(Batch::default()).is_empty());
        mailbox.put_own(Input::Tick);
        assert_eq!(rings.load(Relaxed), 2);
    }

    #[test]
    fn a_closed_mailbox_refuses_requests_only() {
        let mailbox = small();
        mailbox.close();
        assert_eq!(ask(&mailbox, 1), Err(Refusal::ShuttingDown));
        mailbox.put(Mail::Close { conn: 1 });
        mailbox.put_own(Input::Shutdown);
        assert_eq!(mailbox.take(Batch::default()).own.len(), 1);
    }
}
