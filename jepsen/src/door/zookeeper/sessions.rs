//! Sessions for nodes that go with them.
//!
//! A client that stays connected keeps its session alive by itself. So each sign of life is a connection
//! of its own that takes the session up and leaves it at once: whoever then falls silent is silent.

use super::{At, unfit};
use crate::door::{Answer, Lease};
use crate::history::{Failure, FailureKind};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use zookeeper_client::{Client, Connector, SessionInfo, SessionState};

/// The sessions that were opened over one door. They are known with their passwords there alone.
#[derive(Default)]
pub(super) struct Sessions {
    known: BTreeMap<u64, (SessionInfo, Duration)>,
}

impl Sessions {
    pub(super) async fn open(&mut self, at: &At, timeout_ms: u64) -> Answer<Lease> {
        let timeout = Duration::from_millis(timeout_ms);
        let connector = Client::connector().with_detached().with_session_timeout(timeout);
        let client = at.connect(connector, Instant::now() + at.patience, FailureKind::Unknown).await?;
        let granted = client.session_timeout();
        let id = super::positive(client.session_id().0);
        self.known.insert(id, (client.into_session(), granted));
        Ok(Lease { id, timeout_ms: milliseconds(granted) })
    }

    /// A connection that takes the session up. When it is dropped the session stays.
    pub(super) async fn attach(&self, at: &At, session: u64, until: Instant) -> Answer<Client> {
        at.connect(self.connector(session)?.with_detached(), until, FailureKind::Unknown).await
    }

    fn connector(&self, session: u64) -> Answer<Connector> {
        let (info, timeout) = self.known.get(&session).ok_or_else(|| unfit("another door's session"))?;
        Ok(Client::connector().with_session_timeout(*timeout).with_session(info.clone()))
    }

    /// Servers count a session's time from when it was taken up.
    pub(super) async fn keep_alive(&mut self, at: &At, session: u64) -> Answer<u64> {
        let client = self.attach(at, session, Instant::now() + at.patience).await?;
        Ok(milliseconds(client.session_timeout()))
    }

    pub(super) async fn close(&mut self, at: &At, session: u64) -> Answer<()> {
        let until = Instant::now() + at.patience;
        let client = at.connect(self.connector(session)?, until, FailureKind::Unknown).await?;
        self.known.remove(&session);
        let mut states = client.state_watcher();
        drop(client); // which asks for the end, and says when it was answered
        match timeout_at(until, states.changed()).await {
            Ok(SessionState::Closed) => Ok(()),
            Ok(state) => Err(Failure::new(FailureKind::Unknown, format!("the session is {state}"))),
            Err(_) => Err(Failure::new(FailureKind::Unknown, "no answer in time")),
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
