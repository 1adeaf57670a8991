//! A member's machine and process: what survives a crash, and what does not.

use super::base::SimBase;
use super::chance::Chance;
use super::clock::Clock;
use super::disk::SimDisk;
use super::queue::{MS, Time};
use super::tap::{Tap, TappedLog, entry_hash};
use bytes::Bytes;
use oarlock_server::consensus::{self, Options, Replica, SnapshotMeta};
use oarlock_server::node::core::{Core, CoreOptions};
use oarlock_server::node::io::{Input, Now, Output};
use oarlock_server::node::request::{Origin, Request};
use oarlock_server::storage::log::{LogOptions, SegmentedLog, TornTail};
use oarlock_server::storage::state::{StateOptions, StateStore};
use oarlock_server::storage::{BaseStore, LogStore};
use oarlock_state::codec::{Reader, Writer};
use oarlock_state::command::Member;
use oarlock_state::keys;
use oarlock_state::{Applied, Entry, Machine, NodeId};
use raft::eraftpb::HardState;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Milliseconds between ticks.
pub const TICK_MS: u64 = 100;
/// The id of the simulated cluster.
const CLUSTER_ID: u64 = 0xc1;

/// Thresholds that make rare things common; each run draws its own.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Bytes of a log segment.
    pub segment_bytes: u64,
    /// Bytes of the log kept in memory.
    pub window_bytes: usize,
    /// Records of an overlay that is flushed.
    pub freeze_records: usize,
    /// Entries kept for followers that are behind.
    pub catch_up_entries: u64,
    /// Bytes of recent events kept for watchers.
    pub watch_recent_bytes: usize,
    /// Bytes of watch frames per page for watchers that are behind.
    pub watch_page_bytes: usize,
    /// Events per step of forgetting.
    pub reclaim_events: usize,
    /// Milliseconds that a request may take.
    pub request_timeout_ms: u64,
}

/// Where the numbers of a cluster begin.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// Index of the entry before the first.
    pub index: u64,
    /// The first term.
    pub term: u64,
    /// The revision before the first change.
    pub revision: u64,
    /// The first session that the log chooses an id for.
    pub session: u64,
}

impl Numbers {
    /// Those of every new cluster.
    pub const FIRST: Self = Self { index: 1, term: 1, revision: 1, session: 1 };

    /// The record of the machine's counters with these numbers in it.
    fn put_into(self, record: &Bytes) -> Bytes {
        let format = record[0];
        let mut reader = Reader::new("counters", format, record);
        let mut found = [0; 7];
        found.iter_mut().for_each(|number| *number = reader.number());
        let sum = reader.wide();
        reader.end();
        (found[0], found[1], found[2], found[5]) = (self.index, self.term, self.revision, self.session);
        let mut writer = Writer::new(format, record.len());
        found.iter().for_each(|number| writer.number(*number));
        writer.wide(sum);
        writer.finish()
    }
}

/// A copy of the state that can be sent.
#[derive(Clone)]
pub struct Checkpoint {
    /// Which state.
    pub meta: SnapshotMeta,
    /// All records.
    pub records: Arc<Vec<(Bytes, Bytes)>>,
}

/// An entry as a member applied it.
pub struct ApplyNote {
    /// The entry.
    pub entry: Entry,
    /// What it did.
    pub applied: Applied,
    /// The state's digest after it.
    pub digest: u128,
}

/// What a process was asked and what it answered.
pub struct AnswerNotes {
    /// Microseconds for which it has been awake, on its own clock: as long as it took ticks.
    pub awake: u64,
    /// What it took.
    pub asked: Vec<(Origin, Request)>,
    /// What it answered.
    pub answered: Vec<Origin>,
}

/// A member: its machine, and its process if it runs.
pub struct Node {
    /// Its id.
    pub id: u64,
    /// Its clocks.
    pub clock: Clock,
    /// Disk of the log.
    pub disk: SimDisk,
    /// Disk of the state.
    pub base: SimBase,
    /// The snapshot that the state came from.
    came_from: Option<SnapshotMeta>,
    /// Snapshots that were received whole and not installed.
    pub staged: BTreeMap<u64, Checkpoint>,
    /// The checkpoint taken last.
    pub checkpoint: Option<Checkpoint>,
    /// Counts its processes; what belongs to an earlier one is void.
    pub life: u64,
    /// The process.
    pub process: Option<Process>,
    /// It was removed from the cluster, or its disk is lost: it never starts again.
    pub retired: bool,
    tap: Tap,
}

