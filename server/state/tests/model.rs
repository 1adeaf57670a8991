//! Random stories, told to the machine and to a [model] so simple that it is right at first sight.
//!
//! Each story mixes transactions, repeated writes, sessions, compaction, reclaiming, restarts and
//! passing time. After each step the machine's invariants are proven, its twin that never reclaims
//! must agree with it, and so must the model: on every outcome, event and read.

#[path = "model/kv.rs"]
mod model;
#[path = "script/world.rs"]
mod world;

use bytes::Bytes;
use model::{Change, Fate, Model};
use oarlock_state::command::{
    Answer, Compare, CompareOp, CompareTarget, Guard, KeyRange, KvOp, OpenSession, Outcome, Put, RangeQuery,
    ReplyBody, TokenScope, Txn, Update,
};
use oarlock_state::{
    Applied, Caller, Cause, Command, EventKind, Index, Machine, Query, RequestId, Revision, SessionId,
};
use proptest::prelude::*;
use world::World;

/// One step of a story.
#[derive(Clone, Debug)]
enum Step {
    Write {
        txn: Txn,
        request: Option<RequestId>,
        guard: Option<(Bytes, u64)>,
    },
    Read(RangeQuery),
    Open(u64),
    Close(u64),
    Touch(u64),
    /// Names a touch so many entries before the last one.
    Expire {
        session: u64,
        before: u64,
    },
    Compact(u64),
    Reclaim(usize),
    Restart,
    Wait(u64),
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "a\0", "a\0b", "b", "c", "d"]).prop_map(Bytes::from)
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        3 => key().prop_map(KeyRange::Key),
        1 => (key(), prop::option::of(key())).prop_map(|(start, end)| KeyRange::Span { start, end }),
        1 => Just(KeyRange::Span { start: Bytes::new(), end: None }),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "1", "22", "-3", "text"]).prop_map(Bytes::from)
}

fn session() -> impl Strategy<Value = u64> {
    1..4_u64
}

/// Revisions of a short story, mostly.
fn revision() -> impl Strategy<Value = Revision> {
    (0..30_u64).prop_map(Revision)
}

/// Mostly now, sometimes then.
fn past() -> impl Strategy<Value = Revision> {
    prop_oneof![2 => Just(Revision(0)), 1 => revision()]
}

/// Mostly none.
fn bound() -> impl Strategy<Value = Revision> {
    prop_oneof![8 => Just(Revision(0)), 1 => revision()]
}

fn query() -> impl Strategy<Value = RangeQuery> {
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2), any::<bool>());
    let bounds = (bound(), bound(), bound(), bound());
    (range(), past(), 0..4_u64, flags, bounds).prop_map(|(range, revision, limit, flags, bounds)| {
        let (reverse, keys_only, count_only, want_count) = flags;
        let (min_mod_revision, max_mod_revision, min_create_revision, max_create_revision) = bounds;
        RangeQuery {
            revision,
            limit,
            reverse,
            keys_only,
            count_only,
            want_count,
            min_mod_revision,
            max_mod_revision,
            min_create_revision,
            max_create_revision,
            ..RangeQuery::of(range)
        }
    })
}

fn owner() -> impl Strategy<Value = SessionId> {
    prop_oneof![2 => Just(SessionId(0)), 1 => session().prop_map(SessionId)]
}

fn put() -> impl Strategy<Value = Put> {
    let rare = || prop::bool::weighted(0.15);
    (key(), value(), owner(), any::<bool>(), rare(), rare(), rare()).prop_map(
        |(key, value, owner, want_previous, keep_value, keep_owner, if_absent)| Put {
            key,
            value,
            owner,
            want_previous,
            keep_value,
            keep_owner,
            if_absent,
        },
    )
}

fn update() -> impl Strategy<Value = Update> {
    prop_oneof![
        (-5..5_i64).prop_map(Update::Add),
        Just(Update::Add(i64::MAX)),
        (-5..5_i64).prop_map(Update::Max),
        (-5..5_i64).prop_map(Update::Min),
        value().prop_map(Update::Append),
    ]
}

fn compare() -> impl Strategy<Value = Compare> {
    let ops = [CompareOp::Equal, CompareOp::NotEqual, CompareOp::Greater, CompareOp::Less];
    let target = prop_oneof![
        (0..3_u64).prop_map(CompareTarget::Version),
        revision().prop_map(CompareTarget::CreateRevision),
        revision().prop_map(CompareTarget::ModRevision),
        value().prop_map(CompareTarget::Value),
        owner().prop_map(CompareTarget::Owner),
        (0..4_u64).prop_map(CompareTarget::Count),
    ];
    (range(), target, prop::sample::select(ops.to_vec())).prop_map(|(range, target, op)| Compare {
        range,
        target,
        op,
    })
}

