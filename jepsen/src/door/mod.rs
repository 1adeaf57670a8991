//! The protocols, as one client of a test sees them: a request is sent once, to one server, and
//! whatever comes back is what the history gets.
//!
//! Nothing is repeated here. A client that repeats by itself turns one operation into two, and the
//! history would not show it (Jepsen's analysis of jetcd 0.8.2, 2024).

mod etcd;
mod native;
mod watching;
mod wire;
mod zookeeper;

pub use watching::{Change, Told, Watching};

use crate::history::{Api, Failure, FailureKind};
use std::net::IpAddr;
use std::time::Duration;
use wire::Wire;

/// What comes of an operation.
pub type Answer<T> = Result<T, Failure>;

/// A key as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Revision of its creation.
    pub created: u64,
    /// Revision of its last change.
    pub modified: u64,
    /// The session that owns it; 0 for none.
    pub owner: u64,
}

/// Whether a read sees every write that was acknowledged before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It does.
    Linearizable,
    /// It sees what the asked member has.
    Serializable,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Set a key.
    Put(String, String),
    /// Read a key.
    Get(String),
    /// Append to a key's value.
    Append(String, String),
    /// Add to a key's number.
    Add(String, u64),
    /// Remove a key.
    Delete(String),
}

/// A session, lease or connection that keys may hang off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: u64,
    /// How long the servers wait for a sign of life, as they granted it.
    pub timeout_ms: u64,
}

/// A client of one server.
pub struct Door {
    inner: Inner,
}

enum Inner {
    Native(native::Native),
    Etcd(etcd::Etcd),
    Zookeeper(zookeeper::Zookeeper),
}

macro_rules! each {
    ($door:expr, $inner:ident => $call:expr) => {
        match &mut $door.inner {
            Inner::Native($inner) => $call,
            Inner::Etcd($inner) => $call,
            Inner::Zookeeper($inner) => $call,
        }
    };
}

impl Door {
    /// A client of the server at `endpoint`, at this address of its own if it has one, which waits so
    /// long for an answer. It connects when it has something to send.
    pub fn new(api: Api, endpoint: &str, own: Option<IpAddr>, patience: Duration) -> Self {
        let wire = || Wire::new(endpoint, own, patience);
        let inner = match api {
            Api::Native => Inner::Native(native::Native::new(wire())),
            Api::Etcd => Inner::Etcd(etcd::Etcd::new(wire())),
            Api::Zookeeper => Inner::Zookeeper(zookeeper::Zookeeper::new(endpoint, own, patience)),
        };
        Self { inner }
    }

    /// Reads a key; with it the revision of the state that was read, 0 where the protocol tells none.
    pub async fn get(&mut self, key: &str, freshness: Freshness) -> Answer<(Option<Record>, u64)> {
        each!(self, inner => inner.get(key, freshness).await)
    }

    /// Reads all keys with this beginning, of one revision, which comes with them.
    pub async fn range(&mut self, prefix: &str, freshness: Freshness) -> Answer<(Vec<Record>, u64)> {
        each!(self, inner => inner.range(prefix, freshness).await)
    }

    /// The keys with this beginning, all of one moment.
    pub async fn keys(&mut self, prefix: &str, freshness: Freshness) -> Answer<Vec<String>> {
        each!(self, inner => inner.keys(prefix, freshness).await)
    }

    /// Sets a key and returns the revision.
    pub async fn put(&mut self, key: &str, value: &str) -> Answer<u64> {
        each!(self, inner => inner.put(key, value, 0).await)
    }

    /// Sets a key that goes with a session, and returns the revision.
    pub async fn put_owned(&mut self, key: &str, value: &str, owner: u64) -> Answer<u64> {
        each!(self, inner => inner.put(key, value, owner).await)
    }

    /// Removes a key. Whether it was there, and the revision.
    pub async fn delete(&mut self, key: &str) -> Answer<(bool, u64)> {
        each!(self, inner => inner.delete(key).await)
    }

    /// Sets a key if it holds `expected` (`None`: if it is absent). Whether it did, and the revision.
    pub async fn cas(&mut self, key: &str, expected: Option<&str>, new: &str) -> Answer<(bool, u64)> {
        each!(self, inner => inner.cas(key, expected, new).await)
    }

    /// Runs the steps as one transaction if each of these keys was last changed at its revision
    /// (0: if it is absent). Whether it did, what its reads returned, and the revision.
    pub async fn transact(
        &mut self,
        unchanged: &[(String, u64)],
        steps: &[Step],
    ) -> Answer<(bool, Vec<Option<Record>>, u64)> {
        each!(self, inner => inner.transact(unchanged, steps).await)
    }

    /// Opens a session.
    pub async fn open(&mut self, timeout_ms: u64) -> Answer<Lease> {
        each!(self, inner => inner.open(timeout_ms).await)
    }

    /// Shows that a session is alive; returns for how long the servers take it for alive, in
    /// milliseconds since the request was sent.
    pub async fn keep_alive(&mut self, session: u64) -> Answer<u64> {
        each!(self, inner => inner.keep_alive(session).await)
    }

    /// Watches all keys with this beginning from `start` on; 0: from the next change on.
    pub async fn watch(&mut self, prefix: &str, start: u64) -> Answer<Watching> {
        each!(self, inner => inner.watch(prefix, start).await)
    }

    /// Waits until a lock is held under a session, and returns the key that names the holder.
    pub async fn lock(&mut self, name: &str, session: u64) -> Answer<String> {
        match &mut self.inner {
            Inner::Etcd(etcd) => etcd.lock(name, session).await,
            Inner::Native(_) | Inner::Zookeeper(_) => Err(no_single_request()),
        }
    }

    /// Gives up a lock by its holder's key.
    pub async fn unlock(&mut self, key: &str) -> Answer<()> {
        match &mut self.inner {
            Inner::Etcd(etcd) => etcd.unlock(key).await,
            Inner::Native(_) | Inner::Zookeeper(_) => Err(no_single_request()),
        }
    }

    /// The whole state of the asked member as a backup, and its revision.
    pub async fn backup(&mut self) -> Answer<(Vec<u8>, u64)> {
        match &mut self.inner {
            Inner::Native(native) => native.backup().await,
            Inner::Etcd(_) | Inner::Zookeeper(_) => {
                Err(Failure::new(FailureKind::NotProposed, "backups are taken over Oarlock's own protocol"))
            }
        }
    }

    /// Ends a session.
    pub async fn close(&mut self, session: u64) -> Answer<()> {
        each!(self, inner => inner.close(session).await)
    }
}

fn no_single_request() -> Failure {
    Failure::new(FailureKind::NotProposed, "over this protocol, locks are the library's")
}

/// The first key that does not begin with `prefix` and sorts behind those that do.
fn end_of_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}
