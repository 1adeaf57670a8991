//! No identifier is given twice, and later ones are higher than those that were given before.
//!
//! Sources: Jepsen's `checker/unique-ids`; etcd's promise that revisions rise, and ZooKeeper's that the
//! numbers of sequential nodes do ("ZooKeeper Programmer's Guide", sequence nodes).

use super::order::{Numbered, falling};
use super::{Anomaly, Check, Verdict};
use crate::history::History;
use serde_json::Value;
use std::collections::BTreeMap;

/// Judges identifiers, those of each key apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ids;

const NAME: &str = "ids";

/// The number of an identifier: itself, or the digits at its end.
fn number(id: &Value) -> Option<u64> {
    match id {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            let digits = text.len() - text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            text[text.len() - digits..].parse().ok()
        }
        _ => None,
    }
}

impl Check for Ids {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut given: BTreeMap<Option<&str>, Vec<Numbered<u64>>> = BTreeMap::new();
        let mut unreadable = 0;
        for operation in history.operations.iter().filter(|one| one.f == "generate" && one.is_ok()) {
            let Some(number) = number(&operation.output["id"]) else {
                unreadable += 1;
                continue;
            };
            given.entry(operation.key.as_deref()).or_default().push(Numbered::of(operation, number));
        }
        let mut anomalies = Vec::new();
        for numbered in given.values_mut() {
            for (earlier, later) in falling(numbered).into_iter().filter(|(a, b)| a.number != b.number) {
                let what = format!("{} was given after {}", later.number, earlier.number);
                anomalies.push(Anomaly::new(what, [earlier.operation, later.operation]));
            }
            numbered.sort_by_key(|one| one.number);
            for pair in numbered.windows(2).filter(|pair| pair[0].number == pair[1].number) {
                let what = format!("{} was given twice", pair[0].number);
                anomalies.push(Anomaly::new(what, [pair[0].operation, pair[1].operation]));
            }
        }
        let total: usize = given.values().map(Vec::len).sum();
        let summary = format!("{total} identifiers, {} given twice or out of order", anomalies.len());
        Verdict::of(NAME, summary, anomalies)
            .unless_unread(unreadable + u64::from(total == 0))
            .count("identifiers", total as u64)
            .count("unreadable", unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use serde_json::json;

    fn judged(ids: &[Value]) -> Verdict {
        let mut story = Story::of("ids");
        for id in ids {
            story.ok("generate", "a", json!({}), json!({"id": id}));
        }
        story.ok("generate", "b", json!({}), json!({"id": 2}));
        Ids.judge(&story.history())
    }

    #[test]
    fn rising_identifiers_pass() {
        assert_eq!(judged(&[json!(1), json!(2), json!(10)]).judgement, Judgement::Valid);
        let names = [json!("n-0000000009"), json!("n-0000000010")];
        assert_eq!(judged(&names).judgement, Judgement::Valid);
    }

    #[test]
    fn one_that_is_given_twice_is_found() {
        let verdict = judged(&[json!(1), json!(3), json!(3)]);
        assert_eq!((verdict.judgement, verdict.anomalies.len()), (Judgement::Invalid, 1), "{verdict:?}");
        assert_eq!(verdict.anomalies[0].operations, [1, 2]);
    }

    #[test]
    fn one_that_is_lower_than_before_is_found() {
        let verdict = judged(&[json!("n-0000000010"), json!("n-0000000009")]);
        assert_eq!((verdict.judgement, verdict.anomalies.len()), (Judgement::Invalid, 1), "{verdict:?}");
    }

    #[test]
    fn an_identifier_without_a_number_is_no_pass() {
        assert_eq!(judged(&[json!("x")]).judgement, Judgement::Unknown);
    }
}
