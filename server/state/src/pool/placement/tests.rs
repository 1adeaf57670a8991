//! Properties of plans, on pools that live through random stories.

mod fleet;

use super::{Exclusion, Obstacle, WhatIf, explain, plan, simulate};
use crate::pool::{MemberState, Policy, Primary, Spread, Step};
use bytes::Bytes;
use fleet::Fleet;
use proptest::prelude::*;

/// Something that happens to a pool. Members and shards are counted round.
#[derive(Clone, Debug)]
enum Turn {
    Join {
        zone: u8,
        capacity: u32,
    },
    Leave(usize),
    Expire(usize),
    Return(usize),
    State(usize, MemberState),
    Weight(usize, u32),
    Pin(usize, Option<usize>),
    Retire(usize),
    Pause(bool),
    /// A plan is made and carried out, and then what is under way goes on, as far as these bits say.
    Step(u64),
}

fn state() -> impl Strategy<Value = MemberState> {
    prop::sample::select(vec![MemberState::Active, MemberState::Cordoned, MemberState::Draining])
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        3 => (0..3_u8, 1..4_u32).prop_map(|(zone, capacity)| Turn::Join { zone, capacity }),
        1 => any::<usize>().prop_map(Turn::Leave),
        2 => any::<usize>().prop_map(Turn::Expire),
        2 => any::<usize>().prop_map(Turn::Return),
        2 => (any::<usize>(), state()).prop_map(|(at, state)| Turn::State(at, state)),
        2 => (any::<usize>(), 1..20_u32).prop_map(|(at, weight)| Turn::Weight(at, weight)),
        1 => (any::<usize>(), any::<Option<usize>>()).prop_map(|(at, to)| Turn::Pin(at, to)),
        1 => any::<usize>().prop_map(Turn::Retire),
        1 => any::<bool>().prop_map(Turn::Pause),
        12 => any::<u64>().prop_map(Turn::Step),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let spread = prop::sample::select(vec![Spread::Ignore, Spread::Prefer, Spread::Require]);
    (0..3_u32, spread, 1..9_u32, 1..9_u32, prop::sample::select(vec![0, 5, 10, 50])).prop_map(
        |(secondaries, spread, moves_max, moves_per_minute, tolerance_percent)| Policy {
            secondaries,
            spread,
            moves_max,
            moves_per_minute,
            tolerance_percent,
            ..Policy::default()
        },
    )
}

