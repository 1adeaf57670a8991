//! Leaving without having been asked: sessions that end, and what is due because time passed.

use crate::codec::damaged;
use crate::event::Cause;
use crate::ids::SessionId;
use crate::limits::POOL_ELAPSED_PER_ENTRY_MAX;
use crate::machine::scratch::Scratch;
use crate::pool::layout::{self, Kind, Note, Role};
use crate::pool::ledger::Ledger;
use crate::pool::records::{Member, Shard};
use crate::pool::reply::Primary;
use crate::pool::transfer::Delay;
use crate::pool::{MemberState, PoolEvent, ShardLoss};
use crate::view::View;
use bytes::Bytes;

/// Has every instance that lives by a session go, in these pools. In the scratch's open transaction,
/// whose cause is the reason of the end.
pub(crate) fn end_session(work: &mut Scratch<'_>, session: SessionId, pools: &[Bytes], cause: Cause) {
    let loss = match cause {
        Cause::Expired | Cause::TimedOut => ShardLoss::Expired,
        Cause::Closed | Cause::Request => ShardLoss::Closed,
        Cause::Admin => ShardLoss::Forced,
    };
    for name in pools {
        let Ok(mut ledger) = Ledger::open(work, name) else {
            damaged("pool", format_args!("session {session} takes part in {name:?}, which does not exist"));
        };
        let instances = ledger.carried_by(session);
        // First of all nothing moves to them any more: one of them must not be the heir of another.
        for instance in &instances {
            ledger.give_up_plans(instance);
        }
        for instance in &instances {
            ledger.depart(instance, loss);
        }
        ledger.close();
    }
}

impl Ledger<'_, '_> {
    /// Cancels moves to an instance, and has it keep no copies.
    pub(super) fn give_up_plans(&mut self, instance: &Bytes) {
        for shard in self.shards_of(instance, Role::Target) {
            let entry = self.marked(&shard);
            self.cancel_move(&shard, entry);
        }
        for shard in self.shards_of(instance, Role::Secondary) {
            let entry = self.marked(&shard);
            self.drop_copy(&shard, &entry, instance);
        }
    }

    /// Takes its primaries away from a present member, which is away or gone then.
    pub(super) fn depart(&mut self, instance: &Bytes, loss: ShardLoss) {
        let Some(member) = self.member(instance) else {
            damaged("member of a pool", format_args!("a session carries {instance:?}, which is none"));
        };
        let delay = if loss == ShardLoss::Expired { self.delay() } else { None };
        for shard in self.shards_of(instance, Role::Primary) {
            let entry = self.marked(&shard);
            self.lose(&shard, &entry, loss, delay);
        }
        let until_ms = match delay {
            Some(delay) => self.waiting_until(instance, delay),
            None => self.renounce(instance),
        };
        self.part(instance, &member, until_ms);
    }

    /// A shard that a mark or a note speaks of.
    fn marked(&self, shard: &Bytes) -> Shard {
        match self.find(shard) {
            Some(entry) => entry,
            None => damaged("shard of a pool", format_args!("{:?} has no {shard:?}", self.name)),
        }
    }

    /// For how long what an expired session owned is withheld; `None` for not at all.
    fn delay(&self) -> Option<Delay> {
        let policy = &self.pool.policy;
        let longest_ms = policy.lock_delay_ms.max(policy.reassign_delay_ms);
        if longest_ms == 0 && !policy.sticky {
            return None;
        }
        let lock_ms = self.now_ms().saturating_add(policy.lock_delay_ms);
        let until_ms = if policy.sticky { 0 } else { self.now_ms().saturating_add(longest_ms) };
        Some(Delay { lock_ms, until_ms })
    }

