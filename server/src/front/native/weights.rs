//! About how many bytes an answer takes, for bounds on what waits for a slow client.

use crate::node::request::{Response, Result};
use oarlock_state::command::{Answer, KeyValue, OpResult, RangeReply, ReplyBody, TxnReply};
use oarlock_state::object::ObjectReply;
use oarlock_state::object::reply::PlaceInfo;
use oarlock_state::pool::{PoolReply, ShardInfo};

/// Header, tags and lengths of one answer or record.
const OVERHEAD: usize = 48;

/// Bytes of an answer.
pub fn result(result: &Result) -> usize {
    OVERHEAD
        + match result {
            Ok(Response::Answer { answer: Answer::Range(reply), .. }) => range(reply),
            Ok(Response::Answer { answer: Answer::Txn(reply), .. }) => txn(reply),
            Ok(Response::Answer { answer: Answer::Object(reply), .. }) => object(reply),
            Ok(Response::Answer { answer: Answer::Pool(reply), .. }) => pool(reply),
            Ok(Response::Written(reply)) => match &reply.body {
                ReplyBody::Txn(reply) => txn(reply),
                ReplyBody::Object(reply) => object(reply),
                ReplyBody::Pool(reply) => pool(reply),
                _ => 0,
            },
            Ok(_) => 0,
            Err(_) => OVERHEAD,
        }
}

fn range(reply: &RangeReply) -> usize {
    reply.records.iter().map(record).sum()
}

fn txn(reply: &TxnReply) -> usize {
    reply.results.iter().map(op).sum()
}

fn op(result: &OpResult) -> usize {
    match result {
        OpResult::Range(reply) => range(reply),
        OpResult::Put { previous } => previous.as_ref().map_or(0, record),
        OpResult::Delete { previous, .. } => previous.iter().map(record).sum(),
        OpResult::Txn(reply) => txn(reply),
        OpResult::Update { value } => value.len(),
        OpResult::PutSequential { key } => key.len(),
    }
}

fn pool(reply: &PoolReply) -> usize {
    match reply {
        PoolReply::Joined { owned } => owned.iter().map(|(shard, _)| OVERHEAD + shard.len()).sum(),
        PoolReply::Listed { pools, .. } => pools.iter().map(|one| OVERHEAD + one.pool.len()).sum(),
        PoolReply::State(state) => {
            let member = |one: &oarlock_state::pool::MemberInfo| {
                OVERHEAD + one.instance.len() + one.zone.len() + one.address.len() + one.metadata.len()
            };
            state.members.iter().map(member).sum::<usize>() + state.shards.iter().map(shard).sum::<usize>()
        }
        PoolReply::Shard(info) => shard(info),
        PoolReply::Done | PoolReply::NextDue(_) => 0,
    }
}

fn shard(info: &ShardInfo) -> usize {
    let owner = info.primary.owner().map_or(0, |owner| owner.instance.len());
    let copies: usize = info.secondaries.iter().map(|copy| OVERHEAD + copy.instance.len()).sum();
    OVERHEAD + info.shard.len() + owner + copies
}

fn object(reply: &ObjectReply) -> usize {
    let all = |places: &[PlaceInfo]| places.iter().map(place).sum::<usize>();
    match reply {
        ObjectReply::Queued { ahead, .. } => ahead.iter().map(|(name, _)| OVERHEAD + name.len()).sum(),
        ObjectReply::Described(info) => all(&info.holders) + all(&info.withheld) + all(&info.queue),
        ObjectReply::Listed { objects, .. } => objects.iter().map(|one| OVERHEAD + one.name.len()).sum(),
        ObjectReply::OfSession { places, .. } => {
            places.iter().map(|(name, info)| name.len() + place(info)).sum()
        }
        ObjectReply::Why(graph) => graph.edges.iter().map(|edge| OVERHEAD + edge.name.len()).sum(),
        ObjectReply::Done | ObjectReply::Granted { .. } | ObjectReply::NextDue(_) => 0,
    }
}

fn place(place: &PlaceInfo) -> usize {
    2 * OVERHEAD + place.metadata.len() + place.together_with.iter().map(bytes::Bytes::len).sum::<usize>()
}

fn record(record: &KeyValue) -> usize {
    OVERHEAD + record.key.len() + record.value.len()
}
