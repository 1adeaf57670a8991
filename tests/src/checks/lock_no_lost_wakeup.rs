//! No wake-up is lost: after every transaction nobody waits who could be granted, whoever waits hears
//! of its grant, nothing is withheld beyond its time, and no place outlives its session.
//!
//! Sources: part 7 of the design; issue 4 ("no lost wake-up"); decision 0006.

use super::{Checked, Violation};
use crate::model::objects::{Asked, Objects};
use bytes::Bytes;
use oarlock_state::SessionId;
use oarlock_state::event::{Event, Keyspace};
use oarlock_state::object::Claim;
use oarlock_state::object::reply::{ObjectInfo, PlaceInfo, PlaceState};
use std::collections::{BTreeMap, BTreeSet};

/// Judges the queues after each transaction.
///
/// # Errors
/// A head of a queue that could have been granted and was not.
pub fn check(asked: &Asked<'_>, events: &[Event]) -> Checked {
    let mut objects = Objects::new(asked);
    let mut touched: BTreeSet<&Bytes> = BTreeSet::new();
    let mut events = events.iter().filter(|event| event.keyspace == Keyspace::Object).peekable();
    while let Some(event) = events.next() {
        objects.see(event).map_err(wrong)?;
        touched.insert(&event.key);
        if events.peek().is_some_and(|next| next.revision == event.revision) {
            continue;
        }
        for name in std::mem::take(&mut touched) {
            if let Some(claim) = objects.grantable_head(name) {
                let revision = event.revision;
                return Err(wrong(format!("{claim} could be granted {name:?} after revision {revision}")));
            }
        }
    }
    Ok(())
}

/// What is left when the cluster is whole, and everybody who lives has let go of what it knows to hold.
#[derive(Clone, Debug, Default)]
pub struct Rest {
    /// All objects, of one revision.
    pub objects: Vec<ObjectInfo>,
    /// Sessions that live.
    pub sessions: BTreeSet<SessionId>,
    /// What those who live know to hold.
    pub known: BTreeSet<Claim>,
    /// The time, less what elections and a round of the log may take, in milliseconds since 1970.
    pub due_ms: u64,
}

/// Judges what is left.
///
/// # Errors
/// A place of a session that is gone, a hold whose holder never heard of it, something that is
/// withheld for too long, or a queue before a free object.
pub fn check_rest(rest: &Rest) -> Checked {
    for object in &rest.objects {
        let name = &object.summary.name;
        for place in object.holders.iter().chain(&object.queue) {
            if !rest.sessions.contains(&place.claim.session) {
                return Err(wrong(format!("{place:?} of {name:?} outlives its session")));
            }
        }
        if let Some(place) = object.holders.iter().find(|place| !rest.known.contains(&place.claim)) {
            return Err(wrong(format!("{place:?} holds {name:?}, and its holder never heard of it")));
        }
        let is_late = |place: &&PlaceInfo| match place.state {
            PlaceState::Withheld { until_ms } => until_ms < rest.due_ms,
            PlaceState::Waiting { .. } | PlaceState::Holding { .. } => false,
        };
        if let Some(place) = object.withheld.iter().find(is_late) {
            return Err(wrong(format!("{place:?} of {name:?} is withheld still at {}", rest.due_ms)));
        }
    }
    nobody_waits_in_vain(&rest.objects)
}

fn nobody_waits_in_vain(objects: &[ObjectInfo]) -> Checked {
    let by_name: BTreeMap<&Bytes, &ObjectInfo> = objects.iter().map(|o| (&o.summary.name, o)).collect();
    for object in objects {
        let Some(head) = object.queue.first() else { continue };
        let several = if head.together_with.is_empty() {
            std::slice::from_ref(&object.summary.name)
        } else {
            &head.together_with[..]
        };
        let is_free = several.iter().all(|name| {
            let Some(object) = by_name.get(name) else { return false };
            let first = object.queue.first().filter(|first| first.claim == head.claim);
            let (kind, used) = (object.summary.kind, object.summary.used);
            first.and_then(|first| kind.weight(first.mode)).is_some_and(|w| used + w <= kind.capacity())
        });
        if is_free {
            let name = &object.summary.name;
            return Err(wrong(format!("{head:?} waits for {name:?}, which is free")));
        }
    }
    Ok(())
}

fn wrong(what: String) -> Violation {
    Violation::new("lock_no_lost_wakeup", what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::objects::asked;
    use crate::model::objects::samples::{NAME, acquire, claim, granted, lost, queued};
    use oarlock_state::Revision;
    use oarlock_state::object::reply::Summary;
    use oarlock_state::object::{Loss, Mode, ObjectKind};

    #[test]
    fn a_queue_before_a_free_lock_is_found() {
        let asks = [1, 2].map(|session| acquire(session, ObjectKind::Mutex, Mode::Exclusive));
        let judge = |events: &[Event]| check(&asked(asks.iter()), events);
        let events = [
            granted(2, 1, 2, Mode::Exclusive),
            queued(3, 2, 0),
            lost(4, 1, 2, Loss::Closed, 0),
            granted(4, 2, 3, Mode::Exclusive),
        ];
        assert_eq!(judge(&events), Ok(()));
        assert!(judge(&events[..3]).is_err(), "nobody was woken");
        let mut withheld = events[..3].to_vec();
        withheld[2] = lost(4, 1, 2, Loss::Expired, 9);
        assert_eq!(judge(&withheld), Ok(()), "it is withheld");
    }

    fn place(session: u64, state: PlaceState) -> PlaceInfo {
        PlaceInfo {
            claim: claim(session),
            mode: Mode::Exclusive,
            ticket: Revision(2),
            since_ms: 0,
            priority: 0,
            metadata: Bytes::new(),
            lock_delay_ms: 0,
            together_with: Vec::new(),
            state,
        }
    }

    fn rest(used: u64) -> Rest {
        let (kind, created) = (ObjectKind::Mutex, Revision(2));
        let summary = Summary { name: NAME, kind, created, used, holders: 0, withheld: 0, waiters: 0 };
        let none = Vec::new;
        let object = ObjectInfo { summary, holders: none(), withheld: none(), queue: none(), more: false };
        let sessions = BTreeSet::from([SessionId(1), SessionId(2)]);
        Rest { objects: vec![object], sessions, known: BTreeSet::new(), due_ms: 100 }
    }

    #[test]
    fn a_place_that_stays_is_found() {
        let holding = PlaceState::Holding { token: Revision(2), granted_ms: 0 };
        let waiting = PlaceState::Waiting { position: 0 };
        let mut held = rest(1);
        held.objects[0].holders.push(place(1, holding));
        assert!(check_rest(&held).is_err(), "nobody knows");
        held.known.insert(claim(1));
        held.objects[0].queue.push(place(2, waiting));
        assert_eq!(check_rest(&held), Ok(()));
        held.sessions.remove(&SessionId(2));
        assert!(check_rest(&held).is_err(), "a waiter of a dead session");
        let mut free = rest(0);
        free.objects[0].queue.push(place(2, waiting));
        assert!(check_rest(&free).is_err(), "nobody holds it");
        let mut withheld = rest(1);
        withheld.objects[0].withheld.push(place(9, PlaceState::Withheld { until_ms: 100 }));
        assert_eq!(check_rest(&withheld), Ok(()));
        withheld.due_ms = 101;
        assert!(check_rest(&withheld).is_err(), "withheld for too long");
    }
}
