//! A named write takes effect once, however often it is sent, and every answer to it is that one
//! outcome. An unnamed write takes effect at most once.
//!
//! Sources: part 1 of the design ("exactly once"); Ongaro (2014), section 6.3 (sessions and
//! duplicate detection).

use super::{Checked, Violation};
use crate::history::{Fate, Operation, numbers_written};
use oarlock_server::node::request::{Request, Response};
use oarlock_state::command::{Answer, OutcomeOf, ReplyBody};
use oarlock_state::object::ObjectReply;
use oarlock_state::{Outcome, Proposal, Query, Rejection, Reply};
use std::collections::BTreeMap;

/// One proposal as the committed log executed it.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Where in the log.
    pub index: u64,
    /// What was proposed.
    pub proposal: Proposal,
    /// What came of it.
    pub outcome: Outcome,
}

/// Judges the executions by themselves, then the answers that clients got.
///
/// # Errors
/// A write that took effect twice, or an answer that is not the outcome.
pub fn check(executions: &[Execution], history: &[Operation]) -> Checked {
    let mut named: BTreeMap<(u64, u64), &Execution> = BTreeMap::new();
    let mut numbers: BTreeMap<u64, &Execution> = BTreeMap::new();
    for execution in executions.iter().filter(|execution| is_first(&execution.outcome)) {
        if let Some(name) = execution.proposal.request
            && let Some(earlier) = named.insert((name.session.get(), name.sequence), execution)
        {
            return Err(twice(&format!("{name:?}"), earlier, execution));
        }
        if execution.outcome.is_err() {
            continue;
        }
        for number in numbers_written(&execution.proposal.command) {
            if let Some(earlier) = numbers.insert(number, execution) {
                return Err(twice(&format!("the write of v{number}"), earlier, execution));
            }
        }
    }
    history.iter().try_for_each(|operation| {
        answer_is_outcome(operation, &named)?;
        outcome_is_known(operation, &named)
    })
}

/// Who asks what became of a write that was never acknowledged is told the outcome that the log had
/// decided by then, also after the session's end.
fn outcome_is_known(operation: &Operation, named: &BTreeMap<(u64, u64), &Execution>) -> Checked {
    let Request::Read { query: Query::Outcome { request: OutcomeOf::Session { session, sequence } }, .. } =
        &operation.request
    else {
        return Ok(());
    };
    let Fate::Done(Response::Answer { answer: Answer::Outcome(told), index, .. }) = &operation.fate else {
        return Ok(());
    };
    let executed = named.get(&(session.get(), *sequence)).filter(|execution| execution.index <= *index);
    let fits = match (told, executed.map(|execution| &execution.outcome)) {
        (Some(Ok(told)), Some(Ok(first))) => is_same(&Reply { repeated: true, ..told.clone() }, first),
        (Some(Err(_)) | None, None) => true, // a refusal has no effect, and may be forgotten
        (_, _) => false,
    };
    if fits {
        return Ok(());
    }
    let what =
        format!("operation {} was told {told:?}, and the log's outcome is {executed:?}", operation.number);
    Err(Violation::new("exactly_once", what))
}

/// Whether the log executed the proposal then, rather than remembered or refused it by its name.
fn is_first(outcome: &Outcome) -> bool {
    match outcome {
        Ok(reply) => !reply.repeated,
        Err(
            Rejection::StaleSequence { .. }
            | Rejection::WindowFull { .. }
            | Rejection::SessionNotFound { .. },
        ) => false,
        // A remembered refusal looks like the first one and has no effect either way.
        Err(_) => false,
    }
}

fn twice(what: &str, earlier: &Execution, later: &Execution) -> Violation {
    let what = format!(
        "{what} took effect at index {} ({:?}: {:?}) and again at index {} ({:?}: {:?})",
        earlier.index, earlier.proposal, earlier.outcome, later.index, later.proposal, later.outcome
    );
    Violation::new("exactly_once", what)
}

fn answer_is_outcome(operation: &Operation, named: &BTreeMap<(u64, u64), &Execution>) -> Checked {
    let Some(name) = operation.write().and_then(|write| write.request) else { return Ok(()) };
    let executed = named.get(&(name.session.get(), name.sequence)).map(|execution| &execution.outcome);
    let fits = match (&operation.fate, executed) {
        (Fate::Done(Response::Written(reply)), Some(Ok(first))) => is_same(reply, first),
        (Fate::Done(_), _) => false,
        (Fate::Rejected(Rejection::SessionNotFound { .. }), _) => true,
        (Fate::Rejected(_) | Fate::NotDone(_), Some(Ok(_))) => false,
        (Fate::Rejected(_) | Fate::NotDone(_), Some(Err(_)) | None) => true,
        (Fate::Pending | Fate::Unknown, _) => true,
    };
    if fits {
        return Ok(());
    }
    let what = format!(
        "operation {} ({name:?}) was answered with {:?}, and the log's outcome is {executed:?}",
        operation.number, operation.fate
    );
    Err(Violation::new("exactly_once", what))
}

