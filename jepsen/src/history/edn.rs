//! Histories in Jepsen's own form, for its checkers: Knossos reads registers, Elle reads appends.
//!
//! A file is of lines, each one map in [EDN](https://github.com/edn-format/edn) with `:index`, `:time`
//! (nanoseconds), `:type`, `:process`, `:f` and `:value`, and where there are any `:key`, `:node` and
//! `:error`. Faults are of the process `:nemesis`; one with a duration has two lines, `:start-…` and
//! `:stop-…`.
//!
//! * An operation on a **register** has its plain value: `nil`, `3`, `[1 2]` for a compare-and-set.
//!   A register that is not there has the value `:absent`, since Knossos takes `nil` for "not known";
//!   a delete is a write of it, and so is the first operation of each key, which the run did not do. A
//!   compare-and-set that did not swap is a `:fail`. Reads that may be stale are left out, as Knossos
//!   has no model for them. It judges one object at a time: choose a key.
//! * A **transaction of appends** is `[[:append "k1" 5] [:r "k2" [1 2]]]`.
//! * All else keeps its form: JSON's objects become maps of keywords.

use super::{FailureKind, FaultWindow, History, Operation, Outcome, SKIPPED};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};

/// The value of a register that is not there.
const ABSENT: &str = ":absent";
/// Workloads whose objects are registers.
const REGISTERS: [&str; 2] = ["register", "snapshot"];

/// Writes a history, or what happened to one key of it.
///
/// # Errors
/// Those of the writer.
pub fn write(history: &History, key: Option<&str>, to: &mut impl Write) -> io::Result<()> {
    let is_register = REGISTERS.contains(&history.header.workload.as_str());
    let mut lines = Lines { to, index: 0, is_register };
    let chosen = |operation: &&Operation| key.is_none_or(|key| operation.key.as_deref() == Some(key));
    let operations: Vec<&Operation> =
        history.operations.iter().filter(chosen).filter(|operation| !is_stale_read(operation)).collect();
    if is_register {
        lines.absent_at_first(&operations)?;
    }
    for event in in_order(&operations, &history.faults) {
        match event {
            Event::Invoked(operation) => lines.operation(operation, operation.invoked, false)?,
            Event::Ended(operation) => {
                lines.operation(operation, operation.ended.unwrap_or(operation.invoked), true)?;
            }
            Event::Began(fault) => lines.fault("start-", fault, fault.began, &fault.what)?,
            Event::Healed(fault) => {
                lines.fault("stop-", fault, fault.ended.unwrap_or(fault.began), &fault.effect)?;
            }
            Event::Struck(fault) => lines.fault("", fault, fault.began, &fault.what)?,
        }
    }
    Ok(())
}

fn is_stale_read(operation: &Operation) -> bool {
    operation.f == "read" && operation.input.get("consistency").is_some_and(|level| level == "serializable")
}

