//! ZooKeeper's protocol. The key `a/b` is the node `/a/b`; parents are made when they are missing.
//!
//! Revisions are zxids: a write's is that of its own change, and a read's state has none that clients
//! learn. What ZooKeeper lacks is built from what it has ("ZooKeeper Internals", consistency
//! guarantees; "Programmer's Guide"):
//!
//! - A linearizable read first writes. `sync` is not enough: a leader that was replaced without knowing
//!   it answers that by itself (ZOOKEEPER-2136): one that stood still answers from before. A write it
//!   cannot commit.
//! - A swap reads, compares, and writes if the version is still the same. A node that was removed and
//!   made again begins with version 0 again, so deletions are counted, and the swap depends on that too.
//! - A deletion's answer has no zxid; that of the count, changed with it, has.

mod relay;
mod sessions;

use super::watching::Watching;
use super::{Answer, Freshness, Lease, Record, Step};
use crate::history::{Failure, FailureKind};
use sessions::Sessions;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use zookeeper_client::{
    Acls, Client, CreateMode, Error, MultiWriteError, MultiWriteResult, MultiWriter, SessionState, Stat,
};

/// Written before a linearizable read.
const BARRIER: &str = "/barrier";
/// Its version is the number of deletions.
const DELETIONS: &str = "/deletions";
/// Attempts at what others may undo between two steps; each that fails has changed nothing.
const ATTEMPTS: usize = 4;

/// A client of one server, with a connection when it has something to send.
pub(super) struct Zookeeper {
    at: At,
    client: Option<Client>,
    sessions: Sessions,
}

/// Where the server is, and how clients get there.
pub(super) struct At {
    endpoint: String,
    own: Option<IpAddr>,
    patience: Duration,
}

impl Zookeeper {
    pub(super) fn new(endpoint: &str, own: Option<IpAddr>, patience: Duration) -> Self {
        let at = At { endpoint: endpoint.to_owned(), own, patience };
        Self { at, client: None, sessions: Sessions::default() }
    }

    /// A connection that works as far as is known. Its client sends nothing twice, but would wait with a
    /// request for a new connection.
    async fn line(&mut self) -> Answer<Line> {
        let until = Instant::now() + self.at.patience;
        let connected = self.client.take().filter(|client| client.state() == SessionState::SyncConnected);
        let client = match connected {
            Some(client) => client,
            None => {
                let connector = Client::connector().with_session_timeout(self.at.patience * 2);
                self.at.connect(connector, until, FailureKind::NotProposed).await?
            }
        };
        Ok(Line { client, until })
    }

    /// Keeps the connection, unless it is not known to be good.
    fn settle<T>(&mut self, line: Line, answer: Answer<T>) -> Answer<T> {
        if answer.as_ref().err().is_none_or(|failure| failure.kind == FailureKind::Rejected) {
            self.client = Some(line.client);
        }
        answer
    }

    pub(super) async fn get(&mut self, key: &str, freshness: Freshness) -> Answer<(Option<Record>, u64)> {
        let line = self.line().await?;
        let answer = line.get(key, freshness).await;
        self.settle(line, answer).map(|record| (record, 0))
    }

    pub(super) async fn keys(&mut self, prefix: &str, freshness: Freshness) -> Answer<Vec<String>> {
        let line = self.line().await?;
        let answer = line.keys(prefix, freshness).await;
        self.settle(line, answer)
    }

    pub(super) async fn range(&mut self, _: &str, _: Freshness) -> Answer<(Vec<Record>, u64)> {
        Err(unfit("ZooKeeper does not read many nodes at one moment"))
    }

    pub(super) async fn put(&mut self, key: &str, value: &str, owner: u64) -> Answer<u64> {
        if owner != 0 {
            let until = Instant::now() + self.at.patience;
            let client = self.sessions.attach(&self.at, owner, until).await?;
            return Line { client, until }.create_owned(key, value).await;
        }
        let line = self.line().await?;
        let answer = line.put(key, value).await;
        self.settle(line, answer)
    }

