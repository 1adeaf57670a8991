//! No server ends by itself, unless a fault makes it: a disk that fails should stop it, and so should
//! its removal from the cluster.

use super::{Anomaly, Check, Verdict};
use crate::history::{History, Note};
use serde_json::Value;

/// The check.
pub struct Exits;

impl Check for Exits {
    fn name(&self) -> &'static str {
        "exits"
    }

    fn judge(&self, history: &History) -> Verdict {
        let noted = |name: &'static str| history.notes.iter().filter(move |note| note.name == name);
        let is_expected = |note: &&Note| note.what.get("expected") == Some(&Value::Bool(true));
        let (expected, unexpected): (Vec<_>, Vec<_>) = noted("exit").partition(is_expected);
        let mut anomalies: Vec<Anomaly> = unexpected.iter().map(|note| anomaly(note)).collect();
        let silent = noted("healed").filter_map(|note| note.what.get("not_ready_in_time")?.as_array());
        for name in silent.flatten() {
            anomalies.push(Anomaly::new(format!("{name} did not serve again after all was healed"), []));
        }
        for note in noted("stuck") {
            anomalies.push(Anomaly::new(format!("clients did not come to an end: {}", note.what), []));
        }
        let summary = match (unexpected.len(), expected.len()) {
            (0, 0) => "no server ended by itself".to_owned(),
            (wrong, right) => format!("{wrong} servers ended by themselves, and {right} as they should"),
        };
        Verdict::of(self.name(), summary, anomalies).count("exits as they should be", expected.len() as u64)
    }
}

fn anomaly(note: &Note) -> Anomaly {
    let text = |name: &str| match note.what.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let at = note.at / 1_000;
    let what = format!(
        "{} ended by itself after {at} ms, code {}: {} {}",
        text("node"),
        text("code"),
        text("why"),
        text("last_words")
    );
    Anomaly::new(what, [])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;

    fn history(notes: &[&str]) -> History {
        let head = r#"{"format":1,"workload":"w","nemesis":[],"api":"native","server":"s","nodes":3,"seed":1,"seconds":1,"command":"","began_unix_ms":0}"#;
        let lines: Vec<String> = [head].iter().chain(notes).map(|&line| line.to_owned()).collect();
        History::parse("notes", &lines).expect("it is well-formed")
    }

    #[test]
    fn only_exits_that_nobody_expected_are_wrong() {
        let exit = |expected: bool| {
            format!(
                r#"{{"time":9,"process":"nemesis","type":"info","f":"exit","value":{{"node":"n1","code":101,"expected":{expected}}}}}"#
            )
        };
        assert_eq!(Exits.judge(&history(&[])).judgement, Judgement::Valid);
        assert_eq!(Exits.judge(&history(&[&exit(true)])).judgement, Judgement::Valid);
        let verdict = Exits.judge(&history(&[&exit(false)]));
        assert_eq!(verdict.judgement, Judgement::Invalid);
        assert!(verdict.anomalies[0].what.contains("n1"), "{verdict:?}");
    }

    #[test]
    fn who_does_not_come_back_is_named() {
        let healed = |names: &str| {
            format!(
                r#"{{"time":9,"process":"nemesis","type":"info","f":"healed","value":{{"not_ready_in_time":[{names}]}}}}"#
            )
        };
        assert_eq!(Exits.judge(&history(&[&healed("")])).judgement, Judgement::Valid);
        assert_eq!(Exits.judge(&history(&[&healed("\"n2\"")])).judgement, Judgement::Invalid);
    }
}
