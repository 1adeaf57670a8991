//! A session whose holder is silent ends in bounded time once a quorum is up.
//!
//! Sources: part 1 of the design ("one session"); `reliability.md` 1.5, item 5: "must be gone by
//! (last renewal's return + timeout + bound)".

use super::{Checked, Violation};
use crate::history::Time;

/// A session that lives at the moment of judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Living {
    /// Its id.
    pub session: u64,
    /// Its timeout in microseconds.
    pub timeout: Time,
    /// When its holder last sent anything that keeps it alive.
    pub last_sign: Time,
}

/// Judges the sessions that live at `now`. The cluster is whole since `healed`.
///
/// A new leader may grant 9/8 of the timeout from its own apply of the last touch; `bound` is for
/// elections, replay and the round trip.
///
/// # Errors
/// A session that lives too long.
pub fn check(living: &[Living], healed: Time, bound: Time, now: Time) -> Checked {
    for session in living {
        let since = session.last_sign.max(healed);
        let due = since + session.timeout + session.timeout / 4 + bound;
        if now > due {
            let what = format!("{session:?} still lives at {now}; it was due at {due}");
            return Err(Violation::new("session_eventually", what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_stays_is_found() {
        let silent = Living { session: 1, timeout: 1000, last_sign: 500 };
        assert!(check(&[silent], 0, 100, 1850).is_ok());
        assert!(check(&[silent], 0, 100, 1851).is_err());
        assert!(check(&[silent], 5000, 100, 1851).is_ok(), "the cluster was not whole");
    }
}
