//! Asking a member for a snapshot, by one whose own state is damaged and which does not run yet.

use super::dial::dial;
use super::frame::{FRAME_BYTES_MAX, FrameReader, GREETING_BYTES_MAX};
use super::handshake::{HandshakeError, Local};
use super::snapshot_receive::{Inflow, answer, next, refuse};
use crate::config::Url;
use crate::storage::snapshot::{Manifest, SnapshotStore, TransferError};
use crate::tasks::Tasks;
use oarlock_proto::internal::peer::handshake::Purpose;
use oarlock_proto::internal::peer::snapshot_frame::{Body, Progress};
use oarlock_state::NodeId;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use thiserror::Error;

/// No snapshot came.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Of the connection.
    #[error(transparent)]
    Connection(#[from] HandshakeError),
    /// Of the snapshot.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// It would not help.
    #[error("its state is at entry {index}, and entry {least} is needed")]
    TooOld {
        /// What it has.
        index: u64,
        /// What is needed.
        least: u64,
    },
}

/// Has the member at `urls` take a snapshot, and stages it. One that is older than entry `least` is
/// refused.
///
/// # Errors
/// See [`FetchError`]; what had arrived is kept and resumed.
pub async fn fetch(
    local: &Local,
    member: NodeId,
    urls: &[Url],
    least: u64,
    snapshots: &Arc<SnapshotStore>,
    tasks: &Tasks,
) -> Result<Manifest, FetchError> {
    let mut stream = dial(urls, None).await.map_err(HandshakeError::from)?;
    let (read, mut write) = stream.split();
    let mut reader = FrameReader::new(read, GREETING_BYTES_MAX);
    local.greet(member, Purpose::Fetch, &mut reader, &mut write).await?;
    reader.set_limit(FRAME_BYTES_MAX);
    let Some(Body::Manifest(manifest)) = next(&mut reader).await.map_err(HandshakeError::from)? else {
        return Err(HandshakeError::Closed.into());
    };
    let index = manifest.index;
    if index < least {
        let error = FetchError::TooOld { index, least };
        refuse(&mut write, error.to_string()).await.map_err(HandshakeError::from)?;
        return Err(error);
    }
    let inflow = Inflow { snapshots, tasks, received: &AtomicU64::new(0) };
    let manifest = inflow.run(manifest, &mut reader, &mut write).await.map_err(HandshakeError::from)??;
    let complete = Progress { complete: true, ..Progress::default() };
    answer(&mut write, complete).await.map_err(HandshakeError::from)?;
    Ok(manifest)
}
