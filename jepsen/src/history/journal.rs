//! Writing a history while the run goes on.

use super::line::{Failure, Header, Kind, Line, Who};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A history that is being written. Cheap to clone; the clones are one history.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    began: Instant,
    file: Mutex<BufWriter<File>>,
    processes: AtomicU64,
    /// Operations by outcome: ok, fail, info.
    counts: [AtomicU64; 3],
    lost: Mutex<Option<std::io::Error>>,
}

impl Journal {
    /// Begins a history in a new file.
    ///
    /// # Errors
    /// Those of the file.
    pub fn create(path: &Path, header: &Header) -> std::io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "{}", serde_json::to_string(header)?)?;
        let shared = Shared {
            began: Instant::now(),
            file: Mutex::new(file),
            processes: AtomicU64::new(0),
            counts: Default::default(),
            lost: Mutex::new(None),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Microseconds since the run began.
    pub fn now(&self) -> u64 {
        self.shared.began.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
    }

    /// A client that does one thing at a time.
    pub fn process(&self) -> Process {
        Process { journal: self.clone(), number: self.shared.processes.fetch_add(1, Relaxed) }
    }

    /// Operations that ended as ok, as failed, and with unknown outcome.
    pub fn counts(&self) -> [u64; 3] {
        [0, 1, 2].map(|at| self.shared.counts[at].load(Relaxed))
    }

    /// A fault is about to begin.
    pub fn fault_begins(&self, fault: &str) {
        self.fault(Kind::Invoke, fault, Value::Null);
    }

    /// A fault is over: what was done, and what is known of its effect.
    pub fn fault_ends(&self, fault: &str, what: Value, effect: Value) {
        self.fault(Kind::Info, fault, json!({ "what": what, "effect": effect }));
    }

    /// A fault that has begun could not be made.
    pub fn fault_skipped(&self, fault: &str, why: &str) {
        self.fault(Kind::Info, fault, json!({ "skipped": why }));
    }

    /// Something happened in a moment.
    pub fn note(&self, what: &str, value: Value) {
        self.fault(Kind::Info, what, value);
    }

    fn fault(&self, kind: Kind, fault: &str, value: Value) {
        let (process, f) = (Who::Nemesis, fault.to_owned());
        self.write(Line { time: 0, process, kind, f, key: None, value, node: None, error: None });
    }

    /// Writes everything to the file.
    ///
    /// # Errors
    /// The first error of any write to the file: the history is not whole then.
    pub fn flush(&self) -> std::io::Result<()> {
        self.shared.file.lock().unwrap_or_else(PoisonError::into_inner).flush()?;
        self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Lines get their time while the file is held, so that they stand in its order.
    fn write(&self, mut line: Line) {
        let mut file = self.shared.file.lock().unwrap_or_else(PoisonError::into_inner);
        line.time = self.now();
        let written = serde_json::to_writer(&mut *file, &line).map_err(Into::into);
        if let Err(error) = written.and_then(|()| file.write_all(b"\n")) {
            self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

/// A client as the history knows it.
pub struct Process {
    journal: Journal,
    number: u64,
}

impl Process {
    /// An operation begins. It must be sent after this.
    pub fn invoke(&mut self, f: &str, key: Option<&str>, input: Value, node: &str) -> Pending<'_> {
        let line = Line {
            time: 0,
            process: Who::Process(self.number),
            kind: Kind::Invoke,
            f: f.to_owned(),
            key: key.map(str::to_owned),
            value: input,
            node: Some(node.to_owned()),
            error: None,
        };
        self.journal.write(line.clone());
        Pending { process: self, line: Some(line) }
    }

    /// The history that it is written to.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }
}

/// An operation that has begun. Dropped without an end, its outcome is unknown.
#[must_use = "an operation has an end"]
pub struct Pending<'p> {
    process: &'p mut Process,
    line: Option<Line>,
}

impl Pending<'_> {
    /// It happened, with this result.
    pub fn ok(mut self, output: Value) {
        self.end(Kind::Ok, output, None);
    }

    /// It ended so.
    pub fn settle(self, outcome: Result<Value, Failure>) {
        match outcome {
            Ok(output) => self.ok(output),
            Err(failure) => self.failed(failure),
        }
    }

    /// It has no result.
    pub fn failed(mut self, failure: Failure) {
        let kind = if failure.is_definite() { Kind::Fail } else { Kind::Info };
        self.end(kind, Value::Null, Some(failure));
    }

    fn end(&mut self, kind: Kind, value: Value, error: Option<Failure>) {
        let Some(line) = self.line.take() else { return };
        self.process.journal.write(Line { kind, value, error, ..line });
        let shared = &self.process.journal.shared;
        let at = match kind {
            Kind::Ok => 0,
            Kind::Fail => 1,
            Kind::Info | Kind::Invoke => 2,
        };
        shared.counts[at].fetch_add(1, Relaxed);
        if at == 2 {
            self.process.number = shared.processes.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.end(Kind::Info, Value::Null, None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::{Api, FORMAT, FailureKind};
    use super::super::{History, Note, Outcome, SKIPPED};
    use super::*;

    fn header() -> Header {
        Header {
            format: FORMAT,
            workload: "register".into(),
            nemesis: vec!["kill".into()],
            api: Api::Native,
            server: "oarlock".into(),
            nodes: 3,
            seed: 7,
            seconds: 1,
            command: "oarlock-jepsen run".into(),
            began_unix_ms: 0,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let journal = Journal::create(file.path(), &header()).expect("it is writable");
        let (mut one, mut other) = (journal.process(), journal.process());
        let read = one.invoke("read", Some("a"), Value::Null, "n1");
        other.invoke("write", Some("a"), json!(4), "n2").ok(json!({"revision": 2}));
        journal.fault_begins("kill");
        read.failed(Failure::new(FailureKind::Unknown, "reset"));
        journal.fault_ends("kill", json!(["n1"]), Value::Null);
        journal.note("exit", json!(3));
        journal.fault_begins("move");
        journal.fault_skipped("move", "nobody leads");
        one.invoke("read", Some("a"), Value::Null, "n1").failed(Failure::new(FailureKind::Rejected, "no"));
        drop(one.invoke("read", Some("a"), Value::Null, "n1"));
        journal.flush().expect("it is writable");
        assert_eq!(journal.counts(), [1, 1, 2]);
        let history = History::read(file.path()).expect("it was just written");
        assert_eq!(history.header, header());
        let outcomes: Vec<_> = history.operations.iter().map(|op| (op.process, op.outcome)).collect();
        let expected = [(0, Outcome::Info), (1, Outcome::Ok), (2, Outcome::Fail), (2, Outcome::Info)];
        assert_eq!(outcomes, expected, "after an unknown outcome a client has a new number");
        assert_eq!(history.operations[1].output, json!({"revision": 2}));
        assert_eq!(history.operations[0].returned(), None);
        assert!(history.operations[0].ended.is_some());
        let faults: Vec<_> = history.faults.iter().map(|fault| (fault.fault.as_str(), &fault.what)).collect();
        let skipped = json!({ "fault": "move", "why": "nobody leads" });
        assert_eq!(faults, [("kill", &json!(["n1"])), (SKIPPED, &skipped)]);
        let note = Note { name: "exit".into(), at: history.notes[0].at, what: json!(3) };
        assert_eq!(history.notes, [note]);
        assert!(history.faults.iter().all(|fault| fault.ended.is_some()));
    }

    #[test]
    fn what_is_no_history_is_refused_with_its_line() {
        let parse = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            History::parse("file", &lines).expect_err("it is malformed").to_string()
        };
        let head = serde_json::to_string(&header()).expect("it is plain");
        let invoke = r#"{"time":1,"process":0,"type":"invoke","f":"read"}"#;
        assert!(parse(&[]).contains("empty"));
        assert!(parse(&[&head, invoke, invoke]).contains("line 3 of file"));
        assert!(
            parse(&[&head, r#"{"time":1,"process":0,"type":"ok","f":"read"}"#]).contains("nothing to end")
        );
        let later = head.replace("\"format\":1", "\"format\":99");
        assert!(parse(&[&later]).contains("format 99"));
        let cut = [head, invoke.to_owned(), r#"{"time":2,"proc"#.to_owned()];
        assert_eq!(History::parse("file", &cut).expect("a cut-off end is left out").operations.len(), 1);
    }
}
