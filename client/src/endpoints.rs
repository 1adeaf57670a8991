//! Where the cluster is: a list of endpoints, of which one is in use until it fails.

use crate::error::{Error, Result};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// Largest message that is accepted from a server.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The known endpoints, and the connection in use.
pub(crate) struct Endpoints {
    list: Mutex<List>,
    /// The URLs that the caller gave; they stay, whatever the members say of themselves.
    given: Vec<String>,
    /// Held while a connection is made, so that many waiting calls share one.
    connecting: tokio::sync::Mutex<()>,
    dialing: Dialing,
}

/// How connections are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialing {
    /// Time for setting one up.
    pub(crate) timeout: Duration,
    /// The address that they come from; the system's choice if there is none.
    pub(crate) from: Option<IpAddr>,
}

struct List {
    urls: Vec<String>,
    /// Position in `urls` of the endpoint in use.
    at: usize,
    /// Its connection. Shared by all calls; HTTP/2 interleaves them.
    channel: Option<Channel>,
    /// Raised whenever the endpoint in use was given up, so that many calls that saw the same
    /// failure move on once.
    generation: u64,
}

/// A connection, and which generation of it.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    pub(crate) generation: u64,
    /// Nobody has used it before.
    pub(crate) is_first_use: bool,
    /// How long an answer is waited for.
    pub(crate) patience: Duration,
}

impl Connection {
    /// When the server should give up and say so: in time for that to be heard, and at the latest
    /// after `longest_ms`.
    pub(crate) fn timeout_ms(&self, longest_ms: u32) -> u32 {
        let in_time = self.patience.as_millis() * 9 / 10;
        u32::try_from(in_time).unwrap_or(u32::MAX).clamp(1, longest_ms)
    }
}

impl Endpoints {
    pub(crate) fn new(urls: Vec<String>, first: usize, dialing: Dialing) -> Result<Self> {
        if urls.is_empty() {
            return Err(Error::Invalid { message: "no endpoints were given".into() });
        }
        for url in &urls {
            endpoint(url, dialing)?;
        }
        let given = urls.clone();
        let list = List { at: first % urls.len(), urls, channel: None, generation: 0 };
        let connecting = tokio::sync::Mutex::new(());
        Ok(Self { list: Mutex::new(list), given, connecting, dialing })
    }

    /// The connection in use, or a new one. An error means that nothing was sent anywhere.
    pub(crate) async fn connection(&self) -> Result<Connection> {
        if let Some(connection) = self.in_use() {
            return Ok(connection);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(connection) = self.in_use() {
            return Ok(connection);
        }
        let (url, generation) = {
            let list = self.lock();
            (list.urls[list.at].clone(), list.generation)
        };
        match endpoint(&url, self.dialing)?.connect().await {
            Ok(channel) => {
                let mut list = self.lock();
                if list.generation == generation {
                    list.channel = Some(channel.clone());
                }
                Ok(Connection { channel, generation, is_first_use: true, patience: Duration::ZERO })
            }
            Err(error) => {
                self.give_up(generation);
                let message =
                    format!("cannot connect to {url}: {}. Is the server running there?", root(&error));
                Err(Error::NotProposed { code: oarlock_proto::v1::ErrorCode::Unavailable, message })
            }
        }
    }

    fn in_use(&self) -> Option<Connection> {
        let list = self.lock();
        let channel = list.channel.clone()?;
        let generation = list.generation;
        Some(Connection { channel, generation, is_first_use: false, patience: Duration::ZERO })
    }

    /// A connection of its own to the next endpoint in turn, for a stream.
    pub(crate) async fn own_connection(&self, turn: usize) -> Result<Channel> {
        let url = {
            let list = self.lock();
            list.urls[(list.at + turn) % list.urls.len()].clone()
        };
        endpoint(&url, self.dialing)?.connect().await.map_err(|error| {
            let message = format!("cannot connect to {url}: {}", root(&error));
            Error::NotProposed { code: oarlock_proto::v1::ErrorCode::Unavailable, message }
        })
    }

    /// The endpoint of this generation does not do its duty: the next call uses another.
    pub(crate) fn give_up(&self, generation: u64) {
        let mut list = self.lock();
        if list.generation == generation {
            list.generation += 1;
            list.at = (list.at + 1) % list.urls.len();
            list.channel = None;
        }
    }

    /// Adds what the cluster says of itself to what was given, keeping the endpoint in use. A
    /// member's own idea of its address may be useless from here, so it replaces nothing.
    pub(crate) fn learn(&self, urls: Vec<String>) {
        let mut valid = self.given.clone();
        for url in urls {
            if endpoint(&url, self.dialing).is_ok() && !valid.contains(&url) {
                valid.push(url);
            }
        }
        let mut list = self.lock();
        let in_use = list.urls[list.at].clone();
        let position = valid.iter().position(|url| *url == in_use);
        list.urls = valid;
        match position {
            Some(position) => list.at = position,
            None => {
                // A member that the others do not name any more; it works, so it stays.
                list.urls.push(in_use);
                list.at = list.urls.len() - 1;
            }
        }
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.lock().urls.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, List> {
        // Nothing panics while it is held, so a poisoned lock still holds a whole list.
        self.list.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What is at the bottom of an error; the layers above it say nothing to a person.
fn root(mut error: &dyn std::error::Error) -> &dyn std::error::Error {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

fn endpoint(url: &str, dialing: Dialing) -> Result<Endpoint> {
    let bad =
        || Error::Invalid { message: format!("endpoint {url:?} is not a URL such as http://127.0.0.1:2379") };
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let endpoint = Endpoint::from_shared(full).map_err(|_| bad())?;
    if endpoint.uri().host().is_none() || endpoint.uri().scheme_str() != Some("http") {
        return Err(bad());
    }
    Ok(endpoint
        .connect_timeout(dialing.timeout)
        .local_address(dialing.from)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(3))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(Some(1 << 20))
        .initial_connection_window_size(Some(8 << 20)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALING: Dialing = Dialing { timeout: Duration::from_secs(1), from: None };

    #[test]
    fn what_is_not_a_url_is_named() {
        let error = Endpoints::new(vec!["ftp://x".into()], 0, DIALING).err();
        assert!(matches!(error, Some(Error::Invalid { message }) if message.contains("ftp://x")));
    }

    #[test]
    fn many_who_saw_one_failure_move_on_once() {
        let urls = ["a:1", "b:1", "c:1"].map(String::from).to_vec();
        let endpoints = Endpoints::new(urls, 0, DIALING).expect("valid");
        endpoints.give_up(0);
        endpoints.give_up(0);
        assert_eq!(endpoints.lock().at, 1);
    }

    #[test]
    fn the_endpoint_in_use_stays_when_members_are_learnt() {
        let urls = ["a:1", "b:1"].map(String::from).to_vec();
        let endpoints = Endpoints::new(urls, 1, DIALING).expect("valid");
        endpoints.learn(["c:1", "b:1", "d:1"].map(String::from).to_vec());
        assert_eq!(endpoints.lock().at, 1);
        assert_eq!(endpoints.urls(), ["a:1", "b:1", "c:1", "d:1"]);
    }
}
