//! Health checks: how an instance, or an agent beside it, finds out how it stands.
//!
//! ```no_run
//! use oarlock_client::registry::{Check, Instance};
//! use std::time::Duration;
//!
//! # async fn example(client: oarlock_client::Client) -> oarlock_client::Result<()> {
//! let check = Check::http("http://127.0.0.1:8080/healthz")
//!     .every(Duration::from_secs(2))
//!     .timeout(Duration::from_millis(500))
//!     .failures(3)
//!     .successes(2);
//! let registration =
//!     client.registry().register("web", "7", Instance::new("10.0.0.7", 8080)).check(check).start().await?;
//! # drop(registration);
//! # Ok(())
//! # }
//! ```

mod probe;
mod run;
mod streak;

pub(super) use run::run;

use crate::error::{Error, Result};
use oarlock_proto::registry::Health;
use std::time::Duration;

/// Default time between the beginnings of two probes.
const INTERVAL: Duration = Duration::from_secs(5);
/// Default time for one probe.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Default failures in a row before a passing instance counts as critical.
const FAILURES: u32 = 2;
/// Default successes in a row before a critical instance counts as passing.
const SUCCESSES: u32 = 1;

/// One check of an instance. An instance stands as the worst of its checks; before the first result
/// of a check it is critical, so that nobody is sent to a service that is still starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub(super) probe: Probe,
    interval: Duration,
    timeout: Duration,
    failures: u32,
    successes: u32,
}

/// How to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// The instance says so itself, again and again.
    Ttl(Duration),
    /// GET answers with a status of 200 to 299.
    Http(String),
    /// A connection can be made.
    Tcp(String),
    /// `grpc.health.v1` says that it serves.
    Grpc { url: String, service: String },
    /// A command ends with 0, or 1 for a warning.
    Command(Vec<String>),
}

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) health: Health,
    /// For people; empty if there is nothing to say.
    pub(super) reason: String,
}

impl Verdict {
    pub(super) fn new(health: Health, reason: impl Into<String>) -> Self {
        Self { health, reason: reason.into() }
    }
}

impl Check {
    fn new(probe: Probe) -> Self {
        Self { probe, interval: INTERVAL, timeout: TIMEOUT, failures: FAILURES, successes: SUCCESSES }
    }

    /// The instance reports by itself at least this often, with
    /// [`Registration::pass`](super::Registration::pass); else it is critical. Reports count at once.
    pub fn ttl(longest_silence: Duration) -> Self {
        Self::new(Probe::Ttl(longest_silence))
    }

    /// A GET of this `http://` URL is answered with a status of 200 to 299. Redirections are not
    /// followed.
    pub fn http(url: impl Into<String>) -> Self {
        Self::new(Probe::Http(url.into()))
    }

    /// A TCP connection to `host:port` can be made.
    pub fn tcp(address: impl Into<String>) -> Self {
        Self::new(Probe::Tcp(address.into()))
    }

    /// The server at this `http://` URL says over `grpc.health.v1.Health` that it serves. See
    /// [`grpc_service`](Self::grpc_service) for one service of several.
    pub fn grpc(url: impl Into<String>) -> Self {
        Self::new(Probe::Grpc { url: url.into(), service: String::new() })
    }

    /// As [`grpc`](Self::grpc), asking for one service by its full name.
    pub fn grpc_service(url: impl Into<String>, service: impl Into<String>) -> Self {
        Self::new(Probe::Grpc { url: url.into(), service: service.into() })
    }

    /// A command that is run without a shell ends with 0 (passing) or 1 (warning). The first line
    /// that it prints is the reason. It is killed at the timeout.
    pub fn command<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Self {
        Self::new(Probe::Command(words.into_iter().map(Into::into).collect()))
    }

    /// Time between the beginnings of two probes. Default: 5 s.
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Time for one probe. Default: 1 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// So many worse results in a row before the instance stands worse. Default: 2.
    pub fn failures(mut self, in_a_row: u32) -> Self {
        self.failures = in_a_row;
        self
    }

    /// So many better results in a row before the instance stands better. Default: 1.
    pub fn successes(mut self, in_a_row: u32) -> Self {
        self.successes = in_a_row;
        self
    }

    /// Refuses what could never be checked.
    pub(super) fn validate(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::Invalid { message });
        if self.interval.is_zero() || self.timeout.is_zero() || self.failures == 0 || self.successes == 0 {
            return invalid(format!("interval, timeout and counts of {self} must be above zero"));
        }
        match &self.probe {
            Probe::Ttl(silence) if silence.is_zero() => invalid("a ttl must be above zero".into()),
            Probe::Http(url) | Probe::Grpc { url, .. } if !is_http(url) => {
                invalid(format!("{url:?} is not a URL such as http://127.0.0.1:8080/healthz"))
            }
            Probe::Tcp(address) if !is_address(address) => {
                invalid(format!("{address:?} is not an address such as 127.0.0.1:8080"))
            }
            Probe::Command(words) if words.is_empty() => invalid("a command needs a program".into()),
            Probe::Ttl(_) | Probe::Http(_) | Probe::Grpc { .. } | Probe::Tcp(_) | Probe::Command(_) => Ok(()),
        }
    }
}

fn is_http(url: &str) -> bool {
    let parsed = url.parse::<http::Uri>().ok();
    parsed.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some())
}

fn is_address(address: &str) -> bool {
    let parts = address.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

impl std::fmt::Display for Check {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.probe {
            Probe::Ttl(silence) => write!(out, "ttl {silence:?}"),
            Probe::Http(url) => write!(out, "http {url}"),
            Probe::Tcp(address) => write!(out, "tcp {address}"),
            Probe::Grpc { url, service } if service.is_empty() => write!(out, "grpc {url}"),
            Probe::Grpc { url, service } => write!(out, "grpc {url} {service}"),
            Probe::Command(words) => write!(out, "command {}", words.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_checked_is_refused_with_its_name() {
        for bad in [
            Check::http("https://127.0.0.1/"),
            Check::http("127.0.0.1:80"),
            Check::grpc("unix:/x"),
            Check::tcp("127.0.0.1"),
            Check::tcp("127.0.0.1:0"),
            Check::tcp(":80"),
            Check::command(Vec::<String>::new()),
            Check::ttl(Duration::ZERO),
            Check::tcp("127.0.0.1:80").every(Duration::ZERO),
            Check::tcp("127.0.0.1:80").failures(0),
        ] {
            assert!(matches!(bad.validate(), Err(Error::Invalid { .. })), "{bad}");
        }
        for good in [
            Check::http("http://127.0.0.1:8080/healthz?full=1"),
            Check::tcp("[::1]:80"),
            Check::grpc_service("http://localhost:50051", "shop.Basket"),
            Check::command(["true"]),
            Check::ttl(Duration::from_secs(1)),
        ] {
            good.validate().unwrap_or_else(|error| panic!("{good}: {error}"));
        }
    }
}
