//! The current records of kv, and how they change.

use crate::codec::{Reader, Writer, damaged, number_bytes};
use crate::command::{KeyRange, KeyValue, Put, Rejection};
use crate::event::{EventKind, Keyspace};
use crate::ids::{Revision, SessionId};
use crate::keys;
use crate::limits::{DELETE_RANGE_KEYS_MAX, RANGE_BYTES_MAX};
use crate::machine::scratch::Scratch;
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

const FORMAT: u8 = 1;

/// A key's record without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) create_revision: Revision,
    /// Revision and position of the event that made the record.
    pub(super) changed: (Revision, u32),
    pub(super) version: u64,
    pub(super) owner: SessionId,
    pub(super) value: Bytes,
}

impl Record {
    pub(super) fn encode(&self) -> Bytes {
        let numbers = [
            self.create_revision.get(),
            self.changed.0.get(),
            u64::from(self.changed.1),
            self.version,
            self.owner.get(),
        ];
        let length = numbers.iter().copied().map(number_bytes).sum::<usize>() + self.value.len();
        let mut writer = Writer::new(FORMAT, length);
        numbers.into_iter().for_each(|number| writer.number(number));
        writer.raw(&self.value);
        writer.finish()
    }

    pub(super) fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("key", FORMAT, record);
        Self {
            create_revision: Revision(reader.number()),
            changed: (Revision(reader.number()), reader.number32()),
            version: reader.number(),
            owner: SessionId(reader.number()),
            value: reader.rest(),
        }
    }

    pub(super) fn into_key_value(self, key: Bytes) -> KeyValue {
        KeyValue {
            key,
            value: self.value,
            create_revision: self.create_revision,
            mod_revision: self.changed.0,
            version: self.version,
            owner: self.owner,
        }
    }
}

/// The record of a key.
pub(super) fn get(view: &dyn View, key: &[u8]) -> Option<Record> {
    view.get(&keys::kv(key)).map(|record| Record::decode(&record))
}

/// A key with its record as it was read, ready to be changed.
pub(super) struct Found {
    key: Bytes,
    full: Bytes,
    stored: Option<Bytes>,
    pub(super) record: Option<Record>,
}

impl Found {
    /// Looks a key up.
    pub(super) fn look_up(view: &dyn View, key: &Bytes) -> Self {
        let full = keys::kv(key);
        let stored = view.get(&full);
        let record = stored.as_ref().map(Record::decode);
        Self { key: key.clone(), full, stored, record }
    }

    fn previous(&self) -> Option<KeyValue> {
        self.record.clone().map(|record| record.into_key_value(self.key.clone()))
    }

    /// Sets the value and owner. Makes an event.
    pub(super) fn write(self, work: &mut Scratch<'_>, value: Bytes, owner: SessionId) {
        let at = work.change();
        let before = self.record.as_ref();
        let record = Record {
            create_revision: before.map_or(at.0, |record| record.create_revision),
            changed: at,
            version: before.map_or(1, |record| record.version + 1),
            owner,
            value,
        };
        let owner_before = before.map_or(SessionId(0), |record| record.owner);
        if owner_before != owner {
            work.detach(owner_before, Keyspace::Kv, &self.key);
            work.attach(owner, Keyspace::Kv, &self.key);
        }
        work.replace(self.full, self.stored, Some(record.encode()));
        let kind = EventKind::Put {
            value: record.value,
            create_revision: record.create_revision,
            version: record.version,
            owner,
        };
        let previous = self.record.map(|record| record.changed);
        work.record(at, Keyspace::Kv, self.key, kind, previous);
    }

    /// Removes the key, which must exist. Makes an event.
    fn remove(self, work: &mut Scratch<'_>) {
        let record = self.record.expect("only keys that were found are removed");
        let at = work.change();
        work.detach(record.owner, Keyspace::Kv, &self.key);
        work.replace(self.full, self.stored, None);
        work.record(at, Keyspace::Kv, self.key, EventKind::Delete, Some(record.changed));
    }
}

