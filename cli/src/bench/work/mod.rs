//! The kinds of work that clients do one operation after the other. Each is a file: its options, what
//! it refuses, and which operation comes next.

mod cas;
mod fill;
mod keep_alive;
mod range;
mod resolve;
mod sessions;
mod single;
mod txn;

pub use cas::CasArgs;
pub use fill::FillArgs;
pub use keep_alive::KeepAliveArgs;
pub use range::RangeArgs;
pub use resolve::{ResolveArgs, service};
pub use sessions::SessionsArgs;
pub use single::{ExistsArgs, GetArgs, MixedArgs, PutArgs};
pub use txn::TxnArgs;

use super::error::BenchError;
use super::keys::Share;
use super::options::{Api, LoadArgs, Mode};
use super::request::Request;
use futures::future::BoxFuture;
use oarlock_client::Session;
use rand::rngs::SmallRng;
use std::time::Duration;

/// A kind of work with its options.
pub trait Work: Send + Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// The options of all kinds.
    fn load(&self) -> &LoadArgs;

    /// What is done, for the title of a report.
    fn title(&self) -> String;

    /// What one of the clients does.
    fn source(&self, share: Share) -> Box<dyn Source>;

    /// How requests travel; or a refusal, if these options do not go together.
    fn way(&self) -> Result<Way, BenchError> {
        Way::of(self.load())
    }

    /// Whether it ends when there is nothing left to do, rather than after a time.
    fn is_finite(&self) -> bool {
        false
    }

    /// Whether keys and values are what it is about.
    fn has_values(&self) -> bool {
        true
    }

    /// Sessions that a client needs for its requests.
    fn sessions(&self, _share: Share) -> usize {
        0
    }

    /// Timeout of those sessions: longer than a client needs to come round.
    fn session_timeout(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Makes what must be there before, outside the measured time.
    fn prepare<'a>(&'a self, _endpoints: &'a [String]) -> BoxFuture<'a, Result<Stage, BenchError>> {
        Box::pin(async { Ok(Stage::default()) })
    }
}

/// Which operation comes next. Pure: the same random numbers give the same operations.
pub trait Source {
    /// The first request of the next operation; `None` when all is done.
    fn next(&mut self, random: &mut SmallRng) -> Option<Request>;
}

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Calls of the native API.
    Native,
    /// Frames of the native API's session streams.
    Stream,
    /// Calls of etcd's API.
    Etcd,
    /// ZooKeeper's protocol.
    Zookeeper,
    /// HTTP requests of the registry.
    Registry,
}

impl Way {
    fn of(load: &LoadArgs) -> Result<Self, BenchError> {
        match (load.api, load.mode) {
            (Api::Native, Mode::Unary) => Ok(Self::Native),
            (Api::Native, Mode::Stream) => Ok(Self::Stream),
            (api, Mode::Stream) => {
                Err(BenchError::bad("mode", format!("--api {api} has no session streams; leave it out")))
            }
            (Api::Etcd, Mode::Unary) => Ok(Self::Etcd),
            (Api::Zookeeper, Mode::Unary) => {
                check_parent(&load.prefix)?;
                Ok(Self::Zookeeper)
            }
        }
    }
}

/// What was prepared. Goes when it is ended.
#[derive(Default)]
pub struct Stage {
    /// Owns the keys that are there for the time of the run.
    session: Option<Session>,
}

impl Stage {
    /// Removes what was prepared. What cannot be removed expires.
    pub async fn end(self) {
        if let Some(session) = self.session {
            let _ = tokio::time::timeout(Duration::from_secs(5), session.close()).await;
        }
    }
}

/// Znodes are children of one parent, so the prefix of their names is its path.
fn check_parent(prefix: &str) -> Result<(), BenchError> {
    let parent = prefix.strip_prefix('/').and_then(|path| path.strip_suffix('/'));
    let is_path = |path: &str| path.split('/').all(|name| !name.is_empty() && name != "." && name != "..");
    if parent.is_some_and(is_path) {
        return Ok(());
    }
    let why = format!("{prefix:?} must name a parent, such as /bench/, for ZooKeeper's API");
    Err(BenchError::bad("prefix", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(api: Api, mode: Mode, prefix: &str) -> LoadArgs {
        LoadArgs { api, mode, prefix: prefix.to_owned(), ..LoadArgs::default() }
    }

    #[test]
    fn only_the_native_api_has_streams() {
        assert_eq!(Way::of(&load(Api::Native, Mode::Stream, "/a/")).expect("it has"), Way::Stream);
        for api in [Api::Etcd, Api::Zookeeper] {
            let refusal = Way::of(&load(api, Mode::Stream, "/a/")).expect_err("it has none");
            assert!(refusal.is_usage() && refusal.to_string().contains("no session streams"), "{refusal}");
        }
    }

    #[test]
    fn the_prefix_of_znodes_is_a_parent() {
        for good in ["/bench/", "/a/b/"] {
            assert_eq!(Way::of(&load(Api::Zookeeper, Mode::Unary, good)).expect(good), Way::Zookeeper);
        }
        for bad in ["", "/", "//", "bench/", "/bench", "/a//b/", "/a/../"] {
            let refusal = Way::of(&load(Api::Zookeeper, Mode::Unary, bad)).expect_err(bad);
            assert!(refusal.is_usage(), "{refusal}");
            assert!(Way::of(&load(Api::Etcd, Mode::Unary, bad)).is_ok());
        }
    }
}
