//! Sessions as replicated state: who there is, how often seen alive, and what goes with each.
//!
//! No deadline lives here. Whoever keeps deadlines learns from [`SessionChange`] and proposes an
//! expiry, which the log refuses for a session that was touched since.

use crate::codec::{Reader, Writer, damaged};
use crate::command::{Answer, OpenSession, Rejection, ReplyBody, SessionInfo};
use crate::event::{Cause, Keyspace};
use crate::ids::{Index, SessionId};
use crate::keys::{self, Space};
use crate::limits::{
    PRINCIPAL_BYTES_MAX, RANGE_BYTES_MAX, SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN,
    SESSIONS_PER_ENTRY_MAX,
};
use crate::machine::scratch::Scratch;
use crate::machine::{SessionChange, dedup, form, kv};
use crate::object;
use crate::pool;
use crate::tree;
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

const FORMAT: u8 = 1;
/// Ids fit into a signed 64-bit number, which is all that etcd's and ZooKeeper's clients have.
const ID_MAX: u64 = i64::MAX as u64;
/// Log-chosen ids carry the stamp above this many bits of a counter.
const COUNTER_BITS: u32 = 20;
/// Later stamps count as this one (it is in the year 2109), so that ids never run out.
const STAMP_MAX_MS: u64 = (1 << 42) - 1;
const _: () = assert!(STAMP_MAX_MS << COUNTER_BITS < ID_MAX / 2 + 1);

/// What is stored of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) secret: [u8; 16],
    pub(super) timeout_ms: u64,
    pub(super) last_touch: Index,
    pub(super) opened_ms: u64,
    pub(super) principal: String,
}

impl Record {
    pub(super) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(FORMAT, self.principal.len() + 40);
        writer.raw(&self.secret);
        writer.number(self.timeout_ms);
        writer.number(self.last_touch.get());
        writer.number(self.opened_ms);
        writer.text(&self.principal);
        writer.finish()
    }

    pub(super) fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("session", FORMAT, record);
        let session = Self {
            secret: reader.array(),
            timeout_ms: reader.number(),
            last_touch: Index(reader.number()),
            opened_ms: reader.number(),
            principal: reader.text(),
        };
        reader.end();
        session
    }
}

fn get(view: &dyn View, session: SessionId) -> Option<Record> {
    view.get(&keys::session(session)).map(|record| Record::decode(&record))
}

/// Whose session it is; `None` if there is no such session.
pub(crate) fn principal(view: &dyn View, session: SessionId) -> Option<String> {
    get(view, session).map(|record| record.principal)
}

/// Begins a session. While authentication is on it is `owner`'s.
pub(super) fn open(
    work: &mut Scratch<'_>,
    open: &OpenSession,
    owner: Option<&str>,
) -> Result<ReplyBody, Rejection> {
    let principal = owner.unwrap_or(&open.principal);
    form::limit("bytes of the principal's name", principal.len(), PRINCIPAL_BYTES_MAX)?;
    let session = if open.id == SessionId(0) { next_id(work) } else { wished_id(work, open.id)? };
    let timeout_ms = open.timeout_ms.clamp(SESSION_TIMEOUT_MS_MIN, SESSION_TIMEOUT_MS_MAX);
    let record = Record {
        secret: open.secret,
        timeout_ms,
        last_touch: work.counters.applied,
        opened_ms: work.stamp_ms(),
        principal: principal.to_owned(),
    };
    work.put(keys::session(session), record.encode());
    let last_touch = record.last_touch;
    work.session_changed(SessionChange::Opened { session, timeout_ms, last_touch });
    Ok(ReplyBody::SessionOpened { session, timeout_ms })
}

fn wished_id(work: &mut Scratch<'_>, id: SessionId) -> Result<SessionId, Rejection> {
    if id.get() > ID_MAX {
        return Err(Rejection::TooLarge { what: "session id", size: id.get(), limit: ID_MAX });
    }
    if work.session_exists(id) {
        return Err(Rejection::SessionExists { session: id });
    }
    // An earlier session of this name may be remembered still; its outcomes are not this one's.
    dedup::forget_session(work, id);
    Ok(id)
}

