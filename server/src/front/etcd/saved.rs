//! A member's state as a file, on its way to an operator.
//!
//! The content is what `oarlock snapshot restore` reads. Around it is what etcd's clients check:
//! zeros up to a multiple of 512 bytes, then the SHA-256 of everything before it.

use crate::front::saved::{Snapshot, SnapshotSource};
use bytes::Bytes;
use oarlock_proto::etcd::etcdserverpb::{ResponseHeader, SnapshotResponse};
use ring::digest::{Context, SHA256};
use std::io::{self, Write};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// etcd's clients expect a length of so many bytes and the checksum: a whole number of sectors.
const SECTOR_BYTES: u64 = 512;
/// Bytes of one message.
const CHUNK_BYTES: usize = 64 * 1024;
/// Messages that may wait for a slow client; the writer waits in turn.
const CHUNKS_WAITING: usize = 8;

/// Messages as the transport takes them.
pub type Chunks = ReceiverStream<Result<SnapshotResponse, Status>>;
type Sender = mpsc::Sender<Result<SnapshotResponse, Status>>;

/// The file in messages. An error ends the stream.
///
/// # Errors
/// What the source says.
pub(super) async fn chunks(
    source: Arc<dyn SnapshotSource>,
    header: ResponseHeader,
    version: String,
) -> Result<Chunks, Status> {
    let opened = tokio::task::spawn_blocking(move || source.snapshot()).await;
    let snapshot = opened.map_err(io::Error::other).flatten().map_err(|error| unreadable(&error))?;
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&*snapshot, header, version, &sender) {
            // A client that is gone does not hear why.
            let _ = sender.blocking_send(Err(unreadable(&error)));
        }
    });
    Ok(ReceiverStream::new(receiver))
}

fn send(snapshot: &dyn Snapshot, header: ResponseHeader, version: String, sender: &Sender) -> io::Result<()> {
    let mut chunker = Chunker {
        buffer: Vec::with_capacity(CHUNK_BYTES),
        hash: Context::new(&SHA256),
        written: 0,
        expected: snapshot.bytes(),
        header: Some(ResponseHeader { revision: super::door::number(snapshot.revision().get()), ..header }),
        version,
        sender,
    };
    snapshot.write_to(&mut chunker)?;
    chunker.finish()
}

/// Cuts what is written into messages, and sums it up.
struct Chunker<'a> {
    buffer: Vec<u8>,
    hash: Context,
    /// Bytes so far.
    written: u64,
    /// Bytes there will be, about.
    expected: u64,
    /// For the first message.
    header: Option<ResponseHeader>,
    version: String,
    sender: &'a Sender,
}

impl Chunker<'_> {
    fn finish(mut self) -> io::Result<()> {
        let rest = self.written % SECTOR_BYTES;
        if rest > 0 {
            self.write_all(&[0; SECTOR_BYTES as usize][rest as usize..])?;
        }
        self.expected = self.written;
        self.flush()?;
        let sum = self.hash.clone().finish();
        self.send(Bytes::copy_from_slice(sum.as_ref()))
    }

    fn send(&mut self, blob: Bytes) -> io::Result<()> {
        let message = SnapshotResponse {
            header: self.header.take(),
            remaining_bytes: self.expected.saturating_sub(self.written),
            blob,
            version: self.version.clone(),
        };
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone");
        self.sender.blocking_send(Ok(message)).map_err(gone)
    }
}

impl Write for Chunker<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        self.hash.update(&bytes[..taken]);
        self.written += taken as u64;
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
        self.send(full.into())
    }
}

fn unreadable(error: &io::Error) -> Status {
    Status::internal(format!("etcdserver: the state could not be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use oarlock_state::Revision;

    struct Fixed(Vec<u8>);

    impl SnapshotSource for Fixed {
        fn snapshot(&self) -> io::Result<Box<dyn Snapshot>> {
            Ok(Box::new(Self(self.0.clone())))
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
    async fn the_file_has_the_length_and_the_checksum_that_etcds_clients_look_for() {
        for length in [0, 1, 511, 512, 513, CHUNK_BYTES, CHUNK_BYTES + 1000] {
            let content: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let source = Arc::new(Fixed(content.clone()));
            let stream = chunks(source, ResponseHeader::default(), "3.6.0".into()).await.expect("readable");
            let sent: Vec<_> = stream.map(|chunk| chunk.expect("readable")).collect().await;
            let header = sent[0].header.as_ref().expect("comes first");
            assert_eq!(header.revision, 7);
            assert_eq!(sent.last().map(|last| last.remaining_bytes), Some(0));
            assert!(sent.iter().all(|chunk| chunk.version == "3.6.0"));
            let file: Vec<u8> = sent.iter().flat_map(|chunk| chunk.blob.to_vec()).collect();
            assert_eq!(file.len() % 512, 32, "{length}");
            let (before, sum) = file.split_at(file.len() - 32);
            assert_eq!(ring::digest::digest(&SHA256, before).as_ref(), sum);
            assert!(before.starts_with(&content));
        }
    }
}
