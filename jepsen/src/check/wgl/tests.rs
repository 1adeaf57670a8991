//! The search against trying everything, against histories that are right by construction, and
//! against those with one answer changed.

use super::*;
use crate::check::model::register::{Action, Content, Register, State};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::{Duration, Instant};

fn event<A>(invoked: u64, returned: u64, action: A) -> Event<A> {
    Event { invoked, returned: (returned > 0).then_some(returned), action }
}

fn read(content: Content) -> Action {
    Action::Read { content, modified: None }
}

fn write(new: i64) -> Action {
    Action::Write { new: Some(new), before: None, existed: None, revision: None }
}

fn is_fine(events: &[Event<Action>]) -> bool {
    match search(&Register, events, BUDGET) {
        Found::Linearizable => true,
        Found::Violated(_) => false,
        Found::Unknown => panic!("these are small"),
    }
}

#[test]
fn a_stale_read_is_found_and_explained() {
    let good = [event(1, 2, write(1)), event(3, 4, write(2)), event(5, 6, read(Some(2)))];
    assert!(is_fine(&good));
    let stale = [event(1, 2, write(1)), event(3, 4, write(2)), event(5, 6, read(Some(1)))];
    let state = State { content: Some(2), revision: 0, is_exact: false };
    let witness = Witness { explained: vec![0, 1], stuck: vec![2], state };
    assert_eq!(search(&Register, &stale, BUDGET), Found::Violated(witness));
    let concurrent = [event(1, 2, write(1)), event(3, 6, write(2)), event(4, 5, read(Some(1)))];
    assert!(is_fine(&concurrent));
}

#[test]
fn an_unknown_write_may_happen_late_or_never_but_not_be_undone() {
    let unknown = event(1, 0, write(1));
    assert!(is_fine(&[unknown, event(5, 6, read(None))]));
    assert!(is_fine(&[unknown, event(5, 6, read(None)), event(7, 8, read(Some(1)))]));
    assert!(!is_fine(&[unknown, event(5, 6, read(Some(1))), event(7, 8, read(None))]));
    assert!(!is_fine(&[event(7, 0, write(1)), event(5, 6, read(Some(1)))]), "it was not asked for yet");
}

/// The oracle: every order of every subset that keeps the certain ones.
fn brute<M: Model>(model: &M, events: &[Event<M::Action>], done: &mut Vec<bool>, state: &M::State) -> bool {
    if events.iter().zip(done.iter()).all(|(event, done)| *done || event.returned.is_none()) {
        return true;
    }
    let open: Vec<usize> = (0..events.len()).filter(|at| !done[*at]).collect();
    let horizon = open.iter().filter_map(|at| events[*at].returned).min().unwrap_or(u64::MAX);
    open.into_iter().filter(|at| events[*at].invoked <= horizon).any(|at| {
        let mut after = Vec::new();
        model.step(state, &events[at].action, &mut after);
        done[at] = true;
        let found = after.iter().any(|state| brute(model, events, done, state));
        done[at] = false;
        found
    })
}

fn agrees<M: Model>(model: &M, events: &[Event<M::Action>]) -> bool {
    let expected = brute(model, events, &mut vec![false; events.len()], &model.initial());
    match search(model, events, BUDGET) {
        Found::Linearizable => expected,
        Found::Violated(witness) => !expected && is_honest(model, events, &witness),
        Found::Unknown => false,
    }
}

/// Whether the explained beginning is one, and none of the stuck operations can follow its state.
fn is_honest<M: Model>(model: &M, events: &[Event<M::Action>], witness: &Witness<M::State>) -> bool {
    let mut states = vec![model.initial()];
    for at in &witness.explained {
        let mut after = Vec::new();
        states.iter().for_each(|state| model.step(state, &events[*at].action, &mut after));
        states = after;
    }
    let fits = |at: &usize| {
        let mut after = Vec::new();
        model.step(&witness.state, &events[*at].action, &mut after);
        !after.is_empty()
    };
    states.contains(&witness.state) && !witness.stuck.is_empty() && !witness.stuck.iter().any(fits)
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![Just(None), (1i64..3).prop_map(Some)]
}

fn action() -> impl Strategy<Value = Action> {
    let revision = || prop_oneof![3 => Just(None), 1 => (1u64..5).prop_map(Some)];
    prop_oneof![
        3 => (content(), revision()).prop_map(|(content, modified)| Action::Read { content, modified }),
        2 => (content(), prop::option::weighted(0.3, content()), revision()).prop_map(
            |(new, before, revision)| Action::Write { new, before, existed: None, revision }
        ),
        1 => (content(), 1i64..3, prop::option::of(any::<bool>()), revision()).prop_map(
            |(expected, new, swapped, revision)| Action::Swap { expected, new, swapped, revision }
        ),
    ]
}

fn history<A: std::fmt::Debug>(action: impl Strategy<Value = A>) -> impl Strategy<Value = Vec<Event<A>>> {
    let timed = (0u64..14, 1u64..8, prop::bool::weighted(0.2), action);
    let event = timed.prop_map(|(invoked, length, is_lost, action)| Event {
        invoked,
        returned: (!is_lost).then_some(invoked + length),
        action,
    });
    prop::collection::vec(event, 0..8)
}

/// An object with a choice: what is taken out is any of what was put in.
struct Bag;

#[derive(Clone, Debug)]
enum InBag {
    Put(u8),
    /// Moves any number up, nobody knows which.
    Stir,
    Holds(u8),
}

