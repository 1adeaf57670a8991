//! Members, the node's status, and what an operator asks.

use super::outcome::{Out, answer, unexpected};
use super::{Form, invalid};
use crate::front::native::errors;
use crate::node::request::{Admin, NodeStatus, PeerProgress, Response, Role};
use oarlock_proto::v1;
use oarlock_state::NodeId;
use oarlock_state::command::{Answer, Member, ReplyBody};

/// Addresses of one member.
const URLS_MAX: usize = 16;
/// Bytes of one address, or of a name.
const TEXT_BYTES_MAX: usize = 1024;

/// A member's id where one is needed.
pub fn id(id: u64) -> Form<NodeId> {
    match id {
        0 => Err(invalid("the member id is 0, which names none")),
        _ => Ok(NodeId(id)),
    }
}

/// The change that adds a member.
pub fn add(request: v1::AddMemberRequest) -> Form<Admin> {
    if request.name.len() > TEXT_BYTES_MAX {
        return Err(invalid(format!("the name is longer than {TEXT_BYTES_MAX} bytes")));
    }
    Ok(Admin::AddMember {
        peer_urls: peer_urls(request.peer_urls)?,
        name: request.name,
        stay_learner: request.stay_learner,
    })
}

/// Where peers are to reach a member.
pub fn peer_urls(urls: Vec<String>) -> Form<Vec<String>> {
    if urls.is_empty() || urls.len() > URLS_MAX {
        return Err(invalid(format!("there are {} peer URLs; give 1 to {URLS_MAX}", urls.len())));
    }
    for url in &urls {
        if url.len() > TEXT_BYTES_MAX {
            return Err(invalid(format!("a peer URL is longer than {TEXT_BYTES_MAX} bytes")));
        }
        let form = url.parse::<http::Uri>();
        let whole = form.is_ok_and(|uri| uri.scheme().is_some() && uri.port_u16().is_some());
        if !whole {
            return Err(invalid(format!("peer URL {url:?} is not of the form http://host:port")));
        }
    }
    Ok(urls)
}

/// A member, outwards.
pub fn member(member: Member) -> v1::Member {
    v1::Member {
        id: member.node.get(),
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        learner: member.learner,
        version: member.version,
    }
}

/// Members, outwards.
pub fn members(list: Vec<Member>) -> Vec<v1::Member> {
    list.into_iter().map(member).collect()
}

/// The members that were read, with the header of the read.
pub fn list(response: Response) -> Out<v1::ListMembersResponse> {
    let (header, answer) = answer(response, "a list of members")?;
    match answer {
        Answer::Members(list) => Ok(v1::ListMembersResponse { header: Some(header), members: members(list) }),
        _ => Err(errors::internal("a list of members was answered with something else")),
    }
}

/// The members after a change, and the id of the one that was added, or zero.
pub fn changed(response: Response) -> Out<(NodeId, Vec<v1::Member>)> {
    match response {
        Response::Members { added, members: list } => Ok((added, members(list))),
        Response::Written(reply) => match reply.body {
            ReplyBody::Members(list) => Ok((NodeId(0), members(list))),
            ReplyBody::Done => Ok((NodeId(0), Vec::new())),
            _ => Err(errors::internal("a change of the members was answered with something else")),
        },
        other => Err(unexpected("a change of the members", &other)),
    }
}

/// What the node knows of itself.
pub fn status(response: Response) -> Out<Box<NodeStatus>> {
    match response {
        Response::Status(status) => Ok(status),
        other => Err(unexpected("a question for the status", &other)),
    }
}

/// The status, outwards, without what only the process knows (version, name, uptime, memory).
pub fn status_response(status: NodeStatus) -> v1::StatusResponse {
    v1::StatusResponse {
        header: None,
        role: role(status.role).into(),
        leader_id: status.leader.get(),
        committed_index: status.committed,
        applied_index: status.applied,
        durable_index: status.durable,
        first_index: status.first,
        last_index: status.last,
        compacted_revision: status.compacted.get(),
        state_bytes: status.state_bytes,
        log_bytes: status.log_bytes,
        overlay_bytes: status.overlay_bytes,
        sessions: status.sessions,
        watches: status.watches,
        digest: format!("{:032x}", status.digest),
        peers: status.peers.into_iter().map(progress).collect(),
        ..v1::StatusResponse::default()
    }
}

fn role(role: Role) -> v1::status_response::Role {
    match role {
        Role::Follower => v1::status_response::Role::Follower,
        Role::Candidate => v1::status_response::Role::Candidate,
        Role::Leader => v1::status_response::Role::Leader,
        Role::Learner => v1::status_response::Role::Learner,
    }
}

fn progress(peer: PeerProgress) -> v1::PeerProgress {
    v1::PeerProgress {
        id: peer.node.get(),
        matched_index: peer.matched,
        recently_active: peer.active,
        receiving_snapshot: peer.snapshot,
    }
}
