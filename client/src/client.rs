//! The client: a cheap handle that any task may clone.

use crate::endpoints::{Connection, Dialing, Endpoints};
use crate::error::{Error, Result};
use oarlock_proto::v1;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

/// How long a broken endpoint's successor is waited for before the next try.
const PAUSE: Duration = Duration::from_millis(50);
/// An endpoint that is silent for this part of a call's time is given up, if another may be asked.
const TRIES_PER_DEADLINE: u32 = 3;

/// A connection to a cluster. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) options: ClientBuilder,
}

/// How a client behaves. Made by [`Client::builder`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    /// Given to every call, retries included.
    pub(crate) deadline: Duration,
    pub(crate) dialing: Dialing,
    pub(crate) retries: bool,
    pub(crate) exactly_once: Option<Duration>,
    pub(crate) discover: bool,
}

impl ClientBuilder {
    /// Time for each call, retries included. Default: 10 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Time for setting up a connection. Default: 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.dialing.timeout = timeout;
        self
    }

    /// The address of this machine that connections come from. Default: the system's choice.
    pub fn local_address(mut self, address: IpAddr) -> Self {
        self.dialing.from = Some(address);
        self
    }

    /// One attempt for each call: what the first server says is what the caller gets. For test
    /// harnesses that must see every failure.
    pub fn without_retries(mut self) -> Self {
        self.retries = false;
        self
    }

    /// For how long the servers remember writes made without a session, so that the client may
    /// repeat them safely when an answer was lost. `None` sends them bare: cheaper, and then a lost
    /// answer is [`Error::Unknown`]. Default: one minute.
    pub fn remember_writes(mut self, retention: Option<Duration>) -> Self {
        self.exactly_once = retention;
        self
    }

    /// Whether to ask the cluster for its members, at the start and after each failover, and use
    /// those too. Default: yes.
    pub fn discover(mut self, discover: bool) -> Self {
        self.discover = discover;
        self
    }

    /// A client that connects with its first call, so that a program can start, and resolve services
    /// from what it remembers, while the cluster is away. It learns of the other members when it has
    /// to move to another endpoint; [`Client::discover`] does so at once.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not a URL.
    pub fn connect_lazy<U: Into<String>>(self, endpoints: impl IntoIterator<Item = U>) -> Result<Client> {
        let urls: Vec<String> = endpoints.into_iter().map(Into::into).collect();
        let first = rand::random_range(0..urls.len().max(1));
        let endpoints = Arc::new(Endpoints::new(urls, first, self.dialing)?);
        Ok(Client { inner: Arc::new(Inner { endpoints, options: self }) })
    }

    /// Connects to the first endpoint that answers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not a URL; [`Error::NotProposed`] when none answers.
    pub async fn connect<U: Into<String>>(self, endpoints: impl IntoIterator<Item = U>) -> Result<Client> {
        let client = self.connect_lazy(endpoints)?;
        client.connect_any().await?;
        if client.inner.options.discover {
            // Not to know the members costs only failover to endpoints that were not given.
            let _ = client.discover().await;
        }
        Ok(client)
    }
}

