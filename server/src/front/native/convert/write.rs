//! Writes: the wrapping that any of them may carry, and the single-operation ones.

use super::{Form, invalid, key, txn};
use crate::node::request::{Request, Write};
use oarlock_proto::v1;
use oarlock_state::command::{IdempotencyKey, KvOp, Put, Txn};
use oarlock_state::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use oarlock_state::{Command, RequestId, SessionId};

/// A command with what may go with any write.
pub fn write(command: Command, options: Option<v1::WriteOptions>) -> Form<Write> {
    let Some(options) = options else { return Ok(Write::of(command)) };
    if options.request.is_some() && options.idempotency.is_some() {
        return Err(invalid("a write is named twice, by request and by idempotency; it can have one name"));
    }
    Ok(Write {
        request: options.request.map(request_id).transpose()?,
        idempotency: options.idempotency.map(idempotency).transpose()?,
        guards: key::guards(options.guards)?,
        command,
        timeout_ms: options.timeout_ms,
    })
}

fn request_id(id: v1::RequestId) -> Form<RequestId> {
    if id.session == 0 {
        return Err(invalid("request.session is 0; leave out `request` for a write without a session"));
    }
    if id.sequence == 0 {
        return Err(invalid("request.sequence is 0; a session's writes count from 1"));
    }
    if id.acked_up_to >= id.sequence {
        return Err(invalid(format!(
            "request.acked_up_to {} covers the request's own sequence {}; a write cannot acknowledge itself",
            id.acked_up_to, id.sequence
        )));
    }
    Ok(RequestId { session: SessionId(id.session), sequence: id.sequence, acked_up_to: id.acked_up_to })
}

fn idempotency(name: v1::IdempotencyKey) -> Form<IdempotencyKey> {
    if name.key.is_empty() || name.key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(invalid(format!(
            "the idempotency key has {} bytes; it must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX}",
            name.key.len()
        )));
    }
    if name.retain_ms == 0 {
        return Err(invalid("idempotency.retain_ms is 0; say for how long the outcome is to be remembered"));
    }
    Ok(IdempotencyKey { key: name.key, retain_ms: name.retain_ms })
}

/// A put, as an operation. Its `options` belong to the request around it.
pub fn put_op(request: v1::PutRequest) -> Form<KvOp> {
    if request.keep_value && !request.value.is_empty() {
        return Err(invalid("keep_value comes with a value; leave one of them out"));
    }
    if request.keep_owner && request.owner != 0 {
        return Err(invalid("keep_owner comes with an owner; leave one of them out"));
    }
    if request.if_absent && (request.keep_value || request.keep_owner) {
        return Err(invalid("if_absent wants the key absent, keep_value and keep_owner want it present"));
    }
    Ok(KvOp::Put(Put {
        key: key::key(request.key)?,
        value: key::value(request.value)?,
        owner: key::owner(request.owner),
        want_previous: request.want_previous,
        keep_value: request.keep_value,
        keep_owner: request.keep_owner,
        if_absent: request.if_absent,
    }))
}

/// A delete, as an operation.
pub fn delete_op(request: v1::DeleteRequest) -> Form<KvOp> {
    Ok(KvOp::Delete { range: key::range(request.range)?, want_previous: request.want_previous })
}

/// A put on its own.
pub fn put(mut request: v1::PutRequest) -> Form<Write> {
    let options = request.options.take();
    write(single(put_op(request)?), options)
}

/// A delete on its own.
pub fn delete(mut request: v1::DeleteRequest) -> Form<Write> {
    let options = request.options.take();
    write(single(delete_op(request)?), options)
}

/// A transaction: a read if it changes nothing on either branch, else a write.
pub fn txn(request: v1::TxnRequest) -> Form<Request> {
    let Some(body) = request.txn else {
        return Err(invalid("the transaction is missing"));
    };
    let body = txn::txn(body)?;
    let named = request.options.as_ref().is_some_and(|options| {
        options.request.is_some() || options.idempotency.is_some() || !options.guards.is_empty()
    });
    if txn::reads_only(&body) && !named {
        return super::read::read_txn(body, request.read_options.as_ref());
    }
    Ok(Request::Write(write(Command::Txn(body), request.options)?))
}

fn single(op: KvOp) -> Command {
    Command::Txn(Txn { compare: Vec::new(), then: vec![op], otherwise: Vec::new() })
}
