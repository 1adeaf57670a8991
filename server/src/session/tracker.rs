//! The sessions, and what the leader does about them.

use super::acks::{Acks, Answers, Pending, Verdict};
use super::clock::FairClock;
use super::deadlines::Deadlines;
use oarlock_state::command::Command;
use oarlock_state::limits::SESSIONS_PER_ENTRY_MAX;
use oarlock_state::{Index, NodeId, SessionChange, SessionId};
use std::collections::BTreeMap;

/// Entries of expiries proposed at once. What is left is due the next time.
const EXPIRE_ENTRIES_MAX: usize = 4;
/// Microseconds after which an expiry that nothing was heard of is proposed again.
const EXPIRE_AGAIN_US: u64 = 5_000_000;
/// Microseconds after which a touch that nothing was heard of is proposed again.
const TOUCH_AGAIN_US: u64 = 2_000_000;
/// A new leader waits for a quarter of the timeout before it ends a session, so that clients can
/// find it.
const GRACE: u64 = 4;

/// How the tracker is set up. All times in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct TrackerOptions {
    /// A longer time without a look at the clock is a stall.
    pub stall_us: u64,
    /// A leader that was not confirmed for longer has no contact.
    pub contact_us: u64,
    /// Whoever sent a keep-alive has given up after this.
    pub give_up_us: u64,
    /// Keep-alives that may wait for confirmation.
    pub waiting_max: usize,
}

/// All sessions. On a follower it only notes what is applied; see the [module](super) for the rules.
#[derive(Debug)]
pub struct Tracker {
    options: TrackerOptions,
    sessions: BTreeMap<SessionId, Session>,
    clock: FairClock,
    /// This member leads, or follows a leader that it knows.
    has_leader: bool,
    reign: Option<Reign>,
}

#[derive(Debug)]
struct Session {
    timeout_us: u64,
    last_touch: Index,
    /// Fair time at which its opening or last touch was applied here.
    seen_us: u64,
    /// Fair time; kept by leaders only.
    deadline_us: u64,
    /// Fair time under which it stands in the heap. A session that ended and began again under the
    /// same id may have left an older guess there, which is then passed over.
    guess_us: u64,
    /// Monotonic time at which this reign proposed the last touch that was applied.
    touched_us: Option<u64>,
    /// Monotonic time at which this reign proposed a touch that is not applied yet.
    touching_us: Option<u64>,
    /// In the list of touches to propose.
    queued: bool,
}

/// What only a leader has.
#[derive(Debug)]
struct Reign {
    term: u64,
    /// Fair time since which everything of earlier terms is applied; none before.
    open_us: Option<u64>,
    /// Monotonic time at which the last confirmed round began.
    contact_us: u64,
    /// The last confirmed round, and what was committed then.
    confirmed: (u64, u64),
    deadlines: Deadlines,
    touches: Vec<SessionId>,
    acks: Acks,
}

impl Session {
    /// Life was seen at fair time `now_us`.
    fn live(&mut self, now_us: u64) {
        #[cfg(feature = "plant")]
        if oarlock_state::plant::is("expire_early") {
            self.deadline_us = self.deadline_us.max(now_us + self.timeout_us / 4);
            return;
        }
        self.deadline_us = self.deadline_us.max(now_us + self.timeout_us);
    }

    /// Whether a touch of this reign that was proposed at `at_us` backs a keep-alive that arrived at
    /// `arrived_us`.
    fn backs(&self, at_us: Option<u64>, arrived_us: u64) -> bool {
        at_us.is_some_and(|at| at + self.timeout_us / 8 >= arrived_us)
    }

    /// Fair time at which a reign that is open since `open_us` ends it, unless it shows life.
    fn due_us(&self, open_us: u64) -> u64 {
        self.deadline_us.max(open_us + self.timeout_us / GRACE)
    }