impl Client {
    /// Connects with default options: `Client::connect(["http://127.0.0.1:2379"])`.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    pub async fn connect<U: Into<String>>(endpoints: impl IntoIterator<Item = U>) -> Result<Self> {
        Self::builder().connect(endpoints).await
    }

    /// Options to be set before connecting.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            deadline: Duration::from_secs(10),
            dialing: Dialing { timeout: Duration::from_secs(2), from: None },
            retries: true,
            exactly_once: Some(Duration::from_secs(60)),
            discover: true,
        }
    }

    /// The same client, making one attempt for each call; see [`ClientBuilder::without_retries`].
    /// Sessions and watches still reconnect.
    pub fn without_retries(&self) -> Self {
        let options = self.inner.options.clone().without_retries();
        Self { inner: Arc::new(Inner { endpoints: self.inner.endpoints.clone(), options }) }
    }

    /// Endpoints known by now.
    pub fn endpoints(&self) -> Vec<String> {
        self.inner.endpoints.urls()
    }

    async fn connect_any(&self) -> Result<()> {
        let tries = self.inner.endpoints.urls().len();
        let mut last = Error::Invalid { message: "no endpoints were given".into() };
        for _ in 0..tries {
            match self.inner.endpoints.connection().await {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks the cluster for its members' client URLs and uses them, too, from now on.
    ///
    /// # Errors
    /// Those of the endpoint in use; nothing changes then.
    pub async fn discover(&self) -> Result<()> {
        let members = self.serializable_members().await?;
        self.inner.endpoints.learn(members.into_iter().flat_map(|member| member.client_urls).collect());
        Ok(())
    }

    /// Runs `attempt` until it succeeds, is refused for good, or the deadline passes. `repeatable`
    /// says whether it may be sent again after an answer was lost.
    pub(crate) async fn call<T, F, Fut>(&self, repeatable: bool, attempt: F) -> Result<T>
    where
        F: Fn(Connection) -> Fut,
        Fut: Future<Output = std::result::Result<tonic::Response<T>, Status>>,
    {
        let options = &self.inner.options;
        let end = Instant::now() + options.deadline;
        let mut lost = None;
        loop {
            let patience = match repeatable && options.retries {
                true => end.min(Instant::now() + options.deadline / TRIES_PER_DEADLINE),
                false => end,
            };
            let error = match self.attempt(&attempt, patience).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = match &error {
                Error::Unknown { .. } => repeatable,
                Error::NotProposed { .. }
                | Error::Rejected { .. }
                | Error::NotHeld { .. }
                | Error::SessionLost { .. }
                | Error::Invalid { .. } => error.is_passing(),
            };
            if let Error::Unknown { .. } = &error {
                lost = Some(error.clone());
            }
            if !again || !options.retries || Instant::now() + PAUSE >= end {
                return Err(verdict(error, lost));
            }
            // Jitter, so that the clients of a dead server do not fall upon the next as one.
            tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
        }
    }

    async fn attempt<T, F, Fut>(&self, attempt: &F, patience: Instant) -> Result<T>
    where
        F: Fn(Connection) -> Fut,
        Fut: Future<Output = std::result::Result<tonic::Response<T>, Status>>,
    {
        let mut connection = self.inner.endpoints.connection().await?;
        let generation = connection.generation;
        connection.patience = patience.saturating_duration_since(Instant::now());
        self.learn_after_failover(&connection);
        let outcome = tokio::time::timeout_at(patience, attempt(connection)).await;
        let error = match outcome {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => Error::from_status(&status),
            Err(_) => Error::Unknown { message: "no answer in time; it may have happened".into() },
        };
        if error.is_passing() {
            self.inner.endpoints.give_up(generation);
        }
        Err(error)
    }

    /// Whoever had to move to another endpoint may be looking at a changed cluster.
    fn learn_after_failover(&self, connection: &Connection) {
        if connection.is_first_use && connection.generation > 0 && self.inner.options.discover {
            let client = self.clone();
            tokio::spawn(async move { client.discover().await });
        }
    }

    /// A name under which the servers remember one write of a caller without a session.
    pub(crate) fn fresh_name(&self) -> Option<v1::IdempotencyKey> {
        let retention = self.inner.options.exactly_once?;
        let key: [u8; 16] = rand::random();
        let retain_ms = retention.as_millis().try_into().unwrap_or(u64::MAX);
        Some(v1::IdempotencyKey { key: key.to_vec().into(), retain_ms })
    }
}

/// What a call comes to whose last attempt ended with `error`. If the answer of an earlier attempt
/// was lost, that attempt may have succeeded, whatever befell the later ones on their way.
fn verdict(error: Error, lost: Option<Error>) -> Error {
    match (error, lost) {
        (Error::NotProposed { .. }, Some(lost)) => lost,
        (error, _) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_outweighs_a_later_attempt_that_did_not_get_through() {
        let refused = Error::NotProposed { code: v1::ErrorCode::NoLeader, message: "no leader".into() };
        let lost = Error::Unknown { message: "reset".into() };
        assert!(!verdict(refused.clone(), Some(lost)).had_no_effect());
        assert!(verdict(refused, None).had_no_effect());
    }
}
