//! Random stories of locks and elections, told to the machine and to a [model] so simple that it is
//! right at first sight.
//!
//! After each step the machine's invariants are proven (no head of a queue could be granted, so no
//! wake-up is lost), its twin that never reclaims must agree with it, the model must agree on the
//! outcome and on every holder and waiter, and a [watcher](Watcher) that knows nothing but the events
//! must arrive at the same holders and the same queues.

#[path = "objects/model.rs"]
mod model;
#[path = "script/world.rs"]
mod world;

use bytes::Bytes;
use model::{Fate, Model};
use oarlock_state::command::{Answer, OpenSession, Outcome, ReplyBody};
use oarlock_state::object::reply::{PlaceInfo, PlaceState};
use oarlock_state::object::{
    Acquire, Claim, Held, Mode, ObjectEvent, ObjectKind, ObjectOp, ObjectQuery, ObjectReply, Part,
};
use oarlock_state::{
    Applied, Caller, Command, Event, EventKind, Index, Machine, Query, Rejection, Revision, SessionId,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use world::World;

/// One step of a story.
#[derive(Clone, Debug)]
enum Step {
    Acquire(Acquire),
    /// Something with one of the present holds, counted round.
    Hold(usize, Deed),
    /// The same under a token that was never given.
    Forged(usize, Deed),
    Cancel(Bytes, Claim),
    Revoke(Bytes, Claim),
    Elapse,
    Open(u64),
    Close(u64),
    Expire(u64),
    Wait(u64),
    Compact,
    Reclaim(usize),
    Restart,
}

#[derive(Clone, Debug)]
enum Deed {
    Release,
    ReleaseAll,
    Downgrade,
    Upgrade,
    Delay(u64),
    Handoff(Claim),
}

fn name() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["e", "m", "n", "r", "s", "t"]).prop_map(Bytes::from)
}

fn claim() -> impl Strategy<Value = Claim> {
    (1..5_u64, 1..4_u64).prop_map(|(session, request)| Claim { session: SessionId(session), request })
}

fn part() -> impl Strategy<Value = Part> {
    let usual = prop_oneof![
        Just(("m", ObjectKind::Mutex, Mode::Exclusive)),
        Just(("n", ObjectKind::Mutex, Mode::Exclusive)),
        Just(("r", ObjectKind::ReadWrite, Mode::Shared)),
        Just(("r", ObjectKind::ReadWrite, Mode::Exclusive)),
        Just(("s", ObjectKind::ReadWrite, Mode::Shared)),
        (1..4_u64).prop_map(|weight| ("t", ObjectKind::Semaphore { capacity: 3 }, Mode::Weight(weight))),
    ];
    let odd = Just(("n", ObjectKind::ReadWrite, Mode::Shared));
    prop_oneof![20 => usual, 1 => odd].prop_map(|(name, kind, mode)| Part { name: name.into(), kind, mode })
}

fn delay() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![0, 0, 50, 100])
}

fn acquire() -> impl Strategy<Value = Acquire> {
    let locks = (prop::collection::vec(part(), 1..4), claim(), prop::bool::weighted(0.8), delay()).prop_map(
        |(mut parts, claim, wait, lock_delay_ms)| {
            parts.sort_by(|one, other| one.name.cmp(&other.name));
            parts.dedup_by(|one, other| one.name == other.name);
            Acquire { parts, claim, wait, metadata: Bytes::new(), priority: 0, preempt: false, lock_delay_ms }
        },
    );
    let lead = (claim(), prop::bool::weighted(0.8), 0..3_u32, prop::bool::weighted(0.3), delay()).prop_map(
        |(claim, wait, priority, preempt, lock_delay_ms)| {
            let part = Part { name: "e".into(), kind: ObjectKind::Election, mode: Mode::Exclusive };
            let (parts, metadata) = (vec![part], Bytes::new());
            Acquire { parts, claim, wait, metadata, priority, preempt, lock_delay_ms }
        },
    );
    prop_oneof![2 => locks, 1 => lead]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        5 => Just(Deed::Release),
        2 => Just(Deed::ReleaseAll),
        2 => Just(Deed::Downgrade),
        2 => Just(Deed::Upgrade),
        1 => delay().prop_map(Deed::Delay),
        2 => claim().prop_map(Deed::Handoff),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let session = || 1..5_u64;
    prop_oneof![
        20 => acquire().prop_map(Step::Acquire),
        10 => (any::<usize>(), deed()).prop_map(|(which, deed)| Step::Hold(which, deed)),
        1 => (any::<usize>(), deed()).prop_map(|(which, deed)| Step::Forged(which, deed)),
        3 => (name(), claim()).prop_map(|(name, claim)| Step::Cancel(name, claim)),
        1 => (name(), claim()).prop_map(|(name, claim)| Step::Revoke(name, claim)),
        3 => Just(Step::Elapse),
        6 => session().prop_map(Step::Open),
        1 => session().prop_map(Step::Close),
        2 => session().prop_map(Step::Expire),
        3 => (1..80_u64).prop_map(Step::Wait),
        1 => Just(Step::Compact),
        1 => (1..30_usize).prop_map(Step::Reclaim),
        1 => Just(Step::Restart),
    ]
}

