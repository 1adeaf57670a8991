//! Where the instances of a service are, from memory.
//!
//! ```text
//!   the table            every record, kept current; the last one while the cluster is away
//!      │  tags, health, reported failures    ── too few left? health is passed over (panic)
//!      │  zone                               ── too weak? other zones help (spill-over)
//!      ▼
//!   what may be picked ── policy ──►  a Pick, which reports how its call went
//! ```

mod choose;
mod eject;
mod file;
mod follow;
mod pick;
mod select;

pub use choose::Policy;
pub use eject::Ejection;
pub use pick::Pick;

use super::check_name;
use super::listing::Listed;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::recipes::informer::{Delta, Informer};
use crate::types::prefix;
use choose::Load;
use eject::Ejections;
use file::Remembered;
use futures::{Stream, StreamExt};
use oarlock_proto::registry::{self as records, Instance, parse_key};
use select::{Candidate, Filter, Selection};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a start that has a table from a file waits for a fresh one.
const FRESH_WAIT: Duration = Duration::from_secs(1);
/// How long instances whose sessions expired are remembered for a panic.
const FADING: Duration = Duration::from_secs(60);

/// A resolver that is about to begin.
#[must_use = "nothing happens until it is started"]
pub struct ResolverBuilder {
    client: Client,
    service: String,
    filter: Filter,
    policy: Policy,
    ejection: Ejection,
    file: Option<PathBuf>,
}

impl ResolverBuilder {
    pub(super) fn new(client: Client, service: &str) -> Self {
        let (tags, zone) = (Vec::new(), String::new());
        let filter = Filter { tags, zone, spill_below: 0.5, panic_threshold: 0.0 };
        let (policy, ejection) = (Policy::default(), Ejection::default());
        Self { client, service: service.to_owned(), filter, policy, ejection, file: None }
    }

    /// Only instances with this tag. May be given several times; all must be there.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.filter.tags.push(tag.into());
        self
    }

    /// Prefers instances of this zone; see [`spill_below`](Self::spill_below).
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.filter.zone = zone.into();
        self
    }

    /// Uses all zones as soon as less than this share of the preferred zone's instances is usable,
    /// so that the few that are left are not overrun. 0: only when there is none. Default: 0.5.
    pub fn spill_below(mut self, share: f64) -> Self {
        self.filter.spill_below = share;
        self
    }

    /// Never drops more than the rest at once: when less than this share of the known instances is
    /// usable, all but the draining ones are used, whatever their health, those whose sessions
    /// expired within the last minute included. When most seem dead the fault is likely in what
    /// watches them. Default: 0, which believes everything.
    pub fn panic_threshold(mut self, share: f64) -> Self {
        self.filter.panic_threshold = share;
        self
    }

    /// How one of several instances is picked. Default: [`Policy::WeightedRandom`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// When reported failures take an instance out; see [`Pick::failed`].
    pub fn ejection(mut self, ejection: Ejection) -> Self {
        self.ejection = ejection;
        self
    }

    /// Keeps the last table in this file, and begins with it when the cluster is away. One file for
    /// each process and service.
    pub fn persist(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Begins, and waits for the first table: for the client's time for a call, or, if a file has an
    /// old one, for a second.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bad names, shares and files; what the cluster refuses; and
    /// [`Error::NotProposed`] without an answer. With a table from a file the last two are no errors.
    pub async fn start(self) -> Result<Resolver> {
        check_name("service", &self.service)?;
        for (what, share) in [
            ("spill_below", self.filter.spill_below),
            ("panic_threshold", self.filter.panic_threshold),
            ("the largest share of ejections", self.ejection.share_max),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::Invalid { message: format!("{what} is {share}, not from 0 to 1") });
            }
        }
        let loaded = self.file.as_ref().map(|path| Remembered::load(path, &self.service));
        let remembered = loaded.transpose()?.flatten();
        let deadline = self.client.inner.options.deadline;
        let patience = if remembered.is_some() { FRESH_WAIT.min(deadline) } else { deadline };
        let has_table = remembered.is_some();
        let resolver = Resolver::follow(self, remembered);
        match tokio::time::timeout(patience, resolver.inner.informer.synced()).await {
            Ok(Ok(())) => resolver.inner.adopt(None),
            Ok(Err(_)) | Err(_) if has_table => {}
            Ok(Err(error)) => return Err(error),
            Err(_late) => {
                let why = resolver.failure().map_or_else(String::new, |failure| format!(": {failure}"));
                let service = resolver.service();
                let message = format!("{service} cannot be resolved; no answer within {deadline:?}{why}");
                let code = oarlock_proto::v1::ErrorCode::Unavailable;
                return Err(Error::NotProposed { code, message });
            }
        }
        Ok(resolver)
    }
}

