//! Every key of the state and its bytes, on one page.
//!
//! | space | key after the space's byte | value | digest |
//! | --- | --- | --- | --- |
//! | `k` Kv | the key | record: revisions, version, owner, value | yes |
//! | `h` History | revision u64, sub u32 | event | no |
//! | `v` Versions | the key [escaped](versions_of), revision u64 | sub, put or delete | no |
//! | `t` Tree | as `tree` lays it out: a znode by path | znode | yes |
//! | `c` Children | as `tree` lays it out: parent, 0 | the children in numbers | yes |
//! | | as `tree` lays it out: parent, 0, name | empty | yes |
//! | `i` Idle | as `tree` lays it out: container and TTL znodes | empty | yes |
//! | `s` Sessions | session u64 | session | yes |
//! | `a` Attached | session u64, keyspace byte, the key or path | empty | yes |
//! | `o` Objects | as `object` lays it out: locks and elections, by name | object | yes |
//! | | as `object` lays it out: holders, queues, withheld holds, seats | place, seat | yes |
//! | | as `object` lays it out: time in ms u64, ticket u64, name | empty | yes |
//! | `p` Pools | as `pool` lays it out: pools, members and shards, by name | record | yes |
//! | | as `pool` lays it out: what is whose, what is due | empty | yes |
//! | `d` Dedup | `w`, session u64 | window: acknowledged, highest, end | yes |
//! | | `o`, session u64, sequence u64 | outcome | yes |
//! | | `i`, idempotency key | time of forgetting, outcome | yes |
//! | | `x`, time in ms u64, `s`, session u64 | empty: forget this ended session's outcomes | yes |
//! | | `x`, time in ms u64, `i`, idempotency key | empty: forget this key | yes |
//! | `u` Auth | `s` | settings: on or off, auth revision, secret of tokens | yes |
//! | | `u`, name | user: hash of the password, roles | yes |
//! | | `r`, name | role: permissions | yes |
//! | `m` Meta | `c` | the counters | its own part apart |
//! | | `d` | recent digests | no |
//! | | `r` | how far `reclaim` came | no |
//! | | `f` | consensus's configuration | yes |
//! | | `i` | cluster id | yes |
//! | | `a`, node u64, kind byte | empty: this alarm is raised | yes |
//! | | `g` | the release that operators are about to return to | yes |
//! | | `n`, node u64 | member | yes |
//! | | `x`, node u64 | empty: this member was removed | yes |
//! | | `q`, prefix | last number of `PutSequential` under this prefix | yes |
//!
//! Numbers are big endian, so that byte order is numeric order. What is outside of the digest is
//! either derived (history and versions can be forgotten by each replica at its own pace) or the
//! digest itself.

use crate::command::KeyRange;
use crate::event::Keyspace;
use crate::ids::{NodeId, Revision, SessionId};
use bytes::Bytes;

/// The divisions of the map, each one leading byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Space {
    /// Keys attached to sessions.
    Attached = b'a',
    /// Names of znodes below their parents.
    Children = b'c',
    /// Outcomes of requests.
    Dedup = b'd',
    /// Events.
    History = b'h',
    /// Container and TTL znodes.
    Idle = b'i',
    /// Current records of kv.
    Kv = b'k',
    /// The machine's own numbers.
    Meta = b'm',
    /// Locks, elections, semaphores.
    Objects = b'o',
    /// Shard pools.
    Pools = b'p',
    /// Sessions.
    Sessions = b's',
    /// Znodes.
    Tree = b't',
    /// Users and roles.
    Auth = b'u',
    /// Which revisions each key has.
    Versions = b'v',
}

impl Space {
    /// All spaces, in the order of their bytes.
    pub const ALL: [Self; 13] = [
        Self::Attached,
        Self::Children,
        Self::Dedup,
        Self::History,
        Self::Idle,
        Self::Kv,
        Self::Meta,
        Self::Objects,
        Self::Pools,
        Self::Sessions,
        Self::Tree,
        Self::Auth,
        Self::Versions,
    ];

    /// The leading byte.
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// First possible key of the space.
    pub const fn start(self) -> [u8; 1] {
        [self.byte()]
    }

    /// First key beyond the space.
    pub const fn end(self) -> [u8; 1] {
        [self.byte() + 1]
    }

