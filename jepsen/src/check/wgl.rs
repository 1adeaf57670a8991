//! The search for an order that explains what the clients of one object saw: each operation took
//! effect at one moment between its invocation and its return.
//!
//! Sources: Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects"
//! (1990), section 3 (definition) and theorem 1 (locality: objects are judged one by one); Wing and
//! Gong, "Testing and verifying concurrent objects" (1993), the search; Lowe, "Testing for
//! linearizability" (2017), section 4: a list from which operations are lifted, and a memory of pairs
//! (operations done, state) that led nowhere.
//!
//! Two things differ from Lowe's. The set of operations done is remembered as the exclusive or of 128
//! random bits of each operation (Zobrist, 1970) and not as a bitset, so that a pair costs the same in
//! a history of a hundred operations and of a million: with 10^8 pairs the chance that two sets look
//! alike is below 10^-22. And operations of unknown outcome, which stay possible for ever, are tried
//! after all others, and only where they change the state: one that does not can be left out of any
//! order.
//!
//! A search that reaches its [`Budget`] says [`Found::Unknown`], never that there is no order.

use rustc_hash::FxHashSet;
use std::hash::Hash;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What an object is: its states, and what may happen in each.
pub trait Model {
    /// All that the object's answers depend on.
    type State: Clone + Eq + Hash;
    /// An operation's arguments, and its results as far as they are known.
    type Action;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// Adds the states in which the action may leave the object: none if its results do not fit, several
    /// if the object has a choice.
    fn step(&self, state: &Self::State, action: &Self::Action, after: &mut Vec<Self::State>);

    /// Bytes of a state that are not in its own size.
    fn heap(&self, _state: &Self::State) -> usize {
        0
    }
}

/// One operation on the object. Those that did not happen are left out of a history.
#[derive(Clone, Copy, Debug)]
pub struct Event<A> {
    /// When it was asked for.
    pub invoked: u64,
    /// When it was over; `None` if it may still take effect, or never.
    pub returned: Option<u64>,
    /// What it was.
    pub action: A,
}

/// Where a search gives up.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Operations taken into the order or out of it again.
    pub steps: u64,
    /// Memory for pairs that led nowhere, in bytes.
    pub bytes: usize,
}

/// Enough for every history that a person would wait for, one object on each of two cores.
pub const BUDGET: Budget = Budget { steps: 50_000_000, bytes: 2 << 30 };

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<S> {
    /// There is an order that explains everything.
    Linearizable,
    /// There is none.
    Violated(Witness<S>),
    /// Not decided within the budget.
    Unknown,
}

/// How far an explanation goes, and where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness<S> {
    /// The longest beginning that can be explained, in its order, as positions in the history.
    pub explained: Vec<usize>,
    /// The operations of which one had to come next.
    pub stuck: Vec<usize>,
    /// The state in which none of them can.
    pub state: S,
}

/// Searches for an order of these events of one object, in whatever order they are given.
pub fn search<M: Model>(model: &M, events: &[Event<M::Action>], budget: Budget) -> Found<M::State> {
    let mut search = Search::new(model, events);
    for _ in 0..budget.steps {
        if search.open == 0 {
            return Found::Linearizable;
        }
        if !search.advance() && !search.retreat() {
            return Found::Violated(search.witness());
        }
        if search.bytes > budget.bytes {
            return Found::Unknown;
        }
    }
    Found::Unknown
}

/// Searches for an order of each object's events, several objects at a time.
pub fn search_each<M>(model: &M, objects: &[Vec<Event<M::Action>>], budget: Budget) -> Vec<Found<M::State>>
where
    M: Model + Sync,
    M::Action: Sync,
    M::State: Send,
{
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(objects.len());
    let budget = Budget { bytes: budget.bytes / threads.max(1), ..budget };
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, events)) = Some(next.fetch_add(1, Relaxed)).and_then(|at| {
                    let events = objects.get(at)?;
                    Some((at, events))
                }) {
                    let result = search(model, events, budget);
                    found.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, result)| result).collect()
}

/// No link of a list.
const NONE: u32 = u32::MAX;