enum Event<'h> {
    Invoked(&'h Operation),
    Ended(&'h Operation),
    Began(&'h FaultWindow),
    Healed(&'h FaultWindow),
    Struck(&'h FaultWindow),
}

/// All beginnings and ends in the order of time. Of two in one microsecond a beginning comes before an
/// end, which makes them concurrent, since it is not known which came first; but a process ends one
/// operation before it begins the next.
fn in_order<'h>(operations: &[&'h Operation], faults: &'h [FaultWindow]) -> Vec<Event<'h>> {
    let mut events: Vec<(u64, Event)> = Vec::with_capacity(operations.len() * 2 + faults.len() * 2);
    let mut pending: BTreeSet<(u64, usize)> = BTreeSet::new();
    let mut busy: BTreeMap<u64, usize> = BTreeMap::new();
    for (at, operation) in operations.iter().enumerate() {
        while let Some(&(ended, which)) = pending.first().filter(|(ended, _)| *ended < operation.invoked) {
            pending.pop_first();
            events.push((ended, Event::Ended(operations[which])));
        }
        let before =
            busy.insert(operation.process, at).and_then(|which| operations[which].ended.zip(Some(which)));
        if let Some((ended, which)) = before.filter(|entry| pending.remove(entry)) {
            events.push((ended, Event::Ended(operations[which])));
        }
        events.push((operation.invoked, Event::Invoked(operation)));
        pending.extend(operation.ended.map(|ended| (ended, at)));
    }
    events.extend(pending.into_iter().map(|(ended, which)| (ended, Event::Ended(operations[which]))));
    for fault in faults {
        if fault.ended == Some(fault.began) || fault.fault == SKIPPED {
            events.push((fault.began, Event::Struck(fault)));
            continue;
        }
        events.push((fault.began, Event::Began(fault)));
        events.extend(fault.ended.map(|ended| (ended, Event::Healed(fault))));
    }
    events.sort_by_key(|(time, _)| *time); // stable: the order within a microsecond stays
    events.into_iter().map(|(_, event)| event).collect()
}

struct Lines<'w, W> {
    to: &'w mut W,
    index: usize,
    is_register: bool,
}

impl<W: Write> Lines<'_, W> {
    fn line(&mut self, time: u64, kind: &str, process: &str, f: &str, rest: &str) -> io::Result<()> {
        let (index, nanoseconds) = (self.index, u128::from(time) * 1000);
        self.index += 1;
        let f = keyword(f);
        writeln!(
            self.to,
            "{{:index {index}, :time {nanoseconds}, :type :{kind}, :process {process}, :f {f}{rest}}}"
        )
    }

    /// A write of nothing to each key, before all else, by a process that the run did not have.
    fn absent_at_first(&mut self, operations: &[&Operation]) -> io::Result<()> {
        let process = operations.iter().map(|operation| operation.process + 1).max().unwrap_or(0).to_string();
        let keys: BTreeSet<Option<&str>> =
            operations.iter().map(|operation| operation.key.as_deref()).collect();
        for key in keys {
            let mut rest = String::new();
            put_key(&mut rest, key);
            let _ = write!(rest, ", :value {ABSENT}");
            self.line(0, "invoke", &process, "write", &rest)?;
            self.line(0, "ok", &process, "write", &rest)?;
        }
        Ok(())
    }

    fn operation(&mut self, operation: &Operation, time: u64, is_end: bool) -> io::Result<()> {
        let unswapped = operation.output.get("swapped") == Some(&Value::Bool(false));
        let kind = match operation.outcome {
            _ if !is_end => "invoke",
            Outcome::Ok if operation.f == "cas" && unswapped => "fail",
            Outcome::Ok => "ok",
            Outcome::Fail => "fail",
            Outcome::Info => "info",
        };
        let mut rest = String::new();
        put_key(&mut rest, operation.key.as_deref());
        rest.push_str(", :value ");
        let result = is_end && operation.is_ok();
        // Jepsen's sets and counters want the argument of an `:add` in its end too.
        let keeps_argument = operation.f == "add" && operation.input.is_number();
        let value = if result && !keeps_argument { &operation.output } else { &operation.input };
        let registers = self.is_register.then(|| put_register_operation(&mut rest, operation, result));
        let f = registers.flatten().unwrap_or(&operation.f);
        match operation.f.as_str() {
            "txn" => put_transaction(&mut rest, value),
            _ if registers.flatten().is_none() => put(&mut rest, value),
            _ => {}
        }
        if let Some(node) = &operation.node {
            let _ = write!(rest, ", :node {}", quoted(node));
        }
        if let Some(failure) = operation.failure.as_ref().filter(|_| is_end) {
            let kind = match failure.kind {
                FailureKind::NotProposed => ":not-proposed",
                FailureKind::Rejected => ":rejected",
                FailureKind::Unknown => ":unknown",
                FailureKind::Untyped => ":untyped",
            };
            let _ = write!(rest, ", :error [{kind} {}]", quoted(&failure.text));
        }
        self.line(time, kind, &operation.process.to_string(), f, &rest)
    }

    fn fault(&mut self, edge: &str, fault: &FaultWindow, time: u64, value: &Value) -> io::Result<()> {
        let mut rest = ", :value ".to_owned();
        put(&mut rest, value);
        self.line(time, "info", ":nemesis", &format!("{edge}{}", fault.fault), &rest)
    }
}

fn put_key(text: &mut String, key: Option<&str>) {
    if let Some(key) = key {
        let _ = write!(text, ", :key {}", quoted(key));
    }
}

/// A register's operation as a plain value, and the name that it goes by; `None` for other operations.
fn put_register_operation(text: &mut String, operation: &Operation, result: bool) -> Option<&'static str> {
    let input = |name: &str| operation.input.get(name).unwrap_or(&Value::Null);
    match operation.f.as_str() {
        "read" if result => put_register(text, operation.output.get("value").unwrap_or(&Value::Null)),
        "read" => text.push_str("nil"),
        "write" => put_register(text, input("value")),
        "cas" => {
            text.push('[');
            put_register(text, input("expected"));
            text.push(' ');
            put_register(text, input("new"));
            text.push(']');
        }
        "delete" => text.push_str(ABSENT),
        _ => return None,
    }
    match operation.f.as_str() {
        "read" => Some("read"),
        "cas" => Some("cas"),
        _ => Some("write"),
    }
}

