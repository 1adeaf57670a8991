//! Short histories for the tests of checks, told one operation after the other.

use crate::history::line::FORMAT;
use crate::history::{Api, Failure, FailureKind, FaultWindow, Header, History, Operation, Outcome};
use serde_json::Value;

/// A history that is being told. Each operation takes the time from one ten to the next, unless it is
/// moved.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    history: History,
}

impl Story {
    /// Of this workload.
    pub(crate) fn of(workload: &str) -> Self {
        let header = Header {
            format: FORMAT,
            workload: workload.into(),
            nemesis: Vec::new(),
            api: Api::Native,
            server: "oarlock".into(),
            nodes: 3,
            seed: 1,
            seconds: 1,
            command: "oarlock-jepsen run".into(),
            began_unix_ms: 0,
        };
        Self {
            history: History {
                header,
                operations: Vec::new(),
                faults: Vec::new(),
                notes: Vec::new(),
                end: 0,
            },
        }
    }

    /// What was told.
    pub(crate) fn history(&self) -> History {
        self.history.clone()
    }

    /// The first line, to be changed.
    pub(crate) fn header(&mut self) -> &mut Header {
        &mut self.history.header
    }

    fn tell(&mut self, f: &str, key: &str, input: Value, output: Value, outcome: Outcome) -> usize {
        let index = self.history.operations.len();
        let invoked = self.history.end.next_multiple_of(10) + 1;
        let failure = match outcome {
            Outcome::Ok => None,
            Outcome::Fail => Some(Failure::new(FailureKind::Rejected, "no")),
            Outcome::Info => Some(Failure::new(FailureKind::Unknown, "reset")),
        };
        self.history.operations.push(Operation {
            index,
            process: index as u64,
            f: f.into(),
            key: (!key.is_empty()).then(|| key.into()),
            input,
            output,
            node: Some("n1".into()),
            invoked,
            ended: Some(invoked + 8),
            outcome,
            failure,
        });
        self.history.end = invoked + 9;
        index
    }

    /// One that happened.
    pub(crate) fn ok(&mut self, f: &str, key: &str, input: Value, output: Value) -> usize {
        self.tell(f, key, input, output, Outcome::Ok)
    }

    /// One that did not happen.
    pub(crate) fn fail(&mut self, f: &str, key: &str, input: Value) -> usize {
        self.tell(f, key, input, Value::Null, Outcome::Fail)
    }

    /// One that may have happened.
    pub(crate) fn info(&mut self, f: &str, key: &str, input: Value) -> usize {
        self.tell(f, key, input, Value::Null, Outcome::Info)
    }

    /// The operation, to be changed.
    pub(crate) fn at(&mut self, index: usize) -> &mut Operation {
        &mut self.history.operations[index]
    }

    /// Moves the last operation to this time.
    pub(crate) fn during(&mut self, invoked: u64, ended: u64) -> &mut Self {
        if let Some(operation) = self.history.operations.last_mut() {
            (operation.invoked, operation.ended) = (invoked, Some(ended));
        }
        self.history.end = self.history.end.max(ended);
        self
    }

    /// The last operation is this process's.
    pub(crate) fn by(&mut self, process: u64) -> &mut Self {
        if let Some(operation) = self.history.operations.last_mut() {
            operation.process = process;
        }
        self
    }

    /// The last operation asked this member.
    pub(crate) fn on(&mut self, node: &str) -> &mut Self {
        if let Some(operation) = self.history.operations.last_mut() {
            operation.node = Some(node.into());
        }
        self
    }

    /// A fault at this time.
    pub(crate) fn fault(&mut self, fault: &str, began: u64, ended: Option<u64>) -> &mut Self {
        let what = Value::Null;
        let effect = Value::Null;
        self.history.faults.push(FaultWindow { fault: fault.into(), began, ended, what, effect });
        self.history.end = self.history.end.max(ended.unwrap_or(began));
        self
    }
}
