//! A tonic channel whose calls are spread over the instances of a service, and the same as a stream
//! of URIs for other libraries.
//!
//! ```no_run
//! use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
//!
//! # async fn example(client: oarlock_client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let resolver = client.registry().resolver("web").start().await?;
//! let mut web = HealthClient::new(resolver.channel());
//! web.check(HealthCheckRequest::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! tonic picks among all endpoints that it was given, also those whose process has just died. So each
//! usable instance has a **lifeline** here: an idle TCP connection, whose end is known within
//! milliseconds of the process's death, long before its session expires. An instance is offered to
//! tonic while its lifeline holds. What was in flight to a process that dies fails, as with any
//! balancer; calls that may be repeated should be, once and a moment later.
//!
//! The channel uses what the resolver selects: health, tags, zone with spill-over. It spreads calls
//! evenly; of weights it heeds only 0. While no instance is usable, calls wait until one is, or for
//! their own timeout.

use super::listing::Listed;
use super::resolver::Resolver;
use futures::{Stream, StreamExt};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::transport::channel::Change;
use tonic::transport::{Channel, Endpoint};

/// Changes that wait for tonic; beyond it the feeder waits.
const CHANGES_MAX: usize = 64;
/// Time for a connection to an instance.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Pauses between attempts to reach an instance grow from the first to the last.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

impl Resolver {
    /// A channel over the usable instances, by plain HTTP/2. It keeps the resolver going for as long
    /// as it or a clone of it lives.
    pub fn channel(&self) -> Channel {
        let (channel, changes) = Channel::balance_channel(CHANGES_MAX);
        let feeder = Feeder { resolver: self.clone(), changes, lifelines: BTreeMap::new() };
        tokio::spawn(feeder.run());
        channel
    }

    /// The URIs of the usable instances, such as `http://10.0.0.7:8080`, now and after each change:
    /// what a resolver of another gRPC library wants to know.
    pub fn uris(&self) -> impl Stream<Item = Vec<String>> + Send + Unpin + use<> {
        let ticks = self.ticks();
        let state = (self.clone(), ticks, None);
        let changes = futures::stream::unfold(state, |(resolver, mut ticks, told)| async move {
            loop {
                ticks.mark_unchanged();
                let uris: Vec<String> = targets(&resolver).into_values().collect();
                if told.as_ref() != Some(&uris) {
                    return Some((uris.clone(), (resolver, ticks, Some(uris))));
                }
                resolver.changed(&mut ticks).await;
            }
        });
        changes.boxed()
    }
}

/// The URIs of the usable instances by name.
fn targets(resolver: &Resolver) -> BTreeMap<String, String> {
    let target = |listed: Listed| (listed.id, format!("http://{}", listed.record.authority()));
    resolver.usable().into_iter().map(target).collect()
}

/// Name and URI: an instance that has moved is another endpoint.
type Key = (String, String);

/// Keeps tonic's set of endpoints as the resolver has it.
struct Feeder {
    resolver: Resolver,
    changes: mpsc::Sender<Change<Key, Endpoint>>,
    lifelines: BTreeMap<Key, Lifeline>,
}

struct Lifeline {
    task: JoinHandle<()>,
    /// tonic has the endpoint.
    is_offered: bool,
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// News of a lifeline.
struct News {
    key: Key,
    holds: bool,
}

impl Feeder {
    /// Runs until the channel is dropped.
    async fn run(mut self) {
        let mut ticks = self.resolver.ticks();
        let (sender, mut news) = mpsc::channel(CHANGES_MAX);
        loop {
            ticks.mark_unchanged();
            if self.adopt(&sender).await.is_none() {
                return;
            }
            let fed = tokio::select! {
                () = self.resolver.changed(&mut ticks) => Some(()),
                Some(news) = news.recv() => self.hear(news).await,
                () = self.changes.closed() => None,
            };
            if fed.is_none() {
                return;
            }
        }
    }

    /// Begins and ends lifelines as the selection changes. `None`: the channel is gone.
    async fn adopt(&mut self, news: &mpsc::Sender<News>) -> Option<()> {
        let wanted: Vec<Key> = targets(&self.resolver).into_iter().collect();
        let gone: Vec<Key> = self.lifelines.keys().filter(|key| !wanted.contains(key)).cloned().collect();
        for key in gone {
            if self.lifelines.remove(&key).is_some_and(|lifeline| lifeline.is_offered) {
                // Calls that are under way there are finished.
                self.changes.send(Change::Remove(key)).await.ok()?;
            }
        }
        for key in wanted {
            self.lifelines.entry(key.clone()).or_insert_with(|| {
                let task = tokio::spawn(hold(key, news.clone()));
                Lifeline { task, is_offered: false }
            });
        }
        Some(())
    }

    async fn hear(&mut self, News { key, holds }: News) -> Option<()> {
        // News of a lifeline that was given up meanwhile.
        let Some(lifeline) = self.lifelines.get_mut(&key) else { return Some(()) };
        if lifeline.is_offered == holds {
            return Some(());
        }
        lifeline.is_offered = holds;
        let change = match Endpoint::from_shared(key.1.clone()) {
            Ok(endpoint) if holds => {
                let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
                Change::Insert(key, endpoint)
            }
            Ok(_) => Change::Remove(key),
            // An address that is no part of a URI cannot be called.
            Err(_) => return Some(()),
        };
        self.changes.send(change).await.ok()
    }
}

/// Holds a connection to an instance, and tells when it breaks and when there is one again.
async fn hold(key: Key, news: mpsc::Sender<News>) {
    let address = key.1.trim_start_matches("http://").to_owned();
    let tell = |holds| news.send(News { key: key.clone(), holds });
    let mut pause = PAUSE;
    loop {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&address)).await;
        let Ok(Ok(socket)) = connected else {
            if tell(false).await.is_err() {
                return;
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
            pause = (pause * 2).min(PAUSE_MAX);
            continue;
        };
        if tell(true).await.is_err() {
            return;
        }
        let begun = tokio::time::Instant::now();
        until_closed(socket).await;
        if begun.elapsed() > PAUSE_MAX {
            // A server that closes idle connections lives: it is tried again before it is given up.
            pause = PAUSE;
            continue;
        }
        if tell(false).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Reads and drops whatever comes, until the other side is gone.
async fn until_closed(mut socket: TcpStream) {
    let mut scrap = [0; 256];
    while let Ok(1..) = socket.read(&mut scrap).await {}
}
