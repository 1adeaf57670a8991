//! What was added to a set stays in it, once, and is seen by whoever looks later.
//!
//! Source: Jepsen's `checker/set-full` (jepsen/src/jepsen/checker.clj), with its terms. An element is
//! known once its addition was acknowledged or any read that saw it is over. It is *lost* if the last
//! read that could have seen it, invoked after it was known, did not; *stale* if such a read missed it
//! and a later one saw it; *never read* if no read was invoked after it was known; *recovered* if it
//! was seen although nobody knew whether its addition happened.

use super::{Anomaly, Check, Verdict};
use crate::history::{History, Operation};
use std::collections::BTreeMap;

/// Judges additions and reads of the whole set. Keys are sets of their own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Set;

const NAME: &str = "set";

/// Anomalies that are shown of one kind.
const SHOWN: usize = 10;

/// One element, from its addition on.
struct Element {
    name: String,
    addition: usize,
    /// The addition was acknowledged.
    is_acknowledged: bool,
    /// Since when everybody must see it.
    known: Option<u64>,
    /// The last read that saw it, by the time of its invocation.
    present: Option<(u64, usize)>,
    /// The last read that missed it.
    absent: Option<(u64, usize)>,
    /// The read that saw it last time, so that it is seen to be twice in one.
    seen_in: Option<usize>,
}

#[derive(Default)]
struct Found {
    anomalies: Vec<Anomaly>,
    counts: BTreeMap<&'static str, u64>,
    /// Times from being known to the last read that missed it, in microseconds.
    latencies: Vec<u64>,
}

impl Found {
    fn add(&mut self, kind: &'static str, what: String, operations: impl IntoIterator<Item = usize>) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= SHOWN as u64 {
            self.anomalies.push(Anomaly::new(what, operations));
        }
    }

    fn note(&mut self, kind: &'static str, number: u64) {
        *self.counts.entry(kind).or_default() += number;
    }
}

impl Check for Set {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut sets: BTreeMap<Option<&str>, Vec<&Operation>> = BTreeMap::new();
        for operation in &history.operations {
            sets.entry(operation.key.as_deref()).or_default().push(operation);
        }
        let mut found = Found::default();
        sets.values().for_each(|operations| judge_one(operations, &mut found));
        let count = |kind| found.counts.get(kind).copied().unwrap_or(0);
        let summary = format!(
            "{} additions acknowledged, {} reads: {} lost, {} stale, {} twice in a read, {} never added, {} \
             recovered, {} never read",
            count("acknowledged"),
            count("reads"),
            count("lost"),
            count("stale"),
            count("duplicated"),
            count("unexpected"),
            count("recovered"),
            count("never read"),
        );
        let unread = count("unreadable") + count("never read") + u64::from(count("reads") == 0);
        let mut verdict = Verdict::of(NAME, summary, found.anomalies).unless_unread(unread);
        for (kind, number) in found.counts {
            verdict = verdict.count(kind, number);
        }
        found.latencies.sort_unstable();
        let last = found.latencies.last().copied().unwrap_or(0);
        let at_99 = found.latencies.get(found.latencies.len() * 99 / 100).copied().unwrap_or(0);
        verdict.count("visible after us, longest", last).count("visible after us, 99 of 100", at_99)
    }
}

/// One set: its elements by name, and its reads with the elements that they saw.
fn judge_one(operations: &[&Operation], found: &mut Found) {
    let (mut elements, places) = additions(operations, found);
    let mut reads: Vec<(&Operation, Vec<usize>)> = Vec::new();
    for read in operations.iter().filter(|operation| operation.f == "read" && operation.is_ok()) {
        let Some(list) = read.output.as_array() else {
            found.note("unreadable", 1);
            continue;
        };
        let mut seen = Vec::with_capacity(list.len());
        for name in list.iter().map(ToString::to_string) {
            match places.get(&name) {
                Some(place) => seen.push(*place),
                None => {
                    let what = format!("{name} is in the set, and nobody added it");
                    found.add("unexpected", what, [read.index]);
                }
            }
        }
        reads.push((read, seen));
    }
    found.note("reads", reads.len() as u64);
    for (read, seen) in &reads {
        see(read, seen, &mut elements, found);
    }
    miss(&reads, &mut elements);
    let last = reads.iter().map(|(read, _)| read.invoked).max();
    elements.iter().for_each(|element| conclude(element, last, found));
}

fn additions(operations: &[&Operation], found: &mut Found) -> (Vec<Element>, BTreeMap<String, usize>) {
    let (mut elements, mut places) = (Vec::new(), BTreeMap::new());
    for operation in operations.iter().filter(|operation| operation.f == "add" && operation.is_possible()) {
        found.note("acknowledged", u64::from(operation.is_ok()));
        places.insert(operation.input.to_string(), elements.len());
        elements.push(Element {
            name: operation.input.to_string(),
            addition: operation.index,
            is_acknowledged: operation.is_ok(),
            known: operation.returned(),
            present: None,
            absent: None,
            seen_in: None,
        });
    }
    (elements, places)
}

