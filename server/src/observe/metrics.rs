//! Every metric's name, in one list. Counters that the hot path moves are moved there; everything
//! else is read when somebody asks.

use super::counted::ClientBytes;
use super::discovery::DiscoveryCounts;
use super::etcd_names;
use super::process::Usage;
use crate::config::Emulation;
use crate::node::handle::Handle;
use crate::node::request::Role;
use crate::peer::transport::Traffic;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the node's own code counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Requests taken in, of every kind.
    pub requests: Counter,
    /// Writes among them.
    pub writes: Counter,
    /// Reads among them.
    pub reads: Counter,
    /// Replies given.
    pub replies: Counter,
    /// Replies that are refusals.
    pub refusals: Counter,
    /// Watch frames handed to connections.
    pub watch_frames: Counter,
    /// Changes of leader that this member saw.
    pub leader_changes: Counter,
    /// Rounds of the node.
    pub rounds: Counter,
    /// Requests and peer messages that one round gathered.
    pub round_inputs: Histogram,
    /// Seconds that one sync of the log took.
    pub sync_seconds: Histogram,
    /// Seconds that one flush of the state took.
    pub flush_seconds: Histogram,
    /// Bytes of client connections.
    pub client_bytes: ClientBytes,
    /// Bytes of disk left; set from time to time.
    pub disk_left: Arc<AtomicU64>,
    /// What service discovery counts.
    pub discovery: DiscoveryCounts,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Counter::default(),
            writes: Counter::default(),
            reads: Counter::default(),
            replies: Counter::default(),
            refusals: Counter::default(),
            watch_frames: Counter::default(),
            leader_changes: Counter::default(),
            rounds: Counter::default(),
            round_inputs: Histogram::new(exponential_buckets(1.0, 4.0, 9)),
            sync_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            flush_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            client_bytes: ClientBytes::default(),
            disk_left: Arc::default(),
            discovery: DiscoveryCounts::default(),
        }
    }
}

/// What `/metrics` serves.
pub struct Exposition {
    registry: Registry,
    /// The same under etcd's names.
    etcd: Registry,
}

impl Exposition {
    /// All metrics of this node.
    pub fn new(metrics: &Metrics, handle: Handle, traffic: Arc<Traffic>, emulation: Emulation) -> Self {
        let mut registry = Registry::with_prefix("oarlock");
        let mut counters = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counters("requests", "Requests taken in", &metrics.requests);
        counters("proposals", "Writes taken in, to be proposed", &metrics.writes);
        counters("reads", "Reads taken in", &metrics.reads);
        counters("replies", "Replies given", &metrics.replies);
        counters("refusals", "Replies that say no", &metrics.refusals);
        counters("watch_frames", "Watch frames handed to connections", &metrics.watch_frames);
        counters("leader_changes", "Changes of leader seen", &metrics.leader_changes);
        counters("rounds", "Rounds of the node", &metrics.rounds);
        counters("client_received_bytes", "Bytes read from clients", &metrics.client_bytes.received);
        counters("client_sent_bytes", "Bytes written to clients", &metrics.client_bytes.sent);
        let inputs = metrics.round_inputs.clone();
        registry.register("round_batch_size", "Requests and messages gathered by one round", inputs);
        let seconds = metrics.sync_seconds.clone();
        registry.register("fsync_duration_seconds", "Seconds per sync of the log", seconds);
        let seconds = metrics.flush_seconds.clone();
        registry.register("flush_duration_seconds", "Seconds per flush of the state", seconds);
        metrics.discovery.register(&mut registry);
        let observed = Observed { handle, traffic, disk_left: metrics.disk_left.clone() };
        registry.register_collector(Box::new(observed.clone()));
        Self { registry, etcd: etcd_names::registry(metrics, observed, emulation) }
    }

    /// In the text format of OpenMetrics.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &self.etcd)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

/// What is read when somebody asks.
#[derive(Clone)]
pub(super) struct Observed {
    pub(super) handle: Handle,
    pub(super) traffic: Arc<Traffic>,
    disk_left: Arc<AtomicU64>,
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").finish_non_exhaustive()
    }
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.encode_status(&mut encoder)?;
        self.encode_traffic(&mut encoder)?;
        self.encode_process(&mut encoder)
    }
}

impl Observed {
    fn encode_status(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let status = self.handle.status_now();
        let leads = u64::from(status.role == Role::Leader);
        let led = u64::from(status.leader.get() != 0);
        for (name, help, value) in [
            ("is_leader", "1 if this member leads", leads),
            ("has_leader", "1 if a leader is known", led),
            ("term", "Current term", status.term),
            ("committed_index", "Highest index known to be committed", status.committed),
            ("applied_index", "Highest index applied", status.applied),
            ("durable_index", "Highest index whose effects need no log", status.durable),
            ("first_index", "First index in the log", status.first),
            ("last_index", "Last index in the log", status.last),
            ("revision", "Current revision", status.revision.get()),
            ("compacted_revision", "Compacted revision", status.compacted.get()),
            ("sessions", "Live sessions", status.sessions),
            ("watches", "Watches on this member", status.watches),
            ("state_bytes", "Bytes of the state on disk", status.state_bytes),
            ("log_bytes", "Bytes of the log on disk", status.log_bytes),
            ("overlay_bytes", "Bytes of changes not yet written to the state", status.overlay_bytes),
            ("members", "Members of the cluster", status.members.len() as u64),
            ("disk_left_bytes", "Bytes of disk left", self.disk_left.load(Relaxed)),
        ] {
            gauge(encoder, name, help, value)?;
        }
        Ok(())
    }

