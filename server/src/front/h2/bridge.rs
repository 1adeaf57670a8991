//! From a stream of HTTP/2 to the router and back: what every request gets that is not in the
//! table. Bodies are streamed in both directions, and either side may end early.

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Request, Response, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;
use tonic::Status;
use tower::Service;

/// Serves one request. Should the client take it back, the router's work on it is dropped.
pub(super) async fn serve(
    mut router: Router,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let length = content_length(&request);
    let request = request.map(|stream| Body::new(Incoming { stream, length, data_done: false }));
    let mut response = pin!(router.call(request));
    let served = poll_fn(|context| match response.as_mut().poll(context) {
        Poll::Ready(Ok(response)) => Poll::Ready(Some(response)),
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => respond.poll_reset(context).map(|_| None),
    });
    if let Some(response) = served.await {
        // It fails if the client has taken the request back, or is gone.
        let _ = send(response, &mut respond).await;
    }
}

fn content_length(request: &Request<RecvStream>) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A request's body.
struct Incoming {
    stream: RecvStream,
    /// What the client said it would be, less what came.
    length: Option<u64>,
    data_done: bool,
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.data_done {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(part)) => {
                    // It fails for streams that have ended, whose capacity is released anyway.
                    let _ = self.stream.flow_control().release_capacity(part.len());
                    self.length = self.length.map(|length| length.saturating_sub(part.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(part))));
                }
                Some(Err(error)) => return Poll::Ready(broken(error)),
                None => self.data_done = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(context)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => broken(error),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A body that was reset. One of an answer that came early ends without an error (RFC 9113, 8.1).
fn broken(error: h2::Error) -> Option<Result<Frame<Bytes>, Status>> {
    let is_early = error.reason() == Some(Reason::NO_ERROR);
    (!is_early).then(|| Err(Status::from_error(Box::new(error))))
}

/// Sends an answer, as fast as the client takes it.
async fn send(response: Response<Body>, respond: &mut SendResponse<Bytes>) -> Result<(), h2::Error> {
    let (mut head, mut body) = response.into_parts();
    head.headers.entry(header::DATE).or_insert_with(now);
    if let Some(length) = body.size_hint().exact()
        && !body.is_end_stream()
    {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    let head = Response::from_parts(head, ());
    if body.is_end_stream() {
        return respond.send_response(head, true).map(drop);
    }
    let mut out = respond.send_response(head, false)?;
    loop {
        match next(&mut body, &mut out).await? {
            Some(Ok(frame)) => {
                if !pass_on(frame, &mut body, &mut out).await? {
                    return Ok(());
                }
            }
            Some(Err(_)) => {
                out.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
            None => return out.send_data(Bytes::new(), true),
        }
    }
}

fn now() -> HeaderValue {
    let text = httpdate::fmt_http_date(SystemTime::now());
    HeaderValue::try_from(text).expect("dates are printable")
}

/// What the body has next. It is an error if the client takes the request back meanwhile.
async fn next(
    body: &mut Body,
    out: &mut SendStream<Bytes>,
) -> Result<Option<Result<Frame<Bytes>, axum::Error>>, h2::Error> {
    poll_fn(|context| {
        if let Poll::Ready(reason) = out.poll_reset(context)? {
            return Poll::Ready(Err(reason.into()));
        }
        Pin::new(&mut *body).poll_frame(context).map(Ok)
    })
    .await
}

/// Sends a part of the body. Returns whether there may be another.
async fn pass_on(
    frame: Frame<Bytes>,
    body: &mut Body,
    out: &mut SendStream<Bytes>,
) -> Result<bool, h2::Error> {
    let data = match frame.into_data() {
        Ok(data) => data,
        Err(frame) => {
            // There are but data and trailers.
            return match frame.into_trailers() {
                Ok(trailers) => out.send_trailers(trailers).map(|()| false),
                Err(_) => Ok(true),
            };
        }
    };
    let last = body.is_end_stream();
    if !data.is_empty() {
        room(out).await?;
    }
    out.send_data(data, last)?;
    Ok(!last)
}

/// Waits until the client takes at least one byte more. More is not reserved: what one stream holds
/// of the connection's window the others lack.
async fn room(out: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    out.reserve_capacity(1);
    poll_fn(|context| {
        if let Poll::Ready(reason) = out.poll_reset(context)? {
            return Poll::Ready(Err(reason.into()));
        }
        while out.capacity() == 0 {
            match ready!(out.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Err(Reason::CANCEL.into())),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}
