//! The half that owns the state: it applies what is committed and answers everybody.
//!
//! All replies and watch frames leave from here, in one order: the frames for an entry, then the
//! entry's replies, then reads of the state after it. See [`watch`](crate::watch) for what that
//! promises.

mod apply;
mod idle;
#[cfg(feature = "plant")]
mod plant;
mod serve;
mod waiters;

use super::exchange::{Reign, ToApplier, ToDriver};
use super::io::{Now, Output};
use super::options::CoreOptions;
use super::request::Role;
use crate::session::tracker::{Tracker, TrackerOptions};
use crate::storage::StorageResult;
use crate::storage::state::StateStore;
use crate::watch::Source;
use crate::watch::hub::{Addressed, Hub, HubOptions};
use oarlock_state::command::{Answer, Conditions, Member};
use oarlock_state::{Caller, Entry, Index, LoadError, Machine, Query, Rejection, Revision, SessionId};
use std::collections::{BTreeMap, VecDeque};
use waiters::{Reads, Waiters};

/// Proposals applied before the others get their turn.
const PROPOSALS_PER_ROUND: usize = 8_192;
/// Sessions read at once when a state is loaded.
const SESSIONS_PAGE: u64 = 4_096;

/// Sees each entry as it is applied, what it did, and the state's digest after it.
pub type ApplyObserver = Box<dyn FnMut(&Entry, &oarlock_state::Applied, u128) + Send>;

/// Owns machine, store, sessions, waiters and watches.
pub struct Applier {
    options: CoreOptions,
    logger: slog::Logger,
    machine: Machine,
    store: StateStore,
    tracker: Tracker,
    waiters: Waiters,
    reads: Reads,
    hub: Hub,
    /// Committed, not applied yet.
    backlog: VecDeque<Entry>,
    /// A staged snapshot is being put in place of the state.
    installing: bool,
    reign: Reign,
    /// Index of the digest that was proposed last.
    digest_proposed: u64,
    /// A peer needs a checkpoint; it is made once the state is flushed.
    checkpoint_wanted: bool,
    durable_told: u64,
    was_member: bool,
    frames: Vec<Addressed>,
    ticked: bool,
    /// Who watches, by connection; of the others nobody in particular does.
    watchers: BTreeMap<u64, Caller>,
    idle: idle::Search,
    observer: Option<ApplyObserver>,
}

/// The state as the watches read it.
struct StateSource<'s> {
    machine: &'s Machine,
    store: &'s StateStore,
}

impl Source for StateSource<'_> {
    fn read(&self, query: &Query) -> Result<Answer, Rejection> {
        self.machine.read(self.store, query)
    }

    fn revision(&self) -> Revision {
        self.machine.revision()
    }

    fn compacted(&self) -> Revision {
        self.machine.compacted()
    }
}

/// Where a round's effects go.
struct Sinks<'s> {
    driver: &'s mut Vec<ToDriver>,
    outputs: &'s mut Vec<Output>,
}

impl Applier {
    /// Continues from a state.
    ///
    /// # Errors
    /// When it is of another version or damaged.
    pub fn new(options: &CoreOptions, store: StateStore, logger: slog::Logger) -> Result<Self, LoadError> {
        let machine = Machine::load(&store)?;
        let tracker = Tracker::new(tracker_options(options), sessions(&machine, &store).into_iter());
        let hub = Hub::new(hub_options(options), machine.revision());
        Ok(Self {
            tracker,
            hub,
            waiters: Waiters::new(options.node, options.boot),
            reads: Reads::default(),
            backlog: VecDeque::new(),
            installing: false,
            reign: Reign::default(),
            digest_proposed: 0,
            checkpoint_wanted: false,
            durable_told: store.durable_applied(),
            was_member: false,
            frames: Vec::new(),
            ticked: false,
            watchers: BTreeMap::new(),
            idle: idle::Search::default(),
            observer: None,
            options: options.clone(),
            logger,
            machine,
            store,
        })
    }

    /// Shows every entry to `observer` from now on. For tests that follow each replica.
    pub fn observe(&mut self, observer: ApplyObserver) {
        self.observer = Some(observer);
    }

    /// Tells what the loaded state says. To be called once, before the first round.
    pub fn start(&mut self, to_driver: &mut Vec<ToDriver>, outputs: &mut Vec<Output>) {
        let mut sinks = Sinks { driver: to_driver, outputs };
        to_applied(self, None, &mut sinks);
        sinks.driver.push(ToDriver::Durable(self.durable_told));
        self.tell_members(self.members(), &mut sinks);
        sinks.driver.push(ToDriver::Alarms(self.conditions().alarms));
        self.auth_changed(&mut sinks);
    }