    pub(super) async fn delete(&mut self, key: &str) -> Answer<(bool, u64)> {
        let line = self.line().await?;
        let answer = line.delete(key).await;
        self.settle(line, answer)
    }

    pub(super) async fn cas(&mut self, key: &str, expected: Option<&str>, new: &str) -> Answer<(bool, u64)> {
        let line = self.line().await?;
        let answer = line.cas(key, expected, new).await;
        self.settle(line, answer)
    }

    pub(super) async fn transact(
        &mut self,
        _: &[(String, u64)],
        _: &[Step],
    ) -> Answer<(bool, Vec<Option<Record>>, u64)> {
        Err(unfit("ZooKeeper's transactions do not read"))
    }

    pub(super) async fn open(&mut self, timeout_ms: u64) -> Answer<Lease> {
        self.sessions.open(&self.at, timeout_ms).await
    }

    pub(super) async fn keep_alive(&mut self, session: u64) -> Answer<u64> {
        self.sessions.keep_alive(&self.at, session).await
    }

    pub(super) async fn watch(&mut self, _: &str, _: u64) -> Answer<Watching> {
        Err(unfit("ZooKeeper's watches do not begin at a revision"))
    }

    pub(super) async fn close(&mut self, session: u64) -> Answer<()> {
        self.sessions.close(&self.at, session).await
    }
}

impl At {
    /// Connects once. What is `lost` says what an end of unknown outcome is.
    async fn connect(
        &self,
        connector: zookeeper_client::Connector,
        until: Instant,
        lost: FailureKind,
    ) -> Answer<Client> {
        let address = self.endpoint.trim_start_matches("http://");
        let server: SocketAddr = address.parse().map_err(|_| unfit(&format!("{address} is no address")))?;
        let here = relay::open(server, self.own).await?.to_string();
        let connector = connector.with_fail_eagerly().with_server_version(3, 9, 0);
        match timeout_at(until, connector.connect(&here)).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(Error::SessionExpired)) => Err(refused(&Error::SessionExpired)),
            Ok(Err(error)) => Err(Failure::new(lost, format!("no session: {error}"))),
            Err(_) => Err(Failure::new(lost, "no session in time")),
        }
    }
}

/// A connection, for one operation of possibly several requests.
struct Line {
    client: Client,
    until: Instant,
}

impl Line {
    /// One request. The inner error is the server's refusal: it has changed nothing. Where no answer came,
    /// the operation has `lost` for its outcome.
    async fn ask<T>(
        &self,
        lost: FailureKind,
        what: impl Future<Output = Result<T, Error>>,
    ) -> Answer<Result<T, Error>> {
        match timeout_at(self.until, what).await {
            Ok(Err(error)) if !is_refusal(&error) => Err(Failure::new(lost, error.to_string())),
            Ok(answer) => Ok(answer),
            Err(_) => Err(Failure::new(lost, "no answer in time")),
        }
    }

    /// Several changes at once. The inner error says which of them was refused.
    async fn ask_all(
        &self,
        mut changes: MultiWriter<'_>,
    ) -> Answer<Result<Vec<MultiWriteResult>, (usize, Error)>> {
        match timeout_at(self.until, changes.commit()).await {
            Ok(Ok(results)) => Ok(Ok(results)),
            Ok(Err(MultiWriteError::OperationFailed { index, source })) => Ok(Err((index, source))),
            Ok(Err(MultiWriteError::RequestFailed { source })) => {
                let kind = if is_refusal(&source) { FailureKind::Rejected } else { FailureKind::Unknown };
                Err(Failure::new(kind, source.to_string()))
            }
            Err(_) => Err(Failure::new(FailureKind::Unknown, "no answer in time")),
        }
    }

