//! Reads of the state as it is after the last entry. They change nothing and see no overlay.

use crate::auth;
use crate::command::{Answer, Query, RangeQuery, Rejection};
use crate::limits::RANGE_BYTES_MAX;
use crate::machine::counters::Counters;
use crate::machine::range::{self, Readable};
use crate::machine::{conditions, dedup, form, guard, history, membership, session, txn};
use crate::object;
use crate::pool;
use crate::tree;
use crate::view::View;

/// Answers a question. `owner` is the user who asks, while authentication is on.
pub(super) fn read(
    view: &dyn View,
    counters: &Counters,
    owner: Option<&str>,
    query: &Query,
) -> Result<Answer, Rejection> {
    let readable = Readable::of_counters(counters);
    match query {
        Query::Range(query) => Ok(Answer::Range(read_range(view, readable, query)?)),
        Query::ReadTxn(txn) => Ok(Answer::Txn(txn::read(view, readable, txn)?)),
        Query::Tree(query) => Ok(Answer::Tree(tree::read(view, query)?)),
        Query::Object(query) => Ok(Answer::Object(object::read(view, query)?)),
        Query::Pool(query) => Ok(Answer::Pool(pool::read(view, counters.stamp_ms, query)?)),
        Query::Session { session, want_attached } => session::query(view, *session, *want_attached),
        Query::Sessions { after, limit } => Ok(session::list(view, *after, *limit)),
        Query::Outcome { request } => Ok(dedup::query(view, counters.stamp_ms, owner, request)),
        Query::CheckToken(guard) => Ok(Answer::TokenCurrent(guard::is_current(view, guard))),
        Query::Members => Ok(Answer::Members(membership::all(view))),
        Query::Conditions => Ok(Answer::Conditions(conditions::all(view))),
        Query::History { from, to, byte_budget } => history::read(view, counters, *from, *to, *byte_budget),
        Query::Previous { at } => history::previous(view, counters, *at),
        Query::Auth(query) => Ok(Answer::Auth(auth::read(view, query)?)),
    }
}

fn read_range(
    view: &dyn View,
    readable: Readable,
    query: &RangeQuery,
) -> Result<crate::command::RangeReply, Rejection> {
    form::range(&query.range)?;
    // A stand-alone read may ask for a larger budget than a transaction has for all of its reads.
    let bytes_max = if query.byte_budget == 0 { RANGE_BYTES_MAX } else { query.byte_budget };
    range::read(view, readable, query, bytes_max)
}
