//! A pool that is open for changes. The one place where records of pools are written: whoever
//! changes a shard or a member here has the pool's numbers, the marks of who has what, what is
//! attached to sessions and the notes of what is due follow.

use crate::event::{EventKind, Keyspace};
use crate::ids::{Revision, SessionId};
use crate::limits::OBJECT_NAME_BYTES_MAX;
use crate::machine::scratch::Scratch;
use crate::pool::layout::{self, Kind, Note, Role};
use crate::pool::records::{Member, Pool, Shard};
use crate::pool::reply::Primary;
use crate::pool::{PoolError, PoolEvent, PoolFault, StepFault};
use crate::view::View;
use bytes::Bytes;
use std::collections::BTreeSet;

/// A pool, if it exists.
pub(super) fn pool(view: &dyn View, name: &[u8]) -> Option<Pool> {
    view.get(&layout::pool(name)).map(|record| Pool::decode(&record))
}

/// A shard, if it exists.
pub(super) fn shard(view: &dyn View, pool: &[u8], shard: &[u8]) -> Option<Shard> {
    view.get(&layout::shard(pool, shard)).map(|record| Shard::decode(&record))
}

/// Refuses an impossible name of a pool.
pub(super) fn demand_name(pool: &[u8]) -> Result<(), PoolFault> {
    if is_name(pool, OBJECT_NAME_BYTES_MAX) { Ok(()) } else { Err(PoolFault::PoolName) }
}

/// Whether this can be a name. A zero byte could reach beyond what belongs to it.
pub(super) fn is_name(name: &[u8], bytes_max: usize) -> bool {
    !name.is_empty() && name.len() <= bytes_max && !name.contains(&0)
}

/// A pool whose own record is in memory until [`close`](Self::close), in the scratch's open
/// transaction.
pub(super) struct Ledger<'w, 'v> {
    pub(super) work: &'w mut Scratch<'v>,
    pub(super) name: Bytes,
    pub(super) pool: Pool,
}

impl<'w, 'v> Ledger<'w, 'v> {
    /// Opens a pool that must exist.
    pub(super) fn open(work: &'w mut Scratch<'v>, name: &Bytes) -> Result<Self, PoolError> {
        demand_name(name)?;
        match pool(work, name) {
            Some(pool) => Ok(Self { work, name: name.clone(), pool }),
            None => Err(PoolError::PoolNotFound { pool: name.clone() }),
        }
    }

    /// Opens a pool that is new.
    pub(super) fn create(work: &'w mut Scratch<'v>, name: &Bytes, pool: Pool) -> Self {
        Self { work, name: name.clone(), pool }
    }

    /// Writes the pool's own record.
    pub(super) fn close(self) {
        self.work.put(layout::pool(&self.name), self.pool.encode());
    }

