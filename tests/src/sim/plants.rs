//! Deliberate bugs, and how many seeds it takes to catch them: the proof that the simulator bites.

use super::faults::Profile;
use super::finale::run;
use bytes::Bytes;
use oarlock_state::plant;

/// A deliberate bug.
pub struct Plant {
    /// Its name.
    pub name: &'static str,
    /// What it breaks.
    pub what: &'static str,
}

/// All of them.
pub const ALL: [Plant; 22] = [
    Plant { name: "skip_sync", what: "the log is not synced" },
    Plant { name: "answer_before_persist", what: "promises leave before they are on disk" },
    Plant { name: "forget_votes", what: "the vote is not made durable" },
    Plant { name: "lease_reads", what: "a leader answers reads without asking a quorum" },
    Plant { name: "truncate_above_flushed", what: "the log goes before the state is on disk" },
    Plant { name: "skip_entry", what: "one member loses what an entry did" },
    Plant { name: "snapshot_forgets_dedup", what: "snapshots lack the remembered outcomes" },
    Plant { name: "expire_early", what: "sessions end before their timeout" },
    Plant { name: "inherit_nothing", what: "a new leader does not know what its predecessor promised" },
    Plant { name: "reuse_revision", what: "two transactions share a revision" },
    Plant { name: "ignore_guards", what: "fencing tokens are not looked at" },
    Plant { name: "grant_to_two", what: "a lock that is taken, and that nobody waits for, counts as free" },
    Plant { name: "overtake_waiters", what: "a reader goes past a writer that waits" },
    Plant { name: "forget_to_settle", what: "the end of a session wakes nobody" },
    Plant { name: "keep_dead_waiters", what: "a session that ends stays in the queues" },
    Plant { name: "ignore_lock_delay", what: "what an expired session held is free at once" },
    Plant { name: "elapse_never", what: "the leader lets go of nothing that was withheld" },
    Plant { name: "token_is_ticket", what: "who waited holds under the token of its arrival" },
    Plant { name: "ignore_lock_guards", what: "tokens of locks are not looked at" },
    Plant { name: "watch_drops_event", what: "a watcher that is behind misses an event" },
    Plant { name: "unknown_as_not_proposed", what: "a write of unknown fate is reported as not done" },
    Plant { name: "adopt_old_writes", what: "a new leader takes its undecided writes for its term's" },
];

/// How a bug was caught.
pub struct Catch {
    /// The check that caught it.
    pub check: &'static str,
    /// What it saw.
    pub what: String,
    /// Seeds that it took.
    pub seeds: u64,
}

/// Plants the bug of this name in the whole process; an unknown name plants nothing.
pub fn plant(name: &str) {
    plant::set(ALL.iter().find(|plant| plant.name == name).map_or("", |plant| plant.name));
}

/// Runs seeds until one catches the bug, `seeds_max` at most.
pub fn hunt(plant: &Plant, first_seed: u64, seeds_max: u64, print: bool) -> Option<Catch> {
    plant::set(plant.name);
    let caught = (0..seeds_max).find_map(|number| {
        let violation = run(first_seed + number, Profile::Everything, print).verdict.err()?;
        Some(Catch { check: violation.check, what: violation.what, seeds: number + 1 })
    });
    plant::set("");
    caught
}

/// `snapshot_forgets_dedup`: the remembered outcomes do not travel.
pub(super) fn snapshot(mut records: Vec<(Bytes, Bytes)>) -> Vec<(Bytes, Bytes)> {
    if plant::is("snapshot_forgets_dedup") {
        records.retain(|(key, _)| key.first() != Some(&(oarlock_state::keys::Space::Dedup as u8)));
    }
    records
}
