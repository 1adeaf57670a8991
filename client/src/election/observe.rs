//! Who leads, for anybody.

use crate::client::Client;
use crate::error::Result;
use crate::lock::{Claim, ObjectInfo, Place, PlaceState};
use crate::types::Token;
use crate::watch::Following;
use bytes::Bytes;
use futures::Stream;
use oarlock_proto::v1::{self, object_event::Event, watch_frame::Kind};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// What waits for a slow consumer; beyond it the server waits too.
const WAITING_MAX: usize = 16;

/// An election, as those see it who do not stand in it.
#[derive(Clone)]
pub struct Observer {
    client: Client,
    name: Bytes,
}

impl Client {
    /// An election, to be observed: `client.election("scheduler").observe()`.
    pub fn election(&self, name: impl Into<Bytes>) -> Observer {
        Observer { client: self.clone(), name: name.into() }
    }
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The leader.
    pub claim: Claim,
    /// What it proclaims.
    pub value: Bytes,
    /// The term: what the leader's writes carry as a guard.
    pub token: Token,
}

/// What an observer sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Somebody leads, or proclaims another value.
    Leader(Leader),
    /// Nobody leads.
    Vacant,
}

impl Observer {
    /// Who leads now, linearizably; `None` for nobody.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn leader(&self) -> Result<Option<Leader>> {
        let (object, _) = self.client.locks().describe_page(self.name.clone(), 0, 0).await?;
        Ok(object.and_then(|object| leader_of(&object, &self.name)))
    }

    /// The candidates that wait, the one that would lead next first; at most 1000.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn candidates(&self) -> Result<Vec<Place>> {
        let object = self.client.locks().describe(self.name.clone()).await?;
        Ok(object.map_or_else(Vec::new, |object| object.queue))
    }

    /// Who leads now, and every change from then on, vacancies included, in order, over every
    /// reconnection. Only when the history of a change was compacted before it could be delivered are
    /// changes left out, and the latest is told.
    pub fn observe(&self) -> Observation {
        let (seen, receiver) = mpsc::channel(WAITING_MAX);
        let watching = Watching { observer: self.clone(), seen, last: None };
        let task = tokio::spawn(watching.run());
        Observation { seen: receiver, task }
    }
}

/// What is seen of an election: a stream. It ends only after an error that retrying cannot mend, such
/// as a missing permission. Dropping it ends it.
#[must_use = "nothing is seen unless it is polled"]
#[derive(Debug)]
pub struct Observation {
    seen: mpsc::Receiver<Result<Observed>>,
    task: tokio::task::JoinHandle<()>,
}

impl Stream for Observation {
    type Item = Result<Observed>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.seen.poll_recv(context)
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Watching {
    observer: Observer,
    seen: mpsc::Sender<Result<Observed>>,
    last: Option<Observed>,
}

/// The consumer is gone.
struct Deaf;

impl Watching {
    async fn run(mut self) {
        loop {
            match self.watch().await {
                Ok(Ok(())) => {} // from the beginning
                Ok(Err(error)) if error.is_passing() => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                Ok(Err(error)) => {
                    let _ = self.seen.send(Err(error)).await;
                    return;
                }
                Err(Deaf) => return,
            }
        }
    }

    /// Reads who leads and watches from there, until the watch's history is compacted (`Ok(Ok)`).
    async fn watch(&mut self) -> std::result::Result<Result<()>, Deaf> {
        let Observer { client, name } = self.observer.clone();
        let (object, revision) = match client.locks().describe_page(name.clone(), 0, 0).await {
            Ok(read) => read,
            Err(error) => return Ok(Err(error)),
        };
        let leader = object.and_then(|object| leader_of(&object, &name));
        self.see(leader.map_or(Observed::Vacant, Observed::Leader)).await?;
        let create =
            v1::WatchCreate { watch_id: 1, start_revision: revision + 1, object: name, ..Default::default() };
        let mut following = Following::begin(client, create, None, objects);
        while let Some(events) = following.next().await {
            match events {
                Ok(events) => {
                    for event in events {
                        if let Some(observed) = self.after(event) {
                            self.see(observed).await?;
                        }
                    }
                }
                Err(error) if error.code() == Some(v1::ErrorCode::Compacted) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }

    /// What an event makes of what was seen last.
    fn after(&self, event: v1::ObjectEvent) -> Option<Observed> {
        let leader = |claim: Option<v1::Claim>, value, token| {
            let token = Token::of_election(event.name.clone(), token);
            Observed::Leader(Leader { claim: claim.unwrap_or_default().into(), value, token })
        };
        match event.event? {
            Event::Granted(granted) => Some(leader(granted.claim, granted.metadata, event.revision)),
            Event::Proclaimed(said) => Some(leader(said.claim, said.metadata, said.token)),
            Event::Vacant(_) => Some(Observed::Vacant),
            Event::Queued(_)
            | Event::Left(_)
            | Event::Lost(_)
            | Event::Changed(_)
            | Event::RevocationRequested(_)
            | Event::Elapsed(_) => None,
        }
    }

    async fn see(&mut self, observed: Observed) -> std::result::Result<(), Deaf> {
        if self.last.as_ref() == Some(&observed) {
            return Ok(());
        }
        self.last = Some(observed.clone());
        self.seen.send(Ok(observed)).await.map_err(|_| Deaf)
    }
}

/// What a frame of a watch of an object delivers.
fn objects(kind: Kind) -> Option<Vec<v1::ObjectEvent>> {
    match kind {
        Kind::Events(events) => Some(events.objects),
        Kind::Created(_) | Kind::Progress(_) | Kind::Resync(_) | Kind::Cancelled(_) => None,
    }
}

fn leader_of(object: &ObjectInfo, name: &Bytes) -> Option<Leader> {
    let holder = object.holders.first()?;
    let PlaceState::Holding { token, .. } = holder.state else { return None };
    let token = Token::of_election(name.clone(), token);
    Some(Leader { claim: holder.claim, value: holder.metadata.clone(), token })
}
