//! Bytes on a peer connection: frames with a length and a checksum, and batches of envelopes.
//!
//! ```text
//! frame = length of payload (u32, little-endian) | crc32 of length and payload (u32) | payload
//! ```
//!
//! TCP's own checksum misses about one damaged segment in ten million, and a damaged entry would be
//! replicated; so each frame has one that does not.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use oarlock_proto::internal::peer::Envelope;
use prost::Message;
use std::io;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes before the payload.
const HEADER_BYTES: usize = 8;
/// Bytes of the largest payload. A message holds at most one entry beyond a megabyte.
pub const FRAME_BYTES_MAX: usize = 32 << 20;
/// Bytes of the first frame on a connection: its sender is still a stranger.
pub const GREETING_BYTES_MAX: usize = 4096;
/// Bytes after which a batch is closed, so that the receiver begins while the rest is encoded.
const BATCH_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 64 * 1024;

const _: () = assert!(FRAME_BYTES_MAX > 3 * oarlock_state::limits::PROPOSAL_BYTES_MAX + BATCH_BYTES);

/// A connection whose bytes make no sense, or none come.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The connection broke.
    #[error("connection broke: {0}")]
    Io(#[from] io::Error),
    /// The length is beyond what is allowed: damage, or not our protocol at all.
    #[error(
        "a frame of {length} bytes is announced and at most {limit} are allowed; the sender does not speak this protocol, or bytes were damaged"
    )]
    TooLong {
        /// Announced length.
        length: usize,
        /// Allowed length.
        limit: usize,
    },
    /// The checksum does not fit.
    #[error("a frame of {length} bytes does not match its checksum; bytes were damaged on the way")]
    Damaged {
        /// Its length.
        length: usize,
    },
    /// The connection ended inside a frame.
    #[error("connection ended inside a frame, after {got} bytes of it")]
    Torn {
        /// Bytes of the unfinished frame.
        got: usize,
    },
    /// The payload is not what it should be.
    #[error("a frame's payload does not decode: {0}")]
    Payload(#[from] prost::DecodeError),
    /// Nothing came for too long.
    #[error("nothing came for {0} ms")]
    Silent(u128),
}

/// Takes frames out of a stream of bytes.
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    limit: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `stream` frames whose payload has at most `limit` bytes.
    pub fn new(stream: R, limit: usize) -> Self {
        Self { stream, buffer: BytesMut::new(), limit }
    }

    /// From now on payloads may have so many bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next payload; `None` when the connection was closed between two frames. Nothing is lost
    /// when the future is dropped.
    ///
    /// # Errors
    /// All of [`FrameError`]; the connection is of no use afterwards.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some(payload) = self.parse()? {
                return Ok(Some(payload));
            }
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return match self.buffer.len() {
                    0 => Ok(None),
                    got => Err(FrameError::Torn { got }),
                };
            }
        }
    }

    /// The next payload as a message.
    ///
    /// # Errors
    /// As [`next`](Self::next), and for bytes that are no such message.
    pub async fn message<M: Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        Ok(self.next().await?.map(M::decode).transpose()?)
    }

    fn parse(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(mut header) = self.buffer.get(..HEADER_BYTES) else { return Ok(None) };
        let length = header.get_u32_le() as usize;
        let crc = header.get_u32_le();
        if length > self.limit {
            return Err(FrameError::TooLong { length, limit: self.limit });
        }
        if self.buffer.len() < HEADER_BYTES + length {
            self.buffer.reserve(HEADER_BYTES + length - self.buffer.len());
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(HEADER_BYTES + length);
        let payload = frame.split_off(HEADER_BYTES).freeze();
        if crc != checksum(&payload) {
            return Err(FrameError::Damaged { length });
        }
        Ok(Some(payload))
    }
}

/// Appends one frame whose payload `fill` writes.
///
/// # Panics
/// When the payload is larger than [`FRAME_BYTES_MAX`], which bounds elsewhere exclude.
pub fn put_frame(out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_bytes(0, HEADER_BYTES);
    fill(out);
    let payload = &out[start + HEADER_BYTES..];
    assert!(payload.len() <= FRAME_BYTES_MAX, "a frame of {} bytes was about to be sent", payload.len());
    let (length, crc) = (payload.len() as u32, checksum(payload));
    let mut header = &mut out[start..start + HEADER_BYTES];
    header.put_u32_le(length);
    header.put_u32_le(crc);
}

