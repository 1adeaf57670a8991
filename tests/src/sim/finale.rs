//! A whole run: faults first, then healing, and then everything must come right in bounded time.

use super::client::Kind;
use super::queue::{MS, SECOND, Time};
use super::report::Stats;
use super::workload;
use super::world::{Happening, World};
use crate::checks::session_eventually::Living;
use crate::checks::{self, Checked, Violation};
use crate::history::{Fate, Operation, number_in};
use oarlock_server::node::request::{Admin, Consistency, Request, Response};
use oarlock_state::command::{Answer, KeyRange, RangeQuery};
use oarlock_state::{NodeId, Query, SessionId};
use std::collections::BTreeMap;

/// Virtual time after healing within which everything must have come right.
const CONVERGENCE: Time = 60 * SECOND;
/// Virtual time for elections and replay that a session's end may take beyond its timeout.
const SESSION_BOUND: Time = 5 * SECOND;
/// The longest session timeout that clients ask for.
const SESSION_TIMEOUT: Time = 6 * SECOND;
/// The client that reads everything in the end.
const READER: u64 = 1000;
/// Parts per million by which a clock may be fast.
const SKEW_PPM: u64 = 1000;

/// What a run came to.
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What it was like.
    pub mix: String,
    /// What happened, in numbers.
    pub stats: Stats,
    /// Hash of everything that happened.
    pub trace_hash: u64,
    /// The first property that did not hold.
    pub verdict: Checked,
}

/// Runs one seed from beginning to end.
///
/// A panic anywhere is a verdict like any other: it stops the node that it happens in.
pub fn run(seed: u64, print: bool) -> Outcome {
    let mut world = World::new(seed, print);
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.live()));
    let verdict = lived.unwrap_or_else(|reason| {
        let text = reason.downcast_ref::<String>().map(String::as_str);
        let text = text.or(reason.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Violation::new("panic", text))
    });
    let mut stats = std::mem::take(&mut world.stats);
    stats.add("run: operations", world.history.len() as u64);
    stats.add("run: entries applied", world.ledger.last_applied());
    stats.add("run: sessions expired", world.ledger.expiries.len() as u64);
    stats.add("run: virtual seconds", world.queue.now() / SECOND);
    let mix = world.mix.to_string();
    Outcome { seed, mix, stats, trace_hash: world.trace.hash(), verdict }
}

