//! What an expired session held stays withheld for the lock-delay that its holder asked for, by the
//! log's own stamps; what was let go in any other way is not withheld at all.
//!
//! Sources: part 7 of the design ("lock-delay"); Burrows, "The Chubby lock service" (2006), section
//! 2.4; decision 0006.

use super::exactly_once::Execution;
use super::{Checked, Violation};
use bytes::Bytes;
use oarlock_state::Command;
use oarlock_state::event::{Event, EventKind};
use oarlock_state::object::{Claim, Loss, ObjectEvent, ObjectOp};
use std::collections::BTreeMap;

/// An entry's stamp, as the state sees it: never before an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The state's revision after the entry.
    pub revision: u64,
    /// Milliseconds since 1970.
    pub ms: u64,
}

/// Judges every loss and every end of a delay. `stamps` are in order, one for each entry.
///
/// # Errors
/// A delay that is not the one asked for, or that ends too early.
pub fn check(executions: &[Execution], events: &[Event], stamps: &[Stamp]) -> Checked {
    let mut delays: BTreeMap<(&Bytes, Claim), u64> = BTreeMap::new();
    let mut due: BTreeMap<(&Bytes, Claim), u64> = BTreeMap::new();
    let mut executions = executions.iter().filter_map(granted_wish).peekable();
    for event in events {
        let EventKind::Object(what) = &event.kind else { continue };
        let revision = event.revision.get();
        while let Some((_, wish)) = executions.next_if(|(of, _)| *of <= revision) {
            note(&mut delays, wish);
        }
        let entry = stamps.partition_point(|stamp| stamp.revision < revision);
        let Some(now) = stamps.get(entry).map(|stamp| stamp.ms) else { continue };
        match what {
            ObjectEvent::Lost { claim, loss, withheld_until_ms, .. } => {
                let place = (&event.key, *claim);
                let delay = delays.get(&place).copied().unwrap_or(0);
                let wanted = if *loss == Loss::Expired && delay > 0 { now + delay } else { 0 };
                if *withheld_until_ms != wanted {
                    return Err(wrong(format!("{event:?} at stamp {now} asked for a delay of {delay} ms")));
                }
                due.insert(place, *withheld_until_ms);
            }
            ObjectEvent::Elapsed { claim, .. } => {
                let until = due.remove(&(&event.key, *claim)).unwrap_or(u64::MAX);
                if now < until {
                    return Err(wrong(format!("{event:?} comes at stamp {now}, before {until}")));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn wrong(what: String) -> Violation {
    Violation::new("lock_delay_kept", what)
}

/// An operation of objects that took effect, with its revision.
fn granted_wish(execution: &Execution) -> Option<(u64, &ObjectOp)> {
    let reply = execution.outcome.as_ref().ok().filter(|reply| !reply.repeated)?;
    match &execution.proposal.command {
        Command::Object(op) => Some((reply.revision.get(), op)),
        _ => None,
    }
}

fn note<'e>(delays: &mut BTreeMap<(&'e Bytes, Claim), u64>, wish: &'e ObjectOp) {
    match wish {
        ObjectOp::Acquire(acquire) => {
            for part in &acquire.parts {
                // The same claim may ask again; what it asks for is the same then, and of no effect.
                delays.entry((&part.name, acquire.claim)).or_insert(acquire.lock_delay_ms);
            }
        }
        ObjectOp::SetLockDelay { held, lock_delay_ms } => {
            delays.insert((&held.name, held.claim), *lock_delay_ms);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::objects::samples::{NAME, claim, event, lost};
    use oarlock_state::command::ReplyBody;
    use oarlock_state::object::Held;
    use oarlock_state::{Caller, Index, Proposal, ProposalId, Reply, Revision};

    fn set(revision: u64, lock_delay_ms: u64) -> Execution {
        let held = Held { name: NAME, claim: claim(1), token: Revision(2) };
        let command = Command::Object(ObjectOp::SetLockDelay { held, lock_delay_ms });
        let (id, caller) = (ProposalId::default(), Caller::Anonymous);
        let proposal = Proposal { id, request: None, idempotency: None, guards: Vec::new(), caller, command };
        let (revision, index) = (Revision(revision), Index(revision));
        let reply = Reply { revision, index, repeated: false, body: ReplyBody::Done };
        Execution { index: index.get(), proposal, outcome: Ok(reply) }
    }

    fn elapsed(revision: u64) -> Event {
        event(revision, 0, ObjectEvent::Elapsed { claim: claim(1), ticket: Revision(2) })
    }

    #[test]
    fn a_delay_that_is_not_kept_is_found() {
        let stamps = [(3, 50), (4, 60), (5, 100), (6, 160)].map(|(revision, ms)| Stamp { revision, ms });
        let judge = |events: &[Event]| check(&[set(3, 100)], events, &stamps);
        let expired = |until| lost(4, 1, 2, Loss::Expired, until);
        assert_eq!(judge(&[expired(160), elapsed(6)]), Ok(()));
        assert!(judge(&[expired(160), elapsed(5)]).is_err(), "too early");
        assert!(judge(&[expired(0)]).is_err(), "forgotten");
        assert!(judge(&[expired(150)]).is_err(), "too short");
        assert_eq!(judge(&[lost(4, 1, 2, Loss::Released, 0)]), Ok(()));
        assert!(judge(&[lost(4, 1, 2, Loss::Released, 160)]).is_err(), "it was released");
        assert_eq!(judge(&[lost(2, 1, 2, Loss::Expired, 0)]), Ok(()), "before it asked for a delay");
    }
}
