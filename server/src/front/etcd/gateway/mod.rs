//! etcd's API in JSON over plain HTTP, below `/v3/`.
//!
//! Nothing here knows what a call means. The path names the call ([`table`]), the schema says how
//! its messages look in JSON ([`json`]), and the port's own gRPC services are asked within the
//! process ([`call`]), so that both ways in have the same checks, refusals and permissions. Streams
//! are lines of JSON ([`lines`]).

mod call;
mod json;
mod lines;
mod refusal;
mod table;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use call::Caller;
use json::{Call, Schemas};
use refusal::refused;
use std::sync::Arc;
use table::Shape;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::service::Routes;
use tonic::{Code, Status};

/// Headers of HTTP with this prefix become metadata of the call.
const METADATA_PREFIX: &str = "grpc-metadata-";

/// The compiled-in schemas do not describe every path. A fault of the build.
#[derive(Debug, thiserror::Error)]
#[error("the compiled-in schemas cannot be used for JSON: {0}")]
pub struct SchemaError(String);

/// What a path leads to.
struct Gate {
    call: Call,
    shape: Shape,
    caller: Caller,
    /// Bytes of one message in JSON.
    bytes_max: usize,
}

/// All paths; each leads to one of `services`.
///
/// # Errors
/// See [`SchemaError`].
pub fn routes(services: &Routes, request_bytes: usize) -> Result<Router, SchemaError> {
    let schemas = Schemas::compiled_in()?;
    let mut router = Router::new();
    for &(path, service, method) in table::PATHS {
        let call = schemas.call(service, method)?;
        let shape = table::shape(&call, path);
        // Bytes of keys and values grow by a third in JSON, and names are spelt out.
        let gate = Gate { call, shape, caller: Caller::new(services.clone()), bytes_max: 2 * request_bytes };
        let gate = Arc::new(gate);
        // The second prefix is what etcd 3.3 used; etcd still takes it.
        for prefix in ["/v3", "/v3beta"] {
            router = router.route(&format!("{prefix}{path}"), any(serve).with_state(gate.clone()));
        }
    }
    Ok(router.route("/v3/{*path}", any(nothing_here)).route("/v3beta/{*path}", any(nothing_here)))
}

async fn nothing_here() -> Response {
    refused(&Status::not_found("Not Found"))
}

async fn serve(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    if request.method() != http::Method::POST {
        return refused(&Status::unimplemented("Method Not Allowed"));
    }
    let metadata = metadata(request.headers());
    let body = request.into_body();
    let served = match gate.shape {
        Shape::Unary => gate.unary(metadata, body).await,
        Shape::ServerStream => gate.server_stream(metadata, body).await,
        Shape::BothStreams { outlives_body } => gate.both_streams(metadata, body, outlives_body).await,
    };
    served.unwrap_or_else(|status| refused(&status))
}

impl Gate {
    async fn unary(&self, metadata: MetadataMap, body: Body) -> Result<Response, Status> {
        let message = self.only_message(body).await?;
        let reply = self.caller.unary(self.call.path(), metadata, message).await?;
        let text = self.call.reply_to_json(reply)?;
        Ok(as_json(Body::from(text)))
    }

    async fn server_stream(&self, metadata: MetadataMap, body: Body) -> Result<Response, Status> {
        let message = self.only_message(body).await?;
        let replies = self.caller.server_stream(self.call.path(), metadata, message).await?;
        Ok(as_json(lines::out(self.call.clone(), replies, None).await?))
    }

    async fn both_streams(
        &self,
        metadata: MetadataMap,
        body: Body,
        outlives_body: bool,
    ) -> Result<Response, Status> {
        let (messages, mut broken) = lines::messages(self.call.clone(), body, self.bytes_max, outlives_body);
        let replies = tokio::select! {
            biased;
            Ok(status) = &mut broken => return Err(status),
            replies = self.caller.both_streams(self.call.path(), metadata, messages) => replies?,
        };
        Ok(as_json(lines::out(self.call.clone(), replies, Some(broken)).await?))
    }

    /// The message in a body; none at all is one without fields.
    async fn only_message(&self, body: Body) -> Result<bytes::Bytes, Status> {
        let bytes = axum::body::to_bytes(body, self.bytes_max).await.map_err(|_| lines::too_large())?;
        let mut bytes: &[u8] = &bytes;
        if bytes.trim_ascii().is_empty() {
            bytes = b"{}";
        }
        let (message, _) = self.call.request_from_json(bytes)?;
        message.ok_or_else(|| Status::invalid_argument("unexpected end of JSON input"))
    }
}

fn as_json(body: Body) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], body).into_response()
}

/// What the call is told beside its message: the token, and what the client wants passed on.
fn metadata(headers: &HeaderMap) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for (name, value) in headers {
        let name = name.as_str();
        let key = match name.strip_prefix(METADATA_PREFIX) {
            Some(key) => key,
            None if name == header::AUTHORIZATION.as_str() => name,
            None => continue,
        };
        let key = MetadataKey::from_bytes(key.as_bytes());
        if let (Ok(key), Ok(value)) = (key, MetadataValue::try_from(value.as_bytes())) {
            metadata.append(key, value);
        }
    }
    metadata
}

/// A fault of the program itself.
fn fault(what: impl std::fmt::Display) -> Status {
    Status::new(Code::Internal, format!("etcdserver: fault of the server: {what}. Please report it"))
}