/// An id that the log never chose before. It grows with the stamp, so that a cluster restored from
/// an older copy does not choose again what was chosen after the copy was made.
fn next_id(work: &mut Scratch<'_>) -> SessionId {
    let stamp = work.stamp_ms().min(STAMP_MAX_MS);
    let mut id = work.counters.next_session.max(stamp << COUNTER_BITS).max(1);
    // Passes over ids that clients chose themselves.
    while work.session_exists(SessionId(id)) || dedup::is_remembered(work, SessionId(id)) {
        id += 1;
    }
    work.counters.next_session = id + 1;
    SessionId(id)
}

/// Ends a session at its owner's wish.
pub(super) fn close(work: &mut Scratch<'_>, session: SessionId) -> Result<ReplyBody, Rejection> {
    if !work.session_exists(session) {
        return Err(Rejection::SessionNotFound { session });
    }
    end(work, session, Cause::Closed);
    Ok(ReplyBody::Done)
}

/// Notes that sessions were seen alive. Unknown ones are passed over.
pub(super) fn touch(work: &mut Scratch<'_>, sessions: &[SessionId]) -> Result<ReplyBody, Rejection> {
    form::limit("number of sessions", sessions.len(), SESSIONS_PER_ENTRY_MAX)?;
    for session in sessions {
        let key = keys::session(*session);
        let Some(stored) = work.get(&key) else {
            continue;
        };
        let mut record = Record::decode(&stored);
        record.last_touch = work.counters.applied;
        work.replace(key, Some(stored), Some(record.encode()));
        let change = SessionChange::Touched { session: *session, last_touch: record.last_touch };
        work.session_changed(change);
    }
    Ok(ReplyBody::Done)
}

/// Ends the sessions that were not touched since the leader looked. Each ends in a revision of its
/// own, like a lease that etcd revokes.
pub(super) fn expire(
    work: &mut Scratch<'_>,
    sessions: &[(SessionId, Index)],
) -> Result<ReplyBody, Rejection> {
    form::limit("number of sessions", sessions.len(), SESSIONS_PER_ENTRY_MAX)?;
    let mut ended = Vec::new();
    for (session, last_touch) in sessions {
        if get(work, *session).is_some_and(|record| record.last_touch == *last_touch) {
            end(work, *session, Cause::Expired);
            ended.push(*session);
        }
    }
    Ok(ReplyBody::Expired { ended })
}

/// All sessions, by id.
pub(super) fn ids(view: &dyn View) -> Vec<SessionId> {
    let mut ids = Vec::new();
    view.scan(&Space::Sessions.start(), &Space::Sessions.end(), false, &mut |key, _| {
        let id = keys::parse_session(key);
        ids.push(id.unwrap_or_else(|| damaged("session", "its key is too short")));
        ControlFlow::Continue(())
    });
    ids
}

/// Removes a session and all that hangs off it, in one revision, in key order.
pub(super) fn end(work: &mut Scratch<'_>, session: SessionId, cause: Cause) {
    work.open_transaction(cause, session);
    let keys = attached_keys(work, session, Keyspace::Kv);
    #[cfg(feature = "plant")]
    let keys = super::plant::attached(keys);
    for key in keys {
        kv::remove_attached(work, session, &key);
    }
    for path in attached_keys(work, session, Keyspace::Tree) {
        tree::remove_ephemeral(work, &path);
    }
    let objects = attached_keys(work, session, Keyspace::Object);
    object::end_session(work, session, &objects, cause);
    let pools = attached_keys(work, session, Keyspace::Pool);
    pool::end_session(work, session, &pools, cause);
    let principal = principal(work, session).unwrap_or_default();
    work.delete(keys::session(session));
    dedup::session_ended(work, session, principal);
    work.session_changed(SessionChange::Ended { session, cause });
}

/// All keys, paths or names attached to a session, in order.
pub(crate) fn attached_keys(view: &dyn View, session: SessionId, keyspace: Keyspace) -> Vec<Bytes> {
    attached(view, session, keyspace, usize::MAX).keys
}

struct Attached {
    keys: Vec<Bytes>,
    bytes: usize,
}

