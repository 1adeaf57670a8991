//! The only way into a node for doors: cheap to clone, never blocks, refuses when full.
//!
//! A door that keeps a connection opens a [`Conn`] and gives it a [`ReplySink`]; replies and watch
//! frames of one round come in order, followed by one `flush`. A door that asks once uses
//! [`Handle::call`].

use super::io::Input;
use super::mailbox::{Mail, Mailbox, MailboxLimits};
use super::request::{self, NodeStatus, Refusal, Request, Role, WatchFrame, weight};
use oarlock_state::auth::Settings;
use oarlock_state::command::Member;
use oarlock_state::{Caller, NodeId, Revision};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

pub use super::mailbox::ReplySink;
/// What a door counts for a frame when it gives back [`credit`](Conn::credit).
pub use crate::watch::subscription::frame_bytes;

/// The connection that all single calls share.
const CALLS: u64 = 1;

/// What does not change while a node runs.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// This member's id.
    pub node: NodeId,
    /// The cluster's id.
    pub cluster_id: u64,
    /// The name it was started under.
    pub name: String,
    /// Version of the program.
    pub version: &'static str,
}

/// A node, as doors see it.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    mailbox: Mailbox,
    calls: Arc<Calls>,
    next_conn: AtomicU64,
    auth_enabled: AtomicBool,
    auth: Mutex<Arc<Settings>>,
    /// Revision of the state after the last round.
    revision: AtomicU64,
    status: Mutex<Arc<NodeStatus>>,
    stopping: AtomicBool,
}

impl Handle {
    /// A handle whose mailbox nobody empties yet; the runtime does.
    pub fn new(identity: Identity, limits: MailboxLimits) -> Self {
        let mailbox = Mailbox::new(limits);
        let calls = Arc::new(Calls::default());
        mailbox.put(Mail::Open { conn: CALLS, sink: calls.clone() });
        let status =
            NodeStatus { node: identity.node, cluster_id: identity.cluster_id, ..NodeStatus::default() };
        let shared = Shared {
            identity,
            mailbox,
            calls,
            next_conn: AtomicU64::new(CALLS + 1),
            auth_enabled: AtomicBool::new(false),
            auth: Mutex::default(),
            revision: AtomicU64::new(0),
            status: Mutex::new(Arc::new(status)),
            stopping: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Who the node is.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// Begins a connection of nobody in particular, whose replies go to `sink`. It ends when the
    /// [`Conn`] is dropped.
    pub fn open_conn(&self, sink: Arc<dyn ReplySink>) -> Conn {
        self.open_conn_as(Caller::Anonymous, sink)
    }

    /// Begins a connection on behalf of `caller`: all its requests are.
    pub fn open_conn_as(&self, caller: Caller, sink: Arc<dyn ReplySink>) -> Conn {
        let id = self.shared.next_conn.fetch_add(1, Relaxed);
        self.shared.mailbox.put(Mail::Open { conn: id, sink });
        Conn { id, caller, shared: self.shared.clone() }
    }

    /// Asks once, on nobody's behalf: as [`call_as`](Self::call_as) of an anonymous caller.
    ///
    /// # Errors
    /// As there.
    pub fn call(&self, request: Request) -> impl Future<Output = request::Result> + Send + use<> {
        self.call_as(&Caller::Anonymous, request)
    }

    /// Asks once, on behalf of `caller`. The request is submitted when this is called, not when the future is first
    /// polled; dropping the future gives up the answer, not the request.
    ///
    /// # Errors
    /// Whatever the node refuses; [`Refusal::Invalid`] for watches, which need a connection.
    pub fn call_as(
        &self,
        caller: &Caller,
        request: Request,
    ) -> impl Future<Output = request::Result> + Send + use<> {
        let waiting = self.begin_call(caller, request);
        async move {
            // The sink drops a waiting call only when the node itself is gone.
            waiting?.await.unwrap_or(Err(Refusal::ShuttingDown))
        }
    }

    /// What the node knows of itself, without asking it: at most about a second old, except for
    /// role, term and leader, which are current.
    pub fn status_now(&self) -> Arc<NodeStatus> {
        self.status_slot().clone()
    }

    /// Revision of this member's state: of everything that it has answered, at least. Costs nothing.
    pub fn revision_now(&self) -> Revision {
        Revision(self.shared.revision.load(Relaxed))
    }

    /// Whether requests have a chance: a leader is known and the node is not stopping. That does
    /// not prove that a quorum is reachable; a linearizable read does.
    pub fn is_ready(&self) -> bool {
        let led = self.status_now().leader != NodeId(0);
        led && !self.is_stopping()
    }

    /// Whether the node has begun to stop.
    pub fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Relaxed)
    }

