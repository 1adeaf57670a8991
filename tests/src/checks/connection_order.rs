//! Writes of one connection enter the log in the order in which they were sent, also when they were
//! forwarded and when the leader changed in the middle.
//!
//! Sources: part 4 of the design (a session's stream is first in, first out); ZOOKEEPER-1863 and
//! -4537 (the commit pipeline reordered the requests of a session).

use super::exactly_once::Execution;
use super::{Checked, Violation};
use std::collections::BTreeMap;

/// Judges the writes of one session that were sent once each, over one connection, in the order of
/// their sequence numbers. Some may be missing.
///
/// # Errors
/// A write that was executed before an earlier one.
pub fn check(session: u64, executions: &[Execution]) -> Checked {
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for execution in executions {
        let Some(name) = execution.proposal.request.filter(|name| name.session.get() == session) else {
            continue;
        };
        if let Some((later, at)) = seen.range(name.sequence + 1..).next() {
            let what = format!(
                "write {} of session {session} was executed at index {}, after write {later} at index {at}",
                name.sequence, execution.index
            );
            return Err(Violation::new("connection_order", what));
        }
        seen.insert(name.sequence, execution.index);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_state::command::ReplyBody;
    use oarlock_state::{
        Caller, Command, Index, Proposal, ProposalId, Reply, RequestId, Revision, SessionId,
    };

    fn execution(index: u64, sequence: u64) -> Execution {
        let request = Some(RequestId { session: SessionId(7), sequence, acked_up_to: 0 });
        let proposal = Proposal {
            id: ProposalId::default(),
            request,
            idempotency: None,
            guards: Vec::new(),
            caller: Caller::Anonymous,
            command: Command::Txn(Default::default()),
        };
        let (revision, body) = (Revision(index), ReplyBody::Done);
        let outcome = Ok(Reply { revision, index: Index(index), repeated: false, body });
        Execution { index, proposal, outcome }
    }

    #[test]
    fn a_write_that_was_overtaken_is_found() {
        let in_order = [execution(2, 1), execution(3, 2), execution(4, 4)];
        assert!(check(7, &in_order).is_ok(), "one is missing, none was overtaken");
        let overtaken = [execution(2, 1), execution(3, 3), execution(4, 2)];
        assert!(check(7, &overtaken).is_err());
        assert!(check(8, &overtaken).is_ok(), "of another session");
    }
}
