//! What a member is told about its shards, and what it makes of the pool's events.
//!
//! [`Standing`] is pure: the pool as it was read, then its events, in; what the program is told, out.
//! Whatever was missed in between shows as the difference when the pool is read anew.

use crate::types::Token;
use bytes::Bytes;
use oarlock_proto::v1::{self, pool_event::Event, shard_primary};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::SystemTime;

/// What a member is told about its shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// It owns the shard's primary from now on. Work on it, with the token on everything that is
    /// written.
    Assigned {
        /// The shard.
        shard: Bytes,
        /// The fencing token of the grant.
        token: Token,
    },
    /// It is to own the shard soon: warm up, then say [`ready`](super::MemberHandle::ready). The
    /// owner goes on meanwhile.
    Prepare {
        /// The shard.
        shard: Bytes,
        /// The move is given up when it is not ready by then, by the servers' clock.
        deadline: SystemTime,
    },
    /// The shard that it prepared for stays where it is.
    Cancelled {
        /// The shard.
        shard: Bytes,
    },
    /// Its successor is warm: finish what is under way, hand over, then
    /// [`release`](super::MemberHandle::release). It owns the shard until it does.
    Drain {
        /// The shard.
        shard: Bytes,
        /// Who is to have it; `None` when the shard is removed.
        to: Option<Bytes>,
        /// It is late after that, by the servers' clock; operators see it, and it still owns the
        /// shard.
        deadline: SystemTime,
    },
    /// It keeps the shard after all: the move was given up while it drained.
    Keep {
        /// The shard.
        shard: Bytes,
    },
    /// It does not own the shard any more, without having released it. Stop at once.
    Lost {
        /// The shard.
        shard: Bytes,
        /// The token that it was owned under.
        token: Token,
        /// Why.
        cause: ShardLoss,
    },
    /// It is to keep a copy of the shard, as a secondary: copy it, then say
    /// [`ready`](super::MemberHandle::ready).
    Copy {
        /// The shard.
        shard: Bytes,
    },
    /// It is to keep a copy no longer.
    CopyDropped {
        /// The shard.
        shard: Bytes,
    },
}

impl Assignment {
    /// The shard that it is about.
    pub fn shard(&self) -> &Bytes {
        match self {
            Self::Assigned { shard, .. }
            | Self::Prepare { shard, .. }
            | Self::Cancelled { shard }
            | Self::Drain { shard, .. }
            | Self::Keep { shard }
            | Self::Lost { shard, .. }
            | Self::Copy { shard }
            | Self::CopyDropped { shard } => shard,
        }
    }
}

/// Why a shard was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShardLoss {
    /// It was released by somebody else in this member's name.
    Released,
    /// The session timed out.
    Expired,
    /// The session was closed, or the member left the pool.
    Closed,
    /// An operator took it away.
    Forced,
    /// The pool was deleted.
    Deleted,
    /// The service has not confirmed the session for its whole timeout: whether it is owned is not
    /// known, so it must not be acted upon. If the session lives after all, it is assigned anew.
    Unconfirmed,
    /// It was gone when the pool could be read again; the event that says why is compacted.
    Unobserved,
}

impl fmt::Display for ShardLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Released => "it was released in this member's name",
            Self::Expired => "the session expired",
            Self::Closed => "the session was closed, or the member left",
            Self::Forced => "an operator took it away",
            Self::Deleted => "the pool was deleted",
            Self::Unconfirmed => "the session was not confirmed in time",
            Self::Unobserved => "it was gone after an interruption",
        })
    }
}

/// What one member has of a pool.
#[derive(Debug)]
pub(crate) struct Standing {
    pool: Bytes,
    instance: Bytes,
    /// What happens under another session of the same instance is not this member's.
    session: u64,
    owned: BTreeMap<Bytes, Primary>,
    /// Given up by the program; the log may not know yet.
    releasing: BTreeMap<Bytes, u64>,
    preparing: BTreeSet<Bytes>,
    copies: BTreeSet<Bytes>,
    stage: Stage,
}

