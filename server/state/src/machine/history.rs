//! The record of what happened: events by revision, and which revisions each key has.

use crate::codec::{Reader, Writer, damaged, number_bytes};
use crate::command::{Answer, KeyValue, Rejection};
use crate::event::{Cause, Event, EventKind, Keyspace};
use crate::ids::{Revision, SessionId};
use crate::keys;
use crate::machine::counters::Counters;
use crate::object;
use crate::pool;
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

const FORMAT: u8 = 1;
const PUT: u8 = 0;
const DELETE: u8 = 1;
const CHILDREN: u8 = 2;
const OBJECT: u8 = 3;
const POOL: u8 = 4;

/// The record of an event. Revision and position are its key.
pub(super) fn encode(event: &Event) -> Bytes {
    // Revision 0 has no events, so it can stand for "none".
    let (revision, sub) = event.previous.unwrap_or_default();
    let numbers = [event.session.get(), revision.get(), u64::from(sub), event.key.len() as u64];
    let (kind, left, value) = match &event.kind {
        EventKind::Put { value, create_revision, version, owner } => {
            (PUT, [create_revision.get(), *version, owner.get()], Some(value))
        }
        EventKind::Delete => (DELETE, [0; 3], None),
        EventKind::Children => (CHILDREN, [0; 3], None),
        EventKind::Object(_) => (OBJECT, [0; 3], None),
        EventKind::Pool(_) => (POOL, [0; 3], None),
    };
    let left_bytes = value.map_or(0, |value| value.len() + numbers_bytes(&left));
    let mut writer = Writer::new(FORMAT, 3 + numbers_bytes(&numbers) + event.key.len() + left_bytes);
    writer.byte(match event.keyspace {
        Keyspace::Kv => 0,
        Keyspace::Tree => 1,
        Keyspace::Object => 2,
        Keyspace::Pool => 3,
    });
    writer.byte(event.cause as u8);
    numbers.into_iter().for_each(|number| writer.number(number));
    writer.raw(&event.key);
    writer.byte(kind);
    if let Some(value) = value {
        left.into_iter().for_each(|number| writer.number(number));
        writer.raw(value);
    }
    match &event.kind {
        EventKind::Object(event) => object::write_event(&mut writer, event),
        EventKind::Pool(event) => pool::write_event(&mut writer, event),
        EventKind::Put { .. } | EventKind::Delete | EventKind::Children => {}
    }
    writer.finish()
}

fn numbers_bytes(numbers: &[u64]) -> usize {
    numbers.iter().copied().map(number_bytes).sum()
}

/// The event of a record.
pub(super) fn decode(revision: Revision, sub: u32, record: &Bytes) -> Event {
    let mut reader = Reader::new("event", FORMAT, record);
    let keyspace = match reader.byte() {
        0 => Keyspace::Kv,
        1 => Keyspace::Tree,
        2 => Keyspace::Object,
        3 => Keyspace::Pool,
        _ => reader.complain("unknown keyspace"),
    };
    let Some(cause) = Cause::from_number(reader.byte()) else { reader.complain("unknown cause") };
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
        OBJECT => EventKind::Object(object::read_event(&mut reader)),
        POOL => EventKind::Pool(pool::read_event(&mut reader)),
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
    let mut writer = Writer::new(FORMAT, 1 + number_bytes(u64::from(sub)));
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
        EventKind::Delete | EventKind::Children | EventKind::Object(_) | EventKind::Pool(_) => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, previous: Option<(Revision, u32)>) -> Event {
        Event {
            keyspace: Keyspace::Kv,
            revision: Revision(300),
            sub: 1,
            key: Bytes::from_static(b"key"),
            kind,
            cause: Cause::Expired,
            session: SessionId(7),
            previous,
        }
    }

    #[test]
    fn records_are_pinned() {
        let put = EventKind::Put {
            value: Bytes::from_static(b"v"),
            create_revision: Revision(2),
            version: 3,
            owner: SessionId(4),
        };
        let put = event(put, Some((Revision(299), 5)));
        assert_eq!(encode(&put), b"\x01\0\x01\x07\xab\x02\x05\x03key\0\x02\x03\x04v".as_slice());
        let delete = event(EventKind::Delete, None);
        assert_eq!(encode(&delete), b"\x01\0\x01\x07\0\0\x03key\x01".as_slice());
        let children = Event { keyspace: Keyspace::Tree, ..event(EventKind::Children, None) };
        let vacant = EventKind::Object(object::ObjectEvent::Vacant);
        let vacant = Event { keyspace: Keyspace::Object, ..self::event(vacant, None) };
        assert_eq!(encode(&vacant), b"\x01\x02\x01\x07\0\0\x03key\x03\x08".as_slice());
        let deleted = EventKind::Pool(pool::PoolEvent::Deleted);
        let deleted = Event { keyspace: Keyspace::Pool, ..self::event(deleted, None) };
        assert_eq!(encode(&deleted), b"\x01\x03\x01\x07\0\0\x03key\x04\x02".as_slice());
        for event in [put, delete, children, vacant, deleted] {
            assert_eq!(decode(event.revision, event.sub, &encode(&event)), event);
        }
        assert_eq!(encode_version(300, true), [1, 1, 0xac, 2].as_slice());
        assert_eq!(decode_version(&encode_version(300, true)), (300, true));
    }
}
