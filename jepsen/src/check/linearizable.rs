//! Every object behaves as if each operation on it took effect at one moment between its invocation
//! and its return.
//!
//! Source: Herlihy and Wing, "Linearizability" (1990); the search is [`wgl`](super::wgl). What the
//! objects are follows from the workload: a register for each key.

use super::model::register::{Action, Register};
use super::wgl::{BUDGET, Event, Found, Model, Witness, search_each};
use super::{Anomaly, Check, Verdict};
use crate::history::{History, Operation};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Judges each object by the model of the history's workload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linearizable;

const NAME: &str = "linearizable";

impl Check for Linearizable {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        judge(&Register, history, register)
    }
}

/// What an operation was to its object.
enum Read<A> {
    /// This.
    Action(A),
    /// Something that is not of this object.
    Other,
    /// An answer of a form that nobody knows.
    Unreadable,
}

impl<A> From<Option<A>> for Read<A> {
    fn from(action: Option<A>) -> Self {
        action.map_or(Self::Unreadable, Self::Action)
    }
}

/// The operations of one object, and where they stand in the history.
struct Object<A> {
    name: String,
    events: Vec<Event<A>>,
    operations: Vec<usize>,
}

fn judge<M>(model: &M, history: &History, read: impl Fn(&Operation) -> Read<M::Action>) -> Verdict
where
    M: Model + Sync,
    M::Action: Sync + Debug,
    M::State: Send + Debug,
{
    let (objects, unreadable) = objects(history, read);
    let names: Vec<(String, Vec<usize>)>;
    let events: Vec<Vec<Event<M::Action>>>;
    (names, events) =
        objects.into_iter().map(|object| ((object.name, object.operations), object.events)).unzip();
    let found = search_each(model, &events, BUDGET);
    let operations: usize = events.iter().map(Vec::len).sum();
    let undecided = found.iter().filter(|found| matches!(found, Found::Unknown)).count();
    let mut anomalies = Vec::new();
    for (((name, places), events), found) in names.iter().zip(&events).zip(&found) {
        if let Found::Violated(witness) = found {
            anomalies.push(describe(name, places, events, witness));
        }
    }
    let summary = format!(
        "{operations} operations on {} objects: {} without an order, {undecided} not decided",
        found.len(),
        anomalies.len()
    );
    let verdict = Verdict::of(NAME, summary, anomalies).unless_unread(unreadable + undecided as u64);
    verdict
        .count("objects", found.len() as u64)
        .count("operations", operations as u64)
        .count("undecided", undecided as u64)
        .count("unreadable", unreadable)
}

fn objects<A>(history: &History, read: impl Fn(&Operation) -> Read<A>) -> (Vec<Object<A>>, u64) {
    let mut objects: BTreeMap<&str, Object<A>> = BTreeMap::new();
    let mut unreadable = 0;
    for operation in history.operations.iter().filter(|operation| operation.is_possible()) {
        let action = match read(operation) {
            Read::Action(action) => action,
            Read::Other => continue,
            Read::Unreadable => {
                unreadable += 1;
                continue;
            }
        };
        let name = operation.key.as_deref().unwrap_or_default();
        let object = objects.entry(name).or_insert_with(|| Object {
            name: name.to_owned(),
            events: Vec::new(),
            operations: Vec::new(),
        });
        let (invoked, returned) = (operation.invoked, operation.returned());
        object.events.push(Event { invoked, returned, action });
        object.operations.push(operation.index);
    }
    (objects.into_values().collect(), unreadable)
}

/// Operations that are shown of those that could come next.
const SHOWN: usize = 4;

