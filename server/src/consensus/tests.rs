//! What stories cannot tell: the order of writes and messages, and refusals at the door.

use super::testing::{MemoryLog, learner, put};
use super::*;
use crate::log_format::{Membership, encode_batch, encode_membership};
use crate::storage::{LogStore, StorageError};
use bytes::Bytes;
use oarlock_state::{EntryBody, NodeId};
use prost_raft::Message as _;
use raft::eraftpb::{
    ConfChange, ConfChangeType, ConfState, Entry, EntryType, HardState, Message, MessageType,
};
use slog::{Discard, Logger, o};

fn logger() -> Logger {
    Logger::root(Discard, o!())
}

fn options(voters: &[u64]) -> Options {
    let voters: Vec<NodeId> = voters.iter().copied().map(NodeId).collect();
    Options { applied: 1, conf_state: conf::initial(&voters, &[]), ..Options::of(NodeId(1)) }
}

fn start(voters: &[u64], log: &MemoryLog) -> Replica {
    Replica::new(options(voters), Box::new(log.clone()), logger()).expect("the log is in order")
}

/// Works until nothing is left to do; what was sent is lost. Returns what was handed out.
fn settle(replica: &mut Replica) -> Vec<oarlock_state::Entry> {
    let mut entries = Vec::new();
    while let Some(ready) = replica.ready().expect("entries are readable") {
        entries.extend(ready.committed);
        entries.extend(replica.persist(ready.ticket).expect("the log takes everything").committed);
        if let Some(last) = entries.last() {
            replica.applied_to(last.index.get());
        }
    }
    entries
}

/// The only voter, leading.
fn lone_leader(log: &MemoryLog) -> Replica {
    let mut replica = start(&[1], log);
    replica.campaign();
    settle(&mut replica);
    replica
}

/// A leader of two, whose other member is played by the test.
fn leader_of_two(log: &MemoryLog) -> Replica {
    let mut replica = start(&[1, 2], log);
    replica.campaign();
    settle(&mut replica);
    for kind in [MessageType::MsgRequestPreVoteResponse, MessageType::MsgRequestVoteResponse] {
        replica.step(message(kind, 2)).expect("the vote is well-formed");
        settle(&mut replica);
    }
    assert_eq!(replica.leadership().role, Role::Leader);
    replica
}

fn message(kind: MessageType, term: u64) -> Bytes {
    let mut message = Message { from: 2, to: 1, term, ..Message::default() };
    message.set_msg_type(kind);
    message.encode_to_vec().into()
}

fn entry(index: u64, kind: EntryType, data: Vec<u8>) -> Entry {
    let mut entry = Entry { index, term: 2, data, ..Entry::default() };
    entry.set_entry_type(kind);
    entry
}

/// A log in which all of these are committed.
fn log_of(entries: &[Entry]) -> MemoryLog {
    let mut log = MemoryLog::new((1, 1));
    let hard_state = HardState { term: 2, commit: 1 + entries.len() as u64, ..HardState::default() };
    log.append(entries, Some(&hard_state), true).expect("memory takes everything");
    log
}

#[test]
fn a_leader_sends_before_it_writes_and_commits_after() {
    let log = MemoryLog::new((1, 1));
    let mut replica = leader_of_two(&log);
    let last = log.last_index();
    replica.propose(0, vec![put("a")]).expect("it leads");
    let ready = replica.ready().expect("entries are readable").expect("there is an entry to write");
    assert!(ready.send_now.is_empty() || ready.send_now.iter().all(|(to, _)| *to == NodeId(2)));
    assert_eq!(log.last_index(), last, "nothing is written before `persist`");
    let persisted = replica.persist(ready.ticket).expect("the log takes everything");
    assert_eq!(log.last_index(), last + 1);
    assert!(persisted.committed.is_empty(), "the other member has not answered");
}

#[test]
fn a_vote_is_promised_only_after_it_is_written() {
    let log = MemoryLog::new((1, 1));
    let mut replica = start(&[1, 2], &log);
    let mut request = Message { from: 2, to: 1, term: 5, index: 9, log_term: 4, ..Message::default() };
    request.set_msg_type(MessageType::MsgRequestVote);
    replica.step(request.encode_to_vec().into()).expect("the request is well-formed");
    let ready = replica.ready().expect("entries are readable").expect("there is a vote to write");
    assert!(ready.send_now.is_empty());
    let persisted = replica.persist(ready.ticket).expect("the log takes everything");
    assert_eq!((log.hard_state().term, log.hard_state().vote), (5, 2));
    assert_eq!(persisted.send_after.len(), 1);
}

