//! One machine over a map in memory, with a clock that is set by hand.

use oarlock_state::command::{Answer, Guard, OpenSession};
use oarlock_state::{
    Applied, Command, Entry, EntryBody, Index, Machine, MemoryView, Proposal, ProposalId, Query, Rejection,
    RequestId, SessionId, Term,
};

/// The machine with its state.
pub struct World {
    pub view: MemoryView,
    pub machine: Machine,
    pub now_ms: u64,
}

impl World {
    pub fn new() -> Self {
        let view = MemoryView::default();
        let machine = Machine::load(&view).expect("an empty view is a fresh machine");
        Self { view, machine, now_ms: 1000 }
    }

    /// Applies a command in an entry of its own.
    pub fn apply(&mut self, command: Command) -> Applied {
        self.apply_as(command, None, Vec::new())
    }

    /// Applies a command under a name and under guards.
    pub fn apply_as(&mut self, command: Command, request: Option<RequestId>, guards: Vec<Guard>) -> Applied {
        let id = ProposalId::default();
        let proposal = Proposal {
            id,
            request,
            idempotency: None,
            guards,
            caller: oarlock_state::Caller::Server,
            command,
        };
        let entry = Entry {
            index: Index(self.machine.applied().get() + 1),
            term: Term(1),
            body: EntryBody::Proposals { stamp_ms: self.now_ms, proposals: vec![proposal] },
        };
        let applied = self.machine.apply(&self.view, &entry);
        self.view.write(&applied.mutations);
        self.machine.check(&self.view).expect("the invariants hold");
        applied
    }

    /// Opens a session under a wished id.
    pub fn open(&mut self, id: SessionId) -> Applied {
        let (secret, principal) = ([0; 16], String::new());
        self.apply(Command::OpenSession(OpenSession { id, secret, timeout_ms: 10_000, principal }))
    }

    /// The entry of a session's last touch; zero if there is no such session.
    pub fn last_touch(&self, session: SessionId) -> Index {
        match self.read(&Query::Session { session, want_attached: false }) {
            Ok(Answer::Session(info)) => info.last_touch,
            Ok(_) | Err(_) => Index(0),
        }
    }

    /// Asks the machine.
    pub fn read(&self, query: &Query) -> Result<Answer, Rejection> {
        self.machine.read(&self.view, query)
    }
}
