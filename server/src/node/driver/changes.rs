//! The leader's side of administration: one order at a time, answered when it is done.

use super::admin::Order;
use crate::consensus::{NotProposed, Replica, conf};
use crate::log_format::Membership;
use crate::node::exchange::OWN_BUSINESS;
use bytes::Bytes;
use oarlock_state::command::{Member, Obstacle};
use oarlock_state::{NodeId, ProposalId};
use std::collections::VecDeque;

/// Orders that may wait.
const QUEUE_MAX: usize = 64;

/// Who gave an order: a member, and its number for it. None: the leader itself.
pub(super) type Giver = Option<(NodeId, u64)>;

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct No {
    pub(super) obstacle: Obstacle,
    /// Empty: nothing was done; ask the leader, whoever that is.
    pub(super) reason: String,
}

impl No {
    pub(super) fn new(obstacle: Obstacle, reason: impl Into<String>) -> Self {
        Self { obstacle, reason: reason.into() }
    }

    pub(super) fn ask_the_leader() -> Self {
        Self::new(Obstacle::Other, "")
    }

    pub(super) fn asks_the_leader(&self) -> bool {
        self.reason.is_empty()
    }
}

/// What came of an order.
pub(super) type Verdict = Result<(), No>;

/// An answer to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) to: NodeId,
    pub(super) request: u64,
    pub(super) verdict: Verdict,
}

#[derive(Debug)]
enum Active {
    /// Waits for the entry of this id, and for the joint configuration to be left.
    Change { giver: Giver, id: ProposalId, seen: bool },
    /// Waits for somebody else to lead.
    Move { giver: Giver, deadline_us: u64 },
}

/// Orders that this leader works on. Everything is forgotten when its reign ends; those who gave
/// orders notice by the new leader.
#[derive(Debug)]
pub(super) struct Changes {
    node: NodeId,
    queue: VecDeque<(Giver, Order)>,
    active: Option<Active>,
    proposed: u64,
}

impl Changes {
    pub(super) fn new(node: NodeId) -> Self {
        Self { node, queue: VecDeque::new(), active: None, proposed: 0 }
    }

    /// Nothing is under way or waits.
    pub(super) fn is_idle(&self) -> bool {
        self.active.is_none() && self.queue.is_empty()
    }

    /// Takes an order; an answer at once means no.
    pub(super) fn add(&mut self, giver: Giver, order: Order) -> Option<Answer> {
        if self.queue.len() >= QUEUE_MAX {
            let no = No::new(Obstacle::NotNow, "too many changes wait already; retry after a pause");
            return answer(giver, Err(no));
        }
        self.queue.push_back((giver, order));
        None
    }

    /// Works on the next order, if none is under way. `move_max_us` bounds a handover.
    pub(super) fn work(
        &mut self,
        replica: &mut Replica,
        members: &[Member],
        now_us: u64,
        move_max_us: u64,
    ) -> Option<Answer> {
        if self.active.is_some() {
            return None;
        }
        let (giver, order) = self.queue.pop_front()?;
        let begun = match order {
            Order::Move(to) => self.begin_move(replica, giver, to, now_us + move_max_us),
            Order::Change(membership) => {
                if membership.remove.contains(&self.node) && replica.abdicate().is_ok() {
                    // The next leader does it.
                    return answer(giver, Err(No::ask_the_leader()));
                }
                self.begin_change(replica, giver, membership, members)
            }
        };
        begun.err().and_then(|no| answer(giver, Err(no)))
    }

    fn begin_move(&mut self, replica: &mut Replica, giver: Giver, to: NodeId, deadline_us: u64) -> Verdict {
        if to == self.node {
            self.active = None;
            return Err(No::new(Obstacle::Other, format!("member {to} leads already")));
        }
        let begun = if to.get() == 0 { replica.abdicate().map(drop) } else { replica.transfer_leader(to) };
        begun.map_err(reason)?;
        self.active = Some(Active::Move { giver, deadline_us });
        Ok(())
    }

