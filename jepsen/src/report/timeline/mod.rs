//! The operations around an anomaly: processes as rows, time from left to right.
//!
//! Those that show the anomaly have numbers and their words; the others of the same objects are there
//! as far as they lie close in time. Long times in which none of the numbered begins or ends are cut out.

mod draw;
mod time;
pub mod words;

pub use draw::draw;

use crate::check::Anomaly;
use crate::history::{History, Operation};
use std::collections::{BTreeMap, BTreeSet};
use time::Time;

/// More operations of an anomaly than this are not drawn.
const CONCERNED_MAX: usize = 24;
/// Rows, those of the concerned operations included.
const ROWS_MAX: usize = 36;
/// Operations beside the concerned ones.
const OTHERS_MAX: usize = 400;

/// What is drawn of an anomaly.
pub struct Scene<'h> {
    history: &'h History,
    /// The operations that show it, in the order of their invocations.
    pub concerned: Vec<&'h Operation>,
    /// How many of them are left out.
    pub left_out: usize,
    others: Vec<&'h Operation>,
    rows: BTreeMap<u64, usize>,
    time: Time,
}

impl<'h> Scene<'h> {
    /// `None` if the anomaly names no operation.
    pub fn new(history: &'h History, anomaly: &Anomaly) -> Option<Self> {
        let indices: BTreeSet<usize> = anomaly.operations.iter().copied().collect();
        let mut concerned: Vec<&Operation> =
            indices.iter().filter_map(|&index| history.operations.get(index)).collect();
        let left_out = concerned.len().saturating_sub(CONCERNED_MAX);
        concerned.truncate(CONCERNED_MAX);
        let time = Time::around(&concerned, history.end)?;
        let keys: BTreeSet<Option<&str>> =
            concerned.iter().map(|operation| operation.key.as_deref()).collect();
        let mut rows: BTreeSet<u64> = concerned.iter().map(|operation| operation.process).collect();
        let mut others = Vec::new();
        for operation in &history.operations {
            let ended = operation.ended.unwrap_or(history.end);
            let is_near = keys.contains(&operation.key.as_deref()) && time.shows(operation.invoked, ended);
            if !is_near || indices.contains(&operation.index) || others.len() == OTHERS_MAX {
                continue;
            }
            if rows.len() < ROWS_MAX || rows.contains(&operation.process) {
                rows.insert(operation.process);
                others.push(operation);
            }
        }
        let rows = rows.into_iter().enumerate().map(|(row, process)| (process, row)).collect();
        Some(Self { history, concerned, left_out, others, rows, time })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fault, operation, small};
    use super::*;
    use serde_json::json;

    fn on(key: &str, process: u64, operation: Operation) -> Operation {
        Operation { key: Some(key.into()), process, ..operation }
    }

    #[test]
    fn a_scene_has_the_concerned_and_their_neighbours() {
        let mut write = on("a", 1, operation("write", 10_000, 14_000));
        write.input = json!({"value": "<b>"});
        let history = small(
            vec![
                on("a", 0, operation("read", 0, 100)),
                write,
                on("a", 2, operation("read", 11_000, 12_000)),
                on("b", 3, operation("read", 11_000, 12_000)),
                on("a", 4, operation("read", 9_000_000, 9_004_000)),
                on("a", 4, operation("read", 90_000_000, 90_004_000)),
            ],
            vec![fault("kill", 9_000, 20_000)],
        );
        let scene = Scene::new(&history, &Anomaly::new("stale", [4, 1, 4, 77])).expect("it has operations");
        let concerned: Vec<_> = scene.concerned.iter().map(|operation| operation.index).collect();
        assert_eq!((concerned, scene.left_out), (vec![1, 4], 0));
        let others: Vec<_> = scene.others.iter().map(|operation| operation.index).collect();
        assert_eq!(others, [2], "the same object, near in time");
        assert_eq!(scene.rows, BTreeMap::from([(1, 0), (2, 1), (4, 2)]));
        let drawn = draw(&scene).0;
        assert_eq!(drawn.matches("class=\"op ok hot\"").count(), 2);
        assert!(drawn.contains("&lt;b&gt;") && drawn.contains("kill"), "{drawn}");
        assert!(drawn.contains("8.98"), "the time that is cut out is said: {drawn}");
        assert!(Scene::new(&history, &Anomaly::new("stale", [])).is_none());
    }
}
