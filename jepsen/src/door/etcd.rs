//! etcd's API.

use super::watching::{self, Watching};
use super::wire::Wire;
use super::{Answer, Freshness, Lease, Record, Step, end_of_prefix};
use crate::history::{Failure, FailureKind};
use oarlock_proto::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use oarlock_proto::etcd::etcdserverpb::{self as pb, kv_client::KvClient, lease_client::LeaseClient};
use oarlock_proto::etcd::mvccpb;
use oarlock_proto::etcd::v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient};
use tonic::{Code, Response, Status};

pub(super) struct Etcd {
    wire: Wire,
}

impl Etcd {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire }
    }

    pub(super) async fn get(&mut self, key: &str, freshness: Freshness) -> Answer<(Option<Record>, u64)> {
        let (records, at) = self.read(key, Vec::new(), freshness).await?;
        Ok((records.into_iter().next(), at))
    }

    pub(super) async fn range(&mut self, prefix: &str, freshness: Freshness) -> Answer<(Vec<Record>, u64)> {
        self.read(prefix, end_of_prefix(prefix), freshness).await
    }

    pub(super) async fn keys(&mut self, prefix: &str, freshness: Freshness) -> Answer<Vec<String>> {
        let (records, _) = self.range(prefix, freshness).await?;
        Ok(records.into_iter().map(|record| record.key).collect())
    }

    async fn read(&mut self, key: &str, end: Vec<u8>, freshness: Freshness) -> Answer<(Vec<Record>, u64)> {
        let request = pb::RangeRequest {
            key: key.to_owned().into(),
            range_end: end.into(),
            serializable: freshness == Freshness::Serializable,
            ..Default::default()
        };
        let call = async |channel| KvClient::new(channel).range(request).await;
        let answer = self.wire.call(call, failure).await?.into_inner();
        Ok((answer.kvs.into_iter().map(record).collect(), revision(answer.header)))
    }

    pub(super) async fn put(&mut self, key: &str, value: &str, owner: u64) -> Answer<u64> {
        let lease = i64::try_from(owner).unwrap_or(0);
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let request = pb::PutRequest { key, value, lease, ..Default::default() };
        let answer =
            self.wire.call(async |channel| KvClient::new(channel).put(request).await, failure).await?;
        Ok(revision(answer.into_inner().header))
    }

    pub(super) async fn delete(&mut self, key: &str) -> Answer<(bool, u64)> {
        let request = pb::DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() };
        let call = async |channel| KvClient::new(channel).delete_range(request).await;
        let answer = self.wire.call(call, failure).await?.into_inner();
        Ok((answer.deleted > 0, revision(answer.header)))
    }

    pub(super) async fn cas(&mut self, key: &str, expected: Option<&str>, new: &str) -> Answer<(bool, u64)> {
        let (target, union) = match expected {
            Some(value) => (CompareTarget::Value, TargetUnion::Value(value.to_owned().into())),
            None => (CompareTarget::Version, TargetUnion::Version(0)),
        };
        let condition = is_equal(key, target, union);
        let success = vec![operation(&Step::Put(key.to_owned(), new.to_owned()))?];
        let request = pb::TxnRequest { compare: vec![condition], success, failure: Vec::new() };
        let answer = self.txn(request).await?;
        Ok((answer.succeeded, revision(answer.header)))
    }

    pub(super) async fn transact(
        &mut self,
        unchanged: &[(String, u64)],
        steps: &[Step],
    ) -> Answer<(bool, Vec<Option<Record>>, u64)> {
        let compare = unchanged
            .iter()
            .map(|(key, revision)| {
                let revision = i64::try_from(*revision).unwrap_or(i64::MAX);
                is_equal(key, CompareTarget::Mod, TargetUnion::ModRevision(revision))
            })
            .collect();
        let success = steps.iter().map(operation).collect::<Answer<_>>()?;
        let answer = self.txn(pb::TxnRequest { compare, success, failure: Vec::new() }).await?;
        let reads = answer.responses.into_iter().filter_map(|response| match response.response {
            Some(pb::response_op::Response::ResponseRange(range)) => {
                Some(range.kvs.into_iter().next().map(record))
            }
            _ => None,
        });
        Ok((answer.succeeded, reads.collect(), revision(answer.header)))
    }

    async fn txn(&mut self, request: pb::TxnRequest) -> Answer<pb::TxnResponse> {
        let call = async |channel| KvClient::new(channel).txn(request).await;
        self.wire.call(call, failure).await.map(Response::into_inner)
    }

    /// A lease's time is in whole seconds.
    pub(super) async fn open(&mut self, timeout_ms: u64) -> Answer<Lease> {
        let seconds = i64::try_from(timeout_ms.div_ceil(1000)).unwrap_or(i64::MAX);
        let request = pb::LeaseGrantRequest { ttl: seconds, id: 0 };
        let call = async |channel| LeaseClient::new(channel).lease_grant(request).await;
        let answer = self.wire.call(call, failure).await?.into_inner();
        let positive = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Lease { id: positive(answer.id), timeout_ms: positive(answer.ttl) * 1000 })
    }

    pub(super) async fn keep_alive(&mut self, session: u64) -> Answer<u64> {
        let request = pb::LeaseKeepAliveRequest { id: i64::try_from(session).unwrap_or(0) };
        let call = async |channel| {
            let requests = futures::stream::iter([request]);
            let mut answers = LeaseClient::new(channel).lease_keep_alive(requests).await?.into_inner();
            answers.message().await?.ok_or_else(|| Status::unknown("the stream ended without an answer"))
        };
        let answer = self.wire.call(call, failure).await?;
        match u64::try_from(answer.ttl) {
            Ok(0) | Err(_) => Err(Failure::new(FailureKind::Rejected, "the lease does not exist")),
            Ok(seconds) => Ok(seconds * 1000),
        }
    }

    pub(super) async fn watch(&mut self, prefix: &str, start: u64) -> Answer<Watching> {
        let prefix = prefix.to_owned();
        let call = async |channel| watching::etcd(channel, prefix, start).await;
        self.wire.call(call, watching::not_begun).await
    }

    /// If the connection breaks while it waits, the server leaves the queue; the lease does at the latest.
    pub(super) async fn lock(&mut self, name: &str, session: u64) -> Answer<String> {
        let request =
            LockRequest { name: name.to_owned().into(), lease: i64::try_from(session).unwrap_or(0) };
        let call = async |channel| LockClient::new(channel).lock(request).await;
        let answer = self.wire.call(call, failure).await?.into_inner();
        Ok(String::from_utf8_lossy(&answer.key).into_owned())
    }

    pub(super) async fn unlock(&mut self, key: &str) -> Answer<()> {
        let request = UnlockRequest { key: key.to_owned().into() };
        let call = async |channel| LockClient::new(channel).unlock(request).await;
        self.wire.call(call, failure).await.map(|_: Response<_>| ())
    }

    pub(super) async fn close(&mut self, session: u64) -> Answer<()> {
        let request = pb::LeaseRevokeRequest { id: i64::try_from(session).unwrap_or(0) };
        let call = async |channel| LeaseClient::new(channel).lease_revoke(request).await;
        self.wire.call(call, failure).await.map(|_: Response<_>| ())
    }
}

