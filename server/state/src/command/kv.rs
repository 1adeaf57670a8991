//! Reads and writes of flat keys.

use crate::ids::{Revision, SessionId};
use bytes::Bytes;

/// Compare, then one branch or the other, atomically, in one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Txn {
    /// All must hold for `then`; otherwise `otherwise` runs.
    pub compare: Vec<Compare>,
    /// Executed in order when all comparisons hold.
    pub then: Vec<KvOp>,
    /// Executed in order otherwise.
    pub otherwise: Vec<KvOp>,
}

/// One comparison. Over a range every key must satisfy it; an absent single key compares as
/// version 0, create and mod revision 0, no owner and, for `Value`, as false (etcd's rule).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which keys.
    pub range: KeyRange,
    /// What of them, against what.
    pub target: CompareTarget,
    /// How.
    pub op: CompareOp,
}

/// The left side's field and the right side's value of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    /// Changes since creation; 0 when absent.
    Version(u64),
    /// Revision of creation; 0 when absent.
    CreateRevision(Revision),
    /// Revision of the last change; 0 when absent.
    ModRevision(Revision),
    /// The value's bytes, compared as bytes.
    Value(Bytes),
    /// The owner session; 0 for none.
    Owner(SessionId),
    /// The number of keys in the range.
    Count(u64),
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Left above right.
    Greater,
    /// Left below right.
    Less,
}

/// A single key, or the keys of `[start, end)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRange {
    /// One key.
    Key(Bytes),
    /// From `start` to before `end`; an `end` of `None` means to the last key.
    Span {
        /// First key.
        start: Bytes,
        /// First key beyond; `None` for no end.
        end: Option<Bytes>,
    },
}

impl KeyRange {
    /// The keys that begin with a prefix; all keys for an empty one.
    pub fn prefix(prefix: &[u8]) -> Self {
        let end = prefix.iter().rposition(|byte| *byte != 0xff).map(|last| {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            Bytes::from(end)
        });
        Self::Span { start: Bytes::copy_from_slice(prefix), end }
    }

    /// The part that comes after the key `last`, in the direction of reading: where a read that was
    /// cut goes on. `None` for a single key.
    pub fn after(&self, last: Bytes, reverse: bool) -> Option<Self> {
        match self {
            Self::Key(_) => None,
            Self::Span { start, .. } if reverse => Some(Self::Span { start: start.clone(), end: Some(last) }),
            Self::Span { end, .. } => Some(Self::Span { start: successor(&last), end: end.clone() }),
        }
    }
}

/// The first key after `key`.
pub fn successor(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

/// One operation inside a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum KvOp {
    /// Read.
    Range(RangeQuery),
    /// Set a key.
    Put(Put),
    /// Remove keys.
    Delete {
        /// Which.
        range: KeyRange,
        /// Return what was removed.
        want_previous: bool,
    },
    /// A transaction within.
    Txn(Txn),
    /// Change a value by what it is.
    Update {
        /// The key.
        key: Bytes,
        /// How.
        update: Update,
    },
    /// Put under `prefix` followed by the next number of that prefix: 20 decimal digits, 64 bits.
    PutSequential {
        /// What comes before the number.
        prefix: Bytes,
        /// The value.
        value: Bytes,
        /// Owner session; zero for a persistent key.
        owner: SessionId,
    },
}

/// Set a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// The key; not empty.
    pub key: Bytes,
    /// The value; may be empty.
    pub value: Bytes,
    /// The session whose end removes the key; zero for a persistent key.
    pub owner: SessionId,
    /// Return the record as it was.
    pub want_previous: bool,
    /// Keep the value and change only the owner; the key must exist.
    pub keep_value: bool,
    /// Keep the owner and change only the value; the key must exist.
    pub keep_owner: bool,
    /// Fail with [`Rejection::KeyExists`] if the key exists.
    pub if_absent: bool,
}

/// A change computed from the value as it is. Numbers are decimal text, so that every client and
/// every shell can read them. An absent key counts as 0, or as empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Add to a signed 64-bit number; overflow is refused.
    Add(i64),
    /// Raise a signed 64-bit number to at least this.
    Max(i64),
    /// Lower a signed 64-bit number to at most this.
    Min(i64),
    /// Append bytes.
    Append(Bytes),
}

/// A read of kv. As a stand-alone query or inside a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeQuery {
    /// Which keys.
    pub range: KeyRange,
    /// The revision to read at; zero for the current one.
    pub revision: Revision,
    /// At most this many records; zero for no limit.
    pub limit: u64,
    /// Stop once this many bytes of keys and values were gathered (at least one record is always
    /// returned); zero for [`limits::RANGE_BYTES_MAX`](crate::limits::RANGE_BYTES_MAX).
    pub byte_budget: u64,
    /// Inside a transaction: refuse it rather than stop at the byte budget. For callers that have
    /// no use for a part, and cannot ask for the rest because the state has moved on.
    pub whole: bool,
    /// From the last key to the first.
    pub reverse: bool,
    /// Leave out the values.
    pub keys_only: bool,
    /// Count only. The count is of the whole range, whatever the limit.
    pub count_only: bool,
    /// Count the whole range beside returning records (costs a walk of the index).
    pub want_count: bool,
    /// Only records changed at or after this revision; zero for all.
    pub min_mod_revision: Revision,
    /// Only records changed at or before this revision; zero for all.
    pub max_mod_revision: Revision,
    /// Only records created at or after this revision; zero for all.
    pub min_create_revision: Revision,
    /// Only records created at or before this revision; zero for all.
    pub max_create_revision: Revision,
}

impl RangeQuery {
    /// A plain read of these keys, now.
    pub fn of(range: KeyRange) -> Self {
        let zero = Revision(0);
        Self {
            range,
            revision: zero,
            limit: 0,
            byte_budget: 0,
            whole: false,
            reverse: false,
            keys_only: false,
            count_only: false,
            want_count: false,
            min_mod_revision: zero,
            max_mod_revision: zero,
            min_create_revision: zero,
            max_create_revision: zero,
        }
    }
}

/// A key with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// Its value; empty in a keys-only read.
    pub value: Bytes,
    /// Revision at which this generation of the key began; its fencing token.
    pub create_revision: Revision,
    /// Revision of the last change.
    pub mod_revision: Revision,
    /// Changes since creation, from 1.
    pub version: u64,
    /// Owner session; zero when persistent.
    pub owner: SessionId,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: &'static str, end: Option<&'static str>) -> KeyRange {
        KeyRange::Span { start: Bytes::from(start), end: end.map(Bytes::from) }
    }

    #[test]
    fn the_next_page_begins_right_after_the_last_key() {
        let last = Bytes::from("b");
        assert_eq!(span("a", Some("z")).after(last.clone(), false), Some(span("b\0", Some("z"))));
        assert_eq!(span("a", None).after(last.clone(), false), Some(span("b\0", None)));
        assert_eq!(span("a", Some("z")).after(last.clone(), true), Some(span("a", Some("b"))));
        assert_eq!(KeyRange::Key(last.clone()).after(last, false), None);
    }
}
