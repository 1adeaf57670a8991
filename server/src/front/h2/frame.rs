//! gRPC's frame: one byte that tells whether the message is compressed, four with its length, and
//! the message.
//!
//! The texts of refusals are those of tonic, which serves all other calls; that of a message which
//! is too long is etcd's, whose clients take another code for a revision out of range.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tonic::Status;

/// Bytes before a message.
const HEAD_BYTES: usize = 5;

/// The body of a unary request, as it comes in.
pub(super) struct Body {
    /// Bytes that the message may have.
    bytes_max: usize,
    parts: Parts,
}

enum Parts {
    /// What one frame of HTTP/2 brought, as nearly always: not copied.
    One(Bytes),
    /// What several did.
    Many(BytesMut),
}

impl Body {
    /// An empty one, whose message may have so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, parts: Parts::One(Bytes::new()) }
    }

    /// Takes what came in.
    ///
    /// # Errors
    /// The message is compressed or too long, which is known before all of it is there.
    pub(super) fn push(&mut self, part: Bytes) -> Result<(), Status> {
        match &mut self.parts {
            Parts::One(one) if one.is_empty() => *one = part,
            Parts::One(one) => {
                let mut many = BytesMut::with_capacity(2 * (one.len() + part.len()));
                many.put_slice(one);
                many.put_slice(&part);
                self.parts = Parts::Many(many);
            }
            Parts::Many(many) => many.put_slice(&part),
        }
        let seen = match &self.parts {
            Parts::One(one) => one.as_ref(),
            Parts::Many(many) => many.as_ref(),
        };
        length(seen, self.bytes_max).map(drop)
    }

    /// The message. Others after it are passed over.
    ///
    /// # Errors
    /// There is none, or what is there is not whole.
    pub(super) fn finish(self) -> Result<Bytes, Status> {
        let mut rest = match self.parts {
            Parts::One(one) => one,
            Parts::Many(many) => many.freeze(),
        };
        let mut first = None;
        while !rest.is_empty() {
            let length = length(&rest, self.bytes_max)?;
            match length.filter(|length| rest.len() - HEAD_BYTES >= *length) {
                Some(length) => {
                    rest.advance(HEAD_BYTES);
                    let message = rest.split_to(length);
                    first.get_or_insert(message);
                }
                None => return Err(Status::internal("Unexpected EOF decoding stream.")),
            }
        }
        first.ok_or_else(|| Status::internal("Missing request message."))
    }
}

/// The length that the first bytes of a frame tell, once they are there.
fn length(bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, Status> {
    let Some((&[flag, a, b, c, d], _)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    match flag {
        0 => {}
        1 => {
            return Err(Status::internal(
                "protocol error: received message with compressed-flag but no grpc-encoding was specified",
            ));
        }
        other => {
            return Err(Status::internal(format!(
                "protocol error: received message with invalid compression flag: {other} (valid flags are 0 \
                 and 1), while sending request"
            )));
        }
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > bytes_max {
        return Err(Status::resource_exhausted(format!(
            "grpc: received message larger than max ({length} vs. {bytes_max})"
        )));
    }
    Ok(Some(length))
}

/// What a request's message says.
///
/// # Errors
/// It is not the message that it should be.
pub(super) fn decode<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|error| Status::internal(error.to_string()))
}

/// A message in its frame.
///
/// # Errors
/// It is longer than four bytes can tell.
pub(super) fn encode(message: &impl Message) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let Ok(told) = u32::try_from(length) else {
        return Err(Status::resource_exhausted(format!(
            "Cannot return body with more than 4GB of data but got {length} bytes"
        )));
    };
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(told);
    message.encode(&mut frame).expect("the room was made");
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_proto::etcd::etcdserverpb::PutRequest;
    use tonic::Code;

    fn put() -> PutRequest {
        PutRequest { key: "k".into(), value: vec![7; 600].into(), ..PutRequest::default() }
    }

    fn gather(parts: &[&[u8]], bytes_max: usize) -> Result<Bytes, Status> {
        let mut body = Body::new(bytes_max);
        for part in parts {
            body.push(Bytes::copy_from_slice(part))?;
        }
        body.finish()
    }

    #[test]
    fn a_message_survives_however_it_is_cut() {
        let frame = encode(&put()).expect("short");
        for at in [0, 1, 4, 5, 6, 300, frame.len()] {
            let (one, other) = frame.split_at(at);
            let message = gather(&[one, other], 1 << 20).expect("whole");
            assert_eq!(decode::<PutRequest>(message).expect("a put"), put(), "cut at {at}");
        }
        let bytewise: Vec<&[u8]> = frame.chunks(1).collect();
        assert_eq!(gather(&bytewise, 1 << 20).expect("whole"), frame.slice(HEAD_BYTES..));
        let empty = gather(&[&[0; HEAD_BYTES]], 0).expect("a message without fields");
        assert_eq!(decode::<PutRequest>(empty).expect("a put"), PutRequest::default());
    }

    #[test]
    fn a_message_in_one_part_is_not_copied() {
        let frame = encode(&put()).expect("short");
        let mut body = Body::new(1 << 20);
        body.push(frame.clone()).expect("good");
        assert_eq!(body.finish().expect("whole").as_ptr(), frame[HEAD_BYTES..].as_ptr());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let too_long = [0, 0, 0, 0, 9];
        let two = [0, 0, 0, 0, 1, 8, 0, 0, 0, 0, 1, 9];
        assert_eq!(gather(&[&two], 8).expect("the first counts").as_ref(), [8]);
        for (bytes, code, text) in [
            (&[][..], Code::Internal, "Missing request message."),
            (&[0, 0, 0], Code::Internal, "Unexpected EOF"),
            (&[0, 0, 0, 0, 8, 1], Code::Internal, "Unexpected EOF"),
            (&two[..11], Code::Internal, "Unexpected EOF"),
            (&[1, 0, 0, 0, 0], Code::Internal, "no grpc-encoding"),
            (&[2, 0, 0, 0, 0], Code::Internal, "invalid compression flag: 2"),
            (&too_long, Code::ResourceExhausted, "grpc: received message larger than max (9 vs. 8)"),
        ] {
            let status = gather(&[bytes], 8).expect_err("no message");
            assert_eq!(status.code(), code, "{bytes:?}");
            assert!(status.message().contains(text), "{status:?}");
        }
        let wrong = decode::<PutRequest>(Bytes::from_static(&[0xff])).expect_err("no put");
        assert_eq!(wrong.code(), Code::Internal);
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_before_it_is_there() {
        let mut body = Body::new(8);
        body.push(Bytes::from_static(&[0, 0, 0])).expect("not known yet");
        body.push(Bytes::from_static(&[1, 0])).expect_err("known now");
    }
}
