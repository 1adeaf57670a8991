//! Nodes on one thread, with a network between them that can be cut and a clock that is told.

use crate::consensus::testing::MemoryLog;
use crate::consensus::{Options, Replica, conf};
use crate::node::core::{Core, CoreOptions};
use crate::node::io::{Input, Now, Output};
use crate::node::request::{
    Consistency, Origin, Refusal, Request, Response, Result, Role, WatchFrame, WatchSpec, Write,
};
use crate::storage::BaseStore;
use crate::storage::memory::MemoryBase;
use crate::storage::state::{StateOptions, StateStore};
use bytes::Bytes;
use oarlock_proto::internal::peer::Envelope;
use oarlock_state::command::{Answer, KeyRange, KvOp, Member, OpenSession, Put, RangeQuery, ReplyBody, Txn};
use oarlock_state::event::Keyspace;
use oarlock_state::{Command, Machine, NodeId, Query, Revision, SessionId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Milliseconds between ticks.
pub(crate) const TICK_MS: u64 = 100;

/// What left a node for a door, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Reply(Origin, Result),
    Frame(Origin, WatchFrame),
}

pub(crate) struct Node {
    pub(crate) core: Core,
    pub(crate) log: MemoryLog,
    pub(crate) base: Arc<MemoryBase>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) role: Role,
    pub(crate) stopped: bool,
    pub(crate) removed: bool,
    checkpoint: Option<Arc<MemoryBase>>,
    staged: Option<Arc<MemoryBase>>,
    /// Paused: takes nothing in and does nothing.
    pub(crate) paused: bool,
}

pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<u64, Node>,
    pub(crate) now: Now,
    mail: VecDeque<(u64, u64, Envelope)>,
    snapshots: VecDeque<(u64, u64, u64, Bytes, Arc<MemoryBase>)>,
    /// Links on which nothing passes.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    next_tag: u64,
    boots: u64,
    adjust: fn(&mut CoreOptions),
}

fn member(id: u64) -> Member {
    Member {
        node: NodeId(id),
        name: format!("n{id}"),
        peer_urls: vec![format!("http://10.0.0.{id}:2380")],
        client_urls: Vec::new(),
        learner: false,
        stay_learner: false,
        version: String::new(),
    }
}

/// A put of a key.
pub(crate) fn put(key: &str, value: &str) -> Command {
    let put = Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Put::default()
    };
    Command::Txn(Txn { then: vec![KvOp::Put(put)], ..Txn::default() })
}

/// A read of one key.
pub(crate) fn range(key: &str) -> Query {
    Query::Range(RangeQuery::of(KeyRange::Key(Bytes::copy_from_slice(key.as_bytes()))))
}

/// A watch of all keys under a prefix, from a revision.
pub(crate) fn watch_all(start: u64) -> WatchSpec {
    WatchSpec {
        keyspace: Keyspace::Kv,
        range: KeyRange::Span { start: Bytes::new(), end: None },
        start: Revision(start),
        want_previous: false,
        no_put: false,
        no_delete: false,
        want_progress: false,
        resync: false,
    }
}

impl Cluster {
    /// Members 1 to `count`; the first one leads when this returns.
    pub(crate) fn new(count: u64) -> Self {
        Self::with(count, |_| {})
    }