/// How far what it has can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The pool was not read since everything was lost: it may own more than it knows.
    Unread,
    /// It has what the log says it has.
    Read,
    /// It asked to leave: whatever the log still says, others may own it at any moment.
    Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Primary {
    epoch: u64,
    draining: bool,
}

impl Standing {
    /// Nothing yet.
    pub(crate) fn new(pool: Bytes, instance: Bytes) -> Self {
        Self {
            pool,
            instance,
            session: 0,
            owned: BTreeMap::new(),
            releasing: BTreeMap::new(),
            preparing: BTreeSet::new(),
            copies: BTreeSet::new(),
            stage: Stage::Unread,
        }
    }

    /// It lives by this session from now on, and has nothing under it yet.
    pub(crate) fn begin(&mut self, session: u64) {
        debug_assert!(self.owned.is_empty(), "what another session owned was told as lost");
        self.session = session;
        self.releasing.clear();
    }

    /// What is owned, with epochs.
    pub(crate) fn owned(&self) -> BTreeMap<Bytes, u64> {
        self.owned.iter().map(|(shard, primary)| (shard.clone(), primary.epoch)).collect()
    }

    /// Whether it is known that there is nothing left to hand over, nor to be given.
    pub(crate) fn is_idle(&self) -> bool {
        self.stage != Stage::Unread
            && self.owned.is_empty()
            && self.releasing.is_empty()
            && self.preparing.is_empty()
    }

    /// The program lets a primary go: it is not owned any more, whatever the log says later. Its epoch.
    pub(crate) fn release(&mut self, shard: &Bytes) -> Option<u64> {
        let Primary { epoch, .. } = self.owned.remove(shard)?;
        self.releasing.insert(shard.clone(), epoch);
        Some(epoch)
    }

    /// The log knows of a release, or refused it.
    pub(crate) fn released(&mut self, shard: &Bytes) {
        self.releasing.remove(shard);
    }

    /// Everything is lost for one reason.
    pub(crate) fn lose_all(&mut self, cause: ShardLoss) -> Vec<Assignment> {
        if self.stage == Stage::Read {
            self.stage = Stage::Unread;
        }
        let mut told = Vec::new();
        for (shard, primary) in std::mem::take(&mut self.owned) {
            told.push(self.lost(shard, primary.epoch, cause));
        }
        told.extend(
            std::mem::take(&mut self.preparing).into_iter().map(|shard| Assignment::Cancelled { shard }),
        );
        told.extend(
            std::mem::take(&mut self.copies).into_iter().map(|shard| Assignment::CopyDropped { shard }),
        );
        told
    }

    /// It is about to ask to leave: everything is lost, and nothing comes any more.
    pub(crate) fn leave(&mut self) -> Vec<Assignment> {
        self.stage = Stage::Left;
        self.lose_all(ShardLoss::Closed)
    }

    /// Whether it asked to leave.
    pub(crate) fn has_left(&self) -> bool {
        self.stage == Stage::Left
    }

    /// The pool was read anew: what that changes.
    pub(crate) fn reread(&mut self, pool: &v1::PoolInfo) -> Vec<Assignment> {
        if self.has_left() {
            return Vec::new();
        }
        self.stage = Stage::Read;
        let seen = self.seen(pool);
        self.releasing
            .retain(|shard, epoch| seen.owned.get(shard).is_some_and(|(one, _)| one.epoch == *epoch));
        let mut told = Vec::new();
        let gone: Vec<(Bytes, u64)> = (self.owned.iter())
            .filter(|(shard, had)| seen.owned.get(*shard).is_none_or(|(has, _)| has.epoch != had.epoch))
            .map(|(shard, had)| (shard.clone(), had.epoch))
            .collect();
        for (shard, epoch) in gone {
            self.owned.remove(&shard);
            told.push(self.lost(shard, epoch, ShardLoss::Unobserved));
        }
        for shard in self.preparing.clone() {
            if !seen.preparing.contains_key(&shard) {
                self.preparing.remove(&shard);
                if !seen.owned.contains_key(&shard) {
                    told.push(Assignment::Cancelled { shard });
                }
            }
        }
        for (shard, (primary, drain)) in seen.owned {
            told.extend(self.reread_owned(shard, primary, drain));
        }
        for (shard, deadline) in seen.preparing {
            if self.preparing.insert(shard.clone()) {
                told.push(Assignment::Prepare { shard, deadline });
            }
        }
        let before = std::mem::replace(&mut self.copies, seen.copies);
        told.extend(
            before.difference(&self.copies).map(|shard| Assignment::CopyDropped { shard: shard.clone() }),
        );
        told.extend(self.copies.difference(&before).map(|shard| Assignment::Copy { shard: shard.clone() }));
        told
    }

