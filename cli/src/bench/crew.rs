//! Threads of clients. Each thread has a runtime, connections and a tally of its own, so that clients
//! share no lock and wake nobody on another core: what measures shares the machine with what is measured.

use super::door::etcd::Etcd;
use super::door::native::Native;
use super::door::registry::Registry;
use super::door::stream::Pipelined;
use super::door::zookeeper::Zookeeper;
use super::door::{Client, OneByOne, PATIENCE, Place};
use super::error::BenchError;
use super::keys::Share;
use super::pace::{Pace, Window};
use super::request::Request;
use super::schedule::Schedule;
use super::tally::Tally;
use super::words::Words;
use super::work::{Source, Way, Work};
use futures::stream::{self, StreamExt, TryStreamExt};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};

/// Clients that a thread opens at a time.
const OPENING: usize = 64;
/// How long after the end the last answers are waited for: longer than a call waits.
const GRACE: Duration = PATIENCE.saturating_add(Duration::from_secs(1));
/// How long clients may take to leave nothing behind.
const CLOSING: Duration = Duration::from_secs(60);

/// What a client has to do, and where it counts.
pub struct Course {
    source: Box<dyn Source>,
    random: SmallRng,
    /// When it may send.
    pub pace: Pace,
    /// What it and its neighbours saw.
    pub tally: Rc<RefCell<Tally>>,
}

impl Course {
    /// The first request of the next operation; `None` when all is done.
    pub fn next(&mut self) -> Option<Request> {
        self.source.next(&mut self.random)
    }
}

/// What a thread is told before it begins.
pub struct Orders {
    /// What is done.
    pub work: Arc<dyn Work>,
    /// How requests travel.
    pub way: Way,
    /// Makes keys and values.
    pub words: Words,
    /// What all random numbers come from.
    pub seed: u64,
    /// Which of the threads it is.
    pub thread: Share,
    /// Its connections.
    pub lines: Vec<Line>,
    /// Counts what succeeds.
    pub progress: Arc<AtomicU64>,
}

/// A connection and its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it goes.
    pub endpoint: String,
    /// Numbers of the clients that share it.
    pub clients: Vec<usize>,
}

/// Shares connections out to threads, and clients to connections: clients first take one each.
pub fn share_out(endpoints: &[String], clients: usize, connections: usize, threads: usize) -> Vec<Vec<Line>> {
    let mut shares = vec![Vec::new(); threads];
    for (number, endpoint) in endpoints.iter().cycle().take(connections).enumerate() {
        let clients = (number..clients).step_by(connections).collect();
        shares[number % threads].push(Line { endpoint: endpoint.clone(), clients });
    }
    shares
}

/// A thread of clients.
pub struct Crew {
    ready: oneshot::Receiver<Result<(), BenchError>>,
    begin: oneshot::Sender<Window>,
    tally: oneshot::Receiver<Tally>,
}

impl Crew {
    /// Starts a thread, which connects.
    pub fn muster(orders: Orders) -> Result<Self, BenchError> {
        let (ready_sender, ready) = oneshot::channel();
        let (begin, begin_receiver) = oneshot::channel();
        let (tally_sender, tally) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BenchError::NoClients)?;
        let live = move || {
            let clients = LocalSet::new();
            let tally = clients.block_on(&runtime, live(orders, ready_sender, begin_receiver));
            if let Some(tally) = tally {
                // Nobody listens any more if another thread could not connect.
                let _ = tally_sender.send(tally);
            }
        };
        std::thread::Builder::new().name("bench".to_owned()).spawn(live).map_err(BenchError::NoClients)?;
        Ok(Self { ready, begin, tally })
    }

    /// Waits until all its clients are connected.
    pub async fn ready(&mut self) -> Result<(), BenchError> {
        (&mut self.ready).await.expect("a bench thread does not panic")
    }

    /// Lets them begin. Returns when they are done.
    pub async fn run(self, window: Window) -> Tally {
        self.begin.send(window).expect("a bench thread waits for its begin");
        self.tally.await.expect("a bench thread does not panic")
    }
}

type Ready = oneshot::Sender<Result<(), BenchError>>;

async fn live(orders: Orders, ready: Ready, begin: oneshot::Receiver<Window>) -> Option<Tally> {
    match orders.way {
        Way::Native => serve::<OneByOne<Native>>(orders, ready, begin).await,
        Way::Stream => serve::<Pipelined>(orders, ready, begin).await,
        Way::Etcd => serve::<OneByOne<Etcd>>(orders, ready, begin).await,
        Way::Zookeeper => serve::<OneByOne<Zookeeper>>(orders, ready, begin).await,
        Way::Registry => serve::<OneByOne<Registry>>(orders, ready, begin).await,
    }
}

