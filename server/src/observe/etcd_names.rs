//! The metrics under etcd's names, for dashboards and alerts that were written for etcd.
//!
//! Only what is really measured here is shown, with the meaning that it has there. Figures that etcd
//! keeps per member or per call, and that are kept here in total, have no labels.

use super::metrics::{Metrics, Observed, counter, gauge};
use super::process::Usage;
use crate::config::Emulation;
use crate::node::request::Role;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

/// All of them.
pub(super) fn registry(metrics: &Metrics, observed: Observed, emulation: Emulation) -> Registry {
    let mut registry = Registry::default();
    let changes = metrics.leader_changes.clone();
    registry.register("etcd_server_leader_changes_seen", "Changes of leader seen", changes);
    let bytes = metrics.client_bytes.clone();
    let received = "Bytes read from clients, with what HTTP adds";
    registry.register("etcd_network_client_grpc_received_bytes", received, bytes.received);
    let sent = "Bytes written to clients, with what HTTP adds";
    registry.register("etcd_network_client_grpc_sent_bytes", sent, bytes.sent);
    let syncs = metrics.sync_seconds.clone();
    registry.register("etcd_disk_wal_fsync_duration_seconds", "Seconds per sync of the log", syncs);
    let flushes = metrics.flush_seconds.clone();
    registry.register("etcd_disk_backend_commit_duration_seconds", "Seconds per flush of the state", flushes);
    registry.register_collector(Box::new(EtcdNames { observed, emulation }));
    registry
}

/// What is read when somebody asks.
#[derive(Debug)]
struct EtcdNames {
    observed: Observed,
    emulation: Emulation,
}

impl Collector for EtcdNames {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.encode_status(&mut encoder)?;
        self.encode_versions(&mut encoder)?;
        self.encode_traffic(&mut encoder)?;
        let usage = Usage::now();
        gauge(&mut encoder, "process_resident_memory_bytes", "Resident memory", usage.resident_bytes)?;
        gauge(&mut encoder, "process_open_fds", "Open file descriptors", usage.open_files)?;
        counter(&mut encoder, "process_cpu_seconds", "Processor time used", usage.cpu_seconds)
    }
}

impl EtcdNames {
    fn encode_status(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let status = self.observed.handle.status_now();
        let bytes = status.state_bytes + status.overlay_bytes;
        for (name, help, value) in [
            ("etcd_server_has_leader", "1 if a leader is known", u64::from(status.leader.get() != 0)),
            ("etcd_server_is_leader", "1 if this member leads", u64::from(status.role == Role::Leader)),
            (
                "etcd_server_is_learner",
                "1 if this member has no vote",
                u64::from(status.role == Role::Learner),
            ),
            ("etcd_mvcc_db_total_size_in_bytes", "Bytes of the state", bytes),
            ("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of the state", bytes),
            ("etcd_debugging_mvcc_current_revision", "Current revision", status.revision.get()),
            ("etcd_debugging_mvcc_compact_revision", "Compacted revision", status.compacted.get()),
            ("etcd_debugging_mvcc_watcher_total", "Watches on this member", status.watches),
        ] {
            gauge(encoder, name, help, value)?;
        }
        if let Some(quota) = self.emulation.quota_bytes {
            gauge(encoder, "etcd_server_quota_backend_bytes", "Bytes that the state may have", quota)?;
        }
        counter(encoder, "etcd_server_proposals_committed", "Log entries committed", status.committed)?;
        counter(encoder, "etcd_server_proposals_applied", "Log entries applied", status.applied)
    }

    fn encode_versions(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let version = self.emulation.version;
        let node = format!("{:x}", self.observed.handle.identity().node.get());
        for (name, help, label, value) in [
            (
                "etcd_server_version",
                "The release that clients are told",
                "server_version",
                version.to_string(),
            ),
            (
                "etcd_cluster_version",
                "The release of the cluster that clients are told",
                "cluster_version",
                format!("{}.{}", version.major, version.minor),
            ),
            ("etcd_server_id", "Id of this member", "server_id", node),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            let one = ConstGauge::new(1_i64);
            one.encode(metric.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }

    fn encode_traffic(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let traffic = &*self.observed.traffic;
        let (sent, received) = (traffic.sent_bytes.load(Relaxed), traffic.received_bytes.load(Relaxed));
        counter(encoder, "etcd_network_peer_sent_bytes", "Bytes sent to members", sent)?;
        counter(encoder, "etcd_network_peer_received_bytes", "Bytes received from members", received)
    }
}
