//! An object is never held beyond its capacity: not in the log's order of events, withheld holds
//! included, and not by the holders' own clocks. Tokens of one object rise.
//!
//! A holder counts itself as such from the moment at which it hears of its grant until it lets go,
//! and only while a confirmed keep-alive, counted from its sending, covers the moment.
//!
//! Sources: part 7 of the design; `features.md` 3.2 (S1 to S3); Gray and Cheriton, "Leases" (1989),
//! section 2.

use super::session_not_early::Promise;
use super::{Checked, Violation};
use crate::history::Time;
use crate::model::objects::{Asked, Objects};
use bytes::Bytes;
use oarlock_state::event::{Event, EventKind};
use oarlock_state::object::{Claim, Mode, ObjectEvent, ObjectKind};
use std::collections::{BTreeMap, BTreeSet};

/// A hold as its holder saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// The object.
    pub name: Bytes,
    /// What it is.
    pub kind: ObjectKind,
    /// The holder.
    pub claim: Claim,
    /// How it holds.
    pub mode: Mode,
    /// The token that it was told.
    pub token: u64,
    /// When it heard of it.
    pub from: Time,
    /// When it let go, or heard of its loss.
    pub until: Option<Time>,
}

/// A hold that an operator or a better candidate took away: its holder need not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The object.
    pub name: Bytes,
    /// The holder.
    pub claim: Claim,
    /// The token.
    pub token: u64,
    /// When the log decided it: the first moment at which any member applied it.
    pub decided: Time,
}

/// Judges the order of the log, then the holders' own view.
///
/// # Errors
/// Too many holders, a token that does not rise, or one that the log did not give.
pub fn check(
    asked: &Asked<'_>,
    events: &[Event],
    tenures: &[Tenure],
    taken: &[Taken],
    promises: &[Promise],
    skew_ppm: u64,
) -> Checked {
    let given = in_the_log(asked, events)?;
    if let Some(tenure) = tenures.iter().find(|t| !given.contains(&(&t.name[..], t.claim, t.token))) {
        return Err(wrong(format!("{tenure:?} has a token that the log did not give to it")));
    }
    by_own_clocks(tenures, taken, promises, skew_ppm)
}

fn wrong(what: String) -> Violation {
    Violation::new("lock_exclusive", what)
}

/// All tokens that were given, by object and holder.
type Given<'e> = BTreeSet<(&'e [u8], Claim, u64)>;

fn in_the_log<'e>(asked: &Asked<'_>, events: &'e [Event]) -> Result<Given<'e>, Violation> {
    let mut objects = Objects::new(asked);
    let mut given = Given::new();
    // The highest token of each object, and whether it was exclusive.
    let mut last: BTreeMap<&[u8], (u64, bool)> = BTreeMap::new();
    for event in events {
        objects.see(event).map_err(wrong)?;
        let EventKind::Object(what) = &event.kind else { continue };
        let (claim, token, mode) = match what {
            ObjectEvent::Granted { claim, mode, .. } => (*claim, event.revision.get(), *mode),
            ObjectEvent::Changed { claim, token, mode } => (*claim, token.get(), *mode),
            _ => continue,
        };
        let name = &event.key[..];
        let Some(kind) = objects.kind(name, claim) else {
            return Err(wrong(format!("{event:?} grants what was never asked for")));
        };
        let used = objects.used(name, kind);
        if used > kind.capacity() {
            let holders = &objects.object(&event.key);
            return Err(wrong(format!("{event:?} of a {kind} makes {used} of its capacity: {holders:?}")));
        }
        // A downgrade keeps its token.
        if given.insert((name, claim, token)) {
            let is_exclusive = kind.weight(mode) == Some(kind.capacity());
            let before = last.insert(name, (token, is_exclusive));
            // Those who share may be granted in one revision.
            let rises = before.is_none_or(|(before, was_exclusive)| {
                token > before || (token == before && !is_exclusive && !was_exclusive)
            });
            if !rises {
                return Err(wrong(format!("{event:?} gives token {token} after {before:?}")));
            }
        }
    }
    Ok(given)
}

/// When a holder knew that it holds.
#[derive(Clone, Copy)]
struct Span<'t> {
    from: Time,
    until: Time,
    tenure: &'t Tenure,
}

fn by_own_clocks(tenures: &[Tenure], taken: &[Taken], promises: &[Promise], skew_ppm: u64) -> Checked {
    let mut by_session: BTreeMap<u64, Vec<(Time, Time)>> = BTreeMap::new();
    for promise in promises {
        let valid_for = promise.valid_for - promise.valid_for * skew_ppm / 1_000_000;
        let span = (promise.answered, promise.sent + valid_for);
        by_session.entry(promise.session).or_default().push(span);
    }
    let mut by_name: BTreeMap<&[u8], Vec<Span<'_>>> = BTreeMap::new();
    for tenure in tenures {
        let is_it = |t: &&Taken| (&t.name, t.claim, t.token) == (&tenure.name, tenure.claim, tenure.token);
        let end = taken.iter().find(is_it).map_or(Time::MAX, |taken| taken.decided);
        let end = end.min(tenure.until.unwrap_or(Time::MAX));
        let covered = by_session.get(&tenure.claim.session.get()).map_or(&[][..], Vec::as_slice);
        let spans = by_name.entry(&tenure.name).or_default();
        for (from, until) in merged(covered) {
            let (from, until) = (from.max(tenure.from), until.min(end));
            if from < until {
                spans.push(Span { from, until, tenure });
            }
        }
    }
    by_name.values_mut().try_for_each(|spans| within_capacity(spans))
}

