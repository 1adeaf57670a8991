//! Administrative requests of this node, on their way to whoever leads.

use super::changes::{No, Verdict};
use super::rounds::{Asker, Waiting};
use crate::log_format::Membership;
use crate::node::exchange::{Reign, TimeLimit, ToApplier};
use crate::node::request::{Admin, Origin, Refusal, Response};
use oarlock_state::command::Member;
use oarlock_state::{NodeId, Rejection};
use std::collections::{BTreeMap, BTreeSet};

/// What the leader is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    /// Change the members.
    Change(Membership),
    /// Hand leadership over; zero: to whichever is best.
    Move(NodeId),
}

#[derive(Debug)]
struct Asked {
    origin: Origin,
    order: Order,
    deadline_us: u64,
    timeout_ms: u64,
    /// Under whom it was sent.
    sent: Option<Reign>,
}

/// What came of an answer.
#[derive(Debug)]
pub(super) enum Settled {
    /// Reply this.
    Reply(ToApplier),
    /// Reply with the members, once this node is up to date.
    Ask(Waiting),
}

/// Administrative requests of this node that are not answered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    asked: BTreeMap<u64, Asked>,
    /// Whoever was asked does not lead.
    sent_back: BTreeSet<u64>,
    last: u64,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.asked.len()
    }

    pub(super) fn add(&mut self, origin: Origin, order: Order, deadline_us: u64, timeout_ms: u64) {
        self.last += 1;
        self.asked.insert(self.last, Asked { origin, order, deadline_us, timeout_ms, sent: None });
    }

    /// What is to be sent to the leader now.
    pub(super) fn take_unsent(&mut self, reign: Reign) -> Vec<(u64, Order)> {
        if reign.leader.get() == 0 {
            return Vec::new();
        }
        let unsent = self.asked.iter_mut().filter(|(_, asked)| asked.sent.is_none());
        unsent
            .map(|(request, asked)| {
                asked.sent = Some(reign);
                (*request, asked.order.clone())
            })
            .collect()
    }

    /// The leader answered. A refusal without a reason means: ask the leader, whoever that is.
    pub(super) fn answered(&mut self, request: u64, verdict: Verdict) -> Option<Settled> {
        if verdict.as_ref().is_err_and(No::asks_the_leader) {
            self.sent_back.insert(request);
            return None;
        }
        let asked = self.asked.remove(&request)?;
        let Err(No { obstacle, reason }) = verdict else {
            return Some(asked.done());
        };
        let refusal = match asked.order {
            Order::Change(_) => Refusal::Rejected(Rejection::MembershipRefused { obstacle, reason }),
            Order::Move(_) => Refusal::NotProposed { reason },
        };
        Some(Settled::Reply(ToApplier::Reply { origin: asked.origin, result: Err(refusal) }))
    }

    /// Has what was sent back sent again. At a tick, not at once: the next leader is not known yet.
    pub(super) fn retry_refused(&mut self) {
        for request in std::mem::take(&mut self.sent_back) {
            if let Some(asked) = self.asked.get_mut(&request) {
                asked.sent = None;
            }
        }
    }

    /// Settles what was sent under another leader and will not be answered: a handover is done when
    /// somebody else leads. A change may have been made or not.
    pub(super) fn settle(&mut self, reign: Reign, now_us: u64) -> Vec<Settled> {
        let mut settled = Vec::new();
        if reign.leader.get() == 0 {
            return settled;
        }
        let sent_back = &self.sent_back;
        let is_old = |request: &u64, asked: &Asked| {
            asked.sent.is_some_and(|sent| sent.term < reign.term) && !sent_back.contains(request)
        };
        let old = self.asked.iter().filter(|(request, asked)| is_old(request, asked));
        let requests: Vec<u64> = old.map(|(request, _)| *request).collect();
        for request in requests {
            let Some(asked) = self.asked.remove(&request) else {
                continue;
            };
            let was = asked.sent.map(|sent| sent.leader);
            settled.push(match &asked.order {
                Order::Move(to) if *to == reign.leader || (to.get() == 0 && was != Some(reign.leader)) => {
                    asked.done()
                }
                Order::Move(_) => {
                    let reason = format!("member {} became the leader instead", reign.leader);
                    let result = Err(Refusal::NotProposed { reason });
                    Settled::Reply(ToApplier::Reply { origin: asked.origin, result })
                }
                Order::Change(_) => asked.unknown(now_us),
            });
        }
        settled
    }

    /// Refuses what waited too long.
    pub(super) fn expire(&mut self, now_us: u64) -> Vec<Settled> {
        let late: Vec<u64> = self
            .asked
            .iter()
            .filter(|(_, asked)| asked.deadline_us <= now_us)
            .map(|(request, _)| *request)
            .collect();
        late.into_iter()
            .filter_map(|request| self.asked.remove(&request))
            .map(|asked| match (&asked.sent, &asked.order) {
                (Some(_), Order::Change(_)) => asked.unknown(now_us),
                (Some(_), Order::Move(_)) => {
                    let refusal = Refusal::TimedOut { after_ms: asked.timeout_ms };
                    Settled::Reply(ToApplier::Reply { origin: asked.origin, result: Err(refusal) })
                }
                (None, _) => {
                    Settled::Reply(ToApplier::Reply { origin: asked.origin, result: Err(Refusal::NoLeader) })
                }
            })
            .collect()
    }
}

