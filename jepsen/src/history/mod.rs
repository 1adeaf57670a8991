//! What clients asked, what came of it, and which faults struck meanwhile: all that checks judge.
//!
//! A history is a file of lines, each one JSON document ([`line`]). The first says what the run was;
//! every later one begins or ends an operation or a fault. Times are microseconds since the run
//! began, on one clock, so that the order of lines is the order of events.
//!
//! The rules are Jepsen's: an operation is invoked, and then it is `ok` (it happened, and this is the
//! result), `fail` (it did not happen and never will) or `info` (it may have happened, or may yet).
//! A client whose operation ended as `info` goes on under a new process number, because the old one is
//! still busy for all that is known.

pub mod edn;
mod file;
mod journal;
pub mod line;
mod operation;
pub mod outage;

pub use file::{History, Malformed, SKIPPED};
pub use journal::{Journal, Pending, Process};
pub use line::{Api, FORMAT, Failure, FailureKind, Header, Kind, Line, Who};
pub use operation::{FaultWindow, Note, Operation, Outcome};
