//! Service discovery with real processes: registrants that die, checks that fail, a cluster that is
//! away, and a channel that is balanced over what is left.

use oarlock_client::registry::{Check, Instance, Registration, RegistrationState, Resolver};
use oarlock_client::{Client, Error};
use oarlock_tests::cluster::{Cluster, Oarlock, free_ports, turn};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

const PATIENCE: Duration = Duration::from_secs(30);
const NOT_FOUND: i32 = 3;
const CONDITION: i32 = 4;

async fn client(cluster: &Cluster) -> Client {
    Client::connect(cluster.endpoints()).await.expect("it serves")
}

async fn resolver(client: &Client, service: &str) -> Resolver {
    client.registry().resolver(service).start().await.expect("it resolves")
}

/// Names of the instances that may be used.
fn usable(resolver: &Resolver) -> Vec<String> {
    resolver.usable().into_iter().map(|listed| listed.id).collect()
}

/// Waits until `check` says so, and returns how long that took.
async fn until(what: &str, check: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// A process that keeps an instance registered; killed when dropped.
struct Registrant {
    child: Child,
    session: u64,
}

impl Registrant {
    /// Starts it and waits until it has registered.
    fn start(oarlock: &Oarlock, instance: &str, flags: &[&str]) -> Self {
        let words = [&["--output", "json", "service", "register", "web", instance], flags].concat();
        let mut child = oarlock.start(&mut oarlock.command(&words));
        let mut line = String::new();
        let out = child.stdout.take().expect("it was asked for");
        BufReader::new(out).read_line(&mut line).expect("it prints a line");
        let document: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let session = document["session"].as_u64().expect("a number");
        Self { child, session }
    }

    #[expect(unsafe_code, reason = "kill(2) has no safe wrapper in the standard library")]
    fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill takes two integers; the process is our own child and not yet reaped.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Registrant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registrant_that_dies_is_gone_within_its_timeout() {
    let _turn = turn().await;
    let cluster = Cluster::start(3, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    let client = client(&cluster).await;
    let resolver = resolver(&client, "web").await;
    assert!(resolver.pick().is_none(), "nobody is there yet");
    let ttl = Duration::from_secs(2);
    let flags = ["--ttl", "2s", "--port", "8080", "--zone", "a", "--tag", "v2", "--drain", "0s"];
    let mut first = Registrant::start(&oarlock, "1", &flags);
    let mut second = Registrant::start(&oarlock, "2", &flags);
    until("both are resolved", || usable(&resolver) == ["1", "2"]).await;
    let picked = resolver.pick().expect("two are there");
    assert_eq!((picked.authority().as_str(), picked.record().zone.as_str()), ("127.0.0.1:8080", "a"));
    let listed = oarlock.json(&["service", "ls"]);
    assert_eq!((&listed["service"], listed["usable"].as_u64()), (&"web".into(), Some(2)));
    assert_eq!(oarlock.json_lines(&["service", "resolve", "web", "--tag", "v2"]).len(), 2);
    oarlock.fails(NOT_FOUND, &["service", "resolve", "web", "--tag", "v3"]);

    first.signal(libc::SIGKILL);
    let took = until("the killed one is gone", || usable(&resolver) == ["2"]).await;
    // The timeout, the leader's rounds, and what a loaded machine adds; but not at once, either.
    assert!(took > ttl / 2 && took < ttl + Duration::from_secs(4), "{took:?}");
    assert_eq!(first.exit_code(), None, "it ended by the signal");

    second.signal(libc::SIGTERM);
    let took = until("the stopped one is gone", || usable(&resolver).is_empty()).await;
    assert!(took < ttl, "it deregistered: {took:?}");
    assert_eq!(second.exit_code(), Some(0));
    assert!(resolver.table().instances.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_and_operators_decide_who_is_resolved() {
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    let client = client(&cluster).await;
    let resolver = resolver(&client, "web").await;
    let listener = std::net::TcpListener::bind(("127.0.0.1", free_ports(1)[0])).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let check = format!("tcp={address}");
    let _checked = Registrant::start(&oarlock, "1", &["--check", &check, "--check-every", "100ms"]);
    until("its check passes", || usable(&resolver) == ["1"]).await;
    drop(listener);
    until("its check fails", || usable(&resolver).is_empty()).await;
    oarlock.fails(NOT_FOUND, &["service", "resolve", "web"]);
    let all = oarlock.json(&["service", "resolve", "web", "--all"]);
    assert_eq!(all["health"], "critical");
    assert!(all["health_reason"].as_str().is_some_and(|reason| reason.contains("refused")), "{all}");
    let _again = std::net::TcpListener::bind(address).expect("the port is free again");
    until("its check passes again", || usable(&resolver) == ["1"]).await;

    // What an operator says stays, whatever the checks find, until it is taken back.
    let said = oarlock.json(&["service", "health", "web", "1", "draining", "--reason", "maintenance"]);
    assert_eq!((&said["health"], &said["before"]), (&"draining".into(), &"passing".into()));
    until("it drains", || usable(&resolver).is_empty()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(resolver.table().instances[0].record.health_reason, "maintenance");
    oarlock.text(&["service", "health", "web", "1", "passing"]);
    until("it is used again", || usable(&resolver) == ["1"]).await;

    // Reports keep a ttl check passing; silence does not.
    let _reported = Registrant::start(&oarlock, "2", &["--check", "ttl=1500ms"]);
    assert_eq!(usable(&resolver), ["1"], "nothing was reported yet");
    oarlock.text(&["service", "health", "web", "2", "passing"]);
    until("it reported", || usable(&resolver) == ["1", "2"]).await;
    until("it is silent", || usable(&resolver) == ["1"]).await;
    oarlock.fails(NOT_FOUND, &["service", "health", "web", "3", "passing"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_register_the_same_the_later_one_stays() {
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    let client = client(&cluster).await;
    let mut first = Registrant::start(&oarlock, "1", &["--port", "1"]);
    let mut second = Registrant::start(&oarlock, "1", &["--port", "2"]);
    assert_eq!(first.exit_code(), Some(CONDITION), "it was taken over");
    let record = oarlock.json(&["service", "resolve", "web"]);
    assert_eq!((&record["port"], &record["instance"]), (&2.into(), &"1".into()));

    // A session that an operator ends is opened again, with the same record.
    oarlock.text(&["session", "close", &second.session.to_string()]);
    let resolver = resolver(&client, "web").await;
    until("it registers again", || usable(&resolver) == ["1"]).await;
    let key = client.get("/oarlock/services/web/1").await.expect("it serves").expect("registered");
    assert_ne!(key.owner, second.session);

    oarlock.text(&["service", "deregister", "web", "1"]);
    assert_eq!(second.exit_code(), Some(CONDITION), "it was removed");
    oarlock.fails(NOT_FOUND, &["service", "deregister", "web", "1"]);
    until("nobody registers it again", || usable(&resolver).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_while_it_is_registered_and_drains_before_it_stops() {
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    let client = client(&cluster).await;
    let resolver = resolver(&client, "web").await;
    let script = "trap 'exit 7' TERM; while :; do sleep 0.05; done";
    let flags = ["--drain", "1s", "--", "sh", "-c", script];
    let mut registrant = Registrant::start(&oarlock, "1", &flags);
    until("it is there", || usable(&resolver) == ["1"]).await;
    registrant.signal(libc::SIGTERM);
    until("it drains", || usable(&resolver).is_empty()).await;
    assert_eq!(resolver.table().instances.len(), 1, "it finishes what it has");
    assert_eq!(registrant.exit_code(), Some(7), "the command's own code");
    until("it is gone", || resolver.table().instances.is_empty()).await;
    let quick = oarlock.run(&["service", "register", "web", "2", "--", "sh", "-c", "exit 5"]);
    assert_eq!(quick.code, 5, "{quick:?}");
    oarlock.fails(2, &["service", "register", "Web", "1"]);
    oarlock.fails(2, &["service", "register", "web", "1", "--check", "udp=x"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resolver_keeps_answering_while_the_cluster_is_away() {
    let _turn = turn().await;
    let cluster = Cluster::start(3, &[]).await;
    let client = client(&cluster).await;
    let file = cluster.directory().join("web.json");
    let register = client.registry().register("web", "1", Instance::new("127.0.0.1", 80));
    let registration = register.timeout(Duration::from_secs(2)).start().await.expect("it registers");
    let builder = client.registry().resolver("web").persist(file.clone());
    let resolver = builder.start().await.expect("it resolves");
    until("it is there", || usable(&resolver) == ["1"]).await;
    until("the table is saved", || std::fs::read(&file).is_ok_and(|text| text.len() > 100)).await;

    cluster.nodes.iter().for_each(|node| node.pause());
    // Longer than the session's timeout and than any patience of the watch.
    let away = Instant::now();
    while away.elapsed() < Duration::from_secs(8) {
        assert_eq!(resolver.pick().expect("the last known one").id(), "1");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(resolver.age() >= Duration::from_secs(5), "{:?}", resolver.age());
    // A program that starts now knows what was.
    let lazy = Client::builder().deadline(Duration::from_secs(2)).connect_lazy(cluster.endpoints());
    let lazy = lazy.expect("URLs");
    let restarted = lazy.registry().resolver("web").persist(file.clone()).start().await;
    let restarted = restarted.expect("the file has a table");
    assert_eq!(restarted.pick().expect("remembered").id(), "1");
    assert!(restarted.table().is_remembered && restarted.age() >= Duration::from_secs(5));
    let without = lazy.registry().resolver("web").start().await.err().expect("nobody answers");
    assert!(matches!(without, Error::NotProposed { .. }), "{without:?}");

    cluster.nodes.iter().for_each(|node| node.resume());
    until("the table is confirmed again", || resolver.age() < Duration::from_secs(3)).await;
    // Whether or not its session has survived, it is registered in the end.
    let is_registered = || matches!(registration.state(), RegistrationState::Registered { .. });
    until("it is registered", || is_registered() && usable(&resolver) == ["1"]).await;
    until("the restarted one follows", || !restarted.table().is_remembered).await;
    registration.set_weight(7).await.expect("it serves");
    for resolver in [&resolver, &restarted] {
        let weight = || resolver.usable().first().map(|listed| listed.record.weight);
        until("news arrives", || weight() == Some(7)).await;
    }
    registration.deregister().await.expect("it serves");
    until("it is gone", || resolver.pick().is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_keeps_several_services() {
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    let client = client(&cluster).await;
    let (web, mail) = (resolver(&client, "web").await, resolver(&client, "mail").await);
    let port = std::net::SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let checked = listener.local_addr().expect("bound");
    let config = cluster.directory().join("agent.toml");
    let text = format!(
        "http = \"{port}\"\ndrain = \"100ms\"\n\
         [[service]]\nname = \"web\"\ninstance = \"1\"\naddress = \"10.0.0.7\"\nport = 80\n\
         [[service.check]]\ntcp = \"{checked}\"\nevery = \"100ms\"\n\
         [[service]]\nname = \"mail\"\ninstance = \"1\"\naddress = \"10.0.0.7\"\nport = 25\n\
         [[service.check]]\nttl = \"1m\"\n"
    );
    std::fs::write(&config, &text).expect("the test's directory is writable");
    let path = config.to_string_lossy().into_owned();
    oarlock.text(&["agent", "--config", &path, "--dry-run"]);
    let child = oarlock.start(&mut oarlock.command(&["agent", "--config", &path]));
    let mut agent = Registrant { child, session: 0 };
    until("the checked one is used", || usable(&web) == ["1"]).await;
    until("the other one is known", || mail.table().instances.len() == 1).await;
    assert!(mail.pick().is_none(), "nothing was reported yet");
    assert_eq!(put(port, "/v1/services/mail/1/passing").await, 204);
    until("it reported", || usable(&mail) == ["1"]).await;
    assert_eq!(put(port, "/v1/services/mail/1/critical").await, 204);
    until("it reported trouble", || mail.pick().is_none()).await;
    assert_eq!(put(port, "/v1/services/news/1/passing").await, 404);
    assert_eq!(put(port, "/v1/services/mail/1/fine").await, 400);
    for session in oarlock.json_lines(&["session", "ls"]) {
        oarlock.text(&["session", "close", &session["session"].to_string()]);
    }
    until("both are registered again", || usable(&web) == ["1"] && mail.table().instances.len() == 1).await;
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.exit_code(), Some(0));
    until("both are gone", || web.table().instances.is_empty() && mail.table().instances.is_empty()).await;
    std::fs::write(&config, text.replace("ttl", "tttl")).expect("writable");
    oarlock.fails(2, &["agent", "--config", &path]);
}

/// The status of an empty PUT.
async fn put(at: std::net::SocketAddr, path: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(at).await.expect("the agent listens");
    let request = format!("PUT {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("it answers");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status: {answer:?}"))
}

/// A service that is always well and says who answers.
struct Named(String);

#[tonic::async_trait]
impl Health for Named {
    type WatchStream = futures::stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let mut answer = Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() });
        answer.metadata_mut().insert("served-by", self.0.parse().expect("a plain word"));
        Ok(answer)
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("nobody watches"))
    }
}

/// A gRPC server with a runtime of its own, so that it can die without a word.
struct Server {
    runtime: Option<tokio::runtime::Runtime>,
    registration: Option<Registration>,
}

impl Server {
    async fn start(endpoints: Vec<String>, name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("the machine has threads");
        let name = name.to_owned();
        let started = runtime.spawn(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let port = listener.local_addr().expect("bound").port();
            let server =
                tonic::transport::Server::builder().add_service(HealthServer::new(Named(name.clone())));
            tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
            let client = Client::connect(endpoints).await.expect("it serves");
            let register = client.registry().register("health", &name, Instance::new("127.0.0.1", port));
            let check = Check::grpc(format!("http://127.0.0.1:{port}"));
            register.check(check).timeout(Duration::from_secs(3)).start().await.expect("it registers")
        });
        let registration = started.await.expect("no panic");
        Self { runtime: Some(runtime), registration: Some(registration) }
    }

    fn registration(&self) -> &Registration {
        self.registration.as_ref().expect("it lives")
    }

    /// All its tasks and sockets are gone at once; nobody deregisters.
    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Calls the channel over and over until told to stop; counts who served, and calls that failed even
/// when repeated once.
async fn call_on(
    channel: tonic::transport::Channel,
    stop: tokio::sync::watch::Receiver<bool>,
    served: std::sync::Arc<std::sync::Mutex<BTreeMap<String, usize>>>,
) -> usize {
    let mut health = HealthClient::new(channel);
    let mut failed = 0;
    while !*stop.borrow() {
        let mut answer = health.check(HealthCheckRequest::default()).await;
        if answer.is_err() {
            // It was on its way to a server that died, which is known a moment later.
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = health.check(HealthCheckRequest::default()).await;
        }
        match answer {
            Ok(answer) => {
                let by = answer.metadata().get("served-by").expect("every server stamps");
                let by = by.to_str().expect("a plain word").to_owned();
                *served.lock().expect("no panic").entry(by).or_insert(0) += 1;
            }
            Err(status) => {
                eprintln!("failed: {status:?}");
                failed += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balanced_channel_keeps_serving_while_instances_come_go_and_die() {
    let _turn = turn().await;
    let cluster = Cluster::start(3, &[]).await;
    let client = client(&cluster).await;
    let resolver = resolver(&client, "health").await;
    let channel = resolver.channel();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let served = std::sync::Arc::new(std::sync::Mutex::new(BTreeMap::new()));
    // The first calls wait for the first instance.
    let calls: Vec<_> =
        (0..4).map(|_| tokio::spawn(call_on(channel.clone(), stopped.clone(), served.clone()))).collect();
    let count = |name: &str| served.lock().expect("no panic").get(name).copied().unwrap_or(0);
    let mut a = Server::start(cluster.endpoints(), "a").await;
    let b = Server::start(cluster.endpoints(), "b").await;
    until("both serve", || count("a") > 50 && count("b") > 50).await;
    let total = || served.lock().expect("no panic").values().sum::<usize>();

    a.kill();
    let (dead, before) = (count("a"), total());
    until("the other one serves", || total() > before + 200).await;
    assert!(count("a") <= dead + 4, "calls that were answered as it died");

    let c = Server::start(cluster.endpoints(), "c").await;
    until("the new one serves", || count("c") > 50).await;
    b.registration().drain().await.expect("it serves");
    until("the resolver knows", || usable(&resolver) == ["c"]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (drained, before) = (count("b"), total());
    until("the new one serves alone", || total() > before + 100).await;
    assert_eq!(count("b"), drained);

    stop.send_replace(true);
    for calls in calls {
        assert_eq!(calls.await.expect("no panic"), 0, "calls failed although they were repeated");
    }
    drop((b, c));
}
