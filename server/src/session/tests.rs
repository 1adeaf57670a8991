//! The tracker by itself, where whole nodes would be too coarse.

use super::acks::Pending;
use super::tracker::{Tracker, TrackerOptions};
use oarlock_state::{Cause, Command, Index, NodeId, SessionChange, SessionId};

const SECOND: u64 = 1_000_000;
const TERM: u64 = 3;
const NOBODY: [u64; 0] = [];

fn options() -> TrackerOptions {
    TrackerOptions {
        stall_us: SECOND / 5,
        contact_us: 3 * SECOND / 10,
        give_up_us: 5 * SECOND,
        waiting_max: 100_000,
    }
}

/// A tracker whose node leads, and its clock.
struct Led {
    tracker: Tracker,
    now_us: u64,
    round: u64,
    last_touch: u64,
}

impl Led {
    fn new() -> Self {
        let mut tracker = Tracker::new(options(), std::iter::empty());
        tracker.advance(0);
        tracker.begin_reign(TERM, 0);
        tracker.applied(TERM, &[]);
        Self { tracker, now_us: 0, round: 0, last_touch: 0 }
    }

    fn open(&mut self, id: u64, timeout_s: u64) {
        let opened = SessionChange::Opened {
            session: SessionId(id),
            timeout_ms: timeout_s * 1_000,
            last_touch: Index(0),
        };
        self.tracker.applied(TERM, &[opened]);
    }

    /// Time passes in small steps under a quorum; returns the sessions that were to be expired.
    fn run(&mut self, us: u64) -> Vec<u64> {
        let mut due = Vec::new();
        for _ in 0..us / (SECOND / 10) {
            self.now_us += SECOND / 10;
            self.confirm();
            self.tracker.advance(self.now_us);
            due.extend(named(self.tracker.take_due(self.now_us)));
        }
        due
    }

    fn confirm(&mut self) {
        self.round += 1;
        self.tracker.confirmed(self.round, 1, self.now_us);
    }

    fn keep_alive(&mut self, id: u64) {
        self.pend(id, false);
    }

    fn look(&mut self, id: u64) {
        self.pend(id, true);
    }

    fn pend(&mut self, id: u64, look: bool) {
        self.tracker.keep_alive(Pending {
            from: NodeId(1),
            batch: 1,
            session: SessionId(id),
            look,
            arrived_us: self.now_us,
            round: self.round + 1,
        });
    }

    /// Proposes and applies the touches that are wanted; returns how many sessions they name.
    fn touch(&mut self) -> usize {
        let mut touched = 0;
        for command in self.tracker.take_touches(self.now_us) {
            let Command::TouchSessions { sessions } = command else { panic!("not a touch") };
            touched += sessions.len();
            self.last_touch += 1;
            let last_touch = Index(self.last_touch);
            let change = |session: &SessionId| SessionChange::Touched { session: *session, last_touch };
            let changes: Vec<_> = sessions.iter().map(change).collect();
            self.tracker.applied(TERM, &changes);
            self.tracker.touch_applied(self.now_us, &sessions);
        }
        touched
    }

    fn answers(&mut self) -> Vec<(u64, u64)> {
        let answers = self.tracker.settle(self.now_us, 1);
        let pairs = answers.into_iter().flat_map(|one| one.sessions);
        pairs.map(|(session, valid_ms)| (session.get(), valid_ms)).collect()
    }
}

fn named(commands: Vec<Command>) -> Vec<u64> {
    let sessions = commands.into_iter().flat_map(|command| match command {
        Command::ExpireSessions { sessions } => sessions,
        other => panic!("unexpected {other:?}"),
    });
    sessions.map(|(session, _)| session.get()).collect()
}

#[test]
fn an_acknowledgement_needs_a_touch_and_a_confirmation() {
    let mut led = Led::new();
    led.open(1, 8);
    led.run(SECOND);
    led.keep_alive(1);
    led.confirm();
    assert_eq!(led.answers(), [], "no touch of this reign backs it");
    assert_eq!(led.touch(), 1);
    assert_eq!(led.answers(), [(1, 8_000)]);
    // Within an eighth of the timeout the touch is good, and a confirmation is all that it takes.
    led.run(SECOND);
    led.keep_alive(1);
    assert_eq!(led.touch(), 0);
    assert_eq!(led.answers(), [], "no round began since");
    led.confirm();
    assert_eq!(led.answers(), [(1, 8_000)]);
    // After that another one is wanted; its commit is a confirmation by itself.
    led.run(SECOND);
    led.keep_alive(1);
    led.now_us += 1;
    assert_eq!(led.touch(), 1);
    assert_eq!(led.answers(), [(1, 8_000)]);
}

