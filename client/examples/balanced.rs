//! A gRPC client that finds its servers by discovery, while servers are added, drained and killed.
//!
//! ```text
//! make cluster
//! OARLOCK_ENDPOINTS=http://127.0.0.1:2379 cargo run --release -p oarlock-client --example balanced
//! ```
//!
//! It starts servers as processes of their own (itself, with `serve NAME`). Each registers itself in
//! the service `balanced`, with a check of its own port, and drains when it is told to stop. The
//! client's channel follows the registry. It ends with an error if a call fails even when it is
//! repeated once, which calls that change nothing may be.

use oarlock_client::Client;
use oarlock_client::registry::{Check, Instance};
use std::collections::BTreeMap;
use std::error::Error;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

const SERVICE: &str = "balanced";
/// How long a server is heard of after its last sign of life.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long a server goes on after it asked for no new work.
const DRAIN: Duration = Duration::from_secs(1);

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().collect();
    let endpoints = std::env::var("OARLOCK_ENDPOINTS").unwrap_or_else(|_| "http://127.0.0.1:2379".into());
    let client = Client::connect(endpoints.split(',')).await?;
    match arguments.get(1..).unwrap_or_default() {
        [] => call_while_servers_change(client).await,
        [verb, name] if verb == "serve" => serve(client, name).await,
        _ => Err("usage: balanced [serve NAME]".into()),
    }
}

/// A server: registers, serves, and on SIGTERM drains, deregisters and ends.
async fn serve(client: Client, name: &str) -> Outcome {
    let mut stop = signal(SignalKind::terminate())?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = HealthServer::new(Named(name.to_owned()));
    let serving = Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener));
    let serving = tokio::spawn(serving);
    let check = Check::grpc(format!("http://{address}"));
    let here = Instance::new("127.0.0.1", address.port());
    let register = client.registry().register(SERVICE, name, here).check(check).timeout(TIMEOUT);
    let registration = register.start().await?;
    stop.recv().await;
    registration.drain().await?;
    tokio::time::sleep(DRAIN).await;
    registration.deregister().await?;
    serving.abort();
    Ok(())
}

/// Says that it serves, and who it is.
struct Named(String);

#[tonic::async_trait]
impl Health for Named {
    type WatchStream = futures::stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let mut answer = Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() });
        let name = self.0.parse().map_err(|_| Status::internal("the name is no header"))?;
        answer.metadata_mut().insert("served-by", name);
        Ok(answer)
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("ask again"))
    }
}

/// What came of the calls.
#[derive(Default)]
struct Counts {
    served: BTreeMap<String, u64>,
    repeated: u64,
    failed: u64,
}

async fn call_while_servers_change(client: Client) -> Outcome {
    let resolver = client.registry().resolver(SERVICE).start().await?;
    let counts = Arc::new(Mutex::new(Counts::default()));
    let calls: Vec<_> = (0..8).map(|_| tokio::spawn(call(resolver.channel(), counts.clone()))).collect();
    let show = |what: &str| {
        let counts = counts.lock().expect("nobody panics while holding it");
        let Counts { served, repeated, failed } = &*counts;
        println!("{what:<28} served {served:?}, repeated {repeated}, failed {failed}");
    };
    let mut servers = vec![Process::start("a")?, Process::start("b")?];
    let scene = Duration::from_secs(2);
    tokio::time::sleep(scene * 2).await;
    show("a and b serve");
    servers.push(Process::start("c")?);
    tokio::time::sleep(scene).await;
    show("c was added");
    servers[0].0.kill()?;
    tokio::time::sleep(scene).await;
    show("a was killed");
    servers[1].terminate()?;
    tokio::time::sleep(scene).await;
    show("b was drained");
    servers.push(Process::start("d")?);
    tokio::time::sleep(scene).await;
    show("d was added");
    calls.iter().for_each(|calls| calls.abort());
    let counts = counts.lock().expect("nobody panics while holding it");
    if counts.failed > 0 {
        return Err(format!("{} calls failed", counts.failed).into());
    }
    match ["a", "b", "c", "d"].iter().find(|&&name| !counts.served.contains_key(name)) {
        Some(idle) => Err(format!("{idle} served nothing").into()),
        None => Ok(()),
    }
}

/// Calls for ever.
async fn call(channel: Channel, counts: Arc<Mutex<Counts>>) {
    let mut health = HealthClient::new(channel);
    loop {
        let begun = Instant::now();
        let mut answer = health.check(HealthCheckRequest::default()).await;
        let is_repeated = answer.is_err();
        if is_repeated {
            // It was on its way to a server that died, which is known a moment later.
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = health.check(HealthCheckRequest::default()).await;
        }
        {
            let mut counts = counts.lock().expect("nobody panics while holding it");
            counts.repeated += u64::from(is_repeated);
            match answer {
                Ok(answer) => {
                    let by = answer.metadata().get("served-by").and_then(|by| by.to_str().ok());
                    *counts.served.entry(by.unwrap_or("?").to_owned()).or_insert(0) += 1;
                }
                Err(status) => {
                    eprintln!("failed after {:?}: {}", begun.elapsed(), status.message());
                    counts.failed += 1;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A server's process; killed when dropped.
struct Process(Child);

impl Process {
    fn start(name: &str) -> std::io::Result<Self> {
        Command::new(std::env::current_exe()?).args(["serve", name]).spawn().map(Self)
    }

    /// SIGTERM, by the shell's `kill`, as the standard library knows only SIGKILL.
    fn terminate(&self) -> std::io::Result<()> {
        Command::new("kill").arg(self.0.id().to_string()).status().map(|_| ())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}
