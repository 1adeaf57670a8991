//! Shortens the schedule of a seed that fails: fewer kinds of faults, fewer strikes, fewer clients,
//! less time, as long as the same promise is broken.
//!
//! The search is delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing
//! input", 2002): nothing that is left can be left out by itself. A shorter run is another run, not a
//! part of the long one, so what is found is small, and not always the smallest.

use super::faults::{Fault, Profile};
use super::finale::{Outcome, run_within};
use super::limits::Limits;
use super::queue::{SECOND, Time};
use std::collections::BTreeSet;

/// Times that all parts are gone through at most; later ones profit from what earlier ones left out.
const ROUNDS_MAX: usize = 3;

/// A schedule that was shortened.
pub struct Shrunk {
    /// What stays.
    pub limits: Limits,
    /// What it comes to.
    pub outcome: Outcome,
    /// Runs that it took.
    pub runs: u64,
}

/// Shortens a seed's schedule, beginning with these limits; `tell` hears of progress. `None` if the
/// seed does not fail.
pub fn shrink(seed: u64, profile: Profile, from: &Limits, mut tell: impl FnMut(&str)) -> Option<Shrunk> {
    let first = run_within(seed, profile, from, false);
    let (clients, length) = (1..=first.clients, first.length);
    let run = |limits: &Limits| {
        let outcome = run_within(seed, profile, limits, false);
        let sign = sign(&outcome)?;
        let strikes = outcome.struck.iter().map(|(number, _)| *number).collect();
        Some(Failure { sign, known: outcome.known, strikes })
    };
    let clients = clients.filter(|number| from.allow_client(*number)).collect();
    let (limits, runs) = search(run, from, clients, length, &mut tell)?;
    let outcome = run_within(seed, profile, &limits, false);
    Some(Shrunk { limits, outcome, runs })
}

/// What tells one failure from another: the promise; of a panic its words, without their numbers.
fn sign(outcome: &Outcome) -> Option<String> {
    let violation = outcome.verdict.as_ref().err()?;
    let words = violation.what.split(|c: char| c.is_ascii_digit()).collect();
    Some(if violation.check == "panic" { words } else { violation.check.to_owned() })
}

/// How a run failed.
#[derive(Clone, Debug)]
struct Failure {
    sign: String,
    /// Kinds of faults that it knew.
    known: Vec<Fault>,
    /// Strikes that there were.
    strikes: Vec<u64>,
}

struct Search<'t, R> {
    run: R,
    tell: &'t mut dyn FnMut(&str),
    runs: u64,
    /// The shortest that fails, and how.
    limits: Limits,
    last: Failure,
}

fn search(
    mut run: impl FnMut(&Limits) -> Option<Failure>,
    from: &Limits,
    mut clients: Vec<u64>,
    mut length: Time,
    tell: &mut dyn FnMut(&str),
) -> Option<(Limits, u64)> {
    let last = run(from)?;
    let mut search = Search { run, tell, runs: 1, limits: from.clone(), last };
    for _ in 0..ROUNDS_MAX {
        let before = search.limits.clone();
        search.part(search.last.known.clone(), |limits, faults| limits.faults = Some(faults));
        search.part(search.last.strikes.clone(), |limits, strikes| limits.strikes = Some(strikes));
        clients = search.part(clients, |limits, clients| limits.clients = Some(clients));
        length = search.length(length);
        if search.limits == before {
            break;
        }
    }
    Some((search.limits, search.runs))
}

impl<R: FnMut(&Limits) -> Option<Failure>> Search<'_, R> {
    /// Whether a run under these limits fails as the first one did. If so, it is the shortest.
    fn fails(&mut self, limits: Limits) -> bool {
        self.runs += 1;
        let Some(failure) = (self.run)(&limits).filter(|failure| failure.sign == self.last.sign) else {
            return false;
        };
        (self.tell)(&limits.to_string());
        (self.limits, self.last) = (limits, failure);
        true
    }

    /// Leaves out what is not needed of one kind of thing.
    fn part<T: Clone + Ord>(&mut self, all: Vec<T>, set: impl Fn(&mut Limits, BTreeSet<T>)) -> Vec<T> {
        let before = self.limits.clone();
        smallest(all, |some| {
            let mut limits = before.clone();
            set(&mut limits, some.iter().cloned().collect());
            self.fails(limits)
        })
    }

    /// Halves the distance to the shortest length that is known to be too short.
    fn length(&mut self, mut length: Time) -> Time {
        let mut too_short = 0;
        while length > too_short + SECOND {
            let middle = (too_short + length) / 2 / SECOND * SECOND;
            if self.fails(Limits { length: Some(middle), ..self.limits.clone() }) {
                length = middle;
            } else {
                too_short = middle.max(too_short + SECOND);
            }
        }
        length
    }
}

