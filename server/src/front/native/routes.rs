//! One stream of routes: the table, if the caller does not have it, and then what changes.
//!
//! The stream is a watch of the pool with its events cut down to what concerns routing. When the
//! watch's start is compacted, or the caller was too slow, the table is read and sent anew.

use super::convert::{Form, outcome, pool, pool_reply, route};
use super::door::Door;
use super::errors::{self, status};
use super::outbox::{Item, Outbox};
use super::tags::{Kind, tag};
use crate::node::handle::Conn;
use crate::node::request::{Consistency, Refusal, Request, Response, WatchFrame, WatchSpec};
use bytes::Bytes;
use futures::Stream;
use oarlock_proto::v1;
use oarlock_state::command::{KeyRange, Txn};
use oarlock_state::event::{EventKind, Keyspace};
use oarlock_state::{Query, Rejection, Revision};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// Routes as the transport takes them.
pub type RouteStream = Pin<Box<dyn Stream<Item = Result<v1::RouteResponse, Status>> + Send>>;

/// About as many bytes are taken from the watch at a time.
const BATCH_BYTES: usize = 64 * 1024;
/// The number of the only watch of a connection.
const WATCH: u64 = 1;
/// The tag of a request for progress, which has no answer of its own.
const PROGRESS: u64 = 0;
/// After so long without a change a sign of life is given, if a quorum can be reached. Clients take
/// three times as long for a silence.
const SIGN_EVERY: Duration = Duration::from_secs(5);
/// How long a quorum is waited for, for a sign of life.
const SIGN_MS: u32 = 2_500;

/// Begins to serve routes.
pub fn begin(door: Arc<Door>, request: v1::RouteRequest) -> Form<RouteStream> {
    let ask = pool::state(request.pool.clone(), request.options.as_ref())?;
    let after = Some(Revision(request.after)).filter(|after| after.get() > 0);
    let routes =
        Routes { door, pool: request.pool, ask, version: after, following: None, ready: VecDeque::new() };
    Ok(Box::pin(futures::stream::try_unfold(routes, |mut routes| async move {
        let response = routes.next().await.map_err(status)?;
        Ok(Some((response, routes)))
    })))
}

struct Routes {
    door: Arc<Door>,
    pool: Bytes,
    /// Reads the pool.
    ask: Request,
    /// What the caller has; `None` if it needs the table.
    version: Option<Revision>,
    following: Option<Following>,
    ready: VecDeque<WatchFrame>,
}

/// A watch of the pool on a connection of its own, which ends with it.
struct Following {
    conn: Conn,
    outbox: Arc<Outbox<Infallible>>,
}

impl Routes {
    async fn next(&mut self) -> Result<v1::RouteResponse, v1::Error> {
        loop {
            let Some(version) = self.version else {
                self.following = None;
                self.ready.clear();
                let (header, state) = self.door.ask(self.ask.clone()).await.and_then(pool_reply::state)?;
                let version = Revision(header.revision);
                self.version = Some(version);
                return Ok(route::table(version, *state));
            };
            if self.following.is_none() {
                self.following = Some(self.follow(version.next())?);
            }
            if let Some(frame) = self.ready.pop_front() {
                if let Some(response) = self.response(version, frame)? {
                    return Ok(response);
                }
            } else {
                self.take().await?;
            }
        }
    }

    /// Watches the pool from a revision on.
    fn follow(&self, start: Revision) -> Result<Following, v1::Error> {
        let outbox = Arc::new(Outbox::new(*self.door.limits()));
        let conn = self.door.open_conn(outbox.clone());
        let spec = WatchSpec {
            keyspace: Keyspace::Pool,
            range: KeyRange::Key(self.pool.clone()),
            start,
            want_previous: false,
            no_put: false,
            no_delete: false,
            want_progress: true,
            resync: false,
        };
        let begun = conn.submit(tag(Kind::Watch, WATCH), Request::Watch(spec));
        begun.map_err(|refusal| self.door.error(&refusal))?;
        Ok(Following { conn, outbox })
    }

    /// Takes what the watch has, once it has something.
    async fn take(&mut self) -> Result<(), v1::Error> {
        let Some(following) = &self.following else { return Ok(()) };
        let take = std::future::poll_fn(|context| following.outbox.poll_take(context, BATCH_BYTES));
        let Ok(taken) = tokio::time::timeout(SIGN_EVERY, take).await else {
            return self.ask_progress(following).await;
        };
        let Some(batch) = taken else {
            return Err(errors::internal("the watch behind a stream of routes ended without a reason"));
        };
        if batch.watch_bytes > 0 {
            following.conn.credit(batch.watch_bytes);
        }
        for item in batch.items {
            match item {
                Item::Watch { frame, .. } => self.ready.push_back(frame),
                Item::Reply { result: Ok(Response::Done), .. } => {}
                Item::Reply { result: Ok(other), .. } => {
                    return Err(outcome::unexpected("a watch", &other));
                }
                Item::Reply { result: Err(refusal), .. } => return Err(self.door.error(&refusal)),
                Item::Own(never) => match never {},
            }
        }
        Ok(())
    }

    /// Asks how far the watch is, unless this member is cut off from a quorum: what it knows may be
    /// old then, and its silence says so.
    async fn ask_progress(&self, following: &Following) -> Result<(), v1::Error> {
        let nothing = Txn { compare: Vec::new(), then: Vec::new(), otherwise: Vec::new() };
        let (query, consistency) = (Query::ReadTxn(nothing), Consistency::Linearizable);
        let confirmed = self.door.ask(Request::Read { query, consistency, timeout_ms: SIGN_MS }).await;
        if confirmed.is_err() {
            return Ok(());
        }
        let asked = following.conn.submit(tag(Kind::Watch, PROGRESS), Request::WatchProgress);
        asked.map_err(|refusal| self.door.error(&refusal))
    }

    /// A frame of the watch as a response, if it is one.
    fn response(
        &mut self,
        version: Revision,
        frame: WatchFrame,
    ) -> Result<Option<v1::RouteResponse>, v1::Error> {
        Ok(match frame {
            // At once a sign of life, which says that the caller has what there is.
            WatchFrame::Created { .. } => Some(route::unchanged(version)),
            WatchFrame::Events { events, through, .. } => {
                self.version = Some(through);
                let events = events.into_iter().filter_map(|event| match event.kind {
                    EventKind::Pool(event) => Some(event),
                    EventKind::Put { .. }
                    | EventKind::Delete
                    | EventKind::Children
                    | EventKind::Object(_) => None,
                });
                Some(route::changes(through, events))
            }
            WatchFrame::Progress { through } => {
                let version = version.max(through);
                self.version = Some(version);
                Some(route::unchanged(version))
            }
            WatchFrame::Cancelled(
                Refusal::Rejected(Rejection::Compacted { .. }) | Refusal::Lagging { .. },
            ) => {
                self.version = None;
                None
            }
            WatchFrame::Cancelled(refusal) => return Err(self.door.error(&refusal)),
            WatchFrame::Resync { .. } => {
                return Err(errors::internal("a watch of a pool was given records of keys"));
            }
        })
    }
}
