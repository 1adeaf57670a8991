//! Deliberate bugs, and how they are caught: the proof that the simulator bites.
//!
//! Most are hunted by drawn seeds. Those whose circumstances are rare are hunted by the directed
//! scenario that brings them about.

use super::faults::Profile;
use super::finale::run;
use super::scenarios::{self, Verdict};
use bytes::Bytes;
use oarlock_state::keys::Space;
use oarlock_state::plant;
use std::time::Instant;

/// A deliberate bug.
pub struct Plant {
    /// Its name.
    pub name: &'static str,
    /// Where it is.
    pub area: &'static str,
    /// What it breaks.
    pub what: &'static str,
    /// The scenario that hunts it; empty for drawn seeds.
    pub hunted_by: &'static str,
}

const fn drawn(name: &'static str, area: &'static str, what: &'static str) -> Plant {
    Plant { name, area, what, hunted_by: "" }
}

const fn directed(
    name: &'static str,
    area: &'static str,
    what: &'static str,
    hunted_by: &'static str,
) -> Plant {
    Plant { name, area, what, hunted_by }
}

/// All of them.
pub const ALL: [Plant; 46] = [
    drawn("skip_sync", "storage", "the log is not synced"),
    drawn("answer_before_persist", "storage", "promises leave before they are on disk"),
    drawn("forget_votes", "consensus", "the vote is not made durable"),
    drawn("term_before_entries", "storage", "the term is synced by itself, and the entries with it are not"),
    directed(
        "ignore_sync_error",
        "storage",
        "a sync that failed counts as done",
        "failed_sync_then_power_cut",
    ),
    directed(
        "index_before_data",
        "storage",
        "the applied index is on disk before what it stands for",
        "kill_between_apply_and_index",
    ),
    drawn("truncate_above_flushed", "storage", "the log goes before the state is on disk"),
    directed(
        "revision_of_newest_event",
        "storage",
        "a member that starts takes the revision from the newest event",
        "compaction_of_newest_tombstone_then_crash",
    ),
    drawn("skip_entry", "state", "one member loses what an entry did"),
    drawn("reuse_revision", "state", "two transactions share a revision"),
    directed(
        "compacted_by_local_progress",
        "state",
        "what was compacted can be read as long as it is there",
        "transaction_reads_what_is_compacted",
    ),
    drawn("lease_reads", "reads", "a leader answers reads without asking a quorum"),
    directed(
        "reuse_read_context",
        "reads",
        "rounds of one term share a context: late answers confirm later reads",
        "late_answers_to_an_earlier_round",
    ),
    directed(
        "read_before_own_term",
        "reads",
        "a new leader answers reads before it has committed in its term",
        "read_right_after_election",
    ),
    drawn("snapshot_forgets_dedup", "snapshots", "snapshots lack the remembered outcomes"),
    directed(
        "snapshot_forgets_users",
        "snapshots",
        "snapshots lack users and roles",
        "users_travel_in_snapshots",
    ),
    directed(
        "hole_behind_snapshot",
        "snapshots",
        "the entry behind a snapshot is taken for a part of it",
        "log_goes_on_where_snapshot_ends",
    ),
    directed(
        "snapshot_never_reported",
        "snapshots",
        "a leader never learns that a snapshot did not arrive",
        "snapshot_receiver_dies",
    ),
    directed(
        "learner_stays_listed",
        "membership",
        "a promoted learner is listed as a learner",
        "promoted_learner_restarts",
    ),
    directed(
        "believe_empty_disk",
        "membership",
        "a member that lost its log goes on under its old id",
        "wiped_member_finds_out",
    ),
    drawn("expire_early", "sessions", "sessions end before their timeout"),
    drawn("expire_never", "sessions", "silent sessions stay"),
    drawn("inherit_nothing", "sessions", "a new leader does not know what its predecessor promised"),
    directed(
        "count_stalls",
        "sessions",
        "time in which the leader stood still is counted against sessions",
        "stalled_time_is_credited",
    ),
    directed(
        "alive_after_close",
        "sessions",
        "a session that was closed can be kept alive",
        "keep_alive_after_close",
    ),
    directed(
        "ephemeral_without_session",
        "sessions",
        "nobody looks whether the owner of a key lives",
        "ephemeral_create_races_close",
    ),
    drawn("ephemeral_left_behind", "sessions", "a key of a session that ended stays"),
    directed(
        "repeat_executes",
        "exactly once",
        "a write that is repeated is executed again",
        "repeated_until_answered",
    ),
    drawn("unknown_as_not_proposed", "exactly once", "a write of unknown fate is reported as not done"),
    drawn("adopt_old_writes", "exactly once", "a new leader takes its undecided writes for its term's"),
    drawn("ignore_guards", "tokens", "fencing tokens are not looked at"),
    drawn("ignore_lock_guards", "tokens", "tokens of locks are not looked at"),
    drawn("grant_to_two", "locks", "a lock that is taken, and that nobody waits for, counts as free"),
    drawn("overtake_waiters", "locks", "a reader goes past a writer that waits"),
    drawn("forget_to_settle", "locks", "the end of a session wakes nobody"),
    drawn("keep_dead_waiters", "locks", "a session that ends stays in the queues"),
    drawn("ignore_lock_delay", "locks", "what an expired session held is free at once"),
    drawn("elapse_never", "locks", "the leader lets go of nothing that was withheld"),
    drawn("token_is_ticket", "locks", "who waited holds under the token of its arrival"),
    drawn("watch_drops_event", "watches", "a watcher that is behind misses an event"),
    directed(
        "watch_skips_snapshot",
        "watches",
        "a watch does not get what came with a snapshot",
        "watch_on_member_that_installs_snapshot",
    ),
    directed(
        "overtaken_in_silence",
        "watches",
        "a watch that a compaction overtook goes on behind it",
        "slow_watch_overtaken_by_compaction",
    ),
    directed(
        "progress_too_early",
        "watches",
        "progress is told before the events it stands for",
        "progress_asked_of_slow_watch",
    ),
    directed(
        "reclaim_at_mark",
        "watches",
        "deletions at the compacted revision are reclaimed",
        "watch_at_compaction",
    ),
    directed(
        "future_is_now",
        "watches",
        "a watch from a revision that is not there yet gets what comes next",
        "watch_from_the_future",
    ),
    directed(
        "forwards_overtake",
        "exactly once",
        "what was forwarded enters the log in reverse order",
        "pipelined_writes_keep_their_order",
    ),
];

