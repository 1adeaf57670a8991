//! Reads: how fresh, and the requests that carry them.

use super::{Form, key, known, txn};
use crate::node::request::{Consistency, Request};
use oarlock_proto::v1;
use oarlock_state::Query;
use oarlock_state::command::OutcomeOf;
use oarlock_state::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use oarlock_state::{SessionId, command};

/// How fresh a read is to be; linearizable unless something else is asked for by name.
pub fn consistency(options: Option<&v1::ReadOptions>) -> Form<Consistency> {
    let Some(options) = options else { return Ok(Consistency::Linearizable) };
    Ok(match known(options.consistency, "consistency")? {
        v1::Consistency::Linearizable => Consistency::Linearizable,
        v1::Consistency::Serializable => Consistency::Serializable,
        v1::Consistency::BoundedStaleness => Consistency::Bounded { max_ms: options.max_staleness_ms },
    })
}

/// A read of `query` under these options.
pub fn read(query: Query, options: Option<&v1::ReadOptions>) -> Form<Request> {
    let timeout_ms = options.map_or(0, |options| options.timeout_ms);
    Ok(Request::Read { query, consistency: consistency(options)?, timeout_ms })
}

/// A range read.
pub fn range(request: &v1::RangeRequest) -> Form<Request> {
    read(Query::Range(super::range::query(request)?), request.options.as_ref())
}

/// A transaction that only reads.
pub fn read_txn(form: command::Txn, options: Option<&v1::ReadOptions>) -> Form<Request> {
    debug_assert!(txn::reads_only(&form), "a transaction that writes goes through the log");
    read(Query::ReadTxn(form), options)
}

/// Whether a token is current.
pub fn check_token(request: v1::CheckTokenRequest) -> Form<Request> {
    let Some(guard) = request.guard else {
        return Err(super::invalid(
            "the guard is missing; name a key, node_path, lock or election and its token",
        ));
    };
    read(Query::CheckToken(key::guard(guard)?), request.options.as_ref())
}

/// What became of a request.
pub fn outcome(request: v1::GetOutcomeRequest) -> Form<Request> {
    use v1::get_outcome_request::Of;
    let of = match request.of {
        Some(Of::Request(id)) => {
            if id.session == 0 || id.sequence == 0 {
                return Err(super::invalid("session or sequence is 0; a request is named by both"));
            }
            OutcomeOf::Session { session: SessionId(id.session), sequence: id.sequence }
        }
        Some(Of::IdempotencyKey(key)) => {
            if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
                return Err(super::invalid(format!(
                    "the idempotency key has {} bytes; it must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX}",
                    key.len()
                )));
            }
            OutcomeOf::Idempotency { key }
        }
        None => return Err(super::invalid("nothing is named; name a request or an idempotency key")),
    };
    read(Query::Outcome { request: of }, request.options.as_ref())
}
