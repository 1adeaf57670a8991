//! Messages of other members, and messages to them.

use super::Driver;
use super::admin::{Order, Settled};
use super::alive::Parcel;
use super::changes::{Answer, No};
use super::forward::{Admission, Sent};
use super::rounds::{Asker, Waiting};
use crate::log_format::{membership_from_proto, membership_to_proto, proposal_from_proto, proposal_to_proto};
use crate::node::exchange::{KeepAliveBatch, TimeLimit, ToApplier};
use crate::node::io::Now;
use oarlock_proto::internal::peer as pb;
use oarlock_proto::internal::peer::Envelope;
use oarlock_proto::internal::peer::admin_forward::What;
use oarlock_proto::internal::peer::envelope::Body;
use oarlock_state::command::Obstacle;
use oarlock_state::limits::SESSIONS_PER_ENTRY_MAX;
use oarlock_state::{NodeId, Proposal, SessionId};

impl Driver {
    /// Takes a message of another member. What cannot be read is dropped and logged: its sender is
    /// of another version or broken, and asks again.
    pub(super) fn receive(
        &mut self,
        now: Now,
        from: NodeId,
        envelope: Envelope,
        to_applier: &mut Vec<ToApplier>,
    ) {
        let Some(body) = envelope.body else {
            slog::warn!(self.logger, "message of an unknown kind dropped"; "from" => from.get());
            return;
        };
        match body {
            Body::Raft(message) => {
                let stepped = self.replica.step(message);
                self.stepped(stepped);
            }
            Body::Forward(forward) => self.forwarded(from, forward),
            Body::ForwardRefused(refused) => self.forward_refused(now, refused),
            Body::ReadIndex(request) => self.read_index_asked(now, from, request.context),
            Body::ReadIndexReply(reply) if reply.refused => self.rounds.refused(reply.context),
            Body::ReadIndexReply(reply) => self.confirm(reply.context, reply.index, to_applier),
            Body::KeepAlives(batch) => {
                let sessions = batch.sessions.into_iter().map(SessionId).collect();
                let parcel = Parcel { batch: batch.batch, sessions, look: batch.look };
                self.keep_alives(from, parcel, to_applier);
            }
            Body::KeepAliveReplies(replies) => {
                let pairs = replies.sessions.into_iter().map(SessionId).zip(replies.valid_for_ms);
                let node = self.options.node;
                self.alive_answered(node, replies.batch, pairs.collect(), replies.refused, to_applier);
            }
            Body::Admin(admin) => self.ordered(from, admin, to_applier),
            Body::AdminReply(reply) => {
                let no = No { obstacle: Obstacle::from_number(reply.obstacle), reason: reply.reason };
                let verdict = if reply.accepted { Ok(()) } else { Err(no) };
                let settled = self.requests.answered(reply.request, verdict);
                self.settle(settled, to_applier);
            }
        }
    }

    /// A follower wants its proposals in the log.
    fn forwarded(&mut self, from: NodeId, forward: pb::Forward) {
        let (term, boot) = (self.reign.term, forward.boot);
        let expected = match self.leads().then(|| self.receiver.judge(term, from, &forward)) {
            Some(Admission::Take) => {
                if self.relay(from, &forward) {
                    self.receiver.took(term, from, boot);
                    return;
                }
                forward.sequence
            }
            Some(Admission::Expect(sequence)) => sequence,
            // It was sent to the leader of another term, and is lost with that term.
            Some(Admission::WrongTerm) | None => 0,
        };
        let repeats = expected > forward.sequence;
        let ids =
            if repeats { Vec::new() } else { forward.proposals.iter().filter_map(|one| one.id).collect() };
        let reason = if expected == 0 { "this member does not lead in that term" } else { "not its turn" };
        let refused =
            pb::ForwardRefused { ids, reason: reason.to_owned(), term: forward.term, boot, expected };
        self.mail.push((from, Body::ForwardRefused(refused)));
    }

    /// Keeps forwarded proposals for the next entry; false if there is no room.
    fn relay(&mut self, from: NodeId, forward: &pb::Forward) -> bool {
        let bytes: usize = forward.proposals.iter().map(prost::Message::encoded_len).sum();
        if !self.relayed.has_room(bytes, self.options.pending_bytes_max) {
            return false;
        }
        let read: Result<Vec<Proposal>, _> =
            forward.proposals.iter().cloned().map(proposal_from_proto).collect();
        match read {
            Ok(proposals) => self.relayed.add(proposals, bytes),
            // Taken all the same: sent again it would be as unreadable. Its waiters time out.
            Err(error) => {
                slog::error!(self.logger, "forwarded proposals dropped"; "from" => from.get(), "reason" => %error);
            }
        }
        true
    }

    fn forward_refused(&mut self, now: Now, refused: pb::ForwardRefused) {
        if refused.boot != self.options.boot || refused.expected == 0 || refused.term != self.reign.term {
            return;
        }
        // Those of the last tick are on their way.
        let since_us = now.mono_us.saturating_sub(self.options.tick_us());
        let again = self.sender.expected(refused.term, refused.expected, since_us, now.mono_us);
        for sent in again {
            self.forward_again(sent);
        }
    }

    pub(super) fn forward_again(&mut self, sent: Sent) {
        let proposals = self.writes.handed_between(sent.first, sent.last);
        self.post_forward(sent.sequence, &proposals);
    }

    pub(super) fn post_forward(&mut self, sequence: u64, proposals: &[Proposal]) {
        let forward = pb::Forward {
            term: self.reign.term,
            boot: self.options.boot,
            sequence,
            proposals: proposals.iter().map(proposal_to_proto).collect(),
        };
        self.mail.push((self.reign.leader, Body::Forward(forward)));
    }

