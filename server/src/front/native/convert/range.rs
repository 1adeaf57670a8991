//! Range reads.

use super::{Form, invalid, key};
use oarlock_proto::v1;
use oarlock_state::Revision;
use oarlock_state::command::{RangeQuery, RangeReply};
use oarlock_state::limits::RANGE_BYTES_MAX;

/// What to read. A byte budget above the server's own is lowered to it: the answer then says
/// `more`.
pub fn query(request: &v1::RangeRequest) -> Form<RangeQuery> {
    let query = RangeQuery {
        range: key::range(request.range.clone())?,
        revision: Revision(request.revision),
        limit: request.limit,
        byte_budget: request.byte_budget.min(RANGE_BYTES_MAX),
        whole: false,
        reverse: request.reverse,
        keys_only: request.keys_only,
        count_only: request.count_only,
        want_count: request.want_count,
        min_mod_revision: Revision(request.min_mod_revision),
        max_mod_revision: Revision(request.max_mod_revision),
        min_create_revision: Revision(request.min_create_revision),
        max_create_revision: Revision(request.max_create_revision),
    };
    ordered(query.min_mod_revision, query.max_mod_revision, "mod_revision")?;
    ordered(query.min_create_revision, query.max_create_revision, "create_revision")?;
    Ok(query)
}

fn ordered(min: Revision, max: Revision, field: &str) -> Form<()> {
    if max.get() != 0 && min > max {
        return Err(invalid(format!("min_{field} {min} is above max_{field} {max}; no record could match")));
    }
    Ok(())
}

/// What was read, as an answer of its own.
pub fn response(reply: RangeReply, header: v1::Header) -> v1::RangeResponse {
    v1::RangeResponse {
        header: Some(header),
        records: key::records(reply.records),
        more: reply.more,
        count: reply.count,
    }
}

/// What was read, inside a transaction.
pub fn result(reply: RangeReply) -> v1::op_result::Range {
    v1::op_result::Range { records: key::records(reply.records), more: reply.more, count: reply.count }
}
