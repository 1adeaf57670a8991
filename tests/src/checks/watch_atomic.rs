//! All events of a revision that a watch asked for come in one frame.
//!
//! Source: etcd's API guarantees for watches ("atomic").

use super::{Checked, Violation};
use crate::watched::Watched;
use oarlock_server::node::request::WatchFrame;

/// Judges one watch.
///
/// # Errors
/// A revision spread over frames, or a frame that vouches for less than it holds.
pub fn check(watched: &Watched) -> Checked {
    let mut last = 0;
    for frame in &watched.frames {
        let WatchFrame::Events { events, through, .. } = frame else { continue };
        let (Some(first), Some(end)) = (events.first(), events.last()) else { continue };
        if first.revision.get() == last {
            return Err(wrong(watched, format!("revision {last} came in two frames")));
        }
        if end.revision > *through {
            return Err(wrong(watched, format!("a frame through {through} holds revision {}", end.revision)));
        }
        last = end.revision.get();
    }
    Ok(())
}

fn wrong(watched: &Watched, what: String) -> Violation {
    Violation::new("watch_atomic", format!("{}: {what}", watched.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watched::samples::{events, watched};

    #[test]
    fn a_torn_revision_is_found() {
        assert!(check(&watched(2, vec![events(&[(2, 0), (2, 1)], 2), events(&[(3, 0)], 3)])).is_ok());
        assert!(check(&watched(2, vec![events(&[(2, 0)], 2), events(&[(2, 1)], 2)])).is_err());
        assert!(check(&watched(2, vec![events(&[(2, 0), (3, 0)], 2)])).is_err());
    }
}