/// Appends one frame that holds this message.
pub fn put_message(out: &mut BytesMut, message: &impl Message) {
    put_frame(out, |out| message.encode(out).expect("a growing buffer has room"));
}

/// Appends frames that hold these envelopes, in order.
pub fn put_envelopes(out: &mut BytesMut, envelopes: &[Envelope]) {
    let mut rest = envelopes;
    while !rest.is_empty() {
        let mut taken = 0;
        put_frame(out, |out| {
            let start = out.len();
            while taken < rest.len() && out.len() - start < BATCH_BYTES {
                rest[taken].encode_length_delimited(out).expect("a growing buffer has room");
                taken += 1;
            }
        });
        rest = &rest[taken..];
    }
}

/// The envelopes in a payload. Their bytes are slices of it, not copies.
///
/// # Errors
/// The payload is not a sequence of envelopes.
pub fn envelopes(mut payload: Bytes) -> Result<Vec<Envelope>, FrameError> {
    let mut envelopes = Vec::new();
    while payload.has_remaining() {
        envelopes.push(Envelope::decode_length_delimited(&mut payload)?);
    }
    Ok(envelopes)
}

fn checksum(payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(payload.len() as u32).to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_proto::internal::peer::{ReadIndexRequest, envelope::Body};

    fn envelope(context: u64) -> Envelope {
        Envelope { body: Some(Body::ReadIndex(ReadIndexRequest { context })) }
    }

    fn raft(length: usize) -> Envelope {
        Envelope { body: Some(Body::Raft(vec![7; length].into())) }
    }

    async fn read_all(bytes: &[u8], limit: usize) -> Result<Vec<Envelope>, FrameError> {
        let mut reader = FrameReader::new(bytes, limit);
        let mut all = Vec::new();
        while let Some(payload) = reader.next().await? {
            all.extend(envelopes(payload)?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn envelopes_arrive_as_they_were_sent() {
        let sent: Vec<_> = (0..1000).map(envelope).chain([raft(3 << 20), raft(0)]).collect();
        let mut bytes = BytesMut::new();
        put_envelopes(&mut bytes, &sent);
        assert_eq!(read_all(&bytes, FRAME_BYTES_MAX).await.expect("good"), sent);
    }

    #[tokio::test]
    async fn frames_may_arrive_byte_by_byte() {
        let mut bytes = BytesMut::new();
        put_envelopes(&mut bytes, &[envelope(1), envelope(2)]);
        let (mut far, near) = tokio::io::duplex(1);
        let writer = tokio::spawn(async move {
            tokio::io::AsyncWriteExt::write_all(&mut far, &bytes).await.expect("written");
        });
        let mut reader = FrameReader::new(near, 100);
        let payload = reader.next().await.expect("good").expect("one frame");
        assert_eq!(envelopes(payload).expect("good").len(), 2);
        writer.await.expect("done");
        assert!(reader.next().await.expect("clean end").is_none());
    }

    #[tokio::test]
    async fn garbage_is_named_and_never_allocated_for() {
        let error =
            read_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", GREETING_BYTES_MAX).await.expect_err("garbage");
        assert!(matches!(error, FrameError::TooLong { .. }), "{error}");
        assert!(error.to_string().contains("does not speak this protocol"));
    }

    #[tokio::test]
    async fn every_damaged_byte_is_noticed() {
        let mut bytes = BytesMut::new();
        put_envelopes(&mut bytes, &[envelope(3), raft(40)]);
        for place in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[place] ^= 0x10;
            assert!(read_all(&damaged, FRAME_BYTES_MAX).await.is_err(), "byte {place}");
        }
    }

    #[tokio::test]
    async fn a_torn_frame_is_not_a_clean_end() {
        let mut bytes = BytesMut::new();
        put_envelopes(&mut bytes, &[raft(40)]);
        for length in 1..bytes.len() {
            let error = read_all(&bytes[..length], FRAME_BYTES_MAX).await.expect_err("torn");
            assert!(matches!(error, FrameError::Torn { got } if got == length), "{length}: {error}");
        }
    }

    #[tokio::test]
    async fn a_good_frame_with_a_wrong_payload_is_refused() {
        let mut bytes = BytesMut::new();
        put_frame(&mut bytes, |out| out.put_slice(&[200, 1, 2, 3]));
        assert!(matches!(read_all(&bytes, 100).await, Err(FrameError::Payload(_))));
    }
}
