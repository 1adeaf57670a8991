//! Calls of the port's own services, within the process, with messages that stay encoded.

use bytes::{Buf, BufMut, Bytes};
use futures::Stream;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Extensions, Request, Status, Streaming};

/// Calls one of the services.
#[derive(Clone)]
pub(super) struct Caller {
    services: Routes,
}

impl Caller {
    pub(super) fn new(services: Routes) -> Self {
        Self { services }
    }

    pub(super) async fn unary(
        &self,
        path: PathAndQuery,
        metadata: MetadataMap,
        message: Bytes,
    ) -> Result<Bytes, Status> {
        let request = Request::from_parts(metadata, Extensions::default(), message);
        let replied = self.ready().await?.unary(request, path, Encoded).await?;
        Ok(replied.into_inner())
    }

    pub(super) async fn server_stream(
        &self,
        path: PathAndQuery,
        metadata: MetadataMap,
        message: Bytes,
    ) -> Result<Streaming<Bytes>, Status> {
        let request = Request::from_parts(metadata, Extensions::default(), message);
        let replied = self.ready().await?.server_streaming(request, path, Encoded).await?;
        Ok(replied.into_inner())
    }

    pub(super) async fn both_streams(
        &self,
        path: PathAndQuery,
        metadata: MetadataMap,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        let request = Request::from_parts(metadata, Extensions::default(), messages);
        let replied = self.ready().await?.streaming(request, path, Encoded).await?;
        Ok(replied.into_inner())
    }

    async fn ready(&self) -> Result<Grpc<Routes>, Status> {
        // Services bound what they take in; what they give out is theirs to choose.
        let mut grpc = Grpc::new(self.services.clone()).max_decoding_message_size(usize::MAX);
        let Ok(()) = grpc.ready().await;
        Ok(grpc)
    }
}

/// Passes messages through as they are.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
