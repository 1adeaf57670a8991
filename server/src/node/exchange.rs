//! What the two halves of a core tell each other. All that they share.

use super::io::Now;
use super::request::{Admin, NodeStatus, Origin, Refusal, Result, Role, WatchSpec};
use crate::storage::BaseStore;
use crate::storage::state::FlushDone;
use bytes::Bytes;
use oarlock_state::command::{Alarm, Member};
use oarlock_state::{Caller, Command, Entry, NodeId, ProposalId, Query, SessionId};
use std::sync::Arc;

/// The count of proposals that the core makes for itself: nobody waits for them. With this
/// [`boot`](oarlock_state::ProposalId::boot) the id's count is the microsecond, on the proposer's
/// monotonic clock, at which it was proposed.
pub const OWN_BUSINESS: u64 = 0;

/// How long a request may wait.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit {
    /// Microseconds on the monotonic clock at which it has waited too long.
    pub deadline_us: u64,
    /// Milliseconds from its arrival until then.
    pub timeout_ms: u64,
}

/// From the driver to the applier, in order. All replies are the applier's, so that they cannot
/// overtake watch events.
#[derive(Debug)]
pub enum ToApplier {
    /// Time passed.
    Tick(Now),
    /// A write is on its way; its outcome goes to `origin`.
    Wait {
        /// The count of its proposal id.
        count: u64,
        /// Who waits.
        origin: Origin,
    },
    /// Whoever waits for this write gets this instead of an outcome.
    GiveUp {
        /// The count of its proposal id.
        count: u64,
        /// What is known of it.
        refusal: Refusal,
    },
    /// Pass on.
    Reply {
        /// To whom.
        origin: Origin,
        /// What.
        result: Result,
    },
    /// Answer from the state once it has applied this index.
    Read {
        /// The index; zero for the state as it is.
        index: u64,
        /// Who asks.
        origin: Origin,
        /// On whose behalf.
        caller: Caller,
        /// What.
        query: Query,
        /// How long that may take.
        limit: TimeLimit,
    },
    /// Answer with the members once this index is applied.
    ReadMembers {
        /// The index.
        index: u64,
        /// Who asks.
        origin: Origin,
        /// The member that was added, or zero.
        added: NodeId,
        /// How long that may take.
        limit: TimeLimit,
    },
    /// Complete this with what the applier knows, and reply.
    Status {
        /// Who asks.
        origin: Origin,
        /// What the driver knows.
        status: Box<NodeStatus>,
    },
    /// Hand this back as [`ToDriver::Administer`] if the caller may administer.
    Administer {
        /// Who asks.
        origin: Origin,
        /// On whose behalf.
        caller: Caller,
        /// What.
        admin: Admin,
    },
    /// Begin a watch.
    Watch {
        /// Its name.
        origin: Origin,
        /// On whose behalf.
        caller: Caller,
        /// What.
        spec: WatchSpec,
    },
    /// End a watch.
    CancelWatch(Origin),
    /// Tell progress on all watches of the connection.
    WatchProgress(Origin),
    /// Tell progress once on behalf of all watches of the connection.
    ConnProgress(Origin),
    /// A connection takes more frames.
    WatchCredit {
        /// The connection.
        conn: u64,
        /// Bytes to add.
        bytes: usize,
    },
    /// A connection is gone.
    Disconnected(u64),
    /// Committed, in order.
    Committed(Vec<Entry>),
    /// The node's part changed.
    Reign(Reign),
    /// Sessions were seen alive; answer once that is confirmed.
    KeepAlives(KeepAliveBatch),
    /// A quorum confirmed, after round `round` began, that this node led.
    Confirmed {
        /// The round.
        round: u64,
        /// What was committed when it began.
        index: u64,
        /// When it began, in microseconds on this node's monotonic clock.
        began_us: u64,
    },
    /// Apply nothing until the staged snapshot took the place of the state.
    Install(u64),
    /// It did.
    Installed {
        /// Its index.
        index: u64,
        /// The store that holds it.
        base: Arc<dyn BaseStore>,
    },
    /// A flush is done.
    Flushed(FlushDone),
    /// A checkpoint of the flushed state is wanted for a peer.
    Checkpoint,
}

/// Who reigns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reign {
    /// This node's part.
    pub role: Role,
    /// The term.
    pub term: u64,
    /// The leader; zero when unknown.
    pub leader: NodeId,
}

/// Sessions that one member saw alive, on their way to the leader's tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAliveBatch {
    /// The member.
    pub from: NodeId,
    /// Its number for the batch.
    pub batch: u64,
    /// The sessions.
    pub sessions: Vec<SessionId>,
    /// Only how long they have left is asked; it is no sign of life.
    pub look: bool,
    /// The first round of leadership confirmation that begins after the batch arrived.
    pub round: u64,
}

/// From the applier to the driver, in order.
#[derive(Debug)]
pub enum ToDriver {
    /// Applied up to here.
    Applied {
        /// The index.
        index: u64,
        /// Term of that entry.
        term: u64,
        /// The highest count among this node's own proposals that were applied.
        own: Option<u64>,
    },
    /// The state up to here survives without the log.
    Durable(u64),
    /// Propose this on the node's own account, if it leads.
    Propose(Command),
    /// For the member that saw these sessions alive.
    Alive {
        /// The member; may be this one.
        to: NodeId,
        /// Its batch.
        batch: u64,
        /// Sessions with the milliseconds for which they live, or that they have left; zero: there is
        /// no such session.
        answers: Vec<(SessionId, u64)>,
        /// This node does not lead; ask the leader.
        refused: bool,
    },
    /// The members, now.
    Members(Vec<Member>),
    /// The alarms, now.
    Alarms(Vec<Alarm>),
    /// A membership entry was applied.
    Membership {
        /// The proposal that asked for it.
        id: ProposalId,
        /// Consensus's configuration after it.
        conf_state: Bytes,
    },
    /// A staged snapshot was installed.
    Installed(u64),
    /// The caller may do this.
    Administer {
        /// Who asks.
        origin: Origin,
        /// What.
        admin: Admin,
    },
    /// Whether authentication is on.
    AuthEnabled(bool),
}