/// How a bug was caught.
pub struct Catch {
    /// The check that caught it, and the scenario if one did.
    pub by: String,
    /// What it saw.
    pub what: String,
    /// Seeds that it took.
    pub seeds: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Plants the bug of this name in the whole process; an unknown name plants nothing.
pub fn plant(name: &str) {
    plant::set(ALL.iter().find(|plant| plant.name == name).map_or("", |plant| plant.name));
}

/// Runs seeds until one catches the bug, `seeds_max` at most.
pub fn hunt(plant: &Plant, first_seed: u64, seeds_max: u64, print: bool) -> Option<Catch> {
    let began = Instant::now();
    let scenario = scenarios::all().find(|scenario| scenario.name == plant.hunted_by);
    plant::set(plant.name);
    let caught = (0..seeds_max).find_map(|number| {
        let seed = first_seed + number;
        let (by, violation) = match scenario {
            Some(scenario) => match scenarios::run(scenario, seed, print) {
                Verdict::Failed(violation) => {
                    (format!("{}, scenario {}", violation.check, scenario.name), violation)
                }
                Verdict::Passed | Verdict::Invalid(_) => return None,
            },
            None => {
                let violation = run(seed, Profile::Everything, print).verdict.err()?;
                (violation.check.to_owned(), violation)
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        Some(Catch { by, what: violation.what, seeds: number + 1, seconds })
    });
    plant::set("");
    caught
}

/// `snapshot_forgets_dedup` and `snapshot_forgets_users`: some records do not travel.
pub(super) fn snapshot(mut records: Vec<(Bytes, Bytes)>) -> Vec<(Bytes, Bytes)> {
    let forgotten = [("snapshot_forgets_dedup", Space::Dedup), ("snapshot_forgets_users", Space::Auth)];
    for (name, space) in forgotten {
        if plant::is(name) {
            records.retain(|(key, _)| key.first() != Some(&(space as u8)));
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hunter_exists() {
        for plant in ALL.iter().filter(|plant| !plant.hunted_by.is_empty()) {
            assert!(scenarios::all().any(|scenario| scenario.name == plant.hunted_by), "{}", plant.name);
        }
    }
}
