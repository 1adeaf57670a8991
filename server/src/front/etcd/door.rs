//! What every service of etcd's API holds: the way into the node, and the bounds.

use super::{errors, leader};
use crate::node::handle::Handle;
use crate::node::request::{Request, Response};
use oarlock_proto::etcd::etcdserverpb::ResponseHeader;
use oarlock_state::Revision;
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
pub struct Caller {}

/// etcd's API's view of the node.
pub struct Door {
    handle: Handle,
    limits: Limits,
}

impl Door {
    /// A door into the node behind `handle`.
    pub fn new(handle: Handle, limits: Limits) -> Arc<Self> {
        Arc::new(Self { handle, limits })
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
        Ok(Caller {})
    }

    /// Whether the caller may do what is only for administrators: what the node is not asked for,
    /// or is asked for by everybody for other reasons.
    ///
    /// # Errors
    /// They may not.
    pub async fn check_admin(&self, _caller: &Caller) -> Result<(), Status> {
        Ok(())
    }

    /// Asks the node once, on behalf of the caller.
    ///
    /// # Errors
    /// What the node refuses, in etcd's words.
    pub async fn ask(&self, _caller: &Caller, request: Request) -> Result<Response, Status> {
        self.handle.call(request).await.map_err(|refusal| errors::status(&refusal))
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
        self.header(self.handle.status_now().revision)
    }
}

/// A revision or a count as etcd's clients take it. The sign bit is never reached.
pub fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
