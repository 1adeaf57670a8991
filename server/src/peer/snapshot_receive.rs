//! Receiving a snapshot: files are staged and verified, then consensus hears of it.

use super::frame::{FrameError, FrameReader, put_message};
use super::snapshot_send::STEP_TIME;
use super::transport::Shared;
use crate::storage::records::StateMeta;
use crate::storage::snapshot::{Manifest, Position, Receiver, SnapshotFile, SnapshotStore, TransferError};
use crate::tasks::Tasks;
use bytes::{Bytes, BytesMut};
use oarlock_proto::internal::peer::snapshot_frame::{Body, Chunk, Progress};
use oarlock_proto::internal::peer::{SnapshotFrame, SnapshotManifest};
use slog::{Logger, info, warn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// Receives one snapshot on this connection. What arrives is kept when the connection breaks, and
/// the next one resumes.
pub(super) async fn run(
    shared: &Shared,
    reader: &mut FrameReader<ReadHalf<'_>>,
    write: &mut WriteHalf<'_>,
    logger: &Logger,
) -> Result<(), FrameError> {
    // Two at once would write into each other's files. A sender tries again.
    let Ok(_alone) = shared.receiving.try_lock() else {
        return refuse(write, "another snapshot is being received".into()).await;
    };
    let Some(Body::Manifest(manifest)) = next(reader).await? else {
        return refuse(write, "a snapshot begins with its manifest".into()).await;
    };
    let message = manifest.raft_message.clone();
    let (index, term) = (manifest.index, manifest.term);
    info!(logger, "receiving a snapshot"; "index" => index, "files" => manifest.files.len());
    let inflow = Inflow {
        snapshots: &shared.snapshots,
        tasks: &shared.tasks,
        received: &shared.traffic.received_bytes,
    };
    match inflow.run(manifest, reader, write).await? {
        Ok(_) => {
            info!(logger, "snapshot received and verified"; "index" => index);
            hand_over(shared, index, term, message);
            let complete = Progress { complete: true, ..Progress::default() };
            answer(write, complete).await
        }
        Err(TransferError::Storage(error)) => shared.inbox.failed(&error),
        Err(error) => {
            warn!(logger, "snapshot not received"; "index" => index, "error" => %error);
            refuse(write, error.to_string()).await
        }
    }
}

fn hand_over(shared: &Shared, index: u64, term: u64, message: Bytes) {
    shared.traffic.snapshots_received.fetch_add(1, Relaxed);
    shared.inbox.snapshot_staged(index, term, message);
}

/// One snapshot on one connection, into its staging place.
pub(super) struct Inflow<'a> {
    pub(super) snapshots: &'a Arc<SnapshotStore>,
    pub(super) tasks: &'a Tasks,
    /// Counts bytes.
    pub(super) received: &'a AtomicU64,
}

impl Inflow<'_> {
    /// Stages what the manifest names. The inner result is about the snapshot, the outer one about
    /// the connection.
    pub(super) async fn run(
        &self,
        manifest: SnapshotManifest,
        reader: &mut FrameReader<ReadHalf<'_>>,
        write: &mut WriteHalf<'_>,
    ) -> Result<Result<Manifest, TransferError>, FrameError> {
        let snapshots = self.snapshots.clone();
        let manifest = manifest_of(manifest);
        let begun = self.tasks.blocking(move || snapshots.begin(manifest)).await;
        let mut receiver = match begun {
            Ok(receiver) => receiver,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(Position { file, offset }) = receiver.position() {
            answer(write, Progress { file, offset, ..Progress::default() }).await?;
        }
        while receiver.position().is_some() {
            let Some(Body::Chunk(chunk)) = next(reader).await? else {
                return Ok(Err(TransferError::Refused("it ended before its last chunk".into())));
            };
            self.received.fetch_add(chunk.data.len() as u64, Relaxed);
            receiver = match self.tasks.blocking(move || store(receiver, &chunk)).await {
                Ok(receiver) => receiver,
                Err(error) => return Ok(Err(error)),
            };
        }
        Ok(self.tasks.blocking(move || receiver.finish()).await)
    }
}

fn store(mut receiver: Receiver, chunk: &Chunk) -> Result<Receiver, TransferError> {
    let position = Position { file: chunk.file, offset: chunk.offset };
    receiver.write_chunk(position, &chunk.data, chunk.crc)?;
    Ok(receiver)
}

fn manifest_of(manifest: SnapshotManifest) -> Manifest {
    let files = manifest.files.into_iter();
    Manifest {
        meta: StateMeta {
            index: manifest.index,
            term: manifest.term,
            conf_state: manifest.conf_state.to_vec(),
            cluster_id: manifest.cluster_id,
        },
        files: files.map(|file| SnapshotFile { name: file.name, size: file.size, crc: file.crc }).collect(),
    }
}

pub(super) async fn next(reader: &mut FrameReader<ReadHalf<'_>>) -> Result<Option<Body>, FrameError> {
    // A sender that vanished must not keep the next one out.
    let silent = |_| FrameError::Silent(STEP_TIME.as_millis());
    let frame =
        tokio::time::timeout(STEP_TIME, reader.message::<SnapshotFrame>()).await.map_err(silent)??;
    Ok(frame.and_then(|frame| frame.body))
}

pub(super) async fn refuse(write: &mut WriteHalf<'_>, refused: String) -> Result<(), FrameError> {
    answer(write, Progress { refused, ..Progress::default() }).await
}

pub(super) async fn answer(write: &mut WriteHalf<'_>, progress: Progress) -> Result<(), FrameError> {
    let mut out = BytesMut::new();
    put_message(&mut out, &SnapshotFrame { body: Some(Body::Progress(progress)) });
    Ok(write.write_all(&out).await?)
}
