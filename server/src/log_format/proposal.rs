//! A proposal's envelope: who waits for it, under which name it is remembered, what guards it.

use super::{FormatResult, command, required};
use oarlock_proto::internal::log as pb;
use oarlock_state::command::{Guard, IdempotencyKey, TokenScope};
use oarlock_state::{Caller, NodeId, Principal, Proposal, ProposalId, RequestId, Revision, SessionId};

/// The proposal as the log and the peers' messages carry it.
pub fn proposal_to_proto(proposal: &Proposal) -> pb::Proposal {
    let idempotency = proposal.idempotency.as_ref();
    pb::Proposal {
        id: Some(id_to_proto(proposal.id)),
        request: proposal.request.map(request_to_proto),
        idempotency_key: idempotency.map(|name| name.key.clone()).unwrap_or_default(),
        idempotency_retain_ms: idempotency.map(|name| name.retain_ms).unwrap_or_default(),
        guards: proposal.guards.iter().map(guard_to_proto).collect(),
        principal: match &proposal.caller {
            Caller::User(principal) => Some(principal_to_proto(principal)),
            Caller::Anonymous | Caller::Server => None,
        },
        by_server: proposal.caller == Caller::Server,
        command: Some(command::to_proto(&proposal.command)),
    }
}

/// The proposal that [`proposal_to_proto`] wrote.
///
/// # Errors
/// It is of a later version or damaged.
pub fn proposal_from_proto(proposal: pb::Proposal) -> FormatResult<Proposal> {
    Ok(Proposal {
        id: id_from_proto(&required(proposal.id, "a proposal's id")?),
        request: proposal.request.map(request_from_proto),
        // An empty key names nothing and is refused at the door, so emptiness can mean absence.
        idempotency: (!proposal.idempotency_key.is_empty()).then_some(IdempotencyKey {
            key: proposal.idempotency_key,
            retain_ms: proposal.idempotency_retain_ms,
        }),
        guards: proposal.guards.into_iter().map(guard_from_proto).collect::<FormatResult<_>>()?,
        caller: match proposal.principal {
            Some(pb::Principal { name, proven_at }) => Caller::user(name, proven_at),
            None if proposal.by_server => Caller::Server,
            None => Caller::Anonymous,
        },
        command: command::from_proto(required(proposal.command, "a proposal's command")?)?,
    })
}

/// A proposal's id as the log and the peers' messages carry it.
pub fn id_to_proto(id: ProposalId) -> pb::ProposalId {
    pb::ProposalId { node: id.node.get(), boot: id.boot, count: id.count }
}

/// The id that [`id_to_proto`] wrote.
pub fn id_from_proto(id: &pb::ProposalId) -> ProposalId {
    ProposalId { node: NodeId(id.node), boot: id.boot, count: id.count }
}

fn principal_to_proto(principal: &Principal) -> pb::Principal {
    pb::Principal { name: principal.name.clone(), proven_at: principal.proven_at }
}

fn request_to_proto(request: RequestId) -> pb::RequestId {
    pb::RequestId {
        session: request.session.get(),
        sequence: request.sequence,
        acked_up_to: request.acked_up_to,
    }
}

fn request_from_proto(request: pb::RequestId) -> RequestId {
    RequestId {
        session: SessionId(request.session),
        sequence: request.sequence,
        acked_up_to: request.acked_up_to,
    }
}

fn guard_to_proto(guard: &Guard) -> pb::Guard {
    let scope = match &guard.scope {
        TokenScope::Key(key) => pb::guard::Scope::Key(key.clone()),
        TokenScope::Node(path) => pb::guard::Scope::NodePath(path.clone()),
        TokenScope::Lock(name) => pb::guard::Scope::Lock(name.clone()),
        TokenScope::Election(name) => pb::guard::Scope::Election(name.clone()),
        TokenScope::Shard { pool, shard } => {
            pb::guard::Scope::Shard(pb::ShardName { pool: pool.clone(), shard: shard.clone() })
        }
    };
    pb::Guard { scope: Some(scope), token: guard.token.get() }
}

fn guard_from_proto(guard: pb::Guard) -> FormatResult<Guard> {
    let scope = match required(guard.scope, "a guard's scope")? {
        pb::guard::Scope::Key(key) => TokenScope::Key(key),
        pb::guard::Scope::NodePath(path) => TokenScope::Node(path),
        pb::guard::Scope::Lock(name) => TokenScope::Lock(name),
        pb::guard::Scope::Election(name) => TokenScope::Election(name),
        pb::guard::Scope::Shard(pb::ShardName { pool, shard }) => TokenScope::Shard { pool, shard },
    };
    Ok(Guard { scope, token: Revision(guard.token) })
}
