//! The `Maintenance` service.

use super::convert::{member, outcome};
use super::door::Door;
use super::errors::{self, status};
use super::snapshots;
use crate::node::request::{Request as Ask, Write};
use oarlock_proto::v1::{self, maintenance_server::Maintenance};
use oarlock_state::{Command, Revision};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves what an operator asks of one member.
pub struct MaintenanceService {
    door: Arc<Door>,
}

impl MaintenanceService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = snapshots::Chunks;

    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let node = self.door.ask(Ask::Status).await.and_then(member::status).map_err(status)?;
        let header =
            v1::Header { revision: node.revision.get(), index: node.applied, ..v1::Header::default() };
        let identity = self.door.handle().identity();
        Ok(Response::new(v1::StatusResponse {
            header: Some(self.door.sign(header)),
            version: identity.version.to_string(),
            name: identity.name.clone(),
            uptime_ms: self.door.uptime_ms(),
            resident_bytes: resident_bytes(),
            ..member::status_response(*node)
        }))
    }

    async fn compact(
        &self,
        request: Request<v1::CompactRequest>,
    ) -> Result<Response<v1::CompactResponse>, Status> {
        let revision = match request.get_ref().revision {
            0 => self.current_revision().await.map_err(status)?,
            revision => Revision(revision),
        };
        let compact = Write::of(Command::Compact { revision });
        let header = self.door.ask(Ask::Write(compact)).await.and_then(outcome::done).map_err(status)?;
        Ok(Response::new(v1::CompactResponse { header: Some(self.door.sign(header)) }))
    }

    async fn snapshot(
        &self,
        _request: Request<v1::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let Some(source) = self.door.snapshots() else {
            let what = "this member offers no snapshots over the network; copy its data directory while it is stopped";
            return Err(status(errors::unimplemented(what)));
        };
        let version = self.door.handle().identity().version.to_string();
        Ok(Response::new(snapshots::chunks(source, version).await?))
    }
}

impl MaintenanceService {
    async fn current_revision(&self) -> Result<Revision, v1::Error> {
        let node = self.door.ask(Ask::Status).await.and_then(member::status)?;
        Ok(node.revision)
    }
}

/// Bytes of memory that the process has resident; zero where the system does not tell.
fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}