    fn encode_traffic(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let turned = self.handle.mailbox().turned();
        let traffic = &*self.traffic;
        for (name, help, value) in [
            ("mailbox_rejections", "Requests refused because the mailbox was full", &turned.requests),
            ("mailbox_peer_drops", "Messages of members dropped because the mailbox was full", &turned.peers),
            ("peer_sent_messages", "Messages sent to members", &traffic.sent),
            ("peer_sent_bytes", "Bytes of messages sent to members", &traffic.sent_bytes),
            ("peer_received_bytes", "Bytes received from members", &traffic.received_bytes),
            ("peer_dropped_messages", "Messages to members dropped before sending", &traffic.dropped),
            ("snapshots_sent", "Snapshots delivered to members", &traffic.snapshots_sent),
            ("snapshots_failed", "Snapshots given up", &traffic.snapshots_failed),
            ("snapshots_received", "Snapshots received whole", &traffic.snapshots_received),
            ("snapshot_sent_bytes", "Bytes of snapshots sent", &traffic.snapshot_bytes),
        ] {
            counter(encoder, name, help, value.load(Relaxed))?;
        }
        Ok(())
    }

    fn encode_process(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let usage = Usage::now();
        gauge(encoder, "process_resident_memory_bytes", "Resident memory", usage.resident_bytes)?;
        gauge(encoder, "process_open_fds", "Open file descriptors", usage.open_files)?;
        gauge(encoder, "process_threads", "Threads", usage.threads)?;
        counter(encoder, "process_cpu_seconds", "Processor time used", usage.cpu_seconds)
    }
}

pub(super) fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: u64) -> fmt::Result {
    // Above 2^63 only for "unlimited", which a gauge shows as its largest number.
    let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    metric.encode(encoder.encode_descriptor(name, help, None, metric_type(&metric))?)
}

/// Its name ends in `_total` when it is shown.
pub(super) fn counter<N: EncodeCounterValue + Copy + fmt::Debug>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    value: N,
) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric_type(&metric))?)
}

fn metric_type(metric: &impl EncodeMetric) -> prometheus_client::metrics::MetricType {
    metric.metric_type()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::handle::Identity;
    use crate::node::mailbox::MailboxLimits;

    #[test]
    fn what_dashboards_for_etcd_look_for_is_there() {
        let metrics = Metrics::default();
        metrics.leader_changes.inc();
        let handle = Handle::new(Identity::default(), MailboxLimits::default());
        let emulation = Emulation { quota_bytes: Some(77), ..Emulation::default() };
        let text = Exposition::new(&metrics, handle, Arc::default(), emulation).text().expect("text");
        for line in [
            "etcd_server_has_leader 0",
            "etcd_server_leader_changes_seen_total 1",
            "etcd_server_proposals_committed_total 0",
            "etcd_server_proposals_applied_total 0",
            "etcd_disk_wal_fsync_duration_seconds_count 0",
            "etcd_disk_backend_commit_duration_seconds_count 0",
            "etcd_mvcc_db_total_size_in_bytes 0",
            "etcd_server_quota_backend_bytes 77",
            "etcd_network_peer_sent_bytes_total 0",
            "etcd_server_version{server_version=\"3.6.14\"} 1",
            "process_resident_memory_bytes ",
        ] {
            assert!(text.contains(&format!("\n{line}")), "{line} is not in {text}");
        }
    }

    #[test]
    fn every_metric_is_named_after_the_program() {
        let metrics = Metrics::default();
        metrics.writes.inc_by(3);
        metrics.sync_seconds.observe(0.001);
        let handle = Handle::new(Identity::default(), MailboxLimits::default());
        let text =
            Exposition::new(&metrics, handle, Arc::default(), Emulation::default()).text().expect("text");
        assert!(text.contains("oarlock_proposals_total 3"), "{text}");
        assert!(text.contains("oarlock_fsync_duration_seconds_count 1"));
        assert!(text.contains("oarlock_applied_index 0"));
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let is_known =
            |line: &str| ["oarlock_", "etcd_", "process_"].iter().any(|name| line.starts_with(name));
        assert!(samples.clone().count() > 60 && samples.clone().all(is_known));
        let mut names: Vec<&str> = samples.filter(|line| !line.contains("_bucket")).collect();
        names.iter_mut().for_each(|line| *line = line.split([' ', '{']).next().unwrap_or_default());
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name is given twice: {names:?}");
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
