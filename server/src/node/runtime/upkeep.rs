//! What a node does for itself from time to time, by the same way in as everybody else.

use crate::node::handle::Handle;
use crate::node::io::Input;
use crate::node::request::{Request, Response, Write};
use crate::observe::metrics::Metrics;
use oarlock_state::{Caller, Command};
use slog::{Logger, info};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const STATUS_EVERY: Duration = Duration::from_secs(1);
const DISK_EVERY: Duration = Duration::from_secs(2);
const PUBLISH_PAUSE: Duration = Duration::from_millis(500);

/// Keeps [`Handle::status_now`] fresh.
pub(super) async fn watch_status(handle: Handle) {
    loop {
        if let Ok(Response::Status(status)) = handle.call_as(&Caller::Server, Request::Status).await {
            let bytes = status.state_bytes + status.overlay_bytes;
            handle.mailbox().put_own(Input::StateBytes(bytes));
            handle.publish_status(*status);
        }
        tokio::time::sleep(STATUS_EVERY).await;
    }
}

/// Tells the core how much disk is left.
pub(super) async fn watch_disk(handle: Handle, metrics: Metrics, data_dir: PathBuf) {
    loop {
        // A file system that does not say is taken to have room; running out is noticed anyway.
        if let Ok(left) = fs4::available_space(&data_dir) {
            metrics.disk_left.store(left, Relaxed);
            handle.mailbox().put_own(Input::DiskSpace { left });
        }
        tokio::time::sleep(DISK_EVERY).await;
    }
}

/// Tells the cluster this member's name, client addresses and version, once, as soon as it can.
pub(super) async fn publish(handle: Handle, client_urls: Vec<String>, logger: Logger) {
    let identity = handle.identity().clone();
    loop {
        let status = handle.status_now();
        let known = status.members.iter().find(|member| member.node == identity.node);
        let is_current = known.is_some_and(|member| {
            (&member.name, &*member.version, &member.client_urls)
                == (&identity.name, identity.version, &client_urls)
        });
        if is_current {
            return;
        }
        // A newcomer finds itself among the members once it has caught up.
        if known.is_some() && handle.is_ready() {
            let command = Command::PublishMember {
                node: identity.node,
                name: identity.name.clone(),
                client_urls: client_urls.clone(),
                version: identity.version.to_owned(),
            };
            if handle.call_as(&Caller::Server, Request::Write(Write::of(command))).await.is_ok() {
                info!(logger, "published"; "client_urls" => client_urls.join(","));
                return;
            }
        }
        tokio::time::sleep(PUBLISH_PAUSE).await;
    }
}
