//! Clients of the APIs: each turns requests into its API's words, and the answers back.

pub mod etcd;
pub mod native;
pub mod registry;
pub mod stream;
pub mod wire;
pub mod zookeeper;

use super::crew::Course;
use super::error::BenchError;
use super::request::{Answer, Request, Underway};
use super::words::Words;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// How long an answer is waited for.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer that is taken, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A client that failed waits so long, for a server that is away should not be stormed.
const PAUSE: Duration = Duration::from_millis(10);

/// What one client needs besides its connection.
#[derive(Clone)]
pub struct Place {
    /// Makes its keys and values.
    pub words: Words,
    /// Sessions that it keeps alive.
    pub sessions: usize,
    /// Timeout of each of them.
    pub session_timeout: Duration,
    /// Operations that it keeps on their way, if it can.
    pub in_flight: usize,
}

/// A client that does its operations on a connection which it may share.
pub trait Client: Sized + 'static {
    /// What clients of one thread share.
    type Connection: Clone + 'static;
    /// Whether the clients of a thread take the times of an open loop in turn, rather than each its own.
    const SHARES_PACE: bool = true;

    /// Connects to a server, and makes what the keys need to be there.
    async fn connect(endpoint: &str, words: &Words) -> Result<Self::Connection, BenchError>;

    /// A client on a connection.
    async fn open(connection: Self::Connection, place: Place) -> Result<Self, BenchError>;

    /// Does operations until there are no more.
    async fn run(&mut self, course: Course);

    /// Leaves nothing behind. What cannot be removed expires.
    async fn close(self) {}
}

/// What does one request after the other.
pub trait Door: Sized + 'static {
    /// What doors of one thread share.
    type Connection: Clone + 'static;

    /// See [`Client::connect`].
    async fn connect(endpoint: &str, words: &Words) -> Result<Self::Connection, BenchError>;

    /// See [`Client::open`].
    async fn open(connection: Self::Connection, place: Place) -> Result<Self, BenchError>;

    /// Asks, and waits for the answer. The error says in words why there is none.
    async fn ask(&mut self, request: &Request) -> Result<Answer, String>;

    /// See [`Client::close`].
    async fn close(self) {}
}

/// A client that sends its next request when it has the answer to the last one.
pub struct OneByOne<D>(D);

impl<D: Door> Client for OneByOne<D> {
    type Connection = D::Connection;

    async fn connect(endpoint: &str, words: &Words) -> Result<Self::Connection, BenchError> {
        D::connect(endpoint, words).await
    }

    async fn open(connection: Self::Connection, place: Place) -> Result<Self, BenchError> {
        Ok(Self(D::open(connection, place).await?))
    }

    async fn close(self) {
        self.0.close().await;
    }

    async fn run(&mut self, mut course: Course) {
        while let Some(turn) = course.pace.next().await {
            let Some(request) = course.next() else { return };
            course.tally.borrow_mut().sent(turn);
            let mut operation = Underway::new(request);
            let outcome = loop {
                match self.0.ask(&operation.request).await {
                    Ok(answer) => {
                        if let Some(done) = operation.answered(answer) {
                            break Ok(done);
                        }
                    }
                    Err(words) => break Err(words),
                }
            };
            let has_failed = outcome.is_err();
            course.tally.borrow_mut().answered(turn.due, outcome);
            if has_failed {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Connects `count` times, to the endpoints in turn, for streams and calls that may wait for ever.
pub async fn connect_each(endpoints: &[String], count: usize) -> Result<Vec<Channel>, BenchError> {
    let mut channels = Vec::with_capacity(count);
    for endpoint in endpoints.iter().cycle().take(count) {
        let unreachable = |source| BenchError::Unreachable { endpoint: endpoint.clone(), source };
        channels.push(dial(endpoint)?.connect().await.map_err(unreachable)?);
    }
    Ok(channels)
}

fn dial(endpoint: &str) -> Result<Endpoint, BenchError> {
    let bad = |_| BenchError::BadEndpoint { endpoint: endpoint.to_owned() };
    Ok(Endpoint::from_shared(endpoint.to_owned())
        .map_err(bad)?
        .connect_timeout(Duration::from_secs(5))
        .initial_stream_window_size(Some(1 << 20))
        .initial_connection_window_size(Some(8 << 20))
        .tcp_nodelay(true))
}

/// A status in words for a report.
fn words(status: &tonic::Status) -> String {
    if status.message().is_empty() { format!("{:?}", status.code()) } else { status.message().to_owned() }
}

/// A request that a kind of work should have refused for this way; see [`super::work::Work::way`].
fn refused(request: &Request) -> String {
    format!("{request:?} cannot be asked this way")
}
