//! What was put into a queue comes out, once, and nothing else does.
//!
//! Source: Jepsen's `checker/total-queue` (jepsen/src/jepsen/checker.clj). A removal whose answer was
//! lost may have taken one element with it; the rest must be found when the queue is drained.

use super::{Anomaly, Check, Verdict};
use crate::history::{History, Operation};
use std::collections::BTreeMap;

/// Judges queues, each by its key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue;

const NAME: &str = "queue";

/// What happened to one element.
#[derive(Default)]
struct Element {
    /// Operations that may have put it in, and those of them that did.
    asked: Vec<usize>,
    acknowledged: usize,
    /// When it was first asked for.
    since: Option<u64>,
    /// Operations that took it out.
    taken: Vec<usize>,
    /// When the first of them was over.
    out: Option<u64>,
}

#[derive(Default)]
struct Dealings {
    elements: BTreeMap<String, Element>,
    /// Removals that may have taken an element with them.
    lost_answers: usize,
    is_drained: bool,
}

impl Check for Queue {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut queues: BTreeMap<&str, Dealings> = BTreeMap::new();
        for operation in history.operations.iter().filter(|operation| operation.is_possible()) {
            queues.entry(operation.key.as_deref().unwrap_or_default()).or_default().take(operation);
        }
        queues.retain(|_, queue| !queue.elements.is_empty());
        let mut anomalies = Vec::new();
        let (mut put, mut taken, mut with_lost_answers) = (0, 0, 0);
        for queue in queues.values() {
            with_lost_answers += queue.judge(&mut anomalies);
            put += queue.elements.values().map(|element| element.acknowledged as u64).sum::<u64>();
            taken += queue.elements.values().map(|element| element.taken.len() as u64).sum::<u64>();
        }
        let undrained = queues.values().filter(|queue| !queue.is_drained).count() as u64;
        let summary = format!(
            "{put} elements put in, {taken} taken out, {with_lost_answers} gone with lost answers, {} lost, \
             repeated or from nowhere",
            anomalies.len()
        );
        Verdict::of(NAME, summary, anomalies)
            .unless_unread(undrained + u64::from(queues.is_empty()))
            .count("put in", put)
            .count("taken out", taken)
            .count("gone with lost answers", with_lost_answers)
            .count("queues not drained", undrained)
    }
}

impl Dealings {
    fn take(&mut self, operation: &Operation) {
        match operation.f.as_str() {
            "enqueue" => {
                let element = self.elements.entry(operation.input.to_string()).or_default();
                element.asked.push(operation.index);
                element.acknowledged += usize::from(operation.is_ok());
                element.since = Some(element.since.unwrap_or(u64::MAX).min(operation.invoked));
            }
            "dequeue" | "drain" if !operation.is_ok() => self.lost_answers += 1,
            "dequeue" if operation.output.is_null() => {}
            "dequeue" => self.out(operation.output.to_string(), operation),
            "drain" => {
                self.is_drained = true;
                for element in operation.output.as_array().into_iter().flatten() {
                    self.out(element.to_string(), operation);
                }
            }
            _ => {}
        }
    }

    fn out(&mut self, name: String, operation: &Operation) {
        let element = self.elements.entry(name).or_default();
        element.taken.push(operation.index);
        let ended = operation.ended.unwrap_or(u64::MAX);
        element.out = Some(element.out.unwrap_or(u64::MAX).min(ended));
    }

    /// Adds what is wrong; returns how many elements may have gone with lost answers.
    fn judge(&self, anomalies: &mut Vec<Anomaly>) -> u64 {
        let mut missing = Vec::new();
        for (name, element) in &self.elements {
            let operations = || element.asked.iter().chain(&element.taken).copied();
            if element.asked.is_empty() {
                anomalies.push(Anomaly::new(format!("{name} came out, and nobody put it in"), operations()));
            } else if element.taken.len() > element.asked.len() {
                let (times, put) = (element.taken.len(), element.asked.len());
                let what = format!("{name} came out {times} times and was put in {put} times");
                anomalies.push(Anomaly::new(what, operations()));
            } else if element.out.is_some() && element.out < element.since {
                anomalies.push(Anomaly::new(format!("{name} came out before it was put in"), operations()));
            }
            let gone = element.acknowledged.saturating_sub(element.taken.len());
            missing.extend((0..gone).map(|_| (name, element)));
        }
        if !self.is_drained {
            return 0;
        }
        if missing.len() > self.lost_answers {
            let (gone, answers) = (missing.len(), self.lost_answers);
            for (name, element) in missing.iter().skip(answers) {
                let what = format!(
                    "{name} was put in and never came out: {gone} such, and only {answers} removals whose \
                     answer was lost"
                );
                anomalies.push(Anomaly::new(what, element.asked.iter().copied()));
            }
        }
        missing.len().min(self.lost_answers) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use serde_json::json;

    fn judged(story: &Story) -> Verdict {
        Queue.judge(&story.history())
    }

    fn story() -> Story {
        let mut story = Story::of("queue");
        for number in 1..=3 {
            story.ok("enqueue", "", json!(number), json!({}));
        }
        story.info("enqueue", "", json!(4));
        story.ok("dequeue", "", json!({}), json!(1));
        story
    }

    fn broken(mut story: Story, drained: serde_json::Value, words: &str) {
        story.ok("drain", "", json!({}), drained);
        let verdict = judged(&story);
        assert_eq!((verdict.judgement, verdict.anomalies.len()), (Judgement::Invalid, 1), "{verdict:?}");
        assert!(verdict.anomalies[0].what.contains(words), "{verdict:?}");
    }

    #[test]
    fn what_went_in_comes_out() {
        assert_eq!(judged(&story()).judgement, Judgement::Unknown, "it was not drained");
        let mut story = story();
        story.ok("dequeue", "", json!({}), json!(null));
        story.info("dequeue", "", json!({}));
        story.ok("drain", "", json!({}), json!([2, 4]));
        let verdict = judged(&story);
        assert_eq!((verdict.judgement, verdict.counts["gone with lost answers"]), (Judgement::Valid, 1));
    }

    #[test]
    fn what_is_lost_repeated_or_from_nowhere_is_found() {
        broken(story(), json!([2]), "never came out");
        broken(story(), json!([2, 3, 1]), "came out 2 times");
        broken(story(), json!([2, 3, 9]), "nobody put it in");
        let mut early = Story::of("queue");
        early.ok("dequeue", "", json!({}), json!(7));
        early.ok("enqueue", "", json!(7), json!({}));
        broken(early, json!([]), "before it was put in");
    }
}
