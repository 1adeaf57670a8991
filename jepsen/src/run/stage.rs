//! The stage of a run: servers come up, clients and faults go at them, all is healed, and what is left
//! is read.

use super::options::{Options, Unfit};
use crate::clock::Clock;
use crate::cluster::{Cluster, Node, Plan, Site};
use crate::disk::{Disk, Durable};
use crate::history::{FORMAT, Header, Journal};
use crate::nemesis::{self, Field, Need, Nemesis};
use crate::net::{Network, Place, Private};
use crate::progress::Progress;
use crate::workload::{Common, Seat, Workload};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long servers may take until they serve, at the beginning and after all is healed.
const READY: Duration = Duration::from_secs(60);
/// How long clients go on after all is healed, so that the history shows that they get through.
const QUIET: Duration = Duration::from_secs(3);

/// What a run left behind.
pub struct Ran {
    /// Its directory, with `history.jsonl` and the servers' logs.
    pub directory: PathBuf,
    /// Its history's file.
    pub history: PathBuf,
    /// The servers' logs.
    pub logs: Vec<PathBuf>,
}

impl Site for Network {
    fn address(&self, node: usize) -> IpAddr {
        Self::address(self, Place::Node(node)).into()
    }

    fn reached_at(&self, node: usize) -> IpAddr {
        Self::reached_at(self, node).into()
    }

    fn spawn(&self, node: usize, command: Command) -> io::Result<Child> {
        self.host(node).spawn(command)
    }
}

/// Makes a run with these faults in this network.
///
/// # Errors
/// If the servers do not come up, or the history cannot be written.
pub async fn run(
    options: &Options,
    faults: Vec<String>,
    private: Option<Private>,
    network: Arc<Network>,
) -> Result<Ran, Unfit> {
    let workload = options.workload()?;
    let directory =
        directory_for(options).map_err(|error| Unfit(format!("{}: {error}", options.store.display())))?;
    let mut cluster = cluster_for(options, workload.as_ref(), &directory, network.clone());
    let disks = match private {
        Some(private) if nemesis::any_needs(&faults, Need::Disks) => {
            disks_for(options, &mut cluster, private)?
        }
        Some(_) | None => Vec::new(),
    };
    if nemesis::any_needs(&faults, Need::Clocks) {
        give_clocks(&mut cluster, &directory)?;
    }
    let unstarted = |error: io::Error| Unfit(format!("the servers cannot be started: {error}"));
    cluster.start_all().map_err(unstarted)?;
    come_up(&mut cluster).await?;
    let header = header_for(options, &faults, &cluster).await;
    let path = directory.join("history.jsonl");
    let journal =
        Journal::create(&path, &header).map_err(|error| Unfit(format!("{}: {error}", path.display())))?;
    let (addresses, known) = watch::channel(Arc::new(Vec::new()));
    let chance = StdRng::seed_from_u64(options.seed ^ 0x04E3_E515);
    let (journaled, kept) = (journal.clone(), directory.clone());
    let mut field = Field { cluster, network, disks, chance, journal: journaled, addresses, directory: kept };
    field.announce();
    let (stop, over) = watch::channel(false);
    let own = client_addresses(&field.network);
    let common = Common {
        api: options.api,
        patience: options.patience,
        pace: options.pace,
        seed: options.seed,
        journal: journal.clone(),
        addresses: known,
        own,
        over,
    };
    perform(options, workload.as_ref(), faults, &mut field, &common, &stop).await?;
    finish(workload.as_ref(), &mut field, &common).await;
    workload.epilogue(&mut field, &common).await;
    let logs = field.cluster.nodes.iter().map(|node| node.log.clone()).collect();
    drop(field);
    journal.flush().map_err(|error| Unfit(format!("the history is not whole: {error}")))?;
    Ok(Ran { directory, history: path, logs })
}

/// Waits until all servers serve. One that ends will not.
async fn come_up(cluster: &mut Cluster) -> Result<(), Unfit> {
    let deadline = Instant::now() + READY;
    loop {
        let silent = cluster.wait_ready(Duration::from_secs(1)).await;
        let ended: Vec<_> = cluster.nodes.iter_mut().filter_map(Node::take_exit).collect();
        if let Some(exit) = ended.first() {
            return Err(Unfit(format!("{} ended instead of serving:\n{}", exit.node, exit.last_words)));
        }
        if silent.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let words: Vec<String> =
                cluster.nodes.iter().map(|node| format!("{}: {}", node.name, node.last_lines(3))).collect();
            let why = format!("{} did not serve within {READY:?}:\n{}", silent.join(", "), words.join("\n"));
            return Err(Unfit(why));
        }
    }
}

/// Clients and faults, and then healing.
async fn perform(
    options: &Options,
    workload: &dyn Workload,
    faults: Vec<String>,
    field: &mut Field,
    common: &Common,
    stop: &watch::Sender<bool>,
) -> Result<(), Unfit> {
    workload.prepare(Seat::new(common.clone(), 0)).await;
    let nemesis = Nemesis::new(faults, options.rhythm).map_err(Unfit)?;
    let end = Instant::now() + options.time;
    let progress = tokio::spawn(show(common.journal.clone(), nemesis.now(), options.time));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..options.clients {
        clients.spawn(workload.client(Seat::new(common.clone(), number)));
    }
    nemesis.run(field, end).await;
    field.heal();
    let silent = field.cluster.wait_ready(READY).await;
    field.note_exits(false);
    field.announce();
    common.journal.note("healed", json!({ "not_ready_in_time": silent }));
    tokio::time::sleep(QUIET).await;
    stop.send_replace(true);
    // Whoever waits for an answer that never comes gives up after its patience; a client that does not
    // stop at all is a bug of its workload, and its operation stays open.
    let patience = options.patience * 3 + Duration::from_secs(20);
    let stopped =
        tokio::time::timeout(patience, async { while clients.join_next().await.is_some() {} }).await;
    if stopped.is_err() {
        common.journal.note("stuck", json!({ "clients": clients.len() }));
        clients.shutdown().await;
    }
    progress.abort();
    Ok(())
}