    /// The key made of these parts behind the space's byte.
    pub fn key(self, parts: &[&[u8]]) -> Bytes {
        let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(length);
        bytes.push(self.byte());
        for part in parts {
            bytes.extend_from_slice(part);
        }
        Bytes::from(bytes)
    }
}

/// Whether the record under this full key counts in the digest.
pub fn in_digest(key: &[u8]) -> bool {
    !is_of_the_past(key) && key != COUNTERS && key != DIGESTS && key != RECLAIMED
}

/// Whether this full key is of history or versions. An entry only ever adds such records, under keys
/// that were never there before; only reclaiming removes them.
pub fn is_of_the_past(key: &[u8]) -> bool {
    const HISTORY: u8 = Space::History.byte();
    const VERSIONS: u8 = Space::Versions.byte();
    matches!(key.first(), Some(&HISTORY | &VERSIONS))
}

/// The counters.
pub const COUNTERS: &[u8] = b"mc";
/// Digests at recent indexes.
pub const DIGESTS: &[u8] = b"md";
/// How far `reclaim` came.
pub const RECLAIMED: &[u8] = b"mr";
/// Consensus's configuration.
pub const CONF_STATE: &[u8] = b"mf";
/// The cluster's id.
pub const CLUSTER_ID: &[u8] = b"mi";

/// A key of kv.
pub fn kv(key: &[u8]) -> Bytes {
    Space::Kv.key(&[key])
}

/// First full key of a range of kv, and the first one beyond it.
pub fn kv_span(range: &KeyRange) -> (Bytes, Bytes) {
    match range {
        KeyRange::Key(key) => (kv(key), Space::Kv.key(&[key, &[0]])),
        KeyRange::Span { start, end: Some(end) } => (kv(start), kv(end)),
        KeyRange::Span { start, end: None } => (kv(start), Bytes::copy_from_slice(&Space::Kv.end())),
    }
}

/// An event.
pub fn history(revision: Revision, sub: u32) -> Bytes {
    Space::History.key(&[&revision.get().to_be_bytes(), &sub.to_be_bytes()])
}

/// Revision and position of an event, from its full key.
pub fn parse_history(key: &[u8]) -> Option<(Revision, u32)> {
    let (revision, sub) = key.strip_prefix(&Space::History.start())?.split_first_chunk::<8>()?;
    let sub = <[u8; 4]>::try_from(sub).ok()?;
    Some((Revision(u64::from_be_bytes(*revision)), u32::from_be_bytes(sub)))
}

/// Where the versions of a key begin. Each 0x00 of the key becomes 0x00 0xFF and 0x00 0x00 ends it,
/// so that no key's versions lie among another's and keys keep their order.
pub fn versions_of(key: &[u8]) -> Vec<u8> {
    let zeros = key.iter().filter(|byte| **byte == 0).count();
    // Room for the revision that mostly follows, exactly: `Bytes` then takes the memory as it is.
    let mut bytes = Vec::with_capacity(key.len() + zeros + 11);
    bytes.push(Space::Versions.byte());
    escape(key, &mut bytes);
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

/// One version of a key.
pub fn version(key: &[u8], revision: Revision) -> Bytes {
    let mut bytes = versions_of(key);
    bytes.extend_from_slice(&revision.get().to_be_bytes());
    Bytes::from(bytes)
}

/// First full key of a range's versions, and the first one beyond it.
pub fn versions_span(range: &KeyRange) -> (Vec<u8>, Vec<u8>) {
    match range {
        KeyRange::Key(key) => {
            let mut end = versions_of(key);
            end.extend_from_slice(&[0xff; 9]);
            (versions_of(key), end)
        }
        KeyRange::Span { start, end: Some(end) } => (versions_of(start), versions_of(end)),
        KeyRange::Span { start, end: None } => (versions_of(start), Space::Versions.end().to_vec()),
    }
}

/// The key (unescaped) and revision of a version, from its full key.
pub fn parse_version(key: &[u8]) -> Option<(Vec<u8>, Revision)> {
    let (escaped, revision) = key.strip_prefix(&Space::Versions.start())?.split_last_chunk::<8>()?;
    let escaped = escaped.strip_suffix(&[0, 0])?;
    Some((unescape(escaped)?, Revision(u64::from_be_bytes(*revision))))
}

fn escape(key: &[u8], into: &mut Vec<u8>) {
    // Keys hardly ever hold a zero byte: copy whole runs between them.
    for (position, run) in key.split(|byte| *byte == 0).enumerate() {
        if position > 0 {
            into.extend_from_slice(&[0, 0xff]);
        }
        into.extend_from_slice(run);
    }
}

fn unescape(escaped: &[u8]) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        key.push(*byte);
        if *byte == 0 && bytes.next() != Some(&0xff) {
            return None;
        }
    }
    Some(key)
}

