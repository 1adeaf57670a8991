//! The agent's configuration.

use crate::failure::Failure;
use oarlock_client::registry::{Check, Instance};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// What one agent does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Where reports of ttl checks are taken, over HTTP; nowhere without it. Loopback, as whoever
    /// reaches it may report.
    pub(super) http: Option<SocketAddr>,
    /// Time without a sign of life of the agent after which its services are gone.
    #[serde(default = "ten_seconds", deserialize_with = "time")]
    pub(super) session_timeout: Duration,
    /// Time between asking for no new work and deregistering, when the agent stops.
    #[serde(default = "two_seconds", deserialize_with = "time")]
    pub(super) drain: Duration,
    /// The services.
    pub(super) service: Vec<Service>,
}

/// One service's instance on this machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) instance: String,
    address: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    ports: BTreeMap<String, u16>,
    #[serde(default)]
    zone: String,
    weight: Option<u32>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    /// Takes the record out when it has been critical for so long.
    #[serde(default, deserialize_with = "maybe_time")]
    pub(super) remove_after: Option<Duration>,
    #[serde(default)]
    check: Vec<CheckOf>,
}

/// One check: exactly one of the first five, and its pace.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckOf {
    http: Option<String>,
    tcp: Option<String>,
    grpc: Option<String>,
    #[serde(default, deserialize_with = "maybe_time")]
    ttl: Option<Duration>,
    command: Option<Vec<String>>,
    /// With `grpc`: which of the server's services.
    #[serde(default)]
    grpc_service: String,
    #[serde(default, deserialize_with = "maybe_time")]
    every: Option<Duration>,
    #[serde(default, deserialize_with = "maybe_time")]
    timeout: Option<Duration>,
    failures: Option<u32>,
    successes: Option<u32>,
}

impl Config {
    /// Reads a file.
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::local("read", path, error))?;
        Self::parse(&text).map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if config.service.is_empty() {
            return Err("it names no [[service]]".into());
        }
        if let Some(http) = config.http.filter(|http| !http.ip().is_loopback()) {
            return Err(format!("http = \"{http}\" is not a loopback address; anybody could report there"));
        }
        let mut names = BTreeSet::new();
        for service in &config.service {
            let Service { name, instance, .. } = service;
            if !names.insert((name, instance)) {
                return Err(format!("{name}/{instance} is there twice"));
            }
            service.checks().map_err(|error| format!("{name}/{instance}: {error}"))?;
        }
        Ok(config)
    }
}

impl Service {
    pub(super) fn record(&self) -> Instance {
        let plain = Instance::new(self.address.clone(), self.port);
        Instance {
            ports: self.ports.clone(),
            zone: self.zone.clone(),
            weight: self.weight.unwrap_or(plain.weight),
            tags: self.tags.clone(),
            metadata: self.metadata.clone(),
            ..plain
        }
    }

    pub(super) fn checks(&self) -> Result<Vec<Check>, Failure> {
        self.check.iter().map(CheckOf::check).collect()
    }
}

impl CheckOf {
    fn check(&self) -> Result<Check, Failure> {
        let service = self.grpc_service.clone();
        let kinds: Vec<Check> = [
            self.http.clone().map(Check::http),
            self.tcp.clone().map(Check::tcp),
            self.grpc.clone().map(|url| Check::grpc_service(url, service)),
            self.ttl.map(Check::ttl),
            self.command.clone().map(Check::command),
        ]
        .into_iter()
        .flatten()
        .collect();
        let one = <[Check; 1]>::try_from(kinds).map_err(|kinds| {
            let count = kinds.len();
            Failure::Usage(format!("a check is exactly one of http, tcp, grpc, ttl, command, not {count}"))
        });
        let [mut check] = one?;
        if let Some(every) = self.every {
            check = check.every(every);
        }
        if let Some(timeout) = self.timeout {
            check = check.timeout(timeout);
        }
        if let Some(failures) = self.failures {
            check = check.failures(failures);
        }
        if let Some(successes) = self.successes {
            check = check.successes(successes);
        }
        Ok(check)
    }
}

const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

const fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text)
        .map_err(|error| serde::de::Error::custom(format!("{text:?} is not a time such as \"5s\": {error}")))
}

fn maybe_time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    time(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
        http = "127.0.0.1:7878"
        drain = "0s"

        [[service]]
        name = "web"
        instance = "7"
        address = "10.0.0.7"
        port = 8080
        zone = "a"
        tags = ["v2"]
        metadata = { version = "2" }
        remove_after = "5m"
        [[service.check]]
        http = "http://127.0.0.1:8080/healthz"
        every = "2s"
        failures = 3
        [[service.check]]
        ttl = "10s"

        [[service]]
        name = "mail"
        instance = "1"
        address = "10.0.0.7"
    "#;

    #[test]
    fn a_full_file_is_understood() {
        let config = Config::parse(FULL).expect("well-formed");
        assert_eq!((config.service.len(), config.session_timeout), (2, ten_seconds()));
        let web = &config.service[0];
        assert_eq!((web.record().weight, web.record().authority().as_str()), (100, "10.0.0.7:8080"));
        let http = Check::http("http://127.0.0.1:8080/healthz").every(two_seconds()).failures(3);
        assert_eq!(web.checks().expect("checked"), [http, Check::ttl(ten_seconds())]);
        assert_eq!(web.remove_after, Some(Duration::from_secs(300)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, named) in [
            ("port = 8080", "prot = 8080", "prot"),
            ("127.0.0.1:7878", "0.0.0.0:7878", "loopback"),
            ("\"2s\"", "\"soon\"", "soon"),
            ("ttl = \"10s\"", "failures = 2", "exactly one"),
            (
                "name = \"mail\"\n        instance = \"1\"",
                "name = \"web\"\n        instance = \"7\"",
                "twice",
            ),
        ] {
            let text = FULL.replace(from, to);
            assert_ne!(text, FULL);
            let why = Config::parse(&text).expect_err(to);
            assert!(why.contains(named), "{to}: {why}");
        }
        assert!(Config::parse("service = []").expect_err("empty").contains("no [[service]]"));
    }
}
