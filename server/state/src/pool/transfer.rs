//! How a shard passes from one member to another. The one place where epochs are made and end.

use crate::ids::SessionId;
use crate::pool::ledger::Ledger;
use crate::pool::records::Shard;
use crate::pool::reply::{Owner, Primary, Secondary};
use crate::pool::{PoolEvent, ShardLoss};
use bytes::Bytes;

/// For how long an expired owner's shard is withheld.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delay {
    /// Nobody is granted it before.
    pub(super) lock_ms: u64,
    /// Nobody but its former owner is granted it before; zero for as long as nobody forces it.
    pub(super) until_ms: u64,
}

impl Ledger<'_, '_> {
    /// Grants a primary that nobody owns. The transaction's revision is its epoch. Copies that must
    /// not be beside it go: zones that have to differ cost copies, never a primary.
    pub(super) fn grant(&mut self, shard: &Bytes, entry: &Shard, to: &Bytes, session: SessionId) {
        let zone = self.member(to).map(|member| member.zone).unwrap_or_default();
        let copies = entry.secondaries.iter().map(|secondary| &secondary.instance);
        let rivals: Vec<Bytes> =
            copies.filter(|copy| *copy == to || self.is_in_zone([*copy], &zone)).cloned().collect();
        for instance in &rivals {
            self.tell(PoolEvent::SecondaryDropped { shard: shard.clone(), instance: instance.clone() });
        }
        let owner = Owner { instance: to.clone(), session, epoch: self.epoch(), granted_ms: self.now_ms() };
        let (instance, epoch) = (to.clone(), owner.epoch);
        self.change_shard(shard, entry, |entry| {
            entry.primary = Primary::Owned(owner);
            entry.secondaries.retain(|secondary| !rivals.contains(&secondary.instance));
            (entry.lock_ms, entry.note_ms) = (0, 0);
        });
        self.tell(PoolEvent::Granted { shard: shard.clone(), instance, session, epoch });
    }

    /// Ends an epoch. With a delay the primary is withheld. Otherwise it is granted to the target of
    /// its move if that one is ready, or else it is unassigned, and gone if it was to go.
    pub(super) fn lose(&mut self, shard: &Bytes, entry: &Shard, loss: ShardLoss, delay: Option<Delay>) {
        let (owner, target) = match &entry.primary {
            Primary::Owned(owner) => (owner.clone(), None),
            Primary::Moving { from, to, session, draining, .. } => {
                (from.clone(), Some((to.clone(), *session, *draining)))
            }
            Primary::Unassigned { .. } | Primary::Withheld { .. } => return,
        };
        let heir = target.as_ref().filter(|(_, _, ready)| *ready && delay.is_none());
        if let (Some((to, _, _)), None) = (&target, heir) {
            self.tell(PoolEvent::MoveCancelled { shard: shard.clone(), to: to.clone() });
        }
        let loss = if loss == ShardLoss::Released && heir.is_some() { ShardLoss::Moved } else { loss };
        let withheld_until_ms = match delay {
            None => 0,
            Some(Delay { until_ms: 0, .. }) => u64::MAX,
            Some(Delay { until_ms, .. }) => until_ms,
        };
        self.tell(PoolEvent::Lost {
            shard: shard.clone(),
            instance: owner.instance.clone(),
            epoch: owner.epoch,
            loss,
            withheld_until_ms,
        });
        let since_ms = self.now_ms();
        let entry = self.change_shard(shard, entry, |entry| match delay {
            None => entry.primary = Primary::Unassigned { since_ms },
            Some(Delay { lock_ms, until_ms }) => {
                entry.primary = Primary::Withheld { instance: owner.instance, epoch: owner.epoch, until_ms };
                (entry.lock_ms, entry.note_ms) = (lock_ms, until_ms);
            }
        });
        match heir {
            Some((to, session, _)) => self.grant(shard, &entry, to, *session),
            None => self.remove_if_retired(shard, &entry),
        }
    }

    /// Withholds a primary no longer.
    pub(super) fn let_go(&mut self, shard: &Bytes, entry: &Shard) {
        self.tell(PoolEvent::Available { shard: shard.clone() });
        let since_ms = self.now_ms();
        let entry = self.change_shard(shard, entry, |entry| {
            entry.primary = Primary::Unassigned { since_ms };
            (entry.lock_ms, entry.note_ms) = (0, 0);
        });
        self.remove_if_retired(shard, &entry);
    }

    fn remove_if_retired(&mut self, shard: &Bytes, entry: &Shard) {
        if entry.retired && matches!(entry.primary, Primary::Unassigned { .. }) {
            self.remove_shard(shard, entry);
        }
    }

    /// Removes a shard that nobody owns.
    pub(super) fn remove_shard(&mut self, shard: &Bytes, entry: &Shard) {
        self.tell(PoolEvent::ShardRemoved { shard: shard.clone() });
        self.set_shard(shard, Some(entry), None);
    }

    /// Begins the move of an owned primary: the target is to prepare.
    pub(super) fn begin_move(&mut self, shard: &Bytes, entry: &Shard, to: &Bytes, session: SessionId) {
        let Primary::Owned(from) = &entry.primary else { return };
        let deadline_ms = self.deadline_ms();
        self.change_shard(shard, entry, |entry| {
            let from = from.clone();
            entry.primary = Primary::Moving { from, to: to.clone(), session, draining: false, deadline_ms };
        });
        let (from, to) = (from.instance.clone(), to.clone());
        self.tell(PoolEvent::Preparing { shard: shard.clone(), from, to, deadline_ms });
    }

    /// When a phase of a move that begins now is late.
    pub(super) fn deadline_ms(&self) -> u64 {
        self.now_ms().saturating_add(self.pool.policy.handoff_ms)
    }

    /// Gives a move up, if there is one: the owner goes on. Gives back what is stored then.
    pub(super) fn cancel_move(&mut self, shard: &Bytes, entry: Shard) -> Shard {
        let Primary::Moving { from, to, .. } = &entry.primary else { return entry };
        self.tell(PoolEvent::MoveCancelled { shard: shard.clone(), to: to.clone() });
        let from = from.clone();
        self.change_shard(shard, &entry, |entry| entry.primary = Primary::Owned(from))
    }

    /// Has a member keep a copy.
    pub(super) fn add_copy(&mut self, shard: &Bytes, entry: &Shard, to: &Bytes, session: SessionId) {
        let epoch = self.epoch();
        self.change_shard(shard, entry, |entry| {
            entry.secondaries.push(Secondary { instance: to.clone(), session, epoch, ready: false });
            entry.secondaries.sort_by(|left, right| left.instance.cmp(&right.instance));
        });
        self.tell(PoolEvent::SecondaryAdded { shard: shard.clone(), instance: to.clone(), session, epoch });
    }

    /// Has a member drop its copy.
    pub(super) fn drop_copy(&mut self, shard: &Bytes, entry: &Shard, from: &Bytes) {
        self.change_shard(shard, entry, |entry| {
            entry.secondaries.retain(|secondary| secondary.instance != *from);
        });
        self.tell(PoolEvent::SecondaryDropped { shard: shard.clone(), instance: from.clone() });
    }
}
