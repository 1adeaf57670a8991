//! When results in a row change how an instance stands. No clock, no network.

use super::Verdict;
use oarlock_proto::registry::Health;

/// Results of one check in order. Invariant: `run` counts the last results in a row that are all
/// worse, or all better, than `stands`, and is below the count that would have changed it.
#[derive(Debug)]
pub(super) struct Streak {
    failures: u32,
    successes: u32,
    /// `None` before the first result, which counts at once.
    stands: Option<Health>,
    run: u32,
    run_is_worse: bool,
}

impl Streak {
    /// So many worse results in a row before it stands worse, and better ones before better.
    pub(super) fn new(failures: u32, successes: u32) -> Self {
        Self { failures, successes, stands: None, run: 0, run_is_worse: false }
    }

    /// Takes the next result. Returns it if it is how the instance stands from now on, be it only
    /// for another reason than before.
    pub(super) fn note(&mut self, verdict: Verdict) -> Option<Verdict> {
        let Some(stands) = self.stands else {
            self.stands = Some(verdict.health);
            return Some(verdict);
        };
        if verdict.health == stands {
            self.run = 0;
            return Some(verdict);
        }
        let worse = verdict.health > stands;
        self.run = if self.run_is_worse == worse { self.run + 1 } else { 1 };
        self.run_is_worse = worse;
        let needed = if worse { self.failures } else { self.successes };
        if self.run < needed {
            return None;
        }
        self.stands = Some(verdict.health);
        self.run = 0;
        Some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Health::{Critical, Passing, Warning};

    /// What each result of a check with these counts leads to.
    fn stands(failures: u32, successes: u32, results: &[Health]) -> Vec<Option<Health>> {
        let mut streak = Streak::new(failures, successes);
        let mut note = |health: &Health| streak.note(Verdict::new(*health, "")).map(|news| news.health);
        results.iter().map(&mut note).collect()
    }

    #[test]
    fn the_first_result_counts_at_once() {
        assert_eq!(stands(3, 3, &[Critical]), [Some(Critical)]);
        assert_eq!(stands(3, 3, &[Passing]), [Some(Passing)]);
    }

    #[test]
    fn it_takes_failures_in_a_row_to_fall_and_successes_in_a_row_to_rise() {
        let results = [Passing, Critical, Passing, Critical, Critical, Passing, Critical, Passing, Passing];
        let expected = [
            Some(Passing),
            None,
            Some(Passing),
            None,
            Some(Critical),
            None,
            Some(Critical),
            None,
            Some(Passing),
        ];
        assert_eq!(stands(2, 2, &results), expected);
    }

    #[test]
    fn results_on_both_sides_of_where_it_stands_do_not_add_up() {
        let results = [Warning, Critical, Passing, Critical, Passing, Passing];
        let last = stands(2, 2, &results);
        assert_eq!(last[1..5], [None, None, None, None]);
        assert_eq!(last[5], Some(Passing));
    }
}
