//! Deliberate bugs; see `oarlock_state::plant`.

use super::truncate::Lengths;
use oarlock_state::plant::is;
use raft::eraftpb::HardState;
use raft::{Config, ReadOnlyOption};

/// `lease_reads`: a leader answers reads without asking a quorum.
pub(super) fn config(config: Config) -> Config {
    if is("lease_reads") {
        return Config { read_only_option: ReadOnlyOption::LeaseBased, ..config };
    }
    config
}

/// `forget_votes`: the vote is not made durable.
pub(super) fn hard_state(hard_state: Option<HardState>) -> Option<HardState> {
    if is("forget_votes") {
        return hard_state.map(|state| HardState { vote: 0, ..state });
    }
    hard_state
}

/// `truncate_above_flushed`: the log goes before the state is on disk.
pub(super) fn lengths(mut lengths: Lengths, applied: u64) -> Lengths {
    if is("truncate_above_flushed") {
        (lengths.durable, lengths.keep) = (applied, 0);
    }
    lengths
}
