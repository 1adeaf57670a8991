//! Batched frames on one session stream for each client. Writes are exactly-once writes of the
//! client's session, as an application's would be.

use super::load::{Kind, Shared, Tally};
use super::unary;
use oarlock_proto::v1::{self, client_op::Op, sessions_client::SessionsClient};
use rand::SeedableRng;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Keep-alive well within the timeout below.
const TIMEOUT_MS: u64 = 60_000;

/// Keeps `in_flight` operations on their way until told to stop. A failed stream ends the client
/// and counts as one error.
pub async fn client(shared: Arc<Shared>, channel: tonic::transport::Channel) -> Tally {
    let mut tally = Tally::new();
    if let Err(status) = drive(&shared, channel, &mut tally).await {
        tally.record(Instant::now(), Err(status.message().to_owned()));
    }
    tally
}

async fn drive(
    shared: &Shared,
    channel: tonic::transport::Channel,
    tally: &mut Tally,
) -> Result<(), tonic::Status> {
    let (frames, outgoing) = mpsc::channel(64);
    let hello = v1::Hello {
        open: Some(v1::OpenSessionRequest { timeout_ms: TIMEOUT_MS, ..Default::default() }),
        ..Default::default()
    };
    send(&frames, v1::ClientFrame { hello: Some(hello), ..Default::default() }).await?;
    let mut client = SessionsClient::new(channel).max_decoding_message_size(64 << 20);
    let mut incoming = client.stream(ReceiverStream::new(outgoing)).await?.into_inner();
    let mut pipeline = Pipeline::new(shared);
    while let Some(frame) = incoming.message().await? {
        if let Some(goodbye) = frame.goodbye {
            return Err(tonic::Status::unavailable(goodbye.message));
        }
        pipeline.answered(&frame.items, tally);
        let ops = pipeline.fill();
        if ops.is_empty() && pipeline.sent.is_empty() {
            return close(&frames, pipeline.next_id).await;
        }
        if !ops.is_empty() {
            let acked_up_to = pipeline.acked();
            send(&frames, v1::ClientFrame { ops, acked_up_to, ..Default::default() }).await?;
        }
    }
    Ok(())
}

async fn send(frames: &mpsc::Sender<v1::ClientFrame>, frame: v1::ClientFrame) -> Result<(), tonic::Status> {
    frames.send(frame).await.map_err(|_| tonic::Status::unavailable("the stream ended"))
}

/// Ends the session, so that a bench leaves none behind.
async fn close(frames: &mpsc::Sender<v1::ClientFrame>, id: u64) -> Result<(), tonic::Status> {
    let op = v1::ClientOp { id, op: Some(Op::CloseSession(true)), ..Default::default() };
    send(frames, v1::ClientFrame { ops: vec![op], ..Default::default() }).await
}

/// The operations on their way, oldest first. Replies of one stream come in the order sent for
/// writes, and for reads; a bench sends only one kind.
struct Pipeline<'a> {
    shared: &'a Shared,
    random: rand::rngs::SmallRng,
    sent: VecDeque<(u64, Instant)>,
    next_id: u64,
}

impl<'a> Pipeline<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, random: rand::rngs::SmallRng::from_os_rng(), sent: VecDeque::new(), next_id: 1 }
    }

    /// Everything below the oldest one on its way was answered.
    fn acked(&self) -> u64 {
        self.sent.front().map_or(self.next_id, |(id, _)| *id) - 1
    }

    fn answered(&mut self, items: &[v1::ServerItem], tally: &mut Tally) {
        for item in items {
            let Some(position) = self.sent.iter().position(|(id, _)| *id == item.id) else { continue };
            let Some((_, since)) = self.sent.remove(position) else { continue };
            let outcome = match &item.item {
                Some(v1::server_item::Item::Error(error)) => Err(error.message.clone()),
                _ => Ok(()),
            };
            if self.shared.is_measuring() {
                tally.record(since, outcome);
            }
        }
    }

    fn fill(&mut self) -> Vec<v1::ClientOp> {
        let mut ops = Vec::new();
        while self.sent.len() < self.shared.args.in_flight.max(1) {
            let Some(key) = self.shared.next_key(&mut self.random) else { break };
            let (op, exactly_once) = match self.shared.kind {
                Kind::Put | Kind::Fill => (Op::Put(unary::put(self.shared, key)), true),
                Kind::Get => (Op::Range(unary::get(self.shared, key)), false),
            };
            ops.push(v1::ClientOp { id: self.next_id, op: Some(op), exactly_once, ..Default::default() });
            self.sent.push_back((self.next_id, Instant::now()));
            self.next_id += 1;
        }
        ops
    }
}
