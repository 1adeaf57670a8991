//! An ephemeral key lives with its session: it goes in the revision of the session's end, all of
//! them together, and no key outlives its owner or is made by a session that is gone.
//!
//! Sources: part 3 of the design; ZooKeeper issues 2355 and 1208, etcd issue 10686.

use super::{Checked, Violation};
use oarlock_state::event::{Cause, Event, EventKind, Keyspace};
use std::collections::{BTreeMap, BTreeSet};

/// When a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The session.
    pub session: u64,
    /// The state's revision after the entry that ended it.
    pub revision: u64,
    /// Why.
    pub cause: Cause,
}

/// Judges all events in order, then what is left.
///
/// # Errors
/// A key that outlives its session, goes too early, or comes after the end.
pub fn check(events: &[Event], ends: &[End]) -> Checked {
    let ended: BTreeMap<u64, End> = ends.iter().map(|end| (end.session, *end)).collect();
    let mut owners: BTreeMap<(Keyspace, &[u8]), u64> = BTreeMap::new();
    let mut removed_in: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for event in events {
        let place = (event.keyspace, &event.key[..]);
        let revision = event.revision.get();
        match &event.kind {
            EventKind::Put { owner, .. } => {
                let owner = owner.get();
                if let Some(end) = ended.get(&owner).filter(|end| end.revision < revision) {
                    return Err(wrong(format!("{event:?} is of a session that ended before: {end:?}")));
                }
                owners.insert(place, owner);
            }
            EventKind::Delete => {
                let owner = owners.remove(&place).unwrap_or(0);
                if matches!(event.cause, Cause::Expired | Cause::Closed) {
                    removed_with_session(event, owner, &ended)?;
                    removed_in.entry(owner).or_default().insert(revision);
                }
            }
            EventKind::Children | EventKind::Object(_) | EventKind::Pool(_) => {}
        }
    }
    if let Some((session, revisions)) = removed_in.iter().find(|(_, revisions)| revisions.len() > 1) {
        return Err(wrong(format!("the keys of session {session} went in several revisions: {revisions:?}")));
    }
    match owners.iter().find(|(_, owner)| ended.contains_key(owner)) {
        Some(((_, key), owner)) => {
            let key = String::from_utf8_lossy(key);
            Err(wrong(format!("key {key} outlives its session {owner}: {:?}", ended[owner])))
        }
        None => Ok(()),
    }
}

fn removed_with_session(event: &Event, owner: u64, ended: &BTreeMap<u64, End>) -> Checked {
    match ended.get(&owner) {
        Some(end) if end.cause == event.cause && event.revision.get() <= end.revision => Ok(()),
        end => Err(wrong(format!("{event:?} removed a key of session {owner}, whose end is {end:?}"))),
    }
}

fn wrong(what: String) -> Violation {
    Violation::new("ephemeral_with_session", what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use oarlock_state::{Revision, SessionId};

    fn event(revision: u64, key: &'static str, owner: Option<u64>, cause: Cause) -> Event {
        let kind = match owner {
            Some(owner) => EventKind::Put {
                value: Bytes::new(),
                create_revision: Revision(revision),
                version: 1,
                owner: SessionId(owner),
            },
            None => EventKind::Delete,
        };
        Event {
            keyspace: Keyspace::Kv,
            revision: Revision(revision),
            sub: 0,
            key: Bytes::from_static(key.as_bytes()),
            kind,
            cause,
            session: SessionId(0),
            previous: None,
        }
    }

    const END: End = End { session: 7, revision: 5, cause: Cause::Expired };

    fn put(revision: u64, key: &'static str) -> Event {
        event(revision, key, Some(7), Cause::Request)
    }

    fn expired(revision: u64, key: &'static str) -> Event {
        event(revision, key, None, Cause::Expired)
    }

    #[test]
    fn keys_go_together_with_their_session() {
        let fine = [put(2, "a"), put(3, "b"), expired(5, "a"), expired(5, "b")];
        assert!(check(&fine, &[END]).is_ok());
        let outlives = [put(2, "a"), put(3, "b"), expired(5, "a")];
        assert!(check(&outlives, &[END]).is_err());
        let apart = [put(2, "a"), put(3, "b"), expired(4, "a"), expired(5, "b")];
        assert!(check(&apart, &[END]).is_err());
        let late = [put(6, "a"), event(7, "a", None, Cause::Request)];
        assert!(check(&late, &[END]).is_err(), "made by a session that is gone");
        assert!(check(&[put(2, "a"), expired(5, "a")], &[]).is_err(), "the session lives");
    }
}