    /// After this, reads over this connection find all that was acknowledged before it.
    async fn catch_up(&self, lost: FailureKind) -> Answer<()> {
        match self.ask(lost, self.client.set_data(BARRIER, b"", None)).await? {
            Err(Error::NoNode) => self.make(BARRIER, lost).await,
            other => other.map(|_| ()).map_err(|error| refused(&error)),
        }
    }

    /// Makes a node, and those above it, unless they are there.
    async fn make(&self, path: &str, lost: FailureKind) -> Answer<()> {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        self.ask(lost, self.client.mkdir(path, &options)).await?.map_err(|error| refused(&error))
    }

    async fn read(&self, path: &str, lost: FailureKind) -> Answer<Option<(Vec<u8>, Stat)>> {
        match self.ask(lost, self.client.get_data(path)).await? {
            Ok(found) => Ok(Some(found)),
            Err(Error::NoNode) => Ok(None),
            Err(error) => Err(refused(&error)),
        }
    }

    async fn get(&self, key: &str, freshness: Freshness) -> Answer<Option<Record>> {
        if freshness == Freshness::Linearizable {
            self.catch_up(FailureKind::Unknown).await?;
        }
        let found = self.read(&path(key), FailureKind::Unknown).await?;
        Ok(found.map(|(value, stat)| Record {
            key: key.to_owned(),
            value: String::from_utf8_lossy(&value).into_owned(),
            created: positive(stat.czxid),
            modified: positive(stat.mzxid),
            owner: positive(stat.ephemeral_owner),
        }))
    }

    /// The names below a node, all of one moment.
    async fn keys(&self, prefix: &str, freshness: Freshness) -> Answer<Vec<String>> {
        let parent = prefix.strip_suffix('/').ok_or_else(|| unfit("ZooKeeper lists what is below a node"))?;
        if freshness == Freshness::Linearizable {
            self.catch_up(FailureKind::Unknown).await?;
        }
        match self.ask(FailureKind::Unknown, self.client.list_children(&path(parent))).await? {
            Ok(names) => Ok(names.into_iter().map(|name| format!("{prefix}{name}")).collect()),
            Err(Error::NoNode) => Ok(Vec::new()),
            Err(error) => Err(refused(&error)),
        }
    }

    async fn put(&self, key: &str, value: &str) -> Answer<u64> {
        let path = path(key);
        for _ in 0..ATTEMPTS {
            let set = self.client.set_data(&path, value.as_bytes(), None);
            match self.ask(FailureKind::Unknown, set).await? {
                Ok(stat) => return Ok(positive(stat.mzxid)),
                Err(Error::NoNode) => {}
                Err(error) => return Err(refused(&error)),
            }
            match self.create(&path, value, CreateMode::Persistent).await? {
                Ok(stat) => return Ok(positive(stat.mzxid)),
                Err(Error::NodeExists) => {}
                Err(error) => return Err(refused(&error)),
            }
        }
        Err(Failure::new(FailureKind::Rejected, "the node comes and goes"))
    }

    async fn create_owned(&self, key: &str, value: &str) -> Answer<u64> {
        let made = self.create(&path(key), value, CreateMode::Ephemeral).await?;
        made.map(|stat| positive(stat.mzxid)).map_err(|error| refused(&error))
    }

    async fn create(&self, path: &str, value: &str, mode: CreateMode) -> Answer<Result<Stat, Error>> {
        let options = mode.with_acls(Acls::anyone_all());
        let create = || self.client.create(path, value.as_bytes(), &options);
        let mut made = self.ask(FailureKind::Unknown, create()).await?;
        if let (Err(Error::NoNode), Some((parent, _))) = (&made, path.rsplit_once('/')) {
            self.make(parent, FailureKind::NotProposed).await?;
            made = self.ask(FailureKind::Unknown, create()).await?;
        }
        Ok(made.map(|(stat, _)| stat))
    }