/// An instance as it may be picked.
#[derive(Debug)]
struct Endpoint {
    pub(super) id: String,
    pub(super) record: Instance,
    in_flight: AtomicUsize,
}

impl Endpoint {
    fn new(id: &str, record: Instance) -> Self {
        Self { id: id.to_owned(), record, in_flight: AtomicUsize::new(0) }
    }
}

/// All that is known of a service's instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Revision of the cluster that it is of.
    pub revision: u64,
    /// How old it may be.
    pub age: Duration,
    /// It is from a file, and the cluster has not answered yet.
    pub is_remembered: bool,
    /// The instances by name, whatever their health.
    pub instances: Vec<Listed>,
}

/// A change of a service's instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new, or has changed.
    Set(Listed),
    /// It is gone.
    Gone(Listed),
}

/// The instances of a service, followed. Cheap to clone; it stops when the last clone is dropped.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    service: String,
    informer: Informer<Instance>,
    remembered: Option<Remembered>,
    filter: Filter,
    policy: Policy,
    moving: Mutex<Moving>,
    turn: AtomicUsize,
    /// Raised whenever what may be picked may have changed.
    ticks: watch::Sender<u64>,
    /// Why the table could not be saved.
    unsaved: Mutex<Option<String>>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// What changes between two picks.
struct Moving {
    /// Every instance that is listed, by name.
    endpoints: BTreeMap<String, Arc<Endpoint>>,
    /// Those whose sessions expired, until they are forgotten.
    fading: BTreeMap<String, (Arc<Endpoint>, Instant)>,
    ejections: Ejections,
    /// What may be picked, until something changes or that time comes.
    selected: Option<(Arc<Selection>, Option<Instant>)>,
}

impl Resolver {
    fn follow(options: ResolverBuilder, remembered: Option<Remembered>) -> Self {
        let range = prefix(records::prefix(&options.service));
        let informer = Informer::with(&options.client, range, |record| {
            parse_key(&record.key).ok_or("its key does not name an instance")?;
            serde_json::from_slice::<Instance>(&record.value).map_err(|error| error.to_string())
        });
        let known = remembered.iter().flat_map(|table| &table.instances);
        let endpoints =
            known.map(|(id, record)| (id.clone(), Arc::new(Endpoint::new(id, record.clone())))).collect();
        let ejections = Ejections::new(options.ejection);
        let moving = Moving { endpoints, fading: BTreeMap::new(), ejections, selected: None };
        let inner = Arc::new(Inner {
            service: options.service,
            informer,
            remembered,
            filter: options.filter,
            policy: options.policy,
            moving: Mutex::new(moving),
            turn: AtomicUsize::new(rand::random_range(0..1024)),
            ticks: watch::Sender::new(0),
            unsaved: Mutex::new(None),
            task: Mutex::new(None),
        });
        let task = tokio::spawn(follow::run(Arc::downgrade(&inner), inner.informer.clone(), options.file));
        *inner.task.lock().expect("nobody panics while holding it") = Some(task);
        Self { inner }
    }

    /// The service's name.
    pub fn service(&self) -> &str {
        &self.inner.service
    }

    /// Picks an instance for one call, without waiting; `None` if there is none that may be used.
    pub fn pick(&self) -> Option<Pick> {
        self.pick_except(&[])
    }

    /// As [`pick`](Self::pick), leaving out those of these names: the ones that were tried.
    pub fn pick_except(&self, tried: &[&str]) -> Option<Pick> {
        let selection = self.selection();
        let open: Vec<&Arc<Endpoint>> =
            selection.endpoints.iter().filter(|endpoint| !tried.contains(&endpoint.id.as_str())).collect();
        let load = |endpoint: &&Arc<Endpoint>| Load {
            weight: endpoint.record.weight,
            in_flight: endpoint.in_flight.load(Relaxed),
        };
        let loads: Vec<Load> = open.iter().map(load).collect();
        let draws = [rand::random_range(0.0..1.0), rand::random_range(0.0..1.0)];
        let turn = self.inner.turn.fetch_add(1, Relaxed);
        let chosen = choose::choose(self.inner.policy, &loads, turn, draws)?;
        Some(Pick::new(self.clone(), open[chosen].clone()))
    }

    /// All instances that may be picked now, by name.
    pub fn usable(&self) -> Vec<Listed> {
        let listed =
            |endpoint: &Arc<Endpoint>| Listed { id: endpoint.id.clone(), record: endpoint.record.clone() };
        self.selection().endpoints.iter().map(listed).collect()
    }