/// A part of `all`, in order, that still `fails`, and of which nothing can be left out by itself.
/// `all` is taken to fail.
pub fn smallest<T: Clone>(all: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    if all.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let (mut rest, mut parts) = (all, 2);
    while rest.len() > 1 {
        let size = rest.len().div_ceil(parts.min(rest.len()));
        let without = |at: usize| -> Vec<T> {
            let end = (at + size).min(rest.len());
            rest[..at].iter().chain(&rest[end..]).cloned().collect()
        };
        // Two halves without each other are each other.
        let smaller = (0..rest.len()).step_by(size).map(without).find(|less| fails(less));
        match smaller {
            Some(less) => (rest, parts) = (less, (parts - 1).max(2)),
            None if size == 1 => break,
            None => parts *= 2,
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(needed: &[u64], some: &[u64]) -> bool {
        needed.iter().all(|one| some.contains(one))
    }

    #[test]
    fn only_what_is_needed_is_left() {
        let all: Vec<u64> = (1..=100).collect();
        for needed in [vec![], vec![1], vec![100], vec![3, 77], vec![1, 2, 50, 99, 100], all.clone()] {
            let mut runs = 0;
            let found = smallest(all.clone(), |some| {
                runs += 1;
                holds(&needed, some)
            });
            assert_eq!(found, needed);
            assert!(needed.len() > 5 || runs < 150, "{runs} runs for {needed:?}");
        }
    }

    #[test]
    fn nothing_that_is_left_can_be_left_out() {
        // Two of three are needed, and whichever two.
        let fails = |some: &[u64]| some.iter().filter(|one| [5, 20, 30].contains(*one)).count() >= 2;
        let found = smallest((1..=40).collect(), fails);
        assert_eq!(found.len(), 2);
        assert!(fails(&found));
        assert_eq!(smallest(vec![1], |some| !some.is_empty()), [1]);
    }

    /// Fails when strikes 3 and 7 and the client 2 are there for five seconds, the links are slow,
    /// and kills are known; and otherwise, with fewer than three strikes, in another way.
    fn run(limits: &Limits) -> Option<Failure> {
        let known = [Fault::Kill, Fault::Rot, Fault::SlowLinks];
        let known: Vec<Fault> = known.into_iter().filter(|fault| limits.allow(*fault)).collect();
        let strikes: Vec<u64> = (1..=30).filter(|strike| limits.allow_strike(*strike)).collect();
        let is_long = limits.length.is_none_or(|length| length >= 5 * SECOND);
        let kinds = limits.allow(Fault::Kill) && limits.allow(Fault::SlowLinks);
        let same = holds(&[3, 7], &strikes) && limits.allow_client(2) && is_long && kinds;
        let sign = match same {
            true => "linearizable",
            false if strikes.len() < 3 => "liveness",
            false => return None,
        };
        Some(Failure { sign: sign.to_owned(), known, strikes })
    }

    #[test]
    fn a_shorter_schedule_fails_in_the_same_way() {
        let mut told = 0;
        let found = search(run, &Limits::default(), (1..=13).collect(), 30 * SECOND, &mut |_| told += 1);
        let (limits, runs) = found.expect("it fails");
        let expected = Limits {
            faults: Some([Fault::Kill, Fault::SlowLinks].into()),
            strikes: Some([3, 7].into()),
            clients: Some([2].into()),
            length: Some(5 * SECOND),
        };
        assert_eq!(limits, expected);
        assert!(told > 0 && runs < 200, "{told} of {runs}");
        let fine = search(|_| None, &Limits::default(), vec![1], SECOND, &mut |_| {});
        assert!(fine.is_none());
    }
}
