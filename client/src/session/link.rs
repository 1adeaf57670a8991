//! One stream to one member, with the session attached to it.

use crate::client::Client;
use crate::endpoints::MESSAGE_BYTES_MAX;
use crate::error::{Error, Result};
use bytes::Bytes;
use oarlock_proto::v1::{self, sessions_client::SessionsClient};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

/// A stream to which the session is attached.
pub(super) struct Link {
    /// Never makes its user wait: one that waits here does not read, and a server whose answers
    /// nobody reads takes nothing more, so both would wait for ever. What bounds it is the number
    /// of unanswered operations and keep-alives.
    frames: mpsc::UnboundedSender<v1::ClientFrame>,
    incoming: Streaming<v1::ServerFrame>,
}

/// The stream is over; another may do better.
pub(super) struct Broken;

impl Link {
    /// Attaches a session to the endpoint that is next in turn.
    pub(super) async fn attach(
        client: &Client,
        turn: usize,
        session: u64,
        secret: Bytes,
    ) -> Result<(Self, v1::Welcome)> {
        let channel = client.inner.endpoints.own_connection(turn).await?;
        let (frames, outgoing) = mpsc::unbounded_channel();
        let hello = v1::Hello { attach: session, secret, open: None };
        let first = v1::ClientFrame { hello: Some(hello), ..Default::default() };
        let hung_up = || Error::Unknown { message: "the stream ended".into() };
        let wire = |status: Status| Error::from_status(&status);
        frames.send(first).map_err(|_| hung_up())?;
        let mut incoming = SessionsClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
            .stream(UnboundedReceiverStream::new(outgoing))
            .await
            .map_err(wire)?
            .into_inner();
        let frame = incoming.message().await.map_err(wire)?.ok_or_else(hung_up)?;
        if let Some(goodbye) = frame.goodbye {
            return Err(Error::from_wire(goodbye));
        }
        let welcome = frame.welcome.ok_or_else(hung_up)?;
        Ok((Self { frames, incoming }, welcome))
    }

    pub(super) fn send(&self, frame: v1::ClientFrame) -> std::result::Result<(), Broken> {
        self.frames.send(frame).map_err(|_| Broken)
    }

    /// The next frame. May be dropped and called again without losing one.
    pub(super) async fn receive(&mut self) -> std::result::Result<v1::ServerFrame, Broken> {
        match self.incoming.message().await {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) | Err(_) => Err(Broken),
        }
    }
}
