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
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let node = door.ask(Ask::Status).await.and_then(member::status).map_err(status)?;
        let header =
            v1::Header { revision: node.revision.get(), index: node.applied, ..v1::Header::default() };
        let identity = door.handle().identity();
        Ok(Response::new(v1::StatusResponse {
            header: Some(door.sign(header)),
            version: identity.version.to_string(),
            name: identity.name.clone(),
            uptime_ms: door.uptime_ms(),
            resident_bytes: resident_bytes(),
            ..member::status_response(*node)
        }))
    }

    async fn compact(
        &self,
        request: Request<v1::CompactRequest>,
    ) -> Result<Response<v1::CompactResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let revision = match request.get_ref().revision {
            0 => current_revision(&door).await.map_err(status)?,
            revision => Revision(revision),
        };
        let compact = Write::of(Command::Compact { revision });
        let header = door.ask(Ask::Write(compact)).await.and_then(outcome::done).map_err(status)?;
        Ok(Response::new(v1::CompactResponse { header: Some(door.sign(header)) }))
    }

    async fn snapshot(
        &self,
        request: Request<v1::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let door = self.door.admit(request.metadata())?;
        door.check_admin().await.map_err(status)?;
        let Some(source) = door.snapshots() else {
            let what = "this member offers no snapshots over the network; copy its data directory while it is stopped";
            return Err(status(errors::unimplemented(what)));
        };
        let version = door.handle().identity().version.to_string();
        Ok(Response::new(snapshots::chunks(source, version).await?))
    }
}

async fn current_revision(door: &Door) -> Result<Revision, v1::Error> {
    let node = door.ask(Ask::Status).await.and_then(member::status)?;
    Ok(node.revision)
}

/// Bytes of memory that the process has resident; zero where the system does not tell.
fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}
