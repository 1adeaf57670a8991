//! txn: a transaction written as text.
//!
//! ```text
//! mod("/lock") = 0          conditions, all must hold
//!
//! put /lock me              what to do then
//! get /config
//!
//! get /lock                 what to do otherwise
//! ```

use crate::args::{Common, TxnArgs};
use crate::failure::Failure;
use crate::output::{self, say};
use crate::text;
use oarlock_client::wire::{Compare, Op, OpResult, op_result::Result as Kind};
use oarlock_client::{KeyValue, TxnOutcome, compare, op, prefix};
use serde_json::{Value, json};
use std::io::Read;
use std::process::ExitCode;

/// Runs the transaction of a file or of standard input. The exit code is 4 when a condition did not
/// hold; the other branch has run then.
pub async fn run(common: &Common, args: TxnArgs) -> Result<ExitCode, Failure> {
    let script = Script::parse(&read(&args)?)?;
    let mut txn = common.connect().await?.txn();
    for guard in &args.guard {
        txn = txn.guard(text::token(guard)?);
    }
    for condition in script.conditions {
        txn = txn.when(condition);
    }
    for op in script.then {
        txn = txn.then(op);
    }
    for op in script.otherwise {
        txn = txn.otherwise(op);
    }
    let outcome = txn.await?;
    print(common, &outcome);
    Ok(if outcome.succeeded { ExitCode::SUCCESS } else { ExitCode::from(4) })
}

fn read(args: &TxnArgs) -> Result<String, Failure> {
    match args.file.as_deref().filter(|file| file.as_os_str() != "-") {
        Some(file) => std::fs::read_to_string(file).map_err(|error| Failure::local("read", file, error)),
        None => {
            let mut script = String::new();
            let read = std::io::stdin().lock().read_to_string(&mut script);
            read.map_err(|error| Failure::Local(format!("cannot read standard input: {error}")))?;
            Ok(script)
        }
    }
}

/// A parsed transaction.
#[derive(Debug, Default)]
struct Script {
    conditions: Vec<Compare>,
    then: Vec<Op>,
    otherwise: Vec<Op>,
}

impl Script {
    fn parse(script: &str) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        let mut part = 0;
        for (number, line) in script.lines().enumerate() {
            let line = line.trim();
            let wrong = |what: String| Failure::Usage(format!("line {}: {what}", number + 1));
            match (line.is_empty(), part) {
                (true, _) => part += 1,
                (false, _) if line.starts_with('#') => {}
                (false, 0) => parsed.conditions.push(condition(line).map_err(wrong)?),
                (false, 1) => parsed.then.push(operation(line).map_err(wrong)?),
                (false, 2) => parsed.otherwise.push(operation(line).map_err(wrong)?),
                (false, _) => return Err(wrong("a transaction has three parts; this is a fourth".into())),
            }
        }
        if parsed.conditions.is_empty() && parsed.then.is_empty() {
            let what = "the transaction has neither conditions nor operations; see `oarlock txn --help`";
            return Err(Failure::Usage(what.into()));
        }
        Ok(parsed)
    }
}

/// `FIELD("KEY") OP OPERAND`.
fn condition(line: &str) -> Result<Compare, String> {
    let form = || format!("{line:?} is not a condition such as mod(\"/key\") = 7");
    let (field, rest) = line.split_once('(').ok_or_else(form)?;
    let (key, rest) = quoted(rest.trim_start()).ok_or_else(form)?;
    let rest = rest.trim_start().strip_prefix(')').ok_or_else(form)?.trim();
    let (operator, operand) = ["!=", "=", "<", ">"]
        .into_iter()
        .find_map(|operator| rest.strip_prefix(operator).map(|operand| (operator, operand.trim())))
        .ok_or_else(form)?;
    if field.trim() == "value" {
        let (operand, _) = quoted(operand).ok_or_else(|| format!("{operand} is not in quotes"))?;
        return Ok(with(compare::value(key), operator, operand.into()));
    }
    let number: u64 = operand.parse().map_err(|_| format!("{operand:?} is not a number"))?;
    let left = match field.trim() {
        "version" => compare::version(key),
        "create" => compare::create_revision(key),
        "mod" => compare::mod_revision(key),
        "owner" => compare::owner(key),
        "count" => compare::count(prefix(key)),
        other => return Err(format!("{other:?} is none of value, version, create, mod, owner, count")),
    };
    Ok(with(left, operator, number))
}

fn with<V>(left: compare::Left<V>, operator: &str, right: V) -> Compare {
    match operator {
        "=" => left.eq(right),
        "!=" => left.ne(right),
        "<" => left.lt(right),
        _ => left.gt(right),
    }
}

