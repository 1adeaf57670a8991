//! Commands: one field of `Proposal` for each, and a short form for the commonest.

use super::{FormatError, FormatResult, auth, kv, object, pool, tree};
use bytes::Bytes;
use oarlock_proto::internal::log as pb;
use oarlock_state::command::{Alarm, AlarmKind, KvOp, OpenSession, Put, Txn};
use oarlock_state::{Command, Index, NodeId, Revision, SessionId};
use pb::proposal::Command as Proto;

pub(super) fn to_proto(command: &Command) -> Proto {
    match command {
        Command::Txn(txn) => match lone_put(txn) {
            Some(put) => Proto::Put(kv::put_to_proto(put)),
            None => Proto::Txn(kv::txn_to_proto(txn)),
        },
        Command::Tree(op) => Proto::Tree(tree::to_proto(op)),
        Command::Object(op) => Proto::Object(object::to_proto(op)),
        Command::Pool(op) => Proto::Pool(pool::to_proto(op)),
        Command::Compact { revision } => Proto::Compact(pb::Compact { revision: revision.get() }),
        Command::OpenSession(open) => Proto::OpenSession(open_to_proto(open)),
        Command::CloseSession { session } => Proto::CloseSession(pb::CloseSession { session: session.get() }),
        Command::TouchSessions { sessions } => {
            Proto::TouchSessions(pb::TouchSessions { sessions: sessions.iter().map(|id| id.get()).collect() })
        }
        Command::ExpireSessions { sessions } => Proto::ExpireSessions(pb::ExpireSessions {
            sessions: sessions.iter().map(|(id, _)| id.get()).collect(),
            last_touches: sessions.iter().map(|(_, last_touch)| last_touch.get()).collect(),
        }),
        Command::PublishMember { node, name, client_urls, version } => {
            Proto::PublishMember(pb::PublishMember {
                node: node.get(),
                name: name.clone(),
                client_urls: client_urls.clone(),
                version: version.clone(),
            })
        }
        Command::UpdateMember { node, peer_urls } => {
            Proto::UpdateMember(pb::UpdateMember { node: node.get(), peer_urls: peer_urls.clone() })
        }
        Command::SetAlarm { alarm, raised } => {
            Proto::SetAlarm(pb::SetAlarm { node: alarm.node.get(), kind: alarm.kind as u32, raised: *raised })
        }
        Command::SetDowngrade { target } => Proto::SetDowngrade(pb::SetDowngrade { target: target.clone() }),
        Command::CheckDigest { index, digest } => Proto::CheckDigest(pb::CheckDigest {
            index: index.get(),
            digest: Bytes::copy_from_slice(&digest.to_be_bytes()),
        }),
        Command::Auth(op) => Proto::Auth(auth::to_proto(op)),
    }
}

pub(super) fn from_proto(command: Proto) -> FormatResult<Command> {
    Ok(match command {
        Proto::Txn(txn) => Command::Txn(kv::txn_from_proto(txn)?),
        Proto::Put(put) => {
            Command::Txn(Txn { then: vec![KvOp::Put(kv::put_from_proto(put))], ..Txn::default() })
        }
        Proto::Tree(op) => Command::Tree(tree::from_proto(op)?),
        Proto::Object(op) => Command::Object(object::from_proto(op)?),
        Proto::Pool(op) => Command::Pool(pool::from_proto(op)?),
        Proto::Compact(compact) => Command::Compact { revision: Revision(compact.revision) },
        Proto::OpenSession(open) => Command::OpenSession(open_from_proto(open)?),
        Proto::CloseSession(close) => Command::CloseSession { session: SessionId(close.session) },
        Proto::TouchSessions(touch) => {
            Command::TouchSessions { sessions: touch.sessions.into_iter().map(SessionId).collect() }
        }
        Proto::ExpireSessions(expire) => expire_from_proto(expire)?,
        Proto::PublishMember(member) => Command::PublishMember {
            node: NodeId(member.node),
            name: member.name,
            client_urls: member.client_urls,
            version: member.version,
        },
        Proto::UpdateMember(member) => {
            Command::UpdateMember { node: NodeId(member.node), peer_urls: member.peer_urls }
        }
        Proto::SetAlarm(set) => Command::SetAlarm { alarm: alarm_from_proto(&set)?, raised: set.raised },
        Proto::SetDowngrade(set) => Command::SetDowngrade { target: set.target },
        Proto::CheckDigest(check) => Command::CheckDigest {
            index: Index(check.index),
            digest: u128::from_be_bytes(sixteen("a digest", &check.digest)?),
        },
        Proto::Auth(op) => Command::Auth(auth::from_proto(op)?),
    })
}

fn alarm_from_proto(set: &pb::SetAlarm) -> FormatResult<Alarm> {
    let unknown = FormatError::Unknown { what: "the kind of an alarm", number: set.kind.into() };
    let kind = AlarmKind::from_number(set.kind).ok_or(unknown)?;
    Ok(Alarm { node: NodeId(set.node), kind })
}

/// The put, if the transaction is nothing else.
fn lone_put(txn: &Txn) -> Option<&Put> {
    match (txn.compare.as_slice(), txn.then.as_slice(), txn.otherwise.as_slice()) {
        ([], [KvOp::Put(put)], []) => Some(put),
        (_, _, _) => None,
    }
}

fn open_to_proto(open: &OpenSession) -> pb::OpenSession {
    pb::OpenSession {
        id: open.id.get(),
        secret: Bytes::copy_from_slice(&open.secret),
        timeout_ms: open.timeout_ms,
        principal: open.principal.clone(),
    }
}

fn open_from_proto(open: pb::OpenSession) -> FormatResult<OpenSession> {
    Ok(OpenSession {
        id: SessionId(open.id),
        secret: sixteen("a session's secret", &open.secret)?,
        timeout_ms: open.timeout_ms,
        principal: open.principal,
    })
}

fn expire_from_proto(expire: pb::ExpireSessions) -> FormatResult<Command> {
    let (expected, length) = (expire.sessions.len(), expire.last_touches.len());
    if length != expected {
        return Err(FormatError::WrongLength { what: "an expiry's list of touches", length, expected });
    }
    let sessions =
        expire.sessions.into_iter().map(SessionId).zip(expire.last_touches.into_iter().map(Index)).collect();
    Ok(Command::ExpireSessions { sessions })
}

fn sixteen(what: &'static str, bytes: &Bytes) -> FormatResult<[u8; 16]> {
    bytes.as_ref().try_into().map_err(|_| FormatError::WrongLength {
        what,
        length: bytes.len(),
        expected: 16,
    })
}