fn op() -> impl Strategy<Value = KvOp> {
    prop_oneof![
        4 => put().prop_map(KvOp::Put),
        2 => query().prop_map(KvOp::Range),
        2 => (range(), any::<bool>())
            .prop_map(|(range, want_previous)| KvOp::Delete { range, want_previous }),
        1 => (key(), update()).prop_map(|(key, update)| KvOp::Update { key, update }),
        1 => (value(), owner()).prop_map(|(value, owner)| {
            // Before all other keys, so that no deleted range holds it.
            KvOp::PutSequential { prefix: Bytes::from_static(b"S"), value, owner }
        }),
    ]
}

fn txn() -> impl Strategy<Value = Txn> {
    let branch = || prop::collection::vec(op(), 0..5);
    let flat = || {
        (prop::collection::vec(compare(), 0..2), branch(), branch())
            .prop_map(|(compare, then, otherwise)| Txn { compare, then, otherwise })
    };
    prop_oneof![
        3 => op().prop_map(|op| Txn { then: vec![op], ..Txn::default() }),
        2 => flat(),
        1 => (flat(), flat(), any::<bool>()).prop_map(|(mut outer, inner, first)| {
            let branch = if first { &mut outer.then } else { &mut outer.otherwise };
            branch.push(KvOp::Txn(inner));
            outer
        }),
    ]
    .prop_map(spare_sequences)
}

/// A range that begins before all keys would meet the sequential ones; the model does not judge it.
fn spare_sequences(mut txn: Txn) -> Txn {
    fn spare(ops: &mut [KvOp]) {
        for op in ops {
            match op {
                KvOp::Delete { range: KeyRange::Span { start, .. }, .. } if start.is_empty() => {
                    *start = Bytes::from_static(b"a");
                }
                KvOp::Txn(inner) => {
                    spare(&mut inner.then);
                    spare(&mut inner.otherwise);
                }
                _ => {}
            }
        }
    }
    spare(&mut txn.then);
    spare(&mut txn.otherwise);
    txn
}

fn request() -> impl Strategy<Value = RequestId> {
    (session(), 1..8_u64, 0..6_u64).prop_map(|(session, sequence, acked_up_to)| RequestId {
        session: SessionId(session),
        sequence,
        acked_up_to: acked_up_to.min(sequence - 1),
    })
}

fn step() -> impl Strategy<Value = Step> {
    let guard = (key(), 1..20_u64);
    let write = (txn(), prop::option::of(request()), prop::option::weighted(0.1, guard))
        .prop_map(|(txn, request, guard)| Step::Write { txn, request, guard });
    prop_oneof![
        12 => write,
        4 => query().prop_map(Step::Read),
        3 => session().prop_map(Step::Open),
        1 => session().prop_map(Step::Close),
        1 => session().prop_map(Step::Touch),
        1 => (session(), 0..2_u64).prop_map(|(session, before)| Step::Expire { session, before }),
        2 => (0..30_u64).prop_map(Step::Compact),
        2 => (1..5_usize).prop_map(Step::Reclaim),
        1 => Just(Step::Restart),
        1 => (0..600_000_u64).prop_map(Step::Wait),
    ]
}

/// The machine beside the model.
struct Pair {
    world: World,
    model: Model,
}

