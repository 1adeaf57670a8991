//! A running node: the only file that starts its threads.
//!
//! | arrangement | the core runs | syncs of the log | sockets |
//! | --- | --- | --- | --- |
//! | compact | as a task beside the sockets, on the same thread | on that thread | on that thread |
//! | spread | on a thread of its own | on that thread | on the runtime's threads |
//!
//! In both there is one more thread for what takes long and nobody waits for: flushes of the state,
//! snapshots. Handing a request from one thread to another costs more than executing it, which is
//! why two cores are better used by *compact*.

mod background;
mod clock;
mod compaction;
mod drive;
mod inbox;
mod upkeep;

pub use self::background::Backup;
pub use self::drive::Ending;

use self::background::{Background, Job};
use self::drive::{Drive, Outlets, Step};
use self::inbox::NodeInbox;
use super::core::{Core, CoreOptions};
use super::handle::{Handle, Identity};
use super::io::Input;
use super::lifecycle::{Seat, StartError, Stores, rebuild};
use super::mailbox::MailboxLimits;
use crate::config::{Arrangement, Config, Url};
use crate::observe::metrics::Metrics;
use crate::peer::{Local, Transport, TransportOptions};
use crate::tasks::Tasks;
use crossbeam::sync::Parker;
use oarlock_state::NodeId;
use slog::{Logger, info, o};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};

/// Version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The asynchronous runtime that suits the arrangement.
///
/// # Errors
/// When the system gives no threads.
pub fn asynchronous(arrangement: Arrangement) -> io::Result<Runtime> {
    match arrangement {
        Arrangement::Compact => Builder::new_current_thread().enable_all().build(),
        Arrangement::Spread => Builder::new_multi_thread().enable_all().build(),
    }
}

/// A node that runs.
pub struct Node {
    handle: Handle,
    tasks: Tasks,
    metrics: Metrics,
    transport: Transport,
    backup: Arc<Backup>,
    background: Background,
    ended: Option<oneshot::Receiver<Ending>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Node {
    /// Finds the member's place, opens its stores, and begins to take part. Must be called on the
    /// runtime that [`asynchronous`] made.
    ///
    /// # Errors
    /// See [`StartError`]; nothing runs then.
    pub async fn start(config: &Config, logger: &Logger) -> Result<Self, StartError> {
        let (listeners, source) = listen(&config.addresses.listen_peer, "--listen-peer-urls").await?;
        let seat = Seat::find(config, VERSION, logger).await?;
        let logger = logger.new(o!("member" => config.name.clone()));
        let metrics = Metrics::default();
        let (node, cluster_id) = (NodeId(seat.identity.member_id), seat.identity.cluster_id);
        rebuild(config, &seat, &Local { cluster_id, node, version: VERSION }, &logger).await?;
        let stores = Stores::open(config, &seat, &metrics, &logger)?;
        info!(logger, "starting"; "version" => VERSION, "cluster" => format!("{cluster_id:016x}"),
            "id" => format!("{:016x}", node.get()), "runtime" => format!("{:?}", config.arrangement));
        let boot = rand::random::<u64>().max(1);
        let (replica, state, kept) = stores.replica(config, boot, &logger)?;
        let core = Core::new(
            core_options(config, node, boot, kept.state_options()),
            replica,
            state,
            logger.clone(),
        )?;

        let identity = Identity { node, cluster_id, name: config.name.clone(), version: VERSION };
        let handle = Handle::new(identity, MailboxLimits::default());
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let kept = Arc::new(kept);
        let (background, worker) =
            Background::new(handle.clone(), kept.clone(), metrics.flush_seconds.clone(), logger.clone());
        let backup = Arc::new(Backup::new(handle.clone(), kept.clone(), background.clone()));
        let inbox = Arc::new(NodeInbox::new(handle.clone(), backup.clone(), logger.clone()));
        let transport = Transport::new(
            Local { cluster_id, node, version: VERSION },
            TransportOptions {
                snapshot_bytes_per_second: config.bounds.snapshot_bytes_per_second,
                ..TransportOptions::default()
            },
            source,
            tasks.clone(),
            inbox.clone(),
            kept.snapshots.clone(),
            logger.new(o!("part" => "peer")),
        );
        transport.set_members(&seat.members);
        let outlets = Outlets {
            transport: transport.clone(),
            background: background.clone(),
            inbox,
            metrics: metrics.clone(),
            data_dir: config.data_dir.clone(),
        };
        let tick = Duration::from_millis(config.timing.heartbeat_ms);
        let drive = Drive::new(core, handle.clone(), outlets, tick, logger.clone());
        let mut threads = vec![spawn_thread("oarlock-store", move || worker.run())?];
        let (end, ended) = oneshot::channel();
        match config.arrangement {
            Arrangement::Compact => compact(drive, &handle, &tasks, tick, end),
            Arrangement::Spread => threads.push(spread(drive, &handle, tick, end)?),
        }
        for listener in listeners {
            transport.listen(listener);
        }
        let node =
            Self { backup, background, handle, tasks, metrics, transport, ended: Some(ended), threads };
        node.keep_up(config, &logger);
        Ok(node)
    }

    /// The way in for doors.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The node's tasks; doors run as some of them.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// What the node counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The way to the other members.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Where saved snapshots come from.
    pub fn backup(&self) -> Arc<Backup> {
        self.backup.clone()
    }

    /// Refuses new requests, hands leadership over, finishes what was begun. [`ended`](Self::ended)
    /// follows.
    pub fn shut_down(&self) {
        self.handle.stop_accepting();
        self.handle.mailbox().put_own(Input::Shutdown);
    }

    /// Completes when the node has ended, for whatever reason.
    pub async fn ended(&mut self) -> Ending {
        let Some(ended) = self.ended.take() else { return Ending::Stopped };
        // The sender goes without a word only in a panic, which ends the process.
        ended.await.unwrap_or(Ending::Stopped)
    }

    /// Ends everything that still runs, releases the data directory.
    pub async fn close(self) {
        let Self { tasks, threads, background, .. } = self;
        tasks.stop();
        tasks.stopped().await;
        background.give(Job::End);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A panic in a thread has ended the process before.
                let _ = thread.join();
            }
        });
        let _ = joined.await;
    }

    fn keep_up(&self, config: &Config, logger: &Logger) {
        let data_dir = config.data_dir.clone();
        self.tasks.spawn(upkeep::watch_status(self.handle.clone()));
        self.tasks.spawn(upkeep::watch_disk(self.handle.clone(), self.metrics.clone(), data_dir));
        let urls = crate::config::texts(&config.addresses.advertise_client);
        self.tasks.spawn(upkeep::publish(self.handle.clone(), urls, logger.clone()));
        self.tasks.spawn(compaction::run(self.handle.clone(), config.compaction, logger.clone()));
    }
}

