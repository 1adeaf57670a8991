//! Oarlock's own API, over unary calls.

use super::watching::{self, Watching};
use super::wire::{Wire, is_of_transport};
use super::{Answer, Freshness, Lease, Record, Step};
use crate::history::{Failure, FailureKind};
use oarlock_client::{compare, op};
use oarlock_proto::v1::maintenance_client::MaintenanceClient;
use oarlock_proto::v1::{self, kv_client::KvClient, sessions_client::SessionsClient};
use prost::Message;
use tonic::{Response, Status};

/// A chunk of a backup is never larger.
const CHUNK_BYTES_MAX: usize = 64 << 20;

pub(super) struct Native {
    wire: Wire,
}

impl Native {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire }
    }

    pub(super) async fn get(&mut self, key: &str, freshness: Freshness) -> Answer<(Option<Record>, u64)> {
        let range = v1::KeyRange { key: key.to_owned().into(), ..Default::default() };
        let (records, at) = self.read(range, freshness).await?;
        Ok((records.into_iter().next(), at))
    }

    pub(super) async fn range(&mut self, prefix: &str, freshness: Freshness) -> Answer<(Vec<Record>, u64)> {
        let range_end = super::end_of_prefix(prefix).into();
        let range = v1::KeyRange { key: prefix.to_owned().into(), range_end };
        self.read(range, freshness).await
    }

    pub(super) async fn keys(&mut self, prefix: &str, freshness: Freshness) -> Answer<Vec<String>> {
        let (records, _) = self.range(prefix, freshness).await?;
        Ok(records.into_iter().map(|record| record.key).collect())
    }

    async fn read(&mut self, range: v1::KeyRange, freshness: Freshness) -> Answer<(Vec<Record>, u64)> {
        let consistency = match freshness {
            Freshness::Linearizable => v1::Consistency::Linearizable,
            Freshness::Serializable => v1::Consistency::Serializable,
        };
        let options = v1::ReadOptions { consistency: consistency.into(), ..Default::default() };
        let request = v1::RangeRequest { range: Some(range), options: Some(options), ..Default::default() };
        let call = async |channel| KvClient::new(channel).range(request).await;
        let answer = self.wire.call(call, failure).await?.into_inner();
        if answer.more {
            return Err(Failure::new(FailureKind::Unknown, "the range does not fit into one page"));
        }
        Ok((answer.records.into_iter().map(record).collect(), revision(answer.header)))
    }

    pub(super) async fn put(&mut self, key: &str, value: &str, owner: u64) -> Answer<u64> {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let request = v1::PutRequest { key, value, owner, ..Default::default() };
        let answer =
            self.wire.call(async |channel| KvClient::new(channel).put(request).await, failure).await?;
        Ok(revision(answer.into_inner().header))
    }

    pub(super) async fn delete(&mut self, key: &str) -> Answer<(bool, u64)> {
        let range = v1::KeyRange { key: key.to_owned().into(), ..Default::default() };
        let request = v1::DeleteRequest { range: Some(range), ..Default::default() };
        let call = async |channel| KvClient::new(channel).delete(request).await;
        let answer = self.wire.call(call, failure).await?.into_inner();
        Ok((answer.deleted > 0, revision(answer.header)))
    }

    pub(super) async fn cas(&mut self, key: &str, expected: Option<&str>, new: &str) -> Answer<(bool, u64)> {
        let condition = match expected {
            Some(value) => compare::value(oarlock_client::key(key.to_owned())).eq(value.to_owned()),
            None => compare::version(oarlock_client::key(key.to_owned())).eq(0u64),
        };
        let then = vec![op::put(key.to_owned(), new.to_owned())];
        let txn = v1::Txn { compare: vec![condition], then, otherwise: Vec::new() };
        let (result, revision) = self.txn(txn).await?;
        Ok((result.succeeded, revision))
    }

    pub(super) async fn transact(
        &mut self,
        unchanged: &[(String, u64)],
        steps: &[Step],
    ) -> Answer<(bool, Vec<Option<Record>>, u64)> {
        let compare = unchanged
            .iter()
            .map(|(key, revision)| compare::mod_revision(oarlock_client::key(key.clone())).eq(*revision))
            .collect();
        let then = steps.iter().map(operation).collect();
        let (result, revision) = self.txn(v1::Txn { compare, then, otherwise: Vec::new() }).await?;
        let reads = result.results.into_iter().filter_map(|result| match result.result {
            Some(v1::op_result::Result::Range(range)) => Some(range.records.into_iter().next().map(record)),
            _ => None,
        });
        Ok((result.succeeded, reads.collect(), revision))
    }

    async fn txn(&mut self, txn: v1::Txn) -> Answer<(v1::TxnResult, u64)> {
        let request = v1::TxnRequest { txn: Some(txn), ..Default::default() };
        let answer =
            self.wire.call(async |channel| KvClient::new(channel).txn(request).await, failure).await?;
        let answer = answer.into_inner();
        Ok((answer.result.unwrap_or_default(), revision(answer.header)))
    }

    pub(super) async fn open(&mut self, timeout_ms: u64) -> Answer<Lease> {
        let request = v1::OpenSessionRequest { timeout_ms, ..Default::default() };
        let call = async |channel| SessionsClient::new(channel).open(request).await;
        let answer = self.wire.call(call, failure).await?.into_inner();
        Ok(Lease { id: answer.session, timeout_ms: answer.timeout_ms })
    }

    pub(super) async fn keep_alive(&mut self, session: u64) -> Answer<u64> {
        let request = v1::KeepAliveRequest { session };
        let call = async |channel| SessionsClient::new(channel).keep_alive(request).await;
        Ok(self.wire.call(call, failure).await?.into_inner().valid_for_ms)
    }

    pub(super) async fn watch(&mut self, prefix: &str, start: u64) -> Answer<Watching> {
        let prefix = prefix.to_owned();
        let call = async |channel| watching::native(channel, prefix, start).await;
        self.wire.call(call, watching::not_begun).await
    }

    pub(super) async fn backup(&mut self) -> Answer<(Vec<u8>, u64)> {
        let call = async |channel| {
            let mut client = MaintenanceClient::new(channel).max_decoding_message_size(CHUNK_BYTES_MAX);
            let mut chunks = client.snapshot(v1::SnapshotRequest {}).await?.into_inner();
            let (mut bytes, mut revision) = (Vec::new(), 0);
            while let Some(chunk) = chunks.message().await? {
                revision = chunk.info.map_or(revision, |info| info.revision);
                bytes.extend_from_slice(&chunk.data);
            }
            Ok((bytes, revision))
        };
        self.wire.call(call, failure).await
    }

    pub(super) async fn close(&mut self, session: u64) -> Answer<()> {
        let request = v1::CloseSessionRequest { session, ..Default::default() };
        let call = async |channel| SessionsClient::new(channel).close(request).await;
        self.wire.call(call, failure).await.map(|_: Response<_>| ())
    }
}

