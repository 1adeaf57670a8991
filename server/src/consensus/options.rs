//! What a replica is told at its start.

use bytes::Bytes;
use oarlock_state::NodeId;

/// Bytes in one log entry. The batch of a round stays far below; a single large proposal must fit.
pub const ENTRY_BYTES_MAX: usize = 4 * oarlock_state::limits::PROPOSAL_BYTES_MAX;

/// A learner or transfer target counts as caught up when it lacks at most this many entries.
pub const CAUGHT_UP_ENTRIES: u64 = 1000;

/// Reads waiting for their round at one time. Callers gather many client reads into one round, so
/// a handful is normal, and more means that no quorum answers.
pub const PENDING_READS_MAX: usize = 1024;

/// What a replica is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// This member. Never zero, never another member's id of the past.
    pub node: NodeId,
    /// Ticks without a leader before a follower asks for votes; the actual number is drawn anew in
    /// each term from this to twice this. Too low: needless elections under load. Too high: that
    /// long without writes after a crash. At least ten heartbeats, so that one may be lost.
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Decides the election timeouts. Random in production; the same seed gives the same run.
    pub seed: u64,
    /// Drawn at each start; makes this process's read contexts unlike those of its predecessor.
    pub boot: u64,
    /// Bytes of entries in one message to a peer (one entry is always sent).
    pub max_message_bytes: u64,
    /// Messages with entries on their way to one peer.
    pub max_inflight: usize,
    /// Bytes of entries that are proposed but not committed; above it proposals are refused.
    pub max_uncommitted_bytes: u64,
    /// Bytes of committed entries handed out at once (one entry is always handed out).
    pub max_committed_bytes: u64,
    /// Index of the last entry whose effects are durable in the state; the next one is handed out
    /// first.
    pub applied: u64,
    /// Configuration at `applied`, encoded by [`conf`](super::conf); empty for a member that joins.
    pub conf_state: Bytes,
    /// Entries kept behind the durable state, so that a follower that was away for a moment is not
    /// sent a whole snapshot.
    pub catch_up_entries: u64,
    /// Bytes of log beyond which fewer entries are kept for such followers.
    pub catch_up_bytes: u64,
}

impl Options {
    /// The usual numbers for this member, at the very beginning of a log.
    pub fn of(node: NodeId) -> Self {
        Self {
            node,
            election_ticks: 10,
            heartbeat_ticks: 1,
            seed: 0,
            boot: 0,
            max_message_bytes: 1 << 20,
            max_inflight: 256,
            max_uncommitted_bytes: 64 << 20,
            max_committed_bytes: 16 << 20,
            applied: 0,
            conf_state: Bytes::new(),
            catch_up_entries: 10_000,
            catch_up_bytes: 1 << 30,
        }
    }
}