    /// Whether authentication is on, as far as this member has applied the log. Costs nothing.
    pub fn auth_enabled(&self) -> bool {
        self.shared.auth_enabled.load(Relaxed)
    }

    /// Authentication's settings, as far as this member has applied the log.
    pub fn auth(&self) -> Arc<Settings> {
        self.shared.auth.lock().expect("no code panics while it holds the settings").clone()
    }

    /// The mailbox, for the transport and the runtime.
    pub fn mailbox(&self) -> &Mailbox {
        &self.shared.mailbox
    }

    /// From now on every request is refused with [`Refusal::ShuttingDown`].
    pub(super) fn stop_accepting(&self) {
        self.shared.stopping.store(true, Relaxed);
        self.shared.mailbox.close();
    }

    /// Publishes the revision of the state, before anything that it was found in goes out.
    pub(super) fn publish_revision(&self, revision: Revision) {
        self.shared.revision.store(revision.get(), Relaxed);
    }

    /// Publishes what [`status_now`](Self::status_now) shows.
    pub(super) fn publish_status(&self, status: NodeStatus) {
        *self.status_slot() = Arc::new(status);
    }

    /// Publishes a change of part at once; the rest of the status follows when it is next taken.
    pub(super) fn publish_role(&self, role: Role, term: u64, leader: NodeId) {
        let mut slot = self.status_slot();
        let mut status = NodeStatus::clone(&slot);
        (status.role, status.term, status.leader) = (role, term, leader);
        *slot = Arc::new(status);
    }

    /// Publishes whether authentication is on.
    pub(super) fn publish_auth(&self, settings: Settings) {
        let enabled = settings.enabled;
        *self.shared.auth.lock().expect("no code panics while it holds the settings") = Arc::new(settings);
        self.shared.auth_enabled.store(enabled, Relaxed);
    }

    /// Publishes a change of the members at once.
    pub(super) fn publish_members(&self, members: Vec<Member>) {
        let mut slot = self.status_slot();
        *slot = Arc::new(NodeStatus { members, ..NodeStatus::clone(&slot) });
    }

    fn begin_call(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<oneshot::Receiver<request::Result>, Refusal> {
        let needs_conn = matches!(
            request,
            Request::Watch(_) | Request::CancelWatch | Request::WatchProgress | Request::ConnProgress
        );
        if needs_conn {
            return Err(Refusal::Invalid {
                what: "a watch needs a connection of its own, not a call".into(),
            });
        }
        let (sender, receiver) = oneshot::channel();
        let bytes = weight(&request);
        let tag = self.shared.calls.insert(sender);
        let put = self.shared.mailbox.put_requests(CALLS, caller, 1, bytes, std::iter::once((tag, request)));
        if let Err(refusal) = put {
            self.shared.calls.remove(tag);
            return Err(refusal);
        }
        Ok(receiver)
    }

    fn status_slot(&self) -> MutexGuard<'_, Arc<NodeStatus>> {
        self.shared.status.lock().expect("no code panics while it holds the status")
    }
}

/// One connection of a door. Dropping it ends its watches; its replies then have nowhere to go.
pub struct Conn {
    id: u64,
    caller: Caller,
    shared: Arc<Shared>,
}

impl Conn {
    /// Its number, never used again while the node runs.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Hands a request to the node. Its reply comes under `tag`.
    ///
    /// # Errors
    /// [`Refusal::Busy`] or [`Refusal::ShuttingDown`]; the request was not taken and no reply comes.
    pub fn submit(&self, tag: u64, request: Request) -> Result<(), Refusal> {
        self.submit_as(&self.caller, tag, request)
    }

    /// As [`submit`](Self::submit), on behalf of another caller: for connections that many use.
    ///
    /// # Errors
    /// As there.
    pub fn submit_as(&self, caller: &Caller, tag: u64, request: Request) -> Result<(), Refusal> {
        let bytes = weight(&request);
        self.shared.mailbox.put_requests(self.id, caller, 1, bytes, std::iter::once((tag, request)))
    }

