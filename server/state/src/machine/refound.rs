//! A saved state as the founding state of a new cluster.
//!
//! The saved state is from some moment in the past of the old cluster. Whatever happened there
//! afterwards never happened here, so nothing that was handed out there may be valid here:
//!
//! * the revision jumps ahead by [`REVISION_JUMP`], beyond everything the old cluster may have
//!   reached since, so that no number is given out twice;
//! * everything up to the founding revision is compacted, so that a watcher from before learns that
//!   it must look at everything anew;
//! * all sessions end, and what they owned goes: their owners may hold the same things there.
//!
//! Equal states and equal arguments give equal mutations, so each founder makes its own.

use crate::command::Member;
use crate::event::Cause;
use crate::ids::Revision;
use crate::keys;
use crate::limits::REVISION_JUMP;
use crate::machine::counters::Counters;
use crate::machine::scratch::Scratch;
use crate::machine::{membership, session};
use crate::view::{Mutation, View};
use bytes::Bytes;

/// What turns the state of `view` into the founding state of a cluster of these members.
pub(super) fn refound(
    view: &dyn View,
    counters: Counters,
    members: &[Member],
    conf_state: Bytes,
    cluster_id: u64,
) -> Vec<Mutation> {
    let mut work = Scratch::new(view, counters);
    let ahead = counters.revision.get().saturating_add(REVISION_JUMP);
    work.counters.revision = Revision(ahead);
    for session in session::ids(view) {
        session::end(&mut work, session, Cause::Admin);
    }
    replace_members(&mut work, members);
    membership::found(&mut work, members, conf_state, cluster_id);
    // They speak of the state as it was.
    work.delete(Bytes::from_static(keys::DIGESTS));
    work.counters.compacted = work.counters.revision;
    let mut finished = work.finish();
    let value = Some(finished.counters.encode());
    finished.mutations.push(Mutation::new(Bytes::from_static(keys::COUNTERS), value));
    finished.mutations
}

/// Removes the old members. Their ids are spent, except those that the new members have.
fn replace_members(work: &mut Scratch<'_>, members: &[Member]) {
    for old in membership::all(work) {
        work.delete(keys::member(old.node));
        work.put(keys::removed_member(old.node), Bytes::new());
    }
    for member in members {
        work.delete(keys::removed_member(member.node));
    }
}