    /// The same with other options.
    pub(crate) fn with(count: u64, adjust: fn(&mut CoreOptions)) -> Self {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            now: Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 },
            mail: VecDeque::new(),
            snapshots: VecDeque::new(),
            cut: BTreeSet::new(),
            next_tag: 0,
            boots: 0,
            adjust,
        };
        let members: Vec<Member> = (1..=count).map(member).collect();
        let voters: Vec<NodeId> = members.iter().map(|member| member.node).collect();
        let founding = Machine::bootstrap(&members, conf::initial(&voters, &[]), 77);
        for id in 1..=count {
            let base = Arc::new(MemoryBase::new());
            let mut store = StateStore::open(base.clone(), StateOptions::default()).expect("empty");
            store.write(founding.clone(), 1);
            store.freeze_now().expect("founded").run().expect("in memory");
            cluster.start(id, MemoryLog::new((1, 1)), base);
        }
        cluster.elect(1);
        cluster
    }

    fn start(&mut self, id: u64, log: MemoryLog, base: Arc<MemoryBase>) {
        self.boots += 1;
        let shared: Arc<dyn BaseStore> = base.clone();
        let store = StateStore::open(shared, StateOptions::default()).expect("readable");
        let machine = Machine::load(&store).expect("readable");
        let options = Options {
            seed: 5,
            boot: self.boots,
            applied: machine.applied().get(),
            conf_state: machine.conf_state().clone(),
            ..Options::of(NodeId(id))
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let replica = Replica::new(options, Box::new(log.clone()), logger.clone()).expect("a sound log");
        let mut options = CoreOptions::new(NodeId(id), self.boots, 5);
        (self.adjust)(&mut options);
        let core = Core::new(options, replica, store, logger).expect("a sound state");
        let (role, seen) = (Role::Follower, Vec::new());
        let node = Node {
            core,
            log,
            base,
            seen,
            role,
            stopped: false,
            removed: false,
            checkpoint: None,
            staged: None,
            paused: false,
        };
        self.nodes.insert(id, node);
    }

    /// Adds the process of a member that joins: nothing on disk.
    pub(crate) fn start_joiner(&mut self, id: u64) {
        self.start(id, MemoryLog::new((0, 0)), Arc::new(MemoryBase::new()));
    }

    /// Kills a node and starts it again from what is on its disk.
    pub(crate) fn restart(&mut self, id: u64) {
        let old = self.nodes.remove(&id).expect("it runs");
        old.log.cut_power();
        self.start(id, old.log, old.base);
        self.settle();
    }

    /// Lets time pass until `id` leads.
    pub(crate) fn elect(&mut self, id: u64) {
        for _ in 0..400 {
            if let Some(leader) = self.leader() {
                if leader == id {
                    self.settle();
                    return;
                }
                let admin = crate::node::request::Admin::MoveLeader(NodeId(id));
                self.ask(leader, 900, Request::Admin(admin));
            }
            self.tick();
        }
        panic!("member {id} is not elected");
    }

    /// Who leads, if exactly one says so.
    pub(crate) fn leader(&self) -> Option<u64> {
        let mut leaders = self.nodes.iter().filter(|(_, node)| node.role == Role::Leader && !node.paused);
        let first = leaders.next().map(|(id, _)| *id);
        first.filter(|_| leaders.next().is_none())
    }

    /// Time passes by one tick, and everything that follows happens.
    pub(crate) fn tick(&mut self) {
        self.sleep_us(TICK_MS * 1_000);
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            self.input(id, Input::Tick);
        }
        self.settle();
    }

    /// Time passes in ticks.
    pub(crate) fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms / TICK_MS {
            self.tick();
        }
    }

    /// Time passes, and nobody notices.
    pub(crate) fn sleep_us(&mut self, us: u64) {
        self.now.mono_us += us;
        self.now.wall_ms += us / 1_000;
    }

    pub(crate) fn input(&mut self, id: u64, input: Input) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.paused) {
            node.core.input(now, input);
        }
    }

    /// Asks without letting anything happen; returns the origin.
    pub(crate) fn ask(&mut self, id: u64, conn: u64, request: Request) -> Origin {
        self.next_tag += 1;
        let origin = Origin { conn, tag: self.next_tag };
        self.input(id, Input::Request { origin, caller: oarlock_state::Caller::Anonymous, request });
        origin
    }

    /// Asks, and lets everything happen that can happen without time passing.
    pub(crate) fn call(&mut self, id: u64, request: Request) -> Option<Result> {
        let origin = self.ask(id, 1, request);
        self.settle();
        self.reply(id, origin)
    }

    pub(crate) fn reply(&self, id: u64, origin: Origin) -> Option<Result> {
        self.nodes[&id].seen.iter().find_map(|seen| match seen {
            Seen::Reply(to, result) if *to == origin => Some(result.clone()),
            Seen::Reply(..) | Seen::Frame(..) => None,
        })
    }

    /// A write's reply.
    pub(crate) fn write(&mut self, id: u64, command: Command) -> Option<Result> {
        self.call(id, Request::Write(Write::of(command)))
    }

    /// A linearizable read of a key's value.
    pub(crate) fn get(&mut self, id: u64, key: &str) -> Option<String> {
        let consistency = Consistency::Linearizable;
        let read = Request::Read { query: range(key), consistency, timeout_ms: 0 };
        value_in(self.call(id, read)?)
    }

    /// Opens a session.
    pub(crate) fn open_session(&mut self, id: u64, timeout_ms: u64) -> SessionId {
        let open = OpenSession { id: SessionId(0), secret: [7; 16], timeout_ms, principal: String::new() };
        match self.write(id, Command::OpenSession(open)) {
            Some(Ok(Response::Written(reply))) => match reply.body {
                ReplyBody::SessionOpened { session, .. } => session,
                body => panic!("unexpected {body:?}"),
            },
            other => panic!("unexpected {other:?}"),
        }
    }

    /// The revision of a member's state.
    pub(crate) fn revision(&self, id: u64) -> Revision {
        self.nodes[&id].core.revision()
    }

    /// Whether the state of a member holds the session.
    pub(crate) fn has_session(&mut self, id: u64, session: SessionId) -> bool {
        let query = Query::Session { session, want_attached: false };
        let read = Request::Read { query, consistency: Consistency::Serializable, timeout_ms: 0 };
        matches!(self.call(id, read), Some(Ok(_)))
    }

    /// The frames of a watch.
    pub(crate) fn frames(&self, id: u64, origin: Origin) -> Vec<WatchFrame> {
        let frames = self.nodes[&id].seen.iter().filter_map(|seen| match seen {
            Seen::Frame(to, frame) if *to == origin => Some(frame.clone()),
            Seen::Reply(..) | Seen::Frame(..) => None,
        });
        frames.collect()
    }

    /// Everything that can happen without time passing, happens.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut busy = false;
            let ids: Vec<u64> = self.nodes.keys().copied().collect();
            for id in ids {
                busy |= self.round(id);
            }
            busy |= !self.mail.is_empty();
            for (from, to, envelope) in std::mem::take(&mut self.mail) {
                if !self.cut.contains(&(from, to)) {
                    self.input(to, Input::Peer { from: NodeId(from), envelope });
                }
            }
            busy |= self.deliver_snapshots();
            if !busy {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    fn deliver_snapshots(&mut self) -> bool {
        let snapshots = std::mem::take(&mut self.snapshots);
        let any = !snapshots.is_empty();
        for (from, to, index, message, files) in snapshots {
            let receiver = self.nodes.get_mut(&to).filter(|node| !node.paused);
            let delivered = receiver.is_some() && !self.cut.contains(&(from, to));
            if let Some(node) = receiver.filter(|_| delivered) {
                node.staged = Some(copy_of(&files).0);
                self.input(to, Input::SnapshotStaged { index, message });
            }
            self.input(from, Input::SnapshotSent { to: NodeId(to), delivered });
        }
        any
    }

    fn round(&mut self, id: u64) -> bool {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.paused) else {
            return false;
        };
        let mut busy = node.core.round(now).expect("storage in memory");
        for output in node.core.take_outputs() {
            busy = true;
            match output {
                Output::Send { to, envelope } => self.mail.push_back((id, to.get(), envelope)),
                Output::Reply { origin, result } => node.seen.push(Seen::Reply(origin, result)),
                Output::Watch { origin, frame } => node.seen.push(Seen::Frame(origin, frame)),
                Output::Flush(job) => {
                    let done = job.run().expect("in memory");
                    node.core.input(now, Input::Flushed(done));
                }
                Output::Checkpoint => {
                    let (base, machine) = copy_of(&node.base);
                    node.checkpoint = Some(base);
                    node.core.input(
                        now,
                        Input::Checkpointed {
                            index: machine.applied().get(),
                            term: machine.applied_term().get(),
                            conf_state: machine.conf_state().clone(),
                        },
                    );
                }
                Output::SendSnapshot { to, index, message } => {
                    let files = node.checkpoint.clone().expect("it was offered");
                    self.snapshots.push_back((id, to.get(), index, message, files));
                }
                Output::Role { role, .. } => node.role = role,
                Output::Removed => node.removed = true,
                Output::Stopped => node.stopped = true,
                Output::Members(_) | Output::Auth(_) => {}
                Output::Install { index } => {
                    node.base = node.staged.take().expect("it was staged");
                    let base: Arc<dyn BaseStore> = node.base.clone();
                    node.core.input(now, Input::Installed { index, base });
                }
                Output::Diverged { index } => panic!("states differ at {index}"),
            }
        }
        busy
    }
}

