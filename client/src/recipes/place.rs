//! What recipes have in common: where their keys are, through what they write, how they wait.

use crate::client::Client;
use crate::error::{Error, Result};
use crate::kv::{Delete, Get, Put, Range};
use crate::session::Session;
use crate::txn::Txn;
use crate::types::{KeyRange, prefix};
use bytes::Bytes;
use std::future::Future;
use std::time::Duration;

/// Pause between attempts of what may be repeated.
const PAUSE: Duration = Duration::from_millis(200);

/// All keys below one path. The path's trailing slashes do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(String);

impl Place {
    pub(super) fn new(path: impl Into<String>) -> Self {
        let path = path.into();
        Self(path.trim_end_matches('/').to_owned())
    }

    pub(super) fn path(&self) -> &str {
        &self.0
    }

    /// The key `{path}/{below}`.
    pub(super) fn key(&self, below: impl std::fmt::Display) -> String {
        format!("{}/{below}", self.0)
    }

    /// All keys below `{path}/{below}`, which ends with a slash or is empty.
    pub(super) fn range(&self, below: &str) -> KeyRange {
        prefix(self.key(below))
    }

    /// What of a key is behind `{path}/{below}`, as text.
    pub(super) fn rest<'k>(&self, below: &str, key: &'k [u8]) -> Option<&'k str> {
        let rest = key.strip_prefix(self.key(below).as_bytes())?;
        std::str::from_utf8(rest).ok()
    }
}

/// Refuses what cannot be one part of a key.
pub(super) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.contains('/') {
        let message = format!("{what} {name:?} must not be empty or contain a slash");
        return Err(Error::Invalid { message });
    }
    Ok(())
}

/// Through what a recipe writes. A [`Session`]'s writes happen exactly once whatever the network
/// does; a [`Client`]'s do within one call, for as long as it repeats it.
#[derive(Clone)]
pub enum Via {
    /// Calls of their own.
    Client(Client),
    /// A session's stream.
    Session(Session),
}

impl From<&Client> for Via {
    fn from(client: &Client) -> Self {
        Self::Client(client.clone())
    }
}

impl From<&Session> for Via {
    fn from(session: &Session) -> Self {
        Self::Session(session.clone())
    }
}

impl Via {
    /// The client, for reads and watches.
    pub fn client(&self) -> &Client {
        match self {
            Self::Client(client) => client,
            Self::Session(session) => session.client(),
        }
    }

    pub(super) fn txn(&self) -> Txn {
        match self {
            Self::Client(client) => client.txn(),
            Self::Session(session) => session.txn(),
        }
    }

    pub(super) fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Put {
        match self {
            Self::Client(client) => client.put(key, value),
            Self::Session(session) => session.put(key, value),
        }
    }

    pub(super) fn delete(&self, range: impl Into<KeyRange>) -> Delete {
        match self {
            Self::Client(client) => client.delete(range),
            Self::Session(session) => session.delete(range),
        }
    }

    pub(super) fn get(&self, key: impl Into<Bytes>) -> Get {
        self.client().get(key)
    }

    pub(super) fn range(&self, range: impl Into<KeyRange>) -> Range {
        self.client().range(range)
    }
}

/// Repeats a read until it is answered, as whoever waits has time. Ends with what will not pass.
pub(super) async fn patiently<T, F, Fut>(attempt: F) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    loop {
        match attempt().await {
            Err(error) if error.is_passing() => tokio::time::sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
}

/// Runs `work` for at most so long; `None` if it was not done by then.
pub(super) async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<Option<T>> {
    tokio::time::timeout(patience, work).await.ok().transpose()
}

/// What comes of `work`, unless the session is lost before.
pub(super) async fn while_alive<T>(session: &Session, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        cause = session.lost() => {
            let cause = cause.unwrap_or_else(|| "it was closed".to_owned());
            Err(Error::SessionLost { session: session.id(), cause })
        }
        outcome = work => outcome,
    }
}

/// Lets something be done after its owner is gone, such as a withdrawal by a dropped value. Outside
/// a runtime nothing can be sent, and the end of the session does it.
pub(super) fn afterwards(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_below_the_path() {
        let place = Place::new("/a/b//");
        assert_eq!(place, Place::new("/a/b"));
        assert_eq!(place.key("c/1"), "/a/b/c/1");
        assert_eq!(place.rest("c/", b"/a/b/c/1"), Some("1"));
        assert_eq!(place.rest("d/", b"/a/b/c/1"), None);
        assert!(check_name("a member", "x").is_ok());
        for bad in ["", "x/y", "/"] {
            assert!(matches!(check_name("a member", bad), Err(Error::Invalid { .. })), "{bad:?}");
        }
    }
}
