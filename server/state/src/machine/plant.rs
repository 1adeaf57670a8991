//! Deliberate bugs; see [`crate::plant`].

use crate::command::Member;
use crate::ids::Revision;
use crate::keys::Space;
use crate::machine::compaction::Progress;
use crate::machine::counters::Counters;
use crate::machine::history;
use crate::plant::is;
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

/// `revision_of_newest_event`: a machine that starts takes the revision from the newest event.
pub(super) fn counters(view: &dyn View, mut counters: Counters) -> Counters {
    if is("revision_of_newest_event") {
        let space = Space::History as u8;
        view.scan(&[space], &[space + 1], true, &mut |key, _| {
            counters.revision = history::position(key).0;
            ControlFlow::Break(())
        });
    }
    counters
}

/// `compacted_by_local_progress`: what was compacted can be read as long as it is there.
pub(super) fn compacted(view: &dyn View, mark: Revision) -> Revision {
    if is("compacted_by_local_progress") { Progress::load(view).done() } else { mark }
}

/// `learner_stays_listed`: a promotion does not reach the list of members.
pub(super) fn promoted(member: &mut Member, before: &Member) {
    if is("learner_stays_listed") && before.learner {
        (member.learner, member.stay_learner) = (true, before.stay_learner);
    }
}

/// `ephemeral_left_behind`: the last of several keys of a session stays when the session ends.
pub(super) fn attached(mut keys: Vec<Bytes>) -> Vec<Bytes> {
    if is("ephemeral_left_behind") && keys.len() > 1 {
        keys.pop();
    }
    keys
}

/// `repeat_executes`: what was executed under a name is executed again.
pub(super) fn is_remembered() -> bool {
    !is("repeat_executes")
}

/// `reclaim_at_mark`: deletions at the compacted revision are reclaimed as well; so they are under
/// `revision_of_newest_event`, which is no bug as long as the newest event stays.
pub(super) fn reclaimed_below(mark: Revision) -> Revision {
    if is("reclaim_at_mark") || is("revision_of_newest_event") { mark.next() } else { mark }
}

/// `ephemeral_without_session`: nobody looks whether the owner of a key lives.
pub(super) fn owner_is_looked_at() -> bool {
    !is("ephemeral_without_session")
}