/// A JSON string at the start of `text`, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let string = strings.next()?.ok()?;
    Some((string, &text[strings.byte_offset()..]))
}

/// A word (in quotes if it holds spaces), and what follows it.
fn word(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    if text.starts_with('"') {
        return quoted(text);
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
}

fn operation(line: &str) -> Result<Op, String> {
    let form = |form: &str| format!("{line:?} is not of the form `{form}`");
    let (verb, rest) = word(line).ok_or_else(|| form("VERB KEY …"))?;
    let (key, rest) = word(rest).ok_or_else(|| form("VERB KEY …"))?;
    let operand = word(rest).map(|(operand, _)| operand);
    let needs = |what: &'static str| operand.clone().ok_or_else(|| form(what));
    Ok(match verb.as_str() {
        "put" => op::put(key, needs("put KEY VALUE")?),
        "get" => op::get(key),
        "ls" => op::range(prefix(key)),
        "delete" => op::delete(key),
        "delete-prefix" => op::delete(prefix(key)),
        "add" => {
            let delta = needs("add KEY N")?;
            op::add(key, delta.parse().map_err(|_| format!("{delta:?} is not a number"))?)
        }
        "append" => op::append(key, needs("append KEY TEXT")?),
        other => {
            return Err(format!("{other:?} is none of put, get, ls, delete, delete-prefix, add, append"));
        }
    })
}

fn print(common: &Common, outcome: &TxnOutcome) {
    if common.is_json() {
        let results: Vec<Value> = outcome.results.iter().map(as_json).collect();
        let (succeeded, revision) = (outcome.succeeded, outcome.revision);
        output::line(&json!({ "succeeded": succeeded, "revision": revision, "results": results }));
        return;
    }
    say!("{}, revision {}", if outcome.succeeded { "succeeded" } else { "failed" }, outcome.revision);
    for result in &outcome.results {
        for line in lines(result) {
            say!("{line}");
        }
    }
}

fn lines(result: &OpResult) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match &result.result {
        Some(Kind::Range(range)) if range.records.is_empty() => vec!["(nothing)".into()],
        Some(Kind::Range(range)) => {
            let line = |record: &_| output::record_text(&KeyValue::from(Clone::clone(record)), false);
            range.records.iter().map(line).collect()
        }
        Some(Kind::Put(_)) => vec!["put".into()],
        Some(Kind::Delete(delete)) => vec![format!("deleted {}", delete.deleted)],
        Some(Kind::UpdatedValue(value)) => vec![text(value)],
        Some(Kind::SequentialKey(key)) => vec![text(key)],
        Some(Kind::Txn(txn)) => txn.results.iter().flat_map(lines).collect(),
        None => Vec::new(),
    }
}

fn as_json(result: &OpResult) -> Value {
    match &result.result {
        Some(Kind::Range(range)) => {
            let record = |record: &_| output::record(&KeyValue::from(Clone::clone(record)));
            json!({ "records": range.records.iter().map(record).collect::<Vec<_>>(), "more": range.more })
        }
        Some(Kind::Delete(delete)) => json!({ "deleted": delete.deleted }),
        Some(Kind::UpdatedValue(value)) => json!({ "value": String::from_utf8_lossy(value) }),
        Some(Kind::SequentialKey(key)) => json!({ "key": String::from_utf8_lossy(key) }),
        Some(Kind::Txn(txn)) => {
            let results: Vec<Value> = txn.results.iter().map(as_json).collect();
            json!({ "succeeded": txn.succeeded, "results": results })
        }
        Some(Kind::Put(_)) | None => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_are_conditions_and_two_branches() {
        let script = "# only if free\nmod(\"/lock\") = 0\nvalue(\"/x\") != \"a b\"\n\nput /lock \"it is me\"\nadd /n -1\n\nget /lock\n";
        let parsed = Script::parse(script).expect("well-formed");
        assert_eq!((parsed.conditions.len(), parsed.then.len(), parsed.otherwise.len()), (2, 2, 1));
        assert_eq!(parsed.then[0], op::put("/lock", "it is me"));
        assert_eq!(parsed.then[1], op::add("/n", -1));
        assert_eq!(parsed.conditions[0], compare::mod_revision("/lock").eq(0_u64));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        for (script, line) in [("mod(/k) = 1", 1), ("\nput /k", 2), ("\n\nfly /k", 3), ("\n\n\nget /k", 4)] {
            let error = Script::parse(script).expect_err("malformed").to_string();
            assert!(error.starts_with(&format!("line {line}:")), "{error}");
        }
    }
}
