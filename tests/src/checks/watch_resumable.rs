//! A watch begins where it was asked to: a watcher that resumes after the last revision it was
//! vouched for gets the rest, and silence never stands for history that is gone.
//!
//! Source: etcd's API guarantees for watches ("resumable"); etcd issue 18089.

use super::{Checked, Violation};
use crate::watched::Watched;
use oarlock_server::node::request::WatchFrame;

/// Judges one watch: its first frame, and that nothing follows its last.
///
/// # Errors
/// A watch that begins elsewhere than asked, or goes on after its end.
pub fn check(watched: &Watched) -> Checked {
    let wrong = |what: String| Err(Violation::new("watch_resumable", format!("{}: {what}", watched.name())));
    let asked = watched.spec.start.get();
    match watched.frames.first() {
        None | Some(WatchFrame::Cancelled(_)) => return Ok(()),
        Some(WatchFrame::Created { next, current }) => {
            // The state after `current` follows, and may be on its way when the run ends.
            let is_on_its_way = watched.frames.len() == 1 && *next == current.next();
            let is_resync = watched.spec.resync && (watched.resynced().is_some() || is_on_its_way);
            if asked > 0 && next.get() != asked && !is_resync {
                return wrong(format!("it began at revision {next}"));
            }
        }
        Some(other) => return wrong(format!("its first frame was {other:?}")),
    }
    let end = watched.frames.iter().position(|frame| matches!(frame, WatchFrame::Cancelled(_)));
    if end.is_some_and(|end| end + 1 < watched.frames.len()) {
        return wrong("frames came after its end".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watched::samples::{events, watched};
    use oarlock_server::node::request::Refusal;
    use oarlock_state::Revision;

    #[test]
    fn a_watch_that_begins_elsewhere_is_found() {
        assert!(check(&watched(5, vec![events(&[(5, 0)], 5)])).is_ok());
        let mut late = watched(5, Vec::new());
        late.frames = vec![WatchFrame::Created { next: Revision(6), current: Revision(0) }];
        assert!(check(&late).is_err());
        late.spec.resync = true;
        assert!(check(&late).is_err(), "no state ends before its events begin");
        late.frames = vec![WatchFrame::Created { next: Revision(6), current: Revision(5) }];
        assert!(check(&late).is_ok(), "the state that it begins with may be on its way");
        late.frames.push(events(&[(6, 0)], 6));
        assert!(check(&late).is_err(), "it did not come first");
        let mut unborn = watched(5, Vec::new());
        unborn.frames = vec![events(&[(5, 0)], 5)];
        assert!(check(&unborn).is_err());
        let ended = WatchFrame::Cancelled(Refusal::NoLeader);
        assert!(check(&watched(5, vec![ended.clone()])).is_ok());
        assert!(check(&watched(5, vec![ended, events(&[(5, 0)], 5)])).is_err());
    }
}
