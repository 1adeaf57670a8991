//! Watches: one life of one watch, from its request to its end.

use super::{end_of_prefix, etcd, native};
use crate::history::{Failure, FailureKind};
use futures::StreamExt;
use futures::stream::BoxStream;
use oarlock_proto::etcd::etcdserverpb as pb;
use oarlock_proto::etcd::mvccpb;
use oarlock_proto::v1::{self, watch_frame::Kind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Requests that wait to be sent.
const REQUESTS_MAX: usize = 8;

/// What a watch delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is in place; events follow from this revision on.
    Created(u64),
    /// Changes, in the order of their revisions. All up to `through` were delivered with them.
    Events {
        /// The changes.
        events: Vec<Change>,
        /// Up to where everything was delivered.
        through: u64,
    },
    /// Nothing to tell up to this revision.
    Progress(u64),
    /// What was asked for is compacted up to this revision (0 if it is not said).
    Compacted(u64),
    /// It ended for another reason.
    Ended(String),
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its revision.
    pub revision: u64,
    /// The key.
    pub key: String,
    /// What it was set to; `None` if it was removed.
    pub value: Option<String>,
    /// Revision of the key's creation; 0 of a removal.
    pub created: u64,
    /// The value before, if it was asked for and is known.
    pub previous: Option<String>,
}

/// A watch. Dropped, it ends.
pub struct Watching {
    requests: Requests,
    told: BoxStream<'static, Vec<Told>>,
    waiting: std::collections::VecDeque<Told>,
}

enum Requests {
    Native(mpsc::Sender<v1::WatchRequest>),
    Etcd(mpsc::Sender<pb::WatchRequest>),
}

impl Watching {
    /// The next thing told; `None` when the connection is gone.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.waiting.pop_front() {
                return Some(told);
            }
            self.waiting.extend(self.told.next().await?);
        }
    }

    /// Asks how far it has come; the answer is a [`Told::Progress`]. Nothing is asked while earlier
    /// questions wait to be sent.
    pub fn ask_progress(&self) {
        match &self.requests {
            Requests::Native(requests) => {
                let request = v1::watch_request::Request::Progress(v1::WatchProgress {});
                let _ = requests.try_send(v1::WatchRequest { request: Some(request) });
            }
            Requests::Etcd(requests) => {
                let union = pb::watch_request::RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
                let _ = requests.try_send(pb::WatchRequest { request_union: Some(union) });
            }
        }
    }
}

/// Watches over Oarlock's own API, with the values before.
pub(super) async fn native(channel: Channel, prefix: String, start: u64) -> Result<Watching, tonic::Status> {
    let range_end = end_of_prefix(&prefix).into();
    let create = v1::WatchCreate {
        watch_id: 1,
        range: Some(v1::KeyRange { key: prefix.into(), range_end }),
        start_revision: start,
        want_previous: true,
        want_progress: true,
        ..Default::default()
    };
    let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
    let request = v1::watch_request::Request::Create(create);
    let _ = requests.try_send(v1::WatchRequest { request: Some(request) });
    let mut client = v1::watch_client::WatchClient::new(channel);
    let answers = client.watch(ReceiverStream::new(receiver)).await?.into_inner();
    let told = answers.map(|answer| match answer {
        Ok(v1::WatchResponse { frame: Some(frame), .. }) => {
            frame.kind.map(told_natively).into_iter().collect()
        }
        Ok(v1::WatchResponse { refused: Some(error), .. }) => vec![Told::Ended(error.message)],
        Ok(_) => Vec::new(),
        Err(status) => vec![Told::Ended(format!("connection lost: {}", status.message()))],
    });
    Ok(Watching { requests: Requests::Native(requests), told: told.boxed(), waiting: Default::default() })
}

fn told_natively(kind: Kind) -> Told {
    match kind {
        Kind::Created(created) => Told::Created(created.next_revision),
        Kind::Events(frame) => {
            let events = frame.events.into_iter().map(|event| {
                let is_put = event.kind() == v1::watch_event::Kind::Put;
                let record = native::record(event.record.unwrap_or_default());
                Change {
                    revision: record.modified,
                    key: record.key,
                    value: is_put.then_some(record.value),
                    created: record.created,
                    previous: event.previous.map(|record| native::record(record).value),
                }
            });
            Told::Events { events: events.collect(), through: frame.through_revision }
        }
        Kind::Progress(progress) => Told::Progress(progress.through_revision),
        Kind::Resync(_) => Told::Ended("records were sent that were not asked for".into()),
        Kind::Cancelled(cancelled) => match cancelled.error {
            Some(error) if error.code() == v1::ErrorCode::Compacted => {
                Told::Compacted(error.oldest_revision.saturating_sub(1))
            }
            Some(error) => Told::Ended(error.message),
            None => Told::Ended("cancelled".into()),
        },
    }
}

/// Watches over etcd's API, with the values before.
pub(super) async fn etcd(channel: Channel, prefix: String, start: u64) -> Result<Watching, tonic::Status> {
    let create = pb::WatchCreateRequest {
        range_end: end_of_prefix(&prefix).into(),
        key: prefix.into(),
        start_revision: i64::try_from(start).unwrap_or(i64::MAX),
        progress_notify: true,
        prev_kv: true,
        ..Default::default()
    };
    let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
    let union = pb::watch_request::RequestUnion::CreateRequest(create);
    let _ = requests.try_send(pb::WatchRequest { request_union: Some(union) });
    let mut client = pb::watch_client::WatchClient::new(channel);
    let answers = client.watch(ReceiverStream::new(receiver)).await?.into_inner();
    let told = answers.map(move |answer| match answer {
        Ok(response) => told_by_etcd(response, start),
        Err(status) => vec![Told::Ended(format!("connection lost: {}", status.message()))],
    });
    Ok(Watching { requests: Requests::Etcd(requests), told: told.boxed(), waiting: Default::default() })
}

fn told_by_etcd(response: pb::WatchResponse, start: u64) -> Vec<Told> {
    let at = etcd::revision(response.header);
    let mut told = Vec::new();
    if response.created && !response.canceled {
        told.push(Told::Created(if start == 0 { at + 1 } else { start }));
    }
    if response.canceled {
        told.push(match u64::try_from(response.compact_revision) {
            Ok(revision) if revision > 0 => Told::Compacted(revision),
            _ => Told::Ended(response.cancel_reason),
        });
    } else if !response.events.is_empty() {
        let events: Vec<Change> = response.events.into_iter().map(change).collect();
        let through = events.last().map_or(0, |event| event.revision);
        told.push(Told::Events { events, through });
    } else if !response.created {
        told.push(Told::Progress(at));
    }
    told
}

fn change(event: mvccpb::Event) -> Change {
    let is_put = event.r#type() == mvccpb::event::EventType::Put;
    let record = etcd::record(event.kv.unwrap_or_default());
    Change {
        revision: record.modified,
        key: record.key,
        value: is_put.then_some(record.value),
        created: record.created,
        previous: event.prev_kv.map(|record| etcd::record(record).value),
    }
}

/// A watch that could not be begun has had no effect.
pub(super) fn not_begun(status: &tonic::Status) -> Failure {
    Failure::new(FailureKind::NotProposed, format!("{:?}: {}", status.code(), status.message()))
}
