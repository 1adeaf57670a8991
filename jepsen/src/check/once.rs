//! Each addition happens exactly once, however often it was sent: the k-th one of a writer answers k.
//!
//! Sources: Ongaro, "Consensus: bridging theory and practice" (2014), section 6.3; Lee and others,
//! "Implementing linearizability at large scale and low latency" (2015), which names requests by session
//! and sequence number as Oarlock does. Each key has one writer, so that its values tell how often
//! each addition happened. A writer can always ask what came of one, and so none should stay unknown;
//! those that do may have happened or not.

use super::{Anomaly, Check, Verdict};
use crate::history::{History, Operation};
use serde_json::Value;
use std::collections::BTreeMap;

/// Judges counters with one writer each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Once;

const NAME: &str = "once";

impl Check for Once {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
        for operation in history.operations.iter().filter(|one| one.is_possible()) {
            if matches!(operation.f.as_str(), "add" | "read") {
                keys.entry(operation.key.as_deref().unwrap_or_default()).or_default().push(operation);
            }
        }
        let mut tally = Tally::default();
        keys.iter().for_each(|(key, operations)| tally.take(key, operations));
        let summary = format!(
            "{} additions acknowledged, {} of them when asked for, {} unknown, {} lost or repeated",
            tally.acknowledged,
            tally.resolved,
            tally.unknown,
            tally.anomalies.len()
        );
        Verdict::of(NAME, summary, tally.anomalies)
            .unless_unread(tally.unreadable + u64::from(tally.acknowledged == 0))
            .count("acknowledged", tally.acknowledged)
            .count("acknowledged when asked for", tally.resolved)
            .count("unknown", tally.unknown)
            .count("unreadable", tally.unreadable)
    }
}

#[derive(Default)]
struct Tally {
    anomalies: Vec<Anomaly>,
    acknowledged: u64,
    resolved: u64,
    unknown: u64,
    unreadable: u64,
}

impl Tally {
    /// Follows the operations of one writer. They come one after another, so that between two values
    /// there are the additions between them, and no others.
    fn take(&mut self, key: &str, operations: &[&Operation]) {
        let (mut value, mut maybe) = (0, 0);
        let mut last = None;
        let mut answers: BTreeMap<(String, String), (i64, usize)> = BTreeMap::new();
        for operation in operations {
            let is_read = operation.f == "read";
            let own = if is_read { 0 } else { operation.input["delta"].as_i64().unwrap_or(1) };
            if !operation.is_ok() {
                self.unknown += u64::from(!is_read);
                maybe += own;
                continue;
            }
            // The service was asked what became of it, and says no more than that it happened.
            if !is_read && operation.output["revision"].is_u64() {
                self.acknowledged += 1;
                self.resolved += 1;
                value += own;
                last = Some(operation.index);
                continue;
            }
            let seen = if is_read { operation.output.as_i64() } else { operation.output["value"].as_i64() };
            let Some(seen) = seen else {
                self.unreadable += 1;
                continue;
            };
            self.acknowledged += u64::from(!is_read);
            let name = name(operation).filter(|_| !is_read);
            if let Some((first, at)) = name.as_ref().and_then(|name| answers.get(name)) {
                if *first != seen {
                    let what = format!("{key}: one addition answered {first}, and {seen} when sent again");
                    self.anomalies.push(Anomaly::new(what, [*at, operation.index]));
                }
                continue;
            }
            answers.extend(name.map(|name| (name, (seen, operation.index))));
            let (least, most) = (value + own, value + own + maybe);
            if !(least..=most).contains(&seen) {
                let how = if seen > most { "something happened twice" } else { "something was lost" };
                let what = format!("{key}: {seen} where {least} to {most} was due: {how}");
                self.anomalies.push(Anomaly::new(what, last.into_iter().chain([operation.index])));
            }
            // What is unknown stays possible: it may happen later than what was asked for after it.
            maybe = (most - seen).clamp(0, maybe);
            value = seen;
            last = Some(operation.index);
        }
    }
}

/// The session and sequence number of an addition.
fn name(operation: &Operation) -> Option<(String, String)> {
    let [session, sequence] = ["session", "sequence"].map(|name| &operation.input[name]);
    let is_named = *session != Value::Null && *sequence != Value::Null;
    is_named.then(|| (session.to_string(), sequence.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use serde_json::json;

    /// Additions and their answers; null for one that is unknown.
    fn story(answers: &[Value], last: i64) -> Story {
        let mut story = Story::of("once");
        for (sequence, answer) in answers.iter().enumerate() {
            let input = json!({"session": 7, "sequence": sequence, "delta": 1});
            if answer.is_null() {
                story.info("add", "a", input);
            } else {
                story.ok("add", "a", input, json!({"value": answer}));
            }
        }
        story.ok("read", "a", json!({"final": true}), json!(last));
        story
    }

    fn judged(answers: &[Value], last: i64) -> Verdict {
        Once.judge(&story(answers, last).history())
    }

    #[test]
    fn the_kth_addition_answers_k() {
        assert_eq!(judged(&[json!(1), json!(2), json!(3)], 3).judgement, Judgement::Valid);
        for (second, last) in [(2, 2), (3, 3), (2, 3)] {
            let verdict = judged(&[json!(1), json!(null), json!(second)], last);
            assert_eq!((verdict.judgement, verdict.counts["unknown"]), (Judgement::Valid, 1), "{verdict:?}");
        }
        assert_eq!(judged(&[], 0).judgement, Judgement::Unknown);
    }

    #[test]
    fn what_is_lost_or_happened_twice_is_found() {
        for (answers, last, words) in [
            (vec![json!(1), json!(3)], 3, "twice"),
            (vec![json!(1), json!(1)], 1, "lost"),
            (vec![json!(1), json!(2)], 1, "lost"),
            (vec![json!(1), json!(2)], 3, "twice"),
            (vec![json!(1), json!(null), json!(4)], 4, "twice"),
        ] {
            let verdict = judged(&answers, last);
            assert_eq!((verdict.judgement, verdict.anomalies.len()), (Judgement::Invalid, 1), "{verdict:?}");
            assert!(verdict.anomalies[0].what.contains(words), "{verdict:?}");
        }
    }

    #[test]
    fn what_the_service_says_of_a_lost_answer_counts() {
        let mut story = story(&[json!(1), json!(2), json!(3)], 3);
        story.at(1).output = json!({"revision": 9});
        let verdict = Once.judge(&story.history());
        let counts = (verdict.counts["acknowledged when asked for"], verdict.counts["unknown"]);
        assert_eq!((verdict.judgement, counts), (Judgement::Valid, (1, 0)), "{verdict:?}");
        story.at(2).output = json!({"value": 2});
        story.at(3).output = json!(2);
        let verdict = Once.judge(&story.history());
        assert_eq!((verdict.judgement, verdict.anomalies.len()), (Judgement::Invalid, 1), "{verdict:?}");
    }

    #[test]
    fn an_addition_sent_again_has_the_same_answer() {
        let mut story = story(&[json!(1)], 1);
        story.ok("add", "a", json!({"session": 7, "sequence": 0, "delta": 1}), json!({"value": 1}));
        assert_eq!(Once.judge(&story.history()).judgement, Judgement::Valid);
        story.at(2).output = json!({"value": 2});
        assert_eq!(Once.judge(&story.history()).judgement, Judgement::Invalid);
    }
}