/// A copy of a store, and its state.
fn copy_of(base: &MemoryBase) -> (Arc<MemoryBase>, Machine) {
    let copy = Arc::new(MemoryBase::new());
    let mut records: Vec<(Bytes, Bytes)> = Vec::new();
    base.scan(&[], &[0xff], false, &mut |key, value| {
        records.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        ControlFlow::Continue(())
    })
    .expect("in memory");
    copy.write(&mut records.iter().map(|(key, value)| (&key[..], Some(&value[..])))).expect("in memory");
    let shared: Arc<dyn BaseStore> = copy.clone();
    let store = StateStore::open(shared, StateOptions::default()).expect("readable");
    (copy, Machine::load(&store).expect("readable"))
}

/// The value in the reply to a read of one key.
pub(crate) fn value_in(result: Result) -> Option<String> {
    match result {
        Ok(Response::Answer { answer: Answer::Range(range), .. }) => {
            range.records.first().map(|record| String::from_utf8_lossy(&record.value).into_owned())
        }
        other => panic!("unexpected {other:?}"),
    }
}

/// The refusal that this must be.
pub(crate) fn refusal(result: Option<Result>) -> Refusal {
    match result {
        Some(Err(refusal)) => refusal,
        other => panic!("unexpected {other:?}"),
    }
}