impl Pair {
    fn step(&mut self, step: Step) {
        match step {
            Step::Write { txn, request, guard } => self.write(txn, request, guard),
            Step::Read(query) => self.read(query),
            Step::Open(id) => {
                let open = OpenSession {
                    id: SessionId(id),
                    secret: [0; 16],
                    timeout_ms: 1000,
                    principal: String::new(),
                };
                self.command(Command::OpenSession(open), |model| model.open(id));
            }
            Step::Close(session) => {
                let command = Command::CloseSession { session: SessionId(session) };
                self.command(command, |model| match model.end(session, Cause::Closed) {
                    true => Fate::Done(None),
                    false => Fate::Refused("no session"),
                });
            }
            Step::Touch(session) => {
                let command = Command::TouchSessions { sessions: vec![SessionId(session)] };
                self.command(command, |model| {
                    let entry = model.entry;
                    model.sessions.entry(session).and_modify(|last_touch| *last_touch = entry);
                    Fate::Done(None)
                });
            }
            Step::Expire { session, before } => {
                let last_touch = self.model.sessions.get(&session).copied().unwrap_or(before);
                let sessions = vec![(SessionId(session), Index(last_touch - before))];
                self.command(Command::ExpireSessions { sessions }, |model| {
                    if before == 0 {
                        model.end(session, Cause::Expired);
                    }
                    Fate::Done(None)
                });
            }
            Step::Compact(revision) => {
                let command = Command::Compact { revision: Revision(revision) };
                self.command(command, |model| model.compact(revision));
            }
            Step::Reclaim(budget) => drop(self.world.reclaim(budget)),
            Step::Restart => self.world.replica.restart(),
            Step::Wait(ms) => {
                self.world.now_ms += ms;
                self.model.now_ms += ms;
            }
        }
        assert_eq!(self.world.replica.machine.revision().0, self.model.revision());
        assert_eq!(self.world.replica.machine.compacted().0, self.model.compacted);
    }

    fn write(&mut self, txn: Txn, request: Option<RequestId>, guard: Option<(Bytes, u64)>) {
        let mut proposal = self.world.proposal(Command::Txn(txn.clone()));
        proposal.request = request;
        let scope =
            |(key, token): (Bytes, u64)| Guard { scope: TokenScope::Key(key), token: Revision(token) };
        proposal.guards = guard.clone().map(scope).into_iter().collect();
        let known = self.model.changes.len();
        self.model.forget_due();
        self.model.entry = self.world.replica.machine.applied().get() + 1;
        let fate = self.model.write(&txn, request, guard);
        let applied = self.world.propose(vec![proposal]);
        self.compare(&applied, &fate, known);
    }

    fn command(&mut self, command: Command, on_model: impl FnOnce(&mut Model) -> Fate) {
        let known = self.model.changes.len();
        self.model.forget_due();
        self.model.entry = self.world.replica.machine.applied().get() + 1;
        let fate = on_model(&mut self.model);
        let proposal = self.world.proposal(command);
        let applied = self.world.propose(vec![proposal]);
        self.compare(&applied, &fate, known);
    }

    fn compare(&self, applied: &Applied, fate: &Fate, known: usize) {
        compare_outcome(&applied.outcomes[0].1, fate, self.model.revision());
        let seen: Vec<Change> = applied.events.iter().map(change).collect();
        assert_eq!(seen, self.model.changes[known..]);
        let subs = applied.events.iter().enumerate();
        assert!(subs.into_iter().all(|(position, event)| event.sub as usize == position));
    }

    fn read(&self, query: RangeQuery) {
        let expected = self.model.read(&query);
        match (self.world.read(&Caller::Server, &Query::Range(query)), expected) {
            (Ok(Answer::Range(reply)), Ok(expected)) => assert_eq!(reply, expected),
            (Err(rejection), Err(expected)) => assert_eq!(model::name(&rejection), expected),
            (answer, expected) => panic!("expected {expected:?}, got {answer:?}"),
        }
    }

    /// Everything that can be asked, at the end of a story.
    fn compare_everything(&mut self) {
        for revision in 0..=self.model.revision() + 1 {
            for reverse in [false, true] {
                let range = KeyRange::Span { start: Bytes::new(), end: None };
                self.read(RangeQuery { revision: Revision(revision), reverse, ..RangeQuery::of(range) });
            }
        }
        let (from, to) = (Revision(self.model.compacted), Revision(u64::MAX - 1));
        let history = self.world.read(&Caller::Server, &Query::History { from, to, byte_budget: u64::MAX });
        let Ok(Answer::History { events, through }) = history else {
            panic!("no history: {history:?}");
        };
        assert_eq!(through.0, self.model.revision());
        let expected = self.model.changes.iter().filter(|change| change.revision >= from.0);
        assert_eq!(events.iter().map(change).collect::<Vec<_>>(), expected.cloned().collect::<Vec<_>>());
    }
}

fn compare_outcome(outcome: &Outcome, fate: &Fate, revision: u64) {
    match (outcome, fate) {
        (Ok(reply), Fate::Done(expected)) => {
            assert!(!reply.repeated);
            assert_eq!(reply.revision.0, revision);
            if let Some(expected) = expected {
                assert_eq!(reply.body, ReplyBody::Txn(expected.clone()));
            }
        }
        (Ok(reply), Fate::Repeated { revision, accepted: true }) => {
            assert!(reply.repeated);
            assert_eq!(reply.revision.0, *revision);
        }
        (Err(_), Fate::Repeated { accepted: false, .. }) => {}
        (Err(rejection), Fate::Refused(expected)) => assert_eq!(model::name(rejection), *expected),
        (outcome, fate) => panic!("expected {fate:?}, got {outcome:?}"),
    }
}