/// A session.
pub fn session(session: SessionId) -> Bytes {
    Space::Sessions.key(&[&session.get().to_be_bytes()])
}

/// The session of a full key of Sessions.
pub fn parse_session(key: &[u8]) -> Option<SessionId> {
    let number = <[u8; 8]>::try_from(key.strip_prefix(&Space::Sessions.start())?).ok()?;
    Some(SessionId(u64::from_be_bytes(number)))
}

const fn keyspace_byte(keyspace: Keyspace) -> u8 {
    match keyspace {
        Keyspace::Kv => b'k',
        Keyspace::Tree => b't',
        Keyspace::Object => b'o',
        Keyspace::Pool => b'p',
    }
}

/// A key, znode, object or pool attached to a session.
pub fn attached(session: SessionId, keyspace: Keyspace, key: &[u8]) -> Bytes {
    Space::Attached.key(&[&session.get().to_be_bytes(), &[keyspace_byte(keyspace)], key])
}

/// First full key of what is attached to a session in one keyspace, and the first one beyond it.
pub fn attached_span(session: SessionId, keyspace: Keyspace) -> (Bytes, Bytes) {
    let number = session.get().to_be_bytes();
    let byte = keyspace_byte(keyspace);
    (Space::Attached.key(&[&number, &[byte]]), Space::Attached.key(&[&number, &[byte + 1]]))
}

/// Session, keyspace and key of a full key of Attached.
pub fn parse_attached(key: &[u8]) -> Option<(SessionId, Keyspace, Bytes)> {
    let (number, rest) = key.strip_prefix(&Space::Attached.start())?.split_first_chunk::<8>()?;
    let (byte, key) = rest.split_first()?;
    let keyspace = match byte {
        b'k' => Keyspace::Kv,
        b't' => Keyspace::Tree,
        b'o' => Keyspace::Object,
        b'p' => Keyspace::Pool,
        _ => return None,
    };
    Some((SessionId(u64::from_be_bytes(*number)), keyspace, Bytes::copy_from_slice(key)))
}

/// The window of a session's outcomes.
pub fn window(session: SessionId) -> Bytes {
    Space::Dedup.key(&[b"w", &session.get().to_be_bytes()])
}

/// The outcome of one write of a session.
pub fn outcome(session: SessionId, sequence: u64) -> Bytes {
    Space::Dedup.key(&[b"o", &session.get().to_be_bytes(), &sequence.to_be_bytes()])
}

/// First full key of all outcomes of a session, and the first one beyond it.
pub fn outcomes_of(session: SessionId) -> (Bytes, Bytes) {
    let beyond = Space::Dedup.key(&[b"o", &session.get().to_be_bytes(), &[0xff; 9]]);
    (outcome(session, 0), beyond)
}

/// An idempotency key as one user's own: nobody else's request is taken for its repetition. Without
/// authentication there are no users, and the key stays as it is.
pub fn users_own(user: Option<&str>, key: &Bytes) -> Bytes {
    let Some(user) = user else { return key.clone() };
    let length = (user.len() as u64).to_be_bytes();
    [&[0], length.as_slice(), user.as_bytes(), key].concat().into()
}

/// The outcome of a request with an idempotency key.
pub fn idempotent(key: &[u8]) -> Bytes {
    Space::Dedup.key(&[b"i", key])
}

/// What is to be forgotten at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forget {
    /// The outcomes of an ended session.
    Session(SessionId),
    /// An idempotency key.
    Idempotent(Bytes),
}

