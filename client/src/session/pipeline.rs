//! The operations of a session that were not answered yet.

use super::driver::Operation;
use crate::error::{Error, Result};
use oarlock_proto::v1::{self, client_op::Op, server_item::Item};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

/// Set in the ids of operations that are not writes of the window, so that they use no sequence.
/// Ids end below 2^60.
const NOT_A_WRITE: u64 = 1 << 59;
/// Unanswered operations beyond which callers wait.
const UNANSWERED_MAX: usize = 2048;
/// Sequences from the oldest unanswered write to the newest: well within the servers' window.
const SEQUENCES_MAX: u64 = 3072;
/// Operations in one frame.
const FRAME_OPS_MAX: usize = 512;
/// Bytes in one frame, unless a single operation has more. Servers take several times as many.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// The operations of a session that were not answered yet, in the order given.
///
/// Invariant: the ids of writes are the session's sequences, in the order given.
pub(super) struct Pipeline {
    waiting: BTreeMap<u64, Waiting>,
    /// Those that a server turned away for a passing reason, by turn: to be sent again.
    refused: BTreeSet<(u64, u64)>,
    next_sequence: u64,
    next_read: u64,
    /// Order in which operations were given, so that a new stream sends them as the old one did.
    next_turn: u64,
}

struct Waiting {
    turn: u64,
    op: v1::ClientOp,
    /// An attempt of it may have been executed.
    doubtful: bool,
    reply: oneshot::Sender<Result<Item>>,
}

impl Pipeline {
    pub(super) fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            refused: BTreeSet::new(),
            next_sequence: 1,
            next_read: NOT_A_WRITE | 1,
            next_turn: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many more operations may be added now. None while some were refused: the new ones would
    /// overtake them.
    pub(super) fn room(&self) -> usize {
        if !self.refused.is_empty() {
            return 0;
        }
        let sequences = SEQUENCES_MAX.saturating_sub(self.next_sequence - 1 - self.acked_up_to());
        let unanswered = UNANSWERED_MAX.saturating_sub(self.waiting.len());
        unanswered.min(FRAME_OPS_MAX).min(usize::try_from(sequences).unwrap_or(usize::MAX))
    }

    /// Takes an operation and returns it as it goes out.
    pub(super) fn add(&mut self, operation: Operation) -> v1::ClientOp {
        let Operation { op, guards, exactly_once, reply } = operation;
        let counter = if exactly_once { &mut self.next_sequence } else { &mut self.next_read };
        let id = *counter;
        *counter += 1;
        let op = v1::ClientOp { id, guards, op: Some(op), exactly_once };
        let waiting = Waiting { turn: self.next_turn, op: op.clone(), doubtful: false, reply };
        self.waiting.insert(id, waiting);
        self.next_turn += 1;
        op
    }

    /// Everything unanswered, for a new stream, in the order given.
    pub(super) fn unanswered(&mut self) -> Vec<v1::ClientOp> {
        self.refused.clear();
        self.waiting.retain(|_, waiting| waiting.op.exactly_once || !waiting.reply.is_closed());
        let mut waiting: Vec<&mut Waiting> = self.waiting.values_mut().collect();
        waiting.sort_by_key(|waiting| waiting.turn);
        waiting
            .into_iter()
            .map(|waiting| {
                // Its answer on the old stream is lost, if there was one.
                waiting.doubtful = true;
                waiting.op.clone()
            })
            .collect()
    }

    /// What was refused for a passing reason and is to be tried again, in the order given. Nothing
    /// is tried again whose caller has given up and that certainly did not happen.
    pub(super) fn refused(&mut self) -> Vec<v1::ClientOp> {
        let refused = std::mem::take(&mut self.refused);
        let mut again = Vec::with_capacity(refused.len());
        for (_, id) in refused {
            let Some(waiting) = self.waiting.get(&id) else { continue };
            if waiting.reply.is_closed() && !waiting.doubtful {
                self.waiting.remove(&id);
            } else {
                again.push(waiting.op.clone());
            }
        }
        again
    }

    /// Whether something waits to be tried again.
    pub(super) fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// All writes up to this one were answered.
    pub(super) fn acked_up_to(&self) -> u64 {
        let oldest = self.waiting.keys().next().filter(|id| **id & NOT_A_WRITE == 0);
        oldest.copied().unwrap_or(self.next_sequence) - 1
    }

    /// Hands an answer to its caller, or keeps the operation to be tried again.
    pub(super) fn answered(&mut self, item: v1::ServerItem) {
        let answer = match item.item {
            Some(Item::Error(error)) => Err(Error::from_wire(error)),
            Some(other) => Ok(other),
            None => return, // of a later version
        };
        let Some(waiting) = self.waiting.get_mut(&item.id) else { return };
        if let Err(error) = &answer {
            let lost = matches!(error, Error::Unknown { .. });
            waiting.doubtful |= lost;
            if error.is_passing() && (!lost || may_repeat(&waiting.op)) {
                self.refused.insert((waiting.turn, item.id));
                return;
            }
        }
        let Some(waiting) = self.waiting.remove(&item.id) else { return };
        let answer = match answer {
            Err(Error::NotProposed { message, .. }) if waiting.doubtful && waiting.op.exactly_once => {
                Err(Error::Unknown { message: format!("{message}; an earlier attempt may have happened") })
            }
            answer => answer,
        };
        // A caller that has given up does not hear the answer.
        let _ = waiting.reply.send(answer);
    }

