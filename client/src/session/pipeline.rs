//! The operations of a session that were not answered yet.

use super::driver::Command;
use crate::error::{Error, Result};
use oarlock_proto::v1::{self, client_op::Op, server_item::Item};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Set in the ids of operations that are not writes of the window, so that they use no sequence.
const NOT_A_WRITE: u64 = 1 << 63;

/// The operations of a session that were not answered yet, in the order given.
///
/// Invariant: the ids of writes are the session's sequences, without gaps.
pub(super) struct Pipeline {
    waiting: BTreeMap<u64, Waiting>,
    next_sequence: u64,
    next_read: u64,
    /// Order in which operations were given, so that a new stream sends them as the old one did.
    next_turn: u64,
}

struct Waiting {
    turn: u64,
    op: v1::ClientOp,
    reply: oneshot::Sender<Result<Item>>,
}

impl Pipeline {
    pub(super) fn new() -> Self {
        Self { waiting: BTreeMap::new(), next_sequence: 1, next_read: NOT_A_WRITE | 1, next_turn: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes an operation and returns it as it goes out.
    pub(super) fn add(&mut self, command: Command) -> v1::ClientOp {
        let Command { op, guards, exactly_once, reply } = command;
        let counter = if exactly_once { &mut self.next_sequence } else { &mut self.next_read };
        let id = *counter;
        *counter += 1;
        let op = v1::ClientOp { id, guards, op: Some(op), exactly_once };
        self.waiting.insert(id, Waiting { turn: self.next_turn, op: op.clone(), reply });
        self.next_turn += 1;
        op
    }

    /// Everything unanswered, for a new stream.
    pub(super) fn unanswered(&self) -> Vec<v1::ClientOp> {
        let mut waiting: Vec<&Waiting> = self.waiting.values().collect();
        waiting.sort_by_key(|waiting| waiting.turn);
        waiting.into_iter().map(|waiting| waiting.op.clone()).collect()
    }

    /// All writes up to this one were answered.
    pub(super) fn acked_up_to(&self) -> u64 {
        let oldest = self.waiting.keys().next().filter(|id| **id & NOT_A_WRITE == 0);
        oldest.copied().unwrap_or(self.next_sequence) - 1
    }

    /// Hands an answer to its caller. Returns the operation if it must be sent again, because the
    /// server did nothing for a passing reason.
    pub(super) fn answered(&mut self, item: v1::ServerItem) -> Option<v1::ClientOp> {
        let answer = match item.item? {
            Item::Error(error) => Err(Error::from_wire(error)),
            other => Ok(other),
        };
        let waiting = self.waiting.get(&item.id)?;
        let again = match &answer {
            Err(Error::NotProposed { .. }) => true,
            Err(Error::Unknown { .. }) => waiting.op.exactly_once || is_read(&waiting.op),
            Ok(_) | Err(Error::Rejected { .. } | Error::SessionLost { .. } | Error::Invalid { .. }) => false,
        };
        if again {
            return Some(waiting.op.clone());
        }
        let waiting = self.waiting.remove(&item.id)?;
        // A caller that has given up does not hear the answer.
        let _ = waiting.reply.send(answer);
        None
    }

    /// The session is lost: nobody will answer.
    pub(super) fn fail(&mut self, error: &Error) {
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            let _ = waiting.reply.send(Err(error.clone()));
        }
    }
}

fn is_read(op: &v1::ClientOp) -> bool {
    matches!(op.op, Some(Op::Range(_) | Op::CheckToken(_) | Op::GetOutcome(_) | Op::Ping(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(exactly_once: bool) -> (Command, oneshot::Receiver<Result<Item>>) {
        let (reply, answer) = oneshot::channel();
        (Command { op: Op::Ping(true), guards: Vec::new(), exactly_once, reply }, answer)
    }

    fn done(id: u64) -> v1::ServerItem {
        v1::ServerItem { id, item: Some(Item::Done(v1::Header::default())) }
    }

    #[test]
    fn acknowledgements_stop_before_the_oldest_unanswered_write() {
        let mut pipeline = Pipeline::new();
        let answers: Vec<_> = [true, false, true, true]
            .into_iter()
            .map(|exactly_once| {
                let (command, answer) = command(exactly_once);
                pipeline.add(command);
                answer
            })
            .collect();
        assert_eq!(pipeline.acked_up_to(), 0);
        pipeline.answered(done(2));
        assert_eq!(pipeline.acked_up_to(), 0, "write 1 is still on its way");
        pipeline.answered(done(1));
        assert_eq!(pipeline.acked_up_to(), 2);
        pipeline.answered(done(3));
        assert_eq!(pipeline.acked_up_to(), 3, "a waiting read holds nothing back");
        drop(answers);
    }

    #[test]
    fn what_did_not_happen_is_sent_again_in_the_order_given() {
        let mut pipeline = Pipeline::new();
        let (first, _one) = command(true);
        let (second, _two) = command(false);
        let (third, _three) = command(true);
        let ids: Vec<u64> = [first, second, third].map(|command| pipeline.add(command).id).to_vec();
        let refused = v1::Error { certainty: v1::Certainty::NotProposed.into(), ..Default::default() };
        let item = v1::ServerItem { id: ids[0], item: Some(Item::Error(refused)) };
        assert_eq!(pipeline.answered(item).map(|op| op.id), Some(ids[0]));
        let again: Vec<u64> = pipeline.unanswered().iter().map(|op| op.id).collect();
        assert_eq!(again, ids);
    }
}