fn tell(fleet: &mut Fleet, turn: &Turn) {
    match *turn {
        Turn::Join { zone, capacity } => fleet.join(&format!("z{zone}"), capacity),
        Turn::Leave(at) => fleet.leave(at),
        Turn::Expire(at) => fleet.expire(at),
        Turn::Return(at) => fleet.come_back(at),
        Turn::State(at, state) => fleet.set_state(at, state),
        Turn::Weight(at, weight) => fleet.set_weight(at, weight),
        Turn::Pin(at, to) => fleet.pin(at, to),
        Turn::Retire(at) => fleet.retire(at),
        Turn::Pause(on) => fleet.pause(on),
        Turn::Step(bits) => {
            fleet.carry_out();
            fleet.go_on(bits);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever happened: no step is refused, no budget or zone is violated on the way, planning comes to
    /// an end, and then everything is where it should be.
    #[test]
    fn plans_are_accepted_and_come_to_rest(
        policy in policy(),
        shards in prop::collection::vec(1..9_u32, 1..40),
        turns in prop::collection::vec(turn(), 0..60),
    ) {
        let mut fleet = Fleet::new(policy, &shards);
        for turn in &turns {
            tell(&mut fleet, turn);
            fleet.check();
        }
        fleet.pause(false);
        fleet.settle();
        fleet.check_at_rest();
    }

    /// Equal shards, equal members: a newcomer costs at most its share, and nobody is more than one shard
    /// from the share of all.
    #[test]
    fn a_newcomer_costs_at_most_its_share(
        members in 1..30_usize,
        shards in 1..300_usize,
        tolerance_percent in prop::sample::select(vec![0, 3, 10]),
        secondaries in 0..3_u32,
    ) {
        let policy = Policy { tolerance_percent, secondaries, ..Policy::default() };
        let mut fleet = Fleet::of(policy, members, shards);
        fleet.settle();
        let before = fleet.owners();
        fleet.join("z", 1);
        let foreseen = simulate(&fleet.state, &[]).transfers.len();
        fleet.settle();
        let moved = fleet.moved_since(&before);
        let share = shards.div_ceil(members + 1);
        prop_assert!(moved <= share, "{moved} of {shards} moved, and the share is {share}");
        prop_assert_eq!(foreseen, moved);
        fleet.check_at_rest();
        if tolerance_percent == 0 {
            let counts = fleet.counts();
            let (most, least) = (counts.iter().max(), counts.iter().min());
            prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{counts:?}");
        }
    }

    /// Whoever leaves costs what it had, and nothing else moves.
    #[test]
    fn a_leaver_costs_what_it_had(
        members in 2..30_usize,
        shards in 1..300_usize,
        tolerance_percent in prop::sample::select(vec![0, 3, 10]),
        who in any::<usize>(),
        drains in any::<bool>(),
    ) {
        let mut fleet = Fleet::of(Policy { tolerance_percent, ..Policy::default() }, members, shards);
        fleet.settle();
        let before = fleet.owners();
        let had = fleet.count(who);
        prop_assert!(had <= shards.div_ceil(members));
        if drains {
            fleet.set_state(who, MemberState::Draining);
        } else {
            fleet.leave(who);
        }
        fleet.settle();
        prop_assert_eq!(fleet.moved_since(&before), had);
        fleet.check_at_rest();
    }

    /// While nobody is beyond the tolerance, nothing moves.
    #[test]
    fn within_the_tolerance_nothing_moves(
        weights in prop::collection::vec(90..=110_u32, 100),
    ) {
        let mut fleet = Fleet::of(Policy { tolerance_percent: 10, ..Policy::default() }, 10, 100);
        fleet.settle();
        for (at, weight) in weights.iter().enumerate() {
            fleet.set_weight(at, *weight);
        }
        let loads = simulate(&fleet.state, &[]).before;
        let within = loads.iter().all(|load| load.work * 10 <= load.fair * 11 && load.work * 10 >= load.fair * 9);
        let next = plan(&fleet.state);
        prop_assert_eq!(within, next.steps.is_empty());
    }

    /// Who is away keeps all it has, and comes back to it.
    #[test]
    fn a_restart_moves_nothing(members in 2..20_usize, shards in 1..200_usize, who in any::<usize>()) {
        let mut fleet = Fleet::of(Policy::default(), members, shards);
        fleet.settle();
        let before = fleet.owners();
        fleet.expire(who);
        prop_assert!(plan(&fleet.state).steps.is_empty());
        fleet.come_back(who);
        prop_assert!(plan(&fleet.state).steps.is_empty());
        prop_assert_eq!(fleet.owners(), before);
    }
}

/// The shards of one who dies are spread over all others by their secondaries, warm.
#[test]
fn ready_secondaries_take_over() {
    let mut fleet = Fleet::of(Policy { secondaries: 1, ..Policy::default() }, 10, 200);
    fleet.settle();
    fleet.leave(3);
    let next = plan(&fleet.state);
    let grants: Vec<(&Bytes, &Bytes)> = next
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Grant { shard, to } => Some((shard, to)),
            Step::Move { .. }
            | Step::CancelMove { .. }
            | Step::AddSecondary { .. }
            | Step::DropSecondary { .. } => None,
        })
        .collect();
    assert_eq!(grants.len(), 20);
    for (shard, to) in &grants {
        let shard = fleet.state.shards.iter().find(|of| of.shard == **shard).expect("it exists");
        assert!(shard.secondaries.iter().any(|secondary| secondary.ready && secondary.instance == **to));
    }
    let mut heirs: Vec<&Bytes> = grants.iter().map(|(_, to)| *to).collect();
    heirs.sort();
    heirs.dedup();
    assert!(heirs.len() >= 5, "only {} take part", heirs.len());
}

#[test]
fn a_pin_is_hard() {
    let mut fleet = Fleet::of(Policy::default(), 3, 9);
    fleet.settle();
    fleet.pin(0, Some(2));
    fleet.settle();
    assert_eq!(fleet.owner(0), Some(fleet.name(2)));
    fleet.set_state(2, MemberState::Draining);
    fleet.settle();
    assert_eq!(fleet.owner(0), Some(fleet.name(2)), "it cannot be anywhere else");
    assert_eq!(fleet.count(2), 1);
    let shard = fleet.state.shards[0].shard.clone();
    let why = explain(&fleet.state, &shard).expect("it exists");
    assert!(why.next.is_empty());
    assert_eq!(why.candidates[0].excluded_by, [Exclusion::PinnedElsewhere]);
    assert_eq!(why.candidates[2].excluded_by, []);
    assert_eq!(why.candidates[1].excluded_by, [Exclusion::PinnedElsewhere]);
    fleet.leave(2);
    assert!(
        !plan(&fleet.state)
            .steps
            .iter()
            .any(|step| matches!(step, Step::Grant { shard: of, .. } if *of == shard))
    );
    let why = explain(&fleet.state, &shard).expect("it exists");
    assert_eq!(why.obstacles, [Obstacle::PinUnavailable]);
}

