//! A watch loses nothing: between its start and the last revision it vouched for, everything that
//! it asked for came, as it was.
//!
//! Source: etcd's API guarantees for watches ("reliable"); etcd issues 17529, 15402 and 18089
//! (events lost at a compaction).

use super::{Checked, Violation};
use crate::watched::Watched;
use oarlock_state::Event;

/// Judges one watch against all events of the committed log, in order.
///
/// # Errors
/// An event that is missing, was changed, or never happened.
pub fn check(watched: &Watched, truth: &[Event]) -> Checked {
    let (Some(created), Some(through)) = (watched.created(), watched.through()) else { return Ok(()) };
    let first = watched.resynced().map_or(created, |revision| revision + 1);
    let start = truth.partition_point(|event| event.revision.get() < first);
    let mut expected = truth[start..]
        .iter()
        .take_while(|event| event.revision.get() <= through)
        .filter(|e| watched.wants(e));
    let mut came = watched.events().filter(|event| event.revision.get() >= first);
    loop {
        match (expected.next(), came.next()) {
            (None, None) => return Ok(()),
            (Some(due), Some(event)) if due == event => {}
            (due, event) => {
                let what =
                    format!("{}: due was {due:?}, and {event:?} came (through {through})", watched.name());
                return Err(Violation::new("watch_no_gap", what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watched::samples::{event, events, progress, watched};

    #[test]
    fn a_lost_or_invented_event_is_found() {
        let truth = [event(2, 0), event(2, 1), event(3, 0), event(4, 0)];
        assert!(check(&watched(3, vec![events(&[(3, 0)], 3)]), &truth).is_ok());
        assert!(check(&watched(2, vec![events(&[(2, 0)], 2)]), &truth).is_err(), "lost within a revision");
        assert!(check(&watched(3, vec![events(&[(4, 0)], 4)]), &truth).is_err(), "lost a revision");
        assert!(
            check(&watched(3, vec![events(&[(3, 0)], 3), progress(4)]), &truth).is_err(),
            "vouched too much"
        );
        assert!(check(&watched(3, vec![events(&[(3, 0), (3, 1)], 3)]), &truth).is_err(), "never happened");
    }
}
