//! A whole member: its node, and the doors that lead to it.

use crate::auth::Gate;
use crate::config::{Config, Url};
use crate::front::discovery::api::Api;
use crate::front::discovery::cache::{Cache, Source};
use crate::front::discovery::dns::{Desk, Sockets, Zone};
use crate::front::h2::Services;
use crate::front::listener::PortOptions;
use crate::front::native::door::{Door, Limits};
use crate::front::saved::{Snapshot, SnapshotSource};
use crate::front::{etcd, http, listener, native};
use crate::node::lifecycle::StartError;
use crate::node::runtime::{Backup, Ending, Node, asynchronous, listen};
use crate::observe::metrics::Exposition;
use crate::pools::planner;
use crate::storage::snapshot::SnapshotReader;
use axum::Router;
use oarlock_state::Revision;
use slog::{Logger, info, warn};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// How often health clients are told whether the node is ready.
const HEALTH_EVERY: Duration = Duration::from_millis(500);
/// Time for the last replies to leave the sockets.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Runs a member until it ends: by SIGTERM or SIGINT, or because it was removed or is damaged.
///
/// # Errors
/// When it cannot start.
pub fn run(config: &Config, logger: &Logger) -> Result<Ending, StartError> {
    let system = |what| move |source| StartError::System { what, source };
    let runtime = asynchronous(config.arrangement).map_err(system("cannot start the runtime"))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(system("cannot wait for SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("cannot wait for SIGINT"))?;
        let mut member = tokio::select! {
            started = Member::start(config, logger) => started?,
            // A joining member may wait long for its cluster.
            () = either(&mut terminate, &mut interrupt) => return Ok(Ending::Stopped),
        };
        tokio::select! {
            ending = member.node.ended() => return Ok(member.close(ending).await),
            () = either(&mut terminate, &mut interrupt) => {}
        }
        info!(logger, "asked to stop; handing over");
        member.node.shut_down();
        tokio::select! {
            ending = member.node.ended() => Ok(member.close(ending).await),
            () = either(&mut terminate, &mut interrupt) => {
                warn!(logger, "asked again; stopping at once");
                Ok(Ending::Stopped)
            }
        }
    })
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// A running member.
pub struct Member {
    /// Its node.
    pub node: Node,
    /// Where clients reach it.
    pub client_addresses: Vec<SocketAddr>,
}

impl Member {
    /// Starts the node and opens its doors.
    ///
    /// # Errors
    /// When it cannot start.
    pub async fn start(config: &Config, logger: &Logger) -> Result<Self, StartError> {
        let urls: &[Url] = &config.addresses.listen_client;
        let (listeners, _) = listen(urls, "--listen-client-urls").await?;
        let dns = listen_for_dns(config).await?;
        let node = Node::start(config, logger).await?;
        for name in &config.without_effect {
            warn!(logger, "setting has no effect here"; "setting" => name);
        }
        let client_addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let member = Self { node, client_addresses };
        member.open_doors((listeners, dns), config, logger)?;
        info!(logger, "serving clients"; "at" => format!("{:?}", member.client_addresses));
        Ok(member)
    }

    fn open_doors(
        &self,
        (listeners, dns): (Vec<TcpListener>, Vec<Sockets>),
        config: &Config,
        logger: &Logger,
    ) -> Result<(), StartError> {
        let handle = self.node.handle();
        let limits = Limits { request_bytes: config.bounds.request_bytes, ..Limits::default() };
        let snapshots: Arc<dyn SnapshotSource> = Arc::new(Snapshots(self.node.backup()));
        let gate = Gate::new(handle.clone(), &config.authentication).map_err(|error| StartError::System {
            what: "cannot sign tokens",
            source: io::Error::other(error),
        })?;
        let door = Door::new(handle.clone(), limits, Some(snapshots.clone()), gate.clone());
        let (grpc, reporter) = native::routes(door).map_err(|error| StartError::System {
            what: "the schemas do not read",
            source: io::Error::other(error.to_string()),
        })?;
        let etcd_limits = etcd::door::Limits {
            request_bytes: config.bounds.request_bytes,
            election: Duration::from_millis(config.timing.election_ms),
            txn_ops: config.bounds.txn_ops,
            ..etcd::door::Limits::default()
        };
        let setup = etcd::Setup { emulation: config.emulation, snapshots };
        let etcd_door = etcd::door::Door::new(handle.clone(), etcd_limits, gate.clone());
        let kv = etcd::kv::KvService::new(etcd_door.clone());
        let grpc = etcd::add_to(grpc, &etcd_door, &kv, &setup);
        let gateway = etcd::gateway::routes(&grpc, config.bounds.request_bytes).map_err(|error| {
            StartError::System { what: "the schemas do not read", source: io::Error::other(error) }
        })?;
        let discovery = self.discovery(gate, dns, config, logger);
        let exposition = Exposition::new(
            self.node.metrics(),
            handle.clone(),
            self.node.transport().traffic(),
            config.emulation,
        );
        let router = grpc
            .into_axum_router()
            .merge(gateway)
            .merge(discovery)
            .merge(http::routes(handle.clone(), exposition, config.emulation))
            .fallback(http::unknown);
        let services = Services { calls: etcd::fast_calls(&kv), router, node: handle.clone() };
        let services = Arc::new(services);
        let options = PortOptions { connections: config.bounds.connections, streams: config.bounds.streams };
        let tasks = self.node.tasks();
        let bytes = self.node.metrics().client_bytes.clone();
        for socket in listeners {
            tasks.spawn(listener::run(
                socket,
                services.clone(),
                options,
                bytes.clone(),
                tasks.clone(),
                logger.clone(),
            ));
        }
        tasks.spawn(report_health(reporter, handle.clone()));
        tasks.spawn(planner::run(handle.clone(), tasks.clone(), logger.clone()));
        Ok(())
    }

    /// Service discovery: begins to answer DNS, and returns what is answered over HTTP.
    fn discovery(&self, gate: Arc<Gate>, dns: Vec<Sockets>, config: &Config, logger: &Logger) -> Router {
        let (handle, tasks) = (self.node.handle(), self.node.tasks());
        let counts = self.node.metrics().discovery.clone();
        let source = Source {
            handle: handle.clone(),
            tasks: tasks.clone(),
            counts: counts.clone(),
            logger: logger.clone(),
        };
        let cache = Cache::new(source);
        if !dns.is_empty() {
            info!(logger, "answering DNS"; "at" => format!("{:?}", addresses(&dns)), "domain" => %config.dns.domain);
            let listening: Vec<IpAddr> = addresses(&dns).iter().map(SocketAddr::ip).collect();
            let advertised: Vec<IpAddr> =
                config.addresses.advertise_client.iter().filter_map(Url::ip).collect();
            let servers = config.dns.servers(&listening, &advertised);
            let zone = Zone::new(config.dns.clone(), servers);
            let desk = Desk::new(zone, cache.clone(), handle.clone(), config.dns.anonymous, counts.clone());
            dns.into_iter().for_each(|sockets| sockets.serve(&desk, tasks, logger));
        }
        Api::new(handle.clone(), gate, cache, counts).routes()
    }

    /// Ends everything after the node has ended.
    pub async fn close(self, ending: Ending) -> Ending {
        tokio::time::sleep(LAST_WORDS).await;
        self.node.close().await;
        ending
    }
}

fn addresses(dns: &[Sockets]) -> Vec<SocketAddr> {
    dns.iter().filter_map(Sockets::address).collect()
}

async fn listen_for_dns(config: &Config) -> Result<Vec<Sockets>, StartError> {
    let mut all = Vec::new();
    for authority in &config.dns.listen {
        let bound = Sockets::bind(authority).await;
        let refused = |source| StartError::Listen { url: authority.clone(), setting: "--dns-listen", source };
        all.extend(bound.map_err(refused)?);
    }
    Ok(all)
}

async fn report_health(reporter: HealthReporter, handle: crate::node::handle::Handle) {
    loop {
        let status = if handle.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status("", status).await;
        tokio::time::sleep(HEALTH_EVERY).await;
    }
}

/// The node's snapshots, as the native door hands them out.
struct Snapshots(Arc<Backup>);

struct Taken {
    reader: SnapshotReader,
    revision: Revision,
}

impl SnapshotSource for Snapshots {
    fn snapshot(&self) -> io::Result<Box<dyn Snapshot>> {
        let (reader, revision) = self.0.take()?;
        Ok(Box::new(Taken { reader, revision }))
    }
}

impl Snapshot for Taken {
    fn revision(&self) -> Revision {
        self.revision
    }
    fn index(&self) -> u64 {
        self.reader.manifest().meta.index
    }
    fn bytes(&self) -> u64 {
        self.reader.manifest().size_bytes()
    }
    fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        self.reader.export(out).map_err(|error| io::Error::other(error.to_string()))
    }
}
