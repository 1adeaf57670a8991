//! The lines of a history: its format on disk.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Version of the format; a file of a later one is refused.
pub const FORMAT: u32 = 1;

/// Which protocol the clients spoke, and with it which servers they spoke to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// Oarlock's own.
    Native,
    /// etcd's version 3.
    Etcd,
    /// ZooKeeper's.
    Zookeeper,
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Etcd => "etcd",
            Self::Zookeeper => "zookeeper",
        })
    }
}

/// The first line: what the run was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the workload.
    pub workload: String,
    /// Names of the faults that the run knew.
    pub nemesis: Vec<String>,
    /// What the clients spoke.
    pub api: Api,
    /// The servers: `oarlock`, `etcd` or `zookeeper`, with their version as they tell it.
    pub server: String,
    /// How many of them at the start.
    pub nodes: usize,
    /// What all chance came from.
    pub seed: u64,
    /// Length of the phase with faults, in seconds.
    pub seconds: u64,
    /// The command that repeats the run.
    pub command: String,
    /// When it began, in milliseconds since 1970.
    pub began_unix_ms: u64,
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// A client, which does one thing at a time.
    Process(u64),
    /// Whoever makes the faults.
    Nemesis,
}

impl Serialize for Who {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Process(number) => serializer.serialize_u64(*number),
            Self::Nemesis => serializer.serialize_str("nemesis"),
        }
    }
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(number) if number.is_u64() => Ok(Self::Process(number.as_u64().unwrap_or(0))),
            Value::String(name) if name == "nemesis" => Ok(Self::Nemesis),
            other => {
                Err(serde::de::Error::custom(format!("a process is a number or \"nemesis\", not {other}")))
            }
        }
    }
}

/// What a line tells of its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It did not happen and never will.
    Fail,
    /// It may have happened, or may yet. Of a fault: it begins or ends.
    Info,
}

/// What a failed answer says about whether the operation happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// It was not proposed: it may be repeated anywhere.
    NotProposed,
    /// The servers decided: no.
    Rejected,
    /// Nobody knows.
    Unknown,
    /// The answer says none of these: a promise broken, where the protocol makes it.
    Untyped,
}

/// Why an operation has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it says about the operation.
    pub kind: FailureKind,
    /// The server's or the client's words.
    pub text: String,
}

impl Failure {
    /// A failure with these words.
    pub fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Whether the operation certainly had no effect.
    pub fn is_definite(&self) -> bool {
        matches!(self.kind, FailureKind::NotProposed | FailureKind::Rejected)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One line after the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Microseconds since the run began.
    pub time: u64,
    /// Who.
    pub process: Who,
    /// Beginning or end.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What is done: the operation's name in its workload, or the fault's.
    pub f: String,
    /// The object that it is done to, where operations on different ones are judged apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The arguments of a beginning, the results of an end.
    #[serde(default)]
    pub value: Value,
    /// The member that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Why there is no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}
