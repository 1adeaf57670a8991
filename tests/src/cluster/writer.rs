//! A client that writes exactly once over every failure, written against the wire alone, so that
//! it tests the server's promise and not the client library's.

use super::process::Node;
use oarlock_proto::v1::{self, kv_client::KvClient, op::Op, sessions_client::SessionsClient};
use prost::Message;
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// One session and its next sequence.
pub struct Writer {
    endpoints: Vec<String>,
    at: usize,
    channel: Option<Channel>,
    /// The session.
    pub session: u64,
    sequence: u64,
}

impl Writer {
    /// Opens a session at whichever endpoint answers.
    pub async fn open(endpoints: Vec<String>, first: usize, timeout_ms: u64) -> Self {
        let mut writer = Self { endpoints, at: first, channel: None, session: 0, sequence: 0 };
        let deadline = Instant::now() + Duration::from_secs(30);
        while writer.session == 0 {
            assert!(Instant::now() < deadline, "no session could be opened within 30 s");
            let request = v1::OpenSessionRequest { timeout_ms, ..Default::default() };
            let attempt = async {
                let channel = writer.connect().await?;
                SessionsClient::new(channel).open(request).await
            };
            match attempt.await {
                Ok(opened) => writer.session = opened.into_inner().session,
                Err(_) => writer.move_on().await,
            }
        }
        writer
    }

    /// Adds one to `key` exactly once, however often it must be sent. Returns the value after, as
    /// the log computed it, and how often it was sent; `None` when `patience` ran out.
    pub async fn add_one(&mut self, key: &str, patience: Duration) -> Option<(i64, u32)> {
        self.sequence += 1;
        let request = self.request(key);
        let deadline = Instant::now() + patience;
        let mut sent = 0;
        while Instant::now() < deadline {
            sent += 1;
            match self.attempt(request.clone()).await {
                Ok(answer) => return Some((added(&answer), sent)),
                Err(status) => self.survive(&status).await,
            }
        }
        None
    }

    fn request(&self, key: &str) -> v1::TxnRequest {
        let update = v1::Update { key: key.to_owned().into(), how: Some(v1::update::How::Add(1)) };
        let txn = v1::Txn { then: vec![v1::Op { op: Some(Op::Update(update)) }], ..Default::default() };
        let request =
            v1::RequestId { session: self.session, sequence: self.sequence, acked_up_to: self.sequence - 1 };
        let options = v1::WriteOptions { request: Some(request), timeout_ms: 2_000, ..Default::default() };
        v1::TxnRequest { txn: Some(txn), options: Some(options), ..Default::default() }
    }

    async fn attempt(&mut self, request: v1::TxnRequest) -> Result<v1::TxnResponse, Status> {
        let channel = self.connect().await?;
        let mut call = tonic::Request::new(request);
        call.set_timeout(Duration::from_secs(3));
        KvClient::new(channel).txn(call).await.map(tonic::Response::into_inner)
    }

    /// A refusal by the log is a bug of the test or of the server; all else means: try elsewhere.
    async fn survive(&mut self, status: &Status) {
        if let Some(error) = detail(status) {
            assert_ne!(error.certainty(), v1::Certainty::Rejected, "refused by the log: {}", error.message);
        }
        self.move_on().await;
    }

    async fn move_on(&mut self) {
        self.channel = None;
        self.at += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    async fn connect(&mut self) -> Result<Channel, Status> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let endpoint = self.endpoints[self.at % self.endpoints.len()].clone();
        let channel = Endpoint::from_shared(endpoint)
            .expect("our own URL is well-formed")
            .connect_timeout(Duration::from_millis(500))
            .connect()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        self.channel = Some(channel.clone());
        Ok(channel)
    }
}

/// The typed error that a status carries.
pub fn detail(status: &Status) -> Option<v1::Error> {
    let bytes = status.metadata().get_bin("oarlock-error-bin")?.to_bytes().ok()?;
    v1::Error::decode(bytes).ok()
}

fn added(answer: &v1::TxnResponse) -> i64 {
    let result = answer.result.as_ref().and_then(|result| result.results.first());
    match result.and_then(|result| result.result.as_ref()) {
        Some(v1::op_result::Result::UpdatedValue(value)) => {
            std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).expect("a counter is a number")
        }
        other => panic!("an update answers with its value, not {other:?}"),
    }
}

/// A linearizable read of one key through `node`.
pub async fn read(node: &Node, key: &str) -> Result<Option<v1::KeyValue>, Status> {
    let range = v1::KeyRange { key: key.to_owned().into(), ..Default::default() };
    let request = v1::RangeRequest { range: Some(range), ..Default::default() };
    let answer = KvClient::new(node.channel().await?).range(request).await?;
    Ok(answer.into_inner().records.into_iter().next())
}

/// An unconditional put through `node`.
pub async fn put(node: &Node, key: &str, value: &[u8], owner: u64) -> Result<v1::PutResponse, Status> {
    let value = value.to_vec().into();
    let request = v1::PutRequest { key: key.to_owned().into(), value, owner, ..Default::default() };
    Ok(KvClient::new(node.channel().await?).put(request).await?.into_inner())
}