fn operation(step: &Step) -> v1::Op {
    match step {
        Step::Put(key, value) => op::put(key.clone(), value.clone()),
        Step::Get(key) => op::get(key.clone()),
        Step::Append(key, tail) => op::append(key.clone(), tail.clone()),
        Step::Add(key, delta) => op::add(key.clone(), i64::try_from(*delta).unwrap_or(i64::MAX)),
        Step::Delete(key) => op::delete(oarlock_client::key(key.clone())),
    }
}

pub(super) fn record(wire: v1::KeyValue) -> Record {
    Record {
        key: String::from_utf8_lossy(&wire.key).into_owned(),
        value: String::from_utf8_lossy(&wire.value).into_owned(),
        created: wire.create_revision,
        modified: wire.mod_revision,
        owner: wire.owner,
    }
}

pub(super) fn revision(header: Option<v1::Header>) -> u64 {
    header.unwrap_or_default().revision
}

/// The server says itself what became of the request. If the connection broke nobody knows.
fn failure(status: &Status) -> Failure {
    let wire = status.metadata().get_bin("oarlock-error-bin").and_then(|value| value.to_bytes().ok());
    let Some(error) = wire.and_then(|bytes| v1::Error::decode(bytes).ok()) else {
        let kind = if is_of_transport(status) || status.code() == tonic::Code::Cancelled {
            FailureKind::Unknown
        } else {
            FailureKind::Untyped
        };
        return Failure::new(kind, format!("{:?}: {}", status.code(), status.message()));
    };
    let kind = match error.certainty() {
        v1::Certainty::NotProposed => FailureKind::NotProposed,
        v1::Certainty::Rejected => FailureKind::Rejected,
        v1::Certainty::Unknown => FailureKind::Unknown,
        v1::Certainty::Committed | v1::Certainty::Unspecified => FailureKind::Untyped,
    };
    Failure::new(kind, format!("{:?}: {}", error.code(), error.message))
}
