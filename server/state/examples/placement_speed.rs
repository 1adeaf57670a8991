//! How much CPU time placement takes for the largest pool:
//! `cargo run --release -p oarlock-state --example placement_speed`.

use bytes::Bytes;
use oarlock_state::limits::{POOL_MEMBERS_MAX, POOL_SHARDS_MAX};
use oarlock_state::pool::placement::{Plan, WhatIf, explain, plan, simulate};
use oarlock_state::pool::{
    MemberInfo, MemberState, Owner, Policy, PoolState, Primary, Secondary, ShardInfo, ShardSet, Spread, Step,
};
use oarlock_state::{Revision, SessionId};

fn main() {
    for secondaries in [0, 2] {
        let policy = Policy { secondaries, spread: Spread::Require, ..Policy::default() };
        let mut state = pool(policy);
        println!("{POOL_SHARDS_MAX} shards, {POOL_MEMBERS_MAX} members, {secondaries} secondaries each");
        let all = timed("everything from nothing (simulate)", || simulate(&state, &[]));
        timed("first plan of an empty pool", || plan(&state));
        for step in &all.steps {
            carry_out(&mut state, step);
        }
        let quiet = timed("plan of a pool at rest", || plan(&state));
        assert!(quiet.steps.is_empty(), "it is not at rest");
        let instance = Bytes::from("new");
        let join = WhatIf::Add { instance, zone: "z".into(), capacity: 1000 };
        timed("a member of twice the capacity of all others joins (simulate)", || simulate(&state, &[join]));
        let gone = |at: u32| WhatIf::Remove { instance: member_name(at) };
        let half: Vec<WhatIf> = (0..POOL_MEMBERS_MAX as u32 / 2).map(gone).collect();
        timed("half of the members go (simulate)", || simulate(&state, &half));
        for (at, shard) in state.shards.iter_mut().enumerate() {
            shard.weight = 1 + (at as u32 * 7919) % 1000;
        }
        timed("all weights change (plan)", || plan(&state));
        timed("all weights change (simulate)", || simulate(&state, &[]));
        let begun = cpu_ns();
        let why = explain(&state, &state.shards[7].shard).expect("it exists");
        println!("  {:>8.1} ms  explain one shard, {} candidates", ms(begun), why.candidates.len());
    }
}

fn timed(what: &str, job: impl FnOnce() -> Plan) -> Plan {
    let begun = cpu_ns();
    let made = job();
    println!("  {:>8.1} ms  {what}: {} steps", ms(begun), made.steps.len());
    made
}

fn ms(begun: u64) -> f64 {
    (cpu_ns() - begun) as f64 / 1e6
}

/// Nanoseconds that this thread has run.
fn cpu_ns() -> u64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat");
    let statistics = statistics.expect("Linux counts the time of threads");
    let first = statistics.split(' ').next().and_then(|number| number.parse().ok());
    first.expect("the first number is the time on a CPU")
}

fn member_name(at: u32) -> Bytes {
    Bytes::from(format!("member-{at:05}"))
}

fn pool(policy: Policy) -> PoolState {
    let member = |at: u32| MemberInfo {
        instance: member_name(at),
        session: SessionId(u64::from(at) + 1),
        zone: format!("zone-{}", at % 5),
        capacity: 1,
        address: String::new(),
        metadata: Bytes::new(),
        state: MemberState::Active,
        joined: Revision(1),
        away_until_ms: 0,
    };
    let shard = |at: u32| ShardInfo {
        shard: Bytes::from(at.to_string()),
        weight: 1,
        load: 0,
        pin: None,
        retired: false,
        primary: Primary::Unassigned { since_ms: 0 },
        secondaries: Vec::new(),
    };
    PoolState {
        pool: Bytes::from("largest"),
        shards_of: ShardSet::Slots(POOL_SHARDS_MAX),
        moves_left: policy.moves_per_minute,
        policy,
        created: Revision(1),
        changed: Revision(1),
        stamp_ms: 1,
        paused_until_ms: 0,
        pause_reason: String::new(),
        members: (0..POOL_MEMBERS_MAX as u32).map(member).collect(),
        shards: (0..POOL_SHARDS_MAX).map(shard).collect(),
    }
}

/// As if the members had done all at once.
fn carry_out(state: &mut PoolState, step: &Step) {
    let (name, to) = match step {
        Step::Grant { shard, to } | Step::Move { shard, to } | Step::AddSecondary { shard, to } => {
            (shard, to)
        }
        Step::CancelMove { .. } | Step::DropSecondary { .. } => return,
    };
    let at: usize = String::from_utf8_lossy(name).parse().expect("a slot's name is its number");
    let session = SessionId(1);
    let shard = &mut state.shards[at];
    if matches!(step, Step::AddSecondary { .. }) {
        shard.secondaries.push(Secondary { instance: to.clone(), session, epoch: Revision(1), ready: true });
    } else {
        shard.primary =
            Primary::Owned(Owner { instance: to.clone(), session, epoch: Revision(1), granted_ms: 1 });
    }
}
