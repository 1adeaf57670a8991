//! Sending a snapshot: manifest, then chunks from where the receiver wants them, and an honest word
//! to consensus about what became of it.

use super::dial::dial;
use super::frame::{FrameError, FrameReader, GREETING_BYTES_MAX, put_message};
use super::handshake::HandshakeError;
use super::throttle::Throttle;
use super::transport::Shared;
use crate::config::Url;
use crate::storage::snapshot::{Chunk, Position, SnapshotReader, TransferError};
use bytes::{Bytes, BytesMut};
use oarlock_proto::internal::peer::snapshot_frame::{Body, Chunk as ChunkFrame, Progress};
use oarlock_proto::internal::peer::{SnapshotFrame, SnapshotManifest, handshake::Purpose, snapshot_manifest};
use oarlock_state::NodeId;
use slog::{Logger, info, warn};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// Bytes of file in one frame: small enough that a message never waits long behind it on the wire.
const CHUNK_BYTES: usize = 256 << 10;
/// Attempts, each resuming where the one before broke off.
const ATTEMPTS: u32 = 5;
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);
/// How long one chunk, or the receiver's check of the whole, may take.
pub(super) const STEP_TIME: Duration = Duration::from_secs(60);

/// A snapshot was not delivered.
#[derive(Debug, Error)]
enum SendError {
    #[error(transparent)]
    Connection(#[from] HandshakeError),
    #[error("receiver refuses: {0}")]
    Refused(String),
    #[error("receiver is silent for {} s", STEP_TIME.as_secs())]
    Silent,
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

impl From<FrameError> for SendError {
    fn from(error: FrameError) -> Self {
        Self::Connection(error.into())
    }
}

impl From<std::io::Error> for SendError {
    fn from(error: std::io::Error) -> Self {
        Self::Connection(error.into())
    }
}

/// One snapshot for one peer.
pub(super) struct Delivery {
    pub(super) shared: Arc<Shared>,
    pub(super) to: NodeId,
    pub(super) urls: Vec<Url>,
    pub(super) index: u64,
    pub(super) message: Bytes,
    pub(super) logger: Logger,
}

impl Delivery {
    /// Sends it, trying again from where it broke off, and reports the outcome.
    pub(super) async fn run(self) {
        let mut delivered = false;
        for attempt in 1..=ATTEMPTS {
            match self.attempt().await {
                Ok(bytes) => {
                    info!(self.logger, "snapshot delivered"; "index" => self.index, "bytes" => bytes);
                    delivered = true;
                    break;
                }
                Err(SendError::Transfer(TransferError::Storage(error))) => self.shared.inbox.failed(&error),
                Err(error) => {
                    warn!(self.logger, "snapshot not delivered"; "index" => self.index,
                        "attempt" => attempt, "of" => ATTEMPTS, "error" => %error);
                    if matches!(error, SendError::Transfer(_)) {
                        break;
                    }
                }
            }
            tokio::time::sleep(ATTEMPT_PAUSE).await;
        }
        let outcomes = &self.shared.traffic;
        let counter = if delivered { &outcomes.snapshots_sent } else { &outcomes.snapshots_failed };
        counter.fetch_add(1, Relaxed);
        self.shared.inbox.snapshot_sent(self.to, delivered);
    }

    /// One connection's worth. Returns the bytes of files that were sent on it.
    async fn attempt(&self) -> Result<u64, SendError> {
        let snapshots = self.shared.snapshots.clone();
        let index = self.index;
        let reader = self.shared.tasks.blocking(move || snapshots.reader(index)).await?;
        let reader = Arc::new(reader);
        let mut stream = dial(&self.urls, self.shared.source).await?;
        let (read, mut write) = stream.split();
        let mut answers = FrameReader::new(read, GREETING_BYTES_MAX);
        self.shared.local.greet(self.to, Purpose::Snapshot, &mut answers, &mut write).await?;
        Outflow { shared: &self.shared, reader, message: self.message.clone() }
            .run(&mut answers, &mut write)
            .await
    }
}

/// Sends a fresh snapshot to a member that asked for one on this connection.
pub(super) async fn serve(
    shared: &Shared,
    answers: &mut FrameReader<ReadHalf<'_>>,
    write: &mut WriteHalf<'_>,
    logger: &Logger,
) -> Result<(), FrameError> {
    let inbox = shared.inbox.clone();
    let taken = shared.tasks.blocking(move || inbox.snapshot()).await;
    let outcome = match taken {
        Ok(reader) => {
            let index = reader.manifest().meta.index;
            info!(logger, "sending a snapshot to a member that asked for one"; "index" => index);
            Outflow { shared, reader: Arc::new(reader), message: Bytes::new() }.run(answers, write).await
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(_) => Ok(()),
        Err(SendError::Transfer(TransferError::Storage(error))) => shared.inbox.failed(&error),
        Err(error) => {
            warn!(logger, "snapshot that was asked for not delivered"; "error" => %error);
            Ok(())
        }
    }
}

/// One snapshot on one connection.
struct Outflow<'a> {
    shared: &'a Shared,
    reader: Arc<SnapshotReader>,
    /// For the receiver's consensus; empty if it installs the snapshot before that starts.
    message: Bytes,
}

impl Outflow<'_> {
    /// Manifest, then chunks from where the receiver wants them. Returns the bytes of files sent.
    async fn run(
        &self,
        answers: &mut FrameReader<ReadHalf<'_>>,
        write: &mut WriteHalf<'_>,
    ) -> Result<u64, SendError> {
        let manifest = SnapshotFrame { body: Some(Body::Manifest(self.manifest())) };
        send(write, &manifest).await?;
        let mut sent = 0;
        let mut throttle = Throttle::new(self.shared.options.snapshot_bytes_per_second);
        let mut progress = hear(answers).await?;
        if !progress.complete {
            let from = Position { file: progress.file, offset: progress.offset };
            sent = self.stream_files(from, write, &mut throttle).await?;
            progress = hear(answers).await?;
        }
        if progress.complete { Ok(sent) } else { Err(SendError::Refused("it is not complete".into())) }
    }

    async fn stream_files(
        &self,
        mut position: Position,
        write: &mut WriteHalf<'_>,
        throttle: &mut Throttle,
    ) -> Result<u64, SendError> {
        let reader = &self.reader;
        let mut sent = 0;
        while let Some(size) = reader.manifest().files.get(position.file as usize).map(|file| file.size) {
            if position.offset >= size {
                position = Position { file: position.file + 1, offset: 0 };
                continue;
            }
            let source = reader.clone();
            let chunk: Chunk =
                self.shared.tasks.blocking(move || source.chunk(position, CHUNK_BYTES)).await?;
            throttle.admit(chunk.data.len()).await;
            let length = chunk.data.len() as u64;
            let body = ChunkFrame {
                file: position.file,
                offset: position.offset,
                data: chunk.data.into(),
                crc: chunk.crc,
            };
            send(write, &SnapshotFrame { body: Some(Body::Chunk(body)) }).await?;
            self.shared.traffic.snapshot_bytes.fetch_add(length, Relaxed);
            position.offset += length;
            sent += length;
        }
        Ok(sent)
    }

    fn manifest(&self) -> SnapshotManifest {
        let manifest = self.reader.manifest();
        let files = manifest.files.iter().map(|file| snapshot_manifest::FileEntry {
            name: file.name.clone(),
            size: file.size,
            crc: file.crc,
        });
        SnapshotManifest {
            index: manifest.meta.index,
            term: manifest.meta.term,
            conf_state: manifest.meta.conf_state.clone().into(),
            cluster_id: manifest.meta.cluster_id,
            files: files.collect(),
            raft_message: self.message.clone(),
        }
    }
}

async fn send(write: &mut WriteHalf<'_>, frame: &SnapshotFrame) -> Result<(), SendError> {
    let mut out = BytesMut::new();
    put_message(&mut out, frame);
    let written = tokio::time::timeout(STEP_TIME, write.write_all(&out)).await;
    Ok(written.map_err(|_| SendError::Silent)??)
}

async fn hear(answers: &mut FrameReader<ReadHalf<'_>>) -> Result<Progress, SendError> {
    let frame = tokio::time::timeout(STEP_TIME, answers.message::<SnapshotFrame>()).await;
    match frame.map_err(|_| SendError::Silent)?? {
        Some(SnapshotFrame { body: Some(Body::Progress(progress)) }) if progress.refused.is_empty() => {
            Ok(progress)
        }
        Some(SnapshotFrame { body: Some(Body::Progress(progress)) }) => {
            Err(SendError::Refused(progress.refused))
        }
        Some(_) => Err(SendError::Refused("it answers with something else than its progress".into())),
        None => Err(HandshakeError::Closed.into()),
    }
}