/// A depth-first search over orders.
///
/// Each event has two places in lists ordered by time: `2 * event` is its invocation, the next one its
/// return. Certain events are in one list with their returns, uncertain ones in another without.
struct Search<'h, M: Model> {
    model: &'h M,
    events: &'h [Event<M::Action>],
    next: Vec<u32>,
    previous: Vec<u32>,
    /// Of each place: its position in time, among all.
    rank: Vec<u32>,
    /// Certain events that are not in the order yet.
    open: usize,
    /// Stands for the set of events in the order.
    done: u128,
    state: M::State,
    path: Vec<Step<M::State>>,
    /// The place after which the next candidate is looked for.
    cursor: u32,
    /// Pairs that were reached before.
    memory: FxHashSet<(u128, M::State)>,
    bytes: usize,
    longest: Longest<M::State>,
    /// Room for the answers of the model.
    after: Vec<M::State>,
}

struct Step<S> {
    event: usize,
    before: S,
    /// Other states in which the event may have left the object.
    others: Vec<S>,
}

/// The longest order so far, kept without copying what it shares with the present one.
struct Longest<S> {
    events: Vec<usize>,
    shared: usize,
    state: S,
}

impl<'h, M: Model> Search<'h, M> {
    fn new(model: &'h M, events: &'h [Event<M::Action>]) -> Self {
        let places = 2 * events.len() + 2;
        assert!(places < NONE as usize, "a history of one object has at most 2^31 operations");
        let state = model.initial();
        let mut search = Self {
            model,
            events,
            next: vec![NONE; places],
            previous: vec![NONE; places],
            rank: vec![NONE; places],
            open: events.iter().filter(|event| event.returned.is_some()).count(),
            done: 0,
            longest: Longest { events: Vec::new(), shared: 0, state: state.clone() },
            state,
            path: Vec::new(),
            cursor: 0,
            memory: FxHashSet::default(),
            bytes: 0,
            after: Vec::new(),
        };
        search.cursor = search.head(true);
        search.link();
        search
    }

    /// The place before the first of a list.
    fn head(&self, certain: bool) -> u32 {
        (2 * self.events.len() + usize::from(!certain)) as u32
    }

    /// Puts all events into their lists. At the same time, invocations come before returns: whoever
    /// returns when another begins may have come after it.
    fn link(&mut self) {
        let mut places: Vec<(u64, bool, u32)> = Vec::with_capacity(2 * self.events.len());
        for (at, event) in self.events.iter().enumerate() {
            places.push((event.invoked, false, 2 * at as u32));
            if let Some(returned) = event.returned {
                places.push((returned.max(event.invoked), true, 2 * at as u32 + 1));
            }
        }
        places.sort_unstable();
        let mut last = [self.head(true), self.head(false)];
        for (rank, (_, _, place)) in places.into_iter().enumerate() {
            let list = usize::from(self.events[place as usize / 2].returned.is_none());
            self.rank[place as usize] = rank as u32;
            self.previous[place as usize] = last[list];
            self.next[last[list] as usize] = place;
            last[list] = place;
        }
    }

    fn unlink(&mut self, place: u32) {
        let (next, previous) = (self.next[place as usize], self.previous[place as usize]);
        self.next[previous as usize] = next;
        if next != NONE {
            self.previous[next as usize] = previous;
        }
    }

    fn relink(&mut self, place: u32) {
        let (next, previous) = (self.next[place as usize], self.previous[place as usize]);
        self.next[previous as usize] = place;
        if next != NONE {
            self.previous[next as usize] = place;
        }
    }

    fn is_certain(&self, event: usize) -> bool {
        self.events[event].returned.is_some()
    }

    /// Takes an event out of its list, as it is in the order now.
    fn lift(&mut self, event: usize) {
        self.unlink(2 * event as u32);
        if self.is_certain(event) {
            self.unlink(2 * event as u32 + 1);
            self.open -= 1;
        }
        self.done ^= mark(event);
    }

    /// The opposite of [`lift`](Self::lift), with its steps backwards.
    fn unlift(&mut self, event: usize) {
        if self.is_certain(event) {
            self.relink(2 * event as u32 + 1);
            self.open += 1;
        }
        self.relink(2 * event as u32);
        self.done ^= mark(event);
    }

