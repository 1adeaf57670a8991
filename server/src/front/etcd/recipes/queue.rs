//! Candidates: their keys, and what is read and written of them.

use super::super::door::{Caller, Door};
use super::super::errors;
use crate::front::etcd::convert::session;
use crate::node::request::{Consistency, Request as Ask, Response as Told, Write};
use bytes::{BufMut, Bytes, BytesMut};
use oarlock_state::command::{
    Answer, Compare, CompareOp, CompareTarget, KeyRange, KeyValue, KvOp, OpResult, Put, RangeQuery, Reply,
    ReplyBody, Txn, TxnReply,
};
use oarlock_state::{Command, Query, Revision, SessionId};
use tonic::Status;

/// What stands between a name and its candidates.
const SEPARATOR: u8 = b'/';

/// A candidate's key.
pub fn key(name: &[u8], lease: i64) -> Bytes {
    joined(name, format!("{}{lease:x}", char::from(SEPARATOR)).as_bytes())
}

/// The keys of all candidates for a name.
pub fn candidates(name: &[u8]) -> KeyRange {
    KeyRange::Span { start: joined(name, &[SEPARATOR]), end: Some(joined(name, &[SEPARATOR + 1])) }
}

fn joined(name: &[u8], end: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(name.len() + end.len());
    key.put_slice(name);
    key.put_slice(end);
    key.freeze()
}

/// A candidate that has its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The key.
    pub key: Bytes,
    /// Revision at which it was created.
    pub created: Revision,
    /// It was not there before.
    pub is_new: bool,
    /// Its value.
    pub value: Bytes,
    /// Revision of the answer.
    pub revision: Revision,
}

/// Makes a candidate; one that is there already stays as it is.
///
/// # Errors
/// There is no such lease, or what the node refuses.
pub async fn enter(
    door: &Door,
    caller: &Caller,
    name: &[u8],
    lease: i64,
    value: Bytes,
) -> Result<Place, Status> {
    let key = key(name, lease);
    let put = Put { key: key.clone(), value: value.clone(), owner: session(lease), ..Put::default() };
    let read = KvOp::Range(RangeQuery::of(KeyRange::Key(key.clone())));
    let wanted = Txn {
        compare: vec![is_created(key.clone(), Revision(0))],
        then: vec![KvOp::Put(put)],
        otherwise: vec![read],
    };
    let (reply, revision) = txn(door, caller, wanted).await?;
    match reply.results.into_iter().next() {
        Some(OpResult::Range(mut range)) if !range.records.is_empty() => {
            let found = range.records.swap_remove(0);
            let (created, value) = (found.create_revision, found.value);
            Ok(Place { key, created, is_new: false, value, revision })
        }
        _ => Ok(Place { key, created: revision, is_new: true, value, revision }),
    }
}

/// Gives a candidate another value, if it is still the same one. A `lease` of zero keeps its own.
///
/// # Errors
/// What the node refuses.
pub async fn change(
    door: &Door,
    caller: &Caller,
    (key, created): (Bytes, Revision),
    lease: i64,
    value: Bytes,
) -> Result<Option<Revision>, Status> {
    let owner = session(lease);
    let put = Put { key: key.clone(), value, owner, keep_owner: owner == SessionId(0), ..Put::default() };
    let wanted =
        Txn { compare: vec![is_created(key, created)], then: vec![KvOp::Put(put)], ..Txn::default() };
    let (reply, revision) = txn(door, caller, wanted).await?;
    Ok(reply.succeeded.then_some(revision))
}

/// Removes a candidate, if it is still the same one; returns the revision after that.
///
/// # Errors
/// What the node refuses.
pub async fn leave(
    door: &Door,
    caller: &Caller,
    (key, created): (Bytes, Revision),
) -> Result<Revision, Status> {
    let compare = vec![is_created(key.clone(), created)];
    let wanted = Txn { compare, then: vec![delete(key)], ..Txn::default() };
    txn(door, caller, wanted).await.map(|(_, revision)| revision)
}

/// Removes a key, whatever it is; returns the revision after that.
///
/// # Errors
/// What the node refuses.
pub async fn remove(door: &Door, caller: &Caller, key: Bytes) -> Result<Revision, Status> {
    if key.is_empty() {
        return Err(errors::EMPTY_KEY.into());
    }
    txn(door, caller, Txn { then: vec![delete(key)], ..Txn::default() }).await.map(|(_, revision)| revision)
}

fn delete(key: Bytes) -> KvOp {
    KvOp::Delete { range: KeyRange::Key(key), want_previous: false }
}

