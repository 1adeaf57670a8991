//! A whole run: faults first, then healing, and then everything must come right in bounded time.

use super::client::{Client, Kind};
use super::clock::WALL_START_MS;
use super::coverage::Coverage;
use super::faults::{Fault, Profile};
use super::ledger::Ledger;
use super::limits::Limits;
use super::objects;
use super::queue::{MS, SECOND, Time};
use super::report::Stats;
use super::workload;
use super::world::{Happening, World};
use crate::checks::lock_no_lost_wakeup::Rest;
use crate::checks::session_eventually::Living;
use crate::checks::{self, Checked, Violation};
use crate::history::{Fate, Operation, number_in};
use crate::model::objects::asked;
use oarlock_server::node::request::{Admin, Consistency, Request, Response};
use oarlock_state::command::{Answer, KeyRange, RangeQuery};
use oarlock_state::event::EventKind;
use oarlock_state::object::{ObjectEvent, ObjectQuery, ObjectReply};
use oarlock_state::{NodeId, Query, SessionId};
use std::collections::{BTreeMap, BTreeSet};

/// Virtual time after healing within which everything must have come right.
const CONVERGENCE: Time = 60 * SECOND;
/// Virtual time for elections and replay that a session's end may take beyond its timeout.
const SESSION_BOUND: Time = 5 * SECOND;
/// Virtual time that the leader may take to let go of what is due.
const ELAPSE_BOUND: Time = 5 * SECOND;
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
    /// What it was about.
    pub profile: Profile,
    /// What was left out.
    pub limits: Limits,
    /// What it was like.
    pub mix: String,
    /// Faults that it knew.
    pub known: Vec<Fault>,
    /// What struck, by number.
    pub struck: Vec<(u64, Fault)>,
    /// How many clients there were.
    pub clients: u64,
    /// Length of the phase with faults.
    pub length: Time,
    /// What happened, in numbers.
    pub stats: Stats,
    /// Which features met which faults.
    pub coverage: Coverage,
    /// Hash of everything that happened.
    pub trace_hash: u64,
    /// The first property that did not hold.
    pub verdict: Checked,
}

impl Outcome {
    /// The command that runs it once more, and prints everything.
    pub fn replay(&self) -> String {
        let only = match self.profile {
            Profile::Everything => "",
            Profile::Locks => "--only locks ",
        };
        let (seed, limits) = (self.seed, &self.limits);
        format!("cargo run --release -p oarlock-tests --bin sim -- {only}--seed {seed} {limits}--trace")
    }
}

/// Runs one seed from beginning to end.
///
/// A panic anywhere is a verdict like any other: it stops the node that it happens in.
pub fn run(seed: u64, profile: Profile, print: bool) -> Outcome {
    run_within(seed, profile, &Limits::default(), print)
}

/// Runs what these limits leave of a seed.
pub fn run_within(seed: u64, profile: Profile, limits: &Limits, print: bool) -> Outcome {
    let mut world = World::new(seed, profile, limits, print);
    let clients = world.clients.len() as u64;
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
    for event in &world.ledger.events {
        match &event.kind {
            EventKind::Object(ObjectEvent::Lost { withheld_until_ms: 1.., .. }) => {
                stats.count("lock: holds withheld");
            }
            EventKind::Object(ObjectEvent::Elapsed { .. }) => stats.count("lock: delays over"),
            _ => {}
        }
    }
    stats.add("run: virtual seconds", world.queue.now() / SECOND);
    let known = Fault::ALL.into_iter().filter(|fault| world.mix.knows(*fault)).collect();
    Outcome {
        seed,
        profile,
        limits: limits.clone(),
        mix: world.mix.to_string(),
        known,
        length: world.mix.length(),
        struck: world.struck,
        clients,
        stats,
        coverage: world.coverage,
        trace_hash: world.trace.hash(),
        verdict,
    }
}

impl World {
    fn live(&mut self) -> Checked {
        let length = self.mix.length();
        self.run_until(length)?;
        self.judge_histories()?;
        self.come_right()
    }

