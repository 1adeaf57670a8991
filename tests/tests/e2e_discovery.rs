//! The service registry over plain HTTP and over DNS, against real processes: what a program in any
//! language does with nothing but an HTTP client and a resolver.

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use oarlock_tests::cluster::{Cluster, Node, free_ports};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const PATIENCE: Duration = Duration::from_secs(30);

/// Status, head and JSON of an answer.
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {text}"));
        Self { status, head: head.to_ascii_lowercase(), body }
    }

    #[track_caller]
    fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{} {}", self.head, self.body);
        self.body
    }

    #[track_caller]
    fn refused(self, status: u16, code: &str) -> String {
        let body = self.is(status);
        assert_eq!(body["code"], code, "{body}");
        body["error"].as_str().expect("a sentence").to_owned()
    }
}

async fn send(node: &Node, method: &str, path: &str, head: &[String], body: &str) -> Answer {
    let path = format!("/v1/services{path}");
    Answer::of(&node.http(method, &path, head, body).await.expect("an answer in time"))
}

async fn get(node: &Node, path: &str) -> Answer {
    send(node, "GET", path, &[], "").await
}

async fn put(node: &Node, path: &str, body: Value) -> Answer {
    send(node, "PUT", path, &[], &body.to_string()).await
}

/// What registering returned, as later requests carry it.
fn proof(registered: &Value) -> Vec<String> {
    let of = |name: &str| format!("oarlock-{name}: {}", registered[name].as_str().expect("a text"));
    vec![of("session"), of("secret")]
}

fn names(answer: &Value) -> Vec<String> {
    let instances = answer["instances"].as_array().expect("a list");
    instances.iter().map(|instance| instance["name"].as_str().expect("a name").to_owned()).collect()
}