fn describe<A: Debug, S: Debug>(
    name: &str,
    places: &[usize],
    events: &[Event<A>],
    witness: &Witness<S>,
) -> Anomaly {
    let told = |at: &usize| format!("operation {} ({:?})", places[*at], events[*at].action);
    let last = witness.explained.last().map_or("none".to_owned(), told);
    let stuck: Vec<String> = witness.stuck.iter().take(SHOWN).map(told).collect();
    let what = format!(
        "object {name:?}: {} of {} operations can be explained, the last one being {last}; that leaves \
         {:?}, in which none of these can follow: {}",
        witness.explained.len(),
        events.len(),
        witness.state,
        stuck.join("; ")
    );
    let shown = witness.explained.last().into_iter().chain(&witness.stuck);
    Anomaly::new(what, shown.map(|at| places[*at]))
}

/// A content: a number, or nothing.
fn content(value: &Value) -> Option<Option<i64>> {
    if value.is_null() { Some(None) } else { value.as_i64().map(Some) }
}

fn register(operation: &Operation) -> Read<Action> {
    let (input, output) = (&operation.input, &operation.output);
    let revision = output["revision"].as_u64();
    let action = match operation.f.as_str() {
        "read" if !operation.is_ok() || input["consistency"] == "serializable" => return Read::Other,
        "read" => content(&output["value"])
            .map(|content| Action::Read { content, modified: output["mod"].as_u64() }),
        "write" => content(&input["value"]).map(|new| {
            let before = output.get("previous").and_then(content);
            Action::Write { new, before, existed: None, revision }
        }),
        "delete" => {
            Some(Action::Write { new: None, before: None, existed: output["existed"].as_bool(), revision })
        }
        "cas" => content(&input["expected"]).zip(input["new"].as_i64()).and_then(|(expected, new)| {
            let swapped = output["swapped"].as_bool();
            let is_known = swapped.is_some() || !operation.is_ok();
            is_known.then_some(Action::Swap { expected, new, swapped, revision })
        }),
        _ => return Read::Other,
    };
    action.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use serde_json::json;

    fn judged(story: &Story) -> Verdict {
        Linearizable.judge(&story.history())
    }

    #[test]
    fn a_key_that_is_one_register_passes() {
        let mut story = Story::of("register");
        story.ok("write", "a", json!({"value": 1}), json!({"revision": 2}));
        story.ok("read", "a", json!({"consistency": "linearizable"}), json!({"value": 1, "mod": 2, "at": 2}));
        story.info("cas", "a", json!({"expected": 1, "new": 2}));
        story.fail("write", "a", json!({"value": 7}));
        story.ok("read", "a", json!({"consistency": "serializable"}), json!({"value": null, "at": 1}));
        story.ok("read", "a", json!({}), json!({"value": 2, "mod": 3, "at": 3}));
        story.ok("delete", "a", json!({}), json!({"revision": 4, "existed": true}));
        story.ok("cas", "a", json!({"expected": null, "new": 5}), json!({"swapped": true, "revision": 5}));
        let verdict = judged(&story);
        assert_eq!((verdict.judgement, verdict.counts["operations"]), (Judgement::Valid, 6), "{verdict:?}");
    }

    #[test]
    fn a_stale_read_of_one_key_is_found() {
        let mut story = Story::of("register");
        story.ok("write", "b", json!({"value": 1}), json!({"revision": 2}));
        story.ok("write", "a", json!({"value": 1}), json!({"revision": 3}));
        story.ok("write", "a", json!({"value": 2}), json!({"revision": 4}));
        let read = story.ok("read", "a", json!({}), json!({"value": 1, "mod": 3, "at": 4}));
        let verdict = judged(&story);
        assert_eq!(verdict.judgement, Judgement::Invalid);
        assert_eq!(verdict.anomalies.len(), 1);
        assert_eq!(verdict.anomalies[0].operations, [2, read]);
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_no_pass() {
        let mut story = Story::of("register");
        story.ok("read", "a", json!({}), json!({"value": "one"}));
        let verdict = judged(&story);
        assert_eq!((verdict.judgement, verdict.counts["unreadable"]), (Judgement::Unknown, 1));
    }
}
