//! Messages from peers: who may say what.

use super::{Replica, StepError};
use bytes::Bytes;
use prost_raft::Message as _;
use raft::eraftpb::{Message, MessageType};

impl Replica {
    /// Takes a Raft message from a peer, other than a snapshot.
    ///
    /// # Errors
    /// The message is not for this replica; it is dropped, which Raft survives.
    /// [`StepError::LogLost`] is no such thing: the caller must stop the member.
    pub fn step(&mut self, message: Bytes) -> Result<(), StepError> {
        let message = self.admit(message)?;
        if message.msg_type() == MessageType::MsgSnapshot {
            return Err(StepError::NotStaged);
        }
        self.take(message);
        Ok(())
    }

    /// Takes the message of a snapshot whose files are on this member's disk, complete, verified
    /// and durable. If [`Ready::install`](super::Ready::install) does not name it next, it was not
    /// needed and the files can go.
    ///
    /// # Errors
    /// As for [`Self::step`]; a message of another kind is refused.
    pub fn step_staged(&mut self, message: Bytes) -> Result<(), StepError> {
        let message = self.admit(message)?;
        if message.msg_type() != MessageType::MsgSnapshot {
            return Err(StepError::Forbidden { kind: message.msg_type });
        }
        self.take(message);
        Ok(())
    }

    fn take(&mut self, message: Message) {
        self.assert_idle();
        if self.raw.raft.prs().get(message.from).is_some() {
            self.heard.insert(message.from, self.ticks);
        }
        // What is refused is a late answer from a member that was removed.
        if let Err(error) = self.raw.step(message) {
            slog::debug!(self.logger, "message dropped"; "reason" => %error);
        }
        self.pin_timeout();
    }

    fn admit(&self, bytes: Bytes) -> Result<Message, StepError> {
        let message = Message::decode(bytes).map_err(|error| StepError::Malformed(error.to_string()))?;
        let node = self.options.node;
        if message.to != node.get() || message.from == 0 || message.from == node.get() {
            return Err(StepError::Misdirected { from: message.from, to: message.to, node });
        }
        if !travels(&message) {
            return Err(StepError::Forbidden { kind: message.msg_type });
        }
        check_entries(&message)?;
        self.check_acknowledged(&message)?;
        Ok(message)
    }

    /// A heartbeat says what is committed, up to what its leader knows this member to hold. If the
    /// log is shorter, it was lost: the disk was wiped, or lied.
    fn check_acknowledged(&self, message: &Message) -> Result<(), StepError> {
        let (acknowledged, last) = (message.commit, self.raw.raft.raft_log.last_index());
        let is_current =
            message.msg_type() == MessageType::MsgHeartbeat && message.term >= self.raw.raft.term;
        #[cfg(feature = "plant")]
        let is_current = is_current && !oarlock_state::plant::is("believe_empty_disk");
        if is_current && acknowledged > last {
            return Err(StepError::LogLost { acknowledged, last });
        }
        Ok(())
    }
}

/// Whether messages of this kind travel between members. Proposals and reads do not: forwarded
/// ones could be doubled. Neither do the raft crate's notes to itself.
fn travels(message: &Message) -> bool {
    use MessageType::*;
    match MessageType::from_i32(message.msg_type) {
        Some(
            MsgAppend
            | MsgAppendResponse
            | MsgRequestVote
            | MsgRequestVoteResponse
            | MsgSnapshot
            | MsgHeartbeat
            | MsgHeartbeatResponse
            | MsgTimeoutNow
            | MsgRequestPreVote
            | MsgRequestPreVoteResponse,
        ) => true,
        Some(
            MsgHup | MsgBeat | MsgPropose | MsgUnreachable | MsgSnapStatus | MsgCheckQuorum
            | MsgTransferLeader | MsgReadIndex | MsgReadIndexResp,
        )
        | None => false,
    }
}

/// Entries continue the log without a gap, and only entries of an append are entries.
fn check_entries(message: &Message) -> Result<(), StepError> {
    let expected = message.index + 1..;
    if message.entries.iter().zip(expected).all(|(entry, index)| entry.index == index) {
        return Ok(());
    }
    Err(StepError::Malformed(format!("entries after {} are not contiguous", message.index)))
}
