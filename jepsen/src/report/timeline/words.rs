//! Operations in few words.

use crate::history::{Operation, Outcome};
use serde_json::Value;

/// Fields that a reader knows or does not need.
const DULL: [&str; 1] = ["consistency"];

/// What was asked.
pub fn input(operation: &Operation) -> String {
    let input = short(&operation.input);
    if input.is_empty() { operation.f.clone() } else { format!("{} {input}", operation.f) }
}

/// What came of it.
pub fn result(operation: &Operation) -> String {
    match (operation.outcome, &operation.failure) {
        (Outcome::Ok, _) => short(&operation.output),
        (Outcome::Fail, None) => "failed".to_owned(),
        (Outcome::Info, None) => "unknown".to_owned(),
        (_, Some(failure)) => failure.to_string(),
    }
}

/// Both, of at most so many letters.
pub fn both(operation: &Operation, letters: usize) -> String {
    let result = match operation.outcome {
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
        assert_eq!(both(&txn, 50), r#"txn [["r","é",null]] → ?"#);
        assert_eq!((input(&txn), result(&txn)), (r#"txn [["r","é",null]]"#.into(), "unknown".into()));
    }
}
