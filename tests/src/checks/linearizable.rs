//! Single keys behave as one register that each operation touches at one moment between its
//! invocation and its return.
//!
//! Source: Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects" (1990),
//! section 3 (definition) and theorem 1 (locality: keys can be judged one by one). The search is the one
//! that judges the histories of real processes.

use super::Violation;
use crate::history::{Operation, number_in};
use oarlock_jepsen::check::wgl::{self, Found, Model};
use oarlock_server::node::request::Consistency;
use oarlock_state::command::{CompareTarget, KeyRange, KvOp, OpResult, Txn};
use std::collections::BTreeMap;

/// The content of a register: the number that was written, or nothing.
pub type Content = Option<u64>;

/// What an operation does to a register and what it saw, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Saw this.
    Read(Content),
    /// Wrote this; saw `before`, if that is known.
    Write {
        /// The new content; `None` for a deletion.
        new: Content,
        /// What it replaced.
        before: Option<Content>,
    },
    /// Wrote `new` if the content was `expected`.
    Swap {
        /// What had to be there.
        expected: Content,
        /// What was written then.
        new: u64,
        /// Whether it was; `None` when nobody knows.
        swapped: Option<bool>,
    },
}

/// One operation on one register.
pub type Event = wgl::Event<Action>;

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains everything.
    Linearizable,
    /// There is none; the longest explainable beginning, as positions in the history.
    Violated(Vec<usize>),
    /// Not decided within the budget.
    Unknown,
}

/// Steps of the search for one key, after which it gives up.
const BUDGET: u64 = 400_000;

/// Judges every key that was used as a register, by single-key operations alone.
///
/// Returns how many keys could not be decided.
///
/// # Errors
/// The first key whose history has no order.
pub fn check(history: &[Operation], is_register: impl Fn(&[u8]) -> bool) -> Result<u64, Violation> {
    let mut keys: BTreeMap<&[u8], Vec<(u64, Event)>> = BTreeMap::new();
    for operation in history {
        if let Some((key, event)) = event_of(operation, &is_register) {
            keys.entry(key).or_default().push((operation.number, event));
        }
    }
    let mut undecided = 0;
    for (key, events) in keys {
        let plain: Vec<Event> = events.iter().map(|(_, event)| *event).collect();
        match judge(&plain, BUDGET) {
            Verdict::Linearizable => {}
            Verdict::Unknown => undecided += 1,
            Verdict::Violated(prefix) => return Err(describe(key, &events, &prefix)),
        }
    }
    Ok(undecided)
}

fn describe(key: &[u8], events: &[(u64, Event)], prefix: &[usize]) -> Violation {
    let stuck: Vec<String> = events
        .iter()
        .enumerate()
        .filter(|(position, (_, event))| event.returned.is_some() && !prefix.contains(position))
        .take(4)
        .map(|(_, (number, event))| format!("operation {number}: {event:?}"))
        .collect();
    let last = prefix.last().map(|position| events[*position]);
    Violation::new(
        "linearizable",
        format!(
            "key {}: {} of {} operations can be explained, the last one being {last:?}; then none of: {}",
            String::from_utf8_lossy(key),
            prefix.len(),
            events.len(),
            stuck.join("; ")
        ),
    )
}

/// The register operation that an operation was, if it was one and could have had an effect.
///
/// A transaction over several keys counts as an operation on the one register among them: if the
/// whole store is linearizable, so is each of its keys.
fn event_of<'o>(operation: &'o Operation, is_register: &impl Fn(&[u8]) -> bool) -> Option<(&'o [u8], Event)> {
    let timed = |action, returned| Event { invoked: operation.invoked, returned, action };
    if let Some((range, consistency)) = operation.range() {
        let (reply, _) = operation.ranged()?;
        let KeyRange::Key(key) = &range.range else { return None };
        if consistency != Consistency::Linearizable || range.revision.get() != 0 || !is_register(key) {
            return None;
        }
        let content = reply.records.first().and_then(|record| number_in(&record.value));
        return Some((key, timed(Action::Read(content), operation.returned)));
    }
    let txn = operation.txn()?;
    if !operation.is_uncertain() && operation.reply().is_none() {
        return None;
    }
    let results = operation.results();
    let position = txn.then.iter().position(|op| key_of(op).is_some_and(is_register))?;
    let result = results.and_then(|results| results.results.get(position));
    let (key, action) = action_of(txn, &txn.then[position], results.map(|r| r.succeeded), result)?;
    // Without results nobody knows whether and when it took effect.
    let returned = results.and(operation.returned);
    Some((key, timed(action, returned)))
}