fn is_equal(key: &str, target: CompareTarget, union: TargetUnion) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: key.to_owned().into(),
        target_union: Some(union),
        ..Default::default()
    }
}

fn operation(step: &Step) -> Answer<pb::RequestOp> {
    use pb::request_op::Request;
    let request = match step {
        Step::Put(key, value) => Request::RequestPut(pb::PutRequest {
            key: key.clone().into(),
            value: value.clone().into(),
            ..Default::default()
        }),
        Step::Get(key) => {
            Request::RequestRange(pb::RangeRequest { key: key.clone().into(), ..Default::default() })
        }
        Step::Delete(key) => {
            let key = key.clone().into();
            Request::RequestDeleteRange(pb::DeleteRangeRequest { key, ..Default::default() })
        }
        Step::Append(_, _) | Step::Add(_, _) => {
            return Err(Failure::new(FailureKind::NotProposed, "etcd's transactions do not compute"));
        }
    };
    Ok(pb::RequestOp { request: Some(request) })
}

pub(super) fn record(wire: mvccpb::KeyValue) -> Record {
    let positive = |number: i64| u64::try_from(number).unwrap_or(0);
    Record {
        key: String::from_utf8_lossy(&wire.key).into_owned(),
        value: String::from_utf8_lossy(&wire.value).into_owned(),
        created: positive(wire.create_revision),
        modified: positive(wire.mod_revision),
        owner: positive(wire.lease),
    }
}

pub(super) fn revision(header: Option<pb::ResponseHeader>) -> u64 {
    u64::try_from(header.unwrap_or_default().revision).unwrap_or(0)
}

/// etcd's codes say whether it happened for refusals alone; of the unavailable ones only few texts
/// are certain.
fn failure(status: &Status) -> Failure {
    let text = status.message();
    let never = ["etcdserver: no leader", "etcdserver: too many requests", "etcdserver: not capable"];
    let kind = match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => FailureKind::Rejected,
        _ if never.iter().any(|words| text.starts_with(words)) => FailureKind::NotProposed,
        _ => FailureKind::Unknown,
    };
    Failure::new(kind, format!("{:?}: {text}", status.code()))
}
