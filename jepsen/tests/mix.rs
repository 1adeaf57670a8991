//! A short mix of workloads and faults on real servers, with new seeds each time. The long ones are
//! `make jepsen` and `make soak`.

use std::io::Write;
use std::process::Command;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// One run at a time: a machine of two cores has enough to do with three servers.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a workload with these faults. What was seen must be valid; on failure all is told, and the run's
/// directory is kept.
fn keeps_its_promises(workload: &str, nemesis: &str) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = u64::try_from(since_1970.as_millis()).unwrap_or(0);
    // Past the test harness, which shows the output of failed tests alone: a seed is a bug report.
    let told = writeln!(std::io::stderr(), "oarlock-jepsen: {workload} with {nemesis}, seed {seed}");
    told.expect("standard error is open");
    let store = tempfile::Builder::new().prefix("oarlock-jepsen-").tempdir().expect("a temporary directory");
    let program = env!("CARGO_BIN_EXE_oarlock-jepsen");
    let ran = Command::new(program)
        .args(["run", "--workload", workload, "--nemesis", nemesis, "--time", "12s"])
        .args(["--fault-lasts", "2s", "--fault-pause", "2s", "--seed", &seed.to_string(), "--store"])
        .arg(store.path())
        .output()
        .expect("the program of this crate can be started");
    let out = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if !ran.status.success() {
        let kept = store.keep();
        panic!("{out}\nthe run is kept in {}", kept.display());
    }
}

#[test]
fn registers_under_kills_and_partitions() {
    keeps_its_promises("register", "kill-leader,partition-leader");
}

#[test]
fn appends_under_lost_power_and_pauses() {
    keeps_its_promises("append", "power-cut-all,pause-blink");
}

#[test]
fn watches_while_history_is_compacted_and_members_need_snapshots() {
    keeps_its_promises("watch", "compaction,snapshots");
}

#[test]
fn sessions_while_the_leader_stands_still() {
    keeps_its_promises("session", "pause-leader,transfer");
}

#[test]
fn a_set_under_faults_of_any_kind() {
    keeps_its_promises("set", "replace-member,slow-links");
}
