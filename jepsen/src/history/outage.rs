//! How long nothing could be written.

use super::{History, Operation};

/// A fault is held to account for outages that begin up to this long after its end, in microseconds:
/// healing a network may bring an election, and a fault of a moment shows only after it.
const SETTLE: u64 = 1_000_000;

/// Operations that write nothing. All others are writes, except transactions that only read.
const READS: [&str; 11] =
    ["read", "look", "observe", "watch", "keepalive", "held", "confirm", "drain", "init", "grant", "digest"];

/// The times between one successful write and the next.
///
/// A write succeeds when its answer comes. The first time begins when the first write is invoked,
/// and the last one ends when the last write ends, whatever came of it: after that the workload
/// wrote nothing, so that silence is not an outage.
pub struct Outages {
    /// From and to, in microseconds since the run began; each begins where the one before ends.
    times: Vec<(u64, u64)>,
}

impl Outages {
    /// Those of a history.
    pub fn of(history: &History) -> Self {
        let writes = || history.operations.iter().filter(|operation| is_write(operation));
        let mut moments: Vec<u64> =
            writes().filter(|write| write.is_ok()).filter_map(|write| write.ended).collect();
        moments.extend(writes().map(|write| write.invoked).min());
        moments.extend(writes().map(|write| write.ended.unwrap_or(history.end)).max());
        moments.sort_unstable();
        Self { times: moments.windows(2).map(|pair| (pair[0], pair[1])).collect() }
    }

    /// The longest of the run, in microseconds; `None` if nothing is written.
    pub fn longest(&self) -> Option<u64> {
        longest(&self.times)
    }

    /// The longest that a fault in this time may have caused; `None` if nothing is written meanwhile.
    pub fn longest_touching(&self, began: u64, ended: u64) -> Option<u64> {
        let first = self.times.partition_point(|&(_, to)| to < began);
        let after = self.times.partition_point(|&(from, _)| from <= ended.saturating_add(SETTLE));
        longest(&self.times[first..after.max(first)])
    }
}

fn longest(times: &[(u64, u64)]) -> Option<u64> {
    times.iter().map(|(from, to)| to - from).max()
}

/// Whether an operation writes, if it happens.
pub fn is_write(operation: &Operation) -> bool {
    if operation.f != "txn" {
        return !READS.contains(&operation.f.as_str());
    }
    let steps = operation.input.as_array();
    steps.is_none_or(|steps| steps.iter().any(|step| step.get(0).is_none_or(|name| name != "r")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Outcome;
    use crate::report::testing::{fault, operation, small};
    use serde_json::json;

    #[test]
    fn an_outage_lasts_from_one_answer_to_the_next() {
        let second = 1_000_000;
        let mut late = operation("write", 20 * second, 30 * second);
        late.outcome = Outcome::Info;
        let history = small(
            vec![
                operation("write", second, 2 * second),
                operation("read", 3 * second, 4 * second),
                operation("write", 5 * second, 9 * second),
                operation("write", 9 * second, 10 * second),
                late,
                operation("read", 31 * second, 99 * second),
            ],
            vec![fault("kill", 3 * second, 4 * second)],
        );
        let outages = Outages::of(&history);
        assert_eq!(outages.longest(), Some(20 * second), "to the end of the last that was tried");
        assert_eq!(outages.longest_touching(3 * second, 4 * second), Some(7 * second));
        assert_eq!(outages.longest_touching(9_500_000, 9_600_000), Some(20 * second), "it settles");
        assert_eq!(outages.longest_touching(0, 100), Some(second));
        assert_eq!(outages.longest_touching(50 * second, 60 * second), None);
    }

    #[test]
    fn a_transaction_that_only_reads_is_no_write() {
        let mut txn = operation("txn", 0, 1);
        txn.input = json!([["r", "a", null], ["r", "b", null]]);
        assert!(!is_write(&txn));
        txn.input = json!([["r", "a", null], ["append", "b", 1]]);
        assert!(is_write(&txn));
        assert!(is_write(&operation("enqueue", 0, 1)) && !is_write(&operation("digest", 0, 1)));
    }
}
