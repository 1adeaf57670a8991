//! Writes: once, in order, or refused in a way that says what is known.

use super::cluster::{Cluster, Seen, put, refusal};
use crate::node::io::Input;
use crate::node::request::{Certainty, Origin, Refusal, Request, Response, Write};
use oarlock_state::command::{Alarm, AlarmKind, KeyRange, KvOp, Txn};
use oarlock_state::{Command, NodeId, Reply, RequestId};

fn written(result: Option<crate::node::request::Result>) -> Reply {
    match result {
        Some(Ok(Response::Written(reply))) => reply,
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn one_node_writes_and_reads() {
    let mut cluster = Cluster::new(1);
    let reply = written(cluster.write(1, put("a", "1")));
    assert_eq!(reply.revision.get(), 2);
    assert_eq!(cluster.get(1, "a").as_deref(), Some("1"));
}

#[test]
fn what_comes_in_together_shares_one_entry_and_one_sync() {
    let mut cluster = Cluster::new(1);
    let before = cluster.nodes[&1].log.syncs();
    let origins: Vec<Origin> =
        (0..50).map(|n| cluster.ask(1, 1, Request::Write(Write::of(put("a", &n.to_string()))))).collect();
    cluster.settle();
    assert_eq!(cluster.nodes[&1].log.syncs(), before + 1);
    let indexes: Vec<u64> =
        origins.iter().map(|origin| written(cluster.reply(1, *origin)).index.get()).collect();
    assert!(indexes.iter().all(|index| *index == indexes[0]));
    assert_eq!(cluster.get(1, "a").as_deref(), Some("49"), "in order");
}

#[test]
fn a_follower_forwards_and_answers() {
    let mut cluster = Cluster::new(3);
    let reply = written(cluster.write(2, put("a", "1")));
    assert_eq!(reply.revision.get(), 2);
    for id in 1..=3 {
        assert_eq!(cluster.get(id, "a").as_deref(), Some("1"), "at {id}");
    }
}

#[test]
fn a_repetition_has_no_second_effect() {
    let mut cluster = Cluster::new(3);
    let session = cluster.open_session(1, 10_000);
    let write = Write {
        request: Some(RequestId { session, sequence: 1, acked_up_to: 0 }),
        ..Write::of(put("a", "1"))
    };
    let first = written(cluster.call(1, Request::Write(write.clone())));
    let second = written(cluster.call(2, Request::Write(write)));
    assert_eq!((first.repeated, second.repeated), (false, true));
    assert_eq!(first.revision, second.revision);
}

#[test]
fn a_forward_that_the_network_lost_is_sent_again() {
    let mut cluster = Cluster::new(3);
    cluster.cut.insert((2, 1));
    let origin = cluster.ask(2, 1, Request::Write(Write::of(put("a", "1"))));
    cluster.settle();
    assert_eq!(cluster.reply(2, origin), None);
    cluster.cut.clear();
    let second = cluster.ask(2, 1, Request::Write(Write::of(put("a", "2"))));
    cluster.run_ms(1_000);
    written(cluster.reply(2, origin));
    written(cluster.reply(2, second));
    assert_eq!(cluster.get(3, "a").as_deref(), Some("2"), "the order is kept");
}

#[test]
fn a_write_of_a_deposed_leader_is_proposed_again() {
    let mut cluster = Cluster::new(3);
    // The leader can not reach anybody: its proposal stays with it.
    for other in [2, 3] {
        cluster.cut.insert((1, other));
        cluster.cut.insert((other, 1));
    }
    let origin = cluster.ask(1, 1, Request::Write(Write::of(put("a", "1"))));
    cluster.run_ms(3_000);
    assert_eq!(cluster.reply(1, origin), None);
    cluster.cut.clear();
    cluster.run_ms(1_500);
    written(cluster.reply(1, origin));
    assert_eq!(cluster.get(2, "a").as_deref(), Some("1"));
    let applied = written(cluster.write(2, put("b", "1"))).revision.get();
    assert_eq!(applied, 3, "it was applied once");
}

#[test]
fn without_a_quorum_a_handed_write_is_unknown_and_a_later_one_is_not_proposed() {
    let mut cluster = Cluster::new(3);
    cluster.nodes.get_mut(&2).expect("there").paused = true;
    cluster.nodes.get_mut(&3).expect("there").paused = true;
    let handed = cluster.ask(1, 1, Request::Write(Write::of(put("a", "1"))));
    cluster.run_ms(4_000);
    let queued = cluster.ask(1, 1, Request::Write(Write::of(put("a", "2"))));
    cluster.run_ms(6_000);
    assert_eq!(refusal(cluster.reply(1, handed)), Refusal::Unknown { after_ms: 5_000 });
    assert_eq!(refusal(cluster.reply(1, queued)).certainty(), Certainty::NotProposed);
}

#[test]
fn a_full_queue_refuses() {
    let mut cluster = Cluster::with(1, |options| options.pending_requests_max = 2);
    let origins: Vec<Origin> =
        (0..3).map(|_| cluster.ask(1, 1, Request::Write(Write::of(put("a", "1"))))).collect();
    cluster.settle();
    written(cluster.reply(1, origins[1]));
    assert_eq!(refusal(cluster.reply(1, origins[2])), Refusal::Busy { queue: "writes" });
}

#[test]
fn below_the_hard_watermark_only_what_frees_space_is_taken() {
    let mut cluster = Cluster::new(1);
    cluster.input(1, Input::DiskSpace { left: 10 << 20 });
    assert_eq!(refusal(cluster.write(1, put("a", "1"))), Refusal::NoSpace { left_mib: 10 });
    cluster.open_session(1, 10_000);
    cluster.input(1, Input::DiskSpace { left: 10 << 30 });
    written(cluster.write(1, put("a", "1")));
    let compact = Command::Compact { revision: oarlock_state::Revision(2) };
    cluster.input(1, Input::DiskSpace { left: 1 });
    written(cluster.write(1, compact));
}

#[test]
fn above_the_quota_only_what_frees_space_is_taken_until_there_is_room_again() {
    const QUOTA: u64 = 5 << 20;
    let mut cluster = Cluster::with(1, |options| options.quota_bytes = QUOTA);
    cluster.input(1, Input::StateBytes(QUOTA + (1 << 20)));
    let refused = Refusal::OverQuota { used_mib: 6, quota_mib: 5 };
    assert_eq!(refusal(cluster.write(1, put("a", "1"))), refused);
    let delete = KvOp::Delete { range: KeyRange::prefix(b""), want_previous: false };
    written(cluster.write(1, Command::Txn(Txn { then: vec![delete], ..Txn::default() })));
    cluster.input(1, Input::StateBytes(QUOTA));
    written(cluster.write(1, put("a", "1")));
}

#[test]
fn an_alarm_forbids_writes_until_it_is_lowered() {
    let mut cluster = Cluster::new(1);
    let alarm = Alarm { node: NodeId(1), kind: AlarmKind::Corrupt };
    written(cluster.write(1, Command::SetAlarm { alarm, raised: true }));
    let refused = Refusal::Alarmed { node: NodeId(1), kind: AlarmKind::Corrupt };
    assert_eq!(refusal(cluster.write(1, put("a", "1"))), refused);
    written(cluster.write(1, Command::SetAlarm { alarm, raised: false }));
    written(cluster.write(1, put("a", "1")));
}

#[test]
fn a_restarted_node_answers_nobody_of_its_former_life() {
    let mut cluster = Cluster::new(3);
    written(cluster.write(1, put("a", "1")));
    cluster.restart(2);
    cluster.run_ms(500);
    let replies = |seen: &Seen| matches!(seen, Seen::Reply(..));
    assert_eq!(cluster.nodes[&2].seen.iter().filter(|seen| replies(seen)).count(), 0);
    assert_eq!(cluster.get(2, "a").as_deref(), Some("1"), "replayed from the log");
    written(cluster.write(2, put("a", "2")));
}

#[test]
fn a_stopping_leader_hands_over_and_refuses() {
    let mut cluster = Cluster::new(3);
    cluster.input(1, Input::Shutdown);
    assert_eq!(refusal(cluster.write(1, put("a", "1"))), Refusal::ShuttingDown);
    cluster.run_ms(300);
    assert!(cluster.nodes[&1].stopped);
    assert!(cluster.leader().is_some_and(|leader| leader != 1));
}
