//! The words that scenarios are written in: ask, wait, cut, kill, and say what must have happened.

use super::Cast;
use crate::checks::{Checked, Violation};
use crate::history::{Fate, Operation, delete, put, value_of};
use crate::sim::chance::Chance;
use crate::sim::faults::{Mix, Profile};
use crate::sim::network::Place;
use crate::sim::node::{Node, Numbers};
use crate::sim::queue::{MS, SECOND, Time};
use crate::sim::world::{Happening, World};
use crate::watched::Watched;
use bytes::Bytes;
use oarlock_server::node::request::{
    Admin, Consistency, Request, Response, Result as Answered, WatchFrame, WatchSpec, Write,
};
use oarlock_state::command::{KeyRange, OpenSession, RangeQuery, ReplyBody, Txn};
use oarlock_state::event::Keyspace;
use oarlock_state::{Command, NodeId, Query, Reply, RequestId, Revision, SessionId};

/// Virtual milliseconds within which what a script waits for has to come.
const PATIENCE_MS: u64 = 20_000;

/// Why a scenario ended before its end.
#[derive(Debug)]
pub enum End {
    /// The circumstances did not come about.
    Invalid(String),
    /// A promise was broken.
    Wrong(Violation),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Wrong(violation)
    }
}

/// What a step comes to.
pub type Step<T = ()> = Result<T, End>;

/// Something that was asked: its place in the history.
pub type Asked = usize;

/// A world under a script.
pub struct Stage {
    /// The world.
    pub world: World,
    /// For what the script leaves to the seed.
    pub chance: Chance,
    hands: u64,
}

impl Stage {
    /// A cluster without faults, with its clients, about to start.
    pub(super) fn new(cast: Cast, seed: u64, print: bool) -> Self {
        let mut chance = Chance::new(seed);
        let mut mix = Mix::draw(Profile::Everything, &mut chance);
        mix.enabled.clear();
        mix.members = cast.members;
        (mix.stability, mix.think) = (400 * MS, 60 * MS);
        mix.tuning.request_timeout_ms = 3_000;
        (cast.tune)(&mut mix.tuning);
        let own = chance.fork();
        mix.clients = cast.load.to_vec();
        Self { world: World::of(mix, chance, print), chance: own, hands: 0 }
    }

    /// Founds the cluster anew, before it started, with numbers that begin there.
    pub fn count_from(&mut self, numbers: Numbers) {
        let ids: Vec<u64> = self.world.nodes.keys().copied().collect();
        for node in self.world.nodes.values_mut() {
            *node = Node::new(node.id, node.clock.clone());
            node.found_at(&ids, &self.world.mix.tuning, numbers);
        }
    }

    /// The moment.
    pub fn now(&self) -> Time {
        self.world.queue.now()
    }

    // Waiting.

    /// Time passes.
    pub fn pass(&mut self, ms: u64) -> Step {
        let end = self.now() + ms * MS;
        Ok(self.world.run_until(end)?)
    }

    /// Waits until something is so; within a time, otherwise the scenario is invalid.
    pub fn until(&mut self, what: &str, is_so: impl FnMut(&World) -> bool) -> Step {
        let end = self.now() + PATIENCE_MS * MS;
        let came = self.world.run_till(end, is_so)?;
        self.happened(what, came)
    }

    /// Something that must be so for the scenario to mean anything.
    pub fn happened(&self, what: &str, is_so: bool) -> Step {
        if is_so { Ok(()) } else { Err(End::Invalid(format!("it did not happen that {what}"))) }
    }

    /// Waits until something is so, which is promised to be within `ms`.
    pub fn must(
        &mut self,
        check: &'static str,
        what: &str,
        ms: u64,
        is_so: impl FnMut(&World) -> bool,
    ) -> Step {
        let end = self.now() + ms * MS;
        let came = self.world.run_till(end, is_so)?;
        self.promised(check, what, came)
    }

    /// Something that is promised.
    pub fn promised(&self, check: &'static str, what: &str, is_so: bool) -> Step {
        if is_so { Ok(()) } else { Err(Violation::new(check, format!("it is not so that {what}")).into()) }
    }

    /// Waits for any answer.
    pub fn answered(&mut self, asked: Asked) -> Step<Fate> {
        self.until("a request was answered", |world| world.history[asked].fate != Fate::Pending)?;
        Ok(self.fate(asked))
    }

