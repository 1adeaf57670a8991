//! Refusals of messages that are too large to be read at all, in the words of etcd's transport.
//!
//! The transport refuses them before any service sees them, with a code that etcd's clients take
//! for a revision that is out of range.

use http::Response;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tower::Service;

/// How our transport's refusal begins; the two numbers in it are found and allowed bytes.
const OURS: &str = "Error, decoded message length too large";

/// A service whose transport speaks as etcd's does.
#[derive(Clone, Debug)]
pub struct Oversize<S>(pub S);

impl<S: NamedService> NamedService for Oversize<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, R> Service<http::Request<R>> for Oversize<S>
where
    S: Service<http::Request<R>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<R>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move { Ok(translated(response.await?)) })
    }
}

fn translated(response: Response<Body>) -> Response<Body> {
    match response.extensions().get::<Status>().and_then(refusal) {
        Some(status) => status.into_http(),
        None => response,
    }
}

fn refusal(status: &Status) -> Option<Status> {
    if status.code() != Code::OutOfRange || !status.message().starts_with(OURS) {
        return None;
    }
    let mut numbers = status.message().split_ascii_whitespace().filter_map(|word| word.parse::<u64>().ok());
    let (found, limit) = (numbers.next()?, numbers.next()?);
    Some(Status::resource_exhausted(format!("grpc: received message larger than max ({found} vs. {limit})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_transports_refusal_is_translated() {
        let ours =
            "Error, decoded message length too large: found 2097153 bytes, the limit is: 2097152 bytes";
        let status = refusal(&Status::out_of_range(ours)).expect("translated");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "grpc: received message larger than max (2097153 vs. 2097152)");
        assert!(
            refusal(&Status::out_of_range("etcdserver: mvcc: required revision has been compacted"))
                .is_none()
        );
        assert!(refusal(&Status::internal(ours)).is_none());
    }
}