impl World {
    fn live(&mut self) -> Checked {
        let length = self.mix.length;
        self.run_until(length)?;
        self.judge_histories()?;
        self.heal();
        let healed = self.queue.now();
        self.converge(healed + CONVERGENCE)?;
        self.run_until(self.queue.now() + SESSION_TIMEOUT * 5 / 4 + SESSION_BOUND)?;
        self.read_everything(healed)?;
        // Once more from what is on disk alone.
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            let kill = self.chance.one_in(2);
            self.crash(id, kill)?;
        }
        self.converge(self.queue.now() + CONVERGENCE)?;
        self.read_everything(healed)?;
        self.judge_histories()?;
        self.judge_states()
    }

    /// All faults end; everybody who may start, starts; clients begin nothing new.
    fn heal(&mut self) {
        self.healing = true;
        self.trace.note(format_args!("heal"));
        self.network.heal();
        self.slow.clear();
        let now = self.queue.now();
        for (id, node) in &mut self.nodes {
            node.disk.disarm();
            node.clock.settle();
            if let Some(process) = &mut node.process {
                (process.frozen_until, process.no_ticks_until) = (now, now);
            } else if !node.retired {
                self.queue.after(100 * MS, Happening::Start(*id));
            }
        }
        for (position, client) in self.clients.iter_mut().enumerate() {
            client.active = false;
            if position % 2 == 0 {
                client.forget_session();
            }
        }
        let lives: Vec<u64> = self.nodes.keys().copied().collect();
        for id in lives {
            if let Some(alive) = self.alive(id) {
                self.queue.after(0, Happening::Work(alive));
            }
        }
    }

    /// Waits until everything has come right.
    fn converge(&mut self, deadline: Time) -> Checked {
        let mut next_help = 0;
        loop {
            self.run_until(self.queue.now() + 20 * MS)?;
            let Some(problem) = self.unsettled() else { return Ok(()) };
            if self.queue.now() > deadline {
                return Err(Violation::new("liveness", problem));
            }
            if self.queue.now() > next_help {
                next_help = self.queue.now() + 2 * SECOND;
                self.tidy_up_members();
            }
        }
    }

    /// Removes members whose disks are lost and stops former members, as an operator would.
    fn tidy_up_members(&mut self) {
        let lost: Vec<NodeId> = self
            .members
            .iter()
            .map(|member| member.node)
            .filter(|id| self.nodes.get(&id.get()).is_some_and(|node| node.retired))
            .collect();
        for id in lost {
            self.admin(Admin::RemoveMember(id));
        }
        // A member that was away when it was removed does not learn of it: somebody turns it off.
        let is_member = |id: &u64| self.members.iter().any(|member| member.node.get() == *id);
        let former: Vec<u64> =
            self.nodes.keys().copied().filter(|id| !is_member(id) && self.alive(*id).is_some()).collect();
        for id in former {
            self.stats.count("membership: former member turned off");
            self.stop_for_good(id);
        }
    }

    /// What has not come right yet.
    fn unsettled(&self) -> Option<String> {
        let members: Vec<u64> = self.members.iter().map(|member| member.node.get()).collect();
        if let Some(id) = members.iter().find(|id| self.nodes.get(id).is_none_or(|node| node.retired)) {
            return Some(format!("member {id} is lost and still a member"));
        }
        if let Some(id) = members.iter().find(|id| self.alive(**id).is_none()) {
            return Some(format!("member {id} does not run"));
        }
        let leaders: Vec<&u64> = members.iter().filter(|id| self.leaders.contains_key(id)).collect();
        if leaders.len() != 1 {
            return Some(format!("the leaders are {leaders:?} of {members:?}"));
        }
        if let Some(client) = self.clients.iter().find(|client| client.is_busy()) {
            return Some(client.waits_for(&self.history));
        }
        let last = self.ledger.last_applied();
        let behind = |id: &&u64| self.applied.get(id).copied().unwrap_or(0) < last;
        if let Some(id) = members.iter().find(behind) {
            return Some(format!("member {id} applied {:?} of {last}", self.applied.get(id)));
        }
        let revision = self.ledger.revision;
        let slow = self.clients.iter().find(|c| c.watched_through().is_some_and(|seen| seen < revision));
        slow.map(|client| {
            format!("watch of client {} is at {:?} of {revision}", client.number, client.watched_through())
        })
    }

    /// Reads lists, registers and sessions through every member, linearizably.
    fn read_everything(&mut self, healed: Time) -> Checked {
        let everything = KeyRange::Span { start: vec![1].into(), end: None };
        let range = Query::Range(RangeQuery::of(everything));
        let sessions = Query::Sessions { after: SessionId(0), limit: 1000 };
        let position = self.clients.len();
        self.clients.push(super::client::Client::new(READER, Kind::Raw, self.chance.fork()));
        let members: Vec<u64> = self.members.iter().map(|member| member.node.get()).collect();
        let from = self.history.len();
        for id in members {
            for query in [range.clone(), sessions.clone()] {
                self.clients[position].active = false;
                self.read_through(position, id, query);
            }
        }
        let deadline = self.queue.now() + 10 * SECOND;
        while self.clients[position].is_busy() && self.queue.now() < deadline {
            self.run_until(self.queue.now() + 10 * MS)?;
            self.with(position);
        }
        self.clients.truncate(position);
        self.judge_reads(from, healed)
    }

    fn read_through(&mut self, position: usize, node: u64, query: Query) {
        let request = Request::Read { query, consistency: Consistency::Linearizable, timeout_ms: 0 };
        self.with_client(position, |client, desk| client.ask_of(desk, node, request));
    }

    fn with(&mut self, position: usize) {
        self.with_client(position, super::client::Client::wake);
    }

    fn judge_reads(&self, from: usize, healed: Time) -> Checked {
        let mut lists = BTreeMap::new();
        for operation in self.history[from..].iter().filter(|operation| operation.client == READER) {
            match &operation.fate {
                Fate::Done(Response::Answer { answer: Answer::Range(reply), .. }) => {
                    for record in &reply.records {
                        lists.insert(record.key.clone(), record.value.clone());
                    }
                }
                Fate::Done(Response::Answer { answer: Answer::Sessions { sessions, .. }, .. }) => {
                    let living = sessions.iter().map(|found| Living {
                        session: found.session.get(),
                        timeout: found.timeout_ms * MS,
                        last_sign: self.signs.get(&found.principal).copied().unwrap_or(0),
                    });
                    let living: Vec<Living> = living.collect();
                    checks::session_eventually::check(&living, healed, SESSION_BOUND, operation.invoked)?;
                }
                Fate::Pending => {
                    return Err(Violation::new("liveness", format!("no answer to {operation:?}")));
                }
                _ => {}
            }
        }
        (0..workload::LISTS).try_for_each(|number| {
            let key = workload::list(number);
            let value = lists.get(&key).cloned().unwrap_or_default();
            let text = String::from_utf8_lossy(&value);
            let found: Vec<u64> = text.split(',').filter_map(|item| number_in(item.as_bytes())).collect();
            checks::exactly_once::check_appended(&self.appended_to(&key), &found)
        })
    }

    /// Numbers whose appending to a list was acknowledged.
    fn appended_to(&self, key: &bytes::Bytes) -> Vec<u64> {
        let is_append = |operation: &&Operation| {
            operation.txn().is_some_and(|txn| *txn == workload::append(key, operation.number))
        };
        self.history.iter().filter(|o| o.reply().is_some()).filter(is_append).map(|o| o.number).collect()
    }

    /// Judges what clients and watchers were told so far.
    fn judge_histories(&mut self) -> Checked {
        let ledger = &self.ledger;
        let undecided = checks::linearizable::check(&self.history, workload::is_register)?;
        checks::revision_order::check(&self.history, &ledger.events)?;
        checks::exactly_once::check(&ledger.executions, &self.history)?;
        checks::errors_of_four_kinds::check(&ledger.executions, &self.history)?;
        checks::session_not_early::check(&self.promises, &ledger.expiries, SKEW_PPM)?;
        checks::ephemeral_with_session::check(&ledger.events, &ledger.ends)?;
        checks::token_exclusive::check(&ledger.executions, &ledger.events)?;
        for watched in &self.watched {
            checks::watch_ordered::check(watched)?;
            checks::watch_no_duplicate::check(watched)?;
            checks::watch_atomic::check(watched)?;
            checks::watch_resumable::check(watched)?;
            checks::watch_bookmarkable::check(watched)?;
            checks::watch_no_gap::check(watched, &ledger.events)?;
        }
        self.stats.add("check: keys not decided within the budget", undecided);
        Ok(())
    }

    /// Proves the invariants of every member's state as it is on disk.
    fn judge_states(&self) -> Checked {
        for node in self.nodes.values().filter(|node| !node.retired) {
            if let Err(reason) = node.check_state() {
                return Err(Violation::new("state_invariants", format!("member {}: {reason}", node.id)));
            }
        }
        Ok(())
    }
}
