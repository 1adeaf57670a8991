//! Nobody is overtaken: a grant goes to the head of the queue, and to somebody who never waited only
//! when nobody waits. Only a leader's hand-off chooses.
//!
//! Sources: part 7 of the design ("FIFO"); decision 0006; Hunt et al., "ZooKeeper" (2010), section 2.4
//! (locks in order of arrival).

use super::{Checked, Violation};
use crate::model::objects::{Asked, Objects};
use oarlock_state::event::{Event, EventKind};
use oarlock_state::object::{Loss, ObjectEvent};
use std::cmp::Reverse;

/// Judges all events of objects, in order.
///
/// # Errors
/// A grant to somebody before whom others waited.
pub fn check(asked: &Asked<'_>, events: &[Event]) -> Checked {
    let mut objects = Objects::new(asked);
    let mut handed_off = None;
    for event in events {
        let EventKind::Object(what) = &event.kind else { continue };
        let here = (event.revision, &event.key);
        match what {
            ObjectEvent::Lost { loss: Loss::HandedOff, .. } => handed_off = Some(here),
            ObjectEvent::Granted { .. } if handed_off == Some(here) => handed_off = None, // the chosen one
            ObjectEvent::Granted { ticket, priority, .. } => {
                let queue = &objects.object(&event.key).queue;
                let rank = (Reverse(*priority), ticket.get());
                if queue.first_key_value().is_some_and(|(head, _)| *head != rank) {
                    return Err(wrong(format!("{event:?} goes past {queue:?}")));
                }
            }
            _ => {}
        }
        objects.see(event).map_err(wrong)?;
    }
    Ok(())
}

fn wrong(what: String) -> Violation {
    Violation::new("lock_fifo", what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::objects::asked;
    use crate::model::objects::samples::{acquire, granted, lost, queued};
    use oarlock_state::object::{Mode, ObjectKind};

    #[test]
    fn an_overtaker_is_found() {
        let asks = [1, 2, 3].map(|session| acquire(session, ObjectKind::Mutex, Mode::Exclusive));
        let judge = |events: &[Event]| check(&asked(asks.iter()), events);
        let begin = [granted(2, 1, 2, Mode::Exclusive), queued(3, 2, 0), queued(4, 3, 0)];
        let ends = |loss| lost(5, 1, 2, loss, 0);
        let [second, third] = [granted(5, 2, 3, Mode::Exclusive), granted(5, 3, 4, Mode::Exclusive)];
        let newcomer = granted(5, 3, 5, Mode::Exclusive);
        let story = |loss, last: &Event| [&begin[..], &[ends(loss), last.clone()]].concat();
        assert_eq!(judge(&story(Loss::Released, &second)), Ok(()));
        assert!(judge(&story(Loss::Released, &third)).is_err(), "the second in the queue");
        assert!(judge(&[&begin[..2], &[ends(Loss::Released), newcomer]].concat()).is_err(), "a newcomer");
        assert_eq!(judge(&story(Loss::HandedOff, &third)), Ok(()), "chosen by the leader");
    }

    #[test]
    fn the_highest_priority_comes_first() {
        let asks = [1, 2].map(|session| acquire(session, ObjectKind::Election, Mode::Exclusive));
        let judge = |events: &[Event]| check(&asked(asks.iter()), events);
        let queue = [queued(3, 1, 0), queued(4, 2, 7)];
        let of_first = granted(5, 1, 3, Mode::Exclusive);
        assert!(judge(&[&queue[..], &[of_first]].concat()).is_err());
    }
}
