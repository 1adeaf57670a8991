//! ZooKeeper's protocol. Keys are persistent nodes below one parent; what is written without being there
//! is made, and what is made while it is there is written.

use super::{Door, PATIENCE, Place, refused};
use crate::bench::error::BenchError;
use crate::bench::options::Freshness;
use crate::bench::request::{Answer, Request, Seen, SwapBy};
use crate::bench::words::Words;
use std::time::Duration;
use zookeeper_client::{Acls, Client, CreateMode, Error, Stat};

/// Timeout of a connection's session.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts at a node that comes and goes.
const ATTEMPTS: usize = 4;

/// A client of ZooKeeper's protocol.
pub struct Zookeeper {
    client: Client,
    words: Words,
    path: String,
}

impl Door for Zookeeper {
    type Connection = Client;

    async fn connect(endpoint: &str, words: &Words) -> Result<Client, BenchError> {
        let failed = |source| BenchError::Zookeeper { endpoint: endpoint.to_owned(), source };
        let connector = Client::connector()
            .with_session_timeout(SESSION_TIMEOUT)
            .with_connection_timeout(PATIENCE)
            .with_fail_eagerly()
            .with_server_version(3, 9, 0);
        let client = connector.connect(address(endpoint)).await.map_err(failed)?;
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        match client.mkdir(words.prefix().trim_end_matches('/'), &options).await {
            Ok(()) | Err(Error::NodeExists) => Ok(client),
            Err(error) => Err(failed(error)),
        }
    }

    async fn open(client: Client, place: Place) -> Result<Self, BenchError> {
        Ok(Self { client, words: place.words, path: String::new() })
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer, String> {
        match request {
            Request::Put { key } => self.write(*key, false).await,
            Request::Create { key } => self.write(*key, true).await,
            Request::Get { key } => self.get(*key).await,
            Request::Exists { key } => self.exists(*key).await,
            Request::Look { key, by: SwapBy::Revision } => self.look(*key).await.map(Answer::Seen),
            Request::Swap { key, by: SwapBy::Revision, seen } => self.swap(*key, seen).await,
            Request::Txn { keys, reads: 0 } => return self.txn(keys).await,
            other => return Err(refused(other)),
        }
        .map_err(|error| error.to_string())
    }
}

/// As ZooKeeper's clients name a server: without a scheme.
fn address(endpoint: &str) -> &str {
    endpoint.split_once("://").map_or(endpoint, |(_, address)| address).trim_end_matches('/')
}

impl Zookeeper {
    fn aim(&mut self, key: u64) {
        self.words.path(key, &mut self.path);
    }

    /// Writes a node, or makes it, beginning with what is likely.
    async fn write(&mut self, key: u64, is_new: bool) -> Result<Answer, Error> {
        self.aim(key);
        let value = self.words.value();
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        let mut makes = is_new;
        for _ in 0..ATTEMPTS {
            let done = if makes {
                self.client.create(&self.path, &value, &options).await.map(drop)
            } else {
                self.client.set_data(&self.path, &value, None).await.map(drop)
            };
            match done {
                Ok(()) => return Ok(Answer::Done),
                Err(Error::NodeExists | Error::NoNode) => makes = !makes,
                Err(error) => return Err(error),
            }
        }
        Err(Error::NoNode)
    }

    /// Reads a node. What follows in one session is answered in order, so a read may follow a `sync` at
    /// once.
    async fn read(&mut self, key: u64) -> Result<Option<Stat>, Error> {
        self.aim(key);
        let found = match self.words.freshness {
            Freshness::Serializable => self.client.get_data(&self.path).await,
            Freshness::Linearizable => {
                let (synced, found) =
                    futures::join!(self.client.sync(&self.path), self.client.get_data(&self.path));
                synced.and(found)
            }
        };
        match found {
            Ok((_, stat)) => Ok(Some(stat)),
            Err(Error::NoNode) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn get(&mut self, key: u64) -> Result<Answer, Error> {
        Ok(if self.read(key).await?.is_some() { Answer::Done } else { Answer::Missing })
    }

    async fn look(&mut self, key: u64) -> Result<Seen, Error> {
        let version = |stat: Stat| Seen::Revision(u64::try_from(stat.version).unwrap_or(0));
        Ok(self.read(key).await?.map_or(Seen::Absent, version))
    }

    async fn exists(&mut self, key: u64) -> Result<Answer, Error> {
        self.aim(key);
        let found = match self.words.freshness {
            Freshness::Serializable => self.client.check_stat(&self.path).await,
            Freshness::Linearizable => {
                let (synced, found) =
                    futures::join!(self.client.sync(&self.path), self.client.check_stat(&self.path));
                synced.and(found)
            }
        };
        Ok(if found?.is_some() { Answer::Done } else { Answer::Missing })
    }

    async fn swap(&mut self, key: u64, seen: &Seen) -> Result<Answer, Error> {
        self.aim(key);
        let value = self.words.value();
        let done = match seen {
            Seen::Revision(version) => {
                let version = i32::try_from(*version).unwrap_or(i32::MAX);
                self.client.set_data(&self.path, &value, Some(version)).await.map(drop)
            }
            Seen::Absent | Seen::Value(_) => {
                let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
                self.client.create(&self.path, &value, &options).await.map(drop)
            }
        };
        match done {
            Ok(()) => Ok(Answer::Done),
            // The refusal does not say how it is, so that is one more read.
            Err(Error::BadVersion | Error::NodeExists | Error::NoNode) => {
                self.look(key).await.map(Answer::Seen)
            }
            Err(error) => Err(error),
        }
    }

    async fn txn(&mut self, keys: &[u64]) -> Result<Answer, String> {
        let mut changes = self.client.new_multi_writer();
        for key in keys {
            self.words.path(*key, &mut self.path);
            let value = self.words.value();
            changes.add_set_data(&self.path, &value, None).map_err(|error| error.to_string())?;
        }
        changes.commit().await.map(|_| Answer::Done).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_lose_their_scheme() {
        assert_eq!(address("http://127.0.0.1:2181"), "127.0.0.1:2181");
        assert_eq!(address("127.0.0.1:2181"), "127.0.0.1:2181");
        assert_eq!(address("zookeeper://a:1/"), "a:1");
    }
}