    fn reread_owned(&mut self, shard: Bytes, primary: Primary, drain: Drain) -> Vec<Assignment> {
        if self.releasing.contains_key(&shard) {
            return Vec::new();
        }
        let before = self.owned.insert(shard.clone(), primary);
        let mut told = Vec::new();
        if before.is_none() {
            told.push(Assignment::Assigned {
                shard: shard.clone(),
                token: self.token(&shard, primary.epoch),
            });
        }
        match (before.is_some_and(|before| before.draining), primary.draining) {
            (false, true) => told.push(Assignment::Drain { shard, to: drain.to, deadline: drain.deadline }),
            (true, false) => told.push(Assignment::Keep { shard }),
            (true, true) | (false, false) => {}
        }
        told
    }

    /// Something happened to the pool: what the program is told.
    pub(crate) fn event(&mut self, event: &Event) -> Vec<Assignment> {
        if self.has_left() {
            return Vec::new();
        }
        match event {
            Event::Granted(granted) => self.granted(granted).into_iter().collect(),
            Event::Preparing(moving) if moving.to == self.instance => {
                let shard = moving.shard.clone();
                self.preparing.insert(shard.clone());
                vec![Assignment::Prepare { shard, deadline: unix_ms(moving.deadline_unix_ms) }]
            }
            Event::Draining(moving) if moving.from == self.instance => {
                self.draining(moving).into_iter().collect()
            }
            Event::MoveCancelled(cancelled) => self.cancelled(cancelled).into_iter().collect(),
            Event::Lost(lost) if lost.instance == self.instance => {
                self.lost_by_event(lost).into_iter().collect()
            }
            Event::SecondaryAdded(copy) if copy.instance == self.instance && copy.session == self.session => {
                self.copies.insert(copy.shard.clone());
                vec![Assignment::Copy { shard: copy.shard.clone() }]
            }
            Event::SecondaryDropped(copy) if copy.instance == self.instance => {
                let shard = copy.shard.clone();
                let had = self.copies.remove(&shard);
                had.then_some(Assignment::CopyDropped { shard }).into_iter().collect()
            }
            Event::ShardAdded(added) => self.stays(&added.shard).into_iter().collect(),
            Event::Deleted(_) => self.lose_all(ShardLoss::Deleted),
            _ => Vec::new(),
        }
    }

    fn granted(&mut self, granted: &v1::pool_event::Granted) -> Option<Assignment> {
        if granted.instance != self.instance || granted.session != self.session {
            return None;
        }
        let (shard, epoch) = (granted.shard.clone(), granted.epoch);
        self.preparing.remove(&shard);
        self.releasing.remove(&shard);
        self.owned.insert(shard.clone(), Primary { epoch, draining: false });
        Some(Assignment::Assigned { token: self.token(&shard, epoch), shard })
    }

    fn draining(&mut self, moving: &v1::pool_event::Moving) -> Option<Assignment> {
        let primary = self.owned.get_mut(&moving.shard)?;
        primary.draining = true;
        let to = Some(moving.to.clone()).filter(|to| !to.is_empty());
        Some(Assignment::Drain {
            shard: moving.shard.clone(),
            to,
            deadline: unix_ms(moving.deadline_unix_ms),
        })
    }

