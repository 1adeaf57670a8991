//! Proves that the records of pools agree with each other. A scan of everything, for tests and
//! inspection.

use crate::event::Keyspace;
use crate::ids::{Revision, SessionId};
use crate::keys::{self, Space};
use crate::pool::ShardSet;
use crate::pool::layout::{self, Kind, Note};
use crate::pool::ledger::{marks, shard_note};
use crate::pool::records::{Member, Pool, Shard};
use crate::pool::reply::{Owner, Primary};
use crate::view::View;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Names the first disagreement: a pool whose numbers are not those of its shards and members, an
/// owner, a target or a copy that is no member under that session, an epoch of the future, a mark, a
/// note or something attached that speaks of nothing, or one that is missing.
pub(crate) fn check(view: &dyn View) -> Result<(), String> {
    let mut expected = Expected::default();
    let pools = records_of(view, b"pn", b"po");
    let mut parts = Parts { members: grouped(view, b"pm", b"pn")?, shards: grouped(view, b"ps", b"pt")? };
    for (key, record) in pools {
        let name = layout::parse_pool(&key).ok_or_else(|| format!("pool {key:?} has no name"))?;
        let pool = Pool::decode(&record);
        let members = parts.members.remove(&name).unwrap_or_default();
        let members = members.into_iter().map(|(instance, record)| (instance, Member::decode(&record)));
        let shards = parts.shards.remove(&name).unwrap_or_default();
        let shards = shards.into_iter().map(|(shard, record)| (shard, Shard::decode(&record)));
        let whole = Whole { name, pool, members: members.collect(), shards: shards.collect() };
        whole.check(view)?;
        whole.expect(&mut expected);
    }
    ensure(parts.members.is_empty() && parts.shards.is_empty(), || {
        format!("pools {:?} and {:?} do not exist", parts.members.keys(), parts.shards.keys())
    })?;
    expected.compare(view)
}

fn ensure(holds: bool, complaint: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(complaint()) }
}

fn records_of(view: &dyn View, from: &[u8], to: &[u8]) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    view.scan(from, to, false, &mut |key, record| {
        found.push((Bytes::copy_from_slice(key), record.clone()));
        ControlFlow::Continue(())
    });
    found
}

/// Records by pool and name.
type Grouped = BTreeMap<Bytes, Vec<(Bytes, Bytes)>>;

struct Parts {
    members: Grouped,
    shards: Grouped,
}

fn grouped(view: &dyn View, from: &[u8], to: &[u8]) -> Result<Grouped, String> {
    let mut found = Grouped::new();
    for (key, record) in records_of(view, from, to) {
        let (pool, part) = layout::parse_part(&key).ok_or_else(|| format!("{key:?} is unreadable"))?;
        found.entry(pool).or_default().push((part, record));
    }
    Ok(found)
}

/// The keys that must be there, and no others.
#[derive(Default)]
struct Expected {
    marks: BTreeSet<Bytes>,
    carried: BTreeSet<Bytes>,
    notes: BTreeSet<Bytes>,
    attached: BTreeSet<Bytes>,
}

impl Expected {
    fn compare(&self, view: &dyn View) -> Result<(), String> {
        let (due, beyond) = layout::DUE_SPAN;
        same("marks", &self.marks, &keys_of(view, b"pi", b"pj"))?;
        same("members by session", &self.carried, &keys_of(view, b"pc", b"pd"))?;
        same("notes", &self.notes, &keys_of(view, due, beyond))?;
        let mut attached = keys_of(view, &Space::Attached.start(), &Space::Attached.end());
        attached.retain(|key| {
            keys::parse_attached(key).is_some_and(|(_, keyspace, _)| keyspace == Keyspace::Pool)
        });
        same("attached pools", &self.attached, &attached)
    }
}

fn keys_of(view: &dyn View, from: &[u8], to: &[u8]) -> BTreeSet<Bytes> {
    records_of(view, from, to).into_iter().map(|(key, _)| key).collect()
}

fn same(what: &str, expected: &BTreeSet<Bytes>, found: &BTreeSet<Bytes>) -> Result<(), String> {
    ensure(expected == found, || {
        let missing = expected.difference(found).next();
        let stray = found.difference(expected).next();
        format!("{what}: {missing:?} is missing, {stray:?} speaks of nothing")
    })
}

/// A pool with all that it has.
struct Whole {
    name: Bytes,
    pool: Pool,
    members: BTreeMap<Bytes, Member>,
    shards: BTreeMap<Bytes, Shard>,
}