fn put_register(text: &mut String, value: &Value) {
    if value.is_null() { text.push_str(ABSENT) } else { put(text, value) }
}

/// The names of a transaction's steps are keywords.
fn put_transaction(text: &mut String, steps: &Value) {
    let Some(steps) = steps.as_array() else { return put(text, steps) };
    text.push('[');
    for (at, step) in steps.iter().enumerate() {
        text.push_str(if at > 0 { " " } else { "" });
        match step.as_array().and_then(|step| Some((step.first()?.as_str()?, &step[1..]))) {
            Some((name, rest)) => {
                let _ = write!(text, "[{}", keyword(name));
                for value in rest {
                    text.push(' ');
                    put(text, value);
                }
                text.push(']');
            }
            None => put(text, step),
        }
    }
    text.push(']');
}

/// Any JSON value.
fn put(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("nil"),
        Value::Bool(_) => text.push_str(&value.to_string()),
        Value::Number(number) => put_number(text, number),
        Value::String(string) => text.push_str(&quoted(string)),
        Value::Array(values) => {
            text.push('[');
            for (at, value) in values.iter().enumerate() {
                text.push_str(if at > 0 { " " } else { "" });
                put(text, value);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            text.push('{');
            for (at, (name, value)) in fields.iter().enumerate() {
                text.push_str(if at > 0 { ", " } else { "" });
                text.push_str(&keyword(name));
                text.push(' ');
                put(text, value);
            }
            text.push('}');
        }
    }
}

/// Beyond 64 signed bits a whole number of EDN needs an `N`.
fn put_number(text: &mut String, number: &serde_json::Number) {
    let _ = write!(text, "{number}");
    if number.is_u64() && !number.is_i64() {
        text.push('N');
    }
}