/// One pinned giant makes nobody else's share larger.
#[test]
fn a_pinned_giant_is_left_out_of_the_balance() {
    let mut fleet = Fleet::of(Policy { tolerance_percent: 0, ..Policy::default() }, 4, 31);
    fleet.settle();
    fleet.set_weight(0, 1000);
    fleet.pin(0, Some(0));
    fleet.settle();
    assert_eq!(fleet.counts(), [1, 10, 10, 10]);
}

#[test]
fn capacities_are_kept_to() {
    let mut fleet = Fleet::new(Policy { tolerance_percent: 0, ..Policy::default() }, &[1; 60]);
    for capacity in [1, 2, 3] {
        fleet.join("z", capacity);
    }
    fleet.settle();
    assert_eq!(fleet.counts(), [10, 20, 30]);
}

#[test]
fn budgets_hold_moves_back() {
    let policy = Policy { moves_max: 4, moves_per_minute: 10, ..Policy::default() };
    let mut fleet = Fleet::of(policy, 2, 40);
    fleet.settle();
    fleet.set_state(0, MemberState::Draining);
    let first = plan(&fleet.state);
    assert_eq!((first.steps.len(), first.waiting), (4, true));
    fleet.carry_out();
    let next = plan(&fleet.state);
    assert_eq!((next.steps.len(), next.waiting), (0, true));
    fleet.state.policy.moves_max = 0;
    let never = plan(&fleet.state);
    assert_eq!((never.steps.len(), never.waiting), (0, true));
}

#[test]
fn nothing_moves_while_a_pool_is_paused() {
    let mut fleet = Fleet::of(Policy { secondaries: 1, ..Policy::default() }, 3, 9);
    fleet.pause(true);
    assert_eq!(plan(&fleet.state).steps.len(), 9, "what nobody owns is granted");
    fleet.settle();
    fleet.set_state(0, MemberState::Draining);
    assert!(plan(&fleet.state).steps.is_empty());
    let at = (0..9).find(|at| fleet.owner(*at) == Some(fleet.name(0))).expect("it has some");
    let why = explain(&fleet.state, &fleet.state.shards[at].shard).expect("it exists");
    assert_eq!(why.obstacles, [Obstacle::Paused]);
    assert_eq!(simulate(&fleet.state, &[]).transfers.len(), 3, "what would be done if it were not");
}

#[test]
fn what_if_says_what_would_move() {
    let mut fleet = Fleet::of(Policy { tolerance_percent: 0, ..Policy::default() }, 4, 40);
    fleet.settle();
    assert!(simulate(&fleet.state, &[]).steps.is_empty());
    let instance = Bytes::from("zz");
    let joined =
        simulate(&fleet.state, &[WhatIf::Add { instance: instance.clone(), zone: "z".into(), capacity: 1 }]);
    assert_eq!(joined.transfers.len(), 8);
    assert!(joined.transfers.iter().all(|transfer| transfer.to == instance && transfer.from.is_some()));
    let works = |loads: &[super::Load]| loads.iter().map(|load| load.work).collect::<Vec<_>>();
    assert_eq!(works(&joined.before), [10, 10, 10, 10, 0]);
    assert_eq!(works(&joined.after), [8, 8, 8, 8, 8]);
    let gone = simulate(&fleet.state, &[WhatIf::Remove { instance: fleet.name(0) }]);
    assert_eq!(works(&gone.before), [10, 10, 10]);
    assert_eq!(gone.transfers.len(), 10);
    let drained = WhatIf::SetState { instance: fleet.name(1), state: MemberState::Draining };
    let drained = simulate(&fleet.state, &[drained]);
    assert_eq!(drained.transfers.len(), 10);
    assert_eq!(drained.after[1].work, 0);
    let shard =
        fleet.state.shards.iter().find(|of| of.primary.owner().is_some()).expect("owned").shard.clone();
    let heavy = simulate(&fleet.state, &[WhatIf::SetWeight { shard: shard.clone(), weight: 10 }]);
    assert!((2..=9).contains(&heavy.transfers.len()), "{}", heavy.transfers.len());
    let pinned = simulate(&fleet.state, &[WhatIf::Pin { shard: shard.clone(), to: Some(fleet.name(3)) }]);
    assert!(pinned.transfers.iter().all(|transfer| transfer.shard != shard || transfer.to == fleet.name(3)));
}

#[test]
fn a_move_to_a_member_that_drains_is_given_up() {
    let mut fleet = Fleet::of(Policy::default(), 2, 4);
    fleet.settle();
    fleet.join("z", 1);
    fleet.carry_out();
    let moving = fleet.state.shards.iter().filter(|shard| matches!(shard.primary, Primary::Moving { .. }));
    assert_eq!(moving.count(), 1);
    fleet.set_state(2, MemberState::Draining);
    let next = plan(&fleet.state);
    assert!(matches!(next.steps[..], [Step::CancelMove { .. }]), "{:?}", next.steps);
    fleet.settle();
    fleet.check_at_rest();
}
