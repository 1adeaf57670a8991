//! A request until its message is whole.

use super::frame::Body;
use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use std::task::{Context, Poll, ready};
use tonic::Status;

/// What comes in of one request.
pub(super) struct Intake {
    headers: HeaderMap,
    stream: RecvStream,
    body: Option<Body>,
}

/// What came in.
pub(super) enum Taken {
    /// All of it: headers, with trailers among them, and the message.
    Message(HeaderMap, Bytes),
    /// Enough of it to refuse it.
    Refused(Status),
    /// The client took it back, or is gone.
    Gone,
}

impl Intake {
    /// A request with these headers, whose message may have so many bytes.
    pub(super) fn new(headers: HeaderMap, stream: RecvStream, bytes_max: usize) -> Self {
        Self { headers, stream, body: Some(Body::new(bytes_max)) }
    }

    /// Takes what is there, until it is all. Not to be polled after that.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Taken> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Taken::Gone);
        };
        while !self.stream.is_end_stream() {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(part)) => {
                    // It fails for streams that have ended, whose capacity is released anyway.
                    let _ = self.stream.flow_control().release_capacity(part.len());
                    if let Err(status) = body.push(part) {
                        return Poll::Ready(Taken::Refused(status));
                    }
                }
                Some(Err(_)) => return Poll::Ready(Taken::Gone),
                None => match ready!(self.stream.poll_trailers(context)) {
                    Ok(trailers) => {
                        self.headers.extend(trailers.unwrap_or_default());
                        break;
                    }
                    Err(_) => return Poll::Ready(Taken::Gone),
                },
            }
        }
        let (Some(body), headers) = (self.body.take(), std::mem::take(&mut self.headers)) else {
            return Poll::Ready(Taken::Gone);
        };
        Poll::Ready(match body.finish() {
            Ok(message) => Taken::Message(headers, message),
            Err(status) => Taken::Refused(status),
        })
    }
}
