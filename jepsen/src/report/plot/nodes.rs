//! What was done to each node: killed, paused, cut off.

use super::fault_lanes::{classes, title};
use super::{Frame, Panel, place};
use crate::history::{FaultWindow, History};
use maud::{Markup, html};
use serde_json::Value;
use std::collections::BTreeSet;

const ROW: f64 = 18.0;

/// The plot: a line for each node, and one for faults that name none. `None` if no fault names a node.
pub fn draw(frame: &Frame) -> Option<Markup> {
    let history = frame.history();
    let nodes = nodes(history);
    let struck: Vec<(&FaultWindow, BTreeSet<&str>)> =
        history.faults_made().map(|fault| (fault, named(&fault.what, &nodes))).collect();
    if struck.iter().all(|(_, nodes)| nodes.is_empty()) {
        return None;
    }
    let has_other = struck.iter().any(|(_, nodes)| nodes.is_empty());
    let mut rows: Vec<&str> = nodes.iter().copied().collect();
    rows.extend(has_other.then_some("other"));
    let height = rows.len() as f64 * ROW;
    let classes = classes(history);
    let bar = |fault: &FaultWindow, row: usize| {
        let (left, right) = (frame.x(fault.began), frame.x(fault.ended.unwrap_or(history.end)));
        html! {
            rect class={ "bar " (classes[fault.fault.as_str()]) } x=(place(left)) y=(place(row as f64 * ROW + 3.0))
                width=(place((right - left).max(1.5))) height=(place(ROW - 6.0)) { title { (title(fault, history.end)) } }
        }
    };
    let marks = html! {
        @for (fault, nodes) in &struck {
            @for (row, _) in rows.iter().enumerate().filter(|(_, row)| is_in(row, nodes)) { (bar(fault, row)) }
        }
    };
    let ticks = rows
        .iter()
        .enumerate()
        .map(|(row, name)| (1.0 - (row as f64 + 0.5) / rows.len() as f64, (*name).to_owned()));
    let panel = Panel { name: String::new(), height, ticks: ticks.collect(), marks };
    Some(frame.draw("Faults by node", &[], &[panel]))
}

fn is_in(row: &str, nodes: &BTreeSet<&str>) -> bool {
    nodes.contains(row) || (nodes.is_empty() && row == "other")
}

/// The nodes that clients spoke to or faults name in the usual way, `n1`, `n2`.
fn nodes(history: &History) -> BTreeSet<&str> {
    let asked = history.operations.iter().filter_map(|operation| operation.node.as_deref());
    let mut nodes: BTreeSet<&str> = asked.collect();
    for fault in &history.faults {
        strings(&fault.what, &mut |text| {
            let number = text.strip_prefix('n').unwrap_or("");
            if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
                nodes.insert(text);
            }
        });
    }
    nodes
}

fn named<'h>(what: &'h Value, nodes: &BTreeSet<&'h str>) -> BTreeSet<&'h str> {
    let mut named = BTreeSet::new();
    strings(what, &mut |text| named.extend(nodes.get(text)));
    named
}

/// All strings in a value, names of fields included.
fn strings<'v>(value: &'v Value, take: &mut impl FnMut(&'v str)) {
    match value {
        Value::String(text) => take(text),
        Value::Array(values) => values.iter().for_each(|value| strings(value, take)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            take(name);
            strings(value, take);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{fault, operation, small};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fault_is_on_the_lines_of_the_nodes_that_it_names() {
        let mut cut = fault("cut", 1, 5);
        cut.what = json!({"from": ["n1"], "n3": {"loss": 3}, "why": "nightly"});
        let compact = fault("compact", 6, 6);
        let mut asked = operation("read", 0, 9);
        asked.node = Some("n2".into());
        let history = small(vec![asked.clone()], vec![cut, compact.clone()]);
        assert_eq!(nodes(&history).into_iter().collect::<Vec<_>>(), ["n1", "n2", "n3"]);
        let drawn = draw(&Frame::new(&history)).expect("a node is named").0;
        let bars = |drawn: &str| drawn.matches("<rect class=\"bar").count();
        assert_eq!(bars(&drawn), 2 + 3, "two in the strip, n1, n3 and other");
        assert!(draw(&Frame::new(&small(vec![asked], vec![compact]))).is_none());
    }
}