    fn read_index_asked(&mut self, now: Now, from: NodeId, context: u64) {
        if !self.leads() {
            self.answer_read_index(from, context, None);
            return;
        }
        // Whoever asks gives up after an election timeout and asks again.
        let limit = TimeLimit { deadline_us: now.mono_us + self.options.election_us(), timeout_ms: 0 };
        let asker = Asker::Peer { node: from, context };
        self.rounds.ask(Waiting { asker, limit });
    }

    pub(super) fn answer_read_index(&mut self, to: NodeId, context: u64, index: Option<u64>) {
        let (index, refused) = (index.unwrap_or(0), index.is_none());
        self.mail.push((to, Body::ReadIndexReply(pb::ReadIndexReply { context, index, refused })));
    }

    pub(super) fn ask_read_index(&mut self, context: u64) {
        self.mail.push((self.reign.leader, Body::ReadIndex(pb::ReadIndexRequest { context })));
    }

    /// A member, perhaps this one, saw sessions alive, or asks how long they have left.
    fn keep_alives(&mut self, from: NodeId, parcel: Parcel, to_applier: &mut Vec<ToApplier>) {
        let Parcel { batch, mut sessions, look } = parcel;
        if !self.leads() {
            self.alive_answered(from, batch, Vec::new(), true, to_applier);
            return;
        }
        sessions.truncate(SESSIONS_PER_ENTRY_MAX);
        let round = self.rounds.want();
        to_applier.push(ToApplier::KeepAlives(KeepAliveBatch { from, batch, sessions, look, round }));
    }

    /// Answers about a batch of keep-alives, for this member or another.
    pub(super) fn alive_answered(
        &mut self,
        to: NodeId,
        batch: u64,
        answers: Vec<(SessionId, u64)>,
        refused: bool,
        to_applier: &mut Vec<ToApplier>,
    ) {
        if to == self.options.node {
            if refused {
                self.alive.refused(batch);
            }
            to_applier.extend(self.alive.answered(batch, &answers));
            return;
        }
        let (sessions, valid_for_ms) =
            answers.into_iter().map(|(session, valid_ms)| (session.get(), valid_ms)).unzip();
        let replies = pb::KeepAliveReplies { batch, sessions, valid_for_ms, refused };
        self.mail.push((to, Body::KeepAliveReplies(replies)));
    }

    /// A member wants something administered.
    fn ordered(&mut self, from: NodeId, admin: pb::AdminForward, to_applier: &mut Vec<ToApplier>) {
        let request = admin.request;
        let order = match admin.what {
            Some(What::Change(change)) => {
                membership_from_proto(change).map(Order::Change).map_err(|error| error.to_string())
            }
            Some(What::MoveLeaderTo(to)) => Ok(Order::Move(NodeId(to))),
            None => Err("of a kind that this version of the leader does not know".to_owned()),
        };
        let answer = match order {
            Ok(order) => self.take_order(from, request, order),
            Err(reason) => {
                let verdict = Err(No::new(Obstacle::Other, reason));
                Some(Answer { to: from, request, verdict })
            }
        };
        self.give_answers(answer, to_applier);
    }

    fn take_order(&mut self, from: NodeId, request: u64, order: Order) -> Option<Answer> {
        if !self.leads() {
            return Some(Answer { to: from, request, verdict: Err(No::ask_the_leader()) });
        }
        self.changes.add(Some((from, request)), order)
    }

    /// Hands answers to orders back to those who gave them.
    pub(super) fn give_answers(
        &mut self,
        answers: impl IntoIterator<Item = Answer>,
        to_applier: &mut Vec<ToApplier>,
    ) {
        for Answer { to, request, verdict } in answers {
            if to == self.options.node {
                let settled = self.requests.answered(request, verdict);
                self.settle(settled, to_applier);
            } else {
                let accepted = verdict.is_ok();
                let No { obstacle, reason } = verdict.err().unwrap_or_else(No::ask_the_leader);
                let obstacle = u32::from(obstacle as u8);
                let reply = pb::AdminReply { request, accepted, reason, obstacle };
                self.mail.push((to, Body::AdminReply(reply)));
            }
        }
    }

    pub(super) fn settle(
        &mut self,
        settled: impl IntoIterator<Item = Settled>,
        to_applier: &mut Vec<ToApplier>,
    ) {
        for one in settled {
            match one {
                Settled::Reply(reply) => to_applier.push(reply),
                Settled::Ask(waiting) => self.rounds.ask(waiting),
            }
        }
    }

    /// Sends keep-alives and administrative requests to whoever leads.
    pub(super) fn send_requests(&mut self, now: Now, to_applier: &mut Vec<ToApplier>) {
        for parcel in self.alive.take_batches(self.reign, now.mono_us) {
            if self.leads() {
                self.keep_alives(self.options.node, parcel, to_applier);
            } else {
                let Parcel { batch, sessions, look } = parcel;
                let sessions = sessions.into_iter().map(SessionId::get).collect();
                let body = Body::KeepAlives(pb::KeepAlives { batch, sessions, look });
                self.mail.push((self.reign.leader, body));
            }
        }
        for (request, order) in self.requests.take_unsent(self.reign) {
            if self.leads() {
                let answer = self.changes.add(Some((self.options.node, request)), order);
                self.give_answers(answer, to_applier);
                continue;
            }
            let what = match &order {
                Order::Change(membership) => What::Change(membership_to_proto(membership)),
                Order::Move(to) => What::MoveLeaderTo(to.get()),
            };
            let forward = pb::AdminForward { request, what: Some(what) };
            self.mail.push((self.reign.leader, Body::Admin(forward)));
        }
    }
}