fn core_options(
    config: &Config,
    node: NodeId,
    boot: u64,
    state: crate::storage::state::StateOptions,
) -> CoreOptions {
    CoreOptions {
        tick_ms: config.timing.heartbeat_ms,
        election_ticks: config.timing.election_ticks(),
        watch_progress_ms: config.emulation.watch_progress_ms,
        space_hard_bytes: config.bounds.reserve_disk_bytes,
        quota_bytes: config.emulation.quota_bytes.unwrap_or(u64::MAX),
        space_soft_bytes: 4 * config.bounds.reserve_disk_bytes,
        state,
        ..CoreOptions::new(node, boot, rand::random())
    }
}

/// Binds all addresses, and tells the first one's if it is a particular one.
///
/// # Errors
/// [`StartError::Listen`] for the first that cannot be had.
pub async fn listen(
    urls: &[Url],
    setting: &'static str,
) -> Result<(Vec<TcpListener>, Option<IpAddr>), StartError> {
    let mut listeners = Vec::new();
    let mut source = None;
    for url in urls {
        let refused = |error| StartError::Listen { url: url.to_string(), setting, source: error };
        let addresses = url.resolve().await.map_err(refused)?;
        let before = listeners.len();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let specified = !address.ip().is_unspecified();
                    source = source.or(specified.then_some(address.ip()));
                    listeners.push(listener);
                }
                // A name may have an IPv6 address on a machine without IPv6.
                Err(error) => last = error,
            }
        }
        if listeners.len() == before {
            return Err(refused(last));
        }
    }
    Ok((listeners, source))
}

/// The core as a task. Between two rounds everything else on the thread gets its turn, so a round
/// finds what arrived meanwhile.
fn compact(mut drive: Drive, handle: &Handle, tasks: &Tasks, tick: Duration, end: oneshot::Sender<Ending>) {
    let bell = Arc::new(Notify::new());
    let rung = bell.clone();
    handle.mailbox().set_bell(Box::new(move || bell.notify_one()));
    tasks.spawn(async move {
        loop {
            match drive.step() {
                Step::More => {}
                Step::Idle => {
                    // The time-out is for ticks.
                    let _ = tokio::time::timeout(drive.until_tick().min(tick), rung.notified()).await;
                }
                Step::Ended(ending) => {
                    let _ = end.send(ending);
                    return;
                }
            }
            // Lets the sockets be read, so that one round takes all that is there.
            tokio::task::yield_now().await;
        }
    });
}

/// The core on a thread of its own.
fn spread(
    mut drive: Drive,
    handle: &Handle,
    tick: Duration,
    end: oneshot::Sender<Ending>,
) -> Result<thread::JoinHandle<()>, StartError> {
    let parker = Parker::new();
    let unparker = parker.unparker().clone();
    handle.mailbox().set_bell(Box::new(move || unparker.unpark()));
    spawn_thread("oarlock-core", move || {
        loop {
            match drive.step() {
                Step::More => {}
                Step::Idle => parker.park_timeout(drive.until_tick().min(tick)),
                Step::Ended(ending) => {
                    let _ = end.send(ending);
                    return;
                }
            }
        }
    })
}

fn spawn_thread(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, StartError> {
    let spawned = thread::Builder::new().name(name.into()).spawn(work);
    spawned.map_err(|source| StartError::System { what: "cannot start a thread", source })
}
