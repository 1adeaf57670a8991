//! The record of what happened: events by revision, and which revisions each key has.

use crate::codec::{Reader, Writer, damaged};
use crate::command::{Answer, KeyValue, Rejection};
use crate::event::{Cause, Event, EventKind, Keyspace};
use crate::ids::{Revision, SessionId};
use crate::keys;
use crate::machine::counters::Counters;
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

const FORMAT: u8 = 1;
const PUT: u8 = 0;
const DELETE: u8 = 1;
const CHILDREN: u8 = 2;

/// The record of an event. Revision and position are its key.
pub(super) fn encode(event: &Event) -> Bytes {
    let value_bytes = match &event.kind {
        EventKind::Put { value, .. } => value.len(),
        EventKind::Delete | EventKind::Children => 0,
    };
    let mut writer = Writer::new(FORMAT, event.key.len() + value_bytes + 48);
    writer.byte(match event.keyspace {
        Keyspace::Kv => 0,
        Keyspace::Tree => 1,
    });
    writer.byte(event.cause as u8);
    writer.number(event.session.get());
    // Revision 0 has no events, so it can stand for "none".
    let (revision, sub) = event.previous.unwrap_or_default();
    writer.number(revision.get());
    writer.number(u64::from(sub));
    writer.bytes(&event.key);
    match &event.kind {
        EventKind::Put { value, create_revision, version, owner } => {
            writer.byte(PUT);
            writer.number(create_revision.get());
            writer.number(*version);
            writer.number(owner.get());
            writer.raw(value);
        }
        EventKind::Delete => writer.byte(DELETE),
        EventKind::Children => writer.byte(CHILDREN),
    }
    writer.finish()
}

/// The event of a record.
pub(super) fn decode(revision: Revision, sub: u32, record: &Bytes) -> Event {
    let mut reader = Reader::new("event", FORMAT, record);
    let keyspace = match reader.byte() {
        0 => Keyspace::Kv,
        1 => Keyspace::Tree,
        _ => reader.complain("unknown keyspace"),
    };
    let Some(cause) = Cause::from_number(reader.byte()) else {
        reader.complain("unknown cause")
    };
    let session = SessionId(reader.number());
    let previous = (Revision(reader.number()), reader.number32());
    let key = reader.bytes();
    let kind = match reader.byte() {
        PUT => EventKind::Put {
            create_revision: Revision(reader.number()),
            version: reader.number(),
            owner: SessionId(reader.number()),
            value: reader.rest(),
        },
        DELETE => EventKind::Delete,
        CHILDREN => EventKind::Children,
        _ => reader.complain("unknown kind"),
    };
    reader.end();
    let previous = (previous.0 != Revision(0)).then_some(previous);
    Event { keyspace, revision, sub, key, kind, cause, session, previous }
}

/// The event at a position, unless it was reclaimed.
pub(super) fn event(view: &dyn View, at: (Revision, u32)) -> Option<Event> {
    let record = view.get(&keys::history(at.0, at.1))?;
    Some(decode(at.0, at.1, &record))
}

/// The record of a version: where its event is, and whether it set or removed the key.
pub(super) fn encode_version(sub: u32, put: bool) -> Bytes {
    let mut writer = Writer::new(FORMAT, 6);
    writer.flag(put);
    writer.number(u64::from(sub));
    writer.finish()
}

/// Position within the revision, and whether the key was set.
pub(super) fn decode_version(record: &Bytes) -> (u32, bool) {
    let mut reader = Reader::new("version", FORMAT, record);
    let put = reader.flag();
    let sub = reader.number32();
    reader.end();
    (sub, put)
}

/// Revision and position in a full key of history.
pub(super) fn position(key: &[u8]) -> (Revision, u32) {
    keys::parse_history(key).unwrap_or_else(|| damaged("event", "its key has a wrong length"))
}

/// What an event left behind; `None` for a removal.
pub(super) fn key_value(event: Event) -> Option<KeyValue> {
    match event.kind {
        EventKind::Put { value, create_revision, version, owner } => Some(KeyValue {
            key: event.key,
            value,
            create_revision,
            mod_revision: event.revision,
            version,
            owner,
        }),
        EventKind::Delete | EventKind::Children => None,
    }
}

/// Whole revisions of `[from, to]`, at least one if there is any, until the budget is used up.
///
/// A start at the compacted revision itself is good, as in etcd: all events of that revision are
/// kept until a later compaction. Below it some are gone.
pub(super) fn read(
    view: &dyn View,
    counters: &Counters,
    from: Revision,
    to: Revision,
    byte_budget: u64,
) -> Result<Answer, Rejection> {
    if from < counters.compacted {
        return Err(Rejection::Compacted { asked: from, oldest: counters.compacted });
    }
    let last = to.min(counters.revision);
    if from > last {
        return Ok(Answer::History { events: Vec::new(), through: last });
    }
    let (mut events, mut bytes, mut through) = (Vec::new(), 0_u64, last);
    let (start, end) = (keys::history(from, 0), keys::history(last.next(), 0));
    view.scan(&start, &end, false, &mut |key, record| {
        let (revision, sub) = position(key);
        let begins = events.last().is_some_and(|event: &Event| event.revision < revision);
        if begins && bytes >= byte_budget {
            through = Revision(revision.get() - 1);
            return ControlFlow::Break(());
        }
        bytes += record.len() as u64;
        events.push(decode(revision, sub, record));
        ControlFlow::Continue(())
    });
    Ok(Answer::History { events, through })
}

/// The record that an event superseded. Refused when it was reclaimed.
pub(super) fn previous(
    view: &dyn View,
    counters: &Counters,
    at: (Revision, u32),
) -> Result<Answer, Rejection> {
    match event(view, at) {
        Some(event) => Ok(Answer::Previous(key_value(event))),
        None if at.0 > counters.revision => {
            Err(Rejection::FutureRevision { asked: at.0, current: counters.revision })
        }
        None => Err(Rejection::Compacted { asked: at.0, oldest: counters.compacted }),
    }
}