/// Holders and queues as the events alone tell them.
#[derive(Default)]
struct Watcher {
    /// Of each object: claim to token.
    holders: BTreeMap<Bytes, BTreeMap<Claim, u64>>,
    /// Of each object: claims in order.
    queues: BTreeMap<Bytes, BTreeMap<(u32, u64), Claim>>,
    /// Of each object: the highest token seen.
    tokens: BTreeMap<Bytes, u64>,
}

impl Watcher {
    fn see(&mut self, event: &Event) {
        let EventKind::Object(what) = &event.kind else { panic!("{event:?}") };
        let holders = self.holders.entry(event.key.clone()).or_default();
        let queue = self.queues.entry(event.key.clone()).or_default();
        let order = |priority: &u32, ticket: &Revision| (u32::MAX - priority, ticket.get());
        match what {
            ObjectEvent::Queued { claim, ticket, priority } => {
                assert_eq!(queue.insert(order(priority, ticket), *claim), None);
            }
            ObjectEvent::Granted { claim, ticket, priority, mode, .. } => {
                // Those who never waited are in no queue; a handoff passes others by.
                let waited = queue.remove(&order(priority, ticket));
                assert!(waited.is_none_or(|waiter| waiter == *claim), "{event:?} of {waited:?}");
                let token = event.revision.get();
                let last = self.tokens.insert(event.key.clone(), token).unwrap_or(0);
                assert!(token > last || (token == last && *mode != Mode::Exclusive), "{token} after {last}");
                assert!(*mode != Mode::Exclusive || holders.is_empty(), "{event:?} beside {holders:?}");
                assert_eq!(holders.insert(*claim, token), None);
            }
            ObjectEvent::Left { claim, ticket, priority } => {
                assert_eq!(queue.remove(&order(priority, ticket)), Some(*claim));
            }
            ObjectEvent::Lost { claim, token, .. } => {
                assert_eq!(holders.remove(claim), Some(token.get()));
            }
            ObjectEvent::Changed { claim, token, mode } => {
                assert!(*mode != Mode::Exclusive || holders.len() == 1, "{event:?} beside {holders:?}");
                holders.insert(*claim, token.get());
                self.tokens.insert(event.key.clone(), event.revision.get());
            }
            ObjectEvent::Vacant => assert!(holders.is_empty()),
            ObjectEvent::Proclaimed { .. }
            | ObjectEvent::RevocationRequested { .. }
            | ObjectEvent::Elapsed { .. } => {}
        }
    }
}

/// The machine beside the model and the watcher.
struct Story {
    world: World,
    model: Model,
    watcher: Watcher,
}