/// Whether an answer is this outcome. Results that were too large to remember may be missing.
fn is_same(answer: &Reply, first: &Reply) -> bool {
    let head = (answer.revision, answer.index) == (first.revision, first.index);
    let body = match (&answer.body, &first.body) {
        (ReplyBody::Txn(one), ReplyBody::Txn(other)) if answer.repeated && one.results.is_empty() => {
            one.succeeded == other.succeeded
        }
        // How many wait before it is of the past by then.
        (
            ReplyBody::Object(ObjectReply::Queued { ticket: one, .. }),
            ReplyBody::Object(ObjectReply::Queued { ticket: other, .. }),
        ) if answer.repeated => one == other,
        (one, other) => one == other,
    };
    head && body
}

/// Judges lists that each write appended one number to: every acknowledged number is there once,
/// and no number twice.
///
/// # Errors
/// A number that is missing or repeated.
pub fn check_appended(acknowledged: &[u64], list: &[u64]) -> Checked {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for number in list {
        *counts.entry(*number).or_default() += 1;
    }
    if let Some((number, count)) = counts.iter().find(|(_, count)| **count > 1) {
        return Err(Violation::new("exactly_once", format!("v{number} was appended {count} times")));
    }
    match acknowledged.iter().find(|number| !counts.contains_key(number)) {
        Some(lost) => Err(Violation::new("exactly_once", format!("v{lost} was acknowledged and is lost"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{put, value_of};
    use bytes::Bytes;
    use oarlock_server::node::request::{Consistency, Write};
    use oarlock_state::command::TxnReply;
    use oarlock_state::{Command, Index, ProposalId, RequestId, Revision, SessionId};

    fn name(sequence: u64) -> RequestId {
        RequestId { session: SessionId(7), sequence, acked_up_to: 0 }
    }

    fn reply(index: u64, repeated: bool) -> Reply {
        let body = ReplyBody::Txn(TxnReply { succeeded: true, results: Vec::new() });
        Reply { revision: Revision(index), index: Index(index), repeated, body }
    }

    fn execution(index: u64, request: Option<RequestId>, number: u64, repeated: bool) -> Execution {
        let command = Command::Txn(put(&Bytes::from_static(b"k"), value_of(number)));
        let id = ProposalId::default();
        let proposal = Proposal {
            id,
            request,
            idempotency: None,
            guards: Vec::new(),
            caller: oarlock_state::Caller::Anonymous,
            command,
        };
        Execution { index, proposal, outcome: Ok(reply(if repeated { 2 } else { index }, repeated)) }
    }

    fn operation(sequence: u64, fate: Fate) -> Operation {
        let write = Write {
            request: Some(name(sequence)),
            ..Write::of(Command::Txn(put(&Bytes::from_static(b"k"), value_of(1))))
        };
        Operation {
            number: 1,
            client: 1,
            node: 1,
            invoked: 0,
            returned: Some(9),
            request: Request::Write(write),
            attempts: 2,
            fate,
        }
    }

    #[test]
    fn a_second_effect_is_found() {
        let first = execution(2, Some(name(1)), 1, false);
        assert!(check(&[first.clone(), execution(3, Some(name(1)), 1, true)], &[]).is_ok());
        assert!(check(&[first.clone(), execution(3, Some(name(1)), 1, false)], &[]).is_err());
        assert!(check(&[first, execution(3, Some(name(2)), 2, false)], &[]).is_ok());
        assert!(check(&[execution(2, None, 5, false), execution(3, None, 5, false)], &[]).is_err());
    }

    #[test]
    fn an_answer_that_is_not_the_outcome_is_found() {
        let log = [execution(2, Some(name(1)), 1, false)];
        let answered = |reply| [operation(1, Fate::Done(Response::Written(reply)))];
        assert!(check(&log, &answered(reply(2, true))).is_ok());
        assert!(check(&log, &answered(reply(3, false))).is_err());
        assert!(check(&[], &answered(reply(2, false))).is_err(), "answered but never executed");
        let refused = [operation(1, Fate::Rejected(Rejection::KeyEmpty))];
        assert!(check(&log, &refused).is_err());
    }

    #[test]
    fn a_wrong_outcome_is_found() {
        let told = |outcome| {
            let request = OutcomeOf::Session { session: SessionId(7), sequence: 1 };
            let query = Query::Outcome { request };
            let answer = Answer::Outcome(outcome);
            let fate = Fate::Done(Response::Answer { answer, revision: Revision(9), index: 9 });
            let request = Request::Read { query, consistency: Consistency::Linearizable, timeout_ms: 0 };
            [Operation { request, ..operation(1, fate) }]
        };
        let log = [execution(2, Some(name(1)), 1, false)];
        assert!(check(&log, &told(Some(Ok(reply(2, false))))).is_ok());
        assert!(check(&log, &told(Some(Ok(reply(3, false))))).is_err());
        assert!(check(&log, &told(None)).is_err(), "executed and forgotten");
        assert!(check(&[], &told(None)).is_ok());
        assert!(check(&[], &told(Some(Ok(reply(2, false))))).is_err(), "never executed");
    }

    #[test]
    fn lost_and_repeated_elements_are_found() {
        assert!(check_appended(&[1, 2], &[2, 3, 1]).is_ok());
        assert!(check_appended(&[1, 2], &[1, 3]).is_err());
        assert!(check_appended(&[1], &[1, 3, 3]).is_err());
    }
}
