//! The world: members, clients, network and time, in one loop.

use super::chance::Chance;
use super::client::{Client, Desk, Kind};
use super::clock::Clock;
use super::coverage::{Coverage, Feature};
use super::faults::{Fault, Mix, Profile};
use super::hand::Hand;
pub use super::happening::{Alive, Conn, Happening, Job, Undo};
use super::ledger::Ledger;
use super::limits::Limits;
use super::network::{Network, Place};
use super::node::{Node, Started};
use super::queue::{MS, Queue, Time};
use super::report::Stats;
use super::trace::Trace;
use crate::checks::lock_exclusive::Tenure;
use crate::checks::session_not_early::Promise;
use crate::checks::{Checked, Violation};
use crate::history::Operation;
use crate::watched::Watched;
use oarlock_server::node::io::{Input, Output};
use oarlock_server::node::request::Request;
use oarlock_state::command::Member;
use std::collections::BTreeMap;

/// Everything.
pub struct World {
    /// What happens next.
    pub queue: Queue<Happening>,
    /// All randomness of the world itself.
    pub chance: Chance,
    /// What the run is like.
    pub mix: Mix,
    /// Links.
    pub network: Network,
    /// Members, also former ones.
    pub nodes: BTreeMap<u64, Node>,
    /// The members as they last told.
    pub members: Vec<Member>,
    /// Index at which they were told.
    pub members_at: u64,
    /// Clients.
    pub clients: Vec<Client>,
    /// Connections that were opened.
    pub conns: BTreeMap<u64, Conn>,
    pub(super) next_conn: u64,
    /// Everything that was asked.
    pub history: Vec<Operation>,
    /// Everything that was watched.
    pub watched: Vec<Watched>,
    /// Everything that was promised.
    pub promises: Vec<Promise>,
    /// Every hold, as its holder saw it.
    pub tenures: Vec<Tenure>,
    /// When the holder of each session last showed life.
    pub signs: BTreeMap<String, Time>,
    /// The truth.
    pub ledger: Ledger,
    /// Last index that each running member applied.
    pub applied: BTreeMap<u64, u64>,
    /// Members that lead, with their terms, as they told.
    pub leaders: BTreeMap<u64, u64>,
    /// Counters.
    pub stats: Stats,
    /// Which features met which faults.
    pub coverage: Coverage,
    /// How long the strike that is under way lasts.
    pub(super) lasts: Time,
    /// What happened.
    pub trace: Trace,
    /// No more faults.
    pub healing: bool,
    /// Disks that sync slowly until a moment.
    pub slow: BTreeMap<u64, Time>,
    /// Members whose log was damaged behind their back.
    pub rotten: BTreeMap<u64, String>,
    /// Number of the last strike, left out or not.
    pub last_strike: u64,
    /// Strikes that were not left out.
    pub struck: Vec<(u64, Fault)>,
    /// Snapshots whose sender or receiver is to die.
    pub(super) doomed_snapshots: u64,
    /// What a script asks by itself.
    pub hand: Hand,
    /// Machines that exist, so that the next one has a number of its own.
    pub machines: u64,
    logger: slog::Logger,
}

impl World {
    /// A new cluster with clients, about to start.
    pub fn new(seed: u64, profile: Profile, limits: &Limits, print: bool) -> Self {
        let mut chance = Chance::new(seed);
        let mix = Mix { limits: limits.clone(), ..Mix::draw(profile, &mut chance) };
        Self::of(mix, chance, print)
    }

    /// A cluster that is like this, about to start.
    pub fn of(mix: Mix, chance: Chance, print: bool) -> Self {
        let mut world = Self {
            queue: Queue::default(),
            network: Network::default(),
            nodes: BTreeMap::new(),
            members: Vec::new(),
            members_at: 0,
            clients: Vec::new(),
            conns: BTreeMap::new(),
            next_conn: 1,
            history: Vec::new(),
            watched: Vec::new(),
            promises: Vec::new(),
            tenures: Vec::new(),
            signs: BTreeMap::new(),
            ledger: Ledger::default(),
            applied: BTreeMap::new(),
            leaders: BTreeMap::new(),
            stats: Stats::default(),
            coverage: Coverage::default(),
            lasts: 0,
            trace: Trace::new(print),
            healing: false,
            slow: BTreeMap::new(),
            rotten: BTreeMap::new(),
            last_strike: 0,
            struck: Vec::new(),
            doomed_snapshots: 0,
            hand: Hand::default(),
            machines: mix.members,
            logger: logger(print),
            chance,
            mix,
        };
        world.found();
        world
    }