#[test]
fn a_round_syncs_once_and_a_mere_commit_not_at_all() {
    let log = MemoryLog::new((1, 1));
    let mut replica = leader_of_two(&log);
    replica.propose(0, vec![put("a"), put("b")]).expect("it leads");
    let before = log.syncs();
    settle(&mut replica);
    assert_eq!(log.syncs(), before + 1, "one sync for the whole batch");
    let mut answer = Message { from: 2, to: 1, term: 2, index: log.last_index(), ..Message::default() };
    answer.set_msg_type(MessageType::MsgAppendResponse);
    replica.step(answer.encode_to_vec().into()).expect("the answer is well-formed");
    let entries = settle(&mut replica);
    assert_eq!(entries.len(), 2, "the leader's first entry and the batch");
    assert_eq!(log.syncs(), before + 1, "the commit index can be found out again");
}

#[test]
#[should_panic(expected = "a Ready is outstanding")]
fn nothing_is_told_between_ready_and_persist() {
    let mut replica = start(&[1], &MemoryLog::new((1, 1)));
    replica.campaign();
    let _ready = replica.ready();
    replica.tick();
}

#[test]
fn applied_entries_may_be_told_at_any_time() {
    let log = MemoryLog::new((1, 1));
    let mut replica = lone_leader(&log);
    replica.propose(0, vec![put("a")]).expect("it leads");
    let ready = replica.ready().expect("entries are readable").expect("there is an entry to write");
    replica.applied_to(2);
    assert!(replica.is_waiting());
    let persisted = replica.persist(ready.ticket).expect("the log takes everything");
    assert_eq!(replica.numbers().applied, 2);
    assert_eq!(persisted.committed.len(), 1);
}

#[test]
fn messages_that_are_not_for_us_are_refused() {
    let mut replica = start(&[1, 2], &MemoryLog::new((1, 1)));
    let refusal = |replica: &mut Replica, message: Message| {
        replica.step(message.encode_to_vec().into()).expect_err("the message is not for us")
    };
    assert!(matches!(replica.step(Bytes::from_static(b"\xff\xff")), Err(StepError::Malformed(_))));
    let other = Message { from: 2, to: 3, ..Message::default() };
    assert_eq!(refusal(&mut replica, other), StepError::Misdirected { from: 2, to: 3, node: NodeId(1) });
    let own = Message { from: 1, to: 1, ..Message::default() };
    assert_eq!(refusal(&mut replica, own), StepError::Misdirected { from: 1, to: 1, node: NodeId(1) });
    for kind in [
        MessageType::MsgHup,
        MessageType::MsgPropose,
        MessageType::MsgReadIndex,
        MessageType::MsgTransferLeader,
    ] {
        assert_eq!(replica.step(message(kind, 1)), Err(StepError::Forbidden { kind: kind as i32 }));
    }
    assert_eq!(replica.step(message(MessageType::MsgSnapshot, 1)), Err(StepError::NotStaged));
    assert!(replica.step_staged(message(MessageType::MsgHeartbeat, 1)).is_err());
    let entries = vec![entry(5, EntryType::EntryNormal, Vec::new())];
    let mut gap = Message { from: 2, to: 1, term: 2, index: 1, log_term: 1, entries, ..Message::default() };
    gap.set_msg_type(MessageType::MsgAppend);
    assert!(matches!(refusal(&mut replica, gap), StepError::Malformed(_)));
}

#[test]
fn refused_proposals_come_back() {
    let mut follower = start(&[1, 2], &MemoryLog::new((1, 1)));
    let (back, reason) = follower.propose(0, vec![put("a")]).expect_err("it follows");
    assert_eq!((back, reason), (vec![put("a")], NotProposed::NotLeader { leader: None }));

    let log = MemoryLog::new((1, 1));
    let mut leader = leader_of_two(&log);
    let large = put(&"x".repeat(options::ENTRY_BYTES_MAX));
    assert!(matches!(leader.propose(0, vec![large]), Err((_, NotProposed::TooLarge { .. }))));
    let mebibyte = put(&"x".repeat(1 << 20));
    let refused = (0..100).find_map(|_| leader.propose(0, vec![mebibyte.clone()]).err());
    assert_eq!(refused.map(|(_, reason)| reason), Some(NotProposed::Full));
}

