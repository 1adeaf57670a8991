//! A watch delivers no event twice.
//!
//! Source: etcd's API guarantees for watches ("unique"); etcd issue 17247.

use super::{Checked, Violation};
use crate::watched::Watched;
use std::collections::BTreeSet;

/// Judges one watch.
///
/// # Errors
/// An event that came twice.
pub fn check(watched: &Watched) -> Checked {
    let mut seen = BTreeSet::new();
    match watched.events().find(|event| !seen.insert((event.revision, event.sub))) {
        Some(event) => {
            let what = format!("{}: {event:?} came twice", watched.name());
            Err(Violation::new("watch_no_duplicate", what))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watched::samples::{events, watched};

    #[test]
    fn a_repeated_event_is_found() {
        assert!(check(&watched(2, vec![events(&[(2, 0), (2, 1)], 2)])).is_ok());
        assert!(check(&watched(2, vec![events(&[(2, 0)], 2), events(&[(2, 0)], 2)])).is_err());
    }
}
