//! How long the machine takes per put, with the map in memory:
//! `cargo run --release -p oarlock-state --example apply_speed`.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures time")]

use bytes::Bytes;
use oarlock_state::command::{KvOp, OpenSession, Put, Txn};
use oarlock_state::{
    Command, Entry, EntryBody, Index, Machine, MemoryView, Proposal, ProposalId, RequestId,
    SessionId, Term,
};
use std::time::{Duration, Instant};

const KEYS: u64 = 10_000;
const ENTRIES: u64 = 2_000;
const PUTS_PER_ENTRY: u64 = 100;
const VALUE_BYTES: usize = 256;

fn main() {
    let plain = measure(false);
    println!("plain put:           {:6} ns apply, {:6} ns write", plain.0, plain.1);
    let remembered = measure(true);
    println!("exactly-once put:    {:6} ns apply, {:6} ns write", remembered.0, remembered.1);
}

/// Nanoseconds per put: in `apply`, and in making its mutations true in the map.
fn measure(with_session: bool) -> (u128, u128) {
    let (mut view, session) = opened();
    let mut machine = Machine::load(&view).expect("the view was written by this program");
    let (mut applying, mut writing) = (Duration::ZERO, Duration::ZERO);
    for number in 0..ENTRIES {
        let entry = puts(machine.applied().next(), number, with_session.then_some(session));
        let start = Instant::now();
        let applied = machine.apply(&view, &entry);
        applying += start.elapsed();
        assert!(applied.outcomes.iter().all(|(_, outcome)| outcome.is_ok()));
        let start = Instant::now();
        view.write(&applied.mutations);
        writing += start.elapsed();
    }
    let puts = u128::from(ENTRIES * PUTS_PER_ENTRY);
    (applying.as_nanos() / puts, writing.as_nanos() / puts)
}

fn opened() -> (MemoryView, SessionId) {
    let mut view = MemoryView::default();
    view.write(&Machine::bootstrap(&[], Bytes::new(), 1));
    let mut machine = Machine::load(&view).expect("the view was written by this program");
    let session = SessionId(7);
    let open = OpenSession { id: session, secret: [0; 16], timeout_ms: 10_000, principal: String::new() };
    let entry = entry(machine.applied().next(), vec![proposal(0, Command::OpenSession(open))]);
    let applied = machine.apply(&view, &entry);
    view.write(&applied.mutations);
    (view, session)
}

fn puts(index: Index, number: u64, session: Option<SessionId>) -> Entry {
    let proposals = (0..PUTS_PER_ENTRY).map(|position| {
        let count = number * PUTS_PER_ENTRY + position;
        // A stride that visits all keys in an order unlike theirs.
        let key = format!("/bench/{:08}", count * 7919 % KEYS);
        let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
        let put = Put { key: key.into(), value, ..Put::default() };
        let txn = Txn { then: vec![KvOp::Put(put)], ..Txn::default() };
        let mut proposal = proposal(count, Command::Txn(txn));
        proposal.request = session.map(|session| RequestId {
            session,
            sequence: count + 1,
            acked_up_to: count.saturating_sub(256),
        });
        proposal
    });
    entry(index, proposals.collect())
}

fn proposal(count: u64, command: Command) -> Proposal {
    let id = ProposalId { count, ..ProposalId::default() };
    Proposal { id, request: None, idempotency: None, guards: Vec::new(), command }
}

fn entry(index: Index, proposals: Vec<Proposal>) -> Entry {
    Entry { index, term: Term(1), body: EntryBody::Proposals { stamp_ms: 1, proposals } }
}
