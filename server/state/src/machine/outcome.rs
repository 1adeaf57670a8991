//! How outcomes are remembered: small, so that a window of them costs little.
//!
//! Results above [`OUTCOME_BYTES_MAX`] are left out, and the keys that refusals name are cut at
//! [`OUTCOME_KEY_BYTES_MAX`]: what matters is whether and at which revision it happened.

use crate::auth::AuthError;
use crate::codec::{Reader, Writer};
use crate::command::{
    KeyValue, Obstacle, OpResult, Outcome, RangeReply, Rejection, Reply, ReplyBody, TokenScope, TxnReply,
};
use crate::ids::{Index, NodeId, Revision, SessionId};
use crate::limits::{OUTCOME_BYTES_MAX, OUTCOME_KEY_BYTES_MAX};
use crate::object;
use crate::pool;
use crate::tree;
use bytes::Bytes;

const FORMAT: u8 = 1;

/// The record of an outcome.
pub(super) fn encode(outcome: &Outcome) -> Bytes {
    let mut writer = Writer::new(FORMAT, 32);
    match outcome {
        Ok(reply) => {
            writer.flag(true);
            writer.number(reply.revision.get());
            writer.number(reply.index.get());
            write_body(&mut writer, &reply.body);
        }
        Err(rejection) => {
            writer.flag(false);
            write_rejection(&mut writer, rejection);
        }
    }
    writer.finish()
}

/// The outcome of a record.
pub(super) fn decode(record: &Bytes) -> Outcome {
    let mut reader = Reader::new("outcome", FORMAT, record);
    let outcome = if reader.flag() {
        Ok(Reply {
            revision: Revision(reader.number()),
            index: Index(reader.number()),
            repeated: false,
            body: read_body(&mut reader),
        })
    } else {
        Err(read_rejection(&mut reader))
    };
    reader.end();
    outcome
}

fn write_body(writer: &mut Writer, body: &ReplyBody) {
    match body {
        // The members are no part of what a repetition must learn; it may ask for them.
        ReplyBody::Done | ReplyBody::Members(_) => writer.byte(0),
        ReplyBody::Txn(reply) => {
            writer.byte(1);
            let fits = results_bytes(&reply.results) <= OUTCOME_BYTES_MAX;
            write_txn(writer, reply, fits);
        }
        ReplyBody::Tree(reply) => {
            writer.byte(2);
            tree::write_reply(writer, &tree::remembered(reply, OUTCOME_BYTES_MAX));
        }
        ReplyBody::Object(reply) => {
            writer.byte(16);
            object::write_reply(writer, reply);
        }
        ReplyBody::Pool(reply) => {
            writer.byte(17);
            pool::write_reply(writer, reply);
        }
        ReplyBody::SessionOpened { session, timeout_ms } => {
            writer.byte(3);
            writer.number(session.get());
            writer.number(*timeout_ms);
        }
        ReplyBody::Expired { ended } => {
            writer.byte(4);
            let fits = ended.len() * 10 <= OUTCOME_BYTES_MAX;
            let ended = if fits { ended.as_slice() } else { &[] };
            writer.number(ended.len() as u64);
            ended.iter().for_each(|session| writer.number(session.get()));
        }
    }
}

fn read_body(reader: &mut Reader<'_>) -> ReplyBody {
    match reader.byte() {
        0 => ReplyBody::Done,
        1 => ReplyBody::Txn(read_txn(reader)),
        2 => ReplyBody::Tree(tree::read_reply(reader)),
        3 => ReplyBody::SessionOpened { session: SessionId(reader.number()), timeout_ms: reader.number() },
        4 => {
            let ended = (0..reader.number()).map(|_| SessionId(reader.number())).collect();
            ReplyBody::Expired { ended }
        }
        16 => ReplyBody::Object(object::read_reply(reader)),
        17 => ReplyBody::Pool(pool::read_reply(reader)),
        _ => reader.complain("unknown reply"),
    }
}

/// About how many bytes results take, without writing them.
fn results_bytes(results: &[OpResult]) -> usize {
    const OVERHEAD: usize = 8;
    let key_value = |kv: &KeyValue| kv.key.len() + kv.value.len() + 5 * OVERHEAD;
    let one = |result: &OpResult| match result {
        OpResult::Range(reply) => reply.records.iter().map(key_value).sum(),
        OpResult::Put { previous } => previous.as_ref().map_or(0, key_value),
        OpResult::Delete { previous, .. } => previous.iter().map(key_value).sum(),
        OpResult::Txn(reply) => results_bytes(&reply.results),
        OpResult::Update { value } => value.len(),
        OpResult::PutSequential { key } => key.len(),
    };
    results.iter().map(|result| one(result) + OVERHEAD).sum()
}