/// A running process.
pub struct Process {
    core: Core,
    /// What came in since the last round.
    pub inbox: VecDeque<Input>,
    /// Its current round ends then.
    pub busy_until: Time,
    /// It gets no processor until then.
    pub frozen_until: Time,
    /// It gets no ticks until then.
    pub no_ticks_until: Time,
    /// Effects of the round that is not over yet.
    pub held: Vec<Output>,
    /// A round is planned.
    pub planned: bool,
    /// Ticks that it took.
    ticks: u64,
    /// Requests that it took, and those that it answered, since the last look.
    asked: Vec<(Origin, Request)>,
    answered: Vec<Origin>,
    applies: Arc<Mutex<Vec<ApplyNote>>>,
}

/// What a log on disk holds.
pub struct DiskLog {
    /// Index and term before the first entry.
    pub base: (u64, u64),
    /// Index, term and hash of each entry.
    pub entries: Vec<(u64, u64, u64)>,
    /// The term, and whom it voted for in it; zero is nobody.
    pub vote: (u64, u64),
    /// A write at its end had not finished; it was cut off.
    pub torn: bool,
}

/// How a start went.
pub enum Started {
    /// It runs, and its state is that after this entry.
    Runs {
        /// The entry's index.
        applied: u64,
    },
    /// It refuses to: damage.
    Refuses(String),
}

impl Node {
    /// A machine with empty disks.
    pub fn new(id: u64, clock: Clock) -> Self {
        Self {
            id,
            clock,
            disk: SimDisk::default(),
            base: SimBase::default(),
            came_from: None,
            staged: BTreeMap::new(),
            checkpoint: None,
            life: 0,
            process: None,
            retired: false,
            tap: Tap::default(),
        }
    }

    /// Writes the first records of a founding member.
    pub fn found(&mut self, ids: &[u64], tuning: &Tuning) {
        self.found_at(ids, tuning, Numbers::FIRST);
    }

    /// Writes the first records of a founding member of a cluster whose numbers begin there.
    pub fn found_at(&mut self, ids: &[u64], tuning: &Tuning, numbers: Numbers) {
        let members: Vec<Member> = ids.iter().map(|id| member(*id)).collect();
        let voters: Vec<NodeId> = ids.iter().copied().map(NodeId).collect();
        let conf = consensus::conf::initial(&voters, &[]);
        let base: Arc<dyn BaseStore> = Arc::new(self.base.clone());
        let mut store = StateStore::open(base, state_options(tuning)).expect("an empty map can be read");
        let mut records = Machine::bootstrap(&members, conf, CLUSTER_ID);
        for record in records.iter_mut().filter(|record| record.key == keys::COUNTERS) {
            record.value = record.value.take().map(|value| numbers.put_into(&value));
        }
        store.write(records, numbers.index);
        let job = store.freeze_now().expect("something was written");
        job.run().expect("no trouble is armed yet");
        let (mut log, _) = self.open_log(tuning, 0).expect("an empty disk can be opened");
        let Numbers { index, term, .. } = numbers;
        let hard_state = HardState { term, vote: 0, commit: index };
        log.reset(index, term, &hard_state).expect("no trouble is armed yet");
    }

    fn open_log(&self, tuning: &Tuning, salt: u64) -> Result<(SegmentedLog, Option<TornTail>), String> {
        let (segment_bytes, window_bytes) = (tuning.segment_bytes, tuning.window_bytes);
        let options = LogOptions { segment_bytes, window_bytes, salt };
        SegmentedLog::open(Box::new(self.disk.clone()), Path::new("log"), options).map_err(|e| e.to_string())
    }

    /// Starts the process from what is on disk.
    pub fn start(&mut self, tuning: &Tuning, chance: &mut Chance, logger: &slog::Logger) -> Started {
        self.life += 1;
        match self.try_start(tuning, chance, logger) {
            Ok((process, applied)) => {
                self.process = Some(process);
                Started::Runs { applied }
            }
            Err(reason) => Started::Refuses(reason),
        }
    }