    /// Everything that is known, whatever its health.
    pub fn table(&self) -> Table {
        let is_remembered = !self.inner.informer.is_synced();
        let of_file = self.inner.remembered.as_ref().map_or(0, |table| table.revision);
        let revision = if is_remembered { of_file } else { self.inner.informer.revision() };
        let moving = self.inner.moving();
        let listed =
            |endpoint: &Arc<Endpoint>| Listed { id: endpoint.id.clone(), record: endpoint.record.clone() };
        let instances = moving.endpoints.values().map(listed).collect();
        Table { revision, age: self.age(), is_remembered, instances }
    }

    /// How old the table may be: time since the cluster last confirmed it. It stays within some
    /// seconds while the cluster serves, and grows while it is away.
    pub fn age(&self) -> Duration {
        let of_file = || self.inner.remembered.as_ref().map_or(Duration::MAX, Remembered::age);
        self.inner.informer.age().unwrap_or_else(of_file)
    }

    /// Why the table cannot be confirmed right now, if it cannot.
    pub fn failure(&self) -> Option<Error> {
        self.inner.informer.failure()
    }

    /// Why the table could not be written to its file the last time, if it could not.
    pub fn persist_failure(&self) -> Option<String> {
        self.inner.unsaved.lock().expect("nobody panics while holding it").clone()
    }

    /// Whether so few instances are well that health is passed over.
    pub fn is_panicking(&self) -> bool {
        self.selection().panicking
    }

    /// Whether the preferred zone is too weak, so that others help.
    pub fn is_spilling(&self) -> bool {
        self.selection().spilled
    }

    /// What the cluster lists, and every change from then on. A reader that falls behind gets the
    /// last state of each instance, not all of them. Ends with the resolver.
    pub fn changes(&self) -> impl Stream<Item = Change> + Send + Unpin + use<> {
        let named = |key: &[u8], record: &Instance| {
            let (_, id) = parse_key(key)?;
            Some(Listed { id: id.to_owned(), record: record.clone() })
        };
        let change = move |delta: Delta<Instance>| {
            let change = match delta {
                Delta::Upsert { item, .. } => named(&item.key, &item.value).map(Change::Set),
                Delta::Remove { previous, .. } => named(&previous.key, &previous.value).map(Change::Gone),
            };
            std::future::ready(change)
        };
        self.inner.informer.deltas().filter_map(change)
    }

    /// Waits until what may be picked may have changed.
    pub(super) async fn changed(&self, ticks: &mut watch::Receiver<u64>) {
        let until = self.inner.moving().selected.as_ref().and_then(|(_, until)| *until);
        let due = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = ticks.changed() => {}
            () = due => {}
        }
    }

    pub(super) fn ticks(&self) -> watch::Receiver<u64> {
        self.inner.ticks.subscribe()
    }

    fn selection(&self) -> Arc<Selection> {
        let now = Instant::now();
        let mut moving = self.inner.moving();
        if let Some((selected, until)) = &moving.selected
            && until.is_none_or(|until| until > now)
        {
            return selected.clone();
        }
        let (candidates, until) = moving.candidates(now);
        let selection = Arc::new(select::select(&candidates, &self.inner.filter));
        moving.selected = Some((selection.clone(), until));
        selection
    }

    /// A call to an instance went well, or did not.
    fn report(&self, id: &str, went_well: bool) {
        let mut moving = self.inner.moving();
        if went_well {
            return moving.ejections.succeeded(id);
        }
        let total = moving.endpoints.len();
        if moving.ejections.failed(id, total, Instant::now()) {
            moving.selected = None;
            drop(moving);
            self.inner.ticks.send_modify(|tick| *tick += 1);
        }
    }
}

impl Inner {
    fn moving(&self) -> MutexGuard<'_, Moving> {
        self.moving.lock().expect("nobody panics while holding it")
    }

    fn change(&self, change: impl FnOnce(&mut Moving)) {
        let mut moving = self.moving();
        change(&mut moving);
        moving.selected = None;
        drop(moving);
        self.ticks.send_modify(|tick| *tick += 1);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().ok().and_then(Option::take) {
            task.abort();
        }
    }
}

impl Moving {
    /// Everybody who might be picked, and until when that holds if nothing happens.
    fn candidates(&mut self, now: Instant) -> (Vec<Candidate>, Option<Instant>) {
        self.fading.retain(|_, (_, until)| *until > now);
        let candidate = |endpoint: &Arc<Endpoint>, listed| Candidate {
            endpoint: endpoint.clone(),
            listed,
            ejected: self.ejections.is_ejected(&endpoint.id, now),
        };
        let listed = self.endpoints.values().map(|endpoint| candidate(endpoint, true));
        let fading = self.fading.values().map(|(endpoint, _)| candidate(endpoint, false));
        let candidates = listed.chain(fading).collect();
        let ends = self.fading.values().map(|(_, until)| *until);
        (candidates, ends.chain(self.ejections.next_end(now)).min())
    }
}
