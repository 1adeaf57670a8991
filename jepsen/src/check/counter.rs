//! A counter shows no less than what was surely added, and no more than what may have been.
//!
//! Source: Jepsen's `checker/counter` (jepsen/src/jepsen/checker.clj). Whoever looks between two
//! moments sees at least all additions that were over before the first, and at most all that were asked
//! for before the second. An addition that answers with the new value looks, and sees itself.

use super::{Anomaly, Check, Verdict};
use crate::history::{History, Operation};
use std::collections::BTreeMap;

/// Judges additions and reads of a counter for each key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter;

const NAME: &str = "counter";

/// Sums of additions up to each time.
#[derive(Default)]
struct Sums {
    steps: Vec<(u64, i64)>,
}

impl Sums {
    fn of(mut steps: Vec<(u64, i64)>) -> Self {
        steps.sort_unstable();
        let mut sum = 0;
        for (_, step) in &mut steps {
            sum += *step;
            *step = sum;
        }
        Self { steps }
    }

    fn before(&self, time: u64) -> i64 {
        let after = self.steps.partition_point(|(at, _)| *at < time);
        after.checked_sub(1).map_or(0, |last| self.steps[last].1)
    }

    fn until(&self, time: u64) -> i64 {
        self.before(time.saturating_add(1))
    }
}

/// The additions of one counter, by when they may and by when they must have happened.
struct Bounds {
    may_rise: Sums,
    must_rise: Sums,
    may_fall: Sums,
    must_fall: Sums,
}

impl Bounds {
    fn of(additions: &[(&Operation, i64)]) -> Self {
        let asked = |keep: fn(i64) -> bool| {
            let kept = additions.iter().filter(|(_, delta)| keep(*delta));
            Sums::of(kept.map(|(addition, delta)| (addition.invoked, *delta)).collect())
        };
        let over = |keep: fn(i64) -> bool| {
            let kept = additions.iter().filter(|(addition, delta)| addition.is_ok() && keep(*delta));
            Sums::of(kept.filter_map(|(addition, delta)| Some((addition.ended?, *delta))).collect())
        };
        Self {
            may_rise: asked(|delta| delta > 0),
            must_rise: over(|delta| delta > 0),
            may_fall: asked(|delta| delta < 0),
            must_fall: over(|delta| delta < 0),
        }
    }

    /// The least and the most that an operation may see which adds this itself.
    fn around(&self, operation: &Operation, own: i64) -> (i64, i64) {
        let (first, last) = (operation.invoked, operation.ended.unwrap_or(u64::MAX));
        let least = self.must_rise.before(first) + self.may_fall.until(last) + own.max(0);
        let most = self.may_rise.until(last) + self.must_fall.before(first) + own.min(0);
        (least, most)
    }
}

impl Check for Counter {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut additions: BTreeMap<Option<&str>, Vec<(&Operation, i64)>> = BTreeMap::new();
        let mut looks: Vec<(&Operation, i64, i64)> = Vec::new(); // own addition, value
        let mut unreadable = 0;
        for operation in history.operations.iter().filter(|operation| operation.is_possible()) {
            match operation.f.as_str() {
                "add" => match operation.input.as_i64() {
                    Some(delta) => {
                        additions.entry(operation.key.as_deref()).or_default().push((operation, delta));
                        let value = operation.output["value"].as_i64();
                        looks.extend(value.map(|value| (operation, delta, value)));
                    }
                    None => unreadable += 1,
                },
                "read" if operation.is_ok() => match operation.output.as_i64() {
                    Some(value) => looks.push((operation, 0, value)),
                    None => unreadable += 1,
                },
                _ => {}
            }
        }
        let bounds: BTreeMap<_, Bounds> =
            additions.iter().map(|(key, additions)| (*key, Bounds::of(additions))).collect();
        let nothing = Bounds::of(&[]);
        let mut anomalies = Vec::new();
        for (operation, own, value) in &looks {
            let bounds = bounds.get(&operation.key.as_deref()).unwrap_or(&nothing);
            let (least, most) = bounds.around(operation, *own);
            if !(least..=most).contains(value) {
                let what = format!("a counter showed {value}, where it was between {least} and {most}");
                anomalies.push(Anomaly::new(what, [operation.index]));
            }
        }
        let summary = format!("{} values seen, {} out of bounds", looks.len(), anomalies.len());
        Verdict::of(NAME, summary, anomalies)
            .unless_unread(unreadable + u64::from(looks.is_empty()))
            .count("values", looks.len() as u64)
            .count("unreadable", unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use serde_json::json;

    fn judgement(story: &Story) -> Judgement {
        Counter.judge(&story.history()).judgement
    }

    #[test]
    fn values_within_the_bounds_pass() {
        let mut story = Story::of("counter");
        story.ok("add", "a", json!(2), json!({"value": 2}));
        story.info("add", "a", json!(3));
        story.ok("read", "a", json!({}), json!(2));
        story.ok("read", "a", json!({}), json!(5));
        story.fail("add", "a", json!(100));
        story.ok("add", "a", json!(-1), json!({"value": 4}));
        assert_eq!(judgement(&story), Judgement::Valid);
    }

    #[test]
    fn a_lost_addition_and_one_from_nowhere_are_found() {
        let mut story = Story::of("counter");
        story.ok("add", "a", json!(2), json!({}));
        story.ok("add", "b", json!(5), json!({}));
        let read = story.ok("read", "a", json!({}), json!(0));
        assert_eq!(judgement(&story), Judgement::Invalid);
        story.at(read).output = json!(3);
        assert_eq!(judgement(&story), Judgement::Invalid);
        story.at(read).output = json!(2);
        assert_eq!(judgement(&story), Judgement::Valid);
    }

    #[test]
    fn an_addition_sees_itself() {
        let mut story = Story::of("counter");
        story.info("add", "a", json!(2));
        story.ok("add", "a", json!(1), json!({"value": 2}));
        assert_eq!(judgement(&story), Judgement::Valid, "{:?}", Counter.judge(&story.history()));
        story.at(1).output = json!({"value": 0});
        assert_eq!(judgement(&story), Judgement::Invalid);
    }

    #[test]
    fn a_counter_that_nobody_saw_is_no_pass() {
        assert_eq!(judgement(&Story::of("counter")), Judgement::Unknown);
    }
}
