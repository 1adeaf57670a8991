//! Rhythms and bounds of a member, each with what goes wrong at both ends.

use super::{ConfigError, Settings};
use oarlock_state::limits::{PROPOSAL_BYTES_MAX, TXN_OPS_MAX};

/// Heartbeats and elections. Must be the same on all members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Milliseconds between two heartbeats; also the tick. Too low: work without use. Too high:
    /// slow detection of lost members.
    pub heartbeat_ms: u64,
    /// Milliseconds without a leader before a member stands. Too low: needless elections under
    /// load. Too high: that long without writes after a crash.
    pub election_ms: u64,
}

impl Timing {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let heartbeat_ms = settings.heartbeat_interval.unwrap_or(100);
        let election_ms = settings.election_timeout.unwrap_or(1000);
        if !(10..=10_000).contains(&heartbeat_ms) {
            return Err(ConfigError::bad(
                "heartbeat-interval",
                format!("is {heartbeat_ms} ms; it must be between 10 and 10000"),
            ));
        }
        if election_ms < 5 * heartbeat_ms {
            return Err(ConfigError::bad(
                "election-timeout",
                format!("is {election_ms} ms, less than five times --heartbeat-interval ({heartbeat_ms} ms)"),
            ));
        }
        if election_ms > 50_000 {
            return Err(ConfigError::bad(
                "election-timeout",
                format!("is {election_ms} ms; at most 50000 is allowed"),
            ));
        }
        Ok(Self { heartbeat_ms, election_ms })
    }

    /// Ticks of an election timeout, rounded up.
    pub fn election_ticks(&self) -> usize {
        // Between 5 and 5000, see `from_settings`.
        self.election_ms.div_ceil(self.heartbeat_ms) as usize
    }
}

/// How much of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Log entries kept for members that are behind. Too low: snapshots instead of a short replay.
    /// Too high: disk space.
    pub catch_up_entries: u64,
    /// Bytes per second of a snapshot to a member; 0 for no limit. Too low: a member that never
    /// catches up. Too high: the disk and network are not there for requests.
    pub snapshot_bytes_per_second: u64,
    /// Bytes of free disk below which only what frees space is accepted.
    pub reserve_disk_bytes: u64,
    /// Bytes of the largest request. Above the log's own limit it has no effect.
    pub request_bytes: usize,
    /// Operations of one branch of a transaction of etcd's API, and its comparisons. The state's own
    /// limit, which is the same on all members, is on all of them together.
    pub txn_ops: usize,
    /// Streams of one client connection.
    pub streams: u32,
    /// Client connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// Bytes of cache over the disk.
    pub cache_bytes: usize,
    /// Bytes of recent changes that gather before they are written. Too low: more is written than
    /// needed. Too high: memory, and a longer replay after a crash.
    pub overlay_bytes: usize,
    /// Bytes of one file of the log; the log's beginning is forgotten in whole files. Too low: many
    /// files. Too high: a long log on disk.
    pub log_segment_bytes: u64,
}

impl Bounds {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let within = |setting, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                return Ok(value);
            }
            Err(ConfigError::bad(setting, format!("is {value}; it must be between {low} and {high}")))
        };
        let request = settings.max_request_bytes.unwrap_or(1536 * 1024);
        // A slower transfer would look like a dead one to its receiver.
        let rate = match settings.snapshot_rate_limit.unwrap_or(100 << 20) {
            0 => 0,
            rate => within("snapshot-rate-limit", rate, 64 << 10, 1 << 40)?,
        };
        let txn_ops = settings.max_txn_ops.unwrap_or(128);
        let streams = settings.max_concurrent_streams.unwrap_or(65_536);
        let connections = settings.max_connections.unwrap_or(50_000);
        let cache = settings.cache_bytes.unwrap_or(64 << 20);
        let overlay = settings.overlay_bytes.unwrap_or(16 << 20);
        let segment = settings.log_segment_bytes.unwrap_or(64 << 20);
        Ok(Self {
            catch_up_entries: within(
                "snapshot-count",
                settings.snapshot_count.unwrap_or(100_000),
                10,
                1 << 40,
            )?,
            snapshot_bytes_per_second: rate,
            reserve_disk_bytes: settings.reserve_disk_bytes.unwrap_or(256 << 20),
            request_bytes: within("max-request-bytes", request, 1024, PROPOSAL_BYTES_MAX as u64)? as usize,
            txn_ops: within("max-txn-ops", txn_ops, 1, TXN_OPS_MAX as u64)? as usize,
            streams: within("max-concurrent-streams", streams.into(), 1, u32::MAX.into())? as u32,
            connections: within("max-connections", connections, 1, 1 << 20)? as usize,
            cache_bytes: within("cache-bytes", cache, 1 << 20, 1 << 40)? as usize,
            overlay_bytes: within("overlay-bytes", overlay, 1 << 20, 1 << 34)? as usize,
            log_segment_bytes: within("log-segment-bytes", segment, 1 << 20, 1 << 30)?,
        })
    }
}

/// Which threads there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// Everything on one thread.
    Compact,
    /// Sockets on several threads, the node on one of its own.
    Spread,
}

impl Arrangement {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        match settings.runtime.as_deref().unwrap_or("auto") {
            "compact" => Ok(Self::Compact),
            "spread" => Ok(Self::Spread),
            "auto" => {
                // Handing over between threads costs more than two cores gain.
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                Ok(if cores <= 2 { Self::Compact } else { Self::Spread })
            }
            other => {
                Err(ConfigError::bad("runtime", format!("is {other:?}; it must be compact, spread or auto")))
            }
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logging {
    /// Least severe level that is written.
    pub level: slog::Level,
    /// How lines look.
    pub format: LogFormat,
}

impl Logging {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let level = match settings.log_level.as_deref().unwrap_or("info") {
            "debug" => slog::Level::Debug,
            "info" => slog::Level::Info,
            "warn" | "warning" => slog::Level::Warning,
            "error" | "panic" | "fatal" => slog::Level::Error,
            other => {
                let what = format!("is {other:?}; it must be debug, info, warn or error");
                return Err(ConfigError::bad("log-level", what));
            }
        };
        let format = match settings.log_format.as_deref().unwrap_or("text") {
            "text" | "console" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => {
                return Err(ConfigError::bad("log-format", format!("is {other:?}; it must be text or json")));
            }
        };
        Ok(Self { level, format })
    }
}