    fn inherited_deadline_us(&self) -> u64 {
        #[cfg(feature = "plant")]
        if oarlock_state::plant::is("inherit_nothing") {
            return self.seen_us;
        }
        self.seen_us + self.timeout_us + self.timeout_us / 8
    }
}

impl Tracker {
    /// Knows the sessions of a state: id, timeout in milliseconds, touches. Each counts as seen when
    /// the tracker first looks at the clock.
    pub fn new(options: TrackerOptions, sessions: impl Iterator<Item = (SessionId, u64, Index)>) -> Self {
        let mut tracker = Self {
            options,
            sessions: BTreeMap::new(),
            clock: FairClock::new(options.stall_us),
            has_leader: false,
            reign: None,
        };
        for (session, timeout_ms, last_touch) in sessions {
            tracker.insert(session, timeout_ms, last_touch);
        }
        tracker
    }

    /// Continues with the sessions of another state, of which this member knows no times: each
    /// counts as seen now. Ends a reign.
    pub fn reload(&mut self, sessions: impl Iterator<Item = (SessionId, u64, Index)>) {
        self.reign = None;
        self.sessions.clear();
        for (session, timeout_ms, last_touch) in sessions {
            self.insert(session, timeout_ms, last_touch);
        }
    }

    /// Live sessions.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are no sessions.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Time passed. To be called before anything else that happens at this time.
    pub fn advance(&mut self, now_us: u64) {
        let in_contact = match &self.reign {
            Some(reign) => now_us.saturating_sub(reign.contact_us) <= self.options.contact_us,
            None => self.has_leader,
        };
        self.clock.advance(now_us, in_contact);
    }

    /// This member became the leader of `term`.
    pub fn begin_reign(&mut self, term: u64, now_us: u64) {
        let mut deadlines = Deadlines::default();
        for session in self.sessions.values_mut() {
            session.deadline_us = session.inherited_deadline_us();
            session.guess_us = session.deadline_us;
            session.touched_us = None;
            session.touching_us = None;
            session.queued = false;
        }
        deadlines.rebuild(self.sessions.iter().map(|(id, session)| (session.deadline_us, *id)));
        self.has_leader = true;
        self.reign = Some(Reign {
            term,
            open_us: None,
            contact_us: now_us,
            confirmed: (0, 0),
            deadlines,
            touches: Vec::new(),
            acks: Acks::new(self.options.waiting_max),
        });
    }

    /// This member does not lead; `has_leader` says whether it knows who does. Returns the batches
    /// whose senders must ask elsewhere.
    pub fn end_reign(&mut self, has_leader: bool) -> Vec<(NodeId, u64)> {
        self.has_leader = has_leader;
        self.reign.take().map(|mut reign| reign.acks.refuse_all()).unwrap_or_default()
    }

    /// Whether this member leads, as the tracker was told.
    pub fn reigns(&self) -> bool {
        self.reign.is_some()
    }

    /// An entry of this term was applied, with these changes. To be followed by
    /// [`touch_applied`](Self::touch_applied) for the leader's own touches in it.
    pub fn applied(&mut self, term: u64, changes: &[SessionChange]) {
        for change in changes {
            match change {
                SessionChange::Opened { session, timeout_ms, last_touch } => {
                    self.opened(*session, *timeout_ms, *last_touch);
                }
                SessionChange::Touched { session, last_touch } => self.touched(term, *session, *last_touch),
                #[cfg(feature = "plant")]
                SessionChange::Ended { .. } if oarlock_state::plant::is("alive_after_close") => {}
                SessionChange::Ended { session, cause: _ } => {
                    self.sessions.remove(session);
                }
            }
        }
        let now_us = self.clock.now_us();
        if let Some(reign) = &mut self.reign
            && reign.term == term
        {
            reign.open_us.get_or_insert(now_us);
        }
    }