    /// Takes messages, applies what is committed, answers what can be answered. Returns whether
    /// another round would have something to do.
    ///
    /// # Errors
    /// When a store cannot be opened.
    pub fn round(
        &mut self,
        now: Now,
        messages: impl Iterator<Item = ToApplier>,
        to_driver: &mut Vec<ToDriver>,
        outputs: &mut Vec<Output>,
    ) -> StorageResult<bool> {
        let mut sinks = Sinks { driver: to_driver, outputs };
        self.tracker.advance(now.mono_us);
        for message in messages {
            self.take(now, message, &mut sinks)?;
        }
        self.apply_backlog(now, &mut sinks);
        self.serve_reads(&mut sinks);
        self.serve_sessions(now, &mut sinks);
        let watches_left = self.serve_watches(&mut sinks);
        let reclaim_left = self.reclaim();
        self.write_behind(&mut sinks);
        let entries_left = !self.backlog.is_empty() && self.may_apply();
        Ok(entries_left || watches_left || reclaim_left)
    }

    /// Revision of the state.
    pub fn revision(&self) -> Revision {
        self.machine.revision()
    }

    fn members(&self) -> Vec<Member> {
        match self.machine.read(&self.store, &Query::Members) {
            Ok(Answer::Members(members)) => members,
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    fn conditions(&self) -> Conditions {
        match self.machine.read(&self.store, &Query::Conditions) {
            Ok(Answer::Conditions(conditions)) => conditions,
            Ok(_) | Err(_) => Conditions::default(),
        }
    }

    fn leads(&self) -> bool {
        self.reign.role == Role::Leader
    }

    /// Hands over the frames that the hub has made. To be called before every reply.
    fn flush_frames(&mut self, outputs: &mut Vec<Output>) {
        outputs.extend(self.frames.drain(..).map(|(origin, frame)| Output::Watch { origin, frame }));
    }

    /// Whether entries may be applied now: not while the state is being replaced, and not while far
    /// more was written than the disk could take.
    fn may_apply(&self) -> bool {
        !self.installing && !self.store.is_overfull()
    }

    fn reclaim(&mut self) -> bool {
        if self.installing || self.machine.is_reclaimed() {
            return false;
        }
        let mutations = self.machine.reclaim(&self.store, self.options.reclaim_events);
        let applied = self.store.applied();
        self.store.write(mutations, applied);
        !self.machine.is_reclaimed()
    }

    fn write_behind(&mut self, sinks: &mut Sinks<'_>) {
        if self.installing {
            return;
        }
        if self.checkpoint_wanted && !self.store.is_flushing() {
            match self.store.freeze_now() {
                Some(job) => sinks.outputs.push(Output::Flush(job)),
                None => {
                    self.checkpoint_wanted = false;
                    sinks.outputs.push(Output::Checkpoint);
                }
            }
        } else if let Some(job) = self.store.maybe_freeze() {
            sinks.outputs.push(Output::Flush(job));
        }
        let durable = self.store.durable_applied();
        if durable != self.durable_told {
            self.durable_told = durable;
            sinks.driver.push(ToDriver::Durable(durable));
        }
    }
}

fn to_applied(applier: &Applier, own: Option<u64>, sinks: &mut Sinks<'_>) {
    sinks.driver.push(ToDriver::Applied {
        index: applier.machine.applied().get(),
        term: applier.machine.applied_term().get(),
        own,
    });
}

/// All sessions of a state: id, timeout in milliseconds, last touch.
fn sessions(machine: &Machine, store: &StateStore) -> Vec<(SessionId, u64, Index)> {
    let mut all = Vec::new();
    let mut after = SessionId(0);
    loop {
        let query = Query::Sessions { after, limit: SESSIONS_PAGE };
        let Ok(Answer::Sessions { sessions, more }) = machine.read(store, &query) else {
            return all;
        };
        all.extend(sessions.iter().map(|found| (found.session, found.timeout_ms, found.last_touch)));
        match all.last() {
            Some((last, _, _)) if more => after = *last,
            Some(_) | None => return all,
        }
    }
}

fn tracker_options(options: &CoreOptions) -> TrackerOptions {
    TrackerOptions {
        stall_us: 2 * options.tick_us(),
        contact_us: 3 * options.tick_us(),
        give_up_us: options.request_timeout_ms * 1_000,
        waiting_max: options.pending_requests_max,
    }
}

fn hub_options(options: &CoreOptions) -> HubOptions {
    HubOptions {
        recent_bytes: options.watch_recent_bytes,
        watches_max: options.watches_max,
        first_credit: options.watch_credit_bytes,
        page_bytes: options.watch_page_bytes,
        progress_us: options.watch_progress_ms * 1_000,
    }
}