    /// Has what is withheld for an instance wait for it to come back. Until when the last of it
    /// does; `u64::MAX` if something waits without an end.
    fn waiting_until(&mut self, instance: &Bytes, delay: Delay) -> u64 {
        let policy = &self.pool.policy;
        let longest_ms = policy.lock_delay_ms.max(policy.reassign_delay_ms);
        let mut last_ms = self.now_ms().saturating_add(longest_ms).max(delay.until_ms);
        for shard in self.shards_of(instance, Role::Former) {
            let entry = self.marked(&shard);
            let Primary::Withheld { until_ms, .. } = entry.primary else { continue };
            self.change_shard(&shard, &entry, |entry| entry.note_ms = until_ms);
            last_ms = last_ms.max(if until_ms == 0 { u64::MAX } else { until_ms });
        }
        last_ms
    }

    /// Has nothing wait for an instance any more. What may not be granted yet is withheld until it
    /// may. Gives the time until which the instance keeps its place, which is none.
    fn renounce(&mut self, instance: &Bytes) -> u64 {
        for shard in self.shards_of(instance, Role::Former) {
            let entry = self.marked(&shard);
            if entry.lock_ms <= self.now_ms() {
                self.let_go(&shard, &entry);
            } else {
                self.change_shard(&shard, &entry, |entry| entry.note_ms = entry.lock_ms);
            }
        }
        0
    }

    /// Has a member be away until then, or be gone if that is no time.
    fn part(&mut self, instance: &Bytes, member: &Member, until_ms: u64) {
        if until_ms <= self.now_ms() {
            self.set_member(instance, Some(member), None);
            self.tell(PoolEvent::Left { instance: instance.clone() });
            return;
        }
        let away = Member {
            session: SessionId(0),
            away_until_ms: until_ms,
            note_ms: if until_ms == u64::MAX { 0 } else { until_ms },
            ..member.clone()
        };
        self.set_member(instance, Some(member), Some(&away));
        self.tell(PoolEvent::Away { instance: instance.clone(), until_ms });
    }

    /// Has a member that is away be gone once nothing waits for it, if there is no other end.
    pub(super) fn forget_if_idle(&mut self, instance: &Bytes) {
        let Some(member) = self.member(instance) else { return };
        let waits_without_end = !member.is_present() && member.note_ms == 0;
        if waits_without_end && !self.has_any(instance, Role::Former) {
            self.part(instance, &member, 0);
        }
    }

    /// Grants what is withheld for an instance that is back, as far as the lock-delay is over. The
    /// rest is granted when it is.
    pub(super) fn give_back(&mut self, instance: &Bytes) {
        for shard in self.shards_of(instance, Role::Former) {
            let entry = self.marked(&shard);
            if entry.lock_ms <= self.now_ms() {
                self.return_or_let_go(&shard, &entry, instance);
            } else {
                self.change_shard(&shard, &entry, |entry| entry.note_ms = entry.lock_ms);
            }
        }
    }

    /// Ends a withholding whose lock-delay is over: its former owner is granted it if that one is
    /// present and may have it, or else nobody has it.
    fn return_or_let_go(&mut self, shard: &Bytes, entry: &Shard, instance: &Bytes) {
        match self.member(instance).filter(Member::is_present) {
            // It had the shard: a cordon keeps new ones from it, not this one.
            Some(member) if Self::may_return(entry, instance, &member) => {
                self.grant(shard, entry, instance, member.session);
            }
            Some(_) | None => self.let_go(shard, entry),
        }
    }

    /// Whether a shard goes back to the one that had it. One that is being drained gets only what is
    /// pinned there.
    fn may_return(entry: &Shard, instance: &Bytes, member: &Member) -> bool {
        let is_wanted = match &entry.pin {
            Some(pin) => pin == instance,
            None => member.state != MemberState::Draining,
        };
        is_wanted && !entry.retired
    }

    fn elapsed(&mut self, kind: Kind, name: &Bytes) {
        match kind {
            Kind::Withheld => self.withheld_elapsed(name),
            Kind::Target => {
                let entry = self.marked(name);
                self.cancel_move(name, entry);
            }
            Kind::Away => self.away_elapsed(name),
            Kind::Pause => self.resume(),
        }
    }

