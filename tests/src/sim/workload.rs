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

/// A kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dish {
    /// Sets a register.
    Set,
    /// Sets a register if it holds what is expected.
    Swap,
    /// Removes a register.
    Remove,
    /// Sets a register and another key.
    Both,
    /// Counts.
    Count,
    /// Appends to a list.
    Append,
    /// Sets a key that goes with the session.
    Own,
    /// Makes a key with the next number.
    Sequential,
    /// Raises a number.
    Raise,
    /// Changes the tree.
    Tree,
}

/// How often each is served when all are.
const DISHES: [(Dish, u64); 10] = [
    (Dish::Set, 4),
    (Dish::Swap, 3),
    (Dish::Remove, 1),
    (Dish::Both, 1),
    (Dish::Count, 1),
    (Dish::Append, 2),
    (Dish::Own, 2),
    (Dish::Sequential, 1),
    (Dish::Raise, 1),
    (Dish::Tree, 3),
];

/// What the clients of one run write.
#[derive(Clone, Debug)]
pub struct Menu {
    dishes: Vec<Dish>,
}

impl Menu {
    /// Three in four of all; all in one run of four.
    pub fn draw(chance: &mut Chance) -> Self {
        let all = chance.one_in(4);
        let dishes = DISHES.iter().map(|(dish, _)| *dish);
        let some: Vec<Dish> = dishes.filter(|_| chance.permille(750) || all).collect();
        Self { dishes: if some.is_empty() { vec![Dish::Set] } else { some } }
    }

    fn pick(&self, chance: &mut Chance) -> Dish {
        let served = DISHES.iter().filter(|(dish, _)| self.dishes.contains(dish));
        let mut left = chance.below(served.clone().map(|(_, often)| often).sum());
        for (dish, often) in served {
            if left < *often {
                return *dish;
            }
            left -= often;
        }
        unreachable!("the number was below the sum")
    }
}

/// A command that writes this number somewhere; with a session, some of it is ephemeral.
pub fn command(menu: &Menu, chance: &mut Chance, number: u64, session: SessionId) -> Command {
    match menu.pick(chance) {
        Dish::Tree => Command::Tree(tree(chance, number, session)),
        dish => Command::Txn(write(dish, chance, number, session)),
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

fn write(dish: Dish, chance: &mut Chance, number: u64, session: SessionId) -> Txn {
    let value = value_of(number);
    match dish {
        Dish::Set => put(&register(chance), value),
        Dish::Swap => {
            let expected =
                (!chance.one_in(4)).then(|| value_of(number.saturating_sub(chance.between(1, 12))));
            swap(&register(chance), expected, value)
        }
        Dish::Remove => delete(&register(chance)),
        Dish::Both => {
            both(put(&register(chance), value.clone()), put(&format!("m/{}", chance.below(3)).into(), value))
        }
        Dish::Count => update(format!("c/{}", chance.below(OTHERS)), Update::Add(1)),
        Dish::Append => append(&list(chance.below(LISTS)), number),
        Dish::Own => owned(format!("e/{}", chance.below(8)), value, session),
        Dish::Sequential => sequential(value, session),
        Dish::Raise | Dish::Tree => update(format!("x/{}", chance.below(OTHERS)), Update::Max(number as i64)),
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