impl Story {
    fn new() -> Self {
        let mut story = Self {
            world: World::new(),
            model: Model { revision: 1, ..Model::default() },
            watcher: Watcher::default(),
        };
        story.world.found(&Machine::bootstrap(&[], Bytes::new(), 1));
        (1..4).for_each(|session| story.step(Step::Open(session)));
        story
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Acquire(acquire) => self.execute(ObjectOp::Acquire(acquire)),
            Step::Hold(which, deed) => self.with_hold(which, deed, 0),
            Step::Forged(which, deed) => self.with_hold(which, deed, 1),
            Step::Cancel(name, claim) => self.execute(ObjectOp::Cancel { name, claim }),
            Step::Revoke(name, claim) => self.execute(ObjectOp::Revoke { name, claim }),
            Step::Elapse => self.execute(ObjectOp::Elapse),
            Step::Open(id) => {
                let id = SessionId(id);
                let (secret, principal) = ([0; 16], String::new());
                let open = OpenSession { id, secret, timeout_ms: 10_000, principal };
                let opened = self.apply(Command::OpenSession(open)).is_ok();
                assert_eq!(opened, self.model.sessions.insert(id));
            }
            Step::Close(id) => {
                let session = SessionId(id);
                let existed = self.model.end(session, false);
                assert_eq!(self.apply(Command::CloseSession { session }).is_ok(), existed);
            }
            Step::Expire(id) => {
                let session = SessionId(id);
                let existed = self.model.end(session, true);
                let sessions = vec![(session, self.last_touch(session))];
                let ended = if existed { vec![session] } else { Vec::new() };
                let body = self.apply(Command::ExpireSessions { sessions }).map(|reply| reply.body);
                assert_eq!(body, Ok(ReplyBody::Expired { ended }));
            }
            Step::Wait(ms) => {
                self.world.now_ms += ms;
                self.model.now_ms += ms;
            }
            Step::Compact => {
                let revision = self.world.replica.machine.revision();
                let again = self.world.replica.machine.compacted() == revision;
                assert_eq!(self.apply(Command::Compact { revision }).is_err(), again);
            }
            Step::Reclaim(budget) => {
                self.world.reclaim(budget);
            }
            Step::Restart => self.world.replica.restart(),
        }
        self.compare();
    }

    fn with_hold(&mut self, which: usize, deed: Deed, forgery: u64) {
        let holds: Vec<(Bytes, model::Entry)> = self
            .model
            .objects
            .iter()
            .flat_map(|(name, object)| object.holders.iter().map(|entry| (name.clone(), entry.clone())))
            .collect();
        let Some((name, entry)) = holds.get(which % holds.len().max(1)) else { return };
        let of = |name: &Bytes| Held {
            name: name.clone(),
            claim: entry.claim,
            token: Revision(entry.token + forgery * 1_000_000),
        };
        let held = of(name);
        self.execute(match deed {
            Deed::Release => ObjectOp::Release { holds: vec![held] },
            Deed::ReleaseAll => ObjectOp::Release { holds: entry.names.iter().map(of).collect() },
            Deed::Downgrade => ObjectOp::Downgrade(held),
            Deed::Upgrade => ObjectOp::Upgrade(held),
            Deed::Delay(lock_delay_ms) => ObjectOp::SetLockDelay { held, lock_delay_ms },
            Deed::Handoff(to) => ObjectOp::Handoff { held, to },
        });
    }

    fn execute(&mut self, op: ObjectOp) {
        let expected = self.model.execute(&op);
        let outcome = self.apply(Command::Object(op.clone()));
        let outcome: Result<ObjectReply, Rejection> = outcome.map(|reply| match reply.body {
            ReplyBody::Object(reply) => reply,
            other => panic!("{other:?}"),
        });
        let fate = Fate::of(&outcome);
        assert_eq!(fate, expected, "{op:?}: {outcome:?}");
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let proposal = self.world.proposal(command);
        let Applied { mut outcomes, events, .. } = self.world.propose(vec![proposal]);
        events.iter().for_each(|event| self.watcher.see(event));
        outcomes.remove(0).1
    }

    fn last_touch(&self, session: SessionId) -> Index {
        match self.world.read(&Caller::Server, &Query::Session { session, want_attached: false }) {
            Ok(Answer::Session(info)) => info.last_touch,
            Ok(_) | Err(_) => Index(0),
        }
    }

    fn ask(&self, query: ObjectQuery) -> ObjectReply {
        match self.world.read(&Caller::Server, &Query::Object(query)) {
            Ok(Answer::Object(reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// Every object is as the model and the watcher have it, and there are no others.
    fn compare(&self) {
        assert_eq!(self.world.replica.machine.revision().get(), self.model.revision);
        let listed = self.ask(ObjectQuery::List { prefix: Bytes::new(), after: Bytes::new(), limit: 100 });
        let ObjectReply::Listed { objects, more: false } = listed else { panic!("{listed:?}") };
        assert!(objects.iter().map(|object| &object.name).eq(self.model.objects.keys()));
        for (name, expected) in &self.model.objects {
            let described = self.ask(ObjectQuery::Describe { name: name.clone(), skip: 0, limit: 1000 });
            let ObjectReply::Described(info) = described else { panic!("{described:?}") };
            assert_eq!(info.summary.used, expected.used());
            assert_eq!(info.summary.kind, expected.kind);
            assert!(info.summary.used <= info.summary.kind.capacity());
            let holders: BTreeMap<Claim, u64> =
                info.holders.iter().map(|place| (place.claim, token(place))).collect();
            let of_model: BTreeMap<Claim, u64> =
                expected.holders.iter().map(|entry| (entry.claim, entry.token)).collect();
            assert_eq!(holders, of_model, "{name:?}");
            assert_eq!(self.watcher.holders.get(name).cloned().unwrap_or_default(), holders);
            let queue: Vec<Claim> = info.queue.iter().map(|place| place.claim).collect();
            let of_model: Vec<Claim> = expected.ordered().iter().map(|entry| entry.claim).collect();
            assert_eq!(queue, of_model, "{name:?}");
            let watched = self.watcher.queues.get(name).cloned().unwrap_or_default();
            assert_eq!(watched.into_values().collect::<Vec<_>>(), queue);
            assert_eq!(info.withheld.len(), expected.withheld.len());
        }
    }
}

impl Story {
    /// In a new cluster made of this state nobody holds anything or waits.
    fn refound(mut self) {
        self.world.refound(&[]);
        let listed = self.ask(ObjectQuery::List { prefix: Bytes::new(), after: Bytes::new(), limit: 100 });
        let ObjectReply::Listed { objects, more: false } = listed else { panic!("{listed:?}") };
        assert!(objects.iter().all(|object| object.holders + object.waiters == 0), "{objects:?}");
        assert!(self.world.replica.machine.revision().get() > self.model.revision + 1_000_000);
    }
}

fn token(place: &PlaceInfo) -> u64 {
    match place.state {
        PlaceState::Holding { token, .. } => token.get(),
        PlaceState::Waiting { .. } | PlaceState::Withheld { .. } => panic!("{place:?} holds nothing"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_the_model_and_a_watcher_agree(steps in prop::collection::vec(step(), 1..80)) {
        let mut story = Story::new();
        for step in steps {
            story.step(step);
        }
        story.refound();
    }
}
