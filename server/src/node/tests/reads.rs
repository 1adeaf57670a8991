//! Reads: fresh by default on every node, never stale from a deposed leader, bounded in time.

use super::cluster::{Cluster, put, range, refusal, value_in};
use crate::node::request::{Consistency, Refusal, Request};

fn read(consistency: Consistency) -> Request {
    Request::Read { query: range("a"), consistency, timeout_ms: 0 }
}

#[test]
fn a_deposed_leader_answers_nothing_stale() {
    let mut cluster = Cluster::new(3);
    cluster.write(1, put("a", "old"));
    for other in [2, 3] {
        cluster.cut.insert((1, other));
        cluster.cut.insert((other, 1));
    }
    // The others elect a leader of their own; the first one still believes itself to be one.
    cluster.nodes.get_mut(&1).expect("there").paused = true;
    cluster.run_ms(3_000);
    let leader = cluster.leader().expect("a majority is there");
    cluster.write(leader, put("a", "new"));
    cluster.nodes.get_mut(&1).expect("there").paused = false;
    let origin = cluster.ask(1, 1, read(Consistency::Linearizable));
    cluster.settle();
    assert_eq!(cluster.reply(1, origin), None, "no quorum confirms it");
    let local = cluster.call(1, read(Consistency::Serializable)).expect("at once");
    assert_eq!(value_in(local).as_deref(), Some("old"), "as asked for");
    cluster.cut.clear();
    cluster.run_ms(1_500);
    let reply = cluster.reply(1, origin).expect("answered by the new leader's confirmation");
    assert_eq!(value_in(reply).as_deref(), Some("new"));
}

#[test]
fn a_read_times_out_without_a_quorum() {
    let mut cluster = Cluster::new(3);
    for other in [2, 3] {
        cluster.nodes.get_mut(&other).expect("there").paused = true;
    }
    let origin = cluster.ask(1, 1, read(Consistency::Linearizable));
    cluster.run_ms(5_100);
    let refused = refusal(cluster.reply(1, origin));
    assert!(matches!(refused, Refusal::NoLeader | Refusal::TimedOut { after_ms: 5_000 }), "{refused:?}");
}

#[test]
fn a_bounded_read_is_served_from_a_recent_confirmation() {
    let mut cluster = Cluster::new(3);
    cluster.write(1, put("a", "1"));
    cluster.get(2, "a");
    cluster.cut.insert((2, 1));
    let bounded = read(Consistency::Bounded { max_ms: 500 });
    let reply = cluster.call(2, bounded.clone()).expect("served locally");
    assert_eq!(value_in(reply).as_deref(), Some("1"));
    cluster.sleep_us(600_000);
    assert_eq!(cluster.call(2, bounded), None, "too old, and the leader cannot be asked");
}

#[test]
fn a_follower_that_lost_its_question_asks_again() {
    let mut cluster = Cluster::new(3);
    cluster.write(1, put("a", "1"));
    cluster.cut.insert((2, 1));
    let origin = cluster.ask(2, 1, read(Consistency::Linearizable));
    cluster.settle();
    cluster.cut.clear();
    cluster.run_ms(1_300);
    assert_eq!(value_in(cluster.reply(2, origin).expect("answered")).as_deref(), Some("1"));
}
