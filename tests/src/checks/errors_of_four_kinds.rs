//! An answer says truly which of four it is: not proposed (it never happens), rejected (the log said
//! so), committed (the log did it), or unknown.
//!
//! Source: part 4 of the design; Jepsen's distinction of `fail` (certainly not) and `info` (perhaps).

use super::exactly_once::Execution;
use super::{Checked, Violation};
use crate::history::{Fate, Operation, numbers_written};
use std::collections::BTreeMap;

/// Judges the answers to writes of numbers against the committed log.
///
/// # Errors
/// A write that was said not to happen and did, or the other way round.
pub fn check(executions: &[Execution], history: &[Operation]) -> Checked {
    let mut effects: BTreeMap<u64, Vec<&Execution>> = BTreeMap::new();
    for execution in executions {
        for number in numbers_written(&execution.proposal.command) {
            effects.entry(number).or_default().push(execution);
        }
    }
    for operation in history {
        let Some(write) = operation.write() else { continue };
        for number in numbers_written(&write.command) {
            let found = effects.get(&number).map_or(&[][..], Vec::as_slice);
            judge(operation, number, found)?;
        }
    }
    Ok(())
}

fn judge(operation: &Operation, number: u64, found: &[&Execution]) -> Checked {
    let succeeded = found.iter().any(|execution| execution.outcome.is_ok());
    let wrong = match &operation.fate {
        Fate::Done(_) if !succeeded => "committed, and the log did not do it",
        Fate::Rejected(_) if succeeded => "rejected, and the log did it",
        Fate::Rejected(_) if found.is_empty() => "rejected by the log, which never saw it",
        // A named write may have been in the log before the attempt that was not proposed.
        Fate::NotDone(_) if succeeded => "not proposed, and the log did it",
        Fate::NotDone(_) if !found.is_empty() && operation.attempts == 1 => {
            "not proposed, and it is in the log"
        }
        Fate::Done(_) | Fate::Rejected(_) | Fate::NotDone(_) | Fate::Unknown | Fate::Pending => return Ok(()),
    };
    let places: Vec<u64> = found.iter().map(|execution| execution.index).collect();
    let what = format!(
        "operation {} of client {} (v{number}) was answered {:?}: {wrong} (indexes {places:?})",
        operation.number, operation.client, operation.fate
    );
    Err(Violation::new("errors_of_four_kinds", what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{put, value_of};
    use bytes::Bytes;
    use oarlock_server::node::request::{Refusal, Request, Response, Write};
    use oarlock_state::command::ReplyBody;
    use oarlock_state::{Command, Index, Proposal, ProposalId, Rejection, Reply, Revision};

    fn command(number: u64) -> Command {
        Command::Txn(put(&Bytes::from_static(b"k"), value_of(number)))
    }

    fn reply() -> Reply {
        Reply { revision: Revision(2), index: Index(2), repeated: false, body: ReplyBody::Done }
    }

    fn log(number: u64, succeeded: bool) -> Vec<Execution> {
        let id = ProposalId::default();
        let command = command(number);
        let proposal = Proposal {
            id,
            request: None,
            idempotency: None,
            guards: Vec::new(),
            caller: oarlock_state::Caller::Anonymous,
            command,
        };
        let outcome = if succeeded { Ok(reply()) } else { Err(Rejection::KeyEmpty) };
        vec![Execution { index: 2, proposal, outcome }]
    }

    fn answered(fate: Fate) -> Vec<Operation> {
        let request = Request::Write(Write::of(command(1)));
        vec![Operation {
            number: 1,
            client: 1,
            node: 1,
            invoked: 0,
            returned: Some(1),
            request,
            attempts: 1,
            fate,
        }]
    }

    #[test]
    fn each_wrong_kind_is_found() {
        let done = || answered(Fate::Done(Response::Written(reply())));
        assert!(check(&log(1, true), &done()).is_ok());
        assert!(check(&log(1, false), &done()).is_err());
        assert!(check(&[], &done()).is_err());
        let not_done = || answered(Fate::NotDone(Refusal::NoLeader));
        assert!(check(&[], &not_done()).is_ok());
        assert!(check(&log(1, true), &not_done()).is_err());
        let rejected = || answered(Fate::Rejected(Rejection::KeyEmpty));
        assert!(check(&log(1, false), &rejected()).is_ok());
        assert!(check(&log(1, true), &rejected()).is_err());
        assert!(check(&[], &rejected()).is_err());
        assert!(check(&log(1, true), &answered(Fate::Unknown)).is_ok());
        assert!(check(&[], &answered(Fate::Unknown)).is_ok());
    }
}
