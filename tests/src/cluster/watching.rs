//! A stream of etcd's Watch service.

use super::Node;
use oarlock_proto::etcd::etcdserverpb::watch_client::WatchClient;
use oarlock_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use oarlock_proto::etcd::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use oarlock_proto::etcd::mvccpb::Event;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;
use tonic::{Request, Status, Streaming};

/// How long a test waits for a response that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open stream.
pub struct Watching {
    asking: Option<mpsc::Sender<WatchRequest>>,
    answers: Streaming<WatchResponse>,
}

impl Watching {
    /// Opens a stream at this node.
    ///
    /// # Errors
    /// The node does not answer, or refuses.
    pub async fn open(node: &Node) -> Result<Self, Status> {
        Self::open_at(node.client_url(), MetadataMap::new()).await
    }

    /// Opens a stream with this metadata.
    ///
    /// # Errors
    /// The node does not answer, or refuses.
    pub async fn open_with(node: &Node, metadata: MetadataMap) -> Result<Self, Status> {
        Self::open_at(node.client_url(), metadata).await
    }

    /// Opens a stream at this URL, with this metadata.
    ///
    /// # Errors
    /// The node does not answer, or refuses.
    pub async fn open_at(url: String, metadata: MetadataMap) -> Result<Self, Status> {
        let endpoint = Endpoint::from_shared(url).expect("our own URL is well-formed");
        let channel = endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let (asking, requests) = mpsc::channel(64);
        let requests = futures::stream::unfold(requests, |mut requests| async move {
            requests.recv().await.map(|request| (request, requests))
        });
        let request = Request::from_parts(metadata, tonic::Extensions::new(), requests);
        let answers =
            WatchClient::new(channel).max_decoding_message_size(64 << 20).watch(request).await?.into_inner();
        Ok(Self { asking: Some(asking), answers })
    }

    /// Sends a request.
    ///
    /// # Panics
    /// The stream is over.
    pub async fn ask(&self, union: RequestUnion) {
        self.try_ask(union).await.expect("the stream is open");
    }

    /// Sends a request, unless the stream is over.
    ///
    /// # Errors
    /// It is.
    ///
    /// # Panics
    /// After [`finish`](Self::finish).
    pub async fn try_ask(&self, union: RequestUnion) -> Result<(), Status> {
        let request = WatchRequest { request_union: Some(union) };
        let asking = self.asking.as_ref().expect("requests go on");
        asking.send(request).await.map_err(|_| Status::unavailable("the stream is over"))
    }

    /// Asks for a watch, and does not wait for it.
    pub async fn create(&self, create: WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(create)).await;
    }

    /// Asks for the end of a watch.
    pub async fn cancel(&self, watch_id: i64) {
        self.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id })).await;
    }

    /// Asks for progress.
    pub async fn progress(&self) {
        self.ask(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    }

    /// Has no more to ask; the stream goes on.
    pub fn finish(&mut self) {
        self.asking = None;
    }

    /// The next response.
    ///
    /// # Panics
    /// None comes, or the stream ended.
    pub async fn next(&mut self) -> WatchResponse {
        self.try_next().await.expect("the stream goes on")
    }

    /// The next response, or what the stream ended with.
    ///
    /// # Errors
    /// The stream is over.
    ///
    /// # Panics
    /// Nothing comes.
    pub async fn try_next(&mut self) -> Result<WatchResponse, Status> {
        let next = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        next.expect("a response comes in time")?.ok_or_else(|| Status::ok("the stream ended"))
    }

    /// Whether nothing comes for this long.
    pub async fn is_silent(&mut self, duration: Duration) -> bool {
        tokio::time::timeout(duration, self.answers.message()).await.is_err()
    }

    /// Asks for a watch and returns the response to that.
    pub async fn created(&mut self, create: WatchCreateRequest) -> WatchResponse {
        self.create(create).await;
        let response = self.next().await;
        assert!(response.created, "events of watch {} came before it was created", response.watch_id);
        response
    }

    /// Collects events until there are `count`.
    pub async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().await.events);
        }
        events
    }
}

/// An event in short: what happened to which key at which revision.
pub fn told(event: &Event) -> String {
    let kv = event.kv.as_ref().expect("every event has a record");
    let what = if event.r#type == 0 { "put" } else { "delete" };
    format!("{what} {}@{}", String::from_utf8_lossy(&kv.key), kv.mod_revision)
}
