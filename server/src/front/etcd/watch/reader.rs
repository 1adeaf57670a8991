//! The requests of one stream.

use super::super::errors;
use super::create;
use super::outbox::Outbox;
use super::registry::{Registry, STREAM_PROGRESS};
use crate::node::handle::Conn;
use crate::node::request::{Refusal, Request as Ask};
use oarlock_proto::etcd::etcdserverpb::watch_request::RequestUnion as Asked;
use oarlock_proto::etcd::etcdserverpb::{WatchCreateRequest, WatchRequest};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Status, Streaming};

/// How often, and how long apart, a full node is asked again before the stream is given up.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Hands requests to the node.
pub struct Reader {
    outbox: Arc<Outbox>,
    conn: Arc<Conn>,
    registry: Arc<Registry>,
}

impl Reader {
    /// The reader of the stream that these belong to.
    pub fn new(outbox: Arc<Outbox>, conn: Arc<Conn>, registry: Arc<Registry>) -> Self {
        Self { outbox, conn, registry }
    }

    /// Until the client is gone: watches go on when it has no more to ask.
    pub async fn run(self, mut incoming: Streaming<WatchRequest>) {
        if let Err(reason) = self.serve(&mut incoming).await {
            self.outbox.end(reason);
        }
    }

    async fn serve(&self, incoming: &mut Streaming<WatchRequest>) -> Result<(), Status> {
        loop {
            self.outbox.admit().await;
            let request = match incoming.message().await {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(status) if is_unreadable(&status) => return Err(status),
                Err(_) => return Ok(()), // the client is gone
            };
            match request.request_union {
                Some(Asked::CreateRequest(create)) => self.create(create).await?,
                Some(Asked::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await?,
                Some(Asked::ProgressRequest(_)) => self.submit(STREAM_PROGRESS, Ask::ConnProgress).await?,
                // Of a later version; etcd passes over it too.
                None => self.outbox.answered(),
            }
        }
    }

    async fn create(&self, create: WatchCreateRequest) -> Result<(), Status> {
        let (wish, fragment) = (create.watch_id, create.fragment);
        let begun = create::spec(create).and_then(|spec| Ok((self.registry.begin(wish, fragment)?, spec)));
        match begun {
            Ok((tag, spec)) => self.submit(tag, Ask::Watch(spec)).await,
            // There is nothing to cancel under this tag; saying so is the node's answer in turn.
            Err(reason) => self.submit(self.registry.refuse(reason), Ask::CancelWatch).await,
        }
    }

    async fn cancel(&self, id: i64) -> Result<(), Status> {
        match self.registry.cancel(id) {
            Some(tag) => self.submit(tag, Ask::CancelWatch).await,
            None => {
                self.outbox.answered(); // etcd says nothing to this either
                Ok(())
            }
        }
    }

    /// Hands a request to the node; when its queue is full the stream waits a little.
    async fn submit(&self, tag: u64, ask: Ask) -> Result<(), Status> {
        let mut pending = vec![(tag, ask)];
        for _ in 0..BUSY_TRIES {
            match self.conn.offer_all(&mut pending) {
                Ok(()) => return Ok(()),
                Err(Refusal::Busy { .. }) => tokio::time::sleep(BUSY_PAUSE).await,
                Err(refusal) => return Err(errors::status(&refusal)),
            }
        }
        Err(errors::TOO_MANY_REQUESTS.into())
    }
}

/// Whether the client is still there and sent what cannot be read.
fn is_unreadable(status: &Status) -> bool {
    matches!(status.code(), Code::OutOfRange | Code::Internal | Code::ResourceExhausted)
}
