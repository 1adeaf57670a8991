//! Where the records of pools lie. Names have no zero byte, which ends them.
//!
//! | key after the space's byte | value |
//! | --- | --- |
//! | `n`, pool | [`Pool`](super::records::Pool): its policy and its numbers |
//! | `m`, pool, 0x00, instance | [`Member`](super::records::Member) |
//! | `s`, pool, 0x00, shard | [`Shard`](super::records::Shard) |
//! | `i`, pool, 0x00, instance, 0x00, [`Role`], shard | empty: the instance has this to do with the shard |
//! | `c`, pool, 0x00, session u64, instance | empty: the member lives by this session |
//! | `d`, time in ms u64, pool, 0x00, [`Kind`], name | empty: something is due at that time |
//!
//! So one change of one shard rewrites its record and the pool's numbers, and what ends with an
//! instance is found without a look at other shards.

use crate::codec::damaged;
use crate::command::KeyRange;
use crate::ids::SessionId;
use crate::keys::Space;
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

const END: &[u8] = &[0];
/// First byte after all that belongs to a name.
const BEYOND: &[u8] = &[1];

/// First key and first key beyond.
pub(super) type Span = (Bytes, Bytes);

/// What an instance has to do with a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Role {
    /// It owns the primary.
    Primary = b'p',
    /// It keeps a copy.
    Secondary = b's',
    /// The primary is moving to it.
    Target = b't',
    /// It owned the primary, which is withheld.
    Former = b'w',
}

/// What is due. In the order in which what is due at the same time is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    /// A withheld primary.
    Withheld = 0,
    /// A target that prepares.
    Target = 1,
    /// A member that is away.
    Away = 2,
    /// The end of a pause.
    Pause = 3,
}

/// A note that something is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Note {
    pub(super) at_ms: u64,
    pub(super) pool: Bytes,
    pub(super) kind: Kind,
    /// The shard or the instance; of a pause empty.
    pub(super) name: Bytes,
}

/// A pool.
pub(super) fn pool(name: &[u8]) -> Bytes {
    Space::Pools.key(&[b"n", name])
}

/// The pools with a prefix, after a name. The name itself is left out.
pub(super) fn pools(prefix: &[u8], after: &[u8]) -> Span {
    let beyond = match KeyRange::prefix(prefix) {
        KeyRange::Span { end: Some(end), .. } => pool(&end),
        KeyRange::Span { end: None, .. } | KeyRange::Key(_) => Space::Pools.key(&[b"o"]),
    };
    let from = if after >= prefix { Space::Pools.key(&[b"n", after, END]) } else { pool(prefix) };
    (from, beyond)
}

/// The name in a full key of [`pool`].
pub(super) fn parse_pool(key: &[u8]) -> Option<Bytes> {
    key.strip_prefix(b"pn").map(Bytes::copy_from_slice)
}

/// A member.
pub(super) fn member(pool: &[u8], instance: &[u8]) -> Bytes {
    Space::Pools.key(&[b"m", pool, END, instance])
}

/// All members of a pool.
pub(super) fn members(pool: &[u8]) -> Span {
    (member(pool, b""), Space::Pools.key(&[b"m", pool, BEYOND]))
}

/// A shard.
pub(super) fn shard(pool: &[u8], shard: &[u8]) -> Bytes {
    Space::Pools.key(&[b"s", pool, END, shard])
}

/// All shards of a pool.
pub(super) fn shards(pool: &[u8]) -> Span {
    (shard(pool, b""), Space::Pools.key(&[b"s", pool, BEYOND]))
}

/// The pool, and the instance or shard, in a full key of [`member`] or [`shard`].
pub(super) fn parse_part(key: &[u8]) -> Option<(Bytes, Bytes)> {
    split(key.get(2..)?)
}

/// What an instance has to do with a shard.
pub(super) fn mark(pool: &[u8], instance: &[u8], role: Role, shard: &[u8]) -> Bytes {
    Space::Pools.key(&[b"i", pool, END, instance, END, &[role as u8], shard])
}

/// All marks of one role of an instance.
pub(super) fn marks(pool: &[u8], instance: &[u8], role: Role) -> Span {
    let beyond = Space::Pools.key(&[b"i", pool, END, instance, END, &[role as u8 + 1]]);
    (mark(pool, instance, role, b""), beyond)
}

/// Pool, instance, role and shard of a full key of [`mark`].
pub(super) fn parse_mark(key: &[u8]) -> Option<(Bytes, Bytes, Role, Bytes)> {
    let (pool, rest) = split(key.strip_prefix(b"pi")?)?;
    let (instance, rest) = split(&rest)?;
    let (role, shard) = rest.split_first()?;
    let role = [Role::Primary, Role::Secondary, Role::Target, Role::Former]
        .into_iter()
        .find(|one| *one as u8 == *role)?;
    Some((pool, instance, role, Bytes::copy_from_slice(shard)))
}

/// A member that lives by a session.
pub(super) fn carried(pool: &[u8], session: SessionId, instance: &[u8]) -> Bytes {
    Space::Pools.key(&[b"c", pool, END, &session.get().to_be_bytes(), instance])
}

/// All members of a pool that live by a session.
pub(super) fn all_carried(pool: &[u8], session: SessionId) -> Span {
    let beyond = match session.get().checked_add(1) {
        Some(next) => carried(pool, SessionId(next), b""),
        None => Space::Pools.key(&[b"c", pool, BEYOND]),
    };
    (carried(pool, session, b""), beyond)
}

