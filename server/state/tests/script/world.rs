//! The machine of a script, beside a twin that never reclaims.
//!
//! The twin proves that nothing a client sees depends on how far a replica came with removing its
//! compacted past. After every entry both must answer alike and satisfy their invariants.

use oarlock_state::command::{Answer, Query};
use oarlock_state::{
    Applied, Caller, Command, Entry, EntryBody, Index, Machine, MemoryView, Proposal, ProposalId, Rejection,
    Term,
};

/// A state with its machine.
pub struct Replica {
    pub view: MemoryView,
    pub machine: Machine,
}

impl Replica {
    fn fresh() -> Self {
        let view = MemoryView::default();
        let machine = Machine::load(&view).expect("an empty view is a fresh machine");
        Self { view, machine }
    }

    fn apply(&mut self, entry: &Entry) -> Applied {
        let applied = self.machine.apply(&self.view, entry);
        self.view.write(&applied.mutations);
        if let Err(complaint) = self.machine.check(&self.view) {
            panic!("after {entry:?}: {complaint}");
        }
        applied
    }

    /// Replaces the machine by one that is loaded from a copy of the records.
    pub fn restart(&mut self) {
        let digest = self.machine.digest();
        self.view = self.view.clone();
        self.machine = Machine::load(&self.view).expect("the copy is whole");
        assert_eq!(self.machine.digest(), digest, "the copy has another digest");
        self.machine.check(&self.view).expect("the invariants hold in the copy");
    }
}

/// Everything a script acts on.
pub struct World {
    pub replica: Replica,
    pub twin: Replica,
    /// Stamp of the next entry, in milliseconds.
    pub now_ms: u64,
    pub term: Term,
    proposals: u64,
}

impl World {
    pub fn new() -> Self {
        Self { replica: Replica::fresh(), twin: Replica::fresh(), now_ms: 0, term: Term(1), proposals: 0 }
    }

    /// Starts anew from these records.
    pub fn found(&mut self, records: &[oarlock_state::Mutation]) {
        for replica in [&mut self.replica, &mut self.twin] {
            replica.view.write(records);
            replica.machine = Machine::load(&replica.view).expect("the records are whole");
            replica.machine.check(&replica.view).expect("the invariants hold");
        }
    }

    /// Makes both replicas the beginning of a new cluster.
    pub fn refound(&mut self, members: &[oarlock_state::command::Member]) {
        for replica in [&mut self.replica, &mut self.twin] {
            let (view, machine) = (&mut replica.view, &mut replica.machine);
            let records = machine.refound(view, members, "refounded".into(), 100);
            view.write(&records);
            *machine = Machine::load(view).expect("the records are whole");
            machine.check(view).expect("the invariants hold");
        }
        self.compare_digests();
    }

    /// A proposal with an id of its own.
    pub fn proposal(&mut self, command: Command) -> Proposal {
        self.proposals += 1;
        let id = ProposalId { count: self.proposals, ..ProposalId::default() };
        Proposal { id, request: None, idempotency: None, guards: Vec::new(), caller: Caller::Server, command }
    }

    /// Applies proposals in one entry.
    pub fn propose(&mut self, proposals: Vec<Proposal>) -> Applied {
        self.apply(EntryBody::Proposals { stamp_ms: self.now_ms, proposals })
    }

    /// Applies an entry on both replicas.
    pub fn apply(&mut self, body: EntryBody) -> Applied {
        let index = Index(self.replica.machine.applied().get() + 1);
        let entry = Entry { index, term: self.term, body };
        let (applied, twin) = (self.replica.apply(&entry), self.twin.apply(&entry));
        assert_eq!(applied.outcomes, twin.outcomes, "the twin decided otherwise");
        assert_eq!(applied.events, twin.events, "the twin saw other events");
        assert_eq!(applied.sessions, twin.sessions, "the twin saw other sessions");
        self.compare_digests();
        applied
    }

    /// Asks both replicas.
    pub fn read(&self, caller: &Caller, query: &Query) -> Result<Answer, Rejection> {
        let answer = self.replica.machine.read_as(&self.replica.view, caller, query);
        let twin = self.twin.machine.read_as(&self.twin.view, caller, query);
        // What an event superseded may be gone on one replica and not yet on the other.
        if !matches!(query, Query::Previous { .. }) {
            assert_eq!(answer, twin, "the twin answered otherwise");
        }
        answer
    }

    /// One step of reclaiming; the twin does nothing. Returns how many records went.
    pub fn reclaim(&mut self, budget: usize) -> Option<usize> {
        let mutations = self.replica.machine.reclaim(&self.replica.view, budget);
        self.replica.view.write(&mutations);
        self.replica.machine.check(&self.replica.view).expect("the invariants hold");
        self.compare_digests();
        let removed = mutations.iter().filter(|mutation| mutation.value.is_none()).count();
        (!mutations.is_empty()).then_some(removed)
    }

    fn compare_digests(&self) {
        let (own, twin) = (self.replica.machine.digest(), self.twin.machine.digest());
        assert_eq!(own, twin, "the twin has another digest");
    }
}
