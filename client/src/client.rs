//! The client: a cheap handle that any task may clone.

use crate::endpoints::{Connection, Endpoints};
use crate::error::{Error, Result};
use oarlock_proto::v1;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

/// How long a broken endpoint's successor is waited for before the next try.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection to a cluster. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) endpoints: Endpoints,
    pub(crate) options: ClientBuilder,
}

/// How a client behaves. Made by [`Client::builder`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    /// Given to every call, retries included.
    pub(crate) deadline: Duration,
    pub(crate) connect_timeout: Duration,
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
        self.connect_timeout = timeout;
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

    /// Whether to ask the cluster for its members at the start and use those too. Default: yes.
    pub fn discover(mut self, discover: bool) -> Self {
        self.discover = discover;
        self
    }

    /// Connects to the first endpoint that answers.
    pub async fn connect<U: Into<String>>(self, endpoints: impl IntoIterator<Item = U>) -> Result<Client> {
        let urls: Vec<String> = endpoints.into_iter().map(Into::into).collect();
        let first = rand::random_range(0..urls.len().max(1));
        let endpoints = Endpoints::new(urls, first, self.connect_timeout)?;
        let client = Client { inner: Arc::new(Inner { endpoints, options: self }) };
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
    pub async fn connect<U: Into<String>>(endpoints: impl IntoIterator<Item = U>) -> Result<Self> {
        Self::builder().connect(endpoints).await
    }

    /// Options to be set before connecting.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            retries: true,
            exactly_once: Some(Duration::from_secs(60)),
            discover: true,
        }
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

    /// Asks the cluster for its members' client URLs and uses them from now on.
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
        loop {
            let error = match self.attempt(&attempt, end).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = match &error {
                Error::NotProposed { code, .. } => *code != v1::ErrorCode::NoSpace,
                Error::Unknown { .. } => repeatable,
                Error::Rejected { .. } | Error::SessionLost { .. } | Error::Invalid { .. } => false,
            };
            if !again || !options.retries || Instant::now() + PAUSE >= end {
                return Err(error);
            }
            // Jitter, so that the clients of a dead server do not fall upon the next as one.
            tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
        }
    }

    async fn attempt<T, F, Fut>(&self, attempt: &F, end: Instant) -> Result<T>
    where
        F: Fn(Connection) -> Fut,
        Fut: Future<Output = std::result::Result<tonic::Response<T>, Status>>,
    {
        let connection = self.inner.endpoints.connection().await?;
        let generation = connection.generation;
        let outcome = tokio::time::timeout_at(end, attempt(connection)).await;
        let error = match outcome {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => Error::from_status(&status),
            Err(_) => Error::Unknown { message: "no answer before the deadline".into() },
        };
        match &error {
            Error::NotProposed { .. } | Error::Unknown { .. } => self.inner.endpoints.give_up(generation),
            Error::Rejected { .. } | Error::SessionLost { .. } | Error::Invalid { .. } => {}
        }
        Err(error)
    }

    /// A name under which the servers remember one write of a caller without a session.
    pub(crate) fn fresh_name(&self) -> Option<v1::IdempotencyKey> {
        let retention = self.inner.options.exactly_once?;
        let key: [u8; 16] = rand::random();
        let retain_ms = retention.as_millis().try_into().unwrap_or(u64::MAX);
        Some(v1::IdempotencyKey { key: key.to_vec().into(), retain_ms })
    }
}