/// A note that something is to be forgotten.
pub fn forget(at_ms: u64, what: &Forget) -> Bytes {
    let time = at_ms.to_be_bytes();
    match what {
        Forget::Session(session) => Space::Dedup.key(&[b"x", &time, b"s", &session.get().to_be_bytes()]),
        Forget::Idempotent(key) => Space::Dedup.key(&[b"x", &time, b"i", key]),
    }
}

/// First full key of the notes of forgetting, and the first one beyond them.
pub const FORGET_SPAN: (&[u8], &[u8]) = (b"dx", b"dy");

/// Time and subject of a note of forgetting.
pub fn parse_forget(key: &[u8]) -> Option<(u64, Forget)> {
    let (time, rest) = key.strip_prefix(FORGET_SPAN.0)?.split_first_chunk::<8>()?;
    let what = match rest.split_first()? {
        (b's', number) => Forget::Session(SessionId(u64::from_be_bytes(<[u8; 8]>::try_from(number).ok()?))),
        (b'i', key) => Forget::Idempotent(Bytes::copy_from_slice(key)),
        _ => return None,
    };
    Some((u64::from_be_bytes(*time), what))
}

/// A member.
pub fn member(node: NodeId) -> Bytes {
    Space::Meta.key(&[b"n", &node.get().to_be_bytes()])
}

/// First full key of the members, and the first one beyond them.
pub const MEMBER_SPAN: (&[u8], &[u8]) = (b"mn", b"mo");

/// A mark that a member was removed and its id is spent.
pub fn removed_member(node: NodeId) -> Bytes {
    Space::Meta.key(&[b"x", &node.get().to_be_bytes()])
}

/// Whether authentication is on.
pub const AUTH_SETTINGS: &[u8] = b"us";

/// A user.
pub fn user(name: &str) -> Bytes {
    Space::Auth.key(&[b"u", name.as_bytes()])
}

/// First full key of the users, and the first one beyond them. The first one begins all of them.
pub const USER_SPAN: (&[u8], &[u8]) = (b"uu", b"uv");

/// A role.
pub fn role(name: &str) -> Bytes {
    Space::Auth.key(&[b"r", name.as_bytes()])
}

/// First full key of the roles, and the first one beyond them. The first one begins all of them.
pub const ROLE_SPAN: (&[u8], &[u8]) = (b"ur", b"us");

/// A raised alarm of a kind.
pub fn alarm(node: NodeId, kind: u8) -> Bytes {
    Space::Meta.key(&[b"a", &node.get().to_be_bytes(), &[kind]])
}

/// First full key of the alarms, and the first one beyond them.
pub const ALARM_SPAN: (&[u8], &[u8]) = (b"ma", b"mb");

/// Member and kind in a full key of an alarm.
pub fn parse_alarm(key: &[u8]) -> Option<(NodeId, u8)> {
    let (node, kind) = key.strip_prefix(b"ma")?.split_first_chunk()?;
    let [kind] = kind else { return None };
    Some((NodeId(u64::from_be_bytes(*node)), *kind))
}

/// The release that operators are about to return to.
pub const DOWNGRADE: &[u8] = b"mg";