    /// The rank of the first return: nothing invoked after it may come before it.
    fn horizon(&self) -> u32 {
        let mut place = self.next[self.head(true) as usize];
        while place != NONE && place.is_multiple_of(2) {
            place = self.next[place as usize];
        }
        if place == NONE { NONE } else { self.rank[place as usize] }
    }

    /// The next event that may come next: first certain ones by their invocations, then the others.
    fn candidate(&self, horizon: u32) -> Option<usize> {
        let in_certain = self.cursor == self.head(true)
            || (self.cursor < self.head(true) && self.is_certain(self.cursor as usize / 2));
        if in_certain {
            let place = self.next[self.cursor as usize];
            if place != NONE && place.is_multiple_of(2) {
                return Some(place as usize / 2);
            }
        }
        let before = if in_certain { self.head(false) } else { self.cursor };
        let place = self.next[before as usize];
        (place != NONE && self.rank[place as usize] < horizon).then_some(place as usize / 2)
    }

    /// Takes the next possible event into the order; false when there is none.
    fn advance(&mut self) -> bool {
        let horizon = self.horizon();
        while let Some(event) = self.candidate(horizon) {
            self.cursor = 2 * event as u32;
            let mut after = std::mem::take(&mut self.after);
            self.model.step(&self.state, &self.events[event].action, &mut after);
            if !self.is_certain(event) {
                after.retain(|state| *state != self.state);
            }
            if self.take(event, after) {
                return true;
            }
        }
        false
    }

    /// Takes an event into the order with the first of these states that was not reached before with
    /// the same events done.
    fn take(&mut self, event: usize, mut after: Vec<M::State>) -> bool {
        let done = self.done ^ mark(event);
        while let Some(state) = after.pop() {
            if !self.memory.insert((done, state.clone())) {
                continue;
            }
            // A table of hashes is at least half full after it has grown.
            self.bytes += 2 * size_of::<(u128, M::State)>() + self.model.heap(&state);
            self.lift(event);
            let before = std::mem::replace(&mut self.state, state);
            let others = if after.is_empty() { Vec::new() } else { std::mem::take(&mut after) };
            self.path.push(Step { event, before, others });
            self.cursor = self.head(true);
            self.after = after;
            return true;
        }
        self.after = after;
        false
    }

    /// Takes the last event back, or takes it otherwise; false when the order is empty.
    fn retreat(&mut self) -> bool {
        if self.path.len() > self.longest.events.len() {
            self.keep_longest();
        }
        let Some(step) = self.path.pop() else { return false };
        self.longest.shared = self.longest.shared.min(self.path.len());
        self.unlift(step.event);
        self.state = step.before;
        self.cursor = 2 * step.event as u32;
        self.take(step.event, step.others);
        true
    }

    fn keep_longest(&mut self) {
        let Longest { events, shared, state } = &mut self.longest;
        events.truncate(*shared);
        events.extend(self.path[*shared..].iter().map(|step| step.event));
        *shared = events.len();
        *state = self.state.clone();
    }

    fn witness(self) -> Witness<M::State> {
        let Longest { events: explained, state, .. } = self.longest;
        let mut open = vec![true; self.events.len()];
        explained.iter().for_each(|event| open[*event] = false);
        let open: Vec<usize> = (0..open.len()).filter(|event| open[*event]).collect();
        let horizon = open.iter().filter_map(|event| self.events[*event].returned).min().unwrap_or(0);
        let is_next =
            |event: &usize| self.events[*event].returned.is_some() && self.events[*event].invoked <= horizon;
        Witness { explained, stuck: open.into_iter().filter(is_next).collect(), state }
    }
}

/// 128 bits that stand for an event in a set: two rounds of SplitMix64 (Steele, Lea, Flood 2014).
fn mark(event: usize) -> u128 {
    let mix = |number: u64| {
        let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let number = 2 * event as u64 + 1;
    u128::from(mix(number)) << 64 | u128::from(mix(number + 1))
}

#[cfg(test)]
mod tests;