    fn cancelled(&mut self, cancelled: &v1::pool_event::MoveCancelled) -> Option<Assignment> {
        let shard = cancelled.shard.clone();
        if cancelled.to == self.instance && self.preparing.remove(&shard) {
            return Some(Assignment::Cancelled { shard });
        }
        self.stays(&shard)
    }

    /// A shard that was drained is not to go after all.
    fn stays(&mut self, shard: &Bytes) -> Option<Assignment> {
        let primary = self.owned.get_mut(shard).filter(|primary| primary.draining)?;
        primary.draining = false;
        Some(Assignment::Keep { shard: shard.clone() })
    }

    fn lost_by_event(&mut self, lost: &v1::pool_event::Lost) -> Option<Assignment> {
        if self.releasing.get(&lost.shard) == Some(&lost.epoch) {
            self.releasing.remove(&lost.shard);
            return None;
        }
        self.owned.get(&lost.shard).filter(|primary| primary.epoch == lost.epoch)?;
        self.owned.remove(&lost.shard);
        Some(self.lost(lost.shard.clone(), lost.epoch, cause(lost.loss())))
    }

    fn lost(&self, shard: Bytes, epoch: u64, cause: ShardLoss) -> Assignment {
        Assignment::Lost { token: self.token(&shard, epoch), shard, cause }
    }

    fn token(&self, shard: &Bytes, epoch: u64) -> Token {
        Token::of_shard(self.pool.clone(), shard.clone(), epoch)
    }

    /// What a pool says of this member.
    fn seen(&self, pool: &v1::PoolInfo) -> Seen {
        use shard_primary::State;
        let mut seen = Seen::default();
        let is_mine =
            |owner: &v1::ShardOwner| owner.instance == self.instance && owner.session == self.session;
        for info in &pool.shards {
            let shard = &info.shard;
            let no_drain = Drain { to: None, deadline: unix_ms(pool.stamp_unix_ms + handoff_ms(pool)) };
            match info.primary.as_ref().and_then(|primary| primary.state.as_ref()) {
                Some(State::Owned(owner)) if is_mine(owner) => {
                    let primary = Primary { epoch: owner.epoch, draining: info.retired };
                    seen.owned.insert(shard.clone(), (primary, no_drain));
                }
                Some(State::Moving(moving)) => {
                    let deadline = unix_ms(moving.deadline_unix_ms);
                    if let Some(owner) = moving.from.as_ref().filter(|owner| is_mine(owner)) {
                        let primary = Primary { epoch: owner.epoch, draining: moving.draining };
                        let drain = Drain { to: Some(moving.to.clone()), deadline };
                        seen.owned.insert(shard.clone(), (primary, drain));
                    }
                    if moving.to == self.instance && moving.session == self.session {
                        seen.preparing.insert(shard.clone(), deadline);
                    }
                }
                Some(State::Owned(_) | State::Unassigned(_) | State::Withheld(_)) | None => {}
            }
            let copy =
                |copy: &v1::ShardSecondary| copy.instance == self.instance && copy.session == self.session;
            if info.secondaries.iter().any(copy) {
                seen.copies.insert(shard.clone());
            }
        }
        seen
    }
}

#[derive(Default)]
struct Seen {
    owned: BTreeMap<Bytes, (Primary, Drain)>,
    preparing: BTreeMap<Bytes, SystemTime>,
    copies: BTreeSet<Bytes>,
}

struct Drain {
    to: Option<Bytes>,
    deadline: SystemTime,
}

fn handoff_ms(pool: &v1::PoolInfo) -> u64 {
    pool.policy.as_ref().map_or(0, |policy| policy.handoff_ms)
}

fn cause(loss: v1::pool_event::Loss) -> ShardLoss {
    use v1::pool_event::Loss;
    match loss {
        Loss::Released | Loss::Moved => ShardLoss::Released,
        Loss::Expired => ShardLoss::Expired,
        Loss::Closed => ShardLoss::Closed,
        Loss::Forced => ShardLoss::Forced,
    }
}