/// The counter of sequential keys under a prefix.
pub fn sequence(prefix: &[u8]) -> Bytes {
    Space::Meta.key(&[b"q", prefix])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is on disk and in snapshots: a change here is a change of format.
    #[test]
    fn layouts_are_pinned() {
        let session = SessionId(0x0102);
        assert_eq!(kv(b"key"), b"kkey".as_slice());
        let event = history(Revision(0x0102), 3);
        assert_eq!(event, b"h\0\0\0\0\0\0\x01\x02\0\0\0\x03".as_slice());
        let one = version(b"a\0b", Revision(0x0102));
        assert_eq!(one, b"va\0\xffb\0\0\0\0\0\0\0\0\x01\x02".as_slice());
        assert_eq!(super::session(session), b"s\0\0\0\0\0\0\x01\x02".as_slice());
        let key = attached(session, Keyspace::Kv, b"key");
        assert_eq!(key, b"a\0\0\0\0\0\0\x01\x02kkey".as_slice());
        let node = attached(session, Keyspace::Tree, b"/n");
        assert_eq!(node, b"a\0\0\0\0\0\0\x01\x02t/n".as_slice());
        let lock = attached(session, Keyspace::Object, b"l");
        assert_eq!(lock, b"a\0\0\0\0\0\0\x01\x02ol".as_slice());
        let pool = attached(session, Keyspace::Pool, b"p");
        assert_eq!(pool, b"a\0\0\0\0\0\0\x01\x02pp".as_slice());
        assert_eq!(window(session), b"dw\0\0\0\0\0\0\x01\x02".as_slice());
        let write = outcome(session, 3);
        assert_eq!(write, b"do\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03".as_slice());
        assert_eq!(idempotent(b"name"), b"diname".as_slice());
        let note = forget(1, &Forget::Session(session));
        assert_eq!(note, b"dx\0\0\0\0\0\0\0\x01s\0\0\0\0\0\0\x01\x02".as_slice());
        let note = forget(1, &Forget::Idempotent(Bytes::from_static(b"name")));
        assert_eq!(note, b"dx\0\0\0\0\0\0\0\x01iname".as_slice());
        assert_eq!(member(NodeId(1)), b"mn\0\0\0\0\0\0\0\x01".as_slice());
        assert_eq!(removed_member(NodeId(1)), b"mx\0\0\0\0\0\0\0\x01".as_slice());
        assert_eq!(sequence(b"p"), b"mqp".as_slice());
        assert_eq!(user("n"), b"uun".as_slice());
        assert_eq!(role("n"), b"urn".as_slice());
        assert!(user("n").starts_with(USER_SPAN.0) && role("n").starts_with(ROLE_SPAN.0));
    }

    #[test]
    fn spaces_are_in_order_and_apart() {
        assert!(Space::ALL.windows(2).all(|pair| pair[0].byte() < pair[1].byte()));
    }

    #[test]
    fn what_is_derived_stays_out_of_the_digest() {
        let outside = [history(Revision(1), 0), version(b"k", Revision(1))];
        assert!(outside.iter().all(|key| !in_digest(key)));
        assert!([COUNTERS, DIGESTS, RECLAIMED].iter().all(|key| !in_digest(key)));
        assert!([CONF_STATE, CLUSTER_ID, b"kkey".as_slice()].iter().all(|key| in_digest(key)));
        assert!(in_digest(&sequence(b"")));
    }

    #[test]
    fn versions_keep_the_order_of_keys_and_then_of_revisions() {
        let keys: [&[u8]; 8] = [b"", b"\0", b"\0\0", b"\0\xff", b"\x01", b"a", b"a\0", b"ab"];
        let revisions = [Revision(1), Revision(0x00ff), Revision(u64::MAX)];
        let mut all = Vec::new();
        for key in keys {
            for revision in revisions {
                let full = version(key, revision);
                assert_eq!(parse_version(&full), Some((key.to_vec(), revision)));
                all.push(full);
            }
        }
        assert!(all.is_sorted());
        let (from, to) = versions_span(&KeyRange::Key(Bytes::from_static(b"a")));
        let within = all.iter().filter(|key| **key >= from && **key < to).count();
        assert_eq!(within, revisions.len());
    }

    #[test]
    fn what_is_built_is_parsed() {
        let session = SessionId(7);
        assert_eq!(parse_history(&history(Revision(5), 6)), Some((Revision(5), 6)));
        assert_eq!(parse_session(&super::session(session)), Some(session));
        let key = Bytes::from_static(b"key");
        for keyspace in [Keyspace::Kv, Keyspace::Tree, Keyspace::Object, Keyspace::Pool] {
            let full = attached(session, keyspace, &key);
            assert_eq!(parse_attached(&full), Some((session, keyspace, key.clone())));
        }
        for what in [Forget::Session(session), Forget::Idempotent(key)] {
            assert_eq!(parse_forget(&forget(9, &what)), Some((9, what)));
        }
        for garbage in [b"".as_slice(), b"h", b"s\0", b"a\0\0\0\0\0\0\0\0x", b"dx", b"v\0\0"] {
            assert_eq!(parse_history(garbage), None);
            assert_eq!(parse_session(garbage), None);
            assert_eq!(parse_attached(garbage), None);
            assert_eq!(parse_forget(garbage), None);
            assert_eq!(parse_version(garbage), None);
        }
    }
}
