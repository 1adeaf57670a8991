//! Who lives: the deadlines of all sessions, kept by the leader, ready on every member.
//!
//! # The rules, and why no session ends early
//!
//! Times are of the leader's monotonic clock unless a member is named. `T` is a session's timeout.
//!
//! 1. A keep-alive that arrives at time `a` moves the deadline to at least `a + T`.
//! 2. It is acknowledged only when (a) a round of quorum confirmation that *began* after it arrived,
//!    or the commit of an own entry that was *proposed* after it arrived, proves that this member
//!    still led, and (b) a touch of the session that this leader proposed at some `p ≥ a − T/8` has
//!    been applied. The acknowledgement says `T`; the client counts it from when it *sent*, so it
//!    believes itself alive until some `e ≤ a + T`.
//! 3. `ExpireSessions` is proposed by a leader that has applied an entry of its own term, for
//!    sessions whose deadline has passed.
//! 4. A new leader takes (its own apply time of the last touch, or of the opening) `+ 9/8 T` as
//!    deadline, and grants [`GRACE`](tracker) after it could first be asked.
//!
//! *The same leader:* by 1 its deadline is `≥ a + T ≥ e`.
//!
//! *Another leader L2:* the touch of rule 2(b) was committed, so L2, having applied an entry of its
//! own term, has applied it too, and not before it was proposed: its apply time is `≥ p` in real
//! time. Its deadline is `≥ p + 9/8 T ≥ a − T/8 + 9/8 T = a + T ≥ e`. An acknowledgement that the
//! old leader gives *after* L2 was elected is impossible by 2(a): at the moment when its round began
//! (after `a`) a quorum still followed it; what L2 expires is proposed later than that, in a log that
//! holds the touch.
//!
//! *The next keep-alive after an expiry was proposed* cannot be acknowledged on the strength of an
//! old touch: the deadline passed, so the last keep-alive was `T` ago and its touch is older than
//! `T/8`. A new touch is proposed behind the expiry in the log, finds no session, and the answer is
//! "no such session".
//!
//! *Stalls:* deadlines are kept on a [`clock`] that stands still while this member stalls or has no
//! contact with a quorum. It never runs faster than real time, so it only ever delays. The age of a
//! touch in rule 2(b) is measured in real time, because it is a promise towards another member.
//!
//! The end of a session comes at `T` without life, or at most `9/8 T` plus the grace after a change
//! of leader, plus stalls.
//!
//! | file | holds |
//! | --- | --- |
//! | [`tracker`] | the sessions, and what the leader does about them |
//! | [`acks`] | keep-alives that wait for their confirmation |
//! | [`deadlines`] | a heap that finds what is due |
//! | [`clock`] | time without stalls |

pub mod acks;
pub mod clock;
pub mod deadlines;
pub mod tracker;

#[cfg(test)]
mod tests;
