//! One connection that is made when it is needed, and what can be said when it fails.

use super::Answer;
use crate::history::{Failure, FailureKind};
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Time for setting up a connection.
pub(super) const CONNECT: Duration = Duration::from_millis(1_000);

/// A connection to one server.
pub(super) struct Wire {
    endpoint: String,
    own: Option<IpAddr>,
    patience: Duration,
    channel: Option<Channel>,
}

impl Wire {
    pub(super) fn new(endpoint: &str, own: Option<IpAddr>, patience: Duration) -> Self {
        Self { endpoint: endpoint.to_owned(), own, patience, channel: None }
    }

    /// Calls once. After a failure of unknown outcome the connection is given up: what follows on
    /// it would wait behind what failed.
    pub(super) async fn call<T, F: Future<Output = Result<T, Status>>>(
        &mut self,
        what: impl FnOnce(Channel) -> F,
        failure: fn(&Status) -> Failure,
    ) -> Answer<T> {
        let channel = self.connected().await?;
        let failed = match tokio::time::timeout(self.patience, what(channel)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(status)) => failure(&status),
            Err(_) => Failure::new(FailureKind::Unknown, "no answer in time"),
        };
        if !failed.is_definite() {
            self.channel = None;
        }
        Err(failed)
    }

    /// Without a connection nothing was sent.
    async fn connected(&mut self) -> Answer<Channel> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let not_sent = |why: String| Failure::new(FailureKind::NotProposed, why);
        let endpoint = Endpoint::from_shared(self.endpoint.clone())
            .map_err(|error| not_sent(format!("{} is no address: {error}", self.endpoint)))?;
        let endpoint = endpoint.connect_timeout(CONNECT).tcp_nodelay(true).local_address(self.own);
        // The connector's own timeout does not cover a server that accepts and then says nothing.
        let channel = tokio::time::timeout(CONNECT * 2, endpoint.connect())
            .await
            .map_err(|_| not_sent("no connection in time".into()))?
            .map_err(|_| not_sent("no connection".into()))?;
        self.channel = Some(channel.clone());
        Ok(channel)
    }
}

/// Whether a status was made on this side, because the connection broke, rather than by the server.
pub(super) fn is_of_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}