/// Asks until the answer is good.
async fn until(node: &Node, path: &str, good: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(node, path).await;
        if answer.status == 200 && good(&answer.body) {
            return answer.body;
        }
        assert!(Instant::now() < deadline, "{path}: {}", answer.body);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_instance_is_registered_resolved_kept_alive_and_deregistered() {
    let cluster = Cluster::start(3, &[]).await;
    let [first, second, third] = &cluster.nodes[..] else { panic!("three") };
    assert_eq!(get(first, "/web").await.is(200)["instances"], json!([]), "nobody is registered yet");

    let body = json!({ "address": "10.0.0.1", "port": 80, "zone": "a", "tags": ["x"], "ttl": "20s" });
    let a = put(first, "/web/a", body.clone()).await.is(201);
    assert_eq!((&a["ttl_ms"], &a["created"]), (&json!(20_000), &json!(true)));
    let other = put(second, "/web/b", json!({ "address": "b.example.com", "zone": "b", "weight": 5 })).await;
    let b = other.is(201);

    // Every member has it, and says up to which revision.
    for node in [first, second, third] {
        let seen = until(node, "/web?order=name", |answer| names(answer) == ["a", "b"]).await;
        assert!(seen["revision"].as_u64() >= b["revision"].as_u64(), "{seen}");
        assert_eq!(seen["instances"][0]["address"], "10.0.0.1");
        assert_eq!(seen["instances"][1]["weight"], 5);
    }
    let linear = get(third, "/web?consistency=linearizable&zone=b").await;
    assert!(linear.head.contains("oarlock-revision: ") && linear.head.contains("oarlock-age-ms: 0"));
    assert_eq!(names(&linear.is(200)), ["b", "a"], "the zone comes first");
    assert_eq!(names(&get(third, "/web?tag=x").await.is(200)), ["a"]);
    assert_eq!(get(third, "/web/b").await.is(200)["instance"]["address"], "b.example.com");
    get(third, "/web/c").await.refused(404, "not_found");

    // The same again changes nothing, at any member; with another record it is changed.
    let mut again = body.clone();
    again["session"] = a["session"].clone();
    again["secret"] = a["secret"].clone();
    let renewed = put(second, "/web/a", again.clone()).await.is(200);
    assert_eq!((&renewed["revision"], &renewed["created"]), (&a["revision"], &json!(false)));
    again["port"] = json!(81);
    let changed = put(second, "/web/a", again).await.is(200);
    assert!(changed["revision"].as_u64() > a["revision"].as_u64());

    // A heartbeat keeps it, and says how it stands.
    let path = "/web/a/alive";
    let kept = send(third, "PUT", path, &proof(&a), "").await.is(200);
    assert!(kept["valid_for_ms"].as_u64() > Some(10_000), "{kept}");
    let bad = json!({ "health": "critical", "reason": "disk" }).to_string();
    send(third, "PUT", path, &proof(&a), &bad).await.is(200);
    until(first, "/web", |answer| names(answer) == ["b"]).await;
    let all = get(first, "/web?health=any&order=name").await.is(200);
    assert_eq!(all["instances"][0]["health_reason"], "disk");
    assert_eq!(all["instances"][0]["port"], 81, "the rest of the record stays");
    let services = get(first, "").await.is(200);
    let web = &services["services"][0];
    assert_eq!((&web["name"], &web["instances"], &web["usable"]), (&json!("web"), &json!(2), &json!(1)));

    // Whoever deregisters is gone, with its session.
    assert_eq!(send(second, "DELETE", "/web/a", &proof(&a), "").await.is(200)["deleted"], true);
    assert_eq!(send(second, "DELETE", "/web/a", &proof(&a), "").await.is(200)["deleted"], false);
    until(third, "/web?health=any", |answer| names(answer) == ["b"]).await;
    send(second, "PUT", "/web/a/alive", &proof(&a), "").await.refused(410, "session_gone");
    let metrics = second.http_get("/metrics").await.expect("metrics");
    assert!(
        metrics.contains("oarlock_services_requests_total{call=\"deregister\",status=\"200\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn without_heartbeats_an_instance_goes() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let begun = Instant::now();
    let body = json!({ "address": "10.0.0.1", "ttl": 2 });
    let kept = put(node, "/web/kept", body.clone()).await.is(201);
    put(node, "/web/lost", body).await.is(201);
    while begun.elapsed() < Duration::from_secs(4) {
        send(node, "POST", "/web/kept/alive", &proof(&kept), "").await.is(200);
        if begun.elapsed() < Duration::from_millis(1800) {
            assert_eq!(
                names(&get(node, "/web?consistency=linearizable").await.is(200)).len(),
                2,
                "too early"
            );
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    until(node, "/web", |answer| names(answer) == ["kept"]).await;
}

#[tokio::test]
async fn a_first_request_may_be_repeated_under_a_secret_of_ones_own() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let secret = "0123456789abcdef0123456789abcdef";
    let body = json!({ "address": "10.0.0.1", "secret": secret });
    let first = put(node, "/web/a", body.clone()).await.is(201);
    let second = put(node, "/web/a", body).await.is(200);
    assert_eq!((&first["session"], &first["revision"]), (&second["session"], &second["revision"]));

    // Somebody else gets it only by saying so.
    let other = json!({ "address": "10.0.0.2" });
    assert!(put(node, "/web/a", other.clone()).await.refused(409, "taken").contains("replace=true"));
    let taken = put(node, "/web/a?replace=true", other).await.is(201);
    assert_ne!(taken["session"], first["session"]);
    send(node, "PUT", "/web/a/alive", &proof(&first), "").await.refused(410, "not_registered");
    assert_eq!(send(node, "DELETE", "/web/a", &proof(&first), "").await.is(200)["deleted"], false);
    let left = get(node, "/web/a?consistency=linearizable").await.is(200);
    assert_eq!(left["instance"]["address"], "10.0.0.2");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_sentence() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let good = json!({ "address": "10.0.0.1" });
    for (path, body) in [
        ("/Web/a", good.clone()),
        ("/web/a_b", good.clone()),
        ("/web/a?colour=red", good.clone()),
        ("/web/a", json!({ "port": 80 })),
        ("/web/a", json!({ "address": "10.0.0.1:80" })),
        ("/web/a", json!({ "address": "10.0.0.1", "port": 70000 })),
        ("/web/a", json!({ "address": "10.0.0.1", "ttl": "1ms" })),
        ("/web/a", json!({ "address": "10.0.0.1", "health": "fine" })),
        ("/web/a", json!({ "address": "10.0.0.1", "secret": "short" })),
        ("/web/a", json!({ "address": "10.0.0.1", "session": "7" })),
        ("/web/a/alive", json!({ "health": "passing" })),
        ("/web/a/alive", json!([])),
    ] {
        put(node, path, body).await.refused(400, "bad_request");
    }
    let long = json!({ "address": "10.0.0.1", "metadata": { "k": "v".repeat(70_000) } });
    put(node, "/web/a", long).await.refused(413, "too_large");
    send(node, "PUT", "/web/a", &[], "{").await.refused(400, "bad_request");
    for path in
        ["/web?limit=0", "/web?wait=1h", "/web?health=well", "/we%20b", "/%ff", "?zone=a", "/web/a?limit=1"]
    {
        get(node, path).await.refused(400, "bad_request");
    }
    get(node, "/web/a/b/c").await.refused(404, "not_found");
    send(node, "DELETE", "/web", &[], "").await.refused(405, "wrong_method");
    let none = ["oarlock-session: 99".to_owned(), format!("oarlock-secret: {:032}", 1)];
    send(node, "PUT", "/web/a/alive", &none, "").await.refused(410, "session_gone");
    let mine = put(node, "/web/a", good).await.is(201);
    let forged = [proof(&mine)[0].clone(), none[1].clone()];
    send(node, "PUT", "/web/a/alive", &forged, "").await.refused(403, "denied");
    send(node, "DELETE", "/web/a", &forged, "").await.refused(403, "denied");
}

#[tokio::test]
async fn a_long_poll_ends_with_the_change_or_with_its_time() {
    let cluster = Cluster::start(3, &[]).await;
    let [first, second, _] = &cluster.nodes[..] else { panic!("three") };
    put(first, "/web/a", json!({ "address": "10.0.0.1" })).await.is(201);
    let now = until(second, "/web", |answer| names(answer) == ["a"]).await;
    let after = |seen: &Value| format!("/web?order=name&after={}", seen["revision"]);

    let begun = Instant::now();
    let same = get(second, &format!("{}&wait=700ms", after(&now))).await.is(200);
    assert!(begun.elapsed() >= Duration::from_millis(700));
    assert_eq!(names(&same), ["a"]);

    // Another service's change does not wake it; its own does, at once.
    let begun = Instant::now();
    let path = format!("{}&wait=4s", after(&same));
    let poll = get(second, &path);
    let change = async {
        put(first, "/db/a", json!({ "address": "10.0.0.1" })).await.is(201);
        tokio::time::sleep(Duration::from_millis(500)).await;
        put(first, "/web/b", json!({ "address": "10.0.0.2" })).await.is(201);
    };
    let (woken, ()) = tokio::join!(poll, change);
    assert!((Duration::from_millis(500)..Duration::from_secs(3)).contains(&begun.elapsed()));
    assert_eq!(names(&woken.is(200)), ["a", "b"]);

    // What happened in between is not waited for.
    let begun = Instant::now();
    let missed = get(second, &format!("{}&wait=4s", after(&same))).await.is(200);
    assert_eq!(names(&missed), ["a", "b"]);
    assert!(begun.elapsed() < Duration::from_secs(2));

    // Whoever has seen more than the member keeps what it has.
    get(second, "/web?after=999999&wait=300ms").await.refused(503, "behind");
}

/// A stream of server-sent events.
struct Events {
    socket: TcpStream,
    text: String,
}

impl Events {
    async fn open(node: &Node, path: &str, last: Option<u64>) -> Self {
        let mut socket =
            TcpStream::connect(("127.0.0.1", node.options.client_port)).await.expect("it listens");
        let last = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let request =
            format!("GET /v1/services{path} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n{last}\r\n");
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut events = Self { socket, text: String::new() };
        let head = events.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        events
    }

    async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some((before, after)) = self.text.split_once(end) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.text = after;
                return before;
            }
            let mut buffer = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut buffer)).await;
            let read = read.expect("an event in time").expect("it is open");
            assert!(read > 0, "the stream ended: {}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }

    /// Kind, data and id of the next event. An event is never split over chunks.
    async fn next(&mut self) -> (String, Value, Option<u64>) {
        let event = self.until("\n\n").await;
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let kind = field("event:").expect("a kind").to_owned();
        let data = serde_json::from_str(field("data:").expect("data")).expect("JSON");
        (kind, data, field("id:").and_then(|id| id.parse().ok()))
    }
}

#[tokio::test]
async fn a_stream_tells_all_instances_and_then_what_changes() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let a = put(node, "/web/a", json!({ "address": "10.0.0.1" })).await.is(201);
    let mut events = Events::open(node, "/web", None).await;
    let (kind, data, id) = events.next().await;
    assert_eq!((kind.as_str(), names(&data)), ("snapshot", vec!["a".to_owned()]));
    let seen = id.expect("an id");

    put(node, "/web/b", json!({ "address": "10.0.0.2" })).await.is(201);
    let (kind, data, id) = events.next().await;
    assert_eq!((kind.as_str(), &data["name"], &data["address"]), ("put", &json!("b"), &json!("10.0.0.2")));
    let put_at = id.expect("an id");
    assert!(put_at > seen);
    // What is not usable any more has left the stream.
    let draining = json!({ "health": "draining" }).to_string();
    send(node, "PUT", "/web/a/alive", &proof(&a), &draining).await.is(200);
    let (kind, data, id) = events.next().await;
    assert_eq!((kind.as_str(), &data["name"]), ("delete", &json!("a")));
    let last = id.expect("an id");

    // Whoever comes back with the last id is told nothing twice; with an older one, a snapshot.
    let mut resumed = Events::open(node, "/web", Some(last)).await;
    let mut behind = Events::open(node, "/web", Some(put_at)).await;
    let (kind, data, _) = behind.next().await;
    assert_eq!((kind.as_str(), names(&data)), ("snapshot", vec!["b".to_owned()]));
    put(node, "/web/c", json!({ "address": "10.0.0.3" })).await.is(201);
    for stream in [&mut events, &mut resumed, &mut behind] {
        let (kind, data, _) = stream.next().await;
        assert_eq!((kind.as_str(), &data["name"]), ("put", &json!("c")));
    }
}

#[tokio::test]
async fn a_member_answers_while_the_others_are_away() {
    let mut cluster = Cluster::start(3, &[]).await;
    put(&cluster.nodes[0], "/web/a", json!({ "address": "10.0.0.1", "ttl": 1 })).await.is(201);
    until(&cluster.nodes[2], "/web", |answer| names(answer) == ["a"]).await;
    cluster.nodes[0].kill();
    cluster.nodes[1].pause();
    let left = &cluster.nodes[2];
    let begun = Instant::now();
    // Long past the instance's time: nobody can say that it is gone, so it is not.
    while begun.elapsed() < Duration::from_secs(4) {
        assert_eq!(names(&get(left, "/web").await.is(200)), ["a"]);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let old = get(left, "/web").await.is(200);
    assert!(old["age_ms"].as_u64() > Some(2000), "{old}");
    let refused = get(left, "/web?consistency=linearizable").await;
    assert!(matches!(refused.status, 503 | 504), "{}", refused.body);
    cluster.nodes[1].resume();
    until(left_again(&cluster), "/web", |answer| names(answer).is_empty()).await;
}

fn left_again(cluster: &Cluster) -> &Node {
    &cluster.nodes[2]
}

/// Asks a DNS server, over UDP and then, if the answer was cut, over TCP. With it whether it was.
async fn dig(port: u16, name: &str, kind: RecordType) -> (Message, bool) {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    let packet = message.to_vec().expect("encoded");
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.connect(("127.0.0.1", port)).await.expect("it is bound");
    socket.send(&packet).await.expect("sent");
    let mut buffer = [0; 4096];
    let length = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await;
    let length = length.expect("a reply in time").expect("received");
    assert!(length <= 512);
    let reply = Message::from_vec(&buffer[..length]).expect("a message");
    assert_eq!(reply.metadata.id, message.metadata.id);
    if !reply.metadata.truncation {
        return (reply, false);
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let length = u16::try_from(packet.len()).expect("short");
    stream.write_all(&[&length.to_be_bytes()[..], &packet].concat()).await.expect("sent");
    let mut whole = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
    stream.read_exact(&mut whole).await.expect("a reply");
    (Message::from_vec(&whole).expect("a message"), true)
}

/// The data of the answers as text, in order of the text.
async fn data(port: u16, name: &str, kind: RecordType) -> Vec<String> {
    let (message, _) = dig(port, name, kind).await;
    let mut all: Vec<String> = message.answers.iter().map(|record| record.data.to_string()).collect();
    all.sort();
    all
}

/// Asks until the answer is this.
async fn until_dns(port: u16, name: &str, kind: RecordType, expected: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = data(port, name, kind).await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{name}: {found:?} instead of {expected:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Nodes that answer DNS, each at a port of its own.
async fn with_dns(count: usize, flags: &[&str]) -> (Cluster, Vec<u16>) {
    let mut cluster = Cluster::prepare(count, flags);
    let ports = free_ports(count);
    for (node, port) in cluster.nodes.iter_mut().zip(&ports) {
        node.options.flags.extend(["--dns-listen".to_owned(), format!("127.0.0.1:{port}")]);
        node.start();
    }
    cluster.wait_ready(PATIENCE).await;
    (cluster, ports)
}

#[tokio::test]
async fn services_are_found_over_dns() {
    let (cluster, ports) = with_dns(1, &["--dns-ttl", "7s", "--dns-zone", "z1"]).await;
    let (node, port) = (&cluster.nodes[0], ports[0]);
    let body = json!({ "address": "10.0.0.1", "port": 80, "zone": "z1", "metadata": { "k": "v" } });
    let a = put(node, "/web/a", body).await.is(201);
    put(node, "/web/b", json!({ "address": "fd00::2", "port": 81, "zone": "z2" })).await.is(201);
    put(node, "/web/c", json!({ "address": "10.0.0.3", "port": 82, "zone": "z2" })).await.is(201);
    let service = "web.service.oarlock.";
    until_dns(port, "z2.zone.web.service.oarlock.", RecordType::A, &["10.0.0.3"]).await;
    assert_eq!(data(port, service, RecordType::A).await, ["10.0.0.1"], "its own zone alone");
    assert_eq!(data(port, service, RecordType::AAAA).await, ["fd00::2"], "for want of anybody nearer");
    assert_eq!(data(port, service, RecordType::TXT).await, ["k=v"]);
    let targets = [
        "0 100 80 a.web.instance.oarlock.",
        "1 100 81 b.web.instance.oarlock.",
        "1 100 82 c.web.instance.oarlock.",
    ];
    assert_eq!(data(port, "_web._tcp.oarlock.", RecordType::SRV).await, targets);
    assert_eq!(data(port, "b.web.instance.oarlock.", RecordType::AAAA).await, ["fd00::2"]);
    let (found, _) = dig(port, service, RecordType::A).await;
    assert!(found.answers.iter().all(|record| record.ttl == 7) && found.metadata.authoritative);

    // What fails its check is not given; what nobody registered does not exist.
    let bad = json!({ "health": "critical" }).to_string();
    send(node, "PUT", "/web/a/alive", &proof(&a), &bad).await.is(200);
    until_dns(port, service, RecordType::A, &["10.0.0.3"]).await;
    assert_eq!(data(port, "a.web.instance.oarlock.", RecordType::A).await, ["10.0.0.1"]);
    for (name, code) in [
        ("db.service.oarlock.", ResponseCode::NXDomain),
        ("service.oarlock.", ResponseCode::NoError),
        ("example.com.", ResponseCode::Refused),
    ] {
        let (reply, _) = dig(port, name, RecordType::A).await;
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (code, 0), "{name}");
    }
    let metrics = node.http_get("/metrics").await.expect("metrics");
    assert!(metrics.contains("oarlock_dns_queries_total{type=\"a\",result=\"nxdomain\"} 1"), "{metrics}");
    assert!(metrics.contains("oarlock_service_instances 3"), "{metrics}");
}

#[tokio::test]
async fn a_large_answer_comes_over_tcp_and_garbage_harms_nobody() {
    let (cluster, ports) = with_dns(1, &[]).await;
    let (node, port) = (&cluster.nodes[0], ports[0]);
    for number in 0..40 {
        let body = json!({ "address": format!("10.0.0.{number}"), "port": 80 });
        put(node, &format!("/web/instance-{number}"), body).await.is(201);
    }
    until(node, "/web", |answer| names(answer).len() == 40).await;
    let (first, by_tcp) = dig(port, "_web._tcp.oarlock.", RecordType::SRV).await;
    assert!(by_tcp && first.answers.len() == 32, "as many as --dns-max-answers says");
    // Each answer is in another order.
    let (second, _) = dig(port, "_web._tcp.oarlock.", RecordType::SRV).await;
    assert_ne!(first.answers, second.answers);

    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    for length in 0..200 {
        let garbage: Vec<u8> = (0..length).map(|_| rand::random()).collect();
        socket.send_to(&garbage, ("127.0.0.1", port)).await.expect("sent");
    }
    let mut silent = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    silent.write_all(&[0xff, 0xff, 1, 2, 3]).await.expect("sent");
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0, "what is too long ends the connection");
    assert_eq!(data(port, "instance-7.web.instance.oarlock.", RecordType::A).await, ["10.0.0.7"]);
    assert!(node.is_ready().await);
}

#[tokio::test]
async fn dns_goes_on_while_the_cluster_does_not() {
    let (mut cluster, ports) = with_dns(3, &[]).await;
    let body = json!({ "address": "10.0.0.1", "port": 80, "ttl": 1 });
    put(&cluster.nodes[0], "/web/a", body).await.is(201);
    until_dns(ports[2], "web.service.oarlock.", RecordType::A, &["10.0.0.1"]).await;
    cluster.nodes[0].kill();
    cluster.nodes[1].pause();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        assert_eq!(data(ports[2], "web.service.oarlock.", RecordType::A).await, ["10.0.0.1"]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.nodes[1].resume();
    until_dns(ports[2], "web.service.oarlock.", RecordType::A, &[]).await;
}

#[tokio::test]
async fn with_authentication_everybody_sees_what_they_may() {
    let (cluster, ports) = with_dns(1, &["--bcrypt-cost", "4"]).await;
    let node = &cluster.nodes[0];
    for service in ["web", "db"] {
        put(node, &format!("/{service}/a"), json!({ "address": "10.0.0.1", "ttl": "60s" })).await.is(201);
    }
    let post = async |path: &str, body: Value, token: Option<&str>| {
        let head = token.map(|token| format!("authorization: {token}"));
        let head: Vec<String> = head.into_iter().collect();
        let path = format!("/v3/auth/{path}");
        Answer::of(&node.http("POST", &path, &head, &body.to_string()).await.expect("an answer")).is(200)
    };
    for name in ["root", "app"] {
        post("user/add", json!({ "name": name, "password": "p" }), None).await;
        post("role/add", json!({ "name": name }), None).await;
        post("user/grant", json!({ "user": name, "role": name }), None).await;
    }
    // From /oarlock/services/web/ to before /oarlock/services/web0.
    let range = json!({ "permType": "READWRITE", "key": "L29hcmxvY2svc2VydmljZXMvd2ViLw==", "range_end": "L29hcmxvY2svc2VydmljZXMvd2ViMA==" });
    post("role/grant", json!({ "name": "app", "perm": range }), None).await;
    until_dns(ports[0], "web.service.oarlock.", RecordType::A, &["10.0.0.1"]).await;
    post("enable", json!({}), None).await;

    // DNS has no token.
    let (reply, _) = dig(ports[0], "web.service.oarlock.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    get(node, "/web").await.refused(401, "unauthenticated");
    let token = post("authenticate", json!({ "name": "app", "password": "p" }), None).await;
    let head = [format!("authorization: Bearer {}", token["token"].as_str().expect("a token"))];
    let forged = ["authorization: Bearer forged".to_owned()];
    send(node, "GET", "/web", &forged, "").await.refused(401, "unauthenticated");
    assert_eq!(names(&send(node, "GET", "/web", &head, "").await.is(200)), ["a"]);
    send(node, "GET", "/db", &head, "").await.refused(403, "denied");
    let listed = send(node, "GET", "", &head, "").await.is(200);
    assert_eq!(
        (listed["services"].as_array().map(Vec::len), &listed["services"][0]["name"]),
        (Some(1), &json!("web"))
    );
    let body = json!({ "address": "10.0.0.2" }).to_string();
    let mine = send(node, "PUT", "/web/b", &head, &body).await.is(201);
    send(node, "PUT", "/db/b", &head, &body).await.refused(403, "denied");
    let beat = [head[0].clone(), proof(&mine)[0].clone(), proof(&mine)[1].clone()];
    send(node, "PUT", "/web/b/alive", &beat, "").await.is(200);
    assert_eq!(send(node, "DELETE", "/web/b", &beat, "").await.is(200)["deleted"], true);
}
