//! What a core is told once, at its start.

use crate::storage::state::StateOptions;
use oarlock_state::NodeId;

/// Bounds and rhythms of a [`Core`](super::core::Core). Every queue's bound is here.
#[derive(Clone, Debug)]
pub struct CoreOptions {
    /// This member.
    pub node: NodeId,
    /// Drawn at random at every start and never zero, so that entries of an earlier life of this
    /// member are not mistaken for its own.
    pub boot: u64,
    /// Feeds everything that the core chooses at random (ids of new members).
    pub seed: u64,
    /// Milliseconds between two [`Input::Tick`](super::io::Input)s; must be what consensus was told.
    pub tick_ms: u64,
    /// Ticks of an election timeout; must be what consensus was told.
    pub election_ticks: usize,
    /// Milliseconds that a request may take which does not say itself.
    pub request_timeout_ms: u64,
    /// Requests that may be waiting, of each kind.
    pub pending_requests_max: usize,
    /// Bytes of writes that may be waiting.
    pub pending_bytes_max: usize,
    /// Bytes of writes that one log entry, or one message to the leader, gathers.
    pub batch_bytes_max: usize,
    /// Bytes of recent events kept in memory for watchers.
    pub watch_recent_bytes: usize,
    /// Watches on this node.
    pub watches_max: usize,
    /// Bytes of watch frames that a new connection may be sent before it grants more.
    pub watch_credit_bytes: usize,
    /// Bytes of watch frames for watchers that are behind, per round.
    pub watch_page_bytes: usize,
    /// Milliseconds without an event after which a watcher that wants progress is told of it.
    pub watch_progress_ms: u64,
    /// Events looked at by one step of forgetting compacted history.
    pub reclaim_events: usize,
    /// Milliseconds between two searches for container and TTL znodes whose time is up.
    pub idle_check_ms: u64,
    /// Below so many bytes of free disk a warning is logged.
    pub space_soft_bytes: u64,
    /// Below so many bytes of free disk only what frees space, and sessions, are accepted.
    pub space_hard_bytes: u64,
    /// Above so many bytes of state only what frees space, and sessions, are accepted.
    pub quota_bytes: u64,
    /// How the overlay of a state is written behind, for states that take the place of the first.
    pub state: StateOptions,
}

impl CoreOptions {
    /// The defaults for a member; `boot` and `seed` must be drawn by the caller.
    pub fn new(node: NodeId, boot: u64, seed: u64) -> Self {
        Self {
            node,
            boot,
            seed,
            tick_ms: 100,
            election_ticks: 10,
            request_timeout_ms: 5_000,
            pending_requests_max: 100_000,
            pending_bytes_max: 64 << 20,
            batch_bytes_max: 1 << 20,
            watch_recent_bytes: 8 << 20,
            watches_max: 1_000_000,
            watch_credit_bytes: 1 << 20,
            watch_page_bytes: 1 << 20,
            watch_progress_ms: 10 * 60 * 1000,
            reclaim_events: 1_000,
            idle_check_ms: 10_000,
            space_soft_bytes: 1 << 30,
            space_hard_bytes: 256 << 20,
            quota_bytes: u64::MAX,
            state: StateOptions::default(),
        }
    }

    /// Microseconds between two ticks.
    pub fn tick_us(&self) -> u64 {
        self.tick_ms * 1_000
    }

    /// Microseconds of an election timeout.
    pub fn election_us(&self) -> u64 {
        self.tick_us() * self.election_ticks as u64
    }
}