/// Milliseconds since 1970 as a time.
pub(crate) fn unix_ms(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::pool_event::{Copy, Granted, Loss, Lost, MoveCancelled, Moving};

    fn standing() -> Standing {
        let mut standing = Standing::new("p".into(), "me".into());
        standing.begin(7);
        assert!(!standing.is_idle() && standing.reread(&pool(Vec::new())).is_empty());
        standing
    }

    fn granted(shard: &'static str, session: u64, epoch: u64) -> Event {
        Event::Granted(Granted { shard: shard.into(), instance: "me".into(), session, epoch })
    }

    fn moving(shard: &'static str, from: &'static str, to: &'static str) -> Moving {
        Moving { shard: shard.into(), from: from.into(), to: to.into(), deadline_unix_ms: 5_000 }
    }

    fn lost(shard: &'static str, epoch: u64, loss: Loss) -> Event {
        let (shard, instance) = (shard.into(), "me".into());
        Event::Lost(Lost { shard, instance, epoch, loss: loss.into(), withheld_until_unix_ms: 0 })
    }

    fn owned_by(instance: &'static str, session: u64, epoch: u64) -> v1::ShardPrimary {
        let owner = v1::ShardOwner { instance: instance.into(), session, epoch, granted_unix_ms: 0 };
        v1::ShardPrimary { state: Some(shard_primary::State::Owned(owner)) }
    }

    fn pool(shards: Vec<(&'static str, v1::ShardPrimary)>) -> v1::PoolInfo {
        let shard = |(shard, primary): (&'static str, v1::ShardPrimary)| v1::PoolShard {
            shard: shard.into(),
            primary: Some(primary),
            ..Default::default()
        };
        v1::PoolInfo { shards: shards.into_iter().map(shard).collect(), ..Default::default() }
    }

    fn token(shard: &'static str, epoch: u64) -> Token {
        Token::of_shard("p", shard, epoch)
    }

    #[test]
    fn who_asked_to_leave_owns_nothing_whatever_the_log_still_says() {
        let mut me = standing();
        me.event(&granted("a", 7, 10));
        let lost = Assignment::Lost { shard: "a".into(), token: token("a", 10), cause: ShardLoss::Closed };
        assert_eq!(me.leave(), [lost]);
        // Read, or told, before the leave was executed.
        assert!(me.reread(&pool(vec![("a", owned_by("me", 7, 10))])).is_empty());
        assert!(me.event(&granted("b", 7, 11)).is_empty());
        assert!(me.owned().is_empty() && me.has_left());
    }

    #[test]
    fn whose_session_was_unconfirmed_is_not_idle_before_it_has_read_the_pool() {
        let mut me = standing();
        me.event(&granted("a", 7, 10));
        assert_eq!(me.lose_all(ShardLoss::Unconfirmed).len(), 1);
        assert!(me.owned().is_empty() && !me.is_idle(), "the log may say otherwise");
        assert_eq!(me.reread(&pool(vec![("a", owned_by("me", 7, 10))])).len(), 1, "as it does");
        assert_eq!(me.lose_all(ShardLoss::Unconfirmed).len(), 1);
        me.reread(&pool(vec![("a", owned_by("other", 8, 11))]));
        assert!(me.is_idle(), "it was granted to another one meanwhile");
    }

    #[test]
    fn a_planned_move_is_prepared_assigned_drained_and_released() {
        let mut me = standing();
        let deadline = unix_ms(5_000);
        let told = me.event(&Event::Preparing(moving("a", "other", "me")));
        assert_eq!(told, [Assignment::Prepare { shard: "a".into(), deadline }]);
        assert_eq!(me.event(&Event::Draining(moving("a", "other", "me"))), [], "the other's business");
        let told = me.event(&granted("a", 7, 12));
        assert_eq!(told, [Assignment::Assigned { shard: "a".into(), token: token("a", 12) }]);
        assert_eq!(me.event(&Event::Preparing(moving("a", "me", "other"))), [], "the owner goes on");
        let told = me.event(&Event::Draining(moving("a", "me", "other")));
        assert_eq!(told, [Assignment::Drain { shard: "a".into(), to: Some("other".into()), deadline }]);
        assert_eq!(me.release(&"a".into()), Some(12));
        assert!(me.owned().is_empty() && !me.is_idle(), "not owned, and not yet handed over");
        assert_eq!(me.event(&lost("a", 12, Loss::Moved)), [], "its own doing");
        assert!(me.is_idle());
    }

    #[test]
    fn a_move_that_is_given_up_leaves_things_as_they_were() {
        let mut me = standing();
        me.event(&granted("a", 7, 3));
        me.event(&Event::Draining(moving("a", "me", "other")));
        let cancelled = Event::MoveCancelled(MoveCancelled { shard: "a".into(), to: "other".into() });
        assert_eq!(me.event(&cancelled), [Assignment::Keep { shard: "a".into() }]);
        assert_eq!(me.event(&cancelled), []);
        me.event(&Event::Preparing(moving("b", "other", "me")));
        let cancelled = Event::MoveCancelled(MoveCancelled { shard: "b".into(), to: "me".into() });
        assert_eq!(me.event(&cancelled), [Assignment::Cancelled { shard: "b".into() }]);
    }

    #[test]
    fn what_another_session_of_the_instance_has_is_not_its_own() {
        let mut me = standing();
        assert_eq!(me.event(&granted("a", 6, 3)), []);
        assert_eq!(me.reread(&pool(vec![("a", owned_by("me", 6, 3))])), []);
        assert_eq!(me.event(&lost("a", 3, Loss::Expired)), []);
    }

    #[test]
    fn an_old_epochs_end_does_not_touch_the_new_one() {
        let mut me = standing();
        me.event(&granted("a", 7, 3));
        assert_eq!(me.event(&lost("a", 2, Loss::Expired)), []);
        let told = me.event(&lost("a", 3, Loss::Forced));
        let cause = ShardLoss::Forced;
        assert_eq!(told, [Assignment::Lost { shard: "a".into(), token: token("a", 3), cause }]);
    }

    #[test]
    fn reading_anew_tells_the_difference() {
        let mut me = standing();
        me.event(&granted("a", 7, 3));
        me.event(&granted("b", 7, 4));
        me.event(&granted("c", 7, 5));
        me.event(&Event::Preparing(moving("d", "other", "me")));
        me.event(&Event::SecondaryAdded(Copy {
            shard: "e".into(),
            instance: "me".into(),
            session: 7,
            epoch: 6,
        }));
        let told = me.reread(&pool(vec![
            ("a", owned_by("me", 7, 3)),
            ("b", owned_by("me", 7, 9)),
            ("c", owned_by("other", 8, 9)),
            ("d", owned_by("me", 7, 10)),
        ]));
        let cause = ShardLoss::Unobserved;
        assert_eq!(
            told,
            [
                Assignment::Lost { shard: "b".into(), token: token("b", 4), cause },
                Assignment::Lost { shard: "c".into(), token: token("c", 5), cause },
                Assignment::Assigned { shard: "b".into(), token: token("b", 9) },
                Assignment::Assigned { shard: "d".into(), token: token("d", 10) },
                Assignment::CopyDropped { shard: "e".into() },
            ]
        );
        assert_eq!(me.reread(&pool(vec![])).len(), 3, "everything is gone");
    }

    #[test]
    fn what_is_being_released_is_not_taken_back_by_reading_anew() {
        let mut me = standing();
        me.event(&granted("a", 7, 3));
        me.release(&"a".into());
        assert_eq!(me.reread(&pool(vec![("a", owned_by("me", 7, 3))])), []);
        assert!(me.owned().is_empty());
        let told = me.reread(&pool(vec![("a", owned_by("me", 7, 8))]));
        assert_eq!(told, [Assignment::Assigned { shard: "a".into(), token: token("a", 8) }]);
    }

    #[test]
    fn a_retired_shard_is_drained_to_nobody() {
        let mut me = standing();
        me.event(&granted("a", 7, 3));
        let told = me.event(&Event::Draining(moving("a", "me", "")));
        assert!(matches!(&told[..], [Assignment::Drain { to: None, .. }]));
    }
}
