//! The calls that are served without a task of their own.

use super::frame;
use crate::front::unary::{Answer, Asked, End, Unary};
use crate::node::request::{self, Request as Ask};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, header};
use oarlock_state::Caller as Who;
use std::collections::HashMap;
use std::marker::PhantomData;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

/// What a message's encoding is told by.
const ENCODING: &str = "grpc-encoding";

/// The calls, by path.
#[derive(Default)]
pub struct Table {
    calls: HashMap<&'static str, Box<dyn Call>>,
}

impl Table {
    /// Adds a call, served by `service`, whose messages may have so many bytes.
    #[must_use]
    pub fn with<C: Unary>(mut self, service: &C::Service, bytes_max: usize) -> Self {
        let entry = Entry::<C> { service: service.clone(), bytes_max, call: PhantomData };
        self.calls.insert(C::PATH, Box::new(entry));
        self
    }

    /// The call that a request makes, if it is one of these and nothing about it is unusual.
    pub(super) fn find<B>(&self, request: &Request<B>) -> Option<&dyn Call> {
        let call = self.calls.get(request.uri().path())?;
        (request.method() == Method::POST && is_plain(request.headers())).then_some(&**call)
    }
}

/// Whether a request's messages are protobuf and not compressed.
fn is_plain(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    let encoding = headers.get(ENCODING).map(|encoding| encoding.as_bytes());
    matches!(kind, Some(b"application/grpc" | b"application/grpc+proto"))
        && matches!(encoding, None | Some(b"identity"))
}

/// One of the calls.
pub(super) trait Call: Send + Sync {
    /// Bytes that its message may have.
    fn bytes_max(&self) -> usize;

    /// Makes the message a question for the node.
    ///
    /// # Errors
    /// The call is refused without asking the node.
    fn begin(&self, metadata: &MetadataMap, message: Bytes) -> Result<Begun, Status>;
}

/// A call that the node is to be asked for.
pub(super) struct Begun {
    pub(super) who: Who,
    pub(super) ask: Ask,
    pub(super) rest: Box<dyn Rest>,
}

/// What is left of a call once the node has replied.
pub(super) trait Rest: Send {
    /// Makes the answer of the reply.
    fn end(self: Box<Self>, reply: request::Result) -> Ended;
}

/// What a call came to: its answer, with the message in its frame.
pub(super) enum Ended {
    Now(Answer<Bytes>),
    Later(BoxFuture<'static, Answer<Bytes>>),
}

struct Entry<C: Unary> {
    service: C::Service,
    bytes_max: usize,
    call: PhantomData<fn() -> C>,
}

impl<C: Unary> Call for Entry<C> {
    fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    fn begin(&self, metadata: &MetadataMap, message: Bytes) -> Result<Begun, Status> {
        let Asked { who, ask, call } = C::begin(&self.service, metadata, frame::decode(message)?)?;
        Ok(Begun { who, ask, rest: Box::new(Open { service: self.service.clone(), call }) })
    }
}

struct Open<C: Unary> {
    service: C::Service,
    call: C,
}

impl<C: Unary> Rest for Open<C> {
    fn end(self: Box<Self>, reply: request::Result) -> Ended {
        match self.call.end(&self.service, reply) {
            End::Now(answer) => Ended::Now(answer.and_then(framed)),
            End::Later(answer) => Ended::Later(answer.map(|answer| answer.and_then(framed)).boxed()),
        }
    }
}

fn framed(response: Response<impl prost::Message>) -> Answer<Bytes> {
    let (metadata, message, extensions) = response.into_parts();
    Ok(Response::from_parts(metadata, frame::encode(&message)?, extensions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().expect("printable"));
        }
        headers
    }

    #[test]
    fn only_plain_protobuf_is_served_here() {
        for (pairs, expected) in [
            (&[("content-type", "application/grpc")][..], true),
            (&[("content-type", "application/grpc+proto"), ("grpc-encoding", "identity")], true),
            (&[("content-type", "application/grpc"), ("grpc-encoding", "gzip")], false),
            (&[("content-type", "application/grpc-web")], false),
            (&[("content-type", "application/grpc+json")], false),
            (&[], false),
        ] {
            assert_eq!(is_plain(&headers(pairs)), expected, "{pairs:?}");
        }
    }
}