    /// Waits for a yes.
    pub fn done(&mut self, asked: Asked) -> Step<Response> {
        match self.answered(asked)? {
            Fate::Done(response) => Ok(response),
            other => Err(End::Invalid(format!("a request was not done but came to {other:?}"))),
        }
    }

    /// Waits for the log's yes to a write.
    pub fn written(&mut self, asked: Asked) -> Step<Reply> {
        match self.done(asked)? {
            Response::Written(reply) => Ok(reply),
            other => Err(End::Invalid(format!("a write was answered by {other:?}"))),
        }
    }

    // Looking.

    /// What was asked.
    pub fn operation(&self, asked: Asked) -> &Operation {
        &self.world.history[asked]
    }

    /// What came of it, so far.
    pub fn fate(&self, asked: Asked) -> Fate {
        self.world.history[asked].fate.clone()
    }

    /// What a watch saw, so far.
    pub fn watched(&self, watch: usize) -> &Watched {
        &self.world.watched[watch]
    }

    /// The member that leads in the latest term, once it takes writes.
    pub fn leader(&mut self) -> Step<u64> {
        for _ in 0..40 {
            self.until("somebody leads", |world| newest_leader(world).is_some())?;
            let Some(leader) = newest_leader(&self.world) else { continue };
            let asked = self.put(leader, "settled");
            if matches!(self.answered(asked)?, Fate::Done(_)) && newest_leader(&self.world) == Some(leader) {
                return Ok(leader);
            }
            self.pass(100)?;
        }
        Err(End::Invalid("no leader took a write".to_owned()))
    }

    /// Waits for a leader other than this one, of a later term, and returns it as soon as it leads.
    pub fn leader_after(&mut self, old: u64) -> Step<u64> {
        let term = self.world.leaders.get(&old).copied().unwrap_or(0);
        let is_new = move |world: &World| world.leaders.iter().any(|(id, of)| *id != old && *of > term);
        self.until("another member leads", is_new)?;
        newest_leader(&self.world).ok_or_else(|| End::Invalid("the new leader is gone".to_owned()))
    }

    /// The running members but this one.
    pub fn others(&self, than: u64) -> Vec<u64> {
        let running = self.world.nodes.keys().copied();
        running.filter(|id| *id != than && self.world.alive(*id).is_some()).collect()
    }

    /// The last index that a member applied.
    pub fn applied(&self, node: u64) -> u64 {
        self.world.applied.get(&node).copied().unwrap_or(0)
    }

    // Asking.

    /// A new client's connection to a member.
    pub fn connect(&mut self, node: u64) -> u64 {
        self.hands += 1;
        self.world.connect(self.hands, node)
    }

    /// Asks over a connection.
    pub fn ask(&mut self, conn: u64, request: Request) -> Asked {
        self.world.ask_by_hand(conn, request)
    }

    /// Asks a member, over a connection of its own.
    pub fn ask_of(&mut self, node: u64, request: Request) -> Asked {
        let conn = self.connect(node);
        self.ask(conn, request)
    }

    /// Asks a member the same once more: the request stays one.
    pub fn ask_again(&mut self, node: u64, asked: Asked) {
        let conn = self.connect(node);
        self.world.ask_again_by_hand(conn, asked);
    }

    /// Waits until every copy of a request was answered or lost. How many were answered with what was
    /// remembered of an earlier execution.
    pub fn remembered(&mut self, asked: Asked) -> Step<u64> {
        self.until("every copy of a request was answered", |world| world.copies_under_way(asked) == 0)?;
        let is_repeated =
            |answer: &&Answered| matches!(answer, Ok(Response::Written(reply)) if reply.repeated);
        Ok(self.world.answers_to(asked).iter().filter(is_repeated).count() as u64)
    }

    /// Waits until a member has applied what anybody has. Others write meanwhile: a member that starts
    /// with everything on its disk tells nothing until there is something new.
    pub fn must_catch_up(&mut self, node: u64) -> Step {
        let leader = self.leader()?;
        let at = self.world.ledger.last_applied();
        let has_all = move |world: &World| world.applied.get(&node).is_some_and(|applied| *applied >= at);
        for _ in 0..40 {
            let through = newest_leader(&self.world).unwrap_or(leader);
            self.put(through, "meanwhile");
            let end = self.now() + 500 * MS;
            if self.world.run_till(end, has_all)? {
                return Ok(());
            }
        }
        self.promised("liveness", "a member that was behind catches up", false)
    }

