//! Transactions that append to lists and read them are strictly serializable.
//!
//! Sources: Kingsbury and Alvaro, "Elle: inferring isolation anomalies from experimental observations"
//! (2020), section 4 (recoverable versions of lists) and 5 (cycles and what they are called); Adya,
//! "Weak consistency: a generalized theory and optimistic implementations for distributed transactions"
//! (1999), chapter 3 (G0 to G2); Herlihy and Wing (1990) for the order of real time.
//!
//! Lists tell their history: the longest list that was read is the order of the appends to its key.
//! From it follow what was written after what (ww), who read whose append (wr), and who read before
//! whose append (rw); real time and processes add their orders. Strict serializability is that no
//! cycle is made of these edges. Cycles are looked for with few kinds of edges first, so that one is
//! called by the weakest promise that it breaks.

mod cycle;
mod graph;
mod infer;

use super::{Anomaly, Check, Verdict};
use crate::history::{History, Operation};
use cycle::{Cycle, cycles};
use infer::inferred;
use serde_json::Value;
use std::collections::BTreeMap;

/// Judges transactions of lists.
#[derive(Clone, Copy, Debug, Default)]
pub struct Append;

const NAME: &str = "append";

/// Anomalies that are shown of one kind.
const SHOWN: usize = 5;

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Appends this element to this list.
    Append(String, i64),
    /// Reads this list, and what it held if that is known.
    Read(String, Option<Vec<i64>>),
}

/// One transaction that may have happened.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Position in the history.
    pub operation: usize,
    /// Whose it was.
    pub process: u64,
    /// When it was asked for.
    pub invoked: u64,
    /// When it was over; `None` if its outcome is unknown.
    pub returned: Option<u64>,
    /// Its steps, in their order.
    pub steps: Vec<Step>,
}

/// What is wrong, by the name of the anomaly.
#[derive(Default)]
struct Findings {
    anomalies: Vec<Anomaly>,
    counts: BTreeMap<String, u64>,
}

impl Findings {
    fn add(&mut self, kind: &str, what: String, operations: impl IntoIterator<Item = usize>) {
        let count = self.counts.entry(kind.to_owned()).or_default();
        *count += 1;
        if *count <= SHOWN as u64 {
            self.anomalies.push(Anomaly::new(format!("{kind}: {what}"), operations));
        }
    }
}

impl Check for Append {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut unreadable = 0;
        let (mut transactions, mut failed) = (Vec::new(), Vec::new());
        for operation in history.operations.iter().filter(|operation| operation.f == "txn") {
            match steps(operation) {
                Some(steps) => {
                    let transaction = Transaction {
                        operation: operation.index,
                        process: operation.process,
                        invoked: operation.invoked,
                        returned: operation.returned(),
                        steps,
                    };
                    let list = if operation.is_possible() { &mut transactions } else { &mut failed };
                    list.push(transaction);
                }
                None => unreadable += 1,
            }
        }
        let mut findings = Findings::default();
        let edges = inferred(&transactions, &failed, &mut findings);
        for cycle in cycles(&edges) {
            let told = tell(&cycle, &transactions);
            let shown = cycle.edges.iter().map(|edge| transactions[edge.from].operation);
            findings.add(&cycle.name(), told, shown.collect::<Vec<_>>());
        }
        let acknowledged = transactions.iter().filter(|one| one.returned.is_some()).count();
        let kinds: Vec<&str> = findings.counts.keys().map(String::as_str).collect();
        let summary = match kinds.as_slice() {
            [] => format!("{acknowledged} transactions, strictly serializable"),
            kinds => format!("{acknowledged} transactions: {}", kinds.join(", ")),
        };
        let mut verdict = Verdict::of(NAME, summary, findings.anomalies)
            .unless_unread(unreadable + u64::from(acknowledged == 0))
            .count("transactions", acknowledged as u64)
            .count("unreadable", unreadable);
        for (kind, number) in findings.counts {
            verdict = verdict.count(&kind, number);
        }
        verdict
    }
}

/// The steps of a transaction: with results if it succeeded, as asked for if not.
fn steps(operation: &Operation) -> Option<Vec<Step>> {
    let told = if operation.is_ok() { &operation.output } else { &operation.input };
    told.as_array()?.iter().map(step).collect()
}

fn step(told: &Value) -> Option<Step> {
    let [name, key, value] = told.as_array()?.as_slice() else { return None };
    let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
    match name.as_str()? {
        "append" => Some(Step::Append(key, value.as_i64()?)),
        "r" if value.is_null() => Some(Step::Read(key, None)),
        "r" => {
            let elements = value.as_array()?.iter().map(Value::as_i64).collect::<Option<_>>()?;
            Some(Step::Read(key, Some(elements)))
        }
        _ => None,
    }
}

fn tell(cycle: &Cycle, transactions: &[Transaction]) -> String {
    let edges = cycle.edges.iter().map(|edge| {
        format!("{} -{}-> {}", transactions[edge.from].operation, edge.kind, transactions[edge.to].operation)
    });
    edges.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