    /// Hands over several requests at once, in order and without others in between: all or none.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); none of them was taken.
    pub fn submit_all(&self, requests: Vec<(u64, Request)>) -> Result<(), Refusal> {
        if requests.is_empty() {
            return Ok(());
        }
        let bytes = requests.iter().map(|(_, request)| weight(request)).sum();
        self.shared.mailbox.put_requests(self.id, &self.caller, requests.len(), bytes, requests.into_iter())
    }

    /// As [`submit_all`](Self::submit_all), but what is refused stays in `requests`, to be offered
    /// again: for streams, which wait in order instead of refusing.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); none of them was taken.
    pub fn offer_all(&self, requests: &mut Vec<(u64, Request)>) -> Result<(), Refusal> {
        if requests.is_empty() {
            return Ok(());
        }
        let bytes = requests.iter().map(|(_, request)| weight(request)).sum();
        let count = requests.len();
        // Drained only when the mailbox asks for the first of them, which it does once they fit.
        let drained = std::iter::once(requests).flat_map(|requests| requests.drain(..));
        self.shared.mailbox.put_requests(self.id, &self.caller, count, bytes, drained)
    }

    /// Tells that watch frames of so many bytes ([`frame_bytes`]) were taken, so that as many may
    /// follow.
    pub fn credit(&self, bytes: usize) {
        self.shared.mailbox.put(Mail::Input(Input::WatchCredit { conn: self.id, bytes }));
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.shared.mailbox.put(Mail::Close { conn: self.id });
    }
}

/// Single calls that wait for their reply, by tag: low 32 bits a slot, high 32 bits its use.
#[derive(Default)]
struct Calls {
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    slots: Vec<(u32, Option<oneshot::Sender<request::Result>>)>,
    free: Vec<u32>,
}

impl Calls {
    fn insert(&self, sender: oneshot::Sender<request::Result>) -> u64 {
        let mut slots = self.lock();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.slots.push((0, None));
            // The mailbox bounds the calls far below four billion.
            (slots.slots.len() - 1) as u32
        });
        let (uses, place) = &mut slots.slots[slot as usize];
        *uses = uses.wrapping_add(1);
        *place = Some(sender);
        u64::from(*uses) << 32 | u64::from(slot)
    }

    fn remove(&self, tag: u64) -> Option<oneshot::Sender<request::Result>> {
        let (uses, slot) = ((tag >> 32) as u32, tag as u32);
        let mut slots = self.lock();
        let sender = match slots.slots.get_mut(slot as usize) {
            Some((current, place)) if *current == uses => place.take(),
            _ => None,
        };
        if sender.is_some() {
            slots.free.push(slot);
        }
        sender
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().expect("no code panics while it holds the calls")
    }
}

impl ReplySink for Calls {
    fn reply(&self, tag: u64, result: request::Result) {
        if let Some(sender) = self.remove(tag) {
            // Whoever asked may have given up.
            let _ = sender.send(result);
        }
    }

    fn watch(&self, _tag: u64, _frame: WatchFrame) {
        // Watches are refused in `begin_call`.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::request::Response;

    #[test]
    fn a_slot_is_used_again_under_another_tag() {
        let calls = Calls::default();
        let (first, mut got) = oneshot::channel();
        let tag = calls.insert(first);
        calls.reply(tag, Ok(Response::Done));
        assert_eq!(got.try_recv().expect("replied"), Ok(Response::Done));
        let (second, mut other) = oneshot::channel();
        let again = calls.insert(second);
        assert_eq!(again as u32, tag as u32);
        calls.reply(tag, Ok(Response::Done)); // a late repetition finds nobody
        assert!(other.try_recv().is_err());
        calls.reply(again, Err(Refusal::NoLeader));
        assert_eq!(other.try_recv().expect("replied"), Err(Refusal::NoLeader));
    }

    #[tokio::test]
    async fn calls_cannot_watch_and_stop_with_the_node() {
        let handle = Handle::new(Identity::default(), MailboxLimits::default());
        let watch = handle.call(Request::CancelWatch).await;
        assert!(matches!(watch, Err(Refusal::Invalid { .. })));
        handle.stop_accepting();
        assert_eq!(handle.call(Request::Status).await, Err(Refusal::ShuttingDown));
    }
}