    /// A value that no other write has: of the next operation.
    pub fn value(&self) -> Bytes {
        value_of(self.world.history.len() as u64 + 1)
    }

    /// Has a member write a key.
    pub fn put(&mut self, node: u64, key: &str) -> Asked {
        let txn = put(&key.to_owned().into(), self.value());
        self.write(node, Command::Txn(txn))
    }

    /// Has a member remove a key.
    pub fn delete(&mut self, node: u64, key: &str) -> Asked {
        self.write(node, Command::Txn(delete(&key.to_owned().into())))
    }

    /// Has a member propose a command, without a name.
    pub fn write(&mut self, node: u64, command: Command) -> Asked {
        self.ask_of(node, Request::Write(Write::of(command)))
    }

    /// Has a member write so many keys in a row, and waits for each.
    pub fn burst(&mut self, node: u64, count: u64) -> Step {
        for number in 0..count {
            let asked = self.put(node, &format!("b/{}", number % 7));
            self.written(asked)?;
        }
        Ok(())
    }

    /// Reads a key at a member.
    pub fn get(&mut self, node: u64, key: &str, consistency: Consistency) -> Asked {
        let range = KeyRange::Key(key.to_owned().into());
        self.read(node, Query::Range(RangeQuery::of(range)), consistency)
    }

    /// Asks the state of a member.
    pub fn read(&mut self, node: u64, query: Query, consistency: Consistency) -> Asked {
        self.ask_of(node, Request::Read { query, consistency, timeout_ms: 0 })
    }

    /// Opens a session.
    pub fn open_session(&mut self, node: u64, timeout_ms: u64) -> Step<SessionId> {
        let principal = format!("hand {}", self.world.history.len());
        let open = OpenSession { id: SessionId(0), secret: [7; 16], timeout_ms, principal };
        let asked = self.write(node, Command::OpenSession(open));
        match self.written(asked)?.body {
            ReplyBody::SessionOpened { session, .. } => Ok(session),
            other => Err(End::Invalid(format!("a session was not opened but {other:?}"))),
        }
    }

    /// A transaction under a session's name.
    pub fn named(session: SessionId, sequence: u64, acked_up_to: u64, txn: Txn) -> Request {
        let name = RequestId { session, sequence, acked_up_to };
        Request::Write(Write { request: Some(name), ..Write::of(Command::Txn(txn)) })
    }

    /// Changes the cluster through a member.
    pub fn admin(&mut self, node: u64, change: Admin) -> Asked {
        self.ask_of(node, Request::Admin(change))
    }

    /// Forgets history up to a revision.
    pub fn compact(&mut self, node: u64, revision: u64) -> Step<Fate> {
        let asked = self.write(node, Command::Compact { revision: Revision(revision) });
        self.answered(asked)
    }

    /// Watches all keys that begin like this, from a revision on. Returns the watch and its connection.
    pub fn watch(&mut self, node: u64, prefix: &str, start: u64) -> (usize, u64) {
        let conn = self.connect(node);
        (self.world.watch_by_hand(conn, spec(prefix, start)), conn)
    }

    // Faults.

    /// The process dies and stays down; its machine goes on.
    pub fn kill(&mut self, node: u64) -> Checked {
        self.world.fall(node, true)
    }

    /// The machine loses power and stays down.
    pub fn cut_power(&mut self, node: u64) -> Checked {
        self.world.fall(node, false)
    }

    /// All machines lose power at once.
    pub fn blackout(&mut self) -> Checked {
        let all: Vec<u64> = self.world.nodes.keys().copied().collect();
        all.into_iter().try_for_each(|node| self.cut_power(node))
    }

    /// A stopped member's disks are replaced by new ones, on which it is founded as it once was.
    pub fn lose_disk(&mut self, node: u64) {
        let founders: Vec<u64> = (1..=self.world.mix.members).collect();
        let tuning = self.world.mix.tuning.clone();
        self.world.ledger.forget(node);
        if let Some(found) = self.world.nodes.get_mut(&node) {
            let life = found.life;
            *found = Node::new(node, found.clock.clone());
            found.life = life;
            found.found(&founders, &tuning);
        }
    }

