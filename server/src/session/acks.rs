//! Keep-alives that wait for their confirmation.

use oarlock_state::{NodeId, SessionId};
use std::collections::VecDeque;

/// One session of one member's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Who asked.
    pub from: NodeId,
    /// In which of its batches.
    pub batch: u64,
    /// Which session.
    pub session: SessionId,
    /// Only how long it has left is asked; it is no sign of life.
    pub look: bool,
    /// When it arrived, in microseconds of the monotonic clock.
    pub arrived_us: u64,
    /// The first round of confirmation that begins after it arrived.
    pub round: u64,
}

/// The answers to one batch, or to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// Who asked.
    pub to: NodeId,
    /// In which of its batches.
    pub batch: u64,
    /// Sessions, with the milliseconds for which they live, or that they have left; zero: there is no
    /// such session.
    pub sessions: Vec<(SessionId, u64)>,
}

/// A bounded queue in order of arrival.
#[derive(Debug)]
pub struct Acks {
    waiting: VecDeque<Pending>,
    waiting_max: usize,
}

/// What to do with one that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer with so many milliseconds.
    Answer(u64),
    /// Not yet.
    Wait,
    /// Whoever asked has given up.
    Drop,
}

impl Acks {
    /// An empty queue.
    pub fn new(waiting_max: usize) -> Self {
        Self { waiting: VecDeque::new(), waiting_max }
    }

    /// Adds one; beyond the bound it is dropped, and its sender asks again.
    pub fn push(&mut self, pending: Pending) {
        if self.waiting.len() < self.waiting_max {
            self.waiting.push_back(pending);
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Lets `judge` decide about each, in order; returns the answers, grouped by batch.
    pub fn settle(&mut self, mut judge: impl FnMut(&Pending) -> Verdict) -> Vec<Answers> {
        let mut answers: Vec<Answers> = Vec::new();
        self.waiting.retain(|pending| match judge(pending) {
            Verdict::Wait => true,
            Verdict::Drop => false,
            Verdict::Answer(valid_ms) => {
                add_answer(&mut answers, pending, valid_ms);
                false
            }
        });
        answers
    }

    /// Empties the queue; returns the batches that were in it.
    pub fn refuse_all(&mut self) -> Vec<(NodeId, u64)> {
        let mut batches: Vec<_> = self.waiting.drain(..).map(|p| (p.from, p.batch)).collect();
        batches.sort_unstable();
        batches.dedup();
        batches
    }
}

fn add_answer(answers: &mut Vec<Answers>, pending: &Pending, valid_ms: u64) {
    let answer = (pending.session, valid_ms);
    // A batch's sessions stand next to each other in the queue.
    if let Some(last) = answers.last_mut()
        && (last.to, last.batch) == (pending.from, pending.batch)
    {
        last.sessions.push(answer);
        return;
    }
    answers.push(Answers { to: pending.from, batch: pending.batch, sessions: vec![answer] });
}