/// What a read saw is known when it is over.
fn see(read: &Operation, seen: &[usize], elements: &mut [Element], found: &mut Found) {
    for place in seen {
        let element = &mut elements[*place];
        if element.seen_in.replace(read.index) == Some(read.index) {
            let what = format!("{} is twice in one read", element.name);
            found.add("duplicated", what, [element.addition, read.index]);
        }
        let returned = read.ended.unwrap_or(u64::MAX);
        element.known = Some(element.known.unwrap_or(u64::MAX).min(returned));
        element.present = element.present.max(Some((read.invoked, read.index)));
    }
}

/// Notes which elements the reads missed although they were known. Reads that may be stale may miss
/// what they like, except that the last look at a set must not.
fn miss(reads: &[(&Operation, Vec<usize>)], elements: &mut [Element]) {
    let mut last_seen = vec![usize::MAX; elements.len()];
    for (read, seen) in reads {
        if read.input["consistency"] == "serializable" && read.input["final"] != true {
            continue;
        }
        seen.iter().for_each(|place| last_seen[*place] = read.index);
        for (element, last_seen) in elements.iter_mut().zip(&last_seen) {
            if *last_seen != read.index && element.known.is_some_and(|known| known < read.invoked) {
                element.absent = element.absent.max(Some((read.invoked, read.index)));
            }
        }
    }
}

fn conclude(element: &Element, last_read: Option<u64>, found: &mut Found) {
    let name = &element.name;
    if element.present.is_some() && !element.is_acknowledged {
        found.note("recovered", 1);
    }
    let Some(known) = element.known else { return };
    let Some((missed, missing)) = element.absent else {
        if element.present.is_none() && last_read.is_none_or(|last| last <= known) {
            found.note("never read", 1);
        } else {
            found.latencies.push(0);
        }
        return;
    };
    if element.present < element.absent {
        let seen = element.present.map(|(_, read)| read);
        let what = format!("{name} was added, and the last read that should have it has it not");
        found.add("lost", what, [element.addition].into_iter().chain(seen).chain([missing]));
    } else {
        found.latencies.push(missed - known);
        let what = format!("{name} was added, then missed by a read, and seen again later");
        found.add("stale", what, [element.addition, missing]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use serde_json::json;

    fn judged(story: &Story) -> Verdict {
        Set.judge(&story.history())
    }

    fn added(numbers: &[u64]) -> Story {
        let mut story = Story::of("set");
        for number in numbers {
            story.ok("add", "", json!(number), json!({"revision": number}));
        }
        story
    }

    fn broken(story: &Story, kind: &str) {
        let verdict = judged(story);
        assert_eq!(verdict.judgement, Judgement::Invalid, "{verdict:?}");
        assert_eq!(verdict.counts[kind], 1, "{verdict:?}");
        assert_eq!(verdict.anomalies.len(), 1, "{verdict:?}");
    }

    #[test]
    fn what_was_added_is_seen() {
        let mut story = added(&[1, 2]);
        story.info("add", "", json!(3));
        story.fail("add", "", json!(4));
        story.ok("read", "", json!({"node": "n1"}), json!([2, 1, 3]));
        let verdict = judged(&story);
        assert_eq!((verdict.judgement, verdict.counts["recovered"]), (Judgement::Valid, 1), "{verdict:?}");
    }

    #[test]
    fn what_is_gone_is_lost() {
        let mut story = added(&[1, 2]);
        story.ok("read", "", json!({"final": true}), json!([1]));
        broken(&story, "lost");
        let mut story = Story::of("set");
        story.info("add", "", json!(3));
        story.ok("read", "", json!({}), json!([3]));
        story.ok("read", "", json!({}), json!([]));
        broken(&story, "lost");
    }

    #[test]
    fn what_is_missed_and_found_again_was_stale() {
        let mut story = added(&[1]);
        story.ok("read", "", json!({}), json!([]));
        story.ok("read", "", json!({}), json!([1]));
        broken(&story, "stale");
        story.at(1).input = json!({"consistency": "serializable"});
        assert_eq!(judged(&story).judgement, Judgement::Valid);
    }

    #[test]
    fn what_is_twice_or_came_from_nowhere_is_found() {
        let mut story = added(&[1]);
        story.ok("read", "", json!({}), json!([1, 1]));
        broken(&story, "duplicated");
        let mut story = added(&[1]);
        story.fail("add", "", json!(2));
        story.ok("read", "", json!({}), json!([1, 2]));
        broken(&story, "unexpected");
    }

    #[test]
    fn without_a_read_nothing_can_be_said() {
        assert_eq!(judged(&added(&[1])).judgement, Judgement::Unknown);
        let mut story = added(&[1]);
        story.ok("read", "", json!({}), json!([1]));
        story.ok("add", "", json!(2), json!({}));
        let verdict = judged(&story);
        assert_eq!((verdict.judgement, verdict.counts["never read"]), (Judgement::Unknown, 1));
    }
}
