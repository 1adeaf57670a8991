//! How a session stands.

use tokio::time::Instant;

/// How a session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Confirmed within the last two thirds of its timeout.
    Healthy,
    /// Not confirmed for longer. It may live or not; the holder may act until its validity ends.
    Jeopardy,
    /// Gone, with everything it owned.
    Lost {
        /// Why, in words.
        cause: String,
    },
}

/// The state with its time.
#[derive(Clone, Debug)]
pub struct Validity {
    /// How it stands.
    pub state: SessionState,
    /// The holder may act until then.
    pub until: Instant,
}

impl Validity {
    /// Confirmed: valid until then.
    pub fn healthy(until: Instant) -> Self {
        Self { state: SessionState::Healthy, until }
    }
}