/// Keys attached to a session, in order, until their bytes reach the budget.
fn attached(view: &dyn View, session: SessionId, keyspace: Keyspace, budget: usize) -> Attached {
    let (from, to) = keys::attached_span(session, keyspace);
    let mut found = Attached { keys: Vec::new(), bytes: 0 };
    view.scan(&from, &to, false, &mut |full, _| {
        if found.bytes >= budget {
            return ControlFlow::Break(());
        }
        let (_, _, key) =
            keys::parse_attached(full).unwrap_or_else(|| damaged("attached key", "cannot be read"));
        found.bytes += key.len();
        found.keys.push(key);
        ControlFlow::Continue(())
    });
    found
}

/// Shows each key attached to a session, in order, until the visitor objects.
pub(crate) fn each_attached<E>(
    view: &dyn View,
    session: SessionId,
    visitor: &mut dyn FnMut(Keyspace, Bytes) -> Result<(), E>,
) -> Result<(), E> {
    let mut verdict = Ok(());
    let (from, _) = keys::attached_span(session, Keyspace::Kv);
    let (_, to) = keys::attached_span(session, Keyspace::Tree);
    view.scan(&from, &to, false, &mut |full, _| {
        let (_, keyspace, key) =
            keys::parse_attached(full).unwrap_or_else(|| damaged("attached key", "cannot be read"));
        verdict = visitor(keyspace, key);
        if verdict.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    verdict
}

fn info(view: &dyn View, session: SessionId, record: Record) -> SessionInfo {
    let (acked_up_to, last_sequence) = dedup::progress(view, session);
    SessionInfo {
        session,
        timeout_ms: record.timeout_ms,
        last_touch: record.last_touch,
        principal: record.principal,
        secret: record.secret,
        opened_ms: record.opened_ms,
        acked_up_to,
        last_sequence,
        attached: Vec::new(),
    }
}

/// What is known of one session.
pub(super) fn query(view: &dyn View, session: SessionId, want_attached: bool) -> Result<Answer, Rejection> {
    let record = get(view, session).ok_or(Rejection::SessionNotFound { session })?;
    let mut info = info(view, session, record);
    if want_attached {
        let mut budget = RANGE_BYTES_MAX as usize;
        for keyspace in [Keyspace::Kv, Keyspace::Tree, Keyspace::Object, Keyspace::Pool] {
            let found = attached(view, session, keyspace, budget);
            budget = budget.saturating_sub(found.bytes);
            info.attached.extend(found.keys.into_iter().map(|key| (keyspace, key)));
        }
    }
    Ok(Answer::Session(info))
}

/// The ids of the sessions above an id, at most `limit` of them.
pub(crate) fn ids_after(view: &dyn View, after: SessionId, limit: u64) -> Vec<SessionId> {
    page(view, after, limit).0.into_iter().map(|(session, _)| session).collect()
}

/// The sessions above an id.
pub(super) fn list(view: &dyn View, after: SessionId, limit: u64) -> Answer {
    let (found, more) = page(view, after, limit);
    let sessions = found.into_iter().map(|(session, record)| info(view, session, record)).collect();
    Answer::Sessions { sessions, more }
}

/// The records of at most `limit` sessions above an id, and whether there are more.
fn page(view: &dyn View, after: SessionId, limit: u64) -> (Vec<(SessionId, Record)>, bool) {
    let Some(first) = after.get().checked_add(1) else {
        return (Vec::new(), false);
    };
    let mut found = Vec::new();
    let mut more = false;
    let from = keys::session(SessionId(first));
    view.scan(&from, &Space::Sessions.end(), false, &mut |key, record| {
        if found.len() as u64 >= limit {
            more = true;
            return ControlFlow::Break(());
        }
        let session = keys::parse_session(key).unwrap_or_else(|| damaged("session", "its key is too short"));
        found.push((session, Record::decode(record)));
        ControlFlow::Continue(())
    });
    (found, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_pinned() {
        let record = Record {
            secret: *b"0123456789abcdef",
            timeout_ms: 1,
            last_touch: Index(2),
            opened_ms: 3,
            principal: "p".to_owned(),
        };
        assert_eq!(record.encode(), b"\x010123456789abcdef\x01\x02\x03\x01p".as_slice());
        assert_eq!(Record::decode(&record.encode()), record);
    }
}