#[test]
fn a_look_tells_what_is_left_and_keeps_nothing_alive() {
    let mut led = Led::new();
    led.open(1, 8);
    led.run(3 * SECOND);
    led.look(1);
    led.look(2);
    assert_eq!(led.touch(), 0);
    assert_eq!(led.answers(), [], "not confirmed");
    led.confirm();
    assert_eq!(led.answers(), [(1, 5_000), (2, 0)]);
    assert_eq!(led.run(SECOND * 49 / 10), NOBODY);
    led.look(1);
    led.confirm();
    assert_eq!(led.answers(), [(1, 100)]);
    assert_eq!(led.run(SECOND / 5), [1]);
    led.look(1);
    led.confirm();
    assert_eq!(led.answers(), [(1, 1)], "it is over, but it is still there");
}

#[test]
fn an_expiry_is_not_repeated_at_every_tick() {
    let mut led = Led::new();
    led.open(1, 2);
    assert_eq!(led.run(SECOND * 3), [1]);
    assert_eq!(led.run(SECOND * 2), NOBODY);
    assert_eq!(led.run(SECOND * 4), [1], "nothing was heard of it");
    let ended = SessionChange::Ended { session: SessionId(1), cause: Cause::Expired };
    led.tracker.applied(TERM, &[ended]);
    assert_eq!(led.run(SECOND * 20), NOBODY);
}

#[test]
fn a_session_that_ended_and_began_again_has_a_deadline_of_its_own() {
    let mut led = Led::new();
    led.open(1, 2);
    led.run(SECOND);
    led.tracker.applied(TERM, &[SessionChange::Ended { session: SessionId(1), cause: Cause::Closed }]);
    led.open(1, 4);
    assert_eq!(led.run(SECOND * 3), NOBODY);
    assert_eq!(led.run(SECOND * 2), [1]);
}

#[test]
fn nothing_expires_without_contact() {
    let mut led = Led::new();
    led.open(1, 2);
    for _ in 0..100 {
        led.now_us += SECOND / 10;
        led.tracker.advance(led.now_us);
        assert_eq!(named(led.tracker.take_due(led.now_us)), NOBODY);
    }
    // The contact comes back, and the time without it does not count.
    assert_eq!(led.run(SECOND), NOBODY);
    assert_eq!(led.run(SECOND * 2), [1]);
}

#[test]
fn a_new_leader_waits_from_its_own_last_sight() {
    let mut tracker = Tracker::new(options(), std::iter::empty());
    tracker.end_reign(true);
    let mut now_us = 0;
    let mut pass = |tracker: &mut Tracker, us: u64| {
        for _ in 0..us / (SECOND / 10) {
            now_us += SECOND / 10;
            tracker.advance(now_us);
        }
        now_us
    };
    let opened = SessionChange::Opened { session: SessionId(1), timeout_ms: 8_000, last_touch: Index(0) };
    tracker.advance(0);
    tracker.applied(TERM, &[opened]);
    let now_us = pass(&mut tracker, 6 * SECOND);
    tracker.begin_reign(TERM + 1, now_us);
    tracker.applied(TERM + 1, &[]);
    let mut led = Led { tracker, now_us, round: 0, last_touch: 0 };
    assert_eq!(led.run(29 * SECOND / 10), NOBODY, "nine eighths of eight seconds are nine");
    assert_eq!(led.run(SECOND / 2), [1]);
}

#[test]
fn a_follower_refuses_what_waits() {
    let mut led = Led::new();
    led.open(1, 8);
    led.keep_alive(1);
    assert_eq!(led.tracker.end_reign(true), [(NodeId(1), 1)]);
    assert_eq!(led.answers(), []);
}

/// A hundred thousand sessions cost what is due, not what there is.
#[test]
fn many_sessions_are_cheap() {
    let mut led = Led::new();
    for id in 1..=100_000 {
        led.open(id, 60);
    }
    let began = led.now_us;
    led.run(30 * SECOND);
    for id in 1..=50_000 {
        led.keep_alive(id);
    }
    assert_eq!(led.touch(), 50_000);
    led.confirm();
    assert_eq!(led.answers().len(), 50_000);
    let due = led.run(33 * SECOND);
    assert_eq!(due.len(), 50_000);
    assert!(due.iter().all(|id| *id > 50_000) && led.now_us > began);
}
