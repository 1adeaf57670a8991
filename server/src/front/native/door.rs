//! What every service of the native API holds: the way into the node, and the bounds.

use super::errors;
use crate::auth::Gate;
use crate::front::saved::SnapshotSource;
use crate::node::handle::{Conn, Handle, ReplySink};
use crate::node::request::{Consistency, Refusal, Request, Response};
use oarlock_proto::v1;
use oarlock_state::auth::AuthQuery;
use oarlock_state::limits::{PROPOSAL_BYTES_MAX, WINDOW};
use oarlock_state::{Caller, NodeId, Query};
use std::sync::Arc;
use std::time::Instant;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// How much the native API takes in and holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one unary request, and of one operation on a stream. Larger than what the log takes
    /// has no use.
    pub request_bytes: usize,
    /// Bytes of one frame of a stream. Too low: clients with many operations in flight send more
    /// and smaller frames. Too high: memory per connection.
    pub frame_bytes: usize,
    /// Operations of one stream that may be unanswered; above it the stream is read no further.
    pub window: usize,
    /// Range reads over several keys, and questions about objects, among them. Each may be answered with a page of 4 MiB.
    pub spans: usize,
    /// Bytes of answers that may wait for a slow client; above it its stream is read no further.
    pub waiting_bytes: usize,
    /// Watches on one stream.
    pub watches: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: PROPOSAL_BYTES_MAX,
            frame_bytes: 8 << 20,
            window: WINDOW as usize,
            spans: 16,
            waiting_bytes: 8 << 20,
            watches: 100_000,
        }
    }
}

/// The native API's view of the node, on behalf of one caller.
#[derive(Clone)]
pub struct Door {
    handle: Handle,
    limits: Limits,
    snapshots: Option<Arc<dyn SnapshotSource>>,
    started: Instant,
    gate: Arc<Gate>,
    caller: Caller,
}

impl Door {
    /// A door into the node behind `handle`, for nobody yet; `gate` knows who calls. Without `snapshots`, `Maintenance.Snapshot` answers
    /// that it is not offered.
    pub fn new(
        handle: Handle,
        limits: Limits,
        snapshots: Option<Arc<dyn SnapshotSource>>,
        gate: Arc<Gate>,
    ) -> Arc<Self> {
        let (started, caller) = (Instant::now(), Caller::Anonymous);
        Arc::new(Self { handle, limits, snapshots, started, gate, caller })
    }

    /// The door as whoever sent this metadata may use it.
    ///
    /// # Errors
    /// The call carries a token that is not valid.
    pub fn admit(self: &Arc<Self>, metadata: &MetadataMap) -> Result<Arc<Self>, Status> {
        match self.gate.caller(metadata) {
            Ok(Caller::Anonymous) => Ok(self.clone()),
            Ok(caller) => Ok(Arc::new(Self { caller, ..Self::clone(self) })),
            Err(invalid) => Err(errors::status(errors::denied(invalid.to_string()))),
        }
    }

    /// Whether the caller may administer, for what the node itself is not asked for.
    pub async fn check_admin(&self) -> Result<(), v1::Error> {
        let query = Query::Auth(AuthQuery::Administration);
        let ask = Request::Read { query, consistency: Consistency::Serializable, timeout_ms: 0 };
        self.ask(ask).await.map(drop)
    }

    /// Begins a connection on behalf of the caller, for streams.
    pub fn open_conn(&self, sink: Arc<dyn ReplySink>) -> Conn {
        self.handle.open_conn_as(self.caller.clone(), sink)
    }

    /// The way into the node.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where snapshots come from, if they are offered.
    pub fn snapshots(&self) -> Option<Arc<dyn SnapshotSource>> {
        self.snapshots.clone()
    }

    /// Milliseconds since the door was made.
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The leader's id and first client URL, as far as this member knows them.
    pub fn leader(&self) -> (u64, String) {
        let status = self.handle.status_now();
        let leader = status.leader;
        if leader == NodeId(0) {
            return (0, String::new());
        }
        let member = status.members.iter().find(|member| member.node == leader);
        let url = member.and_then(|member| member.client_urls.first().cloned());
        (leader.get(), url.unwrap_or_default())
    }

    /// The header with who answers, and in which term.
    pub fn sign(&self, header: v1::Header) -> v1::Header {
        let identity = self.handle.identity();
        v1::Header {
            cluster_id: identity.cluster_id,
            member_id: identity.node.get(),
            term: self.handle.status_now().term,
            ..header
        }
    }

    /// The header of an answer that is of no revision of its own: this member's current one.
    pub fn header_now(&self) -> v1::Header {
        let status = self.handle.status_now();
        self.sign(v1::Header {
            revision: status.revision.get(),
            index: status.applied,
            ..v1::Header::default()
        })
    }

    /// Asks the node once.
    pub async fn ask(&self, request: Request) -> Result<Response, v1::Error> {
        self.handle.call_as(&self.caller, request).await.map_err(|refusal| self.error(&refusal))
    }

    /// A refusal, with the leader's whereabouts.
    pub fn error(&self, refusal: &Refusal) -> v1::Error {
        errors::error(refusal, self)
    }

    /// A malformed or refused request as the status of its call.
    pub fn refuse(&self, refusal: Refusal) -> Status {
        errors::status(self.error(&refusal))
    }
}

/// Puts the full header on an answer that carries one.
pub trait Signed: Sized {
    /// Where the header is.
    fn header_slot(&mut self) -> &mut Option<v1::Header>;

    /// The answer with the door's signature on its header.
    fn signed(mut self, door: &Door) -> Self {
        let slot = self.header_slot();
        *slot = Some(door.sign(slot.take().unwrap_or_default()));
        self
    }
}

macro_rules! signed {
    ($($answer:ident),* $(,)?) => {
        $(impl Signed for v1::$answer {
            fn header_slot(&mut self) -> &mut Option<v1::Header> {
                &mut self.header
            }
        })*
    };
}

signed!(
    RangeResponse,
    PutResponse,
    DeleteResponse,
    TxnResponse,
    GetOutcomeResponse,
    CheckTokenResponse,
    ObjectResponse,
    ObjectAnswer,
    PoolResponse,
    PoolAnswer,
    ListSessionsResponse,
    ListMembersResponse,
);
