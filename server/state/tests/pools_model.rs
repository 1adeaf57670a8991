//! Random stories of shard pools, told to the machine and to a [model] so simple that it is right at
//! first sight.
//!
//! After each step the machine's invariants are proven, its twin that never reclaims must agree with
//! it, the model must agree on the outcome and on every member and shard, and a [watcher] that knows
//! nothing but the events must arrive at the same tables, and finds each epoch allowed: at most one
//! owner, no epoch before the last one's delay is over, no unowned moment of a planned move.

#[path = "pools/model.rs"]
mod model;
#[path = "pools/watcher.rs"]
mod watcher;
#[path = "script/world.rs"]
mod world;

use bytes::Bytes;
use model::{Fate, Model};
use oarlock_state::command::{Answer, Guard, OpenSession, Outcome, ReplyBody, TokenScope};
use oarlock_state::pool::placement::plan;
use oarlock_state::pool::{
    Join, MemberState, Policy, PoolOp, PoolQuery, PoolReply, PoolState, Primary, ShardInfo, ShardSet,
    ShardToken, Spread, Step,
};
use oarlock_state::{
    Applied, Caller, Command, Index, Machine, Query, Rejection, Revision, SessionId, limits,
};
use proptest::prelude::*;
use watcher::Watcher;
use world::World;

/// One step of a story.
#[derive(Clone, Debug)]
enum Act {
    Open(u64),
    Close(u64),
    Expire(u64),
    Do(PoolOp),
    /// What an instance does under the session that it has, or under another.
    Leave(Bytes, Bytes, bool),
    Ready(Bytes, Bytes, Vec<Bytes>, bool),
    /// Whatever an instance owns, up to a number; the last epoch of it may be made up.
    Release(Bytes, Bytes, usize, bool),
    Report(Bytes, Bytes, Vec<(Bytes, u32)>),
    /// The steps of a plan, for the pool as it is or as it was.
    Assign(Bytes, Vec<Step>, bool),
    /// What placement plans.
    Plan(Bytes),
    Wait(u64),
    Compact,
    Reclaim(usize),
    Restart,
}

fn pool() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["p", "p", "q"]).prop_map(Bytes::from)
}

fn shard() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["0", "1", "2", "x", "y"]).prop_map(Bytes::from)
}

fn shards() -> impl Strategy<Value = Vec<Bytes>> {
    prop::collection::vec(shard(), 1..4)
}

fn instance() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(Bytes::from)
}

fn works() -> impl Strategy<Value = Vec<(Bytes, u32)>> {
    prop::collection::vec((shard(), 1..5_u32), 1..4)
}

fn delay() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![0, 0, 50, 100])
}

fn policy() -> impl Strategy<Value = Policy> {
    let spread = prop::sample::select(vec![Spread::Ignore, Spread::Prefer, Spread::Require]);
    let handoff = prop::sample::select(vec![40_u64, 1_000]);
    (0..3_u32, spread, delay(), delay(), handoff, 1..4_u32, 2..9_u32, prop::bool::weighted(0.1)).prop_map(
        |(
            secondaries,
            spread,
            lock_delay_ms,
            reassign_delay_ms,
            handoff_ms,
            moves_max,
            moves_per_minute,
            sticky,
        )| {
            Policy {
                secondaries,
                spread,
                lock_delay_ms,
                reassign_delay_ms,
                handoff_ms,
                moves_max,
                moves_per_minute,
                sticky,
                ..Policy::default()
            }
        },
    )
}

