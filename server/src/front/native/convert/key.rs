//! Keys, values, ranges, records and guards.

use super::{Form, invalid};
use bytes::Bytes;
use oarlock_proto::v1;
use oarlock_state::command::{Guard, KeyRange, KeyValue, TokenScope};
use oarlock_state::limits::{GUARDS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use oarlock_state::{Revision, SessionId};

/// The end of a range that has no end.
const NO_END: &[u8] = b"\0";

/// A key to be written or watched.
pub fn key(key: Bytes) -> Form<Bytes> {
    if key.is_empty() {
        return Err(invalid("the key is empty; a key has at least one byte"));
    }
    bounded_key(key, "key")
}

/// A value to be written.
pub fn value(value: Bytes) -> Form<Bytes> {
    if value.len() > VALUE_BYTES_MAX {
        let size = value.len();
        return Err(invalid(format!(
            "the value has {size} bytes, and at most {VALUE_BYTES_MAX} are allowed"
        )));
    }
    Ok(value)
}

/// A prefix, which may be empty.
pub fn prefix(prefix: Bytes) -> Form<Bytes> {
    bounded_key(prefix, "prefix")
}

/// A single key, or a span. An empty start with an end is the span from the first key on.
pub fn range(range: Option<v1::KeyRange>) -> Form<KeyRange> {
    let Some(v1::KeyRange { key: start, range_end }) = range else {
        return Err(invalid("the range is missing; name a key, or a key and a range_end"));
    };
    if range_end.is_empty() {
        return Ok(KeyRange::Key(key(start)?));
    }
    let start = bounded_key(start, "key")?;
    let end = match &range_end[..] {
        NO_END => None,
        _ => Some(bounded_key(range_end, "range_end")?),
    };
    Ok(KeyRange::Span { start, end })
}

fn bounded_key(key: Bytes, field: &str) -> Form<Bytes> {
    if key.len() > KEY_BYTES_MAX {
        let size = key.len();
        return Err(invalid(format!(
            "the {field} has {size} bytes, and at most {KEY_BYTES_MAX} are allowed"
        )));
    }
    Ok(key)
}

/// Several guards.
pub fn guards(guards: Vec<v1::Guard>) -> Form<Vec<Guard>> {
    if guards.len() > GUARDS_MAX {
        let count = guards.len();
        return Err(invalid(format!("there are {count} guards, and at most {GUARDS_MAX} are allowed")));
    }
    guards.into_iter().map(guard).collect()
}

/// A fencing token and what it was granted for.
pub fn guard(guard: v1::Guard) -> Form<Guard> {
    let scope = match guard.scope {
        Some(v1::guard::Scope::Key(name)) => TokenScope::Key(key(name)?),
        Some(v1::guard::Scope::NodePath(path)) => TokenScope::Node(key(path)?),
        Some(v1::guard::Scope::Lock(name)) => TokenScope::Lock(key(name)?),
        Some(v1::guard::Scope::Election(name)) => TokenScope::Election(key(name)?),
        Some(v1::guard::Scope::Shard(v1::ShardName { pool, shard })) => {
            TokenScope::Shard { pool: key(pool)?, shard: key(shard)? }
        }
        None => {
            return Err(invalid(
                "a guard names no key, node_path, lock, election or shard; it must name one",
            ));
        }
    };
    if guard.token == 0 {
        return Err(invalid("a guard's token is 0; a token is the revision that a grant returned"));
    }
    Ok(Guard { scope, token: Revision(guard.token) })
}

/// A session that owns a key; zero for none.
pub fn owner(owner: u64) -> SessionId {
    SessionId(owner)
}

/// A record, outwards.
pub fn record(record: KeyValue) -> v1::KeyValue {
    v1::KeyValue {
        key: record.key,
        value: record.value,
        create_revision: record.create_revision.get(),
        mod_revision: record.mod_revision.get(),
        version: record.version,
        owner: record.owner.get(),
    }
}

/// Records, outwards.
pub fn records(records: Vec<KeyValue>) -> Vec<v1::KeyValue> {
    records.into_iter().map(record).collect()
}