    /// The entry's stamp, in milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        self.work.stamp_ms()
    }

    /// Whether planned moves and reassignments wait.
    pub(super) fn is_paused(&self) -> bool {
        self.pool.paused_until_ms > self.now_ms()
    }

    /// The revision of the open transaction, which thereby changes something.
    pub(super) fn epoch(&mut self) -> Revision {
        self.work.change_silently()
    }

    /// Makes the next event. A plan stays good when only loads, weights and pins change: each of its
    /// steps is checked against pins anyway.
    pub(super) fn tell(&mut self, event: PoolEvent) {
        let at = self.work.change();
        if !matches!(event, PoolEvent::ShardTuned { .. }) {
            self.pool.changed = at.0;
        }
        self.work.record(at, Keyspace::Pool, self.name.clone(), EventKind::Pool(event), None);
    }

    /// A refusal of a step.
    pub(super) fn refused(&self, shard: &Bytes, fault: StepFault) -> PoolError {
        PoolError::Step { pool: self.name.clone(), shard: shard.clone(), fault }
    }

    /// A shard, if it exists.
    pub(super) fn find(&self, shard: &[u8]) -> Option<Shard> {
        self::shard(self.work, &self.name, shard)
    }

    /// A shard that must exist.
    pub(super) fn shard(&self, shard: &Bytes) -> Result<Shard, PoolError> {
        let absent = || PoolError::ShardNotFound { pool: self.name.clone(), shard: shard.clone() };
        self.find(shard).ok_or_else(absent)
    }

    /// A member, if it is one.
    pub(super) fn member(&self, instance: &[u8]) -> Option<Member> {
        self.work.get(&layout::member(&self.name, instance)).map(|record| Member::decode(&record))
    }

    /// The shards with which an instance has something to do.
    pub(super) fn shards_of(&self, instance: &[u8], role: Role) -> Vec<Bytes> {
        let (from, to) = layout::marks(&self.name, instance, role);
        layout::all(self.work, (&from, &to), usize::MAX, |key| {
            layout::parse_mark(key).map(|(_, _, _, shard)| shard)
        })
    }

    /// Whether an instance has something to do with any shard.
    pub(super) fn has_any(&self, instance: &[u8], role: Role) -> bool {
        let (from, to) = layout::marks(&self.name, instance, role);
        !layout::all(self.work, (&from, &to), 1, layout::parse_mark).is_empty()
    }

    /// Creates, replaces or removes a shard, with all that speaks of it. `old` is what is stored.
    pub(super) fn set_shard(&mut self, shard: &Bytes, old: Option<&Shard>, new: Option<&Shard>) {
        let key = layout::shard(&self.name, shard);
        self.work.replace(key, old.map(Shard::encode), new.map(Shard::encode));
        let (before, after) = (self.speaking_of(shard, old), self.speaking_of(shard, new));
        self.replace_all(&before, &after);
        let count = |numbers: &mut Pool, one: &Shard, by: fn(&mut u64)| {
            by(&mut numbers.shard_count);
            match one.primary {
                Primary::Unassigned { .. } => {}
                Primary::Owned(_) => by(&mut numbers.owned),
                Primary::Moving { .. } => {
                    by(&mut numbers.owned);
                    by(&mut numbers.moving);
                }
                Primary::Withheld { .. } => by(&mut numbers.withheld),
            }
        };
        if let Some(new) = new {
            count(&mut self.pool, new, |number| *number += 1);
        }
        if let Some(old) = old {
            count(&mut self.pool, old, |number| *number -= 1);
        }
    }

    /// Replaces a shard that is stored.
    pub(super) fn change_shard(
        &mut self,
        shard: &Bytes,
        old: &Shard,
        change: impl FnOnce(&mut Shard),
    ) -> Shard {
        let mut new = old.clone();
        change(&mut new);
        self.set_shard(shard, Some(old), Some(&new));
        new
    }

    /// The marks and notes that go with a shard.
    fn speaking_of(&self, shard: &Bytes, entry: Option<&Shard>) -> BTreeSet<Bytes> {
        let Some(entry) = entry else { return BTreeSet::new() };
        marks(entry)
            .into_iter()
            .map(|(instance, role)| layout::mark(&self.name, instance, role, shard))
            .chain(shard_note(entry).map(|(at_ms, kind)| self.note(at_ms, kind, shard)))
            .collect()
    }

    /// Adds, replaces or removes a member, with all that speaks of it. `old` is what is stored.
    pub(super) fn set_member(&mut self, instance: &Bytes, old: Option<&Member>, new: Option<&Member>) {
        let key = layout::member(&self.name, instance);
        self.work.replace(key, old.map(Member::encode), new.map(Member::encode));
        let speaking = |member: Option<&Member>| -> BTreeSet<Bytes> {
            let carried = member.filter(|member| member.is_present());
            let note = member.filter(|member| member.note_ms > 0);
            carried
                .map(|member| layout::carried(&self.name, member.session, instance))
                .into_iter()
                .chain(note.map(|member| self.note(member.note_ms, Kind::Away, instance)))
                .collect()
        };
        let (before, after) = (speaking(old), speaking(new));
        self.replace_all(&before, &after);
        let session = |member: Option<&Member>| member.map_or(SessionId(0), |member| member.session);
        let (left, entered) = (session(old), session(new));
        if left != entered {
            self.work.attach(entered, Keyspace::Pool, &self.name);
            if self.carried_by(left).is_empty() {
                self.work.detach(left, Keyspace::Pool, &self.name);
            }
        }
        self.pool.member_count += u64::from(new.is_some());
        self.pool.member_count -= u64::from(old.is_some());
    }

    /// The members that live by a session.
    pub(super) fn carried_by(&self, session: SessionId) -> Vec<Bytes> {
        if session == SessionId(0) {
            return Vec::new();
        }
        let (from, to) = layout::all_carried(&self.name, session);
        layout::all(self.work, (&from, &to), usize::MAX, |key| {
            layout::parse_carried(key).map(|(_, _, instance)| instance)
        })
    }

    /// Notes when the pause is over, in place of what was noted.
    pub(super) fn set_paused_until(&mut self, until_ms: u64) {
        let note = |at_ms: u64| (at_ms > 0).then(|| self.note(at_ms, Kind::Pause, &Bytes::new()));
        let (before, after) = (note(self.pool.paused_until_ms), note(until_ms));
        self.replace_all(&before.into_iter().collect(), &after.into_iter().collect());
        self.pool.paused_until_ms = until_ms;
    }

    fn note(&self, at_ms: u64, kind: Kind, name: &Bytes) -> Bytes {
        layout::due(&Note { at_ms, pool: self.name.clone(), kind, name: name.clone() })
    }

    fn replace_all(&mut self, before: &BTreeSet<Bytes>, after: &BTreeSet<Bytes>) {
        for key in before.difference(after) {
            self.work.delete(key.clone());
        }
        for key in after.difference(before) {
            self.work.put(key.clone(), Bytes::new());
        }
    }
}

/// Who has something to do with a shard.
pub(super) fn marks(entry: &Shard) -> Vec<(&Bytes, Role)> {
    let mut found: Vec<_> =
        entry.secondaries.iter().map(|secondary| (&secondary.instance, Role::Secondary)).collect();
    match &entry.primary {
        Primary::Unassigned { .. } => {}
        Primary::Owned(owner) => found.push((&owner.instance, Role::Primary)),
        Primary::Moving { from, to, .. } => {
            found.push((&from.instance, Role::Primary));
            found.push((to, Role::Target));
        }
        Primary::Withheld { instance, .. } => found.push((instance, Role::Former)),
    }
    found
}

/// When a shard is looked at, and for what.
pub(super) fn shard_note(entry: &Shard) -> Option<(u64, Kind)> {
    match entry.primary {
        Primary::Withheld { .. } if entry.note_ms > 0 => Some((entry.note_ms, Kind::Withheld)),
        // An owner that is late keeps its shard: nothing is due then.
        Primary::Moving { draining: false, deadline_ms, .. } => Some((deadline_ms, Kind::Target)),
        Primary::Unassigned { .. }
        | Primary::Owned(_)
        | Primary::Moving { draining: true, .. }
        | Primary::Withheld { .. } => None,
    }
}
