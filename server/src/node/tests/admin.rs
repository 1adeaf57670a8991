//! Changes of the cluster, asked of any member.

use super::cluster::{Cluster, put, refusal};
use crate::node::request::{Admin, Refusal, Request, Response};
use oarlock_state::command::Member;
use oarlock_state::{NodeId, Rejection};

fn members(result: Option<crate::node::request::Result>) -> (u64, Vec<Member>) {
    match result {
        Some(Ok(Response::Members { added, members })) => (added.get(), members),
        other => panic!("unexpected {other:?}"),
    }
}

fn add(url: &str, stay_learner: bool) -> Request {
    let (peer_urls, name) = (vec![url.to_owned()], String::new());
    Request::Admin(Admin::AddMember { peer_urls, name, stay_learner })
}

#[test]
fn leadership_moves_when_asked_of_a_follower() {
    let mut cluster = Cluster::new(3);
    let origin = cluster.ask(2, 1, Request::Admin(Admin::MoveLeader(NodeId(3))));
    cluster.run_ms(500);
    assert_eq!(cluster.reply(2, origin), Some(Ok(Response::Done)));
    assert_eq!(cluster.leader(), Some(3));
}

#[test]
fn a_member_is_added_as_a_learner_and_becomes_a_voter_by_itself() {
    let mut cluster = Cluster::new(3);
    cluster.write(1, put("a", "1"));
    let (added, all) = members(cluster.call(2, add("http://10.0.0.9:2380", false)));
    assert_eq!(all.len(), 4);
    assert!(all.iter().any(|member| member.node.get() == added && member.learner));
    cluster.start_joiner(added);
    cluster.run_ms(2_000);
    let status = cluster.call(added, Request::Status);
    let Some(Ok(Response::Status(status))) = status else { panic!("unexpected {status:?}") };
    assert!(status.members.iter().all(|member| !member.learner), "{:?}", status.members);
    assert_eq!(cluster.get(added, "a").as_deref(), Some("1"));
}

#[test]
fn a_learner_that_shall_stay_one_stays_one() {
    let mut cluster = Cluster::new(1);
    let (added, _) = members(cluster.call(1, add("http://10.0.0.9:2380", true)));
    cluster.start_joiner(added);
    cluster.run_ms(2_000);
    let learns = |cluster: &mut Cluster| {
        let status = cluster.call(1, Request::Status);
        let Some(Ok(Response::Status(status))) = status else { panic!("unexpected {status:?}") };
        status.members.iter().any(|member| member.learner)
    };
    assert!(learns(&mut cluster));
    let origin = cluster.ask(1, 1, Request::Admin(Admin::PromoteMember(NodeId(added))));
    cluster.run_ms(500);
    members(cluster.reply(1, origin));
    assert!(!learns(&mut cluster));
}

#[test]
fn an_address_in_use_and_an_unknown_member_are_refused() {
    let mut cluster = Cluster::new(3);
    let taken = refusal(cluster.call(2, add("http://10.0.0.3:2380", false)));
    assert!(matches!(taken, Refusal::Rejected(Rejection::MembershipRefused { .. })), "{taken:?}");
    let unknown = refusal(cluster.call(1, Request::Admin(Admin::RemoveMember(NodeId(44)))));
    assert!(matches!(unknown, Refusal::Rejected(Rejection::MembershipRefused { .. })), "{unknown:?}");
    let nowhere = refusal(cluster.call(1, add("", false)));
    assert!(matches!(nowhere, Refusal::Invalid { .. }), "{nowhere:?}");
}

#[test]
fn a_leader_that_is_removed_hands_over_first() {
    let mut cluster = Cluster::new(3);
    let origin = cluster.ask(1, 1, Request::Admin(Admin::RemoveMember(NodeId(1))));
    cluster.run_ms(1_500);
    assert!(cluster.nodes[&1].removed);
    assert!(cluster.leader().is_some_and(|leader| leader != 1));
    let status = cluster.call(2, Request::Status);
    let Some(Ok(Response::Status(status))) = status else { panic!("unexpected {status:?}") };
    assert_eq!(status.members.len(), 2);
    // The removed member may not be able to confirm it any more; whatever it said is not a no.
    if let Some(Err(refused)) = cluster.reply(1, origin) {
        assert!(!matches!(refused, Refusal::Rejected(_)), "{refused:?}");
    }
}
