//! The machine: applies committed entries to the state, and answers questions about it.
//!
//! | file | holds |
//! | --- | --- |
//! | `execute` | the order of checks for one proposal |
//! | `kv`, `range`, `history` | keys: their records, reads now and in the past, events |
//! | `txn`, `form`, `update` | transactions, what makes one ill-formed, computed values |
//! | `session`, `dedup`, `outcome` | sessions, exactly once, how outcomes are remembered |
//! | `compaction` | forgetting the past: the decision (replicated) and the removal (local) |
//! | `membership` | the cluster's members |
//! | `conditions` | alarms |
//! | `refound` | a saved state as the beginning of a new cluster |
//! | `query` | reads |
//! | `counters`, `scratch`, `check` | the machine's numbers, an entry's overlay, invariants |

use crate::auth::access::Access;
use crate::auth::{self, Caller, Need};
use crate::command::{
    Answer, Conditions, Entry, EntryBody, Member, MembershipChange, Outcome, Proposal, Query, Rejection,
};
use crate::event::{Cause, Event};
use crate::ids::{Index, ProposalId, Revision, SessionId, Term};
use crate::keys;
use crate::view::{Mutation, View};
use bytes::Bytes;
use counters::Counters;
use digests::Digests;
use scratch::Scratch;
use thiserror::Error;

mod check;
mod compaction;
mod conditions;
pub(crate) mod counters;
pub(crate) mod dedup;
mod digests;
mod execute;
pub(crate) mod form;
mod guard;
mod history;
mod kv;
mod membership;
mod outcome;
#[cfg(feature = "plant")]
mod plant;
mod query;
mod range;
mod refound;
pub(crate) mod scratch;
pub(crate) mod session;
mod txn;
mod update;

/// The replicated state's counters. Everything else is in the view.
///
/// Invariant: the counters agree with the view that the next call is given, that is, the caller has
/// made every [`Applied::mutations`] true before it applies the next entry or asks a question.
#[derive(Clone, Debug)]
pub struct Machine {
    counters: Counters,
    digests: Digests,
    reclaimed: compaction::Progress,
    conf_state: Bytes,
    cluster_id: u64,
    auth: auth::Settings,
}

/// Everything that one entry did.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The entry's position.
    pub index: Index,
    /// What the log decided, for each proposal of the entry, in order.
    pub outcomes: Vec<(ProposalId, Outcome)>,
    /// Changes for watchers, in order.
    pub events: Vec<Event>,
    /// What whoever keeps deadlines must know, in order.
    pub sessions: Vec<SessionChange>,
    /// Turn the state before the entry into the state after it. Each key once. To be made true
    /// together or not at all.
    pub mutations: Vec<Mutation>,
    /// All members, if the entry changed one.
    pub members: Option<Vec<Member>>,
    /// Whether authentication is on, and its revision, if the entry changed users, roles or this.
    pub auth: Option<auth::Settings>,
    /// All alarms and notes of operators, if the entry changed one.
    pub conditions: Option<Conditions>,
    /// The entry carried the leader's digest. The last one, if it carried several.
    pub digest_check: Option<DigestCheck>,
    /// The state's revision after the entry.
    pub revision: Revision,
}

/// A session's life as far as deadlines are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// It began.
    Opened {
        /// The session.
        session: SessionId,
        /// Milliseconds without life after which it is due.
        timeout_ms: u64,
        /// The entry.
        last_touch: Index,
    },
    /// The log saw it alive.
    Touched {
        /// The session.
        session: SessionId,
        /// The entry.
        last_touch: Index,
    },
    /// It is gone.
    Ended {
        /// The session.
        session: SessionId,
        /// Why.
        cause: Cause,
    },
}

/// The leader's digest beside one's own. Different numbers mean that this replica is damaged: it
/// must stop serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestCheck {
    /// The index after whose application both were taken.
    pub index: Index,
    /// The leader's.
    pub theirs: u128,
    /// One's own; `None` when it is not remembered. The machine remembers its digests at the last
    /// [`DIGESTS_KEPT`](crate::limits::DIGESTS_KEPT) indexes that are multiples of
    /// [`DIGEST_EVERY`](crate::limits::DIGEST_EVERY), so only those are worth sending.
    pub ours: Option<u128>,
}

/// The stored state cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LoadError {
    /// Written by another version of the program.
    #[error(
        "the state has format {found}, and this program reads format {known}; use the version that wrote it, or let the node fetch a snapshot"
    )]
    Format {
        /// What was found.
        found: u8,
        /// What can be read.
        known: u8,
    },
    /// Records without the counters that belong to them.
    #[error(
        "the state holds records but not {record}; it is damaged: remove the node's data directory and let it fetch a snapshot"
    )]
    Missing {
        /// What is missing.
        record: &'static str,
    },
}

