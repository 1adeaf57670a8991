//! The `Watch` service: any number of watches on one stream.
//!
//! | file | holds |
//! | --- | --- |
//! | [`create`] | what a watch is asked for, checked and converted |
//! | [`registry`] | the stream's watches, by the client's numbers and by ours |
//! | [`outbox`] | what waits to be sent, bounded |
//! | [`reader`] | requests, to the node in the order sent |
//! | [`answers`] | what the node says, as responses in one order |
//! | [`fragment`] | responses that are too large for their client |
//!
//! The node answers the requests of a connection in the order in which they came, between the events,
//! so a response never overtakes an event that it speaks of. Refusals that need no node go through it
//! all the same: clients match "created" responses to their requests by order alone.

pub mod answers;
pub mod create;
pub mod fragment;
pub mod outbox;
pub mod reader;
pub mod registry;

use super::door::Door;
use super::leader;
use answers::Answers;
use futures::StreamExt;
use futures::stream::BoxStream;
use oarlock_proto::etcd::etcdserverpb::watch_server::Watch;
use oarlock_proto::etcd::etcdserverpb::{WatchRequest, WatchResponse};
use outbox::Outbox;
use reader::Reader;
use registry::Registry;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// Serves watches.
pub struct WatchService {
    door: Arc<Door>,
}

impl WatchService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }
}

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let (metadata, _, incoming) = request.into_parts();
        let outbox = Arc::new(Outbox::default());
        let conn = Arc::new(self.door.open_conn(&caller, outbox.clone()));
        let registry = Arc::new(Registry::new(self.door.limits().watches));
        let reader = Reader::new(outbox.clone(), conn.clone(), registry.clone());
        let task = tokio::spawn(reader.run(incoming)).abort_handle();
        let answers = Answers::new(self.door.clone(), outbox, conn, registry, task);
        Ok(Response::new(leader::guard(&self.door, &metadata, answers).boxed()))
    }
}
