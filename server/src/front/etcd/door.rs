//! What every service of etcd's API holds: the way into the node, and the bounds.

use super::{errors, leader};
use crate::auth::{Gate, InvalidToken};
use crate::node::handle::{Conn, Handle, ReplySink};
use crate::node::request::{Consistency, NodeStatus, Refusal, Request, Response};
use oarlock_proto::etcd::etcdserverpb::ResponseHeader;
use oarlock_state::auth::{AuthError, AuthQuery};
use oarlock_state::{Caller as Who, Query, Rejection, Revision};
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// How much etcd's API takes in.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one request (etcd: `--max-request-bytes`, 1.5 MiB by default).
    pub request_bytes: usize,
    /// Operations of one branch of a transaction, and comparisons (etcd: `--max-txn-ops`, 128).
    pub txn_ops: usize,
    /// Watches on one stream.
    pub watches: usize,
    /// Time without a leader after which a member stands for election.
    pub election: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_bytes: 1536 * 1024, txn_ops: 128, watches: 100_000, election: Duration::from_secs(1) }
    }
}

/// Who asks. Made from the metadata of each call, once, before anything else is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    who: Who,
    /// It showed a token, whatever that was worth.
    showed_token: bool,
}

impl Caller {
    /// As whom the node is asked.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// What the node refuses them, in etcd's words.
    pub fn refused(&self, refusal: &Refusal) -> Status {
        match refusal {
            // Authentication was turned on, and this member learned of it only after the call came
            // in: the token was not looked at. Whoever logs in again finds it up to date.
            Refusal::Rejected(Rejection::Auth(AuthError::NoToken)) if self.showed_token => {
                errors::INVALID_AUTH_TOKEN.into()
            }
            _ => errors::status(refusal),
        }
    }
}

/// etcd's API's view of the node.
pub struct Door {
    handle: Handle,
    limits: Limits,
    gate: Arc<Gate>,
}

impl Door {
    /// A door into the node behind `handle`; `gate` knows who calls.
    pub fn new(handle: Handle, limits: Limits, gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self { handle, limits, gate })
    }

    /// Who may log in.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The way into the node.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Who asks.
    ///
    /// # Errors
    /// The call carries a token that is not valid, or asks for a leader while none is known.
    pub fn caller(&self, metadata: &MetadataMap) -> Result<Caller, Status> {
        leader::check(self, metadata)?;
        let who = self.gate.caller(metadata).map_err(|InvalidToken| errors::INVALID_AUTH_TOKEN)?;
        let showed_token = metadata.contains_key("token") || metadata.contains_key("authorization");
        Ok(Caller { who, showed_token })
    }

    /// Whether the caller may do what is only for administrators: what the node is not asked for,
    /// or is asked for by everybody for other reasons.
    ///
    /// # Errors
    /// They may not.
    pub async fn check_admin(&self, caller: &Caller) -> Result<(), Status> {
        let query = Query::Auth(AuthQuery::Administration);
        let ask = Request::Read { query, consistency: Consistency::Serializable, timeout_ms: 0 };
        self.ask(caller, ask).await.map(drop)
    }

    /// Asks the node once, on behalf of the caller.
    ///
    /// # Errors
    /// What the node refuses, in etcd's words.
    pub async fn ask(&self, caller: &Caller, request: Request) -> Result<Response, Status> {
        let answer = self.handle.call_as(&caller.who, request).await;
        answer.map_err(|refusal| caller.refused(&refusal))
    }

    /// Begins a connection on behalf of the caller, for streams.
    pub fn open_conn(&self, caller: &Caller, sink: Arc<dyn ReplySink>) -> Conn {
        self.handle.open_conn_as(caller.who.clone(), sink)
    }

    /// What this member knows of itself, now.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn node(&self, caller: &Caller) -> Result<NodeStatus, Status> {
        match self.ask(caller, Request::Status).await? {
            Response::Status(status) => Ok(*status),
            _ => Err(Status::internal("a question for the status was answered with something else")),
        }
    }

    /// The header of an answer that is of this revision.
    pub fn header(&self, revision: Revision) -> ResponseHeader {
        let identity = self.handle.identity();
        ResponseHeader {
            cluster_id: identity.cluster_id,
            member_id: identity.node.get(),
            revision: number(revision.get()),
            raft_term: self.handle.status_now().term,
        }
    }

    /// The header of an answer that is of no revision of its own: this member's current one.
    pub fn header_now(&self) -> ResponseHeader {
        self.header(self.handle.revision_now())
    }
}

/// A revision or a count as etcd's clients take it. The sign bit is never reached.
pub fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
