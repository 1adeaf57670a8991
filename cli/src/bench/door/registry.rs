//! The registry of services over HTTP. Each client has a connection of its own, as HTTP/1.1 has it.

use super::{Door, PATIENCE, Place, refused};
use crate::bench::error::BenchError;
use crate::bench::options::Freshness;
use crate::bench::request::{Answer, Request};
use crate::bench::words::Words;
use crate::bench::work::service;
use axum::body::Body;
use http::Uri;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

/// What an answer without instances has in it.
const NO_INSTANCES: &[u8] = b"\"instances\":[]";
/// Largest answer that is taken, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A client of the registry.
pub struct Registry {
    client: Client<HttpConnector, Body>,
    root: String,
    query: &'static str,
}

impl Door for Registry {
    /// Where the server is.
    type Connection = String;

    async fn connect(endpoint: &str, _words: &Words) -> Result<String, BenchError> {
        let bad = || BenchError::BadEndpoint { endpoint: endpoint.to_owned() };
        let uri: Uri = endpoint.parse().map_err(|_| bad())?;
        if uri.host().is_none() {
            return Err(bad());
        }
        Ok(endpoint.trim_end_matches('/').to_owned())
    }

    async fn open(root: String, place: Place) -> Result<Self, BenchError> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let query = match place.words.freshness {
            Freshness::Linearizable => "?consistency=linearizable",
            Freshness::Serializable => "",
        };
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), root, query })
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer, String> {
        let Request::Resolve { service: number } = request else { return Err(refused(request)) };
        let address = format!("{}/v1/services/{}{}", self.root, service(*number), self.query);
        let uri: Uri = address.parse().map_err(|error| format!("{address}: {error}"))?;
        match tokio::time::timeout(PATIENCE, self.read(uri)).await {
            Ok(answer) => answer,
            Err(_late) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }
}

impl Registry {
    async fn read(&self, uri: Uri) -> Result<Answer, String> {
        let answer = self.client.get(uri).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = axum::body::to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await;
        let body = body.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
        let is_missing = body.windows(NO_INSTANCES.len()).any(|part| part == NO_INSTANCES);
        Ok(if is_missing { Answer::Missing } else { Answer::Done })
    }
}
