//! What a watch vouched for is final: marks never go back, and nothing at or below a mark comes
//! after it.
//!
//! Source: etcd's API guarantees for watches ("bookmarkable"); etcd issue 15220 (a progress
//! notification overtook events).

use super::{Checked, Violation};
use crate::watched::Watched;
use oarlock_server::node::request::WatchFrame;

/// Judges one watch.
///
/// # Errors
/// A mark that goes back, or an event below an earlier mark.
pub fn check(watched: &Watched) -> Checked {
    let wrong =
        |what: String| Err(Violation::new("watch_bookmarkable", format!("{}: {what}", watched.name())));
    let mut mark = 0;
    for frame in &watched.frames {
        let through = match frame {
            WatchFrame::Events { events, through, .. } => {
                if let Some(event) = events.iter().find(|event| event.revision.get() <= mark) {
                    return wrong(format!("{event:?} came after everything through {mark} was vouched for"));
                }
                through.get()
            }
            WatchFrame::Progress { through } => through.get(),
            WatchFrame::Resync { revision, .. } => revision.get(),
            WatchFrame::Created { .. } | WatchFrame::Cancelled(_) => continue,
        };
        if through < mark {
            return wrong(format!("mark {through} came after mark {mark}"));
        }
        mark = through;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watched::samples::{events, progress, watched};

    #[test]
    fn a_broken_bookmark_is_found() {
        assert!(check(&watched(2, vec![events(&[(2, 0)], 3), progress(3), events(&[(4, 0)], 4)])).is_ok());
        assert!(check(&watched(2, vec![progress(5), events(&[(4, 0)], 6)])).is_err());
        assert!(check(&watched(2, vec![progress(5), progress(4)])).is_err());
    }
}
