//! Watches through a node: their order towards replies, their credit, a lost connection.

use super::cluster::{Cluster, Seen, put, watch_all};
use crate::node::io::Input;
use crate::node::request::{Request, Response, WatchFrame, Write};
use oarlock_state::Revision;

fn revisions(frames: &[WatchFrame]) -> Vec<u64> {
    let events = frames.iter().flat_map(|frame| match frame {
        WatchFrame::Events { events, .. } => events.iter().map(|event| event.revision.get()).collect(),
        WatchFrame::Created { .. }
        | WatchFrame::Progress { .. }
        | WatchFrame::Resync { .. }
        | WatchFrame::Cancelled(_) => Vec::new(),
    });
    events.collect()
}

#[test]
fn an_event_comes_before_the_reply_that_reveals_it() {
    let mut cluster = Cluster::new(3);
    for id in 1..=3 {
        let watch = cluster.ask(id, 7, Request::Watch(watch_all(0)));
        cluster.settle();
        let write = cluster.ask(id, 7, Request::Write(Write::of(put("a", "1"))));
        cluster.settle();
        let seen = &cluster.nodes[&id].seen;
        let event = seen
            .iter()
            .position(|seen| matches!(seen, Seen::Frame(to, WatchFrame::Events { .. }) if *to == watch));
        let reply = seen.iter().position(|seen| matches!(seen, Seen::Reply(to, _) if *to == write));
        assert!(event.expect("delivered") < reply.expect("answered"), "at {id}");
    }
}

#[test]
fn a_watch_from_the_past_gets_everything_once_in_order() {
    let mut cluster = Cluster::with(1, |options| {
        options.watch_recent_bytes = 500;
        options.watch_page_bytes = 300;
    });
    for n in 0..40 {
        cluster.write(1, put(&format!("k{}", n % 3), "value"));
    }
    let watch = cluster.ask(1, 7, Request::Watch(watch_all(2)));
    cluster.settle();
    cluster.write(1, put("z", "value"));
    let expected: Vec<u64> = (2..=42).collect();
    assert_eq!(revisions(&cluster.frames(1, watch)), expected);
}

#[test]
fn a_connection_without_credit_waits_and_loses_nothing() {
    let mut cluster = Cluster::with(1, |options| options.watch_credit_bytes = 200);
    let slow = cluster.ask(1, 7, Request::Watch(watch_all(0)));
    let fast = cluster.ask(1, 8, Request::Watch(watch_all(0)));
    cluster.input(1, Input::WatchCredit { conn: 8, bytes: 1 << 20 });
    cluster.settle();
    for _ in 0..20 {
        cluster.write(1, put("a", "value"));
    }
    assert!(revisions(&cluster.frames(1, slow)).len() < 5);
    assert_eq!(revisions(&cluster.frames(1, fast)).len(), 20);
    cluster.input(1, Input::WatchCredit { conn: 7, bytes: 1 << 20 });
    cluster.settle();
    let expected: Vec<u64> = (2..=21).collect();
    assert_eq!(revisions(&cluster.frames(1, slow)), expected);
}

#[test]
fn a_cancelled_watch_and_a_lost_connection_are_silent() {
    let mut cluster = Cluster::new(1);
    let first = cluster.ask(1, 7, Request::Watch(watch_all(0)));
    let second = cluster.ask(1, 8, Request::Watch(watch_all(0)));
    cluster.settle();
    cluster.input(
        1,
        Input::Request {
            origin: first,
            caller: oarlock_state::Caller::Anonymous,
            request: Request::CancelWatch,
        },
    );
    cluster.input(1, Input::Disconnected { conn: 8 });
    cluster.settle();
    assert_eq!(cluster.reply(1, first), Some(Ok(Response::Done)));
    cluster.write(1, put("a", "1"));
    for origin in [first, second] {
        assert_eq!(
            cluster.frames(1, origin),
            [WatchFrame::Created { next: Revision(2), current: Revision(1) }]
        );
    }
}

#[test]
fn progress_is_told_when_asked_for() {
    let mut cluster = Cluster::new(1);
    let watch = cluster.ask(1, 7, Request::Watch(watch_all(0)));
    cluster.write(1, put("a", "1"));
    cluster.ask(1, 7, Request::WatchProgress);
    cluster.settle();
    let frames = cluster.frames(1, watch);
    assert_eq!(frames.last(), Some(&WatchFrame::Progress { through: Revision(2) }));
}
