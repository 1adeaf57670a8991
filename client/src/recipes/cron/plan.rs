//! Which slots are run: a pure function of the schedule, the last slot and the time.

use super::Schedule;
use jiff::Timestamp;
use std::time::Duration;

/// What becomes of slots that passed while nobody was there to run them, or while a run took longer
/// than the time to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// They are not run. A slot is missed when it is later than this.
    Skip {
        /// How late a slot may be run.
        tolerance: Duration,
    },
    /// The latest one is run, in the place of all.
    RunLatest,
    /// They are run one after the other, oldest first, at most so many: the latest ones.
    RunAll {
        /// How many.
        most: usize,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Slots to run, oldest first.
    pub(super) run: Vec<Timestamp>,
    /// The last slot that is past, run or not; `None` if none is due.
    pub(super) past: Option<Timestamp>,
    /// How many slots are not run.
    pub(super) skipped: usize,
}

/// What is to be done at `now` when everything up to the slot `last` is done.
pub(super) fn plan(schedule: &Schedule, last: Timestamp, now: Timestamp, missed: Missed) -> Plan {
    let due = schedule.between(last, now);
    let past = due.last().copied();
    let run = match missed {
        Missed::Skip { tolerance } => {
            let is_fresh = |slot: &Timestamp| {
                let late = now.duration_since(*slot);
                Duration::try_from(late).is_ok_and(|late| late <= tolerance)
            };
            due.iter().copied().filter(is_fresh).collect()
        }
        Missed::RunLatest => past.into_iter().collect(),
        Missed::RunAll { most } => due[due.len() - due.len().min(most)..].to_vec(),
    };
    let skipped = due.len() - Vec::len(&run);
    Plan { run, past, skipped }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn minutes(of: &Plan) -> Vec<i8> {
        of.run.iter().map(|slot| slot.to_zoned(jiff::tz::TimeZone::UTC).minute()).collect()
    }

    #[test]
    fn each_policy_runs_what_it_says() {
        let schedule = Schedule::new("* * * * *").expect("every minute");
        let (last, now) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:05:10Z"));
        let planned = |missed| plan(&schedule, last, now, missed);
        let tolerance = Duration::from_secs(70);
        let skip = planned(Missed::Skip { tolerance });
        assert_eq!((minutes(&skip), skip.skipped), (vec![4, 5], 3));
        assert!(planned(Missed::Skip { tolerance: Duration::ZERO }).run.is_empty());
        assert_eq!(minutes(&planned(Missed::RunLatest)), [5]);
        assert_eq!(minutes(&planned(Missed::RunAll { most: 3 })), [3, 4, 5]);
        assert_eq!(minutes(&planned(Missed::RunAll { most: 9 })), [1, 2, 3, 4, 5]);
        assert_eq!(skip.past, Some(at("2026-01-01T00:05:00Z")));
        let nothing = plan(&schedule, now, now, Missed::RunLatest);
        assert_eq!(nothing, Plan { run: Vec::new(), past: None, skipped: 0 });
    }

    #[test]
    fn a_clock_that_went_back_runs_nothing_again() {
        let schedule = Schedule::new("* * * * *").expect("every minute");
        let plan = plan(&schedule, at("2026-01-01T12:00:00Z"), at("2026-01-01T11:00:00Z"), Missed::RunLatest);
        assert_eq!((plan.run, plan.past), (Vec::new(), None));
    }
}