/// Spans that overlap, as one.
fn merged(spans: &[(Time, Time)]) -> Vec<(Time, Time)> {
    let mut spans: Vec<(Time, Time)> = spans.iter().copied().filter(|(from, until)| from < until).collect();
    spans.sort_unstable();
    let mut merged: Vec<(Time, Time)> = Vec::new();
    for (from, until) in spans {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => merged.push((from, until)),
        }
    }
    merged
}

fn within_capacity(spans: &mut [Span<'_>]) -> Checked {
    spans.sort_by_key(|span| span.from);
    let mut now: Vec<Span<'_>> = Vec::new();
    for span in spans {
        now.retain(|other| other.until > span.from);
        now.push(*span);
        let weight = |span: &Span<'_>| span.tenure.kind.weight(span.tenure.mode).unwrap_or(0);
        let used: u64 = now.iter().map(weight).sum();
        if used > span.tenure.kind.capacity() {
            let holders: Vec<&Tenure> = now.iter().map(|span| span.tenure).collect();
            return Err(wrong(format!(
                "at {} all of these hold by their own clocks: {holders:?}",
                span.from
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::objects::asked;
    use crate::model::objects::samples::{NAME, acquire, claim, granted, lost, queued};
    use oarlock_state::Command;
    use oarlock_state::object::Loss;

    const RW: ObjectKind = ObjectKind::ReadWrite;

    fn judged(commands: &[Command], events: &[Event]) -> Checked {
        check(&asked(commands.iter()), events, &[], &[], &[], 0)
    }

    #[test]
    fn two_holders_in_the_log_are_found() {
        let asks = [1, 2].map(|session| acquire(session, ObjectKind::Mutex, Mode::Exclusive));
        let first = [granted(2, 1, 2, Mode::Exclusive), queued(3, 2, 0)];
        let next = granted(4, 2, 3, Mode::Exclusive);
        let fine = [&first[..], &[lost(4, 1, 2, Loss::Released, 0), next.clone()]].concat();
        assert_eq!(judged(&asks, &fine), Ok(()));
        assert!(judged(&asks, &[&first[..], std::slice::from_ref(&next)].concat()).is_err());
        let withheld = [&first[..], &[lost(4, 1, 2, Loss::Expired, 9), next]].concat();
        assert!(judged(&asks, &withheld).is_err(), "what is withheld counts");
        let share = [acquire(1, RW, Mode::Shared), acquire(2, RW, Mode::Shared)];
        let shared = [granted(4, 1, 2, Mode::Shared), granted(4, 2, 3, Mode::Shared)];
        assert_eq!(judged(&share, &shared), Ok(()));
        let mixed = [acquire(1, RW, Mode::Shared), acquire(2, RW, Mode::Exclusive)];
        let both = [granted(4, 1, 2, Mode::Shared), granted(5, 2, 3, Mode::Exclusive)];
        assert!(judged(&mixed, &both).is_err(), "a reader and a writer");
    }

    #[test]
    fn a_token_that_does_not_rise_is_found() {
        let asks = [1, 2].map(|session| acquire(session, ObjectKind::Mutex, Mode::Exclusive));
        let events = [granted(4, 1, 4, Mode::Exclusive), lost(4, 1, 4, Loss::Released, 0)];
        let again = granted(4, 2, 4, Mode::Exclusive);
        assert!(judged(&asks, &[&events[..], &[again]].concat()).is_err());
    }

    fn tenure(session: u64, token: u64, from: Time, until: Option<Time>) -> Tenure {
        let (kind, mode) = (ObjectKind::Mutex, Mode::Exclusive);
        Tenure { name: NAME, kind, claim: claim(session), mode, token, from, until }
    }

    #[test]
    fn two_holders_by_their_own_clocks_are_found() {
        let promise = |session, sent| Promise { session, sent, answered: sent + 10, valid_for: 1000 };
        let promises = [promise(1, 0), promise(1, 900), promise(2, 100)];
        let judge = |tenures: &[Tenure], taken: &[Taken]| by_own_clocks(tenures, taken, &promises, 0);
        let first = tenure(1, 2, 50, None);
        assert_eq!(judge(&[first.clone(), tenure(2, 3, 1901, None)], &[]), Ok(()));
        assert!(judge(&[first.clone(), tenure(2, 3, 1000, None)], &[]).is_err());
        assert_eq!(judge(&[tenure(1, 2, 50, Some(1000)), tenure(2, 3, 1000, None)], &[]), Ok(()));
        let taken = [Taken { name: NAME, claim: claim(1), token: 2, decided: 990 }];
        assert_eq!(judge(&[first, tenure(2, 3, 1000, None)], &taken), Ok(()), "an operator took it");
    }

    #[test]
    fn a_token_that_was_not_given_is_found() {
        let asks = [acquire(1, ObjectKind::Mutex, Mode::Exclusive)];
        let asked = asked(asks.iter());
        let events = [queued(2, 1, 0), granted(4, 1, 2, Mode::Exclusive)];
        let judge = |token| check(&asked, &events, &[tenure(1, token, 5, None)], &[], &[], 0);
        assert_eq!(judge(4), Ok(()));
        assert!(judge(2).is_err(), "that is the ticket");
    }
}
