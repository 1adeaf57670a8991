//! The `Maintenance` service.

use super::convert::{member, outcome};
use super::door::Door;
use super::errors::{self, status};
use crate::node::request::{Request as Ask, Write};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use oarlock_proto::v1::{self, maintenance_server::Maintenance};
use oarlock_state::{Command, Revision};
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Bytes of one chunk of a snapshot.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where the portable snapshot file comes from.
pub trait SnapshotSource: Send + Sync {
    /// Begins a snapshot of the state as it is now. May take a while; never called on an
    /// asynchronous thread.
    ///
    /// # Errors
    /// Of the disk.
    fn open(&self) -> io::Result<OpenSnapshot>;
}

/// A snapshot file to be read from its start.
pub struct OpenSnapshot {
    /// Revision of the state in it.
    pub revision: Revision,
    /// Applied index of the state in it.
    pub index: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The file.
    pub file: Box<dyn Read + Send>,
}

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
    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<v1::SnapshotChunk, Status>> + Send>>;

    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let node = self.door.ask(Ask::Status).await.and_then(member::status).map_err(status)?;
        let header = v1::Header {
            revision: node.revision.get(),
            index: node.applied,
            ..v1::Header::default()
        };
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
        let opened = tokio::task::spawn_blocking(move || source.open()).await;
        let snapshot = opened.map_err(io::Error::other).flatten().map_err(unreadable)?;
        let version = self.door.handle().identity().version;
        Ok(Response::new(chunks(snapshot, version).boxed()))
    }
}

impl MaintenanceService {
    async fn current_revision(&self) -> Result<Revision, v1::Error> {
        let node = self.door.ask(Ask::Status).await.and_then(member::status)?;
        Ok(node.revision)
    }
}

/// First what it is, then the file in chunks, each with its checksum.
fn chunks(
    snapshot: OpenSnapshot,
    version: &str,
) -> impl Stream<Item = Result<v1::SnapshotChunk, Status>> + Send + use<> {
    let info = v1::SnapshotInfo {
        revision: snapshot.revision.get(),
        index: snapshot.index,
        total_bytes: snapshot.bytes,
        version: version.to_string(),
    };
    let first = v1::SnapshotChunk { info: Some(info), ..v1::SnapshotChunk::default() };
    let rest = stream::try_unfold(snapshot.file, |file| async move {
        let read = tokio::task::spawn_blocking(move || chunk(file)).await;
        read.map_err(io::Error::other).flatten().map_err(unreadable)
    });
    stream::once(async { Ok(first) }).chain(rest)
}

type File = Box<dyn Read + Send>;

fn chunk(mut file: File) -> io::Result<Option<(v1::SnapshotChunk, File)>> {
    let mut data = Vec::with_capacity(CHUNK_BYTES);
    file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut data)?;
    if data.is_empty() {
        return Ok(None);
    }
    let crc = crc32fast::hash(&data);
    Ok(Some((v1::SnapshotChunk { info: None, data: Bytes::from(data), crc }, file)))
}

fn unreadable(error: io::Error) -> Status {
    status(errors::internal(format!("the snapshot could not be read: {error}")))
}

/// Bytes of memory that the process has resident; zero where the system does not tell.
fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_snapshot_travels_in_checked_chunks() {
        let content: Vec<u8> = (0..CHUNK_BYTES + 10).map(|n| n as u8).collect();
        let snapshot = OpenSnapshot {
            revision: Revision(7),
            index: 9,
            bytes: content.len() as u64,
            file: Box::new(io::Cursor::new(content.clone())),
        };
        let sent: Vec<_> = chunks(snapshot, "1.0").map(|chunk| chunk.expect("readable")).collect().await;
        assert_eq!(sent.len(), 3);
        assert_eq!(sent[0].info.as_ref().map(|info| info.total_bytes), Some(content.len() as u64));
        let received: Vec<u8> = sent.iter().flat_map(|chunk| chunk.data.to_vec()).collect();
        assert_eq!(received, content);
        assert!(sent[1..].iter().all(|chunk| chunk.crc == crc32fast::hash(&chunk.data)));
    }
}
