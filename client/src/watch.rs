//! Watches: changes in order, without gaps or repetitions, over every reconnection.
//!
//! ```no_run
//! use futures::StreamExt;
//! use oarlock_client::{Client, WatchItem, prefix};
//!
//! # async fn example(client: Client) -> oarlock_client::Result<()> {
//! let page = client.range(prefix("/services/")).await?;
//! let mut watch = client.watch(prefix("/services/")).from(page.revision + 1).resync().start();
//! while let Some(item) = watch.next().await {
//!     if let WatchItem::Events(events) = item? {
//!         events.iter().for_each(|event| println!("{:?} {:?}", event.record.key, event.cause));
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use crate::client::Client;
use crate::error::{Error, Result};
use crate::types::{KeyRange, KeyValue};
use futures::Stream;
use oarlock_proto::v1::{self, watch_client::WatchClient, watch_frame::Kind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Items that wait for a slow consumer; beyond it the server waits too.
const WAITING_MAX: usize = 128;
/// Pause between attempts to resume somewhere.
const PAUSE: Duration = Duration::from_millis(50);

/// What a watch delivers.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchItem {
    /// The watch is in place: events follow from this revision on. Also after every resumption.
    Created {
        /// First revision that will be delivered.
        next_revision: u64,
    },
    /// Changes: whole revisions, in order.
    Events(Vec<WatchEvent>),
    /// Nothing to tell, up to this revision.
    Progress {
        /// Everything up to it was delivered.
        revision: u64,
    },
    /// The history that was asked for is compacted: a page of the records as they are now. Keys
    /// that the consumer knew and that no page names were deleted. Events follow after the last. A
    /// page of another revision than the one before begins the records anew, which happens when the
    /// connection broke between them.
    Resync {
        /// The records are of this revision.
        revision: u64,
        /// A page of them.
        records: Vec<KeyValue>,
        /// The last page.
        last: bool,
    },
}

impl WatchItem {
    /// What a frame of a watch of keys delivers.
    fn of(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Created(created) => Self::Created { next_revision: created.next_revision },
            Kind::Events(events) => Self::Events(events.events.into_iter().map(Into::into).collect()),
            Kind::Progress(progress) => Self::Progress { revision: progress.through_revision },
            Kind::Resync(page) => {
                let records = page.records.into_iter().map(Into::into).collect();
                Self::Resync { revision: page.revision, records, last: page.last }
            }
            Kind::Cancelled(_) => return None,
        })
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchEvent {
    /// The record as the change left it. Of a delete: the key and the revision of the delete.
    pub record: KeyValue,
    /// Whether the key was removed.
    pub deleted: bool,
    /// The record before, if it was asked for and is not compacted.
    pub previous: Option<KeyValue>,
    /// Why.
    pub cause: v1::watch_event::Cause,
    /// The session that made the change, or that ended; 0 for none.
    pub session: u64,
}

impl WatchEvent {
    /// Whether the change created the key.
    pub fn is_create(&self) -> bool {
        !self.deleted && self.record.create_revision == self.record.mod_revision
    }
}

impl From<v1::WatchEvent> for WatchEvent {
    fn from(wire: v1::WatchEvent) -> Self {
        Self {
            deleted: wire.kind() == v1::watch_event::Kind::Delete,
            cause: wire.cause(),
            session: wire.session,
            record: wire.record.unwrap_or_default().into(),
            previous: wire.previous.map(Into::into),
        }
    }
}

/// A watch that is about to begin.
#[must_use = "nothing happens until `start` is called"]
pub struct WatchBuilder {
    client: Client,
    create: v1::WatchCreate,
    ask_every: Option<Duration>,
}

impl Client {
    /// Watches a key or a range: `client.watch(prefix("/services/")).start()`.
    pub fn watch(&self, range: impl Into<KeyRange>) -> WatchBuilder {
        let create = v1::WatchCreate { watch_id: 1, range: Some(range.into().0), ..Default::default() };
        WatchBuilder { client: self.clone(), create, ask_every: None }
    }
}

impl WatchBuilder {
    /// From this revision on. Without it: from the next change on.
    pub fn from(mut self, revision: u64) -> Self {
        self.create.start_revision = revision;
        self
    }