    fn try_start(
        &mut self,
        tuning: &Tuning,
        chance: &mut Chance,
        logger: &slog::Logger,
    ) -> Result<(Process, u64), String> {
        let (log, _) = self.open_log(tuning, chance.number())?;
        while self.tap.take().is_some() {} // of the process before
        let mut log = TappedLog::new(log, self.tap.clone());
        if let Some(meta) = &self.came_from {
            consensus::finish_install(&mut log, meta).map_err(|error| error.to_string())?;
        }
        let base: Arc<dyn BaseStore> = Arc::new(self.base.clone());
        let store = StateStore::open(base, state_options(tuning)).map_err(|error| error.to_string())?;
        let machine = Machine::load(&store).map_err(|error| error.to_string())?;
        let applied = store.applied();
        let mut options = CoreOptions::new(NodeId(self.id), chance.number() | 1, chance.number());
        adjust(&mut options, tuning);
        let replica_options = Options {
            seed: options.seed,
            boot: options.boot,
            applied,
            conf_state: machine.conf_state().clone(),
            catch_up_entries: tuning.catch_up_entries,
            ..Options::of(NodeId(self.id))
        };
        let replica =
            Replica::new(replica_options, Box::new(log), logger.clone()).map_err(|e| e.to_string())?;
        let mut core =
            Core::new(options, replica, store, logger.clone()).map_err(|error| error.to_string())?;
        let applies = Arc::new(Mutex::new(Vec::new()));
        let notes = applies.clone();
        core.observe(Box::new(move |entry, applied, digest| {
            let note = ApplyNote { entry: entry.clone(), applied: applied.clone(), digest };
            notes.lock().expect("the simulator has one thread and ends at a panic").push(note);
        }));
        let process = Process {
            core,
            inbox: VecDeque::new(),
            busy_until: 0,
            frozen_until: 0,
            no_ticks_until: 0,
            held: Vec::new(),
            planned: false,
            ticks: 0,
            asked: Vec::new(),
            answered: Vec::new(),
            applies,
        };
        Ok((process, applied))
    }

    /// The log on disk; for following it.
    pub fn log_on_disk(&self, tuning: &Tuning) -> Option<DiskLog> {
        let (log, torn) = self.open_log(tuning, 1).ok()?;
        let entries = log.entries(log.first_index(), log.last_index() + 1, u64::MAX).ok()?;
        let base = log.base();
        let entries = entries.iter().map(|entry| (entry.index, entry.term, entry_hash(entry))).collect();
        let hard_state = log.hard_state();
        Some(DiskLog { base, entries, vote: (hard_state.term, hard_state.vote), torn: torn.is_some() })
    }

    /// The process dies; with `kill` the machine goes on, otherwise it loses power.
    pub fn crash(&mut self, chance: &mut Chance, kill: bool) {
        self.process = None;
        self.disk.power_cut(chance, kill);
        self.base = self.base.after_crash(chance);
    }

    /// What the clocks show.
    pub fn now(&self, now: Time) -> Now {
        Now { mono_us: self.clock.mono_us(now), wall_ms: self.clock.wall_ms(now) }
    }

    /// Runs one round over what came in. Whether another would have something to do.
    ///
    /// # Errors
    /// What the core says of its storage; the process must stop.
    pub fn round(&mut self, now: Time) -> Result<bool, String> {
        let at = self.now(now);
        let Some(process) = &mut self.process else { return Ok(false) };
        process.planned = false;
        for input in process.inbox.drain(..) {
            match &input {
                Input::Tick => process.ticks += 1,
                Input::Request { origin, request, .. } => process.asked.push((*origin, request.clone())),
                _ => {}
            }
            process.core.input(at, input);
        }
        let more = process.core.round(at);
        let outputs = process.core.take_outputs();
        let origin = |output: &Output| match output {
            Output::Reply { origin, .. } => Some(*origin),
            _ => None,
        };
        process.answered.extend(outputs.iter().filter_map(origin));
        process.held.extend(outputs);
        more.map_err(|error| error.to_string())
    }