/// Pool, session and instance of a full key of [`carried`].
pub(super) fn parse_carried(key: &[u8]) -> Option<(Bytes, SessionId, Bytes)> {
    let rest = key.strip_prefix(b"pc")?;
    let (pool, rest) = split(rest)?;
    let (session, instance) = rest.split_first_chunk::<8>()?;
    Some((pool, SessionId(u64::from_be_bytes(*session)), Bytes::copy_from_slice(instance)))
}

/// A note that something is due.
pub(super) fn due(note: &Note) -> Bytes {
    let Note { at_ms, pool, kind, name } = note;
    Space::Pools.key(&[b"d", &at_ms.to_be_bytes(), pool, END, &[*kind as u8], name])
}

/// All such notes, the earliest first.
pub(super) const DUE_SPAN: (&[u8], &[u8]) = (b"pd", b"pe");

/// The notes of one pool at one time.
pub(super) fn due_at(at_ms: u64, pool: &[u8]) -> Span {
    let time = at_ms.to_be_bytes();
    (Space::Pools.key(&[b"d", &time, pool, END]), Space::Pools.key(&[b"d", &time, pool, BEYOND]))
}

/// The note in a full key of [`due`].
pub(super) fn parse_due(key: &[u8]) -> Option<Note> {
    let (time, rest) = key.strip_prefix(DUE_SPAN.0)?.split_first_chunk::<8>()?;
    let (pool, rest) = split(rest)?;
    let (kind, name) = rest.split_first()?;
    let kind = [Kind::Withheld, Kind::Target, Kind::Away, Kind::Pause]
        .into_iter()
        .find(|one| *one as u8 == *kind)?;
    Some(Note { at_ms: u64::from_be_bytes(*time), pool, kind, name: Bytes::copy_from_slice(name) })
}

/// What is before the first zero byte, and what is behind it.
fn split(bytes: &[u8]) -> Option<(Bytes, Bytes)> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((Bytes::copy_from_slice(&bytes[..end]), Bytes::copy_from_slice(&bytes[end + 1..])))
}

/// What `parse` finds in each key of a span, in order, until `limit` of them are found.
pub(super) fn all<T>(
    view: &dyn View,
    span: (&[u8], &[u8]),
    limit: usize,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Vec<T> {
    let mut found = Vec::new();
    if limit == 0 {
        return found;
    }
    view.scan(span.0, span.1, false, &mut |key, _| {
        found.push(parse(key).unwrap_or_else(|| damaged("record of a pool", "its key cannot be read")));
        if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: Kind) -> Note {
        Note { at_ms: 6, pool: Bytes::from_static(b"a"), kind, name: Bytes::from_static(b"1") }
    }

    #[test]
    fn bytes_are_pinned() {
        assert_eq!(pool(b"a"), b"pna".as_slice());
        assert_eq!(member(b"a", b"x"), b"pma\0x".as_slice());
        assert_eq!(shard(b"a", b"1"), b"psa\x001".as_slice());
        assert_eq!(mark(b"a", b"x", Role::Primary, b"1"), b"pia\0x\0p1".as_slice());
        assert_eq!(mark(b"a", b"x", Role::Secondary, b"1"), b"pia\0x\0s1".as_slice());
        assert_eq!(mark(b"a", b"x", Role::Target, b"1"), b"pia\0x\0t1".as_slice());
        assert_eq!(mark(b"a", b"x", Role::Former, b"1"), b"pia\0x\0w1".as_slice());
        assert_eq!(carried(b"a", SessionId(4), b"x"), b"pca\0\0\0\0\0\0\0\0\x04x".as_slice());
        assert_eq!(due(&note(Kind::Withheld)), b"pd\0\0\0\0\0\0\0\x06a\0\x001".as_slice());
        assert_eq!(due(&note(Kind::Pause)), b"pd\0\0\0\0\0\0\0\x06a\0\x031".as_slice());
    }

    #[test]
    fn what_is_built_is_parsed() {
        let (name, x, one) = (Bytes::from_static(b"a/b"), Bytes::from_static(b"x"), Bytes::from_static(b"1"));
        assert_eq!(parse_pool(&pool(&name)), Some(name.clone()));
        assert_eq!(parse_part(&member(&name, &x)), Some((name.clone(), x.clone())));
        assert_eq!(parse_part(&shard(&name, &one)), Some((name.clone(), one.clone())));
        for role in [Role::Primary, Role::Secondary, Role::Target, Role::Former] {
            let key = mark(&name, &x, role, &one);
            assert_eq!(parse_mark(&key), Some((name.clone(), x.clone(), role, one.clone())));
            let (from, to) = marks(&name, &x, role);
            assert!(key >= from && key < to);
        }
        for session in [SessionId(0), SessionId(u64::MAX)] {
            let key = carried(&name, session, &x);
            assert_eq!(parse_carried(&key), Some((name.clone(), session, x.clone())));
            let (from, to) = all_carried(&name, session);
            assert!(key >= from && key < to);
        }
        for kind in [Kind::Withheld, Kind::Target, Kind::Away, Kind::Pause] {
            assert_eq!(parse_due(&due(&note(kind))), Some(note(kind)));
            let (from, to) = due_at(6, b"a");
            assert!(due(&note(kind)) >= from && due(&note(kind)) < to);
        }
    }

    #[test]
    fn spans_find_their_own_only() {
        let (from, to) = shards(b"a");
        assert!([&b"0"[..], b"\xff"].iter().all(|one| shard(b"a", one) >= from && shard(b"a", one) < to));
        assert!(shard(b"ab", b"0") >= to && shard(b"a\x01", b"0") >= to && shard(b"", b"0") < from);
        let (from, to) = pools(b"a", b"ab");
        assert!(pool(b"ab") < from && pool(b"ab\x01") >= from && pool(b"b") >= to);
    }
}