    fn found(&mut self) {
        let ids: Vec<u64> = (1..=self.mix.members).collect();
        for id in &ids {
            let mut node = Node::new(*id, self.draw_clock());
            node.found(&ids, &self.mix.tuning);
            self.nodes.insert(*id, node);
            let delay = self.chance.below(50 * MS);
            self.queue.after(delay, Happening::Start(*id));
        }
        for (kind, count) in self.mix.clients.clone() {
            for _ in 0..count {
                let position = self.clients.len();
                let number = position as u64 + 1;
                let kind = if self.mix.limits.allow_client(number) { kind } else { Kind::Absent };
                self.clients.push(Client::new(number, kind, self.chance.fork()));
                let delay = self.chance.below(500 * MS);
                self.queue.after(delay, Happening::Wake(position));
            }
        }
        self.foul_weather();
        self.queue.after(self.mix.pause, Happening::Strike);
    }

    /// A clock of its own for a machine.
    pub fn draw_clock(&mut self) -> Clock {
        let skew = self.chance.between(0, 2000) as i64 - 1000;
        let skew = if self.mix.knows(Fault::ClockSkew) { skew } else { 0 };
        Clock::new(skew, self.chance.below(1 << 40))
    }

    /// Lets everything happen up to a moment.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn run_until(&mut self, end: Time) -> Checked {
        while self.queue.next_at().is_some_and(|at| at <= end) {
            let Some(happening) = self.queue.take() else { break };
            self.trace.at(self.queue.now());
            self.happen(happening)?;
        }
        self.queue.pass_to(end);
        Ok(())
    }

    /// Lets things happen one by one until something is so. Whether it came to be so up to `end`.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn run_till(
        &mut self,
        end: Time,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> std::result::Result<bool, Violation> {
        loop {
            if is_so(self) {
                return Ok(true);
            }
            let Some(happening) =
                self.queue.next_at().filter(|at| *at <= end).and_then(|_| self.queue.take())
            else {
                self.queue.pass_to(end);
                return Ok(false);
            };
            self.trace.at(self.queue.now());
            self.happen(happening)?;
        }
    }

    fn happen(&mut self, happening: Happening) -> Checked {
        match happening {
            Happening::Tick(alive) => self.tick(alive),
            Happening::Work(alive) => return self.work(alive),
            Happening::Release(alive) => return self.release(alive),
            Happening::Job(alive, job) => return self.job(alive, job),
            Happening::Peer { from, to, envelope } => self.peer_arrives(from, to, envelope),
            Happening::Snapshot { from, to, checkpoint, message } => {
                self.snapshot_arrives(from, to, checkpoint, message);
            }
            Happening::Ask { conn, tag, request } => self.request_arrives(conn, tag, request),
            Happening::Answer { conn, tag, result } => {
                self.trace.note(format_args!("answer {conn}.{tag} {result:?}"));
                self.hand_answered(conn, tag, &result);
                self.client(conn, |client, desk| client.answered(desk, conn, tag, result));
            }
            Happening::Frame { conn, tag, frame } => self.frame_arrives(conn, tag, frame),
            Happening::Credit { conn, bytes } => {
                if let Some(node) = self.process_of(conn) {
                    self.input(node, Input::WatchCredit { conn, bytes });
                }
            }
            Happening::Lost(conn) => {
                self.hand_lost(conn);
                self.client(conn, |client, desk| client.lost(desk, conn));
            }
            Happening::Wake(position) => {
                self.with_client(position, Client::wake);
                let pause = self.chance.exponential(self.mix.think) + MS;
                self.queue.after(pause, Happening::Wake(position));
            }
            Happening::Start(id) => return self.start(id),
            Happening::Strike => return self.strike_next(),
            Happening::Undo(undo) => self.undo(undo),
            Happening::Crash { node, kill, down } => return self.crash_for(node, kill, down),
            Happening::Detach(node) => self.detach(node),
            Happening::Replace(node) => self.replace(node),
        }
        Ok(())
    }

    /// Whether this process still runs.
    pub fn lives(&self, alive: Alive) -> bool {
        self.nodes.get(&alive.node).is_some_and(|node| node.life == alive.life && node.process.is_some())
    }

    /// The running process of a member.
    pub fn alive(&self, node: u64) -> Option<Alive> {
        let found = self.nodes.get(&node)?;
        found.process.as_ref().map(|_| Alive { node, life: found.life })
    }

    fn start(&mut self, id: u64) -> Checked {
        let now = self.queue.now();
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        if node.process.is_some() || node.retired {
            return Ok(());
        }
        if let Some(lost) = super::strike::lost_by_rot(node, &self.mix.tuning, &self.ledger, &self.rotten) {
            node.retired = true;
            self.stats.count(lost);
            return Ok(());
        }
        if let Some(log) = node.log_on_disk(&self.mix.tuning) {
            self.stats.add("process: torn tail cut off", u64::from(log.torn));
            self.ledger.restarted(id, &log)?;
        }
        let started = node.start(&self.mix.tuning, &mut self.chance, &self.logger);
        let alive = Alive { node: id, life: node.life };
        match started {
            Started::Runs { applied } => {
                self.applied.insert(id, applied);
                self.stats.count("process: started");
                self.coverage.met(Feature::Recovery, now);
                self.ledger.answers.started(id);
            }
            Started::Refuses(reason) => {
                return Err(Violation::new(
                    "starts_again",
                    format!("member {id} refuses to start: {reason}"),
                ));
            }
        }
        self.trace.note(format_args!("start {id}"));
        let node = &self.nodes[&id];
        let tick = node.clock.true_duration(super::node::TICK_MS * MS);
        self.queue.at(now + self.chance.below(tick), Happening::Tick(alive));
        self.plan(alive, 0);
        Ok(())
    }

    /// Plans a round of a process, unless one is planned.
    pub fn plan(&mut self, alive: Alive, delay: Time) {
        let now = self.queue.now();
        let Some(process) = self.nodes.get_mut(&alive.node).and_then(|node| node.process.as_mut()) else {
            return;
        };
        if !process.planned {
            process.planned = true;
            let at = (now + delay).max(process.busy_until).max(process.frozen_until);
            self.queue.at(at, Happening::Work(alive));
        }
    }

    /// Tells a member something.
    pub fn input(&mut self, node: u64, input: Input) {
        let Some(alive) = self.alive(node) else { return };
        if let Some(process) = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut()) {
            process.inbox.push_back(input);
        }
        let delay = self.chance.below(30);
        self.plan(alive, delay);
    }

    fn tick(&mut self, alive: Alive) {
        if !self.lives(alive) {
            return;
        }
        let now = self.queue.now();
        let node = &self.nodes[&alive.node];
        let next = node.clock.true_duration(super::node::TICK_MS * MS);
        let frozen = node
            .process
            .as_ref()
            .is_some_and(|process| process.frozen_until.max(process.no_ticks_until) > now);
        self.queue.after(next, Happening::Tick(alive));
        if !frozen {
            self.input(alive.node, Input::Tick);
        }
    }

    fn work(&mut self, alive: Alive) -> Checked {
        if !self.lives(alive) {
            return Ok(());
        }
        let now = self.queue.now();
        let Some(node) = self.nodes.get_mut(&alive.node) else { return Ok(()) };
        let ready_at =
            node.process.as_ref().map_or(0, |process| process.busy_until.max(process.frozen_until));
        if ready_at > now {
            self.queue.at(ready_at, Happening::Work(alive));
            return Ok(());
        }
        let is_damaged = self.rotten.contains_key(&alive.node);
        let round = if is_damaged { node.round_on_damage(now) } else { node.round(now) };
        self.take_notes(alive.node)?;
        match round {
            Ok(more) => {
                let slow = self.slow.get(&alive.node).is_some_and(|until| *until > now);
                let extra = if slow { self.chance.exponential(200 * MS) } else { 0 };
                let end = now + 20 + self.chance.exponential(300) + extra;
                if let Some(process) = self.nodes.get_mut(&alive.node).and_then(|node| node.process.as_mut())
                {
                    process.busy_until = end;
                }
                self.queue.at(end, Happening::Release(alive));
                if more {
                    self.plan(alive, 0);
                }
                Ok(())
            }
            Err(reason) => self.round_failed(alive.node, &reason),
        }
    }

    fn release(&mut self, alive: Alive) -> Checked {
        if !self.lives(alive) {
            return Ok(());
        }
        let held = match self.nodes.get_mut(&alive.node).and_then(|node| node.process.as_mut()) {
            Some(process) => std::mem::take(&mut process.held),
            None => return Ok(()),
        };
        self.effects(alive, held)
    }

    /// The effects of a round happen.
    pub fn effects(&mut self, alive: Alive, outputs: Vec<Output>) -> Checked {
        for output in outputs {
            self.effect(alive, output)?;
        }
        Ok(())
    }

    /// Lets a client act by what came over a connection.
    pub fn client(&mut self, conn: u64, act: impl FnOnce(&mut Client, &mut Desk<'_>)) {
        let Some(found) = self.conns.get(&conn) else { return };
        let position = found.client;
        self.with_client(position, act);
    }

    pub(super) fn with_client(&mut self, position: usize, act: impl FnOnce(&mut Client, &mut Desk<'_>)) {
        let nodes: Vec<u64> = self.nodes.values().filter(|node| !node.retired).map(|node| node.id).collect();
        let now = self.queue.now();
        let Some(client) = self.clients.get_mut(position) else { return };
        let mut desk = Desk {
            now,
            nodes: &nodes,
            menu: &self.mix.menu,
            history: &mut self.history,
            watched: &mut self.watched,
            promises: &mut self.promises,
            tenures: &mut self.tenures,
            signs: &mut self.signs,
            stats: &mut self.stats,
            coverage: &mut self.coverage,
            leaders: &self.leaders,
            next_conn: &mut self.next_conn,
            sends: Vec::new(),
            closes: Vec::new(),
        };
        act(client, &mut desk);
        let (sends, closes) = (desk.sends, desk.closes);
        for conn in closes {
            self.close(conn);
        }
        for (node, conn, tag, request) in sends {
            self.conns.entry(conn).or_insert(Conn { client: position, node, life: None, broken: false });
            self.ask(conn, tag, request);
        }
    }

    /// Sends a request over a connection.
    pub fn ask(&mut self, conn: u64, tag: u64, request: Request) {
        let Some(found) = self.conns.get(&conn).copied() else { return };
        let (from, to) = (Place::Client(found.client as u64), Place::Node(found.node));
        match self.network.stream(self.queue.now(), from, to, &mut self.chance) {
            Some(at) if !found.broken => self.queue.at(at, Happening::Ask { conn, tag, request }),
            _ => self.break_conn(conn),
        }
    }

    /// Nothing passes a connection any more; each side notices in its own time.
    pub fn break_conn(&mut self, conn: u64) {
        let Some(found) = self.conns.get_mut(&conn) else { return };
        if found.broken {
            return;
        }
        found.broken = true;
        let delay = self.chance.exponential(500 * MS);
        self.queue.after(delay, Happening::Lost(conn));
        self.close(conn);
    }

    fn close(&mut self, conn: u64) {
        if let Some(node) = self.process_of(conn) {
            self.input(node, Input::Disconnected { conn });
        }
        if let Some(found) = self.conns.get_mut(&conn) {
            found.broken = true;
        }
    }

    /// The member whose running process holds a connection.
    pub fn process_of(&self, conn: u64) -> Option<u64> {
        let found = self.conns.get(&conn)?;
        let life = found.life?;
        self.lives(Alive { node: found.node, life }).then_some(found.node)
    }
}

/// Nothing of what members log matters, unless somebody reads the trace.
fn logger(print: bool) -> slog::Logger {
    if print {
        return slog::Logger::root(super::trace::PrintLog, slog::o!());
    }
    slog::Logger::root(slog::Discard, slog::o!())
}