    fn begin_change(
        &mut self,
        replica: &mut Replica,
        giver: Giver,
        membership: Membership,
        members: &[Member],
    ) -> Verdict {
        let mut change = complete(membership, members)?;
        self.proposed += 1;
        change.id = ProposalId { node: self.node, boot: OWN_BUSINESS, count: self.proposed };
        let id = change.id;
        replica.propose_membership(change).map_err(reason)?;
        self.active = Some(Active::Change { giver, id, seen: false });
        Ok(())
    }

    /// A membership entry was applied.
    pub(super) fn applied(&mut self, id: ProposalId, conf_state: &Bytes) -> Option<Answer> {
        let Some(Active::Change { giver, id: own, seen }) = &mut self.active else {
            return None;
        };
        *seen |= *own == id;
        let is_joint = conf::is_joint(conf_state).unwrap_or(false);
        if !*seen || is_joint {
            return None;
        }
        let giver = *giver;
        self.active = None;
        answer(giver, Ok(()))
    }

    /// Time passed: a handover that nobody takes up is given up.
    pub(super) fn tick(&mut self, now_us: u64) -> Option<Answer> {
        match self.active {
            Some(Active::Move { giver, deadline_us }) if deadline_us <= now_us => {
                self.active = None;
                let reason = "the member did not take over in time; it may be unreachable";
                answer(giver, Err(No::new(Obstacle::Other, reason)))
            }
            Some(Active::Move { .. } | Active::Change { .. }) | None => None,
        }
    }

    /// The reign is over: what was not begun is to be asked of the next leader.
    pub(super) fn end(&mut self) -> Vec<Answer> {
        self.active = None;
        self.queue.drain(..).filter_map(|(giver, _)| answer(giver, Err(No::ask_the_leader()))).collect()
    }

    /// Which of these learners, which have caught up, should be promoted next.
    pub(super) fn to_promote(&self, caught_up: Vec<NodeId>, members: &[Member]) -> Option<NodeId> {
        let may = |node: &NodeId| members.iter().any(|member| member.node == *node && !member.stay_learner);
        caught_up.into_iter().find(may)
    }
}

fn reason(refused: NotProposed) -> No {
    match refused {
        // Whoever leads next can do it.
        NotProposed::NotLeader { .. } | NotProposed::Removed | NotProposed::Transferring { .. } => {
            No::ask_the_leader()
        }
        NotProposed::Full => No::new(Obstacle::NotNow, refused.to_string()),
        NotProposed::TooLarge { .. } => No::new(Obstacle::Other, refused.to_string()),
        NotProposed::Refused { obstacle, reason } => No { obstacle, reason },
    }
}

fn answer(giver: Giver, verdict: Verdict) -> Option<Answer> {
    let (to, request) = giver?;
    Some(Answer { to, request, verdict })
}

/// Fills in what is known of members, and refuses what contradicts it.
fn complete(mut change: Membership, members: &[Member]) -> Result<Membership, No> {
    let missing = |node| No::new(Obstacle::NoSuchMember, format!("member {node} does not exist"));
    for put in &mut change.put {
        if let Some(known) = members.iter().find(|member| member.node == put.node) {
            let stay_learner = put.learner && known.stay_learner;
            *put = Member { learner: put.learner, stay_learner, ..known.clone() };
            continue;
        }
        if put.peer_urls.is_empty() {
            return Err(missing(put.node));
        }
        let taken = |url: &&String| members.iter().any(|member| member.peer_urls.contains(url));
        if let Some(url) = put.peer_urls.iter().find(taken) {
            let reason = format!("peer URL {url} belongs to a member already; remove that one first");
            return Err(No::new(Obstacle::AddressTaken, reason));
        }
    }
    for node in &change.remove {
        if !members.iter().any(|member| member.node == *node) {
            return Err(missing(*node));
        }
    }
    Ok(change)
}