fn create() -> impl Strategy<Value = PoolOp> {
    (pool(), policy()).prop_map(|(pool, policy)| {
        let shards = if pool == "p" { ShardSet::Slots(3) } else { ShardSet::Named };
        PoolOp::Create { pool, shards, policy }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (shard(), instance()).prop_map(|(shard, to)| Step::Grant { shard, to }),
        4 => (shard(), instance()).prop_map(|(shard, to)| Step::Move { shard, to }),
        1 => shard().prop_map(|shard| Step::CancelMove { shard }),
        2 => (shard(), instance()).prop_map(|(shard, to)| Step::AddSecondary { shard, to }),
        1 => (shard(), instance()).prop_map(|(shard, from)| Step::DropSecondary { shard, from }),
    ]
}

fn join() -> impl Strategy<Value = PoolOp> {
    let zone = prop::sample::select(vec!["y", "z", ""]);
    (pool(), instance(), 1..6_u64, zone, 1..3_u32).prop_map(|(pool, instance, session, zone, capacity)| {
        let (session, zone) = (SessionId(session), zone.to_owned());
        let (address, metadata) = (String::new(), Bytes::new());
        PoolOp::Join { pool, join: Join { instance, session, zone, capacity, address, metadata } }
    })
}

fn operation() -> impl Strategy<Value = PoolOp> {
    let state = prop::sample::select(vec![MemberState::Active, MemberState::Cordoned, MemberState::Draining]);
    let pause = prop::sample::select(vec![0_u64, 30, 120]);
    prop_oneof![
        12 => join(),
        1 => (pool(), prop::bool::weighted(0.2)).prop_map(|(pool, force)| PoolOp::Delete { pool, force }),
        2 => create(),
        1 => (pool(), policy()).prop_map(|(pool, policy)| PoolOp::SetPolicy { pool, policy }),
        2 => works().prop_map(|shards| PoolOp::AddShards { pool: "q".into(), shards }),
        2 => (pool(), shards()).prop_map(|(pool, shards)| PoolOp::RemoveShards { pool, shards }),
        2 => (pool(), instance(), state)
            .prop_map(|(pool, instance, state)| PoolOp::SetMemberState { pool, instance, state }),
        2 => (pool(), shard(), prop::option::of(instance()))
            .prop_map(|(pool, shard, to)| PoolOp::Pin { pool, shard, to }),
        1 => (pool(), works()).prop_map(|(pool, weights)| PoolOp::SetWeights { pool, weights }),
        2 => (pool(), pause)
            .prop_map(|(pool, for_ms)| PoolOp::Pause { pool, for_ms, reason: String::new() }),
        3 => (pool(), shard(), instance()).prop_map(|(pool, shard, to)| PoolOp::Move { pool, shard, to }),
        2 => (pool(), shard()).prop_map(|(pool, shard)| PoolOp::Force { pool, shard }),
        6 => Just(PoolOp::Elapse),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let session = || 1..6_u64;
    let other = || prop::bool::weighted(0.1);
    prop_oneof![
        5 => session().prop_map(Act::Open),
        1 => session().prop_map(Act::Close),
        3 => session().prop_map(Act::Expire),
        35 => operation().prop_map(Act::Do),
        1 => (pool(), instance(), other()).prop_map(|(pool, who, other)| Act::Leave(pool, who, other)),
        10 => (pool(), instance(), shards(), other())
            .prop_map(|(pool, who, shards, other)| Act::Ready(pool, who, shards, other)),
        8 => (pool(), instance(), 1..3_usize, other())
            .prop_map(|(pool, who, count, forged)| Act::Release(pool, who, count, forged)),
        1 => (pool(), instance(), works()).prop_map(|(pool, who, loads)| Act::Report(pool, who, loads)),
        14 => (pool(), prop::collection::vec(step(), 1..3), other())
            .prop_map(|(pool, steps, stale)| Act::Assign(pool, steps, stale)),
        10 => pool().prop_map(Act::Plan),
        6 => (1..70_u64).prop_map(Act::Wait),
        1 => Just(Act::Compact),
        1 => (1..30_usize).prop_map(Act::Reclaim),
        1 => Just(Act::Restart),
    ]
}

/// The machine beside the model and the watcher.
struct Story {
    world: World,
    model: Model,
    watcher: Watcher,
}

impl Story {
    fn new(policy: Policy) -> Self {
        let mut story = Self { world: World::new(), model: Model::default(), watcher: Watcher::default() };
        story.world.found(&Machine::bootstrap(&[], Bytes::new(), 1));
        (1..5).for_each(|session| story.act(Act::Open(session)));
        let slots = PoolOp::Create { pool: "p".into(), shards: ShardSet::Slots(3), policy };
        let named = PoolOp::Create { pool: "q".into(), shards: ShardSet::Named, policy: Policy::default() };
        story.act(Act::Do(slots));
        story.act(Act::Do(named));
        story
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Open(id) => {
                let id = SessionId(id);
                let (secret, principal) = ([0; 16], String::new());
                let open = OpenSession { id, secret, timeout_ms: 10_000, principal };
                let opened = self.apply(Command::OpenSession(open)).0.is_ok();
                assert_eq!(opened, self.model.sessions.insert(id));
            }
            Act::Close(id) => {
                let session = SessionId(id);
                let (outcome, revision) = self.apply(Command::CloseSession { session });
                assert_eq!(outcome.is_ok(), self.model.end(session, false, revision));
            }
            Act::Expire(id) => {
                let session = SessionId(id);
                let sessions = vec![(session, self.last_touch(session))];
                let (outcome, revision) = self.apply(Command::ExpireSessions { sessions });
                let existed = self.model.end(session, true, revision);
                let ended = if existed { vec![session] } else { Vec::new() };
                assert_eq!(outcome.map(|reply| reply.body), Ok(ReplyBody::Expired { ended }));
            }
            Act::Do(op) => self.execute(op),
            Act::Leave(pool, instance, other) => {
                let session = self.session(&pool, &instance, other);
                self.execute(PoolOp::Leave { pool, instance, session });
            }
            Act::Ready(pool, instance, shards, other) => {
                let session = self.session(&pool, &instance, other);
                self.execute(PoolOp::Ready { pool, instance, session, shards });
            }
            Act::Release(pool, instance, count, forged) => self.release(pool, instance, count, forged),
            Act::Report(pool, instance, loads) => {
                let session = self.session(&pool, &instance, false);
                self.execute(PoolOp::Report { pool, instance, session, loads });
            }
            Act::Assign(pool, steps, stale) => self.assign(pool, steps, stale),
            Act::Plan(pool) => self.plan(pool),
            Act::Wait(ms) => {
                self.world.now_ms += ms;
                self.model.now_ms += ms;
            }
            Act::Compact => {
                let revision = self.world.replica.machine.revision();
                let again = self.world.replica.machine.compacted() == revision;
                assert_eq!(self.apply(Command::Compact { revision }).0.is_err(), again);
            }
            Act::Reclaim(budget) => {
                self.world.reclaim(budget);
            }
            Act::Restart => self.world.replica.restart(),
        }
        self.compare();
    }

    fn session(&self, pool: &Bytes, instance: &Bytes, other: bool) -> SessionId {
        let member = self.model.pools.get(pool).and_then(|pool| pool.members.get(instance));
        let session = member.and_then(|member| member.session).unwrap_or(SessionId(1));
        if other { SessionId(session.get() % 5 + 1) } else { session }
    }

    fn release(&mut self, pool: Bytes, instance: Bytes, count: usize, forged: bool) {
        let session = self.session(&pool, &instance, false);
        let Some(found) = self.model.pools.get(&pool) else { return };
        let mut shards: Vec<ShardToken> = Vec::new();
        for (shard, entry) in &found.shards {
            if let Fate::Owned { by, epoch } | Fate::Moving { by, epoch, .. } = &entry.fate
                && *by == instance
                && shards.len() < count
            {
                shards.push(ShardToken { shard: shard.clone(), epoch: Revision(*epoch) });
            }
        }
        let Some(last) = shards.last_mut() else { return };
        last.epoch.0 += u64::from(forged);
        self.execute(PoolOp::Release { pool, instance, session, shards });
    }

    fn assign(&mut self, pool: Bytes, steps: Vec<Step>, stale: bool) {
        let Some(state) = self.state(&pool) else { return };
        if stale {
            let basis = Revision(state.changed.get() - 1);
            let assign = PoolOp::Assign { pool, basis, steps };
            assert!(self.apply(Command::Pool(assign)).0.is_err(), "a stale plan was taken");
            return;
        }
        self.execute(PoolOp::Assign { pool, basis: state.changed, steps });
    }

    /// What placement plans is never refused: they have the same rules.
    fn plan(&mut self, pool: Bytes) {
        let now = self.state(&pool).filter(|state| {
            // Placement sees the state as of the last entry; a plan is proposed with the present time.
            state.stamp_ms == self.world.now_ms
        });
        let Some(state) = now else { return };
        let steps = plan(&state).steps;
        assert!(steps.len() <= limits::POOL_STEPS_MAX);
        if steps.is_empty() {
            return;
        }
        let assign = PoolOp::Assign { pool, basis: state.changed, steps };
        let verdict = self.model.clone().execute(&assign, Revision(u64::MAX));
        assert_eq!(verdict, Ok(()), "{assign:?} for {state:?}");
        self.execute(assign);
    }

    fn execute(&mut self, op: PoolOp) {
        let (outcome, revision) = self.apply(Command::Pool(op.clone()));
        let verdict = self.model.execute(&op, revision);
        assert_eq!(outcome.is_ok(), verdict.is_ok(), "{op:?}: {outcome:?}");
        if let (PoolOp::Join { pool, join }, Ok(reply)) = (&op, &outcome) {
            let ReplyBody::Pool(PoolReply::Joined { owned }) = &reply.body else { panic!("{reply:?}") };
            assert_eq!(*owned, self.owned(pool, &join.instance));
        }
    }

    fn owned(&self, pool: &Bytes, instance: &Bytes) -> Vec<(Bytes, Revision)> {
        let one = |(shard, entry): (&Bytes, &model::Shard)| match &entry.fate {
            Fate::Owned { by, epoch } | Fate::Moving { by, epoch, .. } if by == instance => {
                Some((shard.clone(), Revision(*epoch)))
            }
            _ => None,
        };
        self.model.pools[pool].shards.iter().filter_map(one).collect()
    }

    fn apply(&mut self, command: Command) -> (Outcome, Revision) {
        let proposal = self.world.proposal(command);
        let Applied { mut outcomes, events, revision, .. } = self.world.propose(vec![proposal]);
        self.watcher.see(&events, self.world.now_ms);
        (outcomes.remove(0).1, revision)
    }

    fn last_touch(&self, session: SessionId) -> Index {
        match self.world.read(&Caller::Server, &Query::Session { session, want_attached: false }) {
            Ok(Answer::Session(info)) => info.last_touch,
            Ok(_) | Err(_) => Index(0),
        }
    }

    fn state(&self, pool: &Bytes) -> Option<PoolState> {
        let query = Query::Pool(PoolQuery::State { pool: pool.clone() });
        match self.world.read(&Caller::Server, &query) {
            Ok(Answer::Pool(PoolReply::State(state))) => Some(*state),
            Err(Rejection::Pool(_)) => None,
            other => panic!("{other:?}"),
        }
    }

    /// Every pool is as the model and the watcher have it, and there are no others.
    fn compare(&self) {
        for name in ["p", "q"].map(Bytes::from) {
            let state = self.state(&name);
            let expected = self.model.pools.get(&name);
            assert_eq!(state.is_some(), expected.is_some());
            let (Some(state), Some(expected)) = (state, expected) else {
                assert!(!self.watcher.pools.contains_key(&name));
                continue;
            };
            agree(&state, expected);
            self.tokens(&state);
            let watched = self.watcher.pools.get(&name).expect("the watcher knows it");
            assert_eq!(*watched, timeless(state));
        }
    }

    /// A guard holds with the owner's epoch and no other.
    fn tokens(&self, state: &PoolState) {
        for info in &state.shards {
            let scope = TokenScope::Shard { pool: state.pool.clone(), shard: info.shard.clone() };
            let epoch = info.primary.owner().map_or(Revision(1), |owner| owner.epoch);
            let current = |token| {
                let guard = Guard { scope: scope.clone(), token };
                self.world.read(&Caller::Server, &Query::CheckToken(guard))
            };
            let owned = info.primary.owner().is_some();
            assert_eq!(current(epoch), Ok(Answer::TokenCurrent(owned)));
            assert_eq!(current(epoch.next()), Ok(Answer::TokenCurrent(false)));
        }
    }
}

fn agree(state: &PoolState, expected: &model::Pool) {
    let members: Vec<_> = state
        .members
        .iter()
        .map(|member| (&member.instance, member.session, &member.zone, member.state, member.away_until_ms))
        .collect();
    let of_model: Vec<_> = expected
        .members
        .iter()
        .map(|(instance, member)| {
            let session = member.session.unwrap_or_default();
            let until_ms = if member.session.is_none() { member.until_ms } else { 0 };
            (instance, session, &member.zone, member.state, until_ms)
        })
        .collect();
    assert_eq!(members, of_model);
    assert!(state.shards.iter().map(|info| &info.shard).eq(expected.shards.keys()));
    for (info, (_, entry)) in state.shards.iter().zip(&expected.shards) {
        assert_eq!((&info.pin, info.retired), (&entry.pin, entry.retired), "{info:?}");
        let copies = info.secondaries.iter().map(|copy| (&copy.instance, &copy.ready));
        assert!(copies.eq(entry.copies.iter()), "{info:?}, and not {entry:?}");
        let same = match (&info.primary, &entry.fate) {
            (Primary::Unassigned { .. }, Fate::Free) => true,
            (Primary::Owned(owner), Fate::Owned { by, epoch }) => {
                owner.instance == *by && owner.epoch.get() == *epoch
            }
            (
                Primary::Moving { from, to, draining, .. },
                Fate::Moving { by, epoch, to: target, warm, .. },
            ) => from.instance == *by && from.epoch.get() == *epoch && to == target && draining == warm,
            (Primary::Withheld { instance, until_ms, .. }, Fate::Withheld { of, until_ms: until, .. }) => {
                instance == of && (*until_ms == *until || *until_ms == 0 && *until == u64::MAX)
            }
            _ => false,
        };
        assert!(same, "{info:?}, and not {entry:?}");
    }
}

/// Without what no event tells.
fn timeless(mut state: PoolState) -> PoolState {
    (state.stamp_ms, state.moves_left) = (0, 0);
    for info in &mut state.shards {
        match &mut info.primary {
            Primary::Unassigned { since_ms } => *since_ms = 0,
            Primary::Owned(owner) | Primary::Moving { from: owner, .. } => owner.granted_ms = 0,
            Primary::Withheld { .. } => {}
        }
    }
    state
}

impl Story {
    /// In a new cluster made of this state nobody owns anything.
    fn refound(mut self) {
        self.world.refound(&[]);
        for name in ["p", "q"].map(Bytes::from) {
            let Some(state) = self.state(&name) else { continue };
            assert!(state.members.iter().all(|member| member.session == SessionId(0)), "{state:?}");
            assert!(state.shards.iter().all(|info| info.primary.owner().is_none()), "{state:?}");
        }
    }
}

/// Whatever an instance had ends in one revision, and comes back in one.
#[test]
fn a_session_with_thousands_of_shards_ends_in_one_revision() {
    const SHARDS: u32 = 2_048;
    let policy = Policy { reassign_delay_ms: 1_000, ..Policy::default() };
    let (pool, instance) = (Bytes::from("p"), Bytes::from("a"));
    let mut story = Story::new(Policy::default());
    let join = |session| {
        let (session, zone, metadata) = (SessionId(session), String::new(), Bytes::new());
        let join =
            Join { instance: instance.clone(), session, zone, capacity: 1, address: String::new(), metadata };
        Command::Pool(PoolOp::Join { pool: pool.clone(), join })
    };
    let apply = |story: &mut Story, command| {
        let before = story.world.replica.machine.revision();
        let (outcome, after) = story.apply(command);
        assert_eq!(after, before.next());
        outcome.expect("accepted")
    };
    apply(&mut story, Command::Pool(PoolOp::Delete { pool: pool.clone(), force: false }));
    let shards = ShardSet::Slots(SHARDS);
    apply(&mut story, Command::Pool(PoolOp::Create { pool: pool.clone(), shards, policy }));
    apply(&mut story, join(1));
    let numbers: Vec<u32> = (0..SHARDS).collect();
    for chunk in numbers.chunks(limits::POOL_STEPS_MAX) {
        let grant = |number: &u32| Step::Grant { shard: number.to_string().into(), to: instance.clone() };
        let basis = story.state(&pool).expect("it exists").changed;
        let steps = chunk.iter().map(grant).collect();
        apply(&mut story, Command::Pool(PoolOp::Assign { pool: pool.clone(), basis, steps }));
    }
    let sessions = vec![(SessionId(1), story.last_touch(SessionId(1)))];
    apply(&mut story, Command::ExpireSessions { sessions });
    let withheld = |info: &ShardInfo| matches!(info.primary, Primary::Withheld { .. });
    assert!(story.state(&pool).expect("it exists").shards.iter().all(withheld));
    let body = apply(&mut story, join(2)).body;
    let ReplyBody::Pool(PoolReply::Joined { owned }) = body else { panic!("{body:?}") };
    assert_eq!(owned.len(), SHARDS as usize);
    let state = timeless(story.state(&pool).expect("it exists"));
    assert_eq!(Some(&state), story.watcher.pools.get(&pool));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_the_model_and_a_watcher_agree(
        policy in policy(),
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let mut story = Story::new(policy);
        for act in acts {
            story.act(act);
        }
        story.refound();
    }
}