impl Model for Bag {
    type State = std::collections::BTreeMap<u8, u8>;
    type Action = InBag;

    fn initial(&self) -> Self::State {
        Self::State::new()
    }

    fn step(&self, state: &Self::State, action: &InBag, after: &mut Vec<Self::State>) {
        match action {
            InBag::Put(number) => {
                let mut state = state.clone();
                *state.entry(*number).or_default() += 1;
                after.push(state);
            }
            InBag::Stir => after.extend(state.keys().map(|number| {
                let mut stirred = state.clone();
                let left = stirred[number] - 1;
                stirred.insert(*number, left);
                stirred.retain(|_, count| *count > 0);
                *stirred.entry(number + 1).or_default() += 1;
                stirred
            })),
            InBag::Holds(number) => after.extend(state.contains_key(number).then(|| state.clone())),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn agrees_with_trying_everything(events in history(action())) {
        prop_assert!(agrees(&Register, &events));
    }

    #[test]
    fn agrees_where_the_object_has_a_choice(events in history(prop_oneof![
        2 => (0u8..3).prop_map(InBag::Put),
        2 => Just(InBag::Stir),
        3 => (0u8..5).prop_map(InBag::Holds),
    ])) {
        prop_assert!(agrees(&Bag, &events));
    }
}

/// A history that is right by construction: clients take turns at random, and each operation takes
/// effect at a random moment of its time.
fn valid(rng: &mut StdRng, length: usize, clients: usize, lost: f64) -> Vec<Event<Action>> {
    let mut events: Vec<Event<Action>> = Vec::new();
    let mut running: Vec<(usize, bool)> = Vec::new(); // and whether it took effect
    let mut content = None;
    let mut time = 0;
    while events.len() < length || !running.is_empty() {
        time += 1;
        let begins = events.len() < length && running.len() < clients && rng.random_bool(0.5);
        if begins {
            let number = rng.random_range(0..5);
            let action = match rng.random_range(0..4) {
                0 => write(events.len() as i64),
                1 => Action::Swap { expected: Some(number), new: number + 1, swapped: None, revision: None },
                _ => read(None),
            };
            running.push((events.len(), false));
            events.push(Event { invoked: time, returned: None, action });
        } else if !running.is_empty() {
            let at = rng.random_range(0..running.len());
            let (event, is_done) = running[at];
            if is_done {
                running.swap_remove(at);
                events[event].returned = Some(time);
            } else if rng.random_bool(lost) {
                running.swap_remove(at); // its answer will never come, and it never happens
            } else {
                running[at].1 = true;
                take_effect(&mut events[event].action, &mut content);
                if rng.random_bool(lost) {
                    running.swap_remove(at); // it happened, and its answer never comes
                }
            }
        }
    }
    events
}

fn take_effect(action: &mut Action, state: &mut Content) {
    match action {
        Action::Read { content, .. } => *content = *state,
        Action::Write { new, .. } => *state = *new,
        Action::Swap { expected, new, swapped, .. } => {
            *swapped = Some(expected == state);
            if expected == state {
                *state = Some(*new);
            }
        }
    }
}

#[test]
fn what_is_right_by_construction_passes_and_a_changed_answer_does_not() {
    let mut found = 0;
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut events = valid(&mut rng, 200, 6, 0.02);
        assert!(is_fine(&events), "seed {seed}");
        let reads: Vec<usize> = (0..events.len())
            .filter(|at| events[*at].returned.is_some() && matches!(events[*at].action, Action::Read { .. }))
            .collect();
        let at = reads[rng.random_range(0..reads.len())];
        events[at].action = read(Some(-1));
        assert!(!is_fine(&events), "seed {seed}: nobody wrote -1");
        events[at].action = read(Some(rng.random_range(0..200)));
        found += usize::from(!is_fine(&events));
    }
    assert!(found > 200, "most numbers were not there at that time: {found}");
}

#[test]
fn a_long_history_takes_seconds() {
    let began = Instant::now();
    let mut rng = StdRng::seed_from_u64(1);
    let events = valid(&mut rng, 100_000, 4, 0.0);
    assert!(is_fine(&events));
    let mut events = valid(&mut rng, 100_000, 4, 0.0);
    events.push(event(u64::MAX - 1, u64::MAX, read(Some(-1))));
    let Found::Violated(witness) = search(&Register, &events, BUDGET) else { panic!("nobody wrote -1") };
    assert_eq!((witness.explained.len(), witness.stuck), (100_000, vec![100_000]));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn gives_up_within_its_budget() {
    let writes = (0..40).map(|number| event(1, 100, write(number)));
    let events: Vec<_> = writes.chain([event(101, 102, read(Some(99)))]).collect();
    assert_eq!(search(&Register, &events, Budget { steps: 10_000, ..BUDGET }), Found::Unknown);
    assert_eq!(search(&Register, &events, Budget { bytes: 1 << 20, ..BUDGET }), Found::Unknown);
}

#[test]
fn objects_are_judged_apart() {
    let good = vec![event(1, 2, write(1)), event(3, 4, read(Some(1)))];
    let bad = vec![event(1, 2, write(1)), event(3, 4, read(None))];
    let found = search_each(&Register, &[good.clone(), bad, good], BUDGET);
    let is_good: Vec<bool> = found.iter().map(|found| *found == Found::Linearizable).collect();
    assert_eq!(is_good, [true, false, true]);
}
