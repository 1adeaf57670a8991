//! What the node answered, as the answer of the operation that was asked.
//!
//! The operation is known here and the answer's kind follows from it. Another kind would be a
//! fault of the server; it is reported as `INTERNAL` and not guessed around.

use super::{key, object_reply, pool_reply, range, txn};
use crate::front::native::errors;
use crate::node::request::Response;
use oarlock_proto::v1;
use oarlock_state::Reply;
use oarlock_state::command::{Answer, OpResult, Outcome, ReplyBody, TxnReply};

/// A converted answer, or the error that is sent in its place.
pub type Out<T> = Result<T, v1::Error>;

/// The changing part of a header; the door adds who it is where that is not known already.
pub fn written_header(reply: &Reply) -> v1::Header {
    v1::Header {
        revision: reply.revision.get(),
        index: reply.index.get(),
        repeated: reply.repeated,
        ..v1::Header::default()
    }
}

/// A write's header, for writes that return nothing else.
pub fn done(response: Response) -> Out<v1::Header> {
    match response {
        Response::Written(reply) => Ok(written_header(&reply)),
        Response::Done => Ok(v1::Header::default()),
        other => Err(unexpected("a write", &other)),
    }
}

/// A put's answer. A repeated one that was too large to remember carries its header alone.
pub fn put(response: Response) -> Out<v1::PutResponse> {
    let (header, mut reply) = txn_reply(response, "a put")?;
    let previous = match reply.results.pop() {
        Some(OpResult::Put { previous }) => previous.map(key::record),
        None => None,
        Some(_) => return Err(errors::internal("a put was answered with the result of another operation")),
    };
    Ok(v1::PutResponse { header: Some(header), previous })
}

/// A delete's answer. A repeated one that was too large to remember carries its header alone.
pub fn delete(response: Response) -> Out<v1::DeleteResponse> {
    let (header, mut reply) = txn_reply(response, "a delete")?;
    let (deleted, previous) = match reply.results.pop() {
        Some(OpResult::Delete { deleted, previous }) => (deleted, key::records(previous)),
        None => (0, Vec::new()),
        Some(_) => {
            return Err(errors::internal("a delete was answered with the result of another operation"));
        }
    };
    Ok(v1::DeleteResponse { header: Some(header), deleted, previous })
}

/// A transaction's answer, whether it went through the log or only read.
pub fn txn(response: Response) -> Out<v1::TxnResponse> {
    let (header, reply) = txn_reply(response, "a transaction")?;
    Ok(v1::TxnResponse { header: Some(header), result: Some(txn::reply(reply)) })
}

fn txn_reply(response: Response, asked: &str) -> Out<(v1::Header, TxnReply)> {
    match response {
        Response::Written(reply) => {
            let header = written_header(&reply);
            match reply.body {
                ReplyBody::Txn(results) => Ok((header, results)),
                _ => Err(errors::internal(format!("{asked} was answered with something else"))),
            }
        }
        Response::Answer { answer: Answer::Txn(results), revision, index } => {
            let header = v1::Header { revision: revision.get(), index, ..v1::Header::default() };
            Ok((header, results))
        }
        other => Err(unexpected(asked, &other)),
    }
}

/// A range's answer.
pub fn range(response: Response) -> Out<v1::RangeResponse> {
    let (header, answer) = answer(response, "a range")?;
    match answer {
        Answer::Range(reply) => Ok(range::response(reply, header)),
        _ => Err(errors::internal("a range was answered with something else")),
    }
}

/// Whether a token is current.
pub fn check_token(response: Response) -> Out<v1::CheckTokenResponse> {
    let (header, answer) = answer(response, "a token check")?;
    match answer {
        Answer::TokenCurrent(current) => Ok(v1::CheckTokenResponse { header: Some(header), current }),
        _ => Err(errors::internal("a token check was answered with something else")),
    }
}

/// What became of a request.
pub fn get_outcome(response: Response) -> Out<v1::GetOutcomeResponse> {
    let (header, answer) = answer(response, "a question for an outcome")?;
    match answer {
        Answer::Outcome(remembered) => Ok(v1::GetOutcomeResponse {
            header: Some(header),
            known: remembered.is_some(),
            outcome: remembered.map(outcome),
        }),
        _ => Err(errors::internal("a question for an outcome was answered with something else")),
    }
}

/// A remembered outcome.
pub fn outcome(outcome: Outcome) -> v1::Outcome {
    use v1::outcome::Result as Kind;
    let (revision, index, result) = match outcome {
        Ok(reply) => {
            let kind = match reply.body {
                ReplyBody::Txn(results) => Kind::Txn(txn::reply(results)),
                // What is remembered is the answer to an operation, never to a question.
                ReplyBody::Object(reply) => {
                    object_reply::result(reply).map_or(Kind::Done(true), Kind::Object)
                }
                ReplyBody::Pool(reply) => pool_reply::result(reply).map_or(Kind::Done(true), Kind::Pool),
                ReplyBody::Done
                | ReplyBody::Tree(_)
                | ReplyBody::SessionOpened { .. }
                | ReplyBody::Expired { .. }
                | ReplyBody::Members(_) => Kind::Done(true),
            };
            (reply.revision.get(), reply.index.get(), kind)
        }
        Err(rejection) => (0, 0, Kind::Rejected(errors::rejection(&rejection))),
    };
    v1::Outcome { revision, index, result: Some(result) }
}

/// What was read, with a header that says at which revision and index.
pub fn answer(response: Response, asked: &str) -> Out<(v1::Header, Answer)> {
    match response {
        Response::Answer { answer, revision, index } => {
            Ok((v1::Header { revision: revision.get(), index, ..v1::Header::default() }, answer))
        }
        other => Err(unexpected(asked, &other)),
    }
}

/// The error for an answer of a kind that does not belong to what was asked.
pub fn unexpected(asked: &str, response: &Response) -> v1::Error {
    let kind = match response {
        Response::Written(_) => "a write's reply",
        Response::Answer { .. } => "a read's answer",
        Response::Alive { .. } => "a keep-alive's answer",
        Response::Members { .. } => "a list of members",
        Response::Done => "a bare confirmation",
        Response::TimeLeft { .. } => "a time that is left",
        Response::Status(_) => "a status",
    };
    errors::internal(format!("{asked} was answered with {kind}"))
}