async fn serve<C: Client>(orders: Orders, ready: Ready, begin: oneshot::Receiver<Window>) -> Option<Tally> {
    let clients = match gather::<C>(&orders).await {
        Ok(clients) => {
            // Whoever started this waits for it, or has given up because of another thread.
            let _ = ready.send(Ok(()));
            clients
        }
        Err(error) => {
            let _ = ready.send(Err(error));
            return None;
        }
    };
    let window = begin.await.ok()?;
    let tally = Tally::new(window).with_progress(orders.progress.clone());
    let tally = Rc::new(RefCell::new(tally));
    let paces = paces(
        &orders,
        C::SHARES_PACE,
        &clients.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
        window,
    );
    let mut running = JoinSet::new();
    for (position, (number, mut client)) in clients.into_iter().enumerate() {
        let course = Course {
            source: orders.work.source(share_of(&orders, number)),
            random: SmallRng::seed_from_u64(orders.seed.wrapping_add(number as u64)),
            pace: paces[position % paces.len()].clone(),
            tally: tally.clone(),
        };
        running.spawn_local(async move {
            client.run(course).await;
            client
        });
    }
    let clients = wait(running, window).await;
    let mut seen = tally.replace(Tally::new(window));
    seen.give_up("no answer until long after the end");
    for due in paces.iter().flat_map(Pace::unsent) {
        seen.unsent(due);
    }
    let closing = stream::iter(clients).for_each_concurrent(None, Client::close);
    // Whoever does not get that far in time leaves it to the servers.
    let _ = tokio::time::timeout(CLOSING, closing).await;
    Some(seen)
}

fn share_of(orders: &Orders, client: usize) -> Share {
    Share { number: client as u64, of: orders.work.load().clients as u64 }
}

/// Connects everybody.
async fn gather<C: Client>(orders: &Orders) -> Result<Vec<(usize, C)>, BenchError> {
    let mut seats = Vec::new();
    for line in &orders.lines {
        let connection = C::connect(&line.endpoint, &orders.words).await?;
        seats.extend(line.clients.iter().map(|number| (*number, connection.clone())));
    }
    stream::iter(seats)
        .map(|(number, connection)| {
            let place = Place {
                words: orders.words.of_client(number),
                sessions: orders.work.sessions(share_of(orders, number)),
                session_timeout: orders.work.session_timeout(),
                in_flight: orders.work.load().in_flight,
            };
            async move { Ok((number, C::open(connection, place).await?)) }
        })
        .buffered(OPENING)
        .try_collect()
        .await
}

/// One for all, or one for each client.
fn paces(orders: &Orders, is_shared: bool, clients: &[usize], window: Window) -> Vec<Pace> {
    let load = orders.work.load();
    let Some(rate) = load.rate else { return vec![Pace::closed(window)] };
    let open = |number: usize, of: usize| {
        // Other random numbers than those of the keys.
        let seed = !orders.seed.wrapping_add(number as u64);
        let schedule = Schedule::new(rate, load.arrivals, number, of, seed);
        Pace::open(window, schedule).expect("the process may have some more files")
    };
    if is_shared {
        vec![open(orders.thread.number as usize, orders.thread.of as usize)]
    } else {
        clients.iter().map(|number| open(*number, load.clients)).collect()
    }
}

/// Returns the clients that have an answer to everything. What is late is dropped with its client.
async fn wait<C: 'static>(mut running: JoinSet<C>, window: Window) -> Vec<C> {
    let mut clients = Vec::new();
    let all = async {
        while let Some(client) = running.join_next().await {
            clients.push(client.expect("a bench client does not panic"));
        }
    };
    match window.end {
        Some(end) => drop(tokio::time::timeout_at((end + GRACE).into(), all).await),
        None => all.await,
    }
    clients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_one_connection_and_every_connection_one_thread() {
        let endpoints: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        for (clients, connections, threads) in [(1, 1, 1), (64, 4, 2), (7, 7, 3), (5, 2, 2)] {
            let shares = share_out(&endpoints, clients, connections, threads);
            assert_eq!(shares.len(), threads);
            let lines: Vec<&Line> = shares.iter().flatten().collect();
            assert_eq!(lines.len(), connections);
            let mut numbers: Vec<usize> = lines.iter().flat_map(|line| line.clients.clone()).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..clients).collect::<Vec<_>>());
            assert!(lines.iter().all(|line| line.clients.len() <= clients.div_ceil(connections)));
        }
        let of_six = share_out(&endpoints, 6, 6, 1);
        let by_endpoint = |name: &str| of_six[0].iter().filter(|line| line.endpoint == name).count();
        assert_eq!([by_endpoint("a"), by_endpoint("b"), by_endpoint("c")], [2, 2, 2]);
    }
}
