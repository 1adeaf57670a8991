//! What several services convert: ranges of keys, and records. Nothing is copied: keys and values
//! are shared with the request, and with the state.

use super::door::number;
use bytes::Bytes;
use oarlock_proto::etcd::mvccpb;
use oarlock_state::command::{KeyRange, KeyValue};

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
        lease: record.owner.get().cast_signed(),
    }
}

/// Records as etcd's clients see them.
pub fn records(records: Vec<KeyValue>) -> Vec<mvccpb::KeyValue> {
    records.into_iter().map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
