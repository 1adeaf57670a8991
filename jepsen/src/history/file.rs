//! Whole histories, read from a file.

use super::line::{FORMAT, Header, Kind, Line, Who};
use super::operation::{FaultWindow, Note, Operation, Outcome};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;
use thiserror::Error;

/// Name of the window of a fault that could not be made.
pub const SKIPPED: &str = "skipped";

/// What is noted in a moment and is no fault: a server that ended, the end of all faults, clients that
/// do not stop.
const NOTES: [&str; 3] = ["exit", "healed", "stuck"];

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct History {
    /// What the run was.
    pub header: Header,
    /// In the order of their invocations.
    pub operations: Vec<Operation>,
    /// In the order of their beginnings.
    pub faults: Vec<FaultWindow>,
    /// What the nemesis saw besides.
    pub notes: Vec<Note>,
    /// Time of the last line, in microseconds since the run began.
    pub end: u64,
}

/// A file that is no history.
#[derive(Debug, Error)]
pub enum Malformed {
    /// It could not be read.
    #[error("{path} cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A line is not what it should be.
    #[error("line {line} of {path} is not a line of a history: {why}")]
    Line {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// It was written by a later version.
    #[error("{path} has format {format}; this program reads up to {FORMAT}, so use the one that wrote it")]
    Format {
        /// The file.
        path: String,
        /// Its format.
        format: u32,
    },
}

impl History {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or is no history. A last line that was cut off in writing is left out.
    pub fn read(path: &Path) -> Result<Self, Malformed> {
        let name = path.display().to_string();
        let unreadable = |error| Malformed::Unreadable { path: name.clone(), error };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let lines: Vec<String> =
            std::io::BufReader::new(file).lines().collect::<Result<_, _>>().map_err(unreadable)?;
        Self::parse(&name, &lines)
    }

    /// Reads the lines of a file of this name.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(name: &str, lines: &[String]) -> Result<Self, Malformed> {
        let wrong = |at: usize, why: String| Malformed::Line { path: name.to_owned(), line: at + 1, why };
        let first = lines.first().ok_or_else(|| wrong(0, "the file is empty".into()))?;
        let header: Header = serde_json::from_str(first).map_err(|error| wrong(0, error.to_string()))?;
        if header.format > FORMAT {
            return Err(Malformed::Format { path: name.to_owned(), format: header.format });
        }
        let mut history =
            Self { header, operations: Vec::new(), faults: Vec::new(), notes: Vec::new(), end: 0 };
        let mut open = BTreeMap::new();
        for (at, text) in lines.iter().enumerate().skip(1) {
            match serde_json::from_str::<Line>(text) {
                Ok(line) => history.take(line, &mut open).map_err(|why| wrong(at, why))?,
                Err(error) if at + 1 == lines.len() && error.is_eof() => {}
                Err(error) => return Err(wrong(at, error.to_string())),
            }
        }
        Ok(history)
    }

    fn take(&mut self, line: Line, open: &mut BTreeMap<u64, usize>) -> Result<(), String> {
        self.end = self.end.max(line.time);
        let Who::Process(process) = line.process else {
            self.take_fault(line);
            return Ok(());
        };
        if line.kind == Kind::Invoke {
            let index = self.operations.len();
            if open.insert(process, index).is_some() {
                return Err(format!("process {process} is busy with another operation"));
            }
            self.operations.push(begin(index, process, line));
            return Ok(());
        }
        let index = open.remove(&process).ok_or_else(|| format!("process {process} has nothing to end"))?;
        let operation = &mut self.operations[index];
        operation.ended = Some(line.time);
        operation.node = line.node.or(operation.node.take());
        operation.failure = line.error;
        operation.outcome = match line.kind {
            Kind::Ok => Outcome::Ok,
            Kind::Fail => Outcome::Fail,
            Kind::Info | Kind::Invoke => Outcome::Info,
        };
        if line.kind == Kind::Ok {
            operation.output = line.value;
        }
        Ok(())
    }

    /// A fault's first line is an invocation, its last one is not. A fault without a duration has one
    /// line, which is not an invocation. One that could not be made was never there.
    fn take_fault(&mut self, line: Line) {
        let Line { time, kind, f, mut value, .. } = line;
        if kind == Kind::Invoke {
            let (what, effect) = (Value::Null, Value::Null);
            self.faults.push(FaultWindow { fault: f, began: time, ended: None, what, effect });
            return;
        }
        if NOTES.contains(&f.as_str()) {
            self.notes.push(Note { name: f, at: time, what: value });
            return;
        }
        let is_open = |window: &FaultWindow| window.fault == f && window.ended.is_none();
        let Some(at) = self.faults.iter().rposition(is_open) else {
            let window =
                FaultWindow { fault: f, began: time, ended: Some(time), what: value, effect: Value::Null };
            self.faults.push(window);
            return;
        };
        let window = &mut self.faults[at];
        window.ended = Some(time);
        match value.get_mut("skipped").map(Value::take) {
            Some(why) => {
                let fault = std::mem::replace(&mut window.fault, SKIPPED.to_owned());
                window.what = json!({ "fault": fault, "why": why });
            }
            None => {
                window.what = value.get_mut("what").map(Value::take).unwrap_or_default();
                window.effect = value.get_mut("effect").map(Value::take).unwrap_or_default();
            }
        }
    }

    /// The faults that were made, without the attempts.
    pub fn faults_made(&self) -> impl Iterator<Item = &FaultWindow> {
        self.faults.iter().filter(|fault| fault.fault != SKIPPED)
    }

    /// Whether any fault was there at this time.
    pub fn is_faulty_at(&self, time: u64) -> bool {
        self.faults.iter().any(|fault| {
            fault.fault != SKIPPED && fault.began <= time && fault.ended.is_none_or(|ended| time <= ended)
        })
    }
}

fn begin(index: usize, process: u64, line: Line) -> Operation {
    Operation {
        index,
        process,
        f: line.f,
        key: line.key,
        input: line.value,
        output: ().into(),
        node: line.node,
        invoked: line.time,
        ended: None,
        outcome: Outcome::Info,
        failure: None,
    }
}
