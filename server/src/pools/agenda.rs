//! Which pool is to be planned next, and when. Pure: time comes in as milliseconds of any clock that
//! does not go back, so that the simulator can drive it.

use bytes::Bytes;
use oarlock_state::pool::placement::Plan;
use oarlock_state::pool::{PoolState, Primary};
use std::collections::{BTreeMap, BTreeSet};

/// Changes that come within this time are planned for together.
const GATHER_MS: u64 = 5;
/// Likewise changes of loads, weights and pins: nobody waits for these, and loads change all the time.
const TUNED_MS: u64 = 500;
/// First pause after a failure; doubled with each.
const PAUSE_MS: u64 = 50;
/// Longest pause after failures.
const PAUSE_MS_MAX: u64 = 30_000;
/// How soon a pool whose moves of this minute are used up is looked at again.
const REFILL_MS: u64 = 1_000;
/// How long after a deadline of a pool it is looked at, should nothing have been heard of it.
const GRACE_MS: u64 = 500;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Find out which pools there are, and tell [`Agenda::listed`].
    List,
    /// Read a pool, plan, propose, and tell [`Agenda::planned`].
    Plan(Bytes),
}

/// What became of planning a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Steps were executed.
    Done,
    /// There was nothing to do. There may be after so many milliseconds even if nothing is heard.
    Nothing {
        /// Milliseconds.
        again_ms: Option<u64>,
    },
    /// The pool had changed before the plan came.
    Stale,
    /// A step was refused, or the node did not take or answer the request.
    Failed,
    /// The pool exists no longer.
    Gone,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// When to plan; not at all until something changes if `None`.
    due_ms: Option<u64>,
    /// Not before, because planning failed.
    pause_until_ms: u64,
    failures: u32,
}

impl Pace {
    fn want(&mut self, at_ms: u64) {
        let at_ms = at_ms.max(self.pause_until_ms);
        self.due_ms = Some(self.due_ms.map_or(at_ms, |due| due.min(at_ms)));
    }

    fn fail(&mut self, now_ms: u64) {
        let pause = PAUSE_MS.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MS_MAX);
        self.failures += 1;
        self.pause_until_ms = now_ms + pause;
        self.due_ms = Some(self.pause_until_ms);
    }

    fn succeed(&mut self) {
        (self.failures, self.pause_until_ms) = (0, 0);
    }
}

/// What a leader's planner has before it.
#[derive(Debug, Default)]
pub struct Agenda {
    pools: BTreeMap<Bytes, Pace>,
    list: Pace,
}

impl Agenda {
    /// Changes may have been missed, or none were seen yet: all pools are to be listed.
    pub fn lose_track(&mut self, now_ms: u64) {
        self.list.want(now_ms);
    }

    /// These are all pools; each is planned.
    pub fn listed(&mut self, pools: impl IntoIterator<Item = Bytes>, now_ms: u64) {
        self.list = Pace::default();
        let listed: BTreeSet<Bytes> = pools.into_iter().collect();
        self.pools.retain(|pool, _| listed.contains(pool));
        for pool in listed {
            self.pools.entry(pool).or_default().want(now_ms);
        }
    }

    /// Pools could not be listed.
    pub fn list_failed(&mut self, now_ms: u64) {
        self.list.fail(now_ms);
    }

    /// A pool changed; `tuned` if that was nothing but loads, weights or pins.
    pub fn changed(&mut self, pool: Bytes, tuned: bool, now_ms: u64) {
        let after_ms = if tuned { TUNED_MS } else { GATHER_MS };
        self.pools.entry(pool).or_default().want(now_ms + after_ms);
    }

    /// What to do now, if anything. It counts as being done from then on.
    pub fn take(&mut self, now_ms: u64) -> Option<Work> {
        let is_due = |pace: &Pace| pace.due_ms.is_some_and(|due| due <= now_ms);
        if is_due(&self.list) {
            self.list.due_ms = None;
            return Some(Work::List);
        }
        let due = self.pools.iter_mut().filter(|(_, pace)| is_due(pace));
        // Whoever waits longest comes first, so that a pool that changes all the time delays no other.
        let (pool, pace) = due.min_by_key(|(_, pace)| pace.due_ms)?;
        pace.due_ms = None;
        Some(Work::Plan(pool.clone()))
    }

