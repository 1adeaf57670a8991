//! Forwarded proposals: each taken by the leader once, in order, or not at all.
//!
//! A connection between members may break and lose messages, and a network may double them. So the
//! forwards of one member in one term are numbered from 1. The leader takes the number it expects;
//! an earlier one is a repetition and ignored; at a later one it says what it expects, and the
//! sender sends again from there. What the leader took in its term it proposes in that term or
//! never, so [`writes`](super::writes) can tell what was lost.
//!
//! A write can be in two forwards of one term: a snapshot hides whether the first was taken, and a
//! write with a name is then forwarded again. Once applied by the one, both are forgotten here,
//! while the leader may wait for the other still. It is sent empty then: its place must be taken,
//! or the leader would refuse all that follow until the term ends.

use oarlock_proto::internal::peer as pb;
use oarlock_state::NodeId;
use std::collections::{BTreeMap, VecDeque};

/// Forwards on their way that are not known to have been applied. Their number is bounded with the
/// writes they hold.
#[derive(Debug, Default)]
pub(super) struct Sender {
    term: u64,
    sent: VecDeque<Sent>,
    last_sequence: u64,
    /// When forgotten forwards were last sent empty.
    filled_us: u64,
}

/// One forward: which counts it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) sequence: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    sent_us: u64,
}

impl Sender {
    /// Notes a new forward of these counts; returns its sequence.
    pub(super) fn send(&mut self, term: u64, first: u64, last: u64, now_us: u64) -> u64 {
        if self.term != term {
            *self = Self { term, ..Self::default() };
        }
        self.last_sequence += 1;
        self.sent.push_back(Sent { sequence: self.last_sequence, first, last, sent_us: now_us });
        self.last_sequence
    }

    /// This node's proposals up to this count were applied.
    pub(super) fn applied(&mut self, own: u64) {
        while self.sent.front().is_some_and(|sent| sent.last <= own) {
            self.sent.pop_front();
        }
    }

    /// The leader of `term` expects this sequence: what is to be sent again now. Those sent since
    /// `since_us` are taken to be on their way.
    pub(super) fn expected(&mut self, term: u64, sequence: u64, since_us: u64, now_us: u64) -> Vec<Sent> {
        if term != self.term {
            return Vec::new();
        }
        let mut resent = self.forgotten(sequence, since_us, now_us);
        let again = |sent: &&mut Sent| sent.sequence >= sequence && sent.sent_us < since_us;
        resent.extend(self.sent.iter_mut().filter(again).map(|sent| {
            sent.sent_us = now_us;
            *sent
        }));
        resent
    }

    /// The forwards from `sequence` on whose writes were all applied by way of others: they hold
    /// nothing any more.
    fn forgotten(&mut self, sequence: u64, since_us: u64, now_us: u64) -> Vec<Sent> {
        let kept_from = self.sent.front().map_or(self.last_sequence + 1, |sent| sent.sequence);
        if sequence >= kept_from || self.filled_us >= since_us {
            return Vec::new();
        }
        self.filled_us = now_us;
        let empty = |sequence| Sent { sequence, first: 0, last: 0, sent_us: now_us };
        (sequence..kept_from).map(empty).collect()
    }

    /// The oldest, if nothing was heard of it since `since_us`: to be sent again, as a question.
    pub(super) fn overdue(&mut self, term: u64, since_us: u64, now_us: u64) -> Option<Sent> {
        let oldest = self.sent.front_mut().filter(|sent| term == self.term && sent.sent_us < since_us)?;
        oldest.sent_us = now_us;
        Some(*oldest)
    }
}

/// What the leader expects of each member. Lasts for one term.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    term: u64,
    expected: BTreeMap<NodeId, Stream>,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    boot: u64,
    next: u64,
}

/// What to do with a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Propose it, then [`Receiver::took`] it.
    Take,
    /// It was taken before, or does not fit yet: tell the sender what is expected.
    Expect(u64),
    /// Of another term.
    WrongTerm,
}

impl Receiver {
    /// Judges a forward, on the leader of `term`.
    pub(super) fn judge(&mut self, term: u64, from: NodeId, forward: &pb::Forward) -> Admission {
        if forward.term != term {
            return Admission::WrongTerm;
        }
        let next = self.stream(term, from, forward.boot).next;
        if forward.sequence == next { Admission::Take } else { Admission::Expect(next) }
    }

    /// The forward that was expected is as good as proposed.
    pub(super) fn took(&mut self, term: u64, from: NodeId, boot: u64) {
        self.stream(term, from, boot).next += 1;
    }

    fn stream(&mut self, term: u64, from: NodeId, boot: u64) -> &mut Stream {
        if self.term != term {
            *self = Self { term, ..Self::default() };
        }
        let stream = self.expected.entry(from).or_insert(Stream { boot, next: 1 });
        if stream.boot != boot {
            // Restarted: it begins again, and nobody waits for what its predecessor sent.
            *stream = Stream { boot, next: 1 };
        }
        stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(term: u64, boot: u64, sequence: u64) -> pb::Forward {
        pb::Forward { term, boot, sequence, proposals: Vec::new() }
    }

    #[test]
    fn the_leader_takes_each_once_in_order() {
        let mut receiver = Receiver::default();
        let from = NodeId(2);
        assert_eq!(receiver.judge(5, from, &forward(4, 9, 1)), Admission::WrongTerm);
        assert_eq!(receiver.judge(5, from, &forward(5, 9, 2)), Admission::Expect(1));
        assert_eq!(receiver.judge(5, from, &forward(5, 9, 1)), Admission::Take);
        receiver.took(5, from, 9);
        assert_eq!(receiver.judge(5, from, &forward(5, 9, 1)), Admission::Expect(2), "a repetition");
        assert_eq!(receiver.judge(5, from, &forward(5, 9, 2)), Admission::Take);
        assert_eq!(receiver.judge(5, from, &forward(5, 10, 1)), Admission::Take, "the member restarted");
        assert_eq!(receiver.judge(6, from, &forward(6, 9, 1)), Admission::Take, "a new term");
    }

    #[test]
    fn the_sender_goes_back_to_what_is_expected() {
        let mut sender = Sender::default();
        for count in 1..=3 {
            assert_eq!(sender.send(5, count * 10, count * 10 + 9, 100), count);
        }
        sender.applied(19);
        let again: Vec<_> = sender.expected(5, 2, 150, 200).iter().map(|sent| sent.sequence).collect();
        assert_eq!(again, [2, 3]);
        assert!(sender.expected(5, 2, 150, 210).is_empty(), "they are on their way");
        assert_eq!(sender.overdue(5, 500, 600).map(|sent| sent.first), Some(20));
        assert!(sender.overdue(6, 500, 600).is_none(), "another term");
    }

    #[test]
    fn a_forward_that_was_applied_by_another_is_sent_empty() {
        let mut sender = Sender::default();
        sender.send(5, 10, 19, 100);
        // A snapshot came: the same writes go out again, and are applied by the first forward.
        sender.send(5, 10, 19, 190);
        sender.applied(19);
        sender.send(5, 20, 29, 200);
        let again: Vec<_> =
            sender.expected(5, 2, 250, 300).iter().map(|sent| (sent.sequence, sent.last)).collect();
        assert_eq!(again, [(2, 0), (3, 29)]);
        assert!(sender.expected(5, 2, 250, 310).is_empty(), "they are on their way");
        sender.applied(29);
        let again: Vec<_> = sender.expected(5, 3, 350, 400).iter().map(|sent| sent.sequence).collect();
        assert_eq!(again, [3], "with nothing kept too");
    }
}
