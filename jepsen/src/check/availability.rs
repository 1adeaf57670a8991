//! When the last fault is healed, writes succeed again within a bound.
//!
//! How long no write succeeded while there were faults is measured by kind of fault, and no promise.
//! Source: TigerBeetle's simulator, which after a phase of faults heals a quorum and demands progress
//! (src/vopr.zig, liveness mode); the four-second outages that Jepsen's reports tell of.

use super::{Anomaly, Check, Verdict};
use crate::history::outage::{Outages, is_write};
use crate::history::{History, SKIPPED};

/// Judges when writes succeeded.
#[derive(Clone, Copy, Debug)]
pub struct Availability {
    /// Within what time after the last fault a write must succeed, in microseconds.
    pub bound: u64,
}

impl Default for Availability {
    fn default() -> Self {
        Self { bound: 30_000_000 }
    }
}

const NAME: &str = "availability";

impl Check for Availability {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let outages = Outages::of(history);
        let longest = outages.longest().unwrap_or(0) / 1000;
        let anomalies: Vec<Anomaly> = self.silence_after_faults(history).into_iter().collect();
        let verdict = if outages.longest().is_none() {
            Verdict::unknown(NAME, "nothing was written")
        } else {
            Verdict::of(NAME, format!("longest time without a write {longest} ms"), anomalies)
        };
        let mut verdict = verdict.count("longest ms", longest);
        for window in history.faults.iter().filter(|window| window.fault != SKIPPED) {
            let ended = window.ended.unwrap_or(history.end);
            let Some(outage) = outages.longest_touching(window.began, ended) else { continue };
            let what = format!("longest ms under {}", window.fault);
            let most = verdict.counts.get(&what).copied().unwrap_or(0).max(outage / 1000);
            verdict = verdict.count(&what, most);
        }
        verdict
    }
}

impl Availability {
    /// The writes that were asked for after the last fault, if the time was enough and none succeeded.
    fn silence_after_faults(&self, history: &History) -> Option<Anomaly> {
        let healed =
            history.faults.iter().map(|window| window.ended).try_fold(0, |a, b| b.map(|b| a.max(b)))?;
        let until = healed.checked_add(self.bound)?;
        let later = || history.operations.iter().filter(|one| is_write(one) && one.ended > Some(healed));
        let is_tried = history.operations.iter().any(|one| is_write(one) && one.invoked > healed);
        let recovered = later().filter(|one| one.is_ok()).filter_map(|one| one.ended).min();
        if !is_tried || recovered.is_some_and(|at| at <= until) || history.end < until {
            return None;
        }
        let took = recovered.map_or("no write succeeded any more".into(), |at| {
            format!("the first write succeeded {} ms after that", (at - healed) / 1000)
        });
        let what = format!("all faults were healed at {} ms, and {took}", healed / 1000);
        Some(Anomaly::new(what, later().take(3).map(|one| one.index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use serde_json::json;

    fn story() -> Story {
        let mut story = Story::of("register");
        for (number, second) in [(1, 1), (2, 2), (3, 9), (4, 10), (5, 60)] {
            story.ok("write", "a", json!({"value": number}), json!({"revision": number}));
            story.during(second * 1_000_000 - 1000, second * 1_000_000);
        }
        story.fault("kill", 3_000_000, Some(4_000_000));
        story.fault("pause", 10_000_500, Some(10_000_600));
        story
    }

    #[test]
    fn outages_are_measured_by_fault() {
        let mut story = story();
        story.at(4).invoked = 20_000_000;
        story.at(4).ended = Some(21_000_000);
        let verdict = Availability::default().judge(&story.history());
        assert_eq!(verdict.judgement, Judgement::Valid, "{verdict:?}");
        assert_eq!((verdict.counts["longest ms under kill"], verdict.counts["longest ms"]), (7000, 11_000));
    }

    #[test]
    fn silence_after_the_last_fault_is_found() {
        let verdict = Availability::default().judge(&story().history());
        assert_eq!(verdict.judgement, Judgement::Invalid, "{verdict:?}");
        assert_eq!(Availability { bound: 60_000_000 }.judge(&story().history()).judgement, Judgement::Valid);
        let mut unhealed = story();
        unhealed.fault("partition", 5_000_000, None);
        let verdict = Availability::default().judge(&unhealed.history());
        assert_eq!(verdict.judgement, Judgement::Valid, "it was never healed");
    }

    #[test]
    fn a_run_that_writes_nothing_is_no_pass() {
        assert_eq!(
            Availability::default().judge(&Story::of("register").history()).judgement,
            Judgement::Unknown
        );
    }
}