fn change(event: &oarlock_state::Event) -> Change {
    let left = match &event.kind {
        EventKind::Put { value, create_revision, version, owner } => Some(oarlock_state::command::KeyValue {
            key: event.key.clone(),
            value: value.clone(),
            create_revision: *create_revision,
            mod_revision: event.revision,
            version: *version,
            owner: *owner,
        }),
        EventKind::Delete | EventKind::Children | EventKind::Object(_) | EventKind::Pool(_) => None,
    };
    Change {
        revision: event.revision.0,
        key: event.key.clone(),
        left,
        cause: event.cause,
        session: event.session.0,
    }
}

proptest! {
    #[test]
    fn the_machine_does_what_the_model_says(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair { world: World::new(), model: Model::new() };
        for step in steps {
            pair.step(step);
        }
        pair.compare_everything();
        while pair.world.reclaim(7).is_some() {}
        pair.compare_everything();
    }

    /// Proposals of one entry must come to the same as proposals of one entry each, but for the
    /// index in the reply.
    #[test]
    fn entries_may_be_cut_anywhere(
        writes in prop::collection::vec((txn(), prop::option::of(request())), 1..20),
    ) {
        let (mut one, mut many) = (World::new(), World::new());
        let mut together = Vec::new();
        let mut outcomes = Vec::new();
        for (txn, request) in writes {
            let mut proposal = one.proposal(Command::Txn(txn));
            proposal.request = request;
            together.push(proposal.clone());
            outcomes.extend(many.propose(vec![proposal]).outcomes);
        }
        let applied = one.propose(together);
        for ((_, left), (_, right)) in applied.outcomes.iter().zip(&outcomes) {
            let body = |outcome: &Outcome| outcome.clone().map(|reply| (reply.revision, reply.body));
            assert_eq!(body(left), body(right));
        }
        let keys = |world: &World| {
            let records = world.replica.view.records.iter();
            records.filter(|(key, _)| b"khvs".contains(&key[0])).map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>()
        };
        assert_eq!(keys(&one), keys(&many));
    }
}

/// Founding members write their own first records; these must be equal.
#[test]
fn founding_is_deterministic() {
    let records = || Machine::bootstrap(&[], Bytes::from_static(b"voters"), 42);
    assert_eq!(records(), records());
    let mut world = World::new();
    world.found(&records());
    let machine = &world.replica.machine;
    assert_eq!((machine.applied().0, machine.applied_term().0, machine.revision().0), (1, 1, 1));
    assert_eq!((machine.cluster_id(), machine.conf_state().as_ref()), (42, b"voters".as_slice()));
}

#[test]
fn a_later_format_is_not_loaded() {
    use oarlock_state::LoadError;
    let mut view = oarlock_state::MemoryView::default();
    view.records.insert(Bytes::from_static(oarlock_state::keys::COUNTERS), Bytes::from_static(&[9]));
    assert_eq!(Machine::load(&view).err(), Some(LoadError::Format { found: 9, known: 1 }));
    view.records.clear();
    view.records.insert(Bytes::from_static(b"kkey"), Bytes::new());
    assert_eq!(Machine::load(&view).err(), Some(LoadError::Missing { record: "counters" }));
}

#[test]
#[should_panic(expected = "the log has a gap")]
fn a_gap_in_the_log_stops_the_node() {
    let view = oarlock_state::MemoryView::default();
    let mut machine = Machine::load(&view).expect("an empty view is a fresh machine");
    let entry = oarlock_state::Entry {
        index: oarlock_state::Index(5),
        term: oarlock_state::Term(1),
        body: oarlock_state::EntryBody::Empty,
    };
    machine.apply(&view, &entry);
}

/// What was remembered of the old cluster's digests says nothing about the new one.
#[test]
fn a_refounded_state_forgets_its_digests() {
    let mut world = World::new();
    world.found(&Machine::bootstrap(&[], Bytes::new(), 1));
    for _ in 0..oarlock_state::limits::DIGEST_EVERY {
        world.apply(oarlock_state::EntryBody::Empty);
    }
    assert_eq!(world.replica.machine.recent_digests().len(), 1);
    world.refound(&[]);
    assert!(world.replica.machine.recent_digests().is_empty());
}