    /// Deliver the records before, too.
    pub fn previous(mut self) -> Self {
        self.create.want_previous = true;
        self
    }

    /// Leave out puts.
    pub fn deletes_only(mut self) -> Self {
        self.create.no_put = true;
        self
    }

    /// Leave out deletes.
    pub fn puts_only(mut self) -> Self {
        self.create.no_delete = true;
        self
    }

    /// Tell from time to time how far the watch is when nothing changes.
    pub fn progress(mut self) -> Self {
        self.create.want_progress = true;
        self
    }

    /// Ask every so often how far the watch is, and deliver the answer as [`WatchItem::Progress`].
    /// Tells of the member that serves the watch; whether that is behind the cluster, a read tells.
    pub fn progress_every(mut self, interval: Duration) -> Self {
        self.ask_every = Some(interval);
        self
    }

    /// When the history that is needed is compacted: deliver the records as they are and go on,
    /// instead of ending with an error.
    pub fn resync(mut self) -> Self {
        self.create.resync = true;
        self
    }

    /// Begins. The stream ends only with an error that retrying cannot mend, such as a compacted
    /// start without [`resync`](Self::resync).
    pub fn start(self) -> Watch {
        let Self { client, create, ask_every } = self;
        Watch { following: Following::begin(client, create, ask_every, WatchItem::of) }
    }
}

/// A running watch: a stream of [`WatchItem`]s. Dropping it ends it.
pub struct Watch {
    following: Following<WatchItem>,
}

impl Stream for Watch {
    type Item = Result<WatchItem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.following.items.poll_recv(context)
    }
}

/// A running watch, whatever it watches. Dropping it ends it.
pub(crate) struct Following<T> {
    items: mpsc::Receiver<Result<T>>,
    task: tokio::task::JoinHandle<()>,
}

impl<T: Send + 'static> Following<T> {
    /// Begins; `convert` makes what is delivered of a frame, if anything.
    pub(crate) fn begin(
        client: Client,
        create: v1::WatchCreate,
        ask_every: Option<Duration>,
        convert: fn(Kind) -> Option<T>,
    ) -> Self {
        let (items, receiver) = mpsc::channel(WAITING_MAX);
        let follower = Follower { client, create, ask_every, items, convert };
        Self { items: receiver, task: tokio::spawn(follower.run()) }
    }

    /// What comes next. Ends after an error that retrying cannot mend.
    pub(crate) async fn next(&mut self) -> Option<Result<T>> {
        self.items.recv().await
    }
}

impl<T> Drop for Following<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Follows the changes over many streams.
struct Follower<T> {
    client: Client,
    /// What to ask for next; its start moves with what was delivered.
    create: v1::WatchCreate,
    /// Pause between questions for progress.
    ask_every: Option<Duration>,
    items: mpsc::Sender<Result<T>>,
    convert: fn(Kind) -> Option<T>,
}