impl Asked {
    fn done(&self) -> Settled {
        match &self.order {
            Order::Change(membership) => {
                let added = membership.put.iter().find(|member| member.learner).map(|member| member.node);
                let asker = Asker::Members { origin: self.origin, added: added.unwrap_or_default() };
                let limit = TimeLimit { deadline_us: self.deadline_us, timeout_ms: self.timeout_ms };
                Settled::Ask(Waiting { asker, limit })
            }
            Order::Move(_) => {
                Settled::Reply(ToApplier::Reply { origin: self.origin, result: Ok(Response::Done) })
            }
        }
    }

    fn unknown(&self, now_us: u64) -> Settled {
        let left_ms = self.deadline_us.saturating_sub(now_us) / 1_000;
        let after_ms = self.timeout_ms.saturating_sub(left_ms);
        let result = Err(Refusal::Unknown { after_ms });
        Settled::Reply(ToApplier::Reply { origin: self.origin, result })
    }
}

/// The order for a request. `new_id` is for a member that is added.
///
/// # Errors
/// The request makes no sense.
pub(super) fn order(admin: Admin, new_id: NodeId) -> Result<Order, Refusal> {
    let change = |put: Vec<Member>, remove: Vec<NodeId>| {
        Order::Change(Membership { put, remove, ..Membership::default() })
    };
    Ok(match admin {
        Admin::AddMember { peer_urls, name, stay_learner } => {
            if peer_urls.is_empty() || peer_urls.iter().any(String::is_empty) {
                let what = "a new member needs at least one peer URL, and none may be empty".to_owned();
                return Err(Refusal::Invalid { what });
            }
            change(vec![Member { name, peer_urls, stay_learner, ..nameless(new_id, true) }], Vec::new())
        }
        Admin::RemoveMember(node) => change(Vec::new(), vec![node]),
        Admin::PromoteMember(node) => promotion(node),
        Admin::MoveLeader(to) => Order::Move(to),
    })
}

/// The order that makes a learner a voter. The leader fills in what it knows of the member.
pub(super) fn promotion(node: NodeId) -> Order {
    Order::Change(Membership { put: vec![nameless(node, false)], ..Membership::default() })
}

fn nameless(node: NodeId, learner: bool) -> Member {
    Member {
        node,
        name: String::new(),
        peer_urls: Vec::new(),
        client_urls: Vec::new(),
        learner,
        stay_learner: false,
        version: String::new(),
    }
}