    /// A touch that this reign proposed at monotonic time `proposed_us` was applied.
    pub fn touch_applied(&mut self, proposed_us: u64, sessions: &[SessionId]) {
        for session in sessions {
            let Some(session) = self.sessions.get_mut(session) else {
                continue;
            };
            session.touched_us = session.touched_us.max(Some(proposed_us));
            if session.touching_us.is_some_and(|at| at <= proposed_us) {
                session.touching_us = None;
            }
        }
    }

    /// A write of this session was applied in this reign: that is life too.
    pub fn wrote(&mut self, session: SessionId, now_us: u64) {
        let fair_us = self.clock.now_us();
        let Some(reign) = &mut self.reign else {
            return;
        };
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        known.live(fair_us);
        want_touch(reign, session, known, now_us);
    }

    /// A member saw a session alive, or asks how long it has left; `pending` arrived now. Nothing happens unless this member
    /// leads.
    pub fn keep_alive(&mut self, pending: Pending) {
        let fair_us = self.clock.now_us();
        let Some(reign) = &mut self.reign else {
            return;
        };
        reign.acks.push(pending);
        if pending.look {
            return;
        }
        if let Some(known) = self.sessions.get_mut(&pending.session) {
            known.live(fair_us);
            want_touch(reign, pending.session, known, pending.arrived_us);
        }
    }

    /// A quorum confirmed this reign after `round` began at monotonic time `began_us`, when `index`
    /// was committed.
    pub fn confirmed(&mut self, round: u64, index: u64, began_us: u64) {
        if let Some(reign) = &mut self.reign {
            reign.contact_us = reign.contact_us.max(began_us);
            reign.confirmed = reign.confirmed.max((round, index));
        }
    }

    /// What can be answered now, with everything up to `applied` applied.
    pub fn settle(&mut self, now_us: u64, applied: u64) -> Vec<Answers> {
        let fair_us = self.clock.now_us();
        let Some(Reign { acks, confirmed, touches, open_us, .. }) = &mut self.reign else {
            return Vec::new();
        };
        if acks.is_empty() {
            return Vec::new();
        }
        let (sessions, give_up_us) = (&mut self.sessions, self.options.give_up_us);
        acks.settle(|pending| {
            let is_confirmed = confirmed.0 >= pending.round && confirmed.1 <= applied;
            let Some(session) = sessions.get_mut(&pending.session) else {
                return if is_confirmed { Verdict::Answer(0) } else { wait(pending, now_us, give_up_us) };
            };
            if pending.look {
                let left_us = session.due_us(open_us.unwrap_or(fair_us)).saturating_sub(fair_us);
                let left = Verdict::Answer((left_us / 1_000).max(1));
                return if is_confirmed { left } else { wait(pending, now_us, give_up_us) };
            }
            // Strictly later: within one microsecond it may have been proposed before.
            let own_commit = session.touched_us.is_some_and(|at| at > pending.arrived_us);
            if session.backs(session.touched_us, pending.arrived_us) && (is_confirmed || own_commit) {
                return Verdict::Answer(session.timeout_us / 1_000);
            }
            queue_touch(touches, pending.session, session, pending.arrived_us, now_us);
            wait(pending, now_us, give_up_us)
        })
    }

    /// Touches to propose at monotonic time `now_us`, in entries of bounded size.
    pub fn take_touches(&mut self, now_us: u64) -> Vec<Command> {
        let Some(reign) = &mut self.reign else {
            return Vec::new();
        };
        let queued = std::mem::take(&mut reign.touches);
        let live: Vec<_> = queued
            .into_iter()
            .filter(|id| {
                self.sessions.get_mut(id).is_some_and(|session| {
                    session.queued = false;
                    session.touching_us = Some(now_us);
                    true
                })
            })
            .collect();
        live.chunks(SESSIONS_PER_ENTRY_MAX)
            .map(|sessions| Command::TouchSessions { sessions: sessions.to_vec() })
            .collect()
    }