    /// The session is lost: nobody will answer.
    pub(super) fn fail(&mut self, error: &Error) {
        self.refused.clear();
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            let _ = waiting.reply.send(Err(error.clone()));
        }
    }

    /// Frames of bounded size that carry these operations.
    pub(super) fn frames(&self, ops: Vec<v1::ClientOp>) -> Vec<v1::ClientFrame> {
        let mut frames: Vec<v1::ClientFrame> = Vec::new();
        let mut bytes = 0;
        for op in ops {
            let size = op.encoded_len();
            match frames.last_mut() {
                Some(frame) if bytes + size <= FRAME_BYTES_MAX && frame.ops.len() < FRAME_OPS_MAX => {
                    bytes += size;
                    frame.ops.push(op);
                }
                _ => {
                    bytes = size;
                    let acked_up_to = self.acked_up_to();
                    frames.push(v1::ClientFrame { ops: vec![op], acked_up_to, ..Default::default() });
                }
            }
        }
        frames
    }
}

/// Whether repeating an operation whose answer was lost cannot have a second effect.
fn may_repeat(op: &v1::ClientOp) -> bool {
    op.exactly_once
        || matches!(
            op.op,
            Some(
                Op::Range(_)
                    | Op::CheckToken(_)
                    | Op::GetOutcome(_)
                    | Op::ObjectQuery(_)
                    | Op::PoolQuery(_)
                    | Op::Ping(_)
                    | Op::CloseSession(_)
            )
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<Item>>;

    fn operation(exactly_once: bool) -> (Operation, Answer) {
        let (reply, answer) = oneshot::channel();
        (Operation { op: Op::Ping(true), guards: Vec::new(), exactly_once, reply }, answer)
    }

    fn add(pipeline: &mut Pipeline, exactly_once: bool) -> (u64, Answer) {
        let (operation, answer) = operation(exactly_once);
        (pipeline.add(operation).id, answer)
    }

    fn done(id: u64) -> v1::ServerItem {
        v1::ServerItem { id, item: Some(Item::Done(v1::Header::default())) }
    }

    fn error(id: u64, certainty: v1::Certainty, code: v1::ErrorCode) -> v1::ServerItem {
        let error = v1::Error { certainty: certainty.into(), code: code.into(), ..Default::default() };
        v1::ServerItem { id, item: Some(Item::Error(error)) }
    }

    fn ids(ops: &[v1::ClientOp]) -> Vec<u64> {
        ops.iter().map(|op| op.id).collect()
    }

    #[test]
    fn acknowledgements_stop_before_the_oldest_unanswered_write() {
        let mut pipeline = Pipeline::new();
        let answers = [true, false, true, true].map(|exactly_once| add(&mut pipeline, exactly_once));
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
    fn what_did_not_happen_is_sent_again_in_the_order_given_before_anything_new() {
        let mut pipeline = Pipeline::new();
        let (first, _one) = add(&mut pipeline, true);
        let (second, _two) = add(&mut pipeline, false);
        let (third, _three) = add(&mut pipeline, true);
        for id in [third, first] {
            pipeline.answered(error(id, v1::Certainty::NotProposed, v1::ErrorCode::NoLeader));
        }
        assert_eq!(pipeline.room(), 0);
        assert_eq!(ids(&pipeline.refused()), [first, third]);
        assert!(pipeline.room() > 0);
        assert_eq!(ids(&pipeline.unanswered()), [first, second, third]);
    }

    #[test]
    fn whoever_has_given_up_has_nothing_done_late() {
        let mut pipeline = Pipeline::new();
        let (certain, answer) = add(&mut pipeline, true);
        let (doubtful, other) = add(&mut pipeline, true);
        drop((answer, other));
        pipeline.answered(error(certain, v1::Certainty::NotProposed, v1::ErrorCode::Busy));
        pipeline.answered(error(doubtful, v1::Certainty::Unknown, v1::ErrorCode::TimedOut));
        assert_eq!(ids(&pipeline.refused()), [doubtful], "an outcome is still owed to whoever asks for it");
    }

    #[test]
    fn a_refusal_after_a_lost_answer_is_not_certain() {
        let mut pipeline = Pipeline::new();
        let (id, mut answer) = add(&mut pipeline, true);
        pipeline.unanswered();
        pipeline.answered(error(id, v1::Certainty::NotProposed, v1::ErrorCode::NoSpace));
        assert!(matches!(answer.try_recv(), Ok(Err(Error::Unknown { .. }))));
        let (id, mut answer) = add(&mut pipeline, true);
        pipeline.answered(error(id, v1::Certainty::NotProposed, v1::ErrorCode::NoSpace));
        assert!(matches!(answer.try_recv(), Ok(Err(Error::NotProposed { .. }))));
    }

    #[test]
    fn the_window_is_never_overrun_by_what_is_answered_out_of_order() {
        let mut pipeline = Pipeline::new();
        let (_oldest, _answer) = add(&mut pipeline, true);
        let mut sent = 1;
        while pipeline.room() > 0 {
            let (id, _answer) = add(&mut pipeline, true);
            pipeline.answered(done(id));
            sent += 1;
        }
        assert_eq!(sent, SEQUENCES_MAX);
    }

    #[test]
    fn frames_are_bounded_and_keep_the_order() {
        let pipeline = Pipeline::new();
        let large = |id| {
            let request = v1::PutRequest { value: vec![0; 400 * 1024].into(), ..Default::default() };
            v1::ClientOp { id, op: Some(Op::Put(request)), ..Default::default() }
        };
        let frames = pipeline.frames((1..=5).map(large).collect());
        let sizes: Vec<usize> = frames.iter().map(|frame| frame.ops.len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
        let small = (0..600).map(|id| v1::ClientOp { id, op: Some(Op::Ping(true)), ..Default::default() });
        assert_eq!(pipeline.frames(small.collect()).len(), 2);
    }
}
