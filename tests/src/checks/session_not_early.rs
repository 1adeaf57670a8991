//! A session never expires before a promise made to its holder has run out: not because a server
//! stalled, nor because the leader changed.
//!
//! Sources: part 1 of the design ("time-honest"); Gray and Cheriton, "Leases" (1989), section 2;
//! etcd issue 15247 (a leader that was stuck in fdatasync revoked live leases).

use super::{Checked, Violation};
use crate::history::Time;
use std::collections::BTreeMap;

/// What a server told a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The session.
    pub session: u64,
    /// When the holder sent the request that was answered.
    pub sent: Time,
    /// When it had the answer.
    pub answered: Time,
    /// How long the session lives from `sent`, in microseconds.
    pub valid_for: Time,
}

/// A session's end by timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The session.
    pub session: u64,
    /// When the log decided it: the first moment at which any member applied it.
    pub decided: Time,
}

/// Judges all promises. `skew_ppm` is how much faster than true time a server's clock may run; a
/// promise is kept if it holds on such a clock.
///
/// # Errors
/// A session that expired while a promise of it held, or a promise made after the end.
pub fn check(promises: &[Promise], expiries: &[Expiry], skew_ppm: u64) -> Checked {
    let ends: BTreeMap<u64, Time> = expiries.iter().map(|expiry| (expiry.session, expiry.decided)).collect();
    for promise in promises {
        let Some(decided) = ends.get(&promise.session) else { continue };
        let skew = promise.valid_for * skew_ppm / 1_000_000;
        let holds_until = promise.sent + promise.valid_for.saturating_sub(skew);
        if *decided < holds_until {
            let what = format!("{promise:?} held until {holds_until}, and the session expired at {decided}");
            return Err(Violation::new("session_not_early", what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_end_is_found() {
        let promise = Promise { session: 1, sent: 1000, answered: 1500, valid_for: 5000 };
        let at = |decided| [Expiry { session: 1, decided }];
        assert!(check(&[promise], &at(6000), 0).is_ok());
        assert!(check(&[promise], &at(5999), 0).is_err());
        assert!(check(&[promise], &at(5999), 1000).is_ok(), "within the clocks' error");
        assert!(check(&[promise], &at(1400), 0).is_err(), "promised after the end");
        assert!(check(&[promise], &[Expiry { session: 2, decided: 1 }], 0).is_ok());
    }
}
