//! Who is at the other end: the first frame each way.

use super::frame::{FrameError, FrameReader, GREETING_BYTES_MAX, put_message};
use bytes::BytesMut;
use oarlock_proto::internal::peer::{Handshake, HandshakeReply, handshake::Purpose};
use oarlock_state::NodeId;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// Version of what travels between members. Raised when an older member could not read it.
pub const PROTOCOL: u32 = 1;
/// How long a stranger may take to say who it is.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Who this member is, as it says in its handshakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its cluster; zero when it has yet to find one.
    pub cluster_id: u64,
    /// Its id; zero when it has yet to get one.
    pub node: NodeId,
    /// Version of its program.
    pub version: &'static str,
}

/// No connection came about.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The bytes made no sense.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other side closed without a word.
    #[error("the other side closed the connection before it said who it is")]
    Closed,
    /// One side does not want the other.
    #[error("refused: {0}")]
    Refused(String),
}

impl From<std::io::Error> for HandshakeError {
    fn from(error: std::io::Error) -> Self {
        Self::Frame(error.into())
    }
}

impl Local {
    /// What it says to `to`; zero when it does not know who is there.
    pub fn greeting(&self, to: NodeId, purpose: Purpose) -> Handshake {
        Handshake {
            protocol: PROTOCOL,
            cluster_id: self.cluster_id,
            from: self.node.get(),
            to: to.get(),
            version: self.version.into(),
            purpose: purpose.into(),
        }
    }

    /// Whether a greeting is meant for this member, and what for.
    ///
    /// # Errors
    /// The reason why not, for both sides to log.
    pub fn check(&self, greeting: &Handshake) -> Result<Purpose, String> {
        if greeting.protocol != PROTOCOL {
            return Err(format!(
                "it speaks version {} of the members' protocol, and this member (version {}) speaks {PROTOCOL}",
                greeting.protocol, self.version
            ));
        }
        let purpose = Purpose::try_from(greeting.purpose)
            .map_err(|_| format!("it has purpose {}, unknown to this member", greeting.purpose))?;
        if purpose == Purpose::Probe {
            return Ok(purpose);
        }
        if greeting.cluster_id != self.cluster_id {
            return Err(format!(
                "it is of cluster {:016x}, and this member is of cluster {:016x}; \
                 see --initial-cluster and --initial-cluster-token of both",
                greeting.cluster_id, self.cluster_id
            ));
        }
        if greeting.to != self.node.get() {
            return Err(format!(
                "it looks for member {:016x}, and here is member {:016x}; an address is used twice",
                greeting.to,
                self.node.get()
            ));
        }
        if greeting.from == 0 || greeting.from == self.node.get() {
            return Err(format!("it calls itself member {:016x}, which cannot be", greeting.from));
        }
        Ok(purpose)
    }

    /// Says who this member is and hears whether it is welcome.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn greet<R: AsyncRead + Unpin>(
        &self,
        to: NodeId,
        purpose: Purpose,
        reader: &mut FrameReader<R>,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<HandshakeReply, HandshakeError> {
        let mut out = BytesMut::new();
        put_message(&mut out, &self.greeting(to, purpose));
        writer.write_all(&out).await?;
        let reply: HandshakeReply = within(reader.message()).await?.ok_or(HandshakeError::Closed)?;
        if reply.accepted { Ok(reply) } else { Err(HandshakeError::Refused(reply.reason)) }
    }

    /// Hears who is there and says whether it is welcome. `objection` may refuse what is well formed.
    ///
    /// # Errors
    /// See [`HandshakeError`]; a refusal has been sent to the other side.
    pub async fn hear<R: AsyncRead + Unpin>(
        &self,
        reader: &mut FrameReader<R>,
        writer: &mut (impl AsyncWrite + Unpin),
        objection: impl FnOnce(NodeId) -> Option<String>,
    ) -> Result<(NodeId, Purpose), HandshakeError> {
        reader.set_limit(GREETING_BYTES_MAX);
        let greeting: Handshake = within(reader.message()).await?.ok_or(HandshakeError::Closed)?;
        let from = NodeId(greeting.from);
        let checked = self.check(&greeting).and_then(|purpose| objection(from).map_or(Ok(purpose), Err));
        let reply = HandshakeReply {
            accepted: checked.is_ok(),
            reason: checked.clone().err().unwrap_or_default(),
            member_id: self.node.get(),
            version: self.version.into(),
        };
        let mut out = BytesMut::new();
        put_message(&mut out, &reply);
        writer.write_all(&out).await?;
        checked.map(|purpose| (from, purpose)).map_err(HandshakeError::Refused)
    }
}

/// Bounds how long a frame may take.
async fn within<T>(reading: impl Future<Output = Result<T, FrameError>>) -> Result<T, FrameError> {
    let silent = |_| FrameError::Silent(PATIENCE.as_millis());
    tokio::time::timeout(PATIENCE, reading).await.map_err(silent)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(node: u64, cluster_id: u64) -> Local {
        Local { cluster_id, node: NodeId(node), version: "1.2.3" }
    }

    async fn meet(caller: Local, callee: Local, to: u64) -> (Result<HandshakeReply, HandshakeError>, bool) {
        let (near, far) = tokio::io::duplex(1024);
        let heard = tokio::spawn(async move {
            let (read, mut write) = tokio::io::split(far);
            let mut reader = FrameReader::new(read, GREETING_BYTES_MAX);
            callee.hear(&mut reader, &mut write, |_| None).await.is_ok()
        });
        let (read, mut write) = tokio::io::split(near);
        let mut reader = FrameReader::new(read, GREETING_BYTES_MAX);
        let greeted = caller.greet(NodeId(to), Purpose::Messages, &mut reader, &mut write).await;
        (greeted, heard.await.expect("no panic"))
    }

    #[tokio::test]
    async fn members_of_a_cluster_meet() {
        let (reply, heard) = meet(local(1, 9), local(2, 9), 2).await;
        assert_eq!((reply.expect("welcome").member_id, heard), (2, true));
    }

    #[tokio::test]
    async fn strangers_hear_why_they_are_refused() {
        for (caller, to, why) in [
            (local(1, 8), 2, "of cluster"),
            (local(1, 9), 3, "looks for member"),
            (local(2, 9), 2, "cannot be"),
            (local(0, 9), 2, "cannot be"),
        ] {
            let (reply, heard) = meet(caller, local(2, 9), to).await;
            let error = reply.expect_err(why).to_string();
            assert!(error.contains(why) && !heard, "{error}");
        }
        let newer = Handshake { protocol: 2, ..local(1, 9).greeting(NodeId(2), Purpose::Messages) };
        assert!(local(2, 9).check(&newer).expect_err("newer").contains("speaks version 2"));
        let odd = Handshake { purpose: 77, ..local(1, 9).greeting(NodeId(2), Purpose::Messages) };
        assert!(local(2, 9).check(&odd).expect_err("odd").contains("purpose 77"));
    }

    #[tokio::test]
    async fn a_probe_needs_no_cluster() {
        let probe = local(0, 0).greeting(NodeId(0), Purpose::Probe);
        assert_eq!(local(2, 9).check(&probe), Ok(Purpose::Probe));
    }
}
