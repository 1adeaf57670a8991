//! How much CPU time the machine takes per put, with the map in memory:
//! `cargo run --release -p oarlock-state --example apply_speed`.
//!
//! The time is this thread's own, as the kernel counts it (Linux), so that other work on the machine
//! disturbs little.

use bytes::Bytes;
use oarlock_state::command::{KvOp, OpenSession, Put, Txn};
use oarlock_state::{
    Command, Entry, EntryBody, Index, Machine, MemoryView, Proposal, ProposalId, RequestId, SessionId, Term,
};

const KEYS: u64 = 10_000;
const ENTRIES: u64 = 2_000;
const ENTRIES_PER_COMPACTION: u64 = 10;
const PUTS_PER_ENTRY: u64 = 100;
const VALUE_BYTES: usize = 256;

fn main() {
    let plain = measure(false);
    println!("plain put:           {:6} ns apply, {:6} ns write", plain.0, plain.1);
    let remembered = measure(true);
    println!("exactly-once put:    {:6} ns apply, {:6} ns write", remembered.0, remembered.1);
}

/// Nanoseconds per put: in `apply`, and in making its mutations true in the map.
fn measure(with_session: bool) -> (u64, u64) {
    let (mut view, session) = opened();
    let mut machine = Machine::load(&view).expect("the view was written by this program");
    let (mut applying, mut writing) = (0, 0);
    for number in 0..ENTRIES {
        let entry = puts(machine.applied().next(), number, with_session.then_some(session));
        let start = cpu_ns();
        let applied = machine.apply(&view, &entry);
        let applied_at = cpu_ns();
        view.write(&applied.mutations);
        applying += applied_at - start;
        writing += cpu_ns() - applied_at;
        assert!(applied.outcomes.iter().all(|(_, outcome)| outcome.is_ok()));
        if number % ENTRIES_PER_COMPACTION == 0 {
            compact(&mut machine, &mut view);
        }
    }
    let puts = ENTRIES * PUTS_PER_ENTRY;
    (applying / puts, writing / puts)
}

/// Forgets the past, so that the map does not outgrow the processor's caches: it is the machine
/// that is measured here.
fn compact(machine: &mut Machine, view: &mut MemoryView) {
    let command = Command::Compact { revision: machine.revision() };
    let applied = machine.apply(view, &entry(machine.applied().next(), vec![proposal(0, command)]));
    view.write(&applied.mutations);
    loop {
        let removed = machine.reclaim(view, usize::MAX);
        if removed.is_empty() {
            return;
        }
        view.write(&removed);
    }
}

/// Nanoseconds that this thread has run.
fn cpu_ns() -> u64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat");
    let statistics = statistics.expect("Linux counts the time of threads");
    let first = statistics.split(' ').next().and_then(|number| number.parse().ok());
    first.expect("the first number is the time on a CPU")
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
    Proposal {
        id,
        request: None,
        idempotency: None,
        guards: Vec::new(),
        caller: oarlock_state::Caller::Anonymous,
        command,
    }
}

fn entry(index: Index, proposals: Vec<Proposal>) -> Entry {
    Entry { index, term: Term(1), body: EntryBody::Proposals { stamp_ms: 1, proposals } }
}
