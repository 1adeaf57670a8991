//! dev: a throw-away cluster in this process.
//!
//! Each node has a thread with a runtime of its own, as if it were a process, and a directory below
//! one temporary directory, which goes at the end.

use crate::args::{Common, DevArgs};
use crate::failure::Failure;
use crate::output::say;
use oarlock_client::Client;
use oarlock_server::config::{Config, LogFormat, Logging, Settings};
use oarlock_server::serve::Member;
use oarlock_server::{fatal, node, observe};
use slog::Logger;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

/// Distance between the client ports of two nodes.
const PORT_DISTANCE: u16 = 10;
/// Larger clusters teach nothing on one machine.
const NODES_MAX: u16 = 9;
/// Time for a cluster to elect its first leader.
const START_TIME: Duration = Duration::from_secs(30);
/// Time for a node to hand over and end.
const STOP_TIME: Duration = Duration::from_secs(5);

/// Runs the cluster until interrupted.
pub async fn run(_common: &Common, args: DevArgs) -> Result<ExitCode, Failure> {
    if !(1..=NODES_MAX).contains(&args.nodes) {
        return Err(Failure::Usage(format!("--nodes {} is not between 1 and {NODES_MAX}", args.nodes)));
    }
    let directory = tempfile::Builder::new()
        .prefix("oarlock-dev-")
        .tempdir()
        .map_err(|error| Failure::Local(format!("cannot make a temporary directory: {error}")))?;
    let settings = settings(&args, directory.path())?;
    let logging = Logging { level: slog::Level::Warning, format: LogFormat::Text };
    let (logger, lines) = observe::log::start(logging);
    fatal::abort_on_panic(logger.clone(), lines);
    let endpoints: Vec<String> =
        settings.iter().filter_map(|settings| settings.listen_client_urls.clone()).collect();
    let (stop, stopped) = watch::channel(());
    let mut nodes = Vec::new();
    for settings in settings {
        nodes.push(start(settings, logger.clone(), stopped.clone())?);
    }
    drop(stopped);
    let served = serve(&mut nodes, &endpoints).await;
    drop(stop); // every node sees it and ends
    for node in nodes {
        // A thread that panicked has ended the process.
        let _ = tokio::task::spawn_blocking(move || node.thread.join()).await;
    }
    served.map(|()| ExitCode::SUCCESS)
}

/// A node on its thread.
struct Node {
    thread: std::thread::JoinHandle<()>,
    /// Completes with the reason when the node cannot start or ends by itself.
    ended: oneshot::Receiver<String>,
}

/// Says how to reach the cluster once it works, and waits for the end.
async fn serve(nodes: &mut [Node], endpoints: &[String]) -> Result<(), Failure> {
    let ended = futures::future::select_all(nodes.iter_mut().map(|node| &mut node.ended));
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| Failure::Local(format!("cannot wait for SIGTERM: {error}")))?;
    let interrupted = tokio::signal::ctrl_c();
    let work = async {
        ready(endpoints).await?;
        say!("export OARLOCK_ENDPOINTS={}", endpoints.join(","));
        eprintln!("{} nodes serve until you press ctrl-c; then everything is removed", endpoints.len());
        std::future::pending().await
    };
    tokio::select! {
        outcome = work => outcome,
        (reason, ..) = ended => Err(Failure::Local(reason.unwrap_or_else(|_| "a node ended".into()))),
        _ = interrupted => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// Waits until every endpoint answers a linearizable read.
async fn ready(endpoints: &[String]) -> Result<(), Failure> {
    for endpoint in endpoints {
        let deadline = tokio::time::Instant::now() + START_TIME;
        loop {
            let builder = Client::builder().discover(false).deadline(Duration::from_secs(1));
            let asked = async { builder.connect([endpoint.clone()]).await?.get("/").await };
            match asked.await {
                Ok(_) => break,
                Err(error) if tokio::time::Instant::now() > deadline => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
    Ok(())
}

fn start(settings: Settings, logger: Logger, stopped: watch::Receiver<()>) -> Result<Node, Failure> {
    let config = Config::from_settings(settings).map_err(|error| Failure::Usage(error.to_string()))?;
    let (end, ended) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(config.name.clone())
        .spawn(move || {
            if let Err(reason) = live(&config, &logger, stopped) {
                // Nobody listens any more when the others have failed before.
                let _ = end.send(format!("node {}: {reason}", config.name));
            }
        })
        .map_err(|error| Failure::Local(format!("cannot start a thread: {error}")))?;
    Ok(Node { thread, ended })
}

/// A node's life on this thread.
fn live(config: &Config, logger: &Logger, mut stopped: watch::Receiver<()>) -> Result<(), String> {
    let runtime = node::runtime::asynchronous(config.arrangement).map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut member = Member::start(config, logger).await.map_err(|error| error.to_string())?;
        tokio::select! {
            ending = member.node.ended() => return Err(format!("it ended by itself: {ending:?}")),
            _ = stopped.changed() => {}
        }
        member.node.shut_down();
        // All nodes end at once, so nobody may be left to hand over to.
        if let Ok(ending) = tokio::time::timeout(STOP_TIME, member.node.ended()).await {
            member.close(ending).await;
        }
        Ok(())
    })
}

/// What each node is told.
fn settings(args: &DevArgs, directory: &Path) -> Result<Vec<Settings>, Failure> {
    let count = usize::from(args.nodes);
    let free = free_ports(2 * count)?;
    let client_port = |node: u16| match args.port {
        0 => Ok(free[count + usize::from(node)]),
        first => node.checked_mul(PORT_DISTANCE).and_then(|distance| first.checked_add(distance)).ok_or_else(
            || Failure::Usage(format!("--port {first} leaves no room for {} nodes below 65536", args.nodes)),
        ),
    };
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let members: Vec<String> = (0..count).map(|node| format!("n{}={}", node + 1, url(free[node]))).collect();
    (0..args.nodes)
        .map(|node| {
            let name = format!("n{}", node + 1);
            Ok(Settings {
                data_dir: Some(directory.join(&name).display().to_string()),
                name: Some(name),
                listen_client_urls: Some(url(client_port(node)?)),
                listen_peer_urls: Some(url(free[usize::from(node)])),
                initial_cluster: Some(members.join(",")),
                initial_cluster_token: Some(format!("dev-{}", std::process::id())),
                ..Settings::default()
            })
        })
        .collect()
}

/// Ports that are free now, bound at once so that they differ.
fn free_ports(count: usize) -> Result<Vec<u16>, Failure> {
    let refused = |error: std::io::Error| Failure::Local(format!("loopback has no free port: {error}"));
    let bind = |_| TcpListener::bind("127.0.0.1:0").map_err(refused);
    let listeners = (0..count).map(bind).collect::<Result<Vec<_>, _>>()?;
    listeners
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()).map_err(refused))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_follow_the_first_one_and_peers_have_their_own() {
        let args = DevArgs { nodes: 3, port: 4000 };
        let settings = settings(&args, Path::new("/tmp/x")).expect("there is room");
        let clients: Vec<_> = settings.iter().filter_map(|node| node.listen_client_urls.as_deref()).collect();
        assert_eq!(clients, ["http://127.0.0.1:4000", "http://127.0.0.1:4010", "http://127.0.0.1:4020"]);
        for settings in settings {
            Config::from_settings(settings).expect("a node can be started with it");
        }
        assert!(super::settings(&DevArgs { nodes: 3, port: 65_530 }, Path::new("/tmp/x")).is_err());
    }
}