fn write_txn(writer: &mut Writer, reply: &TxnReply, with_results: bool) {
    let results = if with_results { reply.results.as_slice() } else { &[] };
    writer.flag(reply.succeeded);
    writer.number(results.len() as u64);
    for result in results {
        match result {
            OpResult::Range(reply) => {
                writer.byte(0);
                write_key_values(writer, &reply.records);
                writer.flag(reply.more);
                writer.number(reply.count);
            }
            OpResult::Put { previous } => {
                writer.byte(1);
                write_key_values(writer, previous.as_slice());
            }
            OpResult::Delete { deleted, previous } => {
                writer.byte(2);
                writer.number(*deleted);
                write_key_values(writer, previous);
            }
            OpResult::Txn(reply) => {
                writer.byte(3);
                write_txn(writer, reply, true);
            }
            OpResult::Update { value } => {
                writer.byte(4);
                writer.bytes(value);
            }
            OpResult::PutSequential { key } => {
                writer.byte(5);
                writer.bytes(key);
            }
        }
    }
}

fn read_txn(reader: &mut Reader<'_>) -> TxnReply {
    let succeeded = reader.flag();
    let results = (0..reader.number()).map(|_| read_result(reader)).collect();
    TxnReply { succeeded, results }
}

fn read_result(reader: &mut Reader<'_>) -> OpResult {
    match reader.byte() {
        0 => OpResult::Range(RangeReply {
            records: read_key_values(reader),
            more: reader.flag(),
            count: reader.number(),
        }),
        1 => OpResult::Put { previous: read_key_values(reader).pop() },
        2 => OpResult::Delete { deleted: reader.number(), previous: read_key_values(reader) },
        3 => OpResult::Txn(read_txn(reader)),
        4 => OpResult::Update { value: reader.bytes() },
        5 => OpResult::PutSequential { key: reader.bytes() },
        _ => reader.complain("unknown result"),
    }
}

fn write_key_values(writer: &mut Writer, records: &[KeyValue]) {
    writer.number(records.len() as u64);
    for record in records {
        writer.bytes(&record.key);
        writer.bytes(&record.value);
        writer.number(record.create_revision.get());
        writer.number(record.mod_revision.get());
        writer.number(record.version);
        writer.number(record.owner.get());
    }
}

fn read_key_values(reader: &mut Reader<'_>) -> Vec<KeyValue> {
    let count = reader.number();
    let one = |_| KeyValue {
        key: reader.bytes(),
        value: reader.bytes(),
        create_revision: Revision(reader.number()),
        mod_revision: Revision(reader.number()),
        version: reader.number(),
        owner: SessionId(reader.number()),
    };
    (0..count).map(one).collect()
}

fn write_key(writer: &mut Writer, key: &Bytes) {
    writer.bytes(&key[..key.len().min(OUTCOME_KEY_BYTES_MAX)]);
}

fn write_rejection(writer: &mut Writer, rejection: &Rejection) {
    match rejection {
        Rejection::KeyEmpty => writer.byte(0),
        Rejection::TooLarge { what, size, limit } => {
            writer.byte(1);
            writer.text(what);
            writer.number(*size);
            writer.number(*limit);
        }
        Rejection::DuplicateKey { key } => {
            writer.byte(2);
            write_key(writer, key);
        }
        Rejection::KeyNotFound { key } => {
            writer.byte(3);
            write_key(writer, key);
        }
        Rejection::KeyExists { key } => {
            writer.byte(4);
            write_key(writer, key);
        }
        Rejection::BadValue { key, reason } => {
            writer.byte(5);
            write_key(writer, key);
            writer.text(reason);
        }
        Rejection::Compacted { asked, oldest } => write_pair(writer, 6, asked.get(), oldest.get()),
        Rejection::FutureRevision { asked, current } => {
            write_pair(writer, 7, asked.get(), current.get());
        }
        Rejection::SessionNotFound { session } => write_pair(writer, 8, session.get(), 0),
        Rejection::SessionExists { session } => write_pair(writer, 9, session.get(), 0),
        Rejection::StaleSequence { sequence, acked_up_to } => {
            write_pair(writer, 10, *sequence, *acked_up_to);
        }
        Rejection::WindowFull { sequence, window_end } => {
            write_pair(writer, 11, *sequence, *window_end);
        }
        Rejection::Fenced { scope, token } => write_fenced(writer, scope, *token),
        Rejection::Tree(error) => {
            writer.byte(13);
            tree::write_error(writer, error);
        }
        Rejection::Object(error) => {
            writer.byte(32);
            object::write_error(writer, error);
        }
        Rejection::Pool(error) => {
            writer.byte(33);
            pool::write_error(writer, error);
        }
        Rejection::MemberNotFound { node } => write_pair(writer, 14, node.get(), 0),
        Rejection::MembershipRefused { obstacle, reason } => {
            writer.byte(16);
            writer.byte(*obstacle as u8);
            writer.text(reason);
        }
        Rejection::Auth(error) => {
            let place = AuthError::ALL.iter().position(|one| one == error);
            writer.byte(17);
            writer.number(place.expect("ALL holds all, as its test proves") as u64);
        }
    }
}

