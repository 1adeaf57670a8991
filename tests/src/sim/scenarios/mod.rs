//! Directed schedules that recreate the circumstances of bugs that others have had.
//!
//! A run of the simulator meets such circumstances by luck; a scenario brings them about, says so if
//! it could not (then it proves nothing and counts as invalid), and lets the checks judge. The seed
//! still decides everything that the scenario does not: delays, thresholds, the load, the victim.
//!
//! Modules: `stage` (the words that scenarios are written in), then one per group.

mod durability;
mod locks;
mod membership;
mod reads;
mod sessions;
mod snapshots;
pub mod stage;
mod transactions;
mod watches;

use self::stage::{End, Stage, Step};
use super::client::Kind;
use super::node::Tuning;
use crate::checks::Violation;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A directed schedule.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Where it happened to others: a project and its issue.
    pub source: &'static str,
    /// The circumstances that it brings about.
    pub recreates: &'static str,
    /// The check that would notice.
    pub judged_by: &'static str,
    /// Who takes part.
    pub cast: Cast,
    /// What happens.
    pub script: fn(&mut Stage) -> Step,
}

/// Who takes part in a scenario.
#[derive(Clone, Copy)]
pub struct Cast {
    /// Founding members.
    pub members: u64,
    /// Clients that do what they like meanwhile.
    pub load: &'static [(Kind, usize)],
    /// Thresholds that the circumstances need; the seed draws the others.
    pub tune: fn(&mut Tuning),
}

/// Nobody but the script, on three members.
const ALONE: Cast = Cast { members: 3, load: &[], tune: |_| () };

/// Some of everything, on three members.
const LOADED: Cast =
    Cast { members: 3, load: &[(Kind::Session, 3), (Kind::Raw, 1), (Kind::Watcher, 1)], tune: |_| () };

/// A log that keeps nothing for followers that are behind: they need a snapshot.
fn short_log(tuning: &mut Tuning) {
    (tuning.catch_up_entries, tuning.freeze_records, tuning.segment_bytes) = (0, 20, 4096);
}

/// All scenarios, by group.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    let groups: [&[Scenario]; 8] = [
        &durability::ALL,
        &reads::ALL,
        &membership::ALL,
        &snapshots::ALL,
        &watches::ALL,
        &sessions::ALL,
        &locks::ALL,
        &transactions::ALL,
    ];
    groups.into_iter().flatten()
}

/// What a run of a scenario came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The circumstances came about, and every promise was kept.
    Passed,
    /// The circumstances did not come about: the run proves nothing.
    Invalid(String),
    /// A promise was broken.
    Failed(Violation),
}

/// Runs a scenario under a seed.
///
/// A panic anywhere is a verdict like any other: it stops the node that it happens in.
pub fn run(scenario: &Scenario, seed: u64, print: bool) -> Verdict {
    let mut stage = Stage::new(scenario.cast, seed, print);
    let play = || {
        (scenario.script)(&mut stage)?;
        stage.world.come_right().map_err(End::Wrong)
    };
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(play)) {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(End::Invalid(what))) => Verdict::Invalid(what),
        Ok(Err(End::Wrong(violation))) => Verdict::Failed(violation),
        Err(reason) => {
            let text = reason.downcast_ref::<String>().map(String::as_str);
            let text = text.or(reason.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Verdict::Failed(Violation::new("panic", text))
        }
    }
}

/// Runs a scenario under several seeds, two at a time.
pub fn tally(scenario: &Scenario, seeds: std::ops::Range<u64>, print: bool) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let verdict = run(scenario, seed, print);
                    tally.lock().expect("no run panics while it holds the tally").add(seed, verdict);
                }
            });
        }
    });
    tally.into_inner().expect("the threads are done")
}

/// What several runs of a scenario came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Those in which the circumstances did not come about, with why.
    pub invalid: Vec<(u64, String)>,
    /// Those in which a promise was broken.
    pub failed: Vec<(u64, Violation)>,
}

impl Tally {
    /// Takes a run in.
    pub fn add(&mut self, seed: u64, verdict: Verdict) {
        self.runs += 1;
        match verdict {
            Verdict::Passed => {}
            Verdict::Invalid(why) => self.invalid.push((seed, why)),
            Verdict::Failed(violation) => self.failed.push((seed, violation)),
        }
    }

    /// In a word or two, for tables.
    pub fn verdict(&self) -> String {
        match (self.failed.first(), self.invalid.len()) {
            (Some((seed, violation)), _) => format!("FAILED, seed {seed}: {violation}"),
            (None, 0) => "kept".to_owned(),
            (None, some) => format!("INVALID, {some} times: {}", self.invalid[0].1),
        }
    }

    /// Whether every run came about and kept every promise.
    pub fn is_fine(&self) -> bool {
        self.failed.is_empty() && self.invalid.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_row_is_filled() {
        let mut names: Vec<&str> = all().map(|scenario| scenario.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(all().all(|s| !s.source.is_empty() && !s.recreates.is_empty() && !s.judged_by.is_empty()));
    }

    #[test]
    fn circumstances_that_did_not_come_about_are_not_a_success() {
        let script: fn(&mut Stage) -> Step = |stage| stage.happened("nothing", false);
        let scenario =
            Scenario { name: "n", source: "s", recreates: "r", judged_by: "j", cast: ALONE, script };
        let verdict = run(&scenario, 1, false);
        assert!(matches!(verdict, Verdict::Invalid(_)), "{verdict:?}");
        let mut tally = Tally::default();
        tally.add(1, verdict);
        assert!(!tally.is_fine() && tally.verdict().starts_with("INVALID"));
    }

    #[test]
    fn a_panic_is_a_failure() {
        let script: fn(&mut Stage) -> Step = |_| panic!("a bug");
        let scenario =
            Scenario { name: "n", source: "s", recreates: "r", judged_by: "j", cast: ALONE, script };
        assert_eq!(run(&scenario, 1, false), Verdict::Failed(Violation::new("panic", "a bug")));
    }
}