    /// Runs one round of a member whose disk is damaged, which may meet the damage: where consensus
    /// reads its log, that is a panic, and a panic ends the process.
    ///
    /// # Errors
    /// As of [`round`](Self::round), and the damage.
    ///
    /// # Panics
    /// For any other reason for which a round does.
    pub fn round_on_damage(&mut self, now: Time) -> Result<bool, String> {
        let round = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.round(now)));
        round.unwrap_or_else(|reason| match reason.downcast_ref::<String>() {
            Some(text) if text.contains("Damaged") => Err(text.clone()),
            _ => std::panic::resume_unwind(reason),
        })
    }

    /// What was done to the log since the last call.
    pub fn log_notes(&self) -> impl Iterator<Item = super::tap::LogNote> {
        std::iter::from_fn(|| self.tap.take())
    }

    /// What was applied since the last call.
    pub fn apply_notes(&self) -> Vec<ApplyNote> {
        let Some(process) = &self.process else { return Vec::new() };
        std::mem::take(&mut process.applies.lock().expect("the simulator has one thread and ends at a panic"))
    }

    /// What was asked and what was answered since the last call.
    pub fn answer_notes(&mut self) -> Option<AnswerNotes> {
        let process = self.process.as_mut()?;
        let (asked, answered) = (std::mem::take(&mut process.asked), std::mem::take(&mut process.answered));
        Some(AnswerNotes { awake: process.ticks * TICK_MS * MS, asked, answered })
    }

    /// Copies the state as it is on disk.
    pub fn take_checkpoint(&mut self) -> Option<SnapshotMeta> {
        let records = self.base.records();
        #[cfg(feature = "plant")]
        let records = super::plants::snapshot(records);
        let copy: Arc<dyn BaseStore> = Arc::new(SimBase::holding(&records));
        let store = StateStore::open(copy, StateOptions::default()).ok()?;
        let machine = Machine::load(&store).ok()?;
        let meta = SnapshotMeta {
            index: machine.applied().get(),
            term: machine.applied_term().get(),
            conf_state: machine.conf_state().clone(),
        };
        self.checkpoint = Some(Checkpoint { meta: meta.clone(), records: Arc::new(records) });
        Some(meta)
    }

    /// Puts the staged snapshot in place of the state, atomically. Returns the new base.
    pub fn install(&mut self, index: u64) -> Option<Arc<dyn BaseStore>> {
        let staged = self.staged.remove(&index)?;
        self.base = SimBase::holding(&staged.records);
        self.came_from = Some(staged.meta);
        Some(Arc::new(self.base.clone()))
    }

    /// Proves the invariants of the state on disk.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check_state(&self) -> Result<(), String> {
        let base: Arc<dyn BaseStore> = Arc::new(self.base.clone());
        let store = StateStore::open(base, StateOptions::default()).map_err(|error| error.to_string())?;
        let machine = Machine::load(&store).map_err(|error| error.to_string())?;
        machine.check(&store)
    }
}

fn adjust(options: &mut CoreOptions, tuning: &Tuning) {
    options.tick_ms = TICK_MS;
    options.request_timeout_ms = tuning.request_timeout_ms;
    options.watch_recent_bytes = tuning.watch_recent_bytes;
    options.watch_page_bytes = tuning.watch_page_bytes;
    options.reclaim_events = tuning.reclaim_events;
    options.watch_progress_ms = 2_000;
    options.space_hard_bytes = 0;
    options.space_soft_bytes = 0;
    options.state = state_options(tuning);
}

fn state_options(tuning: &Tuning) -> StateOptions {
    StateOptions { freeze_records: tuning.freeze_records, ..StateOptions::default() }
}

/// A member as a founder describes it.
pub fn member(id: u64) -> Member {
    Member {
        node: NodeId(id),
        name: format!("n{id}"),
        peer_urls: vec![peer_url(id)],
        client_urls: Vec::new(),
        learner: false,
        stay_learner: false,
        version: String::new(),
    }
}

/// The address of a machine. It is known before the member's id is.
pub fn peer_url(machine: u64) -> String {
    format!("sim://{machine}")
}
