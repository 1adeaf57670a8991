//! A number that is equal on all members that hold the same keys with the same history.
//!
//! Hashed are the records as of the compacted revision and every change after it, up to the revision
//! asked for: what no member may have forgotten yet. It is read in pages between other requests, so
//! that nobody waits for it.

use super::door::{Caller, Door, number};
use super::errors;
use crate::node::request::{Consistency, Request, Response};
use bytes::Bytes;
use crc32fast::Hasher;
use oarlock_state::command::{Answer, KeyRange, KeyValue, RangeQuery};
use oarlock_state::event::{Event, EventKind, Keyspace};
use oarlock_state::{Query, Revision};
use tokio::sync::Semaphore;
use tonic::Status;

/// Bytes read at once.
const PAGE_BYTES: u64 = 1 << 20;
/// How often it begins anew when history is compacted meanwhile.
const ATTEMPTS: usize = 5;

/// What was hashed, and the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KvHash {
    pub(super) hash: u32,
    pub(super) compacted: Revision,
    pub(super) revision: Revision,
    /// The member's revision when it was asked.
    pub(super) current: Revision,
}

/// Computes hashes, a few at a time.
pub(super) struct KvHasher {
    places: Semaphore,
}

impl KvHasher {
    pub(super) fn new() -> Self {
        Self { places: Semaphore::new(2) }
    }

    /// The hash up to a revision; zero for the current one.
    ///
    /// # Errors
    /// The revision is compacted or not reached yet, or the member refuses reads.
    pub(super) async fn hash(&self, door: &Door, caller: &Caller, asked: u64) -> Result<KvHash, Status> {
        let _place = self.places.acquire().await.map_err(|_| Status::from(errors::STOPPED))?;
        let mut last = Status::from(errors::COMPACTED);
        for _ in 0..ATTEMPTS {
            let bounds = bounds(door, caller, asked).await?;
            match up_to(door, caller, bounds).await {
                Ok(hash) => return Ok(KvHash { hash, ..bounds }),
                Err(status) if status.code() == tonic::Code::OutOfRange => last = status,
                Err(status) => return Err(status),
            }
        }
        Err(last)
    }
}

/// From where to where, as things stand.
async fn bounds(door: &Door, caller: &Caller, asked: u64) -> Result<KvHash, Status> {
    let status = door.node(caller).await?;
    if asked > status.revision.get() {
        return Err(errors::FUTURE_REVISION.into());
    }
    if asked > 0 && asked < status.compacted.get() {
        return Err(errors::COMPACTED.into());
    }
    let revision = if asked == 0 { status.revision } else { Revision(asked) };
    Ok(KvHash { hash: 0, compacted: status.compacted, revision, current: status.revision })
}

async fn up_to(door: &Door, caller: &Caller, bounds: KvHash) -> Result<u32, Status> {
    let mut hasher = Hasher::new();
    // So that even nothing has a hash; some tools take zero for "none".
    hasher.update(b"kv");
    if bounds.compacted > Revision(0) {
        base(door, caller, bounds.compacted, &mut hasher).await?;
    }
    changes(door, caller, bounds, &mut hasher).await?;
    Ok(hasher.finalize())
}

/// The records as of a revision.
async fn base(door: &Door, caller: &Caller, at: Revision, hasher: &mut Hasher) -> Result<(), Status> {
    let mut start = Bytes::from_static(b"\0");
    loop {
        let range = KeyRange::Span { start: start.clone(), end: None };
        let query = RangeQuery { revision: at, byte_budget: PAGE_BYTES, ..RangeQuery::of(range) };
        let Answer::Range(page) = read(door, caller, Query::Range(query)).await? else {
            return Err(Status::internal("a range was answered with something else"));
        };
        page.records.iter().for_each(|record| add_record(hasher, record));
        match page.records.last() {
            Some(last) if page.more => start = [&last.key[..], b"\0"].concat().into(),
            _ => return Ok(()),
        }
    }
}

/// The changes after the compacted revision.
async fn changes(door: &Door, caller: &Caller, bounds: KvHash, hasher: &mut Hasher) -> Result<(), Status> {
    let mut from = bounds.compacted.next();
    while from <= bounds.revision {
        let query = Query::History { from, to: bounds.revision, byte_budget: PAGE_BYTES };
        let Answer::History { events, through } = read(door, caller, query).await? else {
            return Err(Status::internal("history was answered with something else"));
        };
        events.iter().filter(|event| event.keyspace == Keyspace::Kv).for_each(|event| add(hasher, event));
        from = through.next();
    }
    Ok(())
}

async fn read(door: &Door, caller: &Caller, query: Query) -> Result<Answer, Status> {
    let ask = Request::Read { query, consistency: Consistency::Serializable, timeout_ms: 0 };
    match door.ask(caller, ask).await? {
        Response::Answer { answer, .. } => Ok(answer),
        _ => Err(Status::internal("a read was answered with something else")),
    }
}

fn add_record(hasher: &mut Hasher, record: &KeyValue) {
    let KeyValue { key, value, create_revision, mod_revision, version, owner } = record;
    add_bytes(hasher, key);
    add_numbers(hasher, &[mod_revision.get(), create_revision.get(), *version, owner.get()]);
    add_bytes(hasher, value);
}

fn add(hasher: &mut Hasher, event: &Event) {
    add_numbers(hasher, &[event.revision.get(), event.sub.into()]);
    add_bytes(hasher, &event.key);
    match &event.kind {
        EventKind::Put { value, create_revision, version, owner } => {
            add_numbers(hasher, &[create_revision.get(), *version, owner.get()]);
            add_bytes(hasher, value);
        }
        EventKind::Delete | EventKind::Children | EventKind::Object(_) | EventKind::Pool(_) => {
            add_numbers(hasher, &[0])
        }
    }
}

fn add_bytes(hasher: &mut Hasher, bytes: &[u8]) {
    add_numbers(hasher, &[bytes.len() as u64]);
    hasher.update(bytes);
}

fn add_numbers(hasher: &mut Hasher, numbers: &[u64]) {
    numbers.iter().for_each(|number| hasher.update(&number.to_be_bytes()));
}

impl KvHash {
    /// In etcd's words, without the header.
    pub(super) fn response(self) -> oarlock_proto::etcd::etcdserverpb::HashKvResponse {
        oarlock_proto::etcd::etcdserverpb::HashKvResponse {
            header: None,
            hash: self.hash,
            compact_revision: number(self.compacted.get()),
            hash_revision: number(self.revision.get()),
        }
    }
}

/// A state's digest in 32 bits.
pub(super) fn folded(digest: u128) -> u32 {
    crc32fast::hash(&digest.to_be_bytes())
}
