//! Enough happened for the other verdicts to mean something: operations succeeded, of each sort, and
//! every fault that the run was for really struck. A run that fails this is invalid, not broken.
//!
//! Source: etcd's robustness tests, which demand a least rate before a fault and that the fault had an
//! effect (tests/robustness/traffic/traffic.go, validate.go).

use super::{Check, Judgement, Verdict};
use crate::history::{FailureKind, FaultWindow, History, Operation};
use serde_json::Value;
use std::collections::BTreeMap;

/// Judges how much happened.
#[derive(Clone, Copy, Debug)]
pub struct Activity {
    /// Successful operations in each second of the run, on average.
    pub rate: u64,
    /// Answers, if an operation was asked for at least twice as often.
    pub answers: u64,
}

impl Default for Activity {
    fn default() -> Self {
        Self { rate: 5, answers: 10 }
    }
}

const NAME: &str = "activity";

impl Check for Activity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut sorts: BTreeMap<&str, (u64, u64)> = BTreeMap::new(); // asked for, answered
        for operation in &history.operations {
            let (asked, answered) = sorts.entry(&operation.f).or_default();
            *asked += 1;
            *answered += u64::from(is_answered(operation));
        }
        let succeeded = history.operations.iter().filter(|operation| operation.is_ok()).count() as u64;
        let least = history.header.seconds * self.rate;
        let mut missing = Vec::new();
        if succeeded < least.max(1) {
            missing.push(format!("{succeeded} operations succeeded, where {} are the least", least.max(1)));
        }
        for (f, (asked, answered)) in &sorts {
            if *answered < self.answers && *asked >= 2 * self.answers {
                missing.push(format!("{answered} of {asked} operations {f} were answered"));
            }
        }
        for nemesis in history.header.nemesis.iter().filter(|name| *name != "none") {
            if !history.faults.iter().any(|window| is_of(window, nemesis) && has_struck(window)) {
                missing.push(format!("the fault {nemesis} did not strike"));
            }
        }
        let mut verdict = if missing.is_empty() {
            let faults = history.faults.len();
            Verdict::valid(NAME, format!("{succeeded} operations succeeded under {faults} faults"))
        } else {
            Verdict::unknown(NAME, format!("the run is invalid: {}", missing.join("; ")))
        };
        debug_assert!(verdict.judgement != Judgement::Invalid);
        for (f, (_, answered)) in sorts {
            verdict = verdict.count(&format!("{f} answered"), answered);
        }
        verdict.count("succeeded", succeeded).count("faults", history.faults.len() as u64)
    }
}

/// Whether the servers decided: yes or no.
fn is_answered(operation: &Operation) -> bool {
    let is_rejected = |kind| kind == FailureKind::Rejected;
    operation.is_ok() || operation.failure.as_ref().is_some_and(|failure| is_rejected(failure.kind))
}

/// Whether a fault is one of those that a nemesis makes: it has its name, or begins with it.
fn is_of(window: &FaultWindow, nemesis: &str) -> bool {
    window.fault.strip_prefix(nemesis).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

/// A fault strikes unless its maker saw that it did nothing: figures that are all zero, or `false`.
fn has_struck(window: &FaultWindow) -> bool {
    is_effect(&window.effect)
}

fn is_effect(effect: &Value) -> bool {
    match effect {
        Value::Bool(struck) => *struck,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Object(figures) => {
            let mut numbers = figures.values().filter_map(Value::as_f64).peekable();
            numbers.peek().is_none() || numbers.any(|number| number != 0.0)
        }
        Value::Array(effects) => effects.is_empty() || effects.iter().any(is_effect),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;
    use serde_json::json;

    fn story() -> Story {
        let mut story = Story::of("register");
        for number in 0..30 {
            story.ok("write", "a", json!({"value": number}), json!({}));
        }
        story.header().nemesis = vec!["kill".into(), "none".into()];
        story
    }

    fn judged(story: &Story) -> Verdict {
        Activity::default().judge(&story.history())
    }

    #[test]
    fn enough_operations_and_faults_pass() {
        let mut story = story();
        story.fault("kill-leader", 1, Some(2));
        let verdict = judged(&story);
        assert_eq!((verdict.judgement, verdict.counts["write answered"]), (Judgement::Valid, 30));
    }

    #[test]
    fn a_fault_that_did_not_strike_makes_the_run_invalid() {
        assert_eq!(judged(&story()).judgement, Judgement::Unknown);
        let mut history = story();
        history.fault("kill", 1, Some(2));
        let mut history = history.history();
        for (effect, judgement) in [
            (json!({"dropped": 0, "node": "n1"}), Judgement::Unknown),
            (json!({"dropped": 1, "bytes": 0}), Judgement::Valid),
            (json!(false), Judgement::Unknown),
            (json!(0), Judgement::Unknown),
            (json!(["n1"]), Judgement::Valid),
            (json!([0, {"dropped": 0}]), Judgement::Unknown),
        ] {
            history.faults[0].effect = effect;
            assert_eq!(Activity::default().judge(&history).judgement, judgement, "{:?}", history.faults);
        }
    }

    #[test]
    fn too_few_answers_make_the_run_invalid() {
        let mut story = story();
        story.fault("kill", 1, Some(2));
        for _ in 0..20 {
            story.info("cas", "a", json!({"expected": 1, "new": 2}));
        }
        assert!(judged(&story).summary.contains("0 of 20 operations cas"));
        story.header().seconds = 100;
        assert!(judged(&story).summary.contains("500 are the least"));
    }
}
