//! Operations in few words.

use crate::history::{Operation, Outcome};
use serde_json::Value;

/// Fields that a reader knows or does not need.
const DULL: [&str; 1] = ["consistency"];
/// So many values of a list that a transaction read.
const LAST: usize = 5;

/// What was asked.
pub fn input(operation: &Operation) -> String {
    let input = if operation.f == "txn" { steps(&operation.input) } else { short(&operation.input) };
    if input.is_empty() { operation.f.clone() } else { format!("{} {input}", operation.f) }
}

/// What came of it.
pub fn result(operation: &Operation) -> String {
    match (operation.outcome, &operation.failure) {
        (Outcome::Ok, _) if operation.f == "txn" => steps(&operation.output),
        (Outcome::Ok, _) => short(&operation.output),
        (Outcome::Fail, None) => "failed".to_owned(),
        (Outcome::Info, None) => "unknown".to_owned(),
        (_, Some(failure)) => failure.to_string(),
    }
}

/// Both, of at most so many letters.
pub fn both(operation: &Operation, letters: usize) -> String {
    let result = match operation.outcome {
        // What was asked is in the result.
        Outcome::Ok if operation.f == "txn" => return clipped(&steps(&operation.output), letters),
        Outcome::Ok => short(&operation.output),
        Outcome::Fail => "failed".to_owned(),
        Outcome::Info => "?".to_owned(),
    };
    let input = input(operation);
    clipped(&if result.is_empty() { input } else { format!("{input} → {result}") }, letters)
}

/// The beginning of a text.
pub fn clipped(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}

/// The steps of a transaction: `append k1 5, r k2 [1 2]`.
fn steps(value: &Value) -> String {
    let Some(steps) = value.as_array() else { return short(value) };
    let step = |step: &Value| match step.as_array() {
        Some(parts) => parts.iter().map(part).collect::<Vec<_>>().join(" ").trim_end().to_owned(),
        None => short(step),
    };
    steps.iter().map(step).collect::<Vec<_>>().join(", ")
}

/// Of a long list the end tells most: it is where transactions differ.
fn part(value: &Value) -> String {
    let Some(values) = value.as_array() else { return short(value) };
    let cut = values.len().saturating_sub(LAST);
    let last: Vec<String> = values[cut..].iter().map(short).collect();
    format!("[{}{}]", if cut > 0 { "… " } else { "" }, last.join(" "))
}

/// A value without the signs that JSON needs and people do not.
fn short(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| !DULL.contains(&name.as_str()));
            let mut fields: Vec<_> = fields.collect();
            fields.sort_by_key(|(name, _)| *name != "value"); // stable: it comes first
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            fields.join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::operation;
    use super::*;
    use serde_json::json;

    #[test]
    fn words_are_few() {
        let mut read = operation("read", 0, 1);
        (read.input, read.output) = (json!({"consistency": "linearizable"}), json!({"at": 4, "value": null}));
        assert_eq!(both(&read, 50), "read → value=null at=4");
        assert_eq!(both(&read, 9), "read → v…");
        let mut txn = operation("txn", 0, 1);
        (txn.input, txn.outcome) = (json!([["r", "é", null]]), Outcome::Info);
        assert_eq!(both(&txn, 50), "txn r é → ?");
        assert_eq!((input(&txn), result(&txn)), ("txn r é".into(), "unknown".into()));
        (txn.output, txn.outcome) =
            (json!([["append", "a", 7], ["r", "é", [1, 2, 3, 4, 5, 6]]]), Outcome::Ok);
        assert_eq!(both(&txn, 50), "append a 7, r é [… 2 3 4 5 6]");
        assert_eq!(result(&txn), both(&txn, 50));
    }
}
