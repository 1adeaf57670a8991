//! The registry as this member knows it, for many readers at once, and a way to wait for changes.
//!
//! It is eventually consistent and says how old it may be. It goes on answering while the cluster
//! has no leader. Nothing is kept, and nothing followed, until somebody asks for the first time.

use super::feed;
use super::table::{Instances, Table};
use crate::node::handle::Handle;
use crate::observe::discovery::DiscoveryCounts;
use crate::tasks::Tasks;
use oarlock_state::{Event, Revision};
use slog::Logger;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, Once, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

/// Services are spread over this many bells, so that a change wakes few of those who wait for others.
const BELLS: usize = 64;
/// How long the first question may wait for the registry to be read.
const LOAD_PATIENCE: Duration = Duration::from_secs(5);

/// The cache; shared.
pub struct Cache {
    table: RwLock<Table>,
    /// The cache was up to date at this moment, or later; `None` before a quorum has said so.
    fresh: Mutex<Option<Instant>>,
    loaded: watch::Sender<bool>,
    through: watch::Sender<Revision>,
    bells: Vec<watch::Sender<()>>,
    begun: Once,
    since: Instant,
    source: Source,
}

/// What a cache is filled from.
pub struct Source {
    /// The node.
    pub handle: Handle,
    /// Where it is followed.
    pub tasks: Tasks,
    /// Where is counted what is known.
    pub counts: DiscoveryCounts,
    /// For what interrupts that.
    pub logger: Logger,
}

/// A service, as the cache knows it.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its instances.
    pub instances: Arc<Instances>,
    /// It did not change after this revision.
    pub changed: Revision,
    /// Everything up to this revision is in it.
    pub revision: Revision,
    /// It was up to date so long ago, or later.
    pub age: Duration,
}

/// The registry could not be read yet.
#[derive(Clone, Copy, Debug)]
pub struct NotLoaded;

impl Cache {
    /// An empty cache.
    pub fn new(source: Source) -> Arc<Self> {
        Arc::new(Self {
            table: RwLock::default(),
            fresh: Mutex::default(),
            loaded: watch::Sender::new(false),
            through: watch::Sender::new(Revision(0)),
            bells: (0..BELLS).map(|_| watch::Sender::new(())).collect(),
            begun: Once::new(),
            since: Instant::now(),
            source,
        })
    }

    /// Begins to follow the registry, if that was not done before.
    pub fn begin(self: &Arc<Self>) {
        self.begun.call_once(|| {
            let Source { handle, tasks, logger, .. } = &self.source;
            tasks.spawn(feed::run(self.clone(), handle.clone(), logger.clone()));
        });
    }

    /// Waits until the registry was read once.
    ///
    /// # Errors
    /// That takes too long.
    pub async fn ready(self: &Arc<Self>) -> Result<(), NotLoaded> {
        self.begin();
        let mut loaded = self.loaded.subscribe();
        match timeout(LOAD_PATIENCE, loaded.wait_for(|loaded| *loaded)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotLoaded),
        }
    }

    /// Whether the registry was read at least once.
    pub fn is_loaded(&self) -> bool {
        *self.loaded.borrow()
    }

    /// A service, now.
    pub fn service(&self, name: &str) -> Found {
        self.read(|table| {
            let (instances, changed) = table.service(name);
            Found { instances, changed, revision: table.through(), age: self.age() }
        })
    }

    /// Looks at the whole table. Must not take long.
    pub fn read<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everything up to this revision is known.
    pub fn revision(&self) -> Revision {
        *self.through.borrow()
    }

    /// What is known was up to date so long ago, or later.
    pub fn age(&self) -> Duration {
        let fresh = *self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.unwrap_or(self.since).elapsed()
    }

    /// Waits until the service has changed after this revision, or the time is over; how it is then.
    /// A member that is itself behind that revision waits to get there first.
    pub async fn changed_after(&self, name: &str, after: Revision, until: Instant) -> Found {
        let mut bell = self.bell(name).subscribe();
        loop {
            bell.mark_unchanged();
            let found = self.service(name);
            if found.changed > after {
                return found;
            }
            tokio::select! {
                rung = bell.changed() => if rung.is_err() { return found },
                () = sleep_until(until.into()) => return self.service(name),
            }
        }
    }

    /// Waits until everything up to this revision is known, or the time is over; whether it is.
    pub async fn reach(&self, revision: Revision, until: Instant) -> bool {
        let mut through = self.through.subscribe();
        let reached = through.wait_for(|through| *through >= revision);
        matches!(tokio::time::timeout_at(until.into(), reached).await, Ok(Ok(_)))
    }

    /// Takes in a table that was read anew.
    pub(super) fn replace(&self, table: Table) {
        let through = table.through();
        self.change(|known| *known = table);
        self.move_to(through);
        self.loaded.send_replace(true);
        self.bells.iter().for_each(|bell| bell.send_replace(()));
    }

    /// Takes in whole revisions.
    pub(super) fn apply(&self, events: &[Event], through: Revision) {
        let changed = self.change(|table| table.apply(events, through));
        self.move_to(through);
        changed.iter().for_each(|service| self.bell(service).send_replace(()));
    }

    /// Nothing happened up to this revision.
    pub(super) fn pass(&self, through: Revision) {
        self.change(|table| table.pass(through));
        self.move_to(through);
    }

    /// What is known was up to date at that moment.
    pub(super) fn confirm(&self, asked: Instant) {
        *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut table);
        let (services, instances) = table.size();
        drop(table);
        self.source.counts.services.set(services as u64);
        self.source.counts.instances.set(instances as u64);
        changed
    }

    fn move_to(&self, through: Revision) {
        self.through.send_if_modified(|known| {
            let moves = through > *known;
            *known = through.max(*known);
            moves
        });
    }

    fn bell(&self, service: &str) -> &watch::Sender<()> {
        let mut hasher = DefaultHasher::new();
        service.hash(&mut hasher);
        &self.bells[(hasher.finish() % BELLS as u64) as usize]
    }
}