fn write_fenced(writer: &mut Writer, scope: &TokenScope, token: Revision) {
    let (number, key, part) = match scope {
        TokenScope::Key(key) => (0, key, None),
        TokenScope::Node(path) => (1, path, None),
        TokenScope::Lock(name) => (2, name, None),
        TokenScope::Election(name) => (3, name, None),
        TokenScope::Shard { pool, shard } => (4, pool, Some(shard)),
    };
    writer.byte(12);
    writer.byte(number);
    write_key(writer, key);
    if let Some(part) = part {
        write_key(writer, part);
    }
    writer.number(token.get());
}

fn write_pair(writer: &mut Writer, tag: u8, first: u64, second: u64) {
    writer.byte(tag);
    writer.number(first);
    writer.number(second);
}

fn read_rejection(reader: &mut Reader<'_>) -> Rejection {
    let tag = reader.byte();
    if let 6..=11 | 14 = tag {
        let (first, second) = (reader.number(), reader.number());
        return read_pair(reader, tag, first, second);
    }
    match tag {
        0 => Rejection::KeyEmpty,
        1 => Rejection::TooLarge { what: known_text(reader), size: reader.number(), limit: reader.number() },
        2 => Rejection::DuplicateKey { key: reader.bytes() },
        3 => Rejection::KeyNotFound { key: reader.bytes() },
        4 => Rejection::KeyExists { key: reader.bytes() },
        5 => Rejection::BadValue { key: reader.bytes(), reason: known_text(reader) },
        12 => {
            let scope = match reader.byte() {
                0 => TokenScope::Key,
                1 => TokenScope::Node,
                2 => TokenScope::Lock,
                3 => TokenScope::Election,
                4 => |pool| TokenScope::Shard { pool, shard: Bytes::new() },
                _ => reader.complain("unknown scope of a token"),
            };
            let mut scope = scope(reader.bytes());
            if let TokenScope::Shard { shard, .. } = &mut scope {
                *shard = reader.bytes();
            }
            Rejection::Fenced { scope, token: Revision(reader.number()) }
        }
        13 => Rejection::Tree(tree::read_error(reader)),
        32 => Rejection::Object(object::read_error(reader)),
        33 => Rejection::Pool(pool::read_error(reader)),
        15 => Rejection::MembershipRefused { obstacle: Obstacle::Other, reason: reader.text() },
        16 => Rejection::MembershipRefused {
            obstacle: Obstacle::from_number(reader.byte().into()),
            reason: reader.text(),
        },
        17 => match usize::try_from(reader.number()).ok().and_then(|place| AuthError::ALL.get(place)) {
            Some(error) => Rejection::Auth(*error),
            None => reader.complain("unknown refusal of authentication"),
        },
        _ => reader.complain("unknown refusal"),
    }
}

fn read_pair(reader: &Reader<'_>, tag: u8, first: u64, second: u64) -> Rejection {
    match tag {
        6 => Rejection::Compacted { asked: Revision(first), oldest: Revision(second) },
        7 => Rejection::FutureRevision { asked: Revision(first), current: Revision(second) },
        8 => Rejection::SessionNotFound { session: SessionId(first) },
        9 => Rejection::SessionExists { session: SessionId(first) },
        10 => Rejection::StaleSequence { sequence: first, acked_up_to: second },
        11 => Rejection::WindowFull { sequence: first, window_end: second },
        14 => Rejection::MemberNotFound { node: NodeId(first) },
        _ => reader.complain("unknown refusal"),
    }
}

/// Texts that refusals carry. A text that is not here (any more) reads as the first one.
const TEXTS: [&str; 23] = [
    "something",
    "bytes of the key",
    "bytes of the value",
    "bytes of the value after appending",
    "bytes of the removed records to return",
    "bytes of the idempotency key",
    "bytes of the principal's name",
    "bytes that describe the member",
    "bytes of the user's name",
    "bytes of the role's name",
    "bytes of the password's hash",
    "bytes of the secret",
    "number of the user's roles",
    "number of the role's permissions",
    "number of keys to delete at once",
    "number of operations and comparisons",
    "number of writes in a read-only transaction",
    "number of guards",
    "number of sessions",
    "depth of nested transactions",
    "session id",
    super::update::OVERFLOW,
    super::update::NOT_A_NUMBER,
];