impl Whole {
    fn check(&self, view: &dyn View) -> Result<(), String> {
        for (instance, member) in &self.members {
            let lives = view.get(&keys::session(member.session)).is_some();
            let is_well = if member.is_present() {
                lives && member.away_until_ms == 0 && member.note_ms == 0
            } else {
                member.away_until_ms > 0
            };
            ensure(is_well, || format!("{:?}: member {instance:?} is {member:?}", self.name))?;
        }
        for (shard, entry) in &self.shards {
            self.shard(shard, entry).map_err(|what| format!("{:?}: {shard:?}: {what}", self.name))?;
        }
        self.numbers()
    }

    fn shard(&self, shard: &Bytes, entry: &Shard) -> Result<(), String> {
        if let ShardSet::Slots(count) = self.pool.shards {
            let number = std::str::from_utf8(shard).ok().and_then(|text| text.parse::<u32>().ok());
            ensure(number.is_some_and(|number| number < count), || format!("is none of {count} slots"))?;
        }
        match &entry.primary {
            Primary::Unassigned { .. } => ensure(!entry.retired, || "is to go, and does not".to_owned())?,
            Primary::Owned(owner) => self.owner(owner)?,
            Primary::Moving { from, to, session, .. } => {
                self.owner(from)?;
                self.present(to, *session)?;
                ensure(*to != from.instance, || "moves to its owner".to_owned())?;
            }
            Primary::Withheld { instance, until_ms, .. } => {
                let waits = self.members.get(instance).is_some_and(|member| !member.is_present());
                ensure(entry.note_ms > 0 || *until_ms == 0 && waits, || "is never due".to_owned())?;
                ensure(entry.lock_ms <= *until_ms || *until_ms == 0, || "has two ends".to_owned())?;
            }
        }
        for secondary in &entry.secondaries {
            self.present(&secondary.instance, secondary.session)?;
            self.past(secondary.epoch)?;
            let owner = entry.primary.owner().map(|owner| &owner.instance);
            ensure(owner != Some(&secondary.instance), || "has its owner as a copy".to_owned())?;
        }
        ensure(entry.secondaries.is_sorted_by(|left, right| left.instance < right.instance), || {
            format!("has the copies {:?}", entry.secondaries)
        })
    }

    fn owner(&self, owner: &Owner) -> Result<(), String> {
        self.present(&owner.instance, owner.session)?;
        self.past(owner.epoch)
    }

    fn past(&self, epoch: Revision) -> Result<(), String> {
        ensure(epoch > Revision(0) && epoch <= self.pool.changed, || format!("epoch {epoch} is to come"))
    }

    fn present(&self, instance: &Bytes, session: SessionId) -> Result<(), String> {
        let member = self.members.get(instance);
        ensure(member.is_some_and(|member| member.is_present() && member.session == session), || {
            format!("session {session} of {instance:?} belongs to {member:?}")
        })
    }

    fn numbers(&self) -> Result<(), String> {
        let count =
            |is: fn(&Primary) -> bool| self.shards.values().filter(|entry| is(&entry.primary)).count() as u64;
        let found = [
            self.shards.len() as u64,
            self.members.len() as u64,
            count(|primary| primary.owner().is_some()),
            count(|primary| matches!(primary, Primary::Moving { .. })),
            count(|primary| matches!(primary, Primary::Withheld { .. })),
        ];
        let Pool { shard_count, member_count, owned, moving, withheld, .. } = self.pool;
        let told = [shard_count, member_count, owned, moving, withheld];
        ensure(told == found, || format!("{:?} says {told:?}, and has {found:?}", self.name))?;
        match self.pool.shards {
            ShardSet::Slots(count) => ensure(shard_count == u64::from(count), || {
                format!("{:?} has {shard_count} of {count} slots", self.name)
            }),
            ShardSet::Named => Ok(()),
        }
    }

    fn expect(&self, expected: &mut Expected) {
        let note = |at_ms, kind, name: &Bytes| {
            layout::due(&Note { at_ms, pool: self.name.clone(), kind, name: name.clone() })
        };
        for (shard, entry) in &self.shards {
            let marks = marks(entry).into_iter();
            expected
                .marks
                .extend(marks.map(|(instance, role)| layout::mark(&self.name, instance, role, shard)));
            expected.notes.extend(shard_note(entry).map(|(at_ms, kind)| note(at_ms, kind, shard)));
        }
        for (instance, member) in &self.members {
            if member.is_present() {
                expected.carried.insert(layout::carried(&self.name, member.session, instance));
                expected.attached.insert(keys::attached(member.session, Keyspace::Pool, &self.name));
            } else if member.note_ms > 0 {
                expected.notes.insert(note(member.note_ms, Kind::Away, instance));
            }
        }
        if self.pool.paused_until_ms > 0 {
            expected.notes.insert(note(self.pool.paused_until_ms, Kind::Pause, &Bytes::new()));
        }
    }
}