fn is_created(key: Bytes, at: Revision) -> Compare {
    Compare { range: KeyRange::Key(key), target: CompareTarget::CreateRevision(at), op: CompareOp::Equal }
}

async fn txn(door: &Door, caller: &Caller, txn: Txn) -> Result<(TxnReply, Revision), Status> {
    match door.ask(caller, Ask::Write(Write::of(Command::Txn(txn)))).await? {
        Told::Written(Reply { body: ReplyBody::Txn(reply), revision, .. }) => Ok((reply, revision)),
        other => Err(errors::unexpected(&other)),
    }
}

/// What a candidate sees in front of itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Ahead {
    /// Nobody: it is its turn.
    Nobody,
    /// The one who came just before.
    Somebody(Bytes),
    /// The candidate itself is gone.
    Lost,
}

/// Looks who is ahead of a candidate; with the revision at which that was so.
///
/// # Errors
/// What the node refuses.
pub async fn ahead(
    door: &Door,
    caller: &Caller,
    name: &[u8],
    place: &Place,
) -> Result<(Ahead, Revision), Status> {
    let upto = RangeQuery {
        keys_only: true,
        max_create_revision: place.created,
        ..RangeQuery::of(candidates(name))
    };
    let (found, revision) = range(door, caller, upto).await?;
    Ok((in_front(&found, place), revision))
}

fn in_front(found: &[KeyValue], place: &Place) -> Ahead {
    if !found.iter().any(|one| one.key == place.key && one.create_revision == place.created) {
        return Ahead::Lost;
    }
    let before = found.iter().filter(|one| one.create_revision < place.created);
    match before.max_by_key(|one| one.create_revision) {
        Some(last) => Ahead::Somebody(last.key.clone()),
        None => Ahead::Nobody,
    }
}

/// The candidate who came first, if there is one; with the revision at which that was so.
///
/// # Errors
/// What the node refuses.
pub async fn first(
    door: &Door,
    caller: &Caller,
    name: &[u8],
) -> Result<(Option<KeyValue>, Revision), Status> {
    let (found, revision) = range(door, caller, RangeQuery::of(candidates(name))).await?;
    Ok((found.into_iter().min_by_key(|one| one.create_revision), revision))
}

/// All records of a range, page by page, at one revision.
async fn range(
    door: &Door,
    caller: &Caller,
    mut query: RangeQuery,
) -> Result<(Vec<KeyValue>, Revision), Status> {
    let mut all = Vec::new();
    loop {
        let read = Query::Range(query.clone());
        let ask = Ask::Read { query: read, consistency: Consistency::Linearizable, timeout_ms: 0 };
        let (reply, revision) = match door.ask(caller, ask).await? {
            Told::Answer { answer: Answer::Range(reply), revision, .. } => (reply, revision),
            other => return Err(errors::unexpected(&other)),
        };
        if query.revision == Revision(0) {
            query.revision = revision;
        }
        all.extend(reply.records);
        match (reply.more, &mut query.range, all.last()) {
            (true, KeyRange::Span { start, .. }, Some(last)) => *start = joined(&last.key, &[0]),
            _ => return Ok((all, query.revision)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &Bytes, created: u64) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: Bytes::new(),
            create_revision: Revision(created),
            mod_revision: Revision(created + 100),
            version: 1,
            owner: SessionId(1),
        }
    }

    #[test]
    fn keys_are_etcds() {
        assert_eq!(key(b"lock", 0x694d_71d7_9c3a), "lock/694d71d79c3a");
        let end = Some(Bytes::from_static(b"lock0"));
        assert_eq!(candidates(b"lock"), KeyRange::Span { start: Bytes::from_static(b"lock/"), end });
    }

    #[test]
    fn a_candidate_waits_for_the_one_before_it() {
        let [a, b, c] = [1, 2, 3].map(|lease| key(b"n", lease));
        let place = Place {
            key: c.clone(),
            created: Revision(9),
            is_new: true,
            value: Bytes::new(),
            revision: Revision(9),
        };
        let all = [record(&a, 7), record(&b, 5), record(&c, 9)];
        assert_eq!(in_front(&all, &place), Ahead::Somebody(a));
        assert_eq!(in_front(&all[2..], &place), Ahead::Nobody);
        assert_eq!(in_front(&all[..2], &place), Ahead::Lost);
        assert_eq!(in_front(&[record(&c, 12)], &place), Ahead::Lost, "another of the same name");
    }
}
