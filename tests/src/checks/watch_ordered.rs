//! A watch delivers in the order of revisions, and never something from before its start.
//!
//! Source: etcd's API guarantees for watches ("ordered"), as its robustness tests validate them
//! (`tests/robustness/validate/watch.go`, validateOrdered); etcd issues 15271 and 20221.

use super::{Checked, Violation};
use crate::watched::Watched;

/// Judges one watch.
///
/// # Errors
/// An event out of order, or of a revision before the start.
pub fn check(watched: &Watched) -> Checked {
    let mut last = (0, 0);
    let first_allowed = watched.spec.start.get().max(watched.created().unwrap_or(0));
    for event in watched.events() {
        let at = (event.revision.get(), event.sub);
        if at.0 < first_allowed {
            return Err(wrong(watched, format!("{event:?} is from before its start {first_allowed}")));
        }
        if at < last {
            return Err(wrong(watched, format!("{event:?} came after revision {} ({})", last.0, last.1)));
        }
        last = at;
    }
    Ok(())
}

fn wrong(watched: &Watched, what: String) -> Violation {
    Violation::new("watch_ordered", format!("{}: {what}", watched.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watched::samples::{events, watched};

    #[test]
    fn events_out_of_order_are_found() {
        assert!(check(&watched(3, vec![events(&[(3, 0), (3, 1)], 3), events(&[(5, 0)], 5)])).is_ok());
        assert!(check(&watched(3, vec![events(&[(5, 0)], 5), events(&[(4, 0)], 5)])).is_err());
        assert!(check(&watched(3, vec![events(&[(3, 1), (3, 0)], 3)])).is_err());
        assert!(check(&watched(3, vec![events(&[(2, 0)], 3)])).is_err());
    }
}