/// The single key that an operation writes.
fn key_of(op: &KvOp) -> Option<&[u8]> {
    match op {
        KvOp::Put(put) => Some(&put.key),
        KvOp::Delete { range: KeyRange::Key(key), .. } | KvOp::Update { key, .. } => Some(key),
        KvOp::Delete { .. } | KvOp::Range(_) | KvOp::Txn(_) | KvOp::PutSequential { .. } => None,
    }
}

fn action_of<'t>(
    txn: &Txn,
    op: &'t KvOp,
    succeeded: Option<bool>,
    result: Option<&OpResult>,
) -> Option<(&'t [u8], Action)> {
    match (txn.compare.as_slice(), op) {
        ([], KvOp::Put(put)) => {
            let before = match result {
                Some(OpResult::Put { previous }) if put.want_previous => {
                    Some(previous.as_ref().and_then(|record| number_in(&record.value)))
                }
                _ => None,
            };
            Some((&put.key, Action::Write { new: number_in(&put.value), before }))
        }
        ([], KvOp::Delete { range: KeyRange::Key(key), want_previous }) => {
            let before = match result {
                Some(OpResult::Delete { previous, .. }) if *want_previous => {
                    Some(previous.first().and_then(|record| number_in(&record.value)))
                }
                _ => None,
            };
            Some((key, Action::Write { new: None, before }))
        }
        ([compare], KvOp::Put(put)) => {
            let expected = match &compare.target {
                CompareTarget::Value(value) => number_in(value),
                CompareTarget::Version(0) => None,
                _ => return None,
            };
            let new = number_in(&put.value)?;
            Some((&put.key, Action::Swap { expected, new, swapped: succeeded }))
        }
        _ => None,
    }
}

/// A key as a register.
struct Register;

impl Model for Register {
    type State = Content;
    type Action = Action;

    fn initial(&self) -> Content {
        None
    }

    fn step(&self, state: &Content, action: &Action, after: &mut Vec<Content>) {
        after.extend(step(*state, *action));
    }
}

/// The content after an action, if the action fits the content.
fn step(content: Content, action: Action) -> Option<Content> {
    match action {
        Action::Read(seen) => (seen == content).then_some(content),
        Action::Write { new, before } => before.is_none_or(|seen| seen == content).then_some(new),
        Action::Swap { expected, new, swapped } => {
            let fits = content == expected;
            if swapped.is_some_and(|swapped| swapped != fits) {
                return None;
            }
            Some(if fits { Some(new) } else { content })
        }
    }
}

