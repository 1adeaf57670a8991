//! Exactly once: additions of sessions over connections that break when the request was sent and the
//! answer was not read.
//!
//! Every client reaches the members through relays of its own, which cut its connections by chance:
//! what the server answers after that moment is lost. The library sends again what was not answered;
//! of what it gave up the service is asked.

use super::library::{self, ANY, failure, freeze, lives};
use super::{Insistence, Seat, Workload, refused};
use crate::door::{Door, Freshness, Record};
use crate::history::{Api, Failure};
use futures::future::BoxFuture;
use oarlock_client::{Client, Outcome, Session, SessionState};
use rand::Rng;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The workload.
#[derive(Default)]
pub(super) struct Once {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    lives: AtomicU64,
    keys: Mutex<Vec<String>>,
}

impl Workload for Once {
    fn name(&self) -> &'static str {
        "once"
    }
    fn about(&self) -> &'static str {
        "sessions add to numbers while their connections are cut between request and answer; each addition \
         happens once"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native]
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        lives(seat, async move |seat: &mut Seat| life(&shared, seat).await)
    }
    fn finish(&self, seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(finish(self.shared.clone(), seat))
    }
    fn checks(&self) -> &'static [&'static str] {
        &["once"]
    }
}

/// One session and its number, until it is lost, closed, or left alone.
async fn life(shared: &Shared, seat: &mut Seat) {
    let Some(client) = connect(seat).await else { return };
    let timeout = Duration::from_millis(seat.chance.random_range(3_000..6_000));
    let Some(session) = library::open(seat, &client, timeout).await else { return };
    let key = format!("once/{}", shared.lives.fetch_add(1, Relaxed));
    shared.keys.lock().unwrap_or_else(PoisonError::into_inner).push(key.clone());
    for sequence in 1..seat.chance.random_range(20..200) {
        if seat.is_over() || matches!(session.state(), SessionState::Lost { .. }) {
            break;
        }
        add(seat, &client, &session, &key, sequence).await;
        if seat.chance.random_bool(0.003) {
            freeze(seat, timeout, 1.5);
        }
        seat.pause().await;
    }
    if seat.chance.random_bool(0.6) {
        library::close(seat, session).await;
    }
}

/// The session does nothing else that has a sequence, so that its additions are numbered from 1.
async fn add(seat: &mut Seat, client: &Client, session: &Session, key: &str, sequence: u64) {
    let mut over = seat.common.over.clone();
    let input = json!({ "session": session.id(), "sequence": sequence, "delta": 1 });
    let pending = seat.process.invoke("add", Some(key), input, ANY);
    let outcome = match session.add(key.to_owned(), 1).await {
        Ok(value) => Ok(json!({ "value": value })),
        Err(error) if error.had_no_effect() => Err(failure(&error)),
        Err(error) => tokio::select! {
            outcome = what_became(client, session, sequence) => outcome,
            // The end of the run is no reason to know less, but to stop asking at some time.
            () = async {
                let _ = over.wait_for(|over| *over).await;
                tokio::time::sleep(Duration::from_secs(10)).await;
            } => Err(failure(&error)),
        },
    };
    pending.settle(outcome);
}

/// Asks until it is known. What a session asked for and had not done when it ended never happens.
async fn what_became(client: &Client, session: &Session, sequence: u64) -> Result<Value, Failure> {
    loop {
        let was_lost = matches!(session.state(), SessionState::Lost { .. });
        match client.outcome(session.id(), sequence).await {
            Ok(Outcome::Committed { revision, .. }) => return Ok(json!({ "revision": revision })),
            Ok(Outcome::Rejected(error)) => return Err(failure(&error)),
            Ok(Outcome::NotKnown) if was_lost => {
                return Err(refused("it was not executed before the session ended"));
            }
            Ok(Outcome::NotKnown) | Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Reads every number through this member.
async fn finish(shared: Arc<Shared>, mut seat: Seat) {
    let keys = shared.keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for key in keys {
        let insistence = Insistence::new();
        while !read(&mut seat, &key).await && insistence.again().await {}
    }
}

async fn read(seat: &mut Seat, key: &str) -> bool {
    let call = async |door: &mut Door| door.get(key, Freshness::Linearizable).await;
    let value = |(record, _): &(Option<Record>, u64)| {
        json!(record.as_ref().map_or(Some(0), |record| record.value.parse::<i64>().ok()))
    };
    seat.run("read", Some(key), json!({ "final": true }), call, value).await.is_ok()
}

/// A client that reaches each member through a relay, and knows no other way.
async fn connect(seat: &mut Seat) -> Option<Client> {
    let members = seat.common.addresses.borrow().clone();
    let mut relays = Vec::new();
    for member in members.iter() {
        let address: SocketAddr = member.endpoint.strip_prefix("http://")?.parse().ok()?;
        let listener = TcpListener::bind("127.0.0.1:0").await.ok()?;
        relays.push(format!("http://{}", listener.local_addr().ok()?));
        tokio::spawn(relay(listener, address, seat.own_address()));
    }
    let builder = Client::builder().deadline(seat.common.patience).discover(false);
    let connected = builder.connect(relays).await.ok();
    if connected.is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    connected
}

/// Carries every connection to a member, for a while.
async fn relay(listener: TcpListener, member: SocketAddr, own: Option<IpAddr>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(async move {
            if let Ok(server) = dial(member, own).await {
                carry(client, server).await;
            }
        });
    }
}

async fn dial(member: SocketAddr, own: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = if member.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(own) = own {
        socket.bind((own, 0).into())?;
    }
    tokio::time::timeout(Duration::from_secs(1), socket.connect(member)).await?
}

/// Until one of them hangs up, or the cut: then what the client says is carried for a moment still, and
/// nothing that the server answers.
async fn carry(mut client: TcpStream, mut server: TcpStream) {
    // Without this, small frames would wait for each other.
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return;
    }
    let life = Duration::from_millis(rand::random_range(200..6_000));
    let end = tokio::time::Instant::now() + life;
    let whole = tokio::io::copy_bidirectional(&mut client, &mut server);
    if tokio::time::timeout_at(end, whole).await.is_ok() {
        return;
    }
    let grace = Duration::from_millis(rand::random_range(1..100));
    let mut requests = vec![0; 64 << 10];
    let half = async {
        while let Ok(count @ 1..) = client.read(&mut requests).await {
            if server.write_all(&requests[..count]).await.is_err() {
                return;
            }
        }
    };
    // Whoever hung up by then hung up.
    let _ = tokio::time::timeout(grace, half).await;
}