    /// Expiries to propose now, in entries of bounded size and number. None before everything of
    /// earlier terms is applied, and none without contact.
    pub fn take_due(&mut self, now_us: u64) -> Vec<Command> {
        let fair_us = self.clock.now_us();
        let contact_max_us = self.options.contact_us;
        let Some(reign) = &mut self.reign else {
            return Vec::new();
        };
        let Some(open_us) = reign.open_us else {
            return Vec::new();
        };
        if now_us.saturating_sub(reign.contact_us) > contact_max_us {
            return Vec::new();
        }
        #[cfg(feature = "plant")]
        if oarlock_state::plant::is("expire_never") {
            return Vec::new();
        }
        let mut due = Vec::new();
        while due.len() < EXPIRE_ENTRIES_MAX * SESSIONS_PER_ENTRY_MAX {
            let Some((guess_us, id)) = reign.deadlines.pop(fair_us) else {
                break;
            };
            let Some(session) = self.sessions.get_mut(&id).filter(|found| found.guess_us == guess_us) else {
                continue;
            };
            session.guess_us = session.due_us(open_us);
            if session.guess_us <= fair_us {
                session.guess_us = fair_us + EXPIRE_AGAIN_US;
                due.push((id, session.last_touch));
            }
            reign.deadlines.add(session.guess_us, id);
        }
        due.chunks(SESSIONS_PER_ENTRY_MAX)
            .map(|sessions| Command::ExpireSessions { sessions: sessions.to_vec() })
            .collect()
    }

    fn opened(&mut self, session: SessionId, timeout_ms: u64, last_touch: Index) {
        self.insert(session, timeout_ms, last_touch);
        let fair_us = self.clock.now_us();
        if let Some(reign) = &mut self.reign
            && let Some(known) = self.sessions.get_mut(&session)
        {
            // Inherited until the reign is open: an earlier leader may have answered the opening.
            known.deadline_us = if reign.open_us.is_some() {
                fair_us + known.timeout_us
            } else {
                known.inherited_deadline_us()
            };
            known.guess_us = known.deadline_us;
            reign.deadlines.add(known.guess_us, session);
        }
    }

    fn touched(&mut self, term: u64, session: SessionId, last_touch: Index) {
        let fair_us = self.clock.now_us();
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        known.last_touch = last_touch;
        known.seen_us = fair_us;
        if self.reign.as_ref().is_some_and(|reign| reign.term != term) {
            known.deadline_us = known.deadline_us.max(known.inherited_deadline_us());
        }
    }

    fn insert(&mut self, session: SessionId, timeout_ms: u64, last_touch: Index) {
        let state = Session {
            timeout_us: timeout_ms * 1_000,
            last_touch,
            seen_us: self.clock.now_us(),
            deadline_us: 0,
            guess_us: 0,
            touched_us: None,
            touching_us: None,
            queued: false,
        };
        self.sessions.insert(session, state);
    }
}

fn want_touch(reign: &mut Reign, id: SessionId, session: &mut Session, now_us: u64) {
    if !session.backs(session.touched_us, now_us) {
        queue_touch(&mut reign.touches, id, session, now_us, now_us);
    }
}

/// Has a touch proposed that backs a keep-alive from `arrived_us`, unless one is on its way.
fn queue_touch(
    touches: &mut Vec<SessionId>,
    id: SessionId,
    session: &mut Session,
    arrived_us: u64,
    now_us: u64,
) {
    let on_its_way = session.backs(session.touching_us, arrived_us)
        && session.touching_us.is_some_and(|at| at + TOUCH_AGAIN_US > now_us);
    if !session.queued && !session.backs(session.touched_us, arrived_us) && !on_its_way {
        session.queued = true;
        touches.push(id);
    }
}

fn wait(pending: &Pending, now_us: u64, give_up_us: u64) -> Verdict {
    if pending.arrived_us + give_up_us < now_us { Verdict::Drop } else { Verdict::Wait }
}