/// Sets a key. Returns the record before, when asked for.
pub(super) fn put(work: &mut Scratch<'_>, put: &Put) -> Result<Option<KeyValue>, Rejection> {
    let found = Found::look_up(work, &put.key);
    if put.if_absent && found.record.is_some() {
        return Err(Rejection::KeyExists { key: put.key.clone() });
    }
    // Before it is said that the key is missing, as in etcd.
    let owner = if put.keep_owner { put.owner } else { existing_owner(work, put.owner)? };
    let kept = match (&found.record, put.keep_value || put.keep_owner) {
        (None, true) => return Err(Rejection::KeyNotFound { key: put.key.clone() }),
        (record, _) => record.as_ref(),
    };
    let value = match kept {
        Some(record) if put.keep_value => record.value.clone(),
        Some(_) | None => put.value.clone(),
    };
    let owner = match kept {
        Some(record) if put.keep_owner => record.owner,
        Some(_) | None => owner,
    };
    let previous = if put.want_previous { found.previous() } else { None };
    found.write(work, value, owner);
    Ok(previous)
}

/// The owner, if there is such a session.
pub(super) fn existing_owner(work: &Scratch<'_>, owner: SessionId) -> Result<SessionId, Rejection> {
    let lives = owner == SessionId(0) || work.session_exists(owner);
    #[cfg(feature = "plant")]
    let lives = lives || !super::plant::owner_is_looked_at();
    if !lives {
        return Err(Rejection::SessionNotFound { session: owner });
    }
    Ok(owner)
}

/// Removes the keys of a range, in key order. Returns how many, and the records when asked for.
pub(super) fn delete(
    work: &mut Scratch<'_>,
    range: &KeyRange,
    want_previous: bool,
) -> Result<(u64, Vec<KeyValue>), Rejection> {
    let found = find(work, range)?;
    let count = found.len() as u64;
    let mut previous = Vec::new();
    let mut bytes = 0_u64;
    for one in found {
        if want_previous {
            let record = one.previous();
            bytes += record.as_ref().map_or(0, |r| (r.key.len() + r.value.len()) as u64);
            if bytes > RANGE_BYTES_MAX {
                let what = "bytes of the removed records to return";
                return Err(Rejection::TooLarge { what, size: bytes, limit: RANGE_BYTES_MAX });
            }
            previous.extend(record);
        }
        one.remove(work);
    }
    Ok((count, previous))
}

fn find(work: &Scratch<'_>, range: &KeyRange) -> Result<Vec<Found>, Rejection> {
    if let KeyRange::Key(key) = range {
        let one = Found::look_up(work, key);
        return Ok(if one.record.is_some() { vec![one] } else { Vec::new() });
    }
    let (from, to) = keys::kv_span(range);
    let mut found = Vec::new();
    work.scan(&from, &to, false, &mut |full, stored| {
        if found.len() > DELETE_RANGE_KEYS_MAX {
            return ControlFlow::Break(());
        }
        let full = Bytes::copy_from_slice(full);
        found.push(Found {
            key: full.slice(1..),
            full,
            stored: Some(stored.clone()),
            record: Some(Record::decode(stored)),
        });
        ControlFlow::Continue(())
    });
    if found.len() > DELETE_RANGE_KEYS_MAX {
        return Err(Rejection::TooLarge {
            what: "number of keys to delete at once",
            size: found.len() as u64,
            limit: DELETE_RANGE_KEYS_MAX as u64,
        });
    }
    Ok(found)
}

/// Removes a key because its session ended.
pub(super) fn remove_attached(work: &mut Scratch<'_>, session: SessionId, key: &Bytes) {
    let found = Found::look_up(work, key);
    match &found.record {
        Some(record) if record.owner == session => found.remove(work),
        Some(_) | None => damaged("attached key", format_args!("{key:?} is not of session {session}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_pinned() {
        let record = Record {
            create_revision: Revision(2),
            changed: (Revision(300), 1),
            version: 3,
            owner: SessionId(7),
            value: Bytes::from_static(b"v"),
        };
        assert_eq!(record.encode(), [1, 2, 0xac, 2, 1, 3, 7, b'v'].as_slice());
        assert_eq!(Record::decode(&record.encode()), record);
    }
}
