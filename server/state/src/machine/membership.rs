//! The cluster's members. Consensus decides who belongs to it; this is what everybody knows of them.

use crate::codec::{Reader, Writer, damaged};
use crate::command::{Member, MembershipChange, Obstacle, Rejection};
use crate::ids::NodeId;
use crate::keys;
use crate::limits::MEMBER_BYTES_MAX;
use crate::machine::form;
use crate::machine::scratch::Scratch;
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

const FORMAT: u8 = 1;

fn encode(member: &Member) -> Bytes {
    let mut writer = Writer::new(FORMAT, 128);
    writer.number(member.node.get());
    writer.text(&member.name);
    for urls in [&member.peer_urls, &member.client_urls] {
        writer.number(urls.len() as u64);
        urls.iter().for_each(|url| writer.text(url));
    }
    writer.number(u64::from(member.learner) | u64::from(member.stay_learner) << 1);
    writer.text(&member.version);
    writer.finish()
}

fn decode(record: &Bytes) -> Member {
    fn urls(reader: &mut Reader<'_>) -> Vec<String> {
        (0..reader.number()).map(|_| reader.text()).collect()
    }
    let mut reader = Reader::new("member", FORMAT, record);
    let (node, name) = (NodeId(reader.number()), reader.text());
    let (peer_urls, client_urls) = (urls(&mut reader), urls(&mut reader));
    let flags = reader.number();
    let member = Member {
        node,
        name,
        peer_urls,
        client_urls,
        learner: flags & 1 != 0,
        stay_learner: flags & 2 != 0,
        version: reader.text(),
    };
    reader.end();
    member
}

/// Writes the first members of a new cluster.
pub(super) fn found(work: &mut Scratch<'_>, members: &[Member], conf_state: Bytes, cluster_id: u64) {
    let cluster_id = Bytes::copy_from_slice(&cluster_id.to_be_bytes());
    work.put(Bytes::from_static(keys::CLUSTER_ID), cluster_id);
    work.put(Bytes::from_static(keys::CONF_STATE), conf_state);
    for member in members {
        work.put(keys::member(member.node), encode(member));
    }
}

/// The cluster's id; zero before bootstrap.
pub(super) fn cluster_id(view: &dyn View) -> u64 {
    let Some(record) = view.get(keys::CLUSTER_ID) else {
        return 0;
    };
    match <[u8; 8]>::try_from(record.as_ref()) {
        Ok(bytes) => u64::from_be_bytes(bytes),
        Err(_) => damaged("cluster id", "is not eight bytes long"),
    }
}

/// All members, by id.
pub(super) fn all(view: &dyn View) -> Vec<Member> {
    let (from, to) = keys::MEMBER_SPAN;
    let mut members = Vec::new();
    view.scan(from, to, false, &mut |_, record| {
        members.push(decode(record));
        ControlFlow::Continue(())
    });
    members
}

/// Makes consensus's decision known. Returns the members after it.
///
/// What a member said about itself (name, client addresses, version) outlives a change that leaves
/// it empty, such as a promotion.
pub(super) fn change(work: &mut Scratch<'_>, change: &MembershipChange) -> Vec<Member> {
    work.put(Bytes::from_static(keys::CONF_STATE), change.conf_state.clone());
    for member in &change.put {
        let mut member = member.clone();
        if let Some(record) = work.get(&keys::member(member.node)) {
            let before = decode(&record);
            #[cfg(feature = "plant")]
            super::plant::promoted(&mut member, &before);
            keep_published(&mut member, before);
        }
        work.put(keys::member(member.node), encode(&member));
    }
    for node in &change.remove {
        work.delete(keys::member(*node));
        work.put(keys::removed_member(*node), Bytes::new());
    }
    all(work)
}

fn keep_published(member: &mut Member, before: Member) {
    if member.name.is_empty() {
        member.name = before.name;
    }
    if member.client_urls.is_empty() {
        member.client_urls = before.client_urls;
    }
    if member.version.is_empty() {
        member.version = before.version;
    }
}

/// Notes what a member says about itself. Returns all members.
pub(super) fn publish(
    work: &mut Scratch<'_>,
    node: NodeId,
    name: &str,
    client_urls: &[String],
    version: &str,
) -> Result<Vec<Member>, Rejection> {
    edit(work, node, |member| {
        member.name = name.to_owned();
        member.client_urls = client_urls.to_vec();
        member.version = version.to_owned();
    })
}

/// Changes where peers reach a member. Returns all members.
pub(super) fn update(
    work: &mut Scratch<'_>,
    node: NodeId,
    peer_urls: &[String],
) -> Result<Vec<Member>, Rejection> {
    let others = all(work).into_iter().filter(|member| member.node != node);
    if others.flat_map(|member| member.peer_urls).any(|taken| peer_urls.contains(&taken)) {
        return Err(Rejection::MembershipRefused {
            obstacle: Obstacle::AddressTaken,
            reason: "another member has one of these peer addresses; give each member its own".into(),
        });
    }
    edit(work, node, |member| member.peer_urls = peer_urls.to_vec())
}

fn edit(
    work: &mut Scratch<'_>,
    node: NodeId,
    edit: impl FnOnce(&mut Member),
) -> Result<Vec<Member>, Rejection> {
    let key = keys::member(node);
    let stored = work.get(&key).ok_or(Rejection::MemberNotFound { node })?;
    let mut member = decode(&stored);
    edit(&mut member);
    let record = encode(&member);
    form::limit("bytes that describe the member", record.len(), MEMBER_BYTES_MAX)?;
    work.replace(key, Some(stored), Some(record));
    Ok(all(work))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_pinned() {
        let member = Member {
            node: NodeId(1),
            name: "n".to_owned(),
            peer_urls: vec!["p".to_owned()],
            client_urls: vec!["c".to_owned(), "d".to_owned()],
            learner: true,
            stay_learner: false,
            version: "v".to_owned(),
        };
        let record = encode(&member);
        assert_eq!(record, b"\x01\x01\x01n\x01\x01p\x02\x01c\x01d\x01\x01v".as_slice());
        assert_eq!(decode(&record), member);
        let stays = Member { stay_learner: true, ..member };
        let record = encode(&stays);
        assert_eq!(record, b"\x01\x01\x01n\x01\x01p\x02\x01c\x01d\x03\x01v".as_slice());
        assert_eq!(decode(&record), stays);
    }
}
