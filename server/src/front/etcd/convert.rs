//! What several services convert: ranges of keys, records, events and leases. Nothing is copied: keys and values
//! are shared with the request, and with the state.

use super::door::number;
use bytes::Bytes;
use oarlock_proto::etcd::mvccpb;
use oarlock_state::command::{KeyRange, KeyValue};
use oarlock_state::{Event, EventKind, SessionId};

/// The end of a range that stands for "to the last key".
const NO_END: &[u8] = &[0];

/// The keys that a key and a range end name: without an end the one key; with an end of a single
/// zero byte all from the key on; with an end at or below the key none.
pub fn key_range(key: Bytes, range_end: Bytes) -> KeyRange {
    if range_end.is_empty() {
        KeyRange::Key(key)
    } else if range_end == NO_END {
        KeyRange::Span { start: key, end: None }
    } else {
        let end = if range_end < key { key.clone() } else { range_end };
        KeyRange::Span { start: key, end: Some(end) }
    }
}

/// A record as etcd's clients see it.
pub fn record(record: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: record.key,
        create_revision: number(record.create_revision.get()),
        mod_revision: number(record.mod_revision.get()),
        version: number(record.version),
        value: record.value,
        lease: lease(record.owner),
    }
}

/// Records as etcd's clients see them.
pub fn records(records: Vec<KeyValue>) -> Vec<mvccpb::KeyValue> {
    records.into_iter().map(record).collect()
}

/// A change as etcd's watchers are told it: of a deletion only the key and the revision.
pub fn event(event: Event, previous: Option<KeyValue>) -> mvccpb::Event {
    let bare = mvccpb::KeyValue {
        key: event.key,
        mod_revision: number(event.revision.get()),
        ..mvccpb::KeyValue::default()
    };
    let (kind, kv) = match event.kind {
        EventKind::Put { value, create_revision, version, owner } => {
            let kv = mvccpb::KeyValue {
                create_revision: number(create_revision.get()),
                version: number(version),
                value,
                lease: lease(owner),
                ..bare
            };
            (mvccpb::event::EventType::Put, kv)
        }
        // Watches of etcd's API are of keys alone.
        EventKind::Delete | EventKind::Children | EventKind::Object(_) | EventKind::Pool(_) => {
            (mvccpb::event::EventType::Delete, bare)
        }
    };
    mvccpb::Event { r#type: kind.into(), kv: Some(kv), prev_kv: previous.map(record) }
}

/// The lease that a session is: the same 64 bits.
pub fn lease(session: SessionId) -> i64 {
    session.get().cast_signed()
}

/// The session that a lease is.
pub fn session(lease: i64) -> SessionId {
    SessionId(lease.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_state::Revision;
    use oarlock_state::event::{Cause, Keyspace};

    fn range(key: &'static str, end: &'static str) -> KeyRange {
        key_range(Bytes::from(key), Bytes::from(end))
    }

    fn span(start: &'static str, end: Option<&'static str>) -> KeyRange {
        KeyRange::Span { start: Bytes::from(start), end: end.map(Bytes::from) }
    }

    #[test]
    fn ends_of_ranges_are_etcds() {
        assert_eq!(range("a", ""), KeyRange::Key(Bytes::from("a")));
        assert_eq!(range("a", "c"), span("a", Some("c")));
        assert_eq!(range("a", "\0"), span("a", None));
        assert_eq!(range("\0", "\0"), span("\0", None));
        assert_eq!(range("c", "a"), span("c", Some("c")), "an end below the key names no key");
        assert_eq!(range("c", "c"), span("c", Some("c")));
    }
    fn changed(kind: EventKind) -> Event {
        Event {
            keyspace: Keyspace::Kv,
            revision: Revision(9),
            sub: 0,
            key: Bytes::from_static(b"k"),
            kind,
            cause: Cause::Request,
            session: SessionId(0),
            previous: None,
        }
    }

    #[test]
    fn a_deletion_tells_only_key_and_revision() {
        let told = event(changed(EventKind::Delete), None);
        let kv = mvccpb::KeyValue { key: "k".into(), mod_revision: 9, ..Default::default() };
        assert_eq!(told, mvccpb::Event { r#type: 1, kv: Some(kv), prev_kv: None });
    }

    #[test]
    fn a_put_tells_everything() {
        let put = EventKind::Put {
            value: "v".into(),
            create_revision: Revision(5),
            version: 3,
            owner: SessionId(u64::MAX),
        };
        let kv = mvccpb::KeyValue {
            key: "k".into(),
            create_revision: 5,
            mod_revision: 9,
            version: 3,
            value: "v".into(),
            lease: -1,
        };
        assert_eq!(event(changed(put), None).kv, Some(kv));
        assert_eq!(session(-1), SessionId(u64::MAX));
    }
}
