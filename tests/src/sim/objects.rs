//! The locks and elections that clients fight for: few, so that queues form.

use super::chance::Chance;
use bytes::Bytes;
use oarlock_state::command::TokenScope;
use oarlock_state::object::{Acquire, Claim, Mode, ObjectKind, Part};

/// All objects: name and kind.
const OBJECTS: [(&str, ObjectKind); 5] = [
    ("o/e", ObjectKind::Election),
    ("o/m", ObjectKind::Mutex),
    ("o/n", ObjectKind::Mutex),
    ("o/r", ObjectKind::ReadWrite),
    ("o/s", ObjectKind::Semaphore { capacity: 3 }),
];
/// The locks among them.
const LOCKS: std::ops::Range<usize> = 1..OBJECTS.len();

/// The longest lock-delay that clients ask for, in milliseconds.
pub const LOCK_DELAY_MS_MAX: u64 = 3_000;

/// The names of all objects.
pub fn names() -> impl Iterator<Item = Bytes> {
    OBJECTS.iter().map(|(name, _)| Bytes::from_static(name.as_bytes()))
}

/// One of them.
pub fn any(chance: &mut Chance) -> Bytes {
    part(chance, 0..OBJECTS.len()).name
}

/// What a hold's token speaks of.
pub fn scope(name: &Bytes, kind: ObjectKind) -> TokenScope {
    match kind {
        ObjectKind::Election => TokenScope::Election(name.clone()),
        ObjectKind::Mutex | ObjectKind::ReadWrite | ObjectKind::Semaphore { .. } => {
            TokenScope::Lock(name.clone())
        }
    }
}

/// A request for the lead, for one lock, or for several.
pub fn acquire(chance: &mut Chance, claim: Claim) -> Acquire {
    let mut parts = match chance.below(8) {
        0 | 1 => vec![part(chance, 0..1)],
        2 | 3 => (0..chance.between(2, 3)).map(|_| part(chance, LOCKS)).collect(),
        _ => vec![part(chance, LOCKS)],
    };
    parts.sort_by(|one, other| one.name.cmp(&other.name));
    parts.dedup_by(|one, other| one.name == other.name);
    let is_election = parts[0].kind == ObjectKind::Election;
    Acquire {
        claim,
        wait: !chance.one_in(5),
        metadata: Bytes::from_static(b"who"),
        priority: if is_election { chance.below(3) as u32 } else { 0 },
        preempt: is_election && chance.one_in(4),
        lock_delay_ms: lock_delay(chance),
        parts,
    }
}

/// How long others wait for what an expired session held.
pub fn lock_delay(chance: &mut Chance) -> u64 {
    if chance.one_in(2) { 0 } else { chance.between(200, LOCK_DELAY_MS_MAX) }
}

fn part(chance: &mut Chance, of: std::ops::Range<usize>) -> Part {
    let (name, kind) = OBJECTS[of.start + chance.below(of.len() as u64) as usize];
    let mode = match kind {
        ObjectKind::Mutex | ObjectKind::Election => Mode::Exclusive,
        ObjectKind::ReadWrite if chance.one_in(3) => Mode::Exclusive,
        ObjectKind::ReadWrite => Mode::Shared,
        ObjectKind::Semaphore { capacity } => Mode::Weight(chance.between(1, capacity)),
    };
    Part { name: Bytes::from_static(name.as_bytes()), kind, mode }
}
