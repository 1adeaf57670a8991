//! Every setting by name: the command line, the environment and the file share this one list. The
//! names are etcd's where etcd has the setting.

use clap::Args;
use serde::Deserialize;

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $kind:ty, $env:literal, $value:literal;)*) => {
        /// What was set, before defaults and checks. Lists are separated by commas.
        #[derive(Args, Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct Settings {
            $(
                $(#[$doc])*
                #[arg(long, env = $env, value_name = $value)]
                pub $name: Option<$kind>,
            )*
        }

        impl Settings {
            /// These settings, and those of `weaker` where these say nothing.
            pub fn over(self, weaker: Self) -> Self {
                Self { $($name: self.$name.or(weaker.$name),)* }
            }
        }
    };
}

settings! {
    /// Name of this member, as in --initial-cluster [default: default]
    name: String, "OARLOCK_NAME", "NAME";
    /// Where this member keeps its data [default: NAME.oarlock]
    data_dir: String, "OARLOCK_DATA_DIR", "DIR";
    /// Where to listen for clients [default: http://localhost:2379]
    listen_client_urls: String, "OARLOCK_LISTEN_CLIENT_URLS", "URLS";
    /// Where clients reach this member [default: the listening addresses]
    advertise_client_urls: String, "OARLOCK_ADVERTISE_CLIENT_URLS", "URLS";
    /// Where to listen for the other members [default: http://localhost:2380]
    listen_peer_urls: String, "OARLOCK_LISTEN_PEER_URLS", "URLS";
    /// Where the other members reach this one [default: the listening addresses]
    initial_advertise_peer_urls: String, "OARLOCK_INITIAL_ADVERTISE_PEER_URLS", "URLS";
    /// The members of the cluster: name=peer-url,... [default: this member alone]
    initial_cluster: String, "OARLOCK_INITIAL_CLUSTER", "NAME=URL,...";
    /// "new" to found the cluster, "existing" after `oarlock member add` [default: new]
    initial_cluster_state: String, "OARLOCK_INITIAL_CLUSTER_STATE", "STATE";
    /// Tells apart clusters whose members share addresses [default: oarlock-cluster]
    initial_cluster_token: String, "OARLOCK_INITIAL_CLUSTER_TOKEN", "TOKEN";
    /// Join the cluster that this client address belongs to; nothing else is needed
    join: String, "OARLOCK_JOIN", "URL";
    /// Milliseconds between two heartbeats of a leader [default: 100]
    heartbeat_interval: u64, "OARLOCK_HEARTBEAT_INTERVAL", "MS";
    /// Milliseconds without a leader after which a member stands for election [default: 1000]
    election_timeout: u64, "OARLOCK_ELECTION_TIMEOUT", "MS";
    /// Log entries kept for members that are behind; beyond it they get a snapshot [default: 100000]
    snapshot_count: u64, "OARLOCK_SNAPSHOT_COUNT", "ENTRIES";
    /// Bytes per second at which snapshots are sent to other members; 0 for no limit [default: 104857600]
    snapshot_rate_limit: u64, "OARLOCK_SNAPSHOT_RATE_LIMIT", "BYTES";
    /// Bytes of disk kept free: below it only what frees space is accepted [default: 268435456]
    reserve_disk_bytes: u64, "OARLOCK_RESERVE_DISK_BYTES", "BYTES";
    /// How history is compacted: off, periodic or revision [default: off, unless a retention is given]
    auto_compaction_mode: String, "OARLOCK_AUTO_COMPACTION_MODE", "MODE";
    /// What compaction keeps: a time (72h, 30m; a bare number is hours) or a number of revisions; 0 is off [default: 0]
    auto_compaction_retention: String, "OARLOCK_AUTO_COMPACTION_RETENTION", "AMOUNT";
    /// Bytes of the largest request [default: 1572864]
    max_request_bytes: u64, "OARLOCK_MAX_REQUEST_BYTES", "BYTES";
    /// Operations in one branch of a transaction of etcd's API, and comparisons; at most 1024 [default: 128]
    max_txn_ops: u64, "OARLOCK_MAX_TXN_OPS", "COUNT";
    /// How long a watch may be silent before it is told that nothing happened, if it asked for that: a time such as 5s or 10m [default: 10m]
    #[arg(alias = "experimental-watch-progress-notify-interval")]
    #[serde(alias = "experimental-watch-progress-notify-interval")]
    watch_progress_notify_interval: String, "OARLOCK_WATCH_PROGRESS_NOTIFY_INTERVAL", "TIME";
    /// Streams that one client connection may have open at once [default: 65536]
    max_concurrent_streams: u32, "OARLOCK_MAX_CONCURRENT_STREAMS", "COUNT";
    /// Client connections at once [default: 50000]
    max_connections: u64, "OARLOCK_MAX_CONNECTIONS", "COUNT";
    /// Memory for the cache of what is on disk, in bytes [default: 67108864]
    cache_bytes: u64, "OARLOCK_CACHE_BYTES", "BYTES";
    /// Memory for recent changes before they are written to disk, in bytes [default: 16777216]
    overlay_bytes: u64, "OARLOCK_OVERLAY_BYTES", "BYTES";
    /// Size of the log's files, in bytes; whole files are forgotten [default: 67108864]
    log_segment_bytes: u64, "OARLOCK_LOG_SEGMENT_BYTES", "BYTES";
    /// Threads: compact (all on one), spread, or auto (compact on up to two cores) [default: auto]
    runtime: String, "OARLOCK_RUNTIME", "KIND";
    /// Least severe log lines to write: debug, info, warn or error [default: info]
    log_level: String, "OARLOCK_LOG_LEVEL", "LEVEL";
    /// How log lines look: text or json [default: text]
    log_format: String, "OARLOCK_LOG_FORMAT", "FORMAT";
    /// Metrics to serve: basic or extensive; taken for etcd's sake, all are served [default: extensive]
    metrics: String, "OARLOCK_METRICS", "KIND";
    /// The release of etcd that clients of its API are told they speak to [default: 3.6.14]
    emulated_etcd_version: String, "OARLOCK_EMULATED_ETCD_VERSION", "VERSION";
    /// Bytes of state above which only what frees space is accepted; 0 for no such limit [default: 0]
    quota_backend_bytes: i64, "OARLOCK_QUOTA_BACKEND_BYTES", "BYTES";
    /// What clients get for their password: simple, or jwt,sign-method=...,pub-key=...,priv-key=...,ttl=... [default: simple]
    auth_token: String, "OARLOCK_AUTH_TOKEN", "KIND";
    /// Seconds without use after which a simple token ends [default: 300]
    auth_token_ttl: u64, "OARLOCK_AUTH_TOKEN_TTL", "SECONDS";
    /// How much work hashing a password is, from 4 to 31; each step doubles it [default: 10]
    bcrypt_cost: u32, "OARLOCK_BCRYPT_COST", "COST";
    /// Where to answer DNS for services, on UDP and TCP [default: nowhere]
    dns_listen: String, "OARLOCK_DNS_LISTEN", "HOST:PORT,...";
    /// The domain that DNS answers for [default: oarlock.]
    dns_domain: String, "OARLOCK_DNS_DOMAIN", "DOMAIN";
    /// How long answers of DNS may be kept [default: 5s]
    dns_ttl: String, "OARLOCK_DNS_TTL", "TIME";
    /// Instances of this zone come first in answers of DNS [default: no zone]
    dns_zone: String, "OARLOCK_DNS_ZONE", "ZONE";
    /// Records in one answer of DNS, at most [default: 32]
    dns_max_answers: u32, "OARLOCK_DNS_MAX_ANSWERS", "COUNT";
    /// When less than so many of a hundred instances are usable, DNS gives all; 0 for never [default: 0]
    dns_panic_threshold: u32, "OARLOCK_DNS_PANIC_THRESHOLD", "PERCENT";
    /// Answer DNS, whose clients show no token, although authentication is on [default: false]
    dns_anonymous: bool, "OARLOCK_DNS_ANONYMOUS", "true|false";
    /// Taken for etcd's sake and without effect: there is one logger
    logger: String, "OARLOCK_LOGGER", "NAME";
    /// Taken for etcd's sake and without effect: lines go to standard error
    log_outputs: String, "OARLOCK_LOG_OUTPUTS", "OUTPUTS";
}

impl Settings {
    /// Names of settings that were given and change nothing here.
    pub fn without_effect(&self) -> Vec<&'static str> {
        let given = [
            (self.logger.is_some(), "logger"),
            (self.log_outputs.is_some(), "log-outputs"),
            (self.metrics.is_some(), "metrics"),
        ];
        given.into_iter().filter(|(given, _)| *given).map(|(_, name)| name).collect()
    }
}
