//! Who asks for a lock, and what became of it.

use bytes::Bytes;
use oarlock_proto::v1;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Who asks: a session, and a number within it. Written as `session/request`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The session; its end gives up every hold and every place in a queue.
    pub session: u64,
    /// The session's own number for it.
    pub request: u64,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.session, self.request)
    }
}

impl FromStr for Claim {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        let parts = text.split_once('/');
        let number = |text: &str| text.parse::<u64>().ok();
        parts
            .and_then(|(session, request)| {
                Some(Self { session: number(session)?, request: number(request)? })
            })
            .ok_or_else(|| crate::Error::Invalid {
                message: format!("{text:?} is no claim; write SESSION/REQUEST, two numbers"),
            })
    }
}

impl From<v1::Claim> for Claim {
    fn from(wire: v1::Claim) -> Self {
        Self { session: wire.session, request: wire.request }
    }
}

impl From<Claim> for v1::Claim {
    fn from(claim: Claim) -> Self {
        Self { session: claim.session, request: claim.request }
    }
}

/// That something is held no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Why.
    pub cause: LossCause,
    /// Until when nobody else is granted it, because of its lock-delay, by the servers' clock.
    pub withheld_until: Option<SystemTime>,
}

impl Lost {
    pub(crate) fn of(cause: LossCause) -> Self {
        Self { cause, withheld_until: None }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

/// Why something is held no longer, or waited for no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossCause {
    /// Its holder released it, resigned, or left the queue.
    Released,
    /// Its session timed out, or was ended by somebody else.
    Expired,
    /// Its session was closed.
    Closed,
    /// An operator took it away.
    Revoked,
    /// A candidate of higher priority took the lead.
    Preempted,
    /// The leader gave the lead to another.
    HandedOff,
    /// The service has not confirmed the session for its whole timeout: whether it is held is not
    /// known, so it must not be acted upon. The session may still turn out to live.
    Unconfirmed,
    /// It was gone when the service could be asked again; the event that says why is compacted.
    Unobserved,
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Released => "it was released",
            Self::Expired => "its session expired",
            Self::Closed => "its session was closed",
            Self::Revoked => "an operator revoked it",
            Self::Preempted => "a candidate of higher priority took the lead",
            Self::HandedOff => "the lead was handed to another candidate",
            Self::Unconfirmed => "its session was not confirmed in time",
            Self::Unobserved => "it was gone after an interruption",
        })
    }
}

impl From<&v1::object_event::Lost> for Lost {
    fn from(wire: &v1::object_event::Lost) -> Self {
        use v1::object_event::Loss;
        let cause = match wire.loss() {
            Loss::Released => LossCause::Released,
            Loss::Expired => LossCause::Expired,
            Loss::Closed => LossCause::Closed,
            Loss::Revoked => LossCause::Revoked,
            Loss::Preempted => LossCause::Preempted,
            Loss::HandedOff => LossCause::HandedOff,
        };
        let withheld_until = Some(wire.withheld_until_unix_ms).filter(|until_ms| *until_ms > 0).map(unix_ms);
        Self { cause, withheld_until }
    }
}

/// Milliseconds since 1970 as a time.
pub(crate) fn unix_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

/// That somebody wants what is held: release it when you can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationRequest {
    /// The object.
    pub name: Bytes,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_as_they_are_written() {
        let claim = Claim { session: 7, request: 12 };
        assert_eq!(claim.to_string().parse::<Claim>().expect("well formed"), claim);
        for odd in ["", "7", "7/", "/1", "a/1", "7/1/2"] {
            assert!(odd.parse::<Claim>().is_err(), "{odd:?}");
        }
    }
}
