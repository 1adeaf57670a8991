//! How fast the log and the state store are on this machine's disk.
//!
//! `cargo run --release -p oarlock-server --example log_speed -- <empty directory>`

use oarlock_server::storage::disk::RealDisk;
use oarlock_server::storage::log::{LogOptions, SegmentedLog};
use oarlock_server::storage::rocks::{RocksBase, RocksOptions};
use oarlock_server::storage::state::{StateOptions, StateStore};
use oarlock_server::storage::{LogStore, StorageResult};
use oarlock_state::{Mutation, View};
use raft::eraftpb::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PAYLOAD_BYTES: usize = 256;
const SECONDS_PER_RUN: u64 = 3;
const KEYS: u64 = 200_000;

fn main() -> StorageResult<()> {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: log_speed <empty directory>");
        std::process::exit(2);
    };
    for batch in [1, 10, 100, 1000] {
        measure_log(&dir.join(format!("log-{batch}")), batch)?;
    }
    measure_state(&dir.join("state"))
}

fn make_dir(dir: &Path) {
    if let Err(error) = std::fs::create_dir_all(dir) {
        eprintln!("cannot create {}: {error}", dir.display());
        std::process::exit(1);
    }
}

fn measure_log(dir: &Path, batch: u64) -> StorageResult<()> {
    make_dir(dir);
    let (mut log, _) = SegmentedLog::open(Box::new(RealDisk), dir, LogOptions::default())?;
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(SECONDS_PER_RUN) {
        let first = log.last_index() + 1;
        let entries: Vec<Entry> = (first..first + batch)
            .map(|index| Entry { index, term: 1, data: vec![7; PAYLOAD_BYTES], ..Entry::default() })
            .collect();
        let start = Instant::now();
        log.append(&entries, None, true)?;
        times.push(start.elapsed());
        if first % 100_000 < batch {
            log.truncate_front(first - 1)?;
        }
    }
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort_unstable();
    println!(
        "log, batches of {batch}: {rate:.0} batches/s, {:.0} entries/s, p50 {:?}, p99 {:?}, longest {:?}",
        rate * batch as f64,
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1],
    );
    Ok(())
}

fn measure_state(dir: &Path) -> StorageResult<()> {
    let base = Arc::new(RocksBase::create(dir, &RocksOptions::default())?);
    let mut store = StateStore::open(base, StateOptions::default())?;
    let begun = Instant::now();
    let mut flush = None;
    for applied in 1..=5 * KEYS {
        let key = format!("key {:08}", applied.wrapping_mul(2_654_435_761) % KEYS);
        let known = store.get(key.as_bytes()).is_some();
        let history = format!("history {applied:016}{known}");
        let value = || Some(vec![7; PAYLOAD_BYTES].into());
        let mutations = vec![Mutation::new(key.into(), value()), Mutation::new(history.into(), value())];
        store.write(mutations, applied);
        if let Some(job) = store.maybe_freeze() {
            flush = Some(std::thread::spawn(move || job.run()));
        }
        let wait = store.is_overfull();
        if let Some(done) = flush.take_if(|flush| wait || flush.is_finished()) {
            store.flushed(done.join().expect("the flush does not panic")?);
        }
    }
    let micros = begun.elapsed().as_micros() as f64 / (5 * KEYS) as f64;
    println!("state, one get and two puts: {micros:.2} µs, flushed up to {}", store.durable_applied());
    Ok(())
}