/// A keyword if the name can be one, else a string.
fn keyword(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.?!*+".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if begins && name.chars().all(fits) { format!(":{name}") } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // EDN has no other escape that every reader knows, so they are told by code point.
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Failure;
    use crate::report::testing::{fault, operation, small};
    use serde_json::json;

    fn edn(
        workload: &str,
        key: Option<&str>,
        operations: Vec<Operation>,
        faults: Vec<FaultWindow>,
    ) -> String {
        let mut history = small(operations, faults);
        history.header.workload = workload.to_owned();
        let mut bytes = Vec::new();
        write(&history, key, &mut bytes).expect("memory takes it");
        String::from_utf8(bytes).expect("it is text")
    }

    fn of(process: u64, key: &str, input: Value, output: Value, operation: Operation) -> Operation {
        Operation { process, key: Some(key.to_owned()), input, output, ..operation }
    }

    #[test]
    fn a_register_has_plain_values() {
        let read = json!({"consistency": "linearizable"});
        let mut lost = of(2, "a", json!({"value": 4}), Value::Null, operation("write", 20, 90));
        lost.outcome = Outcome::Info;
        lost.failure = Some(Failure::new(FailureKind::Unknown, "connection \"x\" reset"));
        let unswapped = json!({"expected": null, "new": 2});
        let operations = vec![
            of(0, "a", json!({"value": 3}), json!({"revision": 1}), operation("write", 1, 5)),
            of(1, "a", read.clone(), json!({"value": null, "mod": 0, "at": 0}), operation("read", 2, 5)),
            of(1, "a", read.clone(), json!({"value": 3, "mod": 1, "at": 1}), operation("read", 5, 7)),
            of(
                1,
                "a",
                json!({"consistency": "serializable"}),
                json!({"value": null}),
                operation("read", 8, 9),
            ),
            of(1, "a", unswapped, json!({"swapped": false}), operation("cas", 10, 11)),
            of(1, "a", json!({"expected": 3, "new": 2}), json!({"swapped": true}), operation("cas", 12, 13)),
            of(1, "a", json!({}), json!({"revision": 3, "existed": true}), operation("delete", 14, 15)),
            of(0, "b", json!({"value": 7}), json!({"revision": 4}), operation("write", 16, 17)),
            lost,
        ];
        let mut kill = fault("kill", 18, 19);
        kill.what = json!(["n1"]);
        let faults = vec![kill];
        let expected = r#"{:index 0, :time 0, :type :invoke, :process 3, :f :write, :key "a", :value :absent}
{:index 1, :time 0, :type :ok, :process 3, :f :write, :key "a", :value :absent}
{:index 2, :time 1000, :type :invoke, :process 0, :f :write, :key "a", :value 3}
{:index 3, :time 2000, :type :invoke, :process 1, :f :read, :key "a", :value nil}
{:index 4, :time 5000, :type :ok, :process 1, :f :read, :key "a", :value :absent}
{:index 5, :time 5000, :type :invoke, :process 1, :f :read, :key "a", :value nil}
{:index 6, :time 5000, :type :ok, :process 0, :f :write, :key "a", :value 3}
{:index 7, :time 7000, :type :ok, :process 1, :f :read, :key "a", :value 3}
{:index 8, :time 10000, :type :invoke, :process 1, :f :cas, :key "a", :value [:absent 2]}
{:index 9, :time 11000, :type :fail, :process 1, :f :cas, :key "a", :value [:absent 2]}
{:index 10, :time 12000, :type :invoke, :process 1, :f :cas, :key "a", :value [3 2]}
{:index 11, :time 13000, :type :ok, :process 1, :f :cas, :key "a", :value [3 2]}
{:index 12, :time 14000, :type :invoke, :process 1, :f :write, :key "a", :value :absent}
{:index 13, :time 15000, :type :ok, :process 1, :f :write, :key "a", :value :absent}
{:index 14, :time 18000, :type :info, :process :nemesis, :f :start-kill, :value ["n1"]}
{:index 15, :time 19000, :type :info, :process :nemesis, :f :stop-kill, :value nil}
{:index 16, :time 20000, :type :invoke, :process 2, :f :write, :key "a", :value 4}
{:index 17, :time 90000, :type :info, :process 2, :f :write, :key "a", :value 4, :error [:unknown "connection \"x\" reset"]}
"#;
        assert_eq!(edn("register", Some("a"), operations.clone(), faults), expected);
        let all = edn("register", None, operations, vec![]);
        assert!(all.contains(r#":key "b", :value :absent}"#) && all.contains(r#":key "b", :value 7}"#));
    }

    #[test]
    fn transactions_are_lists_of_steps() {
        let mut txn = operation("txn", 1, 5);
        txn.input = json!([["append", "k1", 5], ["r", "k\n2", null]]);
        txn.output = json!([["append", "k1", 5], ["r", "k\n2", [1, 2]]]);
        txn.node = Some("n1".into());
        let mut pending = operation("txn", 2, 9);
        (pending.process, pending.ended, pending.outcome) = (1, None, Outcome::Info);
        pending.input = json!([["r", "k1", null]]);
        let mut compact = fault("compact", 3, 3);
        compact.what = json!({"revision": 18446744073709551615u64, "of all": true});
        let expected = r#"{:index 0, :time 1000, :type :invoke, :process 0, :f :txn, :value [[:append "k1" 5] [:r "k\n2" nil]], :node "n1"}
{:index 1, :time 2000, :type :invoke, :process 1, :f :txn, :value [[:r "k1" nil]]}
{:index 2, :time 3000, :type :info, :process :nemesis, :f :compact, :value {"of all" true, :revision 18446744073709551615N}}
{:index 3, :time 5000, :type :ok, :process 0, :f :txn, :value [[:append "k1" 5] [:r "k\n2" [1 2]]], :node "n1"}
"#;
        assert_eq!(edn("append", None, vec![txn, pending], vec![compact]), expected);
    }

    #[test]
    fn an_addition_ends_with_what_was_added() {
        let mut add = operation("add", 1, 2);
        (add.input, add.output) = (json!(5), json!({"revision": 9}));
        let mut read = operation("read", 3, 4);
        (read.input, read.output) = (json!({"final": true}), json!([5]));
        let expected = r#"{:index 0, :time 1000, :type :invoke, :process 0, :f :add, :value 5}
{:index 1, :time 2000, :type :ok, :process 0, :f :add, :value 5}
{:index 2, :time 3000, :type :invoke, :process 0, :f :read, :value {:final true}}
{:index 3, :time 4000, :type :ok, :process 0, :f :read, :value [5]}
"#;
        assert_eq!(edn("set", None, vec![add, read], vec![]), expected);
    }

    #[test]
    fn other_values_keep_their_form_and_strings_are_quoted() {
        let mut one = operation("acquire now", 1, 2);
        one.input = json!({"session": -7, "2nd": 1.5, "text": "a\\\"\u{1}é\t\r"});
        let expected = r#"{:index 0, :time 1000, :type :invoke, :process 0, :f "acquire now", :value {"2nd" 1.5, :session -7, :text "a\\\"\u0001é\t\r"}}"#;
        assert_eq!(edn("lock", None, vec![one], vec![]).lines().next(), Some(expected));
    }
}