    /// The process starts.
    pub fn start(&mut self, node: u64) -> Step {
        self.world.queue.after(0, Happening::Start(node));
        self.until("a member started", |world| world.alive(node).is_some())
    }

    /// All that are down start.
    pub fn start_all(&mut self) -> Step {
        let down = self.world.nodes.values().filter(|node| node.process.is_none() && !node.retired);
        let down: Vec<u64> = down.map(|node| node.id).collect();
        down.into_iter().try_for_each(|node| self.start(node))
    }

    /// Cuts a member off from all others.
    pub fn isolate(&mut self, node: u64) {
        let others: Vec<u64> = self.world.nodes.keys().copied().filter(|other| *other != node).collect();
        self.part(&[node], &others);
    }

    /// Cuts all links between two groups.
    pub fn part(&mut self, ones: &[u64], others: &[u64]) {
        for (one, other) in ones.iter().flat_map(|one| others.iter().map(move |other| (*one, *other))) {
            self.world.network.cut(Place::Node(one), Place::Node(other));
        }
    }

    /// Holds back what goes from one member to another for so long; nothing is lost.
    pub fn hold_back(&mut self, from: u64, to: u64, ms: u64) {
        let until = self.now() + ms * MS;
        self.world.network.clog(Place::Node(from), Place::Node(to), until);
    }

    /// Opens all links between members.
    pub fn mend(&mut self) {
        self.world.network.heal_members();
    }

    /// A process gets no processor for so long.
    pub fn freeze(&mut self, node: u64, ms: u64) {
        let until = self.now() + ms * MS;
        if let Some(process) = self.world.nodes.get_mut(&node).and_then(|node| node.process.as_mut()) {
            process.frozen_until = until;
        }
    }

    /// A process gets no ticks for so long, and everything else: it cannot notice that it is alone.
    pub fn stop_clock(&mut self, node: u64, ms: u64) {
        let until = self.now() + ms * MS;
        if let Some(process) = self.world.nodes.get_mut(&node).and_then(|node| node.process.as_mut()) {
            process.no_ticks_until = until;
        }
    }

    /// Has a member fall behind so far that it needs a snapshot: it is cut off while the others write
    /// and forget their logs.
    pub fn leave_behind(&mut self, node: u64) -> Step {
        self.isolate(node);
        let through = self.leader_among_others(node)?;
        self.burst(through, 60)?;
        self.pass(500)?;
        self.burst(through, 20)
    }

    fn leader_among_others(&mut self, than: u64) -> Step<u64> {
        let leader = self.leader_or_next(than)?;
        self.happened("the leader is another member", leader != than)?;
        Ok(leader)
    }

    fn leader_or_next(&mut self, than: u64) -> Step<u64> {
        if newest_leader(&self.world) == Some(than) {
            self.leader_after(than)?;
        }
        self.leader()
    }

    /// Hands the lead to one of the others and waits for it.
    pub fn move_lead(&mut self, from: u64) -> Step<u64> {
        let asked = self.admin(from, Admin::MoveLeader(NodeId(0)));
        self.answered(asked)?;
        self.leader()
    }
}

/// The member that leads in the latest term.
pub fn newest_leader(world: &World) -> Option<u64> {
    let running = world.leaders.iter().filter(|(id, _)| world.alive(**id).is_some());
    running.max_by_key(|(_, term)| **term).map(|(id, _)| *id)
}

/// A watch of the keys that begin like this.
pub fn spec(prefix: &str, start: u64) -> WatchSpec {
    WatchSpec {
        keyspace: Keyspace::Kv,
        range: KeyRange::prefix(prefix.as_bytes()),
        start: Revision(start),
        want_previous: true,
        no_put: false,
        no_delete: false,
        want_progress: true,
        resync: false,
    }
}

/// Whether a watch was ended.
pub fn is_cancelled(watched: &Watched) -> bool {
    matches!(watched.frames.last(), Some(WatchFrame::Cancelled(_)))
}

/// Seconds, for scripts that count in milliseconds.
pub const fn seconds(count: u64) -> u64 {
    count * SECOND / MS
}
