//! Streams as text: messages one after the other in the body of a request, taken while it is still
//! open, and a line of JSON for each reply.

use super::json::Call;
use super::refusal::last_line;
use crate::front::etcd::errors;
use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use std::convert::Infallible;
use tokio::sync::oneshot;
use tonic::{Status, Streaming};

/// What is wrong with the body, if something is.
pub(super) type Broken = oneshot::Receiver<Status>;

/// The refusal of a body, or of a message in it, that is too large.
pub(super) fn too_large() -> Status {
    errors::REQUEST_TOO_LARGE.into()
}

/// The messages of a body as they come in. When the body is broken the stream pauses for ever, and
/// the receiver is told why.
pub(super) fn messages(
    call: Call,
    body: Body,
    bytes_max: usize,
    outlives_body: bool,
) -> (impl Stream<Item = Bytes> + Send + 'static, Broken) {
    let (tell, broken) = oneshot::channel();
    let text = Text { call, body: body.into_data_stream(), left: BytesMut::new(), bytes_max };
    let messages = stream::unfold((text, Some(tell)), move |(mut text, mut tell)| async move {
        match text.next().await {
            Ok(Some(message)) => Some((message, (text, tell))),
            Ok(None) if !outlives_body => None,
            Ok(None) => std::future::pending().await,
            Err(status) => {
                // Nobody listens any more when the call has ended.
                let _ = tell.take().map(|tell| tell.send(status));
                std::future::pending().await
            }
        }
    });
    (messages, broken)
}

/// A body that is read bit by bit.
struct Text {
    call: Call,
    body: BodyDataStream,
    /// Read and not yet understood.
    left: BytesMut,
    bytes_max: usize,
}

impl Text {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            let (message, taken) = self.call.request_from_json(&self.left)?;
            if let Some(message) = message {
                let _ = self.left.split_to(taken);
                return Ok(Some(message));
            }
            if self.left.len() > self.bytes_max {
                return Err(too_large());
            }
            match self.body.next().await {
                Some(Ok(more)) => self.left.extend_from_slice(&more),
                None if self.left.trim_ascii().is_empty() => return Ok(None),
                None => return Err(Status::invalid_argument("unexpected end of JSON input")),
                Some(Err(error)) => return Err(Status::cancelled(error.to_string())),
            }
        }
    }
}

/// The replies as lines. Waits for the first one, so that a call which is refused at once is
/// answered with a status of HTTP.
///
/// # Errors
/// The call was refused before there was a reply.
pub(super) async fn out(
    call: Call,
    replies: Streaming<Bytes>,
    broken: Option<Broken>,
) -> Result<Body, Status> {
    let mut replies = Replies { call, replies, broken, ended: false };
    let Some(first) = replies.next().await? else {
        return Ok(Body::empty());
    };
    let rest = stream::unfold(replies, |mut replies| async move {
        let line = match replies.next().await {
            Ok(line) => line?,
            Err(status) => {
                replies.ended = true;
                format!("{}\n", last_line(&status)).into()
            }
        };
        Some((line, replies))
    });
    let lines = stream::once(std::future::ready(first)).chain(rest);
    Ok(Body::from_stream(lines.map(Ok::<_, Infallible>)))
}

struct Replies {
    call: Call,
    replies: Streaming<Bytes>,
    broken: Option<Broken>,
    ended: bool,
}

impl Replies {
    /// The next line; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        if self.ended {
            return Ok(None);
        }
        let reply = match &mut self.broken {
            None => self.replies.message().await?,
            Some(broken) => tokio::select! {
                biased;
                reply = self.replies.message() => reply?,
                Ok(status) = broken => return Err(status),
            },
        };
        let Some(reply) = reply else {
            return Ok(None);
        };
        let mut line = b"{\"result\":".to_vec();
        line.extend(self.call.reply_to_json(reply)?);
        line.extend(b"}\n");
        Ok(Some(line.into()))
    }
}
