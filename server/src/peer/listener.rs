//! Connections that other members open.

use super::dial::prepare;
use super::frame::{FRAME_BYTES_MAX, FrameError, FrameReader, GREETING_BYTES_MAX, envelopes, put_message};
use super::handshake::HandshakeError;
use super::outgoing::REMOVED;
use super::transport::Shared;
use bytes::BytesMut;
use oarlock_proto::internal::peer::{ProbeReply, handshake::Purpose};
use oarlock_state::NodeId;
use slog::{Logger, debug, info, o, warn};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at once: two per member, and room for strangers that hear why they are refused.
const CONNECTIONS_MAX: usize = 256;
/// Pause after the system refused to accept, as it does when it runs out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until its task ends.
pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener, logger: Logger) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, address)) => {
                let logger = logger.new(o!("address" => address.to_string()));
                let shared_here = shared.clone();
                shared.tasks.spawn(async move {
                    serve(shared_here, stream, logger).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(logger, "cannot accept a peer's connection"; "error" => %error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(shared: Arc<Shared>, mut stream: TcpStream, logger: Logger) {
    if let Err(error) = prepare(&stream) {
        debug!(logger, "connection was gone at once"; "error" => %error);
        return;
    }
    let (read, mut write) = stream.split();
    let mut reader = FrameReader::new(read, GREETING_BYTES_MAX);
    let heard = shared.local.hear(&mut reader, &mut write, |from| objection(&shared, from)).await;
    let (from, purpose) = match heard {
        Ok(heard) => heard,
        Err(error) => return report(&logger, &error),
    };
    reader.set_limit(FRAME_BYTES_MAX);
    let logger = logger.new(o!("peer" => format!("{from:016x}", from = from.get())));
    let result = match purpose {
        Purpose::Messages => receive(&shared, from, &mut reader).await,
        Purpose::Snapshot => super::snapshot_receive::run(&shared, &mut reader, &mut write, &logger).await,
        Purpose::Probe => answer_probe(&shared, &mut write).await,
        Purpose::Fetch => super::snapshot_send::serve(&shared, &mut reader, &mut write, &logger).await,
    };
    match result {
        Ok(()) => debug!(logger, "peer closed its connection"),
        Err(FrameError::Io(error)) => info!(logger, "peer's connection broke"; "error" => %error),
        Err(error) => warn!(logger, "peer's connection closed, its bytes make no sense"; "error" => %error),
    }
}

fn objection(shared: &Shared, from: NodeId) -> Option<String> {
    shared.is_removed(from).then(|| REMOVED.to_owned())
}

fn report(logger: &Logger, error: &HandshakeError) {
    match error {
        HandshakeError::Closed | HandshakeError::Frame(FrameError::Io(_)) => {
            debug!(logger, "connection without a handshake"; "error" => %error);
        }
        HandshakeError::Refused(reason) => warn!(logger, "connection refused"; "reason" => reason),
        HandshakeError::Frame(error) => warn!(logger, "connection closed, no member"; "error" => %error),
    }
}

/// Messages until the connection ends, the same member opened a newer one, or it was removed.
async fn receive(
    shared: &Shared,
    from: NodeId,
    reader: &mut FrameReader<ReadHalf<'_>>,
) -> Result<(), FrameError> {
    let over = shared.begin_incoming(from);
    loop {
        let payload = tokio::select! {
            biased;
            () = over.cancelled() => return Ok(()),
            payload = reader.next() => payload?,
        };
        let Some(payload) = payload else { return Ok(()) };
        let bytes = payload.len();
        shared.traffic.received_bytes.fetch_add(bytes as u64, Relaxed);
        shared.inbox.messages(from, envelopes(payload)?, bytes);
    }
}

async fn answer_probe(shared: &Shared, write: &mut WriteHalf<'_>) -> Result<(), FrameError> {
    let mut out = BytesMut::new();
    put_message(&mut out, &ProbeReply { heard: shared.heard(), ..shared.inbox.about() });
    Ok(write.write_all(&out).await?)
}