    /// Everything is healed, must come right, and must come back to the same after a loss of power.
    pub(super) fn come_right(&mut self) -> Checked {
        self.heal();
        let healed = self.queue.now();
        self.converge(healed + CONVERGENCE)?;
        let lock_delay = objects::LOCK_DELAY_MS_MAX * MS;
        self.run_until(self.queue.now() + SESSION_TIMEOUT * 5 / 4 + SESSION_BOUND + lock_delay)?;
        // Those who got what the dead had held let go of it.
        self.converge(self.queue.now() + CONVERGENCE)?;
        self.read_everything(healed)?;
        // Once more from what is on disk alone.
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            let kill = self.chance.one_in(2);
            self.crash(id, kill)?;
        }
        self.converge(self.queue.now() + CONVERGENCE)?;
        // For what was due while nobody led.
        self.run_until(self.queue.now() + SECOND)?;
        self.converge(self.queue.now() + CONVERGENCE)?;
        self.read_everything(healed)?;
        self.judge_histories()?;
        self.judge_states()
    }

    /// All faults end; everybody who may start, starts; clients begin nothing new.
    fn heal(&mut self) {
        self.healing = true;
        self.coverage.calm();
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
            client.frozen_until = 0;
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
        if let Some(open) = self.clients.iter().find_map(|client| client.open_claim(&self.ledger.holders)) {
            return Some(open);
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

    /// Reads lists, registers, sessions and objects through every member, linearizably.
    fn read_everything(&mut self, healed: Time) -> Checked {
        let everything = KeyRange::Span { start: vec![1].into(), end: None };
        let range = Query::Range(RangeQuery::of(everything));
        let sessions = Query::Sessions { after: SessionId(0), limit: 1000 };
        let position = self.clients.len();
        self.clients.push(Client::new(READER, Kind::Raw, self.chance.fork()));
        let members: Vec<u64> = self.members.iter().map(|member| member.node.get()).collect();
        let from = self.history.len();
        for id in members {
            let objects = objects::names().map(|name| ObjectQuery::Describe { name, skip: 0, limit: 1000 });
            for query in [range.clone(), sessions.clone()].into_iter().chain(objects.map(Query::Object)) {
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
        self.judge_rest(from)?;
        self.judge_reads(from, healed)
    }

    /// Judges what is left of locks and elections, as each member tells it.
    fn judge_rest(&mut self, from: usize) -> Checked {
        let known = self.clients.iter().flat_map(Client::known_claims).collect();
        let due_ms = WALL_START_MS + self.queue.now().saturating_sub(ELAPSE_BOUND) / MS;
        let rest = Rest { known, due_ms, ..Rest::default() };
        let mut by_member: BTreeMap<u64, (BTreeSet<u64>, Rest)> = BTreeMap::new();
        for operation in self.history[from..].iter().filter(|operation| operation.client == READER) {
            let Fate::Done(Response::Answer { answer, revision, .. }) = &operation.fate else { continue };
            let (revisions, rest) =
                by_member.entry(operation.node).or_insert_with(|| (BTreeSet::new(), rest.clone()));
            revisions.insert(revision.get());
            match answer {
                Answer::Object(ObjectReply::Described(info)) => rest.objects.push(info.clone()),
                Answer::Sessions { sessions, .. } => {
                    rest.sessions.extend(sessions.iter().map(|found| found.session));
                }
                _ => {}
            }
        }
        for (revisions, rest) in by_member.values() {
            if revisions.len() == 1 {
                checks::lock_no_lost_wakeup::check_rest(rest)?;
            } else {
                self.stats.count("check: rest of several revisions");
            }
        }
        Ok(())
    }

    fn read_through(&mut self, position: usize, node: u64, query: Query) {
        let request = Request::Read { query, consistency: Consistency::Linearizable, timeout_ms: 0 };
        self.with_client(position, |client, desk| client.ask_of(desk, node, request));
    }

    fn with(&mut self, position: usize) {
        self.with_client(position, Client::wake);
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
        checks::session_stays_gone::check(&self.history)?;
        checks::ephemeral_with_session::check(&ledger.events, &ledger.ends)?;
        checks::token_exclusive::check(&ledger.executions, &ledger.events)?;
        self.judge_locks()?;
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

    /// Judges locks and elections so far.
    fn judge_locks(&self) -> Checked {
        let Ledger { executions, events, taken, stamps, .. } = &self.ledger;
        let asked = asked(executions.iter().map(|execution| &execution.proposal.command));
        let (tenures, promises) = (&self.tenures, &self.promises);
        checks::lock_exclusive::check(&asked, events, tenures, taken, promises, SKEW_PPM)?;
        checks::lock_fifo::check(&asked, events)?;
        checks::lock_no_lost_wakeup::check(&asked, events)?;
        checks::lock_delay_kept::check(executions, events, stamps)
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