#[test]
fn reads_are_bounded() {
    let log = MemoryLog::new((1, 1));
    let mut replica = leader_of_two(&log);
    let mut answer = Message { from: 2, to: 1, term: 2, index: 2, ..Message::default() };
    answer.set_msg_type(MessageType::MsgAppendResponse);
    replica.step(answer.encode_to_vec().into()).expect("the answer is well-formed");
    settle(&mut replica);
    for context in 0..options::PENDING_READS_MAX as u64 {
        replica.read_index(context).expect("there is room");
    }
    assert_eq!(replica.read_index(9999), Err(ReadRefused::TooMany));
}

#[test]
fn logs_that_do_not_fit_the_state_are_refused() {
    let refusal = |log: &MemoryLog, applied| {
        let options = Options { applied, ..options(&[1]) };
        Replica::new(options, Box::new(log.clone()), logger()).err().expect("the log does not fit")
    };
    let log = log_of(&[entry(2, EntryType::EntryNormal, Vec::new())]);
    assert!(matches!(refusal(&log, 3), StartError::LogLost { applied: 3, last: 2 }));
    assert!(matches!(refusal(&MemoryLog::new((5, 1)), 3), StartError::Gap { applied: 3, first: 6 }));
    log.lose_after(1);
    assert!(matches!(refusal(&log, 1), StartError::Inconsistent { .. }));
}

#[test]
fn the_kind_of_an_entry_comes_before_its_data() {
    let mut add = ConfChange { node_id: 7, ..ConfChange::default() };
    add.set_change_type(ConfChangeType::AddLearnerNode);
    add.set_context(encode_membership(&Membership { put: vec![learner(7)], ..Membership::default() }).into());
    let log = log_of(&[
        entry(2, EntryType::EntryNormal, Vec::new()),
        entry(3, EntryType::EntryConfChangeV2, Vec::new()),
        entry(4, EntryType::EntryConfChange, add.encode_to_vec()),
        entry(5, EntryType::EntryNormal, encode_batch(42, &[put("a")]).into()),
    ]);
    let bodies: Vec<EntryBody> = settle(&mut start(&[1], &log)).into_iter().map(|entry| entry.body).collect();
    let [
        EntryBody::Empty,
        EntryBody::Empty,
        EntryBody::Membership(change),
        EntryBody::Proposals { stamp_ms: 42, proposals },
    ] = bodies.as_slice()
    else {
        panic!("unexpected {bodies:?}");
    };
    assert_eq!(change.put, [learner(7)]);
    assert_eq!(change.conf_state, conf::initial(&[NodeId(1)], &[NodeId(7)]));
    assert_eq!(proposals.as_slice(), [put("a")]);
}

#[test]
fn an_entry_of_a_later_version_stops_the_member() {
    let log = log_of(&[entry(2, EntryType::EntryNormal, b"\xff\xff".to_vec())]);
    let error = start(&[1], &log).ready().expect_err("the entry cannot be read");
    assert!(matches!(error, StorageError::Unreadable { index: 2, .. }), "{error}");
}

#[test]
fn a_joint_configuration_that_nobody_leaves_is_left() {
    let joint = ConfState { voters: vec![1], voters_outgoing: vec![1], ..ConfState::default() };
    let options = Options { conf_state: conf::encode(&joint), ..options(&[1]) };
    let mut replica =
        Replica::new(options, Box::new(MemoryLog::new((1, 1))), logger()).expect("the log is in order");
    replica.campaign();
    settle(&mut replica);
    assert_eq!(replica.conf_state(), conf::encode(&joint));
    for _ in 0..Options::of(NodeId(1)).election_ticks {
        replica.tick();
        settle(&mut replica);
    }
    assert_eq!(replica.conf_state(), conf::initial(&[NodeId(1)], &[]));
}

#[test]
fn an_installation_is_finished_once() {
    let mut log = log_of(&[entry(2, EntryType::EntryNormal, Vec::new())]);
    let meta = SnapshotMeta { index: 9, term: 4, conf_state: Bytes::new() };
    finish_install(&mut log, &meta).expect("memory takes everything");
    assert_eq!((log.base(), log.last_index()), ((9, 4), 9));
    assert_eq!((log.hard_state().term, log.hard_state().commit), (4, 9));
    let next = Entry { index: 10, term: 4, ..Entry::default() };
    log.append(&[next], None, true).expect("memory takes everything");
    finish_install(&mut log, &meta).expect("memory takes everything");
    assert_eq!(log.last_index(), 10, "entries after the snapshot stay");
}