/// Searches for an order of the events that explains them. An event without a return may be left
/// out. `budget` bounds the steps.
pub fn judge(events: &[Event], budget: u64) -> Verdict {
    match wgl::search(&Register, events, wgl::Budget { steps: budget, ..wgl::BUDGET }) {
        Found::Linearizable => Verdict::Linearizable,
        Found::Violated(witness) => Verdict::Violated(witness.explained),
        Found::Unknown => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Time;
    use crate::sim::chance::Chance;

    fn event(invoked: Time, returned: Time, action: Action) -> Event {
        Event { invoked, returned: (returned > 0).then_some(returned), action }
    }

    fn write(new: u64) -> Action {
        Action::Write { new: Some(new), before: None }
    }

    fn is_fine(events: &[Event]) -> bool {
        match judge(events, BUDGET) {
            Verdict::Linearizable => true,
            Verdict::Violated(_) => false,
            Verdict::Unknown => panic!("these are small"),
        }
    }

    #[test]
    fn a_stale_read_is_found() {
        let good = [event(1, 2, write(1)), event(3, 4, write(2)), event(5, 6, Action::Read(Some(2)))];
        assert!(is_fine(&good));
        let stale = [event(1, 2, write(1)), event(3, 4, write(2)), event(5, 6, Action::Read(Some(1)))];
        assert_eq!(judge(&stale, BUDGET), Verdict::Violated(vec![0, 1]));
        let concurrent = [event(1, 2, write(1)), event(3, 6, write(2)), event(4, 5, Action::Read(Some(1)))];
        assert!(is_fine(&concurrent));
    }

    #[test]
    fn an_unknown_write_may_happen_late_or_never_but_not_be_undone() {
        let unknown = event(1, 0, write(1));
        assert!(is_fine(&[unknown, event(5, 6, Action::Read(None))]));
        assert!(is_fine(&[unknown, event(5, 6, Action::Read(None)), event(7, 8, Action::Read(Some(1)))]));
        let flip = [unknown, event(5, 6, Action::Read(Some(1))), event(7, 8, Action::Read(None))];
        assert!(!is_fine(&flip));
    }

    #[test]
    fn a_swap_that_two_win_is_found() {
        let swap = |new| Action::Swap { expected: None, new, swapped: Some(true) };
        assert!(is_fine(&[event(1, 5, swap(1))]));
        assert!(!is_fine(&[event(1, 5, swap(1)), event(2, 6, swap(2))]));
        let lost = Action::Swap { expected: None, new: 2, swapped: Some(false) };
        assert!(is_fine(&[event(1, 5, swap(1)), event(2, 6, lost)]));
    }

    #[test]
    fn a_previous_value_that_was_never_there_is_found() {
        let saw = |before| Action::Write { new: Some(9), before: Some(before) };
        assert!(is_fine(&[event(1, 2, write(1)), event(3, 4, saw(Some(1)))]));
        assert!(!is_fine(&[event(1, 2, write(1)), event(3, 4, saw(None))]));
    }

    /// The oracle: every order of every subset that keeps the certain ones.
    fn brute(events: &[Event], done: &mut Vec<bool>, content: Content) -> bool {
        if events.iter().zip(done.iter()).all(|(event, done)| *done || event.returned.is_none()) {
            return true;
        }
        let open = |done: &[bool]| (0..events.len()).filter(|at| !done[*at]).collect::<Vec<_>>();
        let horizon = open(done).iter().filter_map(|at| events[*at].returned).min().unwrap_or(Time::MAX);
        open(done).into_iter().any(|at| {
            if events[at].invoked > horizon {
                return false;
            }
            let Some(after) = step(content, events[at].action) else { return false };
            done[at] = true;
            let found = brute(events, done, after);
            done[at] = false;
            found
        })
    }

    fn random_event(chance: &mut Chance) -> Event {
        let content = |chance: &mut Chance| match chance.below(3) {
            0 => None,
            n => Some(n),
        };
        let action = match chance.below(4) {
            0 => Action::Write { new: content(chance), before: None },
            1 => Action::Swap {
                expected: content(chance),
                new: chance.between(1, 2),
                swapped: [None, Some(true), Some(false)][chance.below(3) as usize],
            },
            2 => Action::Write { new: content(chance), before: Some(content(chance)) },
            _ => Action::Read(content(chance)),
        };
        let invoked = chance.between(1, 20);
        let unknown = chance.one_in(4);
        Event { invoked, returned: (!unknown).then(|| invoked + chance.between(1, 8)), action }
    }

    #[test]
    fn agrees_with_trying_everything() {
        let mut chance = Chance::new(11);
        let mut verdicts = [0, 0];
        for _ in 0..4000 {
            let events: Vec<Event> = (0..chance.between(1, 7)).map(|_| random_event(&mut chance)).collect();
            let expected = brute(&events, &mut vec![false; events.len()], None);
            assert_eq!(is_fine(&events), expected, "{events:?}");
            verdicts[usize::from(expected)] += 1;
        }
        assert!(verdicts.iter().all(|count| *count > 500), "{verdicts:?}");
    }

    #[test]
    fn gives_up_within_its_budget() {
        let events: Vec<Event> = (0..40)
            .map(|n| event(1, 100, write(n)))
            .chain([event(101, 102, Action::Read(Some(99)))])
            .collect();
        assert_eq!(judge(&events, 10_000), Verdict::Unknown);
    }
}