fn known_text(reader: &mut Reader<'_>) -> &'static str {
    let text = reader.text();
    TEXTS.into_iter().find(|known| *known == text).unwrap_or(TEXTS[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TreeError;

    fn key() -> Bytes {
        Bytes::from_static(b"key")
    }

    fn round_trip(outcome: Outcome) {
        assert_eq!(decode(&encode(&outcome)), outcome);
    }

    fn reply(body: ReplyBody) -> Outcome {
        Ok(Reply { revision: Revision(300), index: Index(7), repeated: false, body })
    }

    fn record(value_bytes: usize) -> KeyValue {
        KeyValue {
            key: key(),
            value: vec![b'v'; value_bytes].into(),
            create_revision: Revision(1),
            mod_revision: Revision(2),
            version: 3,
            owner: SessionId(4),
        }
    }

    #[test]
    fn small_replies_are_remembered_whole() {
        let inner = TxnReply { succeeded: false, results: vec![OpResult::Update { value: key() }] };
        let results = vec![
            OpResult::Range(RangeReply { records: vec![record(1)], more: true, count: 9 }),
            OpResult::Put { previous: None },
            OpResult::Put { previous: Some(record(2)) },
            OpResult::Delete { deleted: 5, previous: vec![record(3), record(4)] },
            OpResult::Txn(inner),
            OpResult::PutSequential { key: key() },
        ];
        round_trip(reply(ReplyBody::Txn(TxnReply { succeeded: true, results })));
        round_trip(reply(ReplyBody::Done));
        round_trip(reply(ReplyBody::SessionOpened { session: SessionId(1), timeout_ms: 2 }));
        round_trip(reply(ReplyBody::Expired { ended: vec![SessionId(1), SessionId(2)] }));
        round_trip(reply(ReplyBody::Tree(tree::TreeReply::Deleted)));
        round_trip(reply(ReplyBody::Object(object::ObjectReply::Granted { token: Revision(300) })));
        round_trip(reply(ReplyBody::Pool(pool::PoolReply::Joined { owned: vec![(key(), Revision(300))] })));
    }

    #[test]
    fn large_results_are_left_out() {
        let results = vec![OpResult::Put { previous: Some(record(OUTCOME_BYTES_MAX)) }];
        let outcome = reply(ReplyBody::Txn(TxnReply { succeeded: true, results }));
        let stored = encode(&outcome);
        assert!(stored.len() < 16, "{}", stored.len());
        let without = TxnReply { succeeded: true, results: Vec::new() };
        assert_eq!(decode(&stored), reply(ReplyBody::Txn(without)));
    }

    #[test]
    fn refusals_are_remembered() {
        let (session, node) = (SessionId(1), NodeId(2));
        let (asked, oldest, current) = (Revision(3), Revision(4), Revision(5));
        let refusals = [
            Rejection::KeyEmpty,
            Rejection::DuplicateKey { key: key() },
            Rejection::KeyNotFound { key: key() },
            Rejection::KeyExists { key: key() },
            Rejection::Compacted { asked, oldest },
            Rejection::FutureRevision { asked, current },
            Rejection::SessionNotFound { session },
            Rejection::SessionExists { session },
            Rejection::StaleSequence { sequence: 1, acked_up_to: 2 },
            Rejection::WindowFull { sequence: 3, window_end: 4 },
            Rejection::Fenced { scope: TokenScope::Key(key()), token: asked },
            Rejection::Fenced { scope: TokenScope::Node(key()), token: asked },
            Rejection::Fenced { scope: TokenScope::Lock(key()), token: asked },
            Rejection::Fenced { scope: TokenScope::Election(key()), token: asked },
            Rejection::Fenced {
                scope: TokenScope::Shard { pool: key(), shard: Bytes::from_static(b"7") },
                token: asked,
            },
            Rejection::Object(object::ObjectError::Busy { name: key() }),
            Rejection::Pool(pool::PoolError::PoolNotFound { pool: key() }),
            Rejection::Tree(TreeError::NoNode { path: key() }),
            Rejection::MemberNotFound { node },
            Rejection::MembershipRefused { obstacle: Obstacle::NotNow, reason: "why".to_owned() },
        ];
        refusals.into_iter().for_each(|refusal| round_trip(Err(refusal)));
        AuthError::ALL.into_iter().for_each(|error| round_trip(Err(Rejection::Auth(error))));
        for text in TEXTS {
            round_trip(Err(Rejection::TooLarge { what: text, size: 2, limit: 1 }));
            round_trip(Err(Rejection::BadValue { key: key(), reason: text }));
        }
    }

    #[test]
    fn keys_in_refusals_are_cut() {
        let long = Bytes::from(vec![b'k'; 10_000]);
        let stored = encode(&Err(Rejection::KeyExists { key: long.clone() }));
        let cut = long.slice(..OUTCOME_KEY_BYTES_MAX);
        assert_eq!(decode(&stored), Err(Rejection::KeyExists { key: cut }));
    }
}
