//! Asking a member that one knows only by address who it is and who else is there.

use super::dial::dial;
use super::frame::{FRAME_BYTES_MAX, FrameError, FrameReader, GREETING_BYTES_MAX};
use super::handshake::{HandshakeError, Local, PATIENCE};
use crate::config::Url;
use oarlock_proto::internal::peer::{ProbeReply, handshake::Purpose};
use oarlock_state::NodeId;

/// Asks whoever answers at `url`.
///
/// # Errors
/// When nobody answers in time, or no member does.
pub async fn probe(local: &Local, url: &Url) -> Result<ProbeReply, HandshakeError> {
    let mut stream = dial(std::slice::from_ref(url), None).await?;
    let (read, mut write) = stream.split();
    let mut reader = FrameReader::new(read, GREETING_BYTES_MAX);
    local.greet(NodeId(0), Purpose::Probe, &mut reader, &mut write).await?;
    reader.set_limit(FRAME_BYTES_MAX);
    let silent = |_| FrameError::Silent(PATIENCE.as_millis());
    let reply = tokio::time::timeout(PATIENCE, reader.message()).await.map_err(silent)??;
    reply.ok_or(HandshakeError::Closed)
}
