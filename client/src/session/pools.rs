//! What members of pools ask of a session's stream.

use super::Session;
use super::objects::{ATTEMPT_MS, ObjectWatch, mismatch};
use super::watches::Subject;
use crate::error::Result;
use bytes::Bytes;
use oarlock_proto::v1::{self, client_op::Op, pool_answer::Answer, pool_op, server_item::Item};

impl Session {
    /// A write of pools, repeated until it is answered or the session is over.
    pub(crate) async fn write_pool(&self, op: pool_op::Op) -> Result<v1::PoolResponse> {
        let op = Op::Pool(v1::PoolOp { op: Some(within_attempt(op)) });
        match self.submit_patiently(op, Vec::new(), true).await? {
            Item::Pool(response) => Ok(response),
            _ => Err(mismatch()),
        }
    }

    /// A pool with all its members and shards, and the revision that it was read at.
    pub(crate) async fn read_pool(&self, pool: Bytes) -> Result<(v1::PoolInfo, u64)> {
        let describe = v1::DescribePoolRequest { pool, options: None };
        let query = v1::PoolQuery { query: Some(v1::pool_query::Query::Describe(describe)) };
        match self.submit_patiently(Op::PoolQuery(query), Vec::new(), false).await? {
            Item::PoolAnswer(v1::PoolAnswer { answer: Some(Answer::Described(info)), header }) => {
                Ok((info, header.unwrap_or_default().revision))
            }
            _ => Err(mismatch()),
        }
    }

    /// Watches a pool from a revision on.
    pub(crate) async fn watch_pool(&self, pool: Bytes, start: u64) -> Result<ObjectWatch> {
        self.watch_subjects(vec![Subject::Pool(pool)], start).await
    }
}

/// The operation, to be given up by a server in time for a repetition.
fn within_attempt(mut op: pool_op::Op) -> pool_op::Op {
    use pool_op::Op;
    let options = match &mut op {
        Op::Create(request) => &mut request.options,
        Op::SetPolicy(request) => &mut request.options,
        Op::Delete(request) => &mut request.options,
        Op::AddShards(request) => &mut request.options,
        Op::RemoveShards(request) => &mut request.options,
        Op::Join(request) => &mut request.options,
        Op::Leave(request) => &mut request.options,
        Op::Ready(request) => &mut request.options,
        Op::Release(request) => &mut request.options,
        Op::Report(request) => &mut request.options,
        Op::SetMemberState(request) => &mut request.options,
        Op::Pin(request) => &mut request.options,
        Op::SetWeights(request) => &mut request.options,
        Op::Pause(request) => &mut request.options,
        Op::Move(request) => &mut request.options,
        Op::Force(request) => &mut request.options,
    };
    options.get_or_insert_default().timeout_ms = ATTEMPT_MS;
    op
}
