//! Leaders, one after the other.

use super::super::convert::record;
use super::super::door::{Caller, Door};
use super::feed::{Feed, News};
use super::{queue, recipe};
use bytes::Bytes;
use futures::Stream;
use oarlock_proto::etcd::v3electionpb::LeaderResponse;
use oarlock_state::command::{KeyRange, KeyValue};
use oarlock_state::{Event, EventKind, Revision};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Leaders that wait to be taken; beyond it the observer waits too.
const WAITING: usize = 16;

type Told = Result<LeaderResponse, Status>;

/// Every leader of this name, and every value that a leader proclaims while it is looked at. A leader
/// whose time was over before it was looked at is left out.
pub fn leaders(door: Arc<Door>, caller: Caller, name: Bytes) -> impl Stream<Item = Told> {
    let (tell, told) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let gone = tell.clone();
        let observer = Observer { door, caller, name, tell };
        tokio::select! {
            result = observer.run() => if let Err(status) = result {
                // Whoever observed may be gone.
                let _ = gone.send(Err(recipe(&status))).await;
            },
            () = gone.closed() => {}
        }
    });
    ReceiverStream::new(told)
}

struct Observer {
    door: Arc<Door>,
    caller: Caller,
    name: Bytes,
    tell: mpsc::Sender<Told>,
}

impl Observer {
    async fn run(&self) -> Result<(), Status> {
        loop {
            let (first, seen) = queue::first(&self.door, &self.caller, &self.name).await?;
            let (leader, seen) = match first {
                Some(leader) => (leader, seen),
                None => match self.wait(seen).await? {
                    Some(leader) => {
                        let seen = leader.mod_revision;
                        (leader, seen)
                    }
                    None => continue,
                },
            };
            let key = leader.key.clone();
            self.say(leader, seen).await;
            self.follow(key, seen).await?;
        }
    }

    /// The first candidate that comes after `seen`; `None` if it has to be looked for.
    async fn wait(&self, seen: Revision) -> Result<Option<KeyValue>, Status> {
        let mut feed = Feed::open(&self.door, &self.caller, [queue::candidates(&self.name)], seen, false)?;
        loop {
            let News::Events { events, .. } = feed.next().await? else { return Ok(None) };
            if let Some(leader) = events.into_iter().find_map(put) {
                return Ok(Some(leader));
            }
        }
    }

    /// Tells what a leader proclaims after `seen`, until it is gone or has to be looked for.
    async fn follow(&self, key: Bytes, seen: Revision) -> Result<(), Status> {
        let mut feed = Feed::open(&self.door, &self.caller, [KeyRange::Key(key)], seen, false)?;
        loop {
            let News::Events { events, through } = feed.next().await? else { return Ok(()) };
            for event in events {
                match put(event) {
                    Some(leader) => self.say(leader, through).await,
                    None => return Ok(()),
                }
            }
        }
    }

    async fn say(&self, leader: KeyValue, revision: Revision) {
        let header = Some(self.door.header(revision));
        // When nobody listens any more, that ends the task by itself.
        let _ = self.tell.send(Ok(LeaderResponse { header, kv: Some(record(leader)) })).await;
    }
}

/// The record that a put left; `None` for a deletion.
fn put(event: Event) -> Option<KeyValue> {
    match event.kind {
        EventKind::Put { value, create_revision, version, owner } => Some(KeyValue {
            key: event.key,
            value,
            create_revision,
            mod_revision: event.revision,
            version,
            owner,
        }),
        EventKind::Delete | EventKind::Children | EventKind::Object(_) | EventKind::Pool(_) => None,
    }
}
