//! Starting from what is on disk, or refusing to.
//!
//! The raft crate panics on numbers that do not fit, or worse, does not notice. Every relation that
//! it relies on is checked here first, and the violation named.

use super::{Options, SnapshotMeta, StartError, conf};
use crate::storage::{LogStore, StorageResult};
use raft::eraftpb::{ConfState, HardState};
use raft::{Config, ReadOnlyOption};

/// Completes the installation of a snapshot that a crash interrupted after the state was replaced
/// and before the log was reset. To be called before [`Replica::new`](super::Replica::new) with the
/// snapshot whose installation is known to be under way, and with no other index: a log that lost
/// entries would be taken for one that waits for its reset. Does nothing if the log holds the
/// snapshot's last entry already.
///
/// # Errors
/// The log cannot be written.
pub fn finish_install(log: &mut dyn LogStore, snapshot: &SnapshotMeta) -> StorageResult<()> {
    if snapshot.index < log.base().0 || log.term(snapshot.index)? == Some(snapshot.term) {
        return Ok(());
    }
    let mut hard_state = log.hard_state();
    if hard_state.term < snapshot.term {
        hard_state.term = snapshot.term;
        hard_state.vote = 0;
    }
    // What the log held beyond the snapshot conflicts with it and was never committed.
    hard_state.commit = snapshot.index;
    log.reset(snapshot.index, snapshot.term, &hard_state)
}

/// The hard state and configuration to start from.
pub(super) fn check(options: &Options, log: &mut dyn LogStore) -> Result<(HardState, ConfState), StartError> {
    let (applied, first, last) = (options.applied, log.first_index(), log.last_index());
    if applied > last {
        return Err(StartError::LogLost { applied, last });
    }
    if applied + 1 < first {
        return Err(StartError::Gap { applied, first });
    }
    let stored = log.hard_state();
    let mut hard_state = stored.clone();
    // Where only the commit index moved it may not have been synced, and what is applied was
    // committed. That nothing else is lost was checked above.
    hard_state.commit = hard_state.commit.max(applied);
    if hard_state.commit > last {
        let what = format!("entry {} is committed, but the last one is {last}", hard_state.commit);
        return Err(StartError::Inconsistent { what });
    }
    raise_term(&mut hard_state, log)?;
    if hard_state != stored {
        log.append(&[], Some(&hard_state), true)?;
    }
    let conf = conf::decode(&options.conf_state).map_err(|error| StartError::Options(error.to_string()))?;
    Ok((hard_state, conf))
}

/// The log may be of a later term than its hard state: a log that was just begun has a base but no
/// hard state of its own yet, and of a torn last write the entries may survive without the hard
/// state that followed them. Nothing was acknowledged and no vote was sent in that term, so it can
/// be entered without a vote.
fn raise_term(hard_state: &mut HardState, log: &dyn LogStore) -> Result<(), StartError> {
    let last_term = log.term(log.last_index())?.unwrap_or_default();
    if hard_state.term < last_term {
        hard_state.term = last_term;
        hard_state.vote = 0;
    }
    Ok(())
}

/// The raft crate's configuration. Its defaults suit nobody.
pub(super) fn config(options: &Options) -> Result<Config, StartError> {
    let config = Config {
        id: options.node.get(),
        election_tick: options.election_ticks,
        heartbeat_tick: options.heartbeat_ticks,
        applied: options.applied,
        max_size_per_msg: options.max_message_bytes,
        max_inflight_msgs: options.max_inflight,
        max_uncommitted_size: options.max_uncommitted_bytes,
        max_committed_size_per_ready: options.max_committed_bytes,
        // A member that was cut off must not disturb the others when it returns, and a leader that
        // was cut off must notice.
        pre_vote: true,
        check_quorum: true,
        // Leases trust clocks and the absence of pauses; nothing here does.
        read_only_option: ReadOnlyOption::Safe,
        ..Config::default()
    };
    #[cfg(feature = "plant")]
    let config = super::plant::config(config);
    config.validate().map_err(|error| StartError::Options(error.to_string()))?;
    Ok(config)
}