    fn withheld_elapsed(&mut self, shard: &Bytes) {
        let entry = self.marked(shard);
        let Primary::Withheld { instance, .. } = &entry.primary else {
            damaged("shard of a pool", format_args!("a note speaks of {shard:?}, which is not withheld"));
        };
        let is_away = self.member(instance).is_some_and(|member| !member.is_present());
        if is_away && self.is_paused() {
            let note_ms = self.pool.paused_until_ms;
            self.change_shard(shard, &entry, |entry| entry.note_ms = note_ms);
        } else {
            self.return_or_let_go(shard, &entry, instance);
        }
    }

    fn away_elapsed(&mut self, instance: &Bytes) {
        let Some(member) = self.member(instance) else {
            damaged("member of a pool", format_args!("a note speaks of {instance:?}, which is none"));
        };
        if self.is_paused() {
            let later = Member { note_ms: self.pool.paused_until_ms, ..member.clone() };
            self.set_member(instance, Some(&member), Some(&later));
        } else {
            self.part(instance, &member, 0);
        }
    }

    /// Ends the pause.
    fn resume(&mut self) {
        self.set_paused_until(0);
        self.pool.pause_reason.clear();
        self.tell(PoolEvent::Paused { until_ms: 0, reason: String::new() });
    }

    /// Pauses until then, or ends the pause for zero. What was due during the present pause is put
    /// off until the new one is over.
    pub(super) fn pause(&mut self, until_ms: u64, reason: &str) {
        let (from, to) = layout::due_at(self.pool.paused_until_ms, &self.name);
        let put_off = layout::all(self.work, (&from, &to), usize::MAX, layout::parse_due);
        let later_ms = until_ms.max(self.now_ms());
        for Note { kind, name, .. } in put_off {
            match kind {
                Kind::Withheld => self.put_off_shard(&name, later_ms),
                Kind::Away => self.put_off_member(&name, later_ms),
                Kind::Target | Kind::Pause => {}
            }
        }
        self.set_paused_until(until_ms);
        reason.clone_into(&mut self.pool.pause_reason);
        self.tell(PoolEvent::Paused { until_ms, reason: reason.to_owned() });
    }

    fn put_off_shard(&mut self, shard: &Bytes, later_ms: u64) {
        let entry = self.marked(shard);
        let Primary::Withheld { instance, until_ms, .. } = &entry.primary else { return };
        if self.member(instance).is_some_and(|member| !member.is_present()) {
            let note_ms = later_ms.max(*until_ms);
            self.change_shard(shard, &entry, |entry| entry.note_ms = note_ms);
        }
    }

    fn put_off_member(&mut self, instance: &Bytes, later_ms: u64) {
        let Some(member) = self.member(instance) else { return };
        let later = Member { note_ms: later_ms.max(member.away_until_ms), ..member.clone() };
        self.set_member(instance, Some(&member), Some(&later));
    }
}

/// Lets go of what is due at the entry's stamp, the earliest first.
pub(super) fn elapse(work: &mut Scratch<'_>) {
    work.set_cause(Cause::TimedOut);
    for Note { pool, kind, name, .. } in due(work, work.stamp_ms(), POOL_ELAPSED_PER_ENTRY_MAX) {
        let Ok(mut ledger) = Ledger::open(work, &pool) else {
            damaged("pool", format_args!("a note speaks of {pool:?}, which does not exist"));
        };
        ledger.elapsed(kind, &name);
        ledger.close();
    }
}

/// At most `limit` notes that are due.
pub(super) fn due(view: &dyn View, now_ms: u64, limit: usize) -> Vec<Note> {
    let (from, to) = layout::DUE_SPAN;
    let mut notes = layout::all(view, (from, to), limit, layout::parse_due);
    notes.retain(|note| note.at_ms <= now_ms);
    notes
}
