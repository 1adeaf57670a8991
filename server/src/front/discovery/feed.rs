//! Keeps the cache as the registry is: reads all records at one revision, then follows the changes.
//! Whatever interrupts that, it begins again; what is known is served meanwhile.

use super::cache::Cache;
use super::table::Table;
use crate::node::handle::{Conn, Handle, ReplySink, frame_bytes};
use crate::node::request::{self, Consistency, Refusal, Request, Response, WatchFrame, WatchSpec};
use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_proto::registry;
use oarlock_state::command::{Answer, KeyRange, KeyValue, RangeQuery};
use oarlock_state::event::Keyspace;
use oarlock_state::{Caller, Query, Revision};
use slog::{Logger, debug};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

/// How often a quorum is asked whether the cache is up to date.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long a read may take. Longer than an election; shorter than the patience of HTTP's callers.
pub const READ_MS: u32 = 3_000;
/// Milliseconds for such a question.
const PROBE_MS: u32 = 2_000;
/// Pause before everything is read again.
const PAUSE: Duration = Duration::from_millis(200);
/// The watch's tag on its connection, and that of questions for its progress.
const WATCH: u64 = 1;
const PROGRESS: u64 = 2;

/// Follows the registry for as long as the node runs.
pub async fn run(cache: Arc<Cache>, handle: Handle, logger: Logger) {
    loop {
        let Err(refusal) = follow(&cache, &handle).await;
        debug!(logger, "the registry is read again"; "reason" => %refusal);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(cache: &Cache, handle: &Handle) -> Result<std::convert::Infallible, Refusal> {
    let (revision, records) = read_all(handle).await?;
    cache.replace(Table::of(revision, records));
    let inbox = Arc::new(Inbox::default());
    let conn = handle.open_conn_as(Caller::Server, inbox.clone());
    conn.submit(WATCH, Request::Watch(spec(revision.next())))?;
    let mut follower = Follower { cache, conn, confirmed: None };
    let mut clock = tokio::time::interval(PROBE_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut probing: Option<BoxFuture<'_, _>> = None;
    loop {
        tokio::select! {
            item = inbox.next() => follower.take(item)?,
            probed = answer(&mut probing) => {
                probing = None;
                follower.probed(probed)?;
            }
            _ = clock.tick(), if probing.is_none() => probing = Some(probe(handle).boxed()),
        }
    }
}

/// What a question comes to; never, if none was asked.
async fn answer<T>(asked: &mut Option<BoxFuture<'_, T>>) -> T {
    match asked {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}

struct Follower<'c> {
    cache: &'c Cache,
    conn: Conn,
    /// A quorum said that this was the revision at that moment, or later.
    confirmed: Option<(Instant, Revision)>,
}

impl Follower<'_> {
    fn take(&mut self, item: Item) -> Result<(), Refusal> {
        let frame = match item {
            Item::Frame(frame) => frame,
            Item::Refused(refusal) => return Err(refusal),
        };
        self.conn.credit(frame_bytes(&frame));
        match frame {
            WatchFrame::Events { events, through, .. } => self.cache.apply(&events, through),
            WatchFrame::Progress { through } => self.cache.pass(through),
            WatchFrame::Created { .. } | WatchFrame::Resync { .. } => {}
            WatchFrame::Cancelled(refusal) => return Err(refusal),
        }
        self.settle();
        Ok(())
    }

    fn probed(&mut self, probed: Option<(Instant, Revision)>) -> Result<(), Refusal> {
        if probed.is_some() {
            self.confirmed = probed;
            self.conn.submit(PROGRESS, Request::ConnProgress)?;
        }
        Ok(())
    }

    /// The cache is as fresh as the last question whose answer it has reached.
    fn settle(&mut self) {
        if let Some((asked, revision)) = self.confirmed
            && self.cache.revision() >= revision
        {
            self.cache.confirm(asked);
            self.confirmed = None;
        }
    }
}

/// The revision that a quorum confirms, and when it was asked.
async fn probe(handle: &Handle) -> Option<(Instant, Revision)> {
    let asked = Instant::now();
    let read = Request::Read {
        query: Query::Conditions,
        consistency: Consistency::Linearizable,
        timeout_ms: PROBE_MS,
    };
    match handle.call_as(&Caller::Server, read).await {
        Ok(Response::Answer { revision, .. }) => Some((asked, revision)),
        Ok(_) | Err(_) => None,
    }
}

fn spec(start: Revision) -> WatchSpec {
    WatchSpec {
        keyspace: Keyspace::Kv,
        range: KeyRange::prefix(registry::PREFIX.as_bytes()),
        start,
        want_previous: false,
        no_put: false,
        no_delete: false,
        want_progress: false,
        resync: false,
    }
}

/// All records, at one revision, of this member's own state: it needs no leader.
async fn read_all(handle: &Handle) -> Result<(Revision, Vec<KeyValue>), Refusal> {
    let whole = KeyRange::prefix(registry::PREFIX.as_bytes());
    records(handle, &Caller::Server, whole, Consistency::Serializable).await
}

/// All records of a range, page by page, at the revision of the first page.
///
/// # Errors
/// What the node refuses.
pub async fn records(
    handle: &Handle,
    caller: &Caller,
    range: KeyRange,
    consistency: Consistency,
) -> Result<(Revision, Vec<KeyValue>), Refusal> {
    let mut query = RangeQuery::of(range.clone());
    let mut all: Vec<KeyValue> = Vec::new();
    // Later pages are of a fixed revision, which this member has.
    let mut consistency = consistency;
    loop {
        let read = Request::Read { query: Query::Range(query.clone()), consistency, timeout_ms: READ_MS };
        let (page, revision) = match handle.call_as(caller, read).await? {
            Response::Answer { answer: Answer::Range(page), revision, .. } => (page, revision),
            _ => return Err(Refusal::Invalid { what: "the node gave another read's answer".into() }),
        };
        if query.revision == Revision(0) {
            query.revision = revision;
        }
        all.extend(page.records);
        let rest = all.last().and_then(|last| range.after(last.key.clone(), false));
        match rest {
            Some(rest) if page.more => query.range = rest,
            Some(_) | None => return Ok((query.revision, all)),
        }
        consistency = Consistency::Serializable;
    }
}

/// What came in and was not taken yet. Its credit bounds it.
#[derive(Default)]
struct Inbox {
    items: Mutex<VecDeque<Item>>,
    filled: Notify,
}

enum Item {
    Frame(WatchFrame),
    Refused(Refusal),
}

impl Inbox {
    async fn next(&self) -> Item {
        loop {
            let filled = self.filled.notified();
            if let Some(item) = self.lock().pop_front() {
                return item;
            }
            filled.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Item>> {
        self.items.lock().expect("no code panics while it holds the items")
    }
}

impl ReplySink for Inbox {
    fn reply(&self, _tag: u64, result: request::Result) {
        if let Err(refusal) = result {
            self.lock().push_back(Item::Refused(refusal));
        }
    }

    fn watch(&self, _tag: u64, frame: WatchFrame) {
        self.lock().push_back(Item::Frame(frame));
    }

    fn flush(&self) {
        self.filled.notify_one();
    }
}