impl Machine {
    /// Continues from the state in `view`. An empty view gives a fresh machine: revision 1, applied
    /// index 0.
    pub fn load(view: &dyn View) -> Result<Self, LoadError> {
        let Some(record) = view.get(keys::COUNTERS) else {
            return Self::fresh(view);
        };
        let found = record.first().copied().unwrap_or(0);
        if found != counters::FORMAT {
            return Err(LoadError::Format { found, known: counters::FORMAT });
        }
        let counters = Counters::decode(&record);
        #[cfg(feature = "plant")]
        let counters = plant::counters(view, counters);
        Ok(Self {
            counters,
            digests: Digests::load(view),
            reclaimed: compaction::Progress::load(view),
            conf_state: view.get(keys::CONF_STATE).unwrap_or_default(),
            cluster_id: membership::cluster_id(view),
            auth: auth::Settings::load(view),
        })
    }

    fn fresh(view: &dyn View) -> Result<Self, LoadError> {
        let mut empty = true;
        view.scan(&[], &[0xff], false, &mut |_, _| {
            empty = false;
            std::ops::ControlFlow::Break(())
        });
        if !empty {
            return Err(LoadError::Missing { record: "counters" });
        }
        Ok(Self {
            counters: Counters::FRESH,
            digests: Digests::default(),
            reclaimed: compaction::Progress::default(),
            conf_state: Bytes::new(),
            cluster_id: 0,
            auth: auth::Settings::default(),
        })
    }

    /// The first records of a new cluster: applied index 1, term 1, revision 1. Equal arguments give
    /// equal records, so every founding member writes its own.
    pub fn bootstrap(members: &[Member], conf_state: Bytes, cluster_id: u64) -> Vec<Mutation> {
        let empty = crate::view::MemoryView::default();
        let counters = Counters { applied: Index(1), term: Term(1), ..Counters::FRESH };
        let mut work = Scratch::new(&empty, counters);
        membership::found(&mut work, members, conf_state, cluster_id);
        let mut finished = work.finish();
        let record = finished.counters.encode();
        finished.mutations.push(Mutation::new(Bytes::from_static(keys::COUNTERS), Some(record)));
        finished.mutations
    }

    /// What turns the state in `view` into the founding state of a new cluster, at the same applied
    /// index and term: other members, no sessions, a revision far ahead, no history. Load the
    /// machine anew afterwards. Equal states and arguments give equal mutations, so every founding
    /// member makes its own.
    pub fn refound(
        &self,
        view: &dyn View,
        members: &[Member],
        conf_state: Bytes,
        cluster_id: u64,
    ) -> Vec<Mutation> {
        refound::refound(view, self.counters, members, conf_state, cluster_id)
    }

    /// Applies the entry after the last one. Total: a refusal is an outcome.
    ///
    /// # Panics
    /// When the entry is not the next one, or the stored state is damaged.
    pub fn apply(&mut self, view: &dyn View, entry: &Entry) -> Applied {
        let expected = self.counters.applied.next();
        assert_eq!(entry.index, expected, "the log has a gap: expected {expected}");
        let counters = Counters { applied: entry.index, term: entry.term, ..self.counters };
        let mut round = Round::new(entry.index, Scratch::new(view, counters), self.auth.clone());
        match &entry.body {
            EntryBody::Empty => {}
            EntryBody::Proposals { stamp_ms, proposals } => round.proposals(*stamp_ms, proposals),
            EntryBody::Membership(change) => {
                self.conf_state = change.conf_state.clone();
                round.membership(change);
            }
        }
        self.finish(round)
    }

    /// Settles the counters and hands over what the entry did.
    fn finish(&mut self, round: Round<'_>) -> Applied {
        let Round { index, work, auth, outcomes, members, conditions, digest_check } = round;
        let mut finished = work.finish();
        self.counters = finished.counters;
        finished
            .mutations
            .push(Mutation::new(Bytes::from_static(keys::COUNTERS), Some(self.counters.encode())));
        let digest_check =
            digest_check.map(|(at, theirs)| DigestCheck { index: at, theirs, ours: self.digests.at(at) });
        finished.mutations.extend(self.digests.note(&self.counters));
        let auth = (auth != self.auth).then(|| {
            self.auth = auth;
            self.auth.clone()
        });
        Applied {
            index,
            outcomes,
            events: finished.events,
            sessions: finished.sessions,
            mutations: finished.mutations,
            members,
            conditions,
            auth,
            digest_check,
            revision: self.counters.revision,
        }
    }

    /// Answers a question of the server itself about the state as it is after the last entry.
    pub fn read(&self, view: &dyn View, query: &Query) -> Result<Answer, Rejection> {
        self.read_as(view, &Caller::Server, query)
    }

