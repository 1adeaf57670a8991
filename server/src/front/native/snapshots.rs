//! The portable snapshot file, on its way to an operator.

use super::errors::{self, status};
use crate::front::saved::{Snapshot, SnapshotSource};
use bytes::Bytes;
use oarlock_proto::v1;
use std::io::{self, Write};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Bytes of one chunk.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that may wait for a slow client; the writer waits in turn.
const CHUNKS_WAITING: usize = 4;

/// Chunks as the transport takes them.
pub type Chunks = ReceiverStream<Result<v1::SnapshotChunk, Status>>;

/// First what it is, then the file in chunks, each with its checksum. An error ends the stream.
///
/// # Errors
/// What the source says.
pub async fn chunks(source: Arc<dyn SnapshotSource>, version: String) -> Result<Chunks, Status> {
    let opened = tokio::task::spawn_blocking(move || source.snapshot()).await;
    let snapshot = opened.map_err(io::Error::other).flatten().map_err(|error| unreadable(&error))?;
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&*snapshot, version, &sender) {
            // A client that is gone does not hear why.
            let _ = sender.blocking_send(Err(unreadable(&error)));
        }
    });
    Ok(ReceiverStream::new(receiver))
}

fn send(snapshot: &dyn Snapshot, version: String, sender: &Sender) -> io::Result<()> {
    let info = v1::SnapshotInfo {
        revision: snapshot.revision().get(),
        index: snapshot.index(),
        total_bytes: snapshot.bytes(),
        version,
    };
    let mut chunker = Chunker { buffer: Vec::with_capacity(CHUNK_BYTES), sender };
    chunker.send(v1::SnapshotChunk { info: Some(info), ..v1::SnapshotChunk::default() })?;
    snapshot.write_to(&mut chunker)?;
    chunker.flush()
}

type Sender = mpsc::Sender<Result<v1::SnapshotChunk, Status>>;

/// Cuts what is written into chunks.
struct Chunker<'a> {
    buffer: Vec<u8>,
    sender: &'a Sender,
}

impl Chunker<'_> {
    fn send(&self, chunk: v1::SnapshotChunk) -> io::Result<()> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone");
        self.sender.blocking_send(Ok(chunk)).map_err(gone)
    }
}

impl Write for Chunker<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES));
        let crc = crc32fast::hash(&full);
        self.send(v1::SnapshotChunk { info: None, data: Bytes::from(full), crc })
    }
}

fn unreadable(error: &io::Error) -> Status {
    status(errors::internal(format!("the snapshot could not be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use oarlock_state::Revision;

    struct Fixed(Vec<u8>);

    impl SnapshotSource for Fixed {
        fn snapshot(&self) -> io::Result<Box<dyn Snapshot>> {
            match self.0.is_empty() {
                true => Err(io::Error::other("disk on fire")),
                false => Ok(Box::new(Self(self.0.clone()))),
            }
        }
    }

    impl Snapshot for Fixed {
        fn revision(&self) -> Revision {
            Revision(7)
        }
        fn index(&self) -> u64 {
            9
        }
        fn bytes(&self) -> u64 {
            self.0.len() as u64
        }
        fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
            self.0.chunks(1000).try_for_each(|part| out.write_all(part))
        }
    }

    #[tokio::test]
    async fn a_snapshot_travels_in_checked_chunks() {
        let content: Vec<u8> = (0..CHUNK_BYTES + 10).map(|n| n as u8).collect();
        let source = Arc::new(Fixed(content.clone()));
        let stream = chunks(source, "1.0".into()).await.expect("readable");
        let sent: Vec<_> = stream.map(|chunk| chunk.expect("readable")).collect().await;
        assert_eq!(sent.len(), 3);
        let info = sent[0].info.as_ref().expect("comes first");
        assert_eq!((info.revision, info.index, info.total_bytes), (7, 9, content.len() as u64));
        let received: Vec<u8> = sent.iter().flat_map(|chunk| chunk.data.to_vec()).collect();
        assert_eq!(received, content);
        assert!(sent[1..].iter().all(|chunk| chunk.crc == crc32fast::hash(&chunk.data)));
    }

    #[tokio::test]
    async fn a_snapshot_that_cannot_be_had_says_why() {
        let status = chunks(Arc::new(Fixed(Vec::new())), "1.0".into()).await.expect_err("no disk");
        assert!(status.message().contains("disk on fire"));
    }
}