    async fn delete(&self, key: &str) -> Answer<(bool, u64)> {
        for _ in 0..ATTEMPTS {
            let mut changes = self.client.new_multi_writer();
            changes.add_delete(&path(key), None).map_err(|error| refused(&error))?;
            changes.add_set_data(DELETIONS, b"", None).map_err(|error| refused(&error))?;
            match self.ask_all(changes).await? {
                Ok(results) => return Ok((true, zxid(&results)?)),
                Err((0, Error::NoNode)) => return Ok((false, 0)),
                Err((_, Error::NoNode)) => self.make(DELETIONS, FailureKind::NotProposed).await?,
                Err((_, error)) => return Err(refused(&error)),
            }
        }
        Err(Failure::new(FailureKind::Rejected, "deletions cannot be counted"))
    }

    async fn cas(&self, key: &str, expected: Option<&str>, new: &str) -> Answer<(bool, u64)> {
        let (path, lost) = (path(key), FailureKind::NotProposed);
        self.catch_up(lost).await?;
        // In this order: a deletion between the two makes the swap fail.
        let deletions = match self.read(DELETIONS, lost).await? {
            Some((_, count)) => count.version,
            None => {
                self.make(DELETIONS, lost).await?;
                0
            }
        };
        match (self.read(&path, lost).await?, expected) {
            (Some((value, stat)), Some(expected)) if value == expected.as_bytes() => {
                let mut changes = self.client.new_multi_writer();
                changes.add_check_version(DELETIONS, deletions).map_err(|error| refused(&error))?;
                let set = changes.add_set_data(&path, new.as_bytes(), Some(stat.version));
                set.map_err(|error| refused(&error))?;
                let results = self.ask_all(changes).await?.map_err(|(_, error)| refused(&error))?;
                Ok((true, zxid(&results)?))
            }
            (None, None) => {
                let made = self.create(&path, new, CreateMode::Persistent).await?;
                made.map(|stat| (true, positive(stat.mzxid))).map_err(|error| refused(&error))
            }
            _ => Ok((false, 0)),
        }
    }
}

/// The zxid of changes of which the last one set a node.
fn zxid(results: &[MultiWriteResult]) -> Answer<u64> {
    match results.last() {
        Some(MultiWriteResult::SetData { stat }) => Ok(positive(stat.mzxid)),
        other => Err(Failure::new(FailureKind::Untyped, format!("a change was answered with {other:?}"))),
    }
}

fn path(key: &str) -> String {
    format!("/{key}")
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn unfit(why: &str) -> Failure {
    Failure::new(FailureKind::NotProposed, why)
}

fn refused(error: &Error) -> Failure {
    Failure::new(FailureKind::Rejected, error.to_string())
}

/// Codes by which a server says that it has changed nothing. The end of a session is none of them: it
/// is told to every request that waits, whether it was carried out or not.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::NoNode
            | Error::NodeExists
            | Error::BadVersion
            | Error::NotEmpty
            | Error::NoChildrenForEphemerals
            | Error::NoAuth
            | Error::InvalidAcl
            | Error::QuotaExceeded
            | Error::Throttled
            | Error::Unimplemented
            | Error::BadArguments(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_nothing_is_a_refusal() {
        for error in [Error::NoNode, Error::BadVersion, Error::NodeExists, Error::Throttled] {
            assert!(is_refusal(&error), "{error}");
        }
        for error in [Error::ConnectionLoss, Error::Timeout, Error::SessionExpired, Error::ClientClosed] {
            assert!(!is_refusal(&error), "{error}");
        }
    }

    #[tokio::test]
    async fn without_a_server_nothing_was_proposed() {
        let mut door = Zookeeper::new("http://127.0.0.1:9", None, Duration::from_secs(5));
        let failures = [
            door.put("a/b", "1", 0).await.unwrap_err(),
            door.cas("a/b", None, "1").await.unwrap_err(),
            door.keep_alive(7).await.unwrap_err(),
        ];
        assert!(failures.iter().all(|failure| failure.kind == FailureKind::NotProposed), "{failures:?}");
    }
}