    /// When there will be something to do, if nothing is heard until then.
    pub fn next_ms(&self) -> Option<u64> {
        self.pools.values().chain([&self.list]).filter_map(|pace| pace.due_ms).min()
    }

    /// What became of the planning of a pool that [`take`](Self::take) named.
    pub fn planned(&mut self, pool: &Bytes, progress: Progress, now_ms: u64) {
        let Some(pace) = self.pools.get_mut(pool) else { return };
        match progress {
            Progress::Done => {
                pace.succeed();
                pace.want(now_ms + GATHER_MS);
            }
            Progress::Nothing { again_ms } => {
                pace.succeed();
                if let Some(again_ms) = again_ms {
                    pace.want(now_ms + again_ms);
                }
            }
            // The change that made it stale is known here by then, or will be soon.
            Progress::Stale => pace.want(now_ms + GATHER_MS),
            Progress::Failed => pace.fail(now_ms),
            Progress::Gone => {
                // Made again meanwhile, it is due by that.
                if pace.due_ms.is_none() {
                    self.pools.remove(pool);
                }
            }
        }
    }
}

/// In how many milliseconds a pool for which this is the plan is to be looked at again even if nothing is
/// heard of it: when its budget may have been refilled, and after its next deadline.
pub fn again_ms(state: &PoolState, plan: &Plan) -> Option<u64> {
    let refill = plan.waiting && state.moves_left == 0 && state.policy.moves_per_minute > 0;
    let members = state.members.iter().map(|member| member.away_until_ms);
    let shards = state.shards.iter().map(|shard| match &shard.primary {
        Primary::Moving { deadline_ms, .. } => *deadline_ms,
        Primary::Withheld { until_ms, .. } => *until_ms,
        Primary::Unassigned { .. } | Primary::Owned(_) => 0,
    });
    let deadlines = members.chain(shards).chain([state.paused_until_ms]);
    let left = deadlines.filter_map(|at| at.checked_sub(state.stamp_ms)).filter(|left| *left > 0);
    left.map(|left| left.saturating_add(GRACE_MS)).chain(refill.then_some(REFILL_MS)).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_state::pool::{MemberInfo, MemberState, Policy, ShardSet};
    use oarlock_state::{Revision, SessionId};

    fn plan(pool: &str) -> Option<Work> {
        Some(Work::Plan(name(pool)))
    }

    fn name(pool: &str) -> Bytes {
        Bytes::copy_from_slice(pool.as_bytes())
    }

    #[test]
    fn pools_are_listed_and_planned_once() {
        let mut agenda = Agenda::default();
        assert_eq!((agenda.take(0), agenda.next_ms()), (None, None), "without pools there is nothing to do");
        agenda.lose_track(1);
        assert_eq!((agenda.take(1), agenda.take(1)), (Some(Work::List), None));
        agenda.listed([name("b"), name("a")], 2);
        assert_eq!((agenda.take(2), agenda.take(2), agenda.take(2)), (plan("a"), plan("b"), None));
        agenda.planned(&name("a"), Progress::Nothing { again_ms: None }, 3);
        assert_eq!(agenda.next_ms(), None, "it waits for news");
    }

    #[test]
    fn changes_are_gathered_and_what_is_only_tuned_may_wait() {
        let mut agenda = Agenda::default();
        agenda.changed(name("a"), true, 100);
        assert_eq!(agenda.next_ms(), Some(100 + TUNED_MS));
        agenda.changed(name("a"), false, 200);
        agenda.changed(name("a"), false, 203);
        agenda.changed(name("a"), true, 204);
        assert_eq!(agenda.next_ms(), Some(200 + GATHER_MS), "the first decides");
        assert_eq!(agenda.take(200), None);
        assert_eq!((agenda.take(205), agenda.take(10_000)), (plan("a"), None));
    }

    #[test]
    fn planning_goes_on_until_there_is_nothing_to_do() {
        let mut agenda = Agenda::default();
        agenda.changed(name("a"), false, 0);
        for (progress, again_ms) in [
            (Progress::Done, Some(1_000 + GATHER_MS)),
            (Progress::Stale, Some(1_000 + GATHER_MS)),
            (Progress::Nothing { again_ms: Some(70) }, Some(1_070)),
            (Progress::Nothing { again_ms: None }, None),
        ] {
            agenda.changed(name("a"), false, 0);
            assert_eq!(agenda.take(1_000), plan("a"));
            agenda.planned(&name("a"), progress, 1_000);
            assert_eq!(agenda.next_ms(), again_ms, "{progress:?}");
        }
    }

    #[test]
    fn failures_make_it_slower_until_it_works() {
        let mut agenda = Agenda::default();
        agenda.changed(name("a"), false, 0);
        let mut now_ms = 1_000;
        for pause_ms in [50, 100, 200, 400] {
            assert_eq!(agenda.take(now_ms), plan("a"));
            agenda.planned(&name("a"), Progress::Failed, now_ms);
            agenda.changed(name("a"), false, now_ms);
            assert_eq!(agenda.next_ms(), Some(now_ms + pause_ms), "changes do not make it faster");
            now_ms += pause_ms;
        }
        for _ in 0..100 {
            assert_eq!(agenda.take(now_ms), plan("a"));
            agenda.planned(&name("a"), Progress::Failed, now_ms);
            now_ms += PAUSE_MS_MAX;
        }
        assert_eq!(agenda.take(now_ms), plan("a"));
        agenda.planned(&name("a"), Progress::Done, now_ms);
        assert_eq!(agenda.next_ms(), Some(now_ms + GATHER_MS));
    }

    #[test]
    fn a_pool_that_is_gone_is_forgotten_unless_it_was_made_again() {
        let mut agenda = Agenda::default();
        agenda.changed(name("a"), false, 0);
        assert_eq!(agenda.take(5), plan("a"));
        agenda.changed(name("a"), false, 6);
        agenda.planned(&name("a"), Progress::Gone, 7);
        assert_eq!(agenda.take(11), plan("a"));
        agenda.planned(&name("a"), Progress::Gone, 12);
        assert!(agenda.pools.is_empty());
        agenda.changed(name("b"), false, 20);
        agenda.listed([name("c")], 21);
        assert_eq!((agenda.take(30), agenda.take(30)), (plan("c"), None));
    }

    #[test]
    fn a_busy_pool_delays_no_other() {
        let mut agenda = Agenda::default();
        agenda.changed(name("b"), false, 0);
        agenda.changed(name("a"), false, 1);
        assert_eq!(agenda.take(100), plan("b"));
        agenda.planned(&name("b"), Progress::Done, 50);
        assert_eq!(agenda.take(100), plan("a"));
    }

    #[test]
    fn deadlines_and_the_budget_wake_it() {
        let mut state = PoolState {
            pool: name("a"),
            shards_of: ShardSet::Named,
            policy: Policy::default(),
            created: Revision(1),
            changed: Revision(1),
            stamp_ms: 1_000,
            paused_until_ms: 0,
            pause_reason: String::new(),
            moves_left: 0,
            members: Vec::new(),
            shards: Vec::new(),
        };
        let mut plan = Plan::default();
        assert_eq!(again_ms(&state, &plan), None);
        plan.waiting = true;
        assert_eq!(again_ms(&state, &plan), Some(REFILL_MS));
        state.moves_left = 1; // moves are under way, and their ends are heard of
        assert_eq!(again_ms(&state, &plan), None);
        state.paused_until_ms = 9_000;
        assert_eq!(again_ms(&state, &plan), Some(8_000 + GRACE_MS));
        state.members.push(MemberInfo {
            instance: name("m"),
            session: SessionId(0),
            zone: String::new(),
            capacity: 1,
            address: String::new(),
            metadata: Bytes::new(),
            state: MemberState::Active,
            joined: Revision(1),
            away_until_ms: 3_000,
        });
        assert_eq!(again_ms(&state, &plan), Some(2_000 + GRACE_MS));
        state.stamp_ms = 10_000;
        assert_eq!(again_ms(&state, &plan), None, "what is past was heard of");
    }
}
