//! Answers questions about pools.

use crate::command::Rejection;
use crate::ids::Revision;
use crate::limits::RANGE_BYTES_MAX;
use crate::limits::{OBJECT_NAME_BYTES_MAX, SHARD_NAME_BYTES_MAX};
use crate::pool::ledger::{self, demand_name, is_name};
use crate::pool::records::{Member, Pool, Shard};
use crate::pool::{PoolError, PoolQuery, PoolReply, PoolState, ShardInfo, ShardSet, departure, layout};
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

/// Bytes that a pool takes in a list beside its name, about.
const SUMMARY_BYTES: u64 = 64;

/// Answers a question, as of this stamp.
pub(crate) fn read(view: &dyn View, stamp_ms: u64, query: &PoolQuery) -> Result<PoolReply, Rejection> {
    match query {
        PoolQuery::List { prefix, after, limit } => Ok(list(view, prefix, after, *limit)),
        PoolQuery::State { pool } => Ok(PoolReply::State(Box::new(state(view, stamp_ms, pool)?))),
        PoolQuery::Shard { pool, shard } => Ok(PoolReply::Shard(one(view, pool, shard)?)),
        PoolQuery::NextDue => {
            let first = departure::due(view, u64::MAX, 1).into_iter().next();
            Ok(PoolReply::NextDue(first.map(|note| note.at_ms)))
        }
    }
}

/// The epoch under which somebody owns the primary.
pub(crate) fn epoch(view: &dyn View, pool: &[u8], shard: &[u8]) -> Option<Revision> {
    // An impossible name could reach beyond its pool's records.
    if !is_name(pool, OBJECT_NAME_BYTES_MAX) || !is_name(shard, SHARD_NAME_BYTES_MAX) {
        return None;
    }
    ledger::shard(view, pool, shard)?.primary.owner().map(|owner| owner.epoch)
}

fn existing(view: &dyn View, pool: &Bytes) -> Result<Pool, PoolError> {
    demand_name(pool)?;
    ledger::pool(view, pool).ok_or_else(|| PoolError::PoolNotFound { pool: pool.clone() })
}

fn one(view: &dyn View, pool: &Bytes, shard: &Bytes) -> Result<ShardInfo, PoolError> {
    existing(view, pool)?;
    let entry = ledger::shard(view, pool, shard);
    let absent = || PoolError::ShardNotFound { pool: pool.clone(), shard: shard.clone() };
    Ok(entry.ok_or_else(absent)?.info(shard.clone()))
}

/// The whole pool. Bounded by the limits of its members and shards.
fn state(view: &dyn View, stamp_ms: u64, name: &Bytes) -> Result<PoolState, PoolError> {
    let mut state = existing(view, name)?.state(name.clone(), stamp_ms);
    let part = |key: &[u8]| layout::parse_part(key).map(|(_, part)| part).unwrap_or_default();
    let (from, to) = layout::members(name);
    view.scan(&from, &to, false, &mut |key, record| {
        state.members.push(Member::decode(record).info(part(key)));
        ControlFlow::Continue(())
    });
    let (from, to) = layout::shards(name);
    view.scan(&from, &to, false, &mut |key, record| {
        state.shards.push(Shard::decode(record).info(part(key)));
        ControlFlow::Continue(())
    });
    match state.shards_of {
        ShardSet::Named => {}
        // Decimal numbers are in order of their length first.
        ShardSet::Slots(_) => state
            .shards
            .sort_by(|left, right| (left.shard.len(), &left.shard).cmp(&(right.shard.len(), &right.shard))),
    }
    Ok(state)
}

fn list(view: &dyn View, prefix: &[u8], after: &[u8], limit: u64) -> PoolReply {
    let (from, to) = layout::pools(prefix, after);
    let (mut pools, mut bytes, mut more) = (Vec::new(), 0, false);
    view.scan(&from, &to, false, &mut |key, record| {
        if pools.len() as u64 >= limit || bytes >= RANGE_BYTES_MAX {
            more = true;
            return ControlFlow::Break(());
        }
        let name = layout::parse_pool(key).unwrap_or_default();
        bytes += name.len() as u64 + SUMMARY_BYTES;
        pools.push(Pool::decode(record).summary(name));
        ControlFlow::Continue(())
    });
    PoolReply::Listed { pools, more }
}
