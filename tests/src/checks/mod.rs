//! One property per file: what must hold, who says so, and proof that the check can fail.
//!
//! | about | checks |
//! | --- | --- |
//! | the log | [`election_safety`], [`log_matching`], [`committed_never_changes`] |
//! | the state | [`state_agreement`], [`revision_monotone`], [`exactly_once`], [`membership_agreement`] |
//! | what clients see | [`linearizable`], [`revision_order`], [`errors_of_four_kinds`], [`answered_in_time`], [`connection_order`] |
//! | sessions and tokens | [`session_not_early`], [`session_eventually`], [`session_stays_gone`], [`ephemeral_with_session`], [`token_exclusive`] |
//! | locks and elections | [`lock_exclusive`], [`lock_fifo`], [`lock_no_lost_wakeup`], [`lock_delay_kept`] |
//! | watches | [`watch_ordered`], [`watch_no_gap`], [`watch_no_duplicate`], [`watch_atomic`], [`watch_resumable`], [`watch_bookmarkable`] |
//!
//! Checks know nothing of the simulator: they judge plain data, which real processes can produce
//! as well.

use std::fmt;

pub mod answered_in_time;
pub mod committed_never_changes;
pub mod connection_order;
pub mod election_safety;
pub mod ephemeral_with_session;
pub mod errors_of_four_kinds;
pub mod exactly_once;
pub mod linearizable;
pub mod lock_delay_kept;
pub mod lock_exclusive;
pub mod lock_fifo;
pub mod lock_no_lost_wakeup;
pub mod log_matching;
pub mod membership_agreement;
pub mod revision_monotone;
pub mod revision_order;
pub mod session_eventually;
pub mod session_not_early;
pub mod session_stays_gone;
pub mod state_agreement;
pub mod token_exclusive;
pub mod watch_atomic;
pub mod watch_bookmarkable;
pub mod watch_no_duplicate;
pub mod watch_no_gap;
pub mod watch_ordered;
pub mod watch_resumable;

/// A property that does not hold, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property: the name of its file.
    pub check: &'static str,
    /// What was seen.
    pub what: String,
}

impl Violation {
    /// A violation of this property.
    pub fn new(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

impl std::error::Error for Violation {}

/// What a check comes to.
pub type Checked = Result<(), Violation>;