    /// Answers a question about the state as it is after the last entry, if the caller may ask it.
    pub fn read_as(&self, view: &dyn View, caller: &Caller, query: &Query) -> Result<Answer, Rejection> {
        let access = Access::of(view, &self.auth, caller)?;
        access.query(query)?;
        query::read(view, &self.counters, auth::owner(&self.auth, caller), query)
    }

    /// Whether the caller has what it needs, as of the last entry.
    pub fn permits(&self, view: &dyn View, caller: &Caller, need: Need<'_>) -> Result<(), Rejection> {
        Access::of(view, &self.auth, caller)?.need(need)
    }

    /// Whether authentication is on, as of the last entry.
    pub fn auth(&self) -> &auth::Settings {
        &self.auth
    }

    /// One bounded step of forgetting what lies before the compacted revision; looks at no more
    /// than `budget` events. Local to this replica, safe to repeat, not part of the digest. Returns
    /// what to remove (to be made true together, with nothing between); empty when nothing is left.
    pub fn reclaim(&mut self, view: &dyn View, budget: usize) -> Vec<Mutation> {
        self.reclaimed.step(view, self.counters.compacted, budget.max(1))
    }

    /// Whether [`reclaim`](Self::reclaim) has anything left to do.
    pub fn is_reclaimed(&self) -> bool {
        self.reclaimed.is_done(self.counters.compacted)
    }

    /// Proves the invariants of the whole state and computes its digest anew. Costs a scan of
    /// everything; for tests and inspection.
    pub fn check(&self, view: &dyn View) -> Result<(), String> {
        check::all(self, view)
    }

    /// Compares the digest that is kept with one that the caller computed from all records that
    /// count in it. For whoever reads all records anyway.
    pub fn check_sum(&self, found: crate::digest::Sum) -> Result<(), String> {
        check::sum(self, found)
    }

    /// Revision of the last transaction that changed something.
    pub fn revision(&self) -> Revision {
        self.counters.revision
    }

    /// Reads below this revision are refused; zero before the first compaction.
    pub fn compacted(&self) -> Revision {
        self.counters.compacted
    }

    /// Last entry applied.
    pub fn applied(&self) -> Index {
        self.counters.applied
    }

    /// Term of the last entry applied.
    pub fn applied_term(&self) -> Term {
        self.counters.term
    }

    /// The state's digest after the last entry.
    pub fn digest(&self) -> u128 {
        self.counters.digest()
    }

    /// Indexes and digests that are remembered, oldest first. The leader proposes the last one in a
    /// [`CheckDigest`](crate::Command::CheckDigest) command.
    pub fn recent_digests(&self) -> &[(Index, u128)] {
        self.digests.all()
    }

    /// Highest stamp seen, in milliseconds since 1970.
    pub fn stamp_ms(&self) -> u64 {
        self.counters.stamp_ms
    }

    /// Consensus's configuration as of the last entry.
    pub fn conf_state(&self) -> &Bytes {
        &self.conf_state
    }

    /// The cluster's id; zero before bootstrap.
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// Whether this id belonged to a member that was removed. Such an id is spent.
    pub fn was_removed(&self, view: &dyn View, node: crate::ids::NodeId) -> bool {
        view.get(&keys::removed_member(node)).is_some()
    }
}

/// One entry on its way through `apply`.
struct Round<'v> {
    index: Index,
    work: Scratch<'v>,
    auth: auth::Settings,
    outcomes: Vec<(ProposalId, Outcome)>,
    members: Option<Vec<Member>>,
    conditions: Option<Conditions>,
    digest_check: Option<(Index, u128)>,
}

impl<'v> Round<'v> {
    fn new(index: Index, work: Scratch<'v>, auth: auth::Settings) -> Self {
        Self { index, work, auth, outcomes: Vec::new(), members: None, conditions: None, digest_check: None }
    }

    fn proposals(&mut self, stamp_ms: u64, proposals: &[Proposal]) {
        // Leaders' clocks may disagree; the log's clock does not run backwards.
        let clock = &mut self.work.counters.stamp_ms;
        *clock = (*clock).max(stamp_ms);
        dedup::forget_due(&mut self.work);
        self.outcomes.reserve(proposals.len());
        for proposal in proposals {
            let outcome = execute::execute(self, proposal);
            self.outcomes.push((proposal.id, outcome));
        }
    }

    fn membership(&mut self, change: &MembershipChange) {
        let members = membership::change(&mut self.work, change);
        self.members = Some(members.clone());
        let reply = execute::reply(self, crate::command::ReplyBody::Members(members));
        self.outcomes.push((change.id, Ok(reply)));
    }
}