impl<T: Send + 'static> Follower<T> {
    async fn run(mut self) {
        loop {
            let error = match self.follow().await {
                Ok(()) => return, // the consumer is gone
                Err(error) => error,
            };
            if !error.is_passing() {
                let _ = self.items.send(Err(error)).await;
                return;
            }
            tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
        }
    }

    /// Follows one stream until it breaks (an error) or the consumer goes (`Ok`).
    async fn follow(&mut self) -> Result<()> {
        let connection = self.client.inner.endpoints.connection().await?;
        let generation = connection.generation;
        let outcome = self.follow_on(connection.channel).await;
        if outcome.as_ref().is_err_and(Error::is_passing) {
            self.client.inner.endpoints.give_up(generation);
        }
        outcome
    }

    async fn follow_on(&mut self, channel: tonic::transport::Channel) -> Result<()> {
        let (requests, outgoing) = mpsc::channel(1);
        let create = v1::watch_request::Request::Create(self.create.clone());
        let broken = || Error::Unknown { message: "the watch's stream ended".into() };
        requests.send(v1::WatchRequest { request: Some(create) }).await.map_err(|_| broken())?;
        let mut incoming: Streaming<v1::WatchResponse> = WatchClient::new(channel)
            .max_decoding_message_size(crate::endpoints::MESSAGE_BYTES_MAX)
            .watch(ReceiverStream::new(outgoing))
            .await
            .map_err(|status| Error::from_status(&status))?
            .into_inner();
        loop {
            let response = tokio::select! {
                response = incoming.message() => response.map_err(|status| Error::from_status(&status))?,
                () = pause(self.ask_every) => {
                    let ask = v1::watch_request::Request::Progress(v1::WatchProgress {});
                    // Full: an earlier question is still on its way, which serves as well.
                    let _ = requests.try_send(v1::WatchRequest { request: Some(ask) });
                    continue;
                }
            };
            let response = response.ok_or_else(broken)?;
            if let Some(refused) = response.refused {
                return Err(Error::from_wire(refused));
            }
            let kind = response.frame.and_then(|frame| frame.kind);
            let Some(item) = kind.map(|kind| self.item(kind)).transpose()?.flatten() else { continue };
            if self.items.send(Ok(item)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Turns a frame into an item and moves the start behind what it delivers. The start moves only
    /// with whole revisions, so that a resumption neither skips nor repeats.
    fn item(&mut self, kind: Kind) -> Result<Option<T>> {
        match &kind {
            Kind::Created(created) => {
                // Where a start was asked for it stays until something was delivered: before a
                // resync, `next_revision` is beyond the pages that are still to come.
                if self.create.start_revision == 0 {
                    self.create.start_revision = created.next_revision;
                }
            }
            Kind::Events(events) => self.create.start_revision = events.through_revision + 1,
            Kind::Progress(progress) => {
                self.create.start_revision = self.create.start_revision.max(progress.through_revision + 1);
            }
            Kind::Resync(page) if page.last => self.create.start_revision = page.revision + 1,
            Kind::Resync(_) => {}
            Kind::Cancelled(cancelled) => {
                return Err(Error::from_wire(cancelled.error.clone().unwrap_or_default()));
            }
        }
        Ok((self.convert)(kind))
    }
}

/// Completes after so long, or never.
async fn pause(interval: Option<Duration>) {
    match interval {
        Some(interval) => tokio::time::sleep(interval).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::watch_frame::{Created, Events, Progress, ResyncFrame};

    /// Where a watch that was asked for from `start` would resume after these frames.
    fn resumes_from(start: u64, frames: Vec<Kind>) -> u64 {
        let dialing = crate::endpoints::Dialing { timeout: PAUSE, from: None };
        let endpoints = crate::endpoints::Endpoints::new(vec!["x:1".into()], 0, dialing).expect("a URL");
        let options = Client::builder();
        let inner = crate::client::Inner { endpoints: endpoints.into(), options };
        let create = v1::WatchCreate { start_revision: start, ..Default::default() };
        let client = Client { inner: inner.into() };
        let (items, convert) = (mpsc::channel(1).0, WatchItem::of);
        let mut follower = Follower { client, create, ask_every: None, items, convert };
        for frame in frames {
            follower.item(frame).expect("not an end");
        }
        follower.create.start_revision
    }

    #[test]
    fn a_watch_resumes_behind_what_was_delivered() {
        let created = |next_revision| Kind::Created(Created { next_revision });
        let events = |through_revision| Kind::Events(Events { through_revision, ..Events::default() });
        let progress = |through_revision| Kind::Progress(Progress { through_revision });
        assert_eq!(resumes_from(0, vec![created(5)]), 5);
        assert_eq!(resumes_from(9, vec![created(9)]), 9, "a start in the future");
        assert_eq!(resumes_from(3, vec![created(3), events(6)]), 7);
        assert_eq!(resumes_from(3, vec![created(3), events(6), progress(8)]), 9);
    }

    #[test]
    fn an_interrupted_resync_begins_anew() {
        let page = |last| Kind::Resync(ResyncFrame { revision: 20, records: Vec::new(), last });
        let created = Kind::Created(Created { next_revision: 21 });
        assert_eq!(resumes_from(3, vec![created.clone(), page(false)]), 3);
        assert_eq!(resumes_from(3, vec![created, page(false), page(true)]), 21);
    }
}
