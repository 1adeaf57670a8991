//! What clients do: small keys that many fight for, and values that tell every write from all others.

use super::chance::Chance;
use crate::history::{delete, put, swap, value_of};
use bytes::Bytes;
use oarlock_server::node::request::Consistency;
use oarlock_state::command::{KeyRange, KvOp, Put, RangeQuery, Txn, Update};
use oarlock_state::tree::{Create, NodeKind, TreeOp};
use oarlock_state::{Command, Query, Revision, SessionId};

/// Keys that behave as registers.
const REGISTERS: u64 = 5;
/// Counters and lists.
const OTHERS: u64 = 2;
/// Locks.
const LOCKS: u64 = 2;

/// Whether a key is judged as a register.
pub fn is_register(key: &[u8]) -> bool {
    key.starts_with(b"r/")
}

/// A register's key.
fn register(chance: &mut Chance) -> Bytes {
    format!("r/{}", chance.below(REGISTERS)).into()
}

/// A lock's key, by number.
pub fn lock(chance: &mut Chance) -> Bytes {
    format!("lock/{}", chance.below(LOCKS)).into()
}

/// A list that writes append to, by number.
pub fn list(number: u64) -> Bytes {
    format!("l/{number}").into()
}

/// How many lists there are.
pub const LISTS: u64 = OTHERS;

/// A command that writes this number somewhere; with a session, some of it is ephemeral.
pub fn command(chance: &mut Chance, number: u64, session: SessionId) -> Command {
    if chance.one_in(6) {
        Command::Tree(tree(chance, number, session))
    } else {
        Command::Txn(write(chance, number, session))
    }
}

/// A change of the tree: two levels, few names, so that parents come and go.
fn tree(chance: &mut Chance, number: u64, session: SessionId) -> TreeOp {
    let parent = format!("/t{}", chance.below(3));
    let path: Bytes = if chance.one_in(3) { parent } else { format!("{parent}/n{}", chance.below(3)) }.into();
    match chance.below(6) {
        0..3 => {
            let kind = if session.get() > 0 && chance.one_in(2) {
                NodeKind::Ephemeral(session)
            } else {
                NodeKind::Persistent
            };
            let acl = Bytes::from_static(b"open");
            TreeOp::Create(Create {
                path,
                data: value_of(number),
                acl,
                kind,
                sequential: chance.one_in(3),
                want_stat: false,
            })
        }
        3 | 4 => TreeOp::SetData { path, data: value_of(number), version: -1 },
        _ => TreeOp::Delete { path, version: -1 },
    }
}

/// A transaction that writes this number somewhere. With a session, some of it is ephemeral.
pub fn write(chance: &mut Chance, number: u64, session: SessionId) -> Txn {
    let value = value_of(number);
    match chance.below(16) {
        0..4 => put(&register(chance), value),
        4..7 => {
            let expected =
                (!chance.one_in(4)).then(|| value_of(number.saturating_sub(chance.between(1, 12))));
            swap(&register(chance), expected, value)
        }
        7 => delete(&register(chance)),
        8 => {
            both(put(&register(chance), value.clone()), put(&format!("m/{}", chance.below(3)).into(), value))
        }
        9 => update(format!("c/{}", chance.below(OTHERS)), Update::Add(1)),
        10 | 11 => append(&list(chance.below(LISTS)), number),
        12 | 13 => owned(format!("e/{}", chance.below(8)), value, session),
        14 => sequential(value, session),
        _ => update(format!("x/{}", chance.below(OTHERS)), Update::Max(number as i64)),
    }
}

fn both(one: Txn, other: Txn) -> Txn {
    Txn { then: one.then.into_iter().chain(other.then).collect(), ..Txn::default() }
}

fn update(key: String, update: Update) -> Txn {
    Txn { then: vec![KvOp::Update { key: key.into(), update }], ..Txn::default() }
}

/// Appends a number to a list.
pub fn append(key: &Bytes, number: u64) -> Txn {
    let update = Update::Append(format!("v{number},").into());
    Txn { then: vec![KvOp::Update { key: key.clone(), update }], ..Txn::default() }
}

/// Sets a key that goes with a session.
fn owned(key: String, value: Bytes, owner: SessionId) -> Txn {
    let put = Put { key: key.into(), value, owner, want_previous: true, ..Put::default() };
    Txn { then: vec![KvOp::Put(put)], ..Txn::default() }
}

fn sequential(value: Bytes, owner: SessionId) -> Txn {
    let prefix = Bytes::from_static(b"q/");
    Txn { then: vec![KvOp::PutSequential { prefix, value, owner }], ..Txn::default() }
}

/// Takes a lock: creates its key, owned by a session.
pub fn acquire(key: &Bytes, number: u64, owner: SessionId) -> Txn {
    let mut txn = swap(key, None, value_of(number));
    if let Some(KvOp::Put(put)) = txn.then.first_mut() {
        put.owner = owner;
    }
    txn
}

/// What a lock protects.
pub fn protected(lock: &Bytes) -> Bytes {
    [b"g/", &lock[..]].concat().into()
}

/// A read of kv, of some freshness. `known` is a revision that the reader has seen.
pub fn read(chance: &mut Chance, known: u64) -> (Query, Consistency) {
    let range = if chance.one_in(4) {
        KeyRange::Span { start: Bytes::from_static(b"r/"), end: Some(Bytes::from_static(b"r0")) }
    } else {
        KeyRange::Key(register(chance))
    };
    let mut query = RangeQuery::of(range);
    if known > 2 && chance.one_in(8) {
        query.revision = Revision(known - chance.below(known.min(40)));
    }
    let consistency = match chance.below(8) {
        0 => Consistency::Serializable,
        1 => Consistency::Bounded { max_ms: 500 },
        _ => Consistency::Linearizable,
    };
    (Query::Range(query), consistency)
}