/// The last reads through every member, and whether all have come to the same.
async fn finish(workload: &dyn Workload, field: &mut Field, common: &Common) {
    let members = field.cluster.members().len();
    let mut seats = tokio::task::JoinSet::new();
    for member in 0..members {
        seats.spawn(workload.finish(Seat::last(common.clone(), member)));
    }
    while seats.join_next().await.is_some() {}
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut process = common.journal.process();
    loop {
        let mut states = Vec::new();
        for number in field.cluster.members() {
            let name = field.cluster.nodes[number].name.clone();
            let status = field.cluster.status(number).await;
            states.push((name, status.map(|status| (status.applied, status.digest))));
        }
        let equal = states.iter().all(|(_, state)| state.is_some() && *state == states[0].1);
        if equal || Instant::now() >= deadline {
            for (name, state) in states {
                let pending = process.invoke("digest", None, json!({}), &name);
                match state {
                    // One that tells no digest has shown nothing.
                    Some((applied, digest)) if !digest.is_empty() => {
                        pending.ok(json!({ "applied": applied, "digest": digest }))
                    }
                    Some(_) | None => drop(pending),
                }
            }
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    field.note_exits(false);
}

fn directory_for(options: &Options) -> io::Result<PathBuf> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let nemesis = options.nemesis.join(",");
    let name =
        format!("{}-{}-{}-{unix}-{}", options.kind.name(), options.workload, short(&nemesis), options.seed);
    let directory = options.store.join(name);
    std::fs::create_dir_all(&directory)?;
    directory.canonicalize()
}

fn short(names: &str) -> String {
    names.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect()
}

/// Disks that can fail, for the founders. What they hold lies beside the mounts.
fn disks_for(options: &Options, cluster: &mut Cluster, private: Private) -> Result<Vec<Disk>, Unfit> {
    let mut disks = Vec::new();
    for node in &mut cluster.nodes {
        let store = node.data.with_extension("disk");
        let seed = options.seed.wrapping_add(node.number as u64);
        let disk = Disk::mount(private, &store, &node.data, Durable::default(), seed)
            .map_err(|error| Unfit(format!("the disk of {} cannot be mounted: {error}", node.name)))?;
        // What is durable is kept count of in memory; the machine's own disk need not be waited for.
        disk.sync_for_real(false);
        // A directory on it, since servers want to make and rename their own.
        node.data = disk.path().join("data");
        disks.push(disk);
    }
    Ok(disks)
}

fn give_clocks(cluster: &mut Cluster, directory: &Path) -> Result<(), Unfit> {
    for node in &mut cluster.nodes {
        let file = directory.join(format!("{}.clock", node.name));
        let clock =
            Clock::wall(&file).map_err(|error| Unfit(format!("the clock of {}: {error}", node.name)))?;
        node.clock = Some(clock);
    }
    Ok(())
}

fn cluster_for(
    options: &Options,
    workload: &dyn Workload,
    directory: &Path,
    network: Arc<Network>,
) -> Cluster {
    let mut flags = options.drawn_flags();
    flags.extend(workload.flags(options.kind));
    flags.extend(options.flags.iter().cloned());
    let plan = Plan {
        kind: options.kind,
        programs: options.programs.clone(),
        founders: options.nodes,
        flags,
        directory: directory.to_owned(),
        data: Vec::new(),
    };
    let mut cluster = Cluster::new(plan, network);
    if let Some(old) = options.programs.old_oarlockd.as_ref().filter(|_| options.begins_with_old()) {
        cluster.nodes.iter_mut().for_each(|node| node.program = Some(old.clone()));
    }
    cluster
}

async fn header_for(options: &Options, faults: &[String], cluster: &Cluster) -> Header {
    let version = cluster.status(0).await.map(|status| status.version).unwrap_or_default();
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Header {
        format: FORMAT,
        workload: options.workload.clone(),
        nemesis: faults.to_vec(),
        api: options.api,
        server: format!("{} {version}", options.kind.name()).trim_end().to_owned(),
        nodes: options.nodes,
        seed: options.seed,
        seconds: options.time.as_secs(),
        command: options.command.clone(),
        began_unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(0),
    }
}

fn client_addresses(network: &Network) -> Arc<Vec<IpAddr>> {
    let clients = network.links().clients();
    Arc::new((0..clients).map(|client| network.address(Place::Client(client)).into()).collect())
}

/// Shows how far the run is, until it is stopped.
async fn show(journal: Journal, fault: watch::Receiver<String>, time: Duration) {
    let mut progress = Progress::begin(time);
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = fault.borrow().clone();
        progress.show(journal.counts(), if now.is_empty() { &[] } else { std::slice::from_ref(&now) });
    }
}
