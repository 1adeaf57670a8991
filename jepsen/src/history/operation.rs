//! Operations and faults, each from its beginning to its end.

use super::line::Failure;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What came of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It happened between its invocation and its return.
    Ok,
    /// It did not happen and never will.
    Fail,
    /// It may have happened at any time since its invocation, or may yet.
    Info,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Position among the history's operations.
    pub index: usize,
    /// Which client; no process has two operations at a time.
    pub process: u64,
    /// Its name in its workload.
    pub f: String,
    /// The object that it was done to.
    pub key: Option<String>,
    /// Its arguments.
    pub input: Value,
    /// Its results; null unless it is [`Outcome::Ok`].
    pub output: Value,
    /// The member that was asked.
    pub node: Option<String>,
    /// When it was invoked, in microseconds since the run began.
    pub invoked: u64,
    /// When the client stopped waiting; `None` if the run ended before.
    pub ended: Option<u64>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why there is no result.
    pub failure: Option<Failure>,
}

impl Operation {
    /// The end of the time within which it took effect, if it did; `None` when that is open.
    pub fn returned(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Ok | Outcome::Fail => self.ended,
            Outcome::Info => None,
        }
    }

    /// Whether it happened.
    pub fn is_ok(&self) -> bool {
        self.outcome == Outcome::Ok
    }

    /// Whether it may have happened.
    pub fn is_possible(&self) -> bool {
        self.outcome != Outcome::Fail
    }

    /// The arguments, as the workload's type; `None` if they are of another form.
    pub fn input<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(&self.input).ok()
    }

    /// The results, as the workload's type; `None` if there are none, or of another form.
    pub fn output<T: DeserializeOwned>(&self) -> Option<T> {
        if self.is_ok() { T::deserialize(&self.output).ok() } else { None }
    }
}

/// A fault, from its beginning to its healing.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultWindow {
    /// The fault's name.
    pub fault: String,
    /// When it was there, in microseconds since the run began.
    pub began: u64,
    /// When it was healed; `None` if it was not, or has no duration.
    pub ended: Option<u64>,
    /// What was done, and to whom.
    pub what: Value,
    /// What its maker saw of it when it ended: packets dropped, bytes lost. Null if nothing.
    pub effect: Value,
}

/// Something that was seen in a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// What it is about.
    pub name: String,
    /// When, in microseconds since the run began.
    pub at: u64,
    /// What was seen.
    pub what: Value,
}
