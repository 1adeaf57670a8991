//! What a disk does wrong, settable at any time, and the gate where requests meet it.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a request that waits goes without looking whether its process is still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Which syncs fail, with an I/O error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncError {
    /// None.
    #[default]
    Never,
    /// The next one. As on Linux it takes the unsynced pages with it: the sync after it succeeds
    /// and yet does not make them durable.
    Once,
    /// All.
    Always,
}

/// What hangs until it is released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stall {
    /// Nothing.
    #[default]
    Nothing,
    /// Syncs, while reads and writes go to the page cache, as with a disk that is busy.
    Syncs,
    /// Everything that reaches the disk.
    Everything,
}

/// What a disk does wrong. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Faults {
    /// Which syncs fail.
    pub sync_error: SyncError,
    /// Which part of reads fails, from 0 to 1. What the kernel has in its cache is not read again.
    pub read_errors: f64,
    /// Which part of writes fails, from 0 to 1.
    pub write_errors: f64,
    /// There is no room for anything new: files cannot be made or grow. Removing makes none.
    pub full: bool,
    /// How much longer each sync takes.
    pub sync_delay: Duration,
    /// What hangs.
    pub stall: Stall,
    /// Syncs are acknowledged and not done. No promise can hold on such a disk; the fault shows
    /// that the checks see what it breaks.
    pub lying: bool,
}

/// What the faults did, and what there was for them to do it to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Syncs of files and directories that were asked for.
    pub syncs: u64,
    /// Of these, that failed.
    pub failed_syncs: u64,
    /// Of these, that were acknowledged and not done.
    pub ignored_syncs: u64,
    /// Requests that were held for a while.
    pub held: u64,
    /// Reads that failed.
    pub read_errors: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Requests that found no room.
    pub no_room: u64,
    /// Bytes that a power cut took.
    pub lost_bytes: u64,
    /// Changes of names that a power cut took.
    pub lost_names: u64,
    /// Pieces of unsynced writes that survived a power cut.
    pub kept_pieces: u64,
}

/// A kind of request, by what can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// The contents of a file.
    Read,
    /// New contents within a file.
    Write,
    /// Room: a new file or directory, or more of a file.
    Room,
    /// To change names or attributes only.
    Change,
}

/// What becomes of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    Done,
    Failed,
    Ignored,
    /// Its process was killed while it waited, so that nobody hears of it.
    Abandoned,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Io,
    NoRoom,
}

/// Where each request waits, fails or passes.
#[derive(Debug)]
pub(super) struct Gate {
    faults: Mutex<Faults>,
    changed: Condvar,
    chance: Mutex<StdRng>,
    pub(super) counters: Counters,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    syncs: AtomicU64,
    failed_syncs: AtomicU64,
    ignored_syncs: AtomicU64,
    held: AtomicU64,
    read_errors: AtomicU64,
    write_errors: AtomicU64,
    no_room: AtomicU64,
    pub(super) lost_bytes: AtomicU64,
    pub(super) lost_names: AtomicU64,
    pub(super) kept_pieces: AtomicU64,
}

impl Gate {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            faults: Mutex::default(),
            changed: Condvar::new(),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            counters: Counters::default(),
        }
    }

    pub(super) fn faults(&self) -> Faults {
        *self.lock()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    pub(super) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Counts {
            syncs: read(&counters.syncs),
            failed_syncs: read(&counters.failed_syncs),
            ignored_syncs: read(&counters.ignored_syncs),
            held: read(&counters.held),
            read_errors: read(&counters.read_errors),
            write_errors: read(&counters.write_errors),
            no_room: read(&counters.no_room),
            lost_bytes: read(&counters.lost_bytes),
            lost_names: read(&counters.lost_names),
            kept_pieces: read(&counters.kept_pieces),
        }
    }

    /// Lets a request of this thread pass, once it may.
    pub(super) fn admit(&self, thread: u32, asks: Asks) -> Result<(), Refused> {
        let is_alive = self.wait(thread, |faults, _| faults.stall == Stall::Everything);
        let faults = self.faults();
        let counters = &self.counters;
        if !is_alive {
            return Err(Refused::Io);
        }
        let (refused, counter) = match asks {
            Asks::Room if faults.full => (Refused::NoRoom, &counters.no_room),
            Asks::Read if self.happens(faults.read_errors) => (Refused::Io, &counters.read_errors),
            Asks::Write | Asks::Room if self.happens(faults.write_errors) => {
                (Refused::Io, &counters.write_errors)
            }
            Asks::Read | Asks::Write | Asks::Room | Asks::Change => return Ok(()),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Err(refused)
    }

    /// Lets a sync of this thread pass, once it may, and says how it ends.
    pub(super) fn admit_sync(&self, thread: u32) -> Sync {
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let holds =
            |faults: &Faults, now: Instant| faults.stall != Stall::Nothing || now < began + faults.sync_delay;
        if !self.wait(thread, holds) {
            return Sync::Abandoned;
        }
        let mut faults = self.lock();
        let fails = faults.sync_error != SyncError::Never;
        if faults.sync_error == SyncError::Once {
            faults.sync_error = SyncError::Never;
        }
        let (ended, counter) = match (fails, faults.lying) {
            (true, _) => (Sync::Failed, &self.counters.failed_syncs),
            (false, true) => (Sync::Ignored, &self.counters.ignored_syncs),
            (false, false) => return Sync::Done,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        ended
    }

    /// Waits for as long as this holds. False if the thread was killed meanwhile: the kernel keeps a
    /// killed process until its request is answered, so that the answer must not wait for the fault's end.
    fn wait(&self, thread: u32, holds: impl Fn(&Faults, Instant) -> bool) -> bool {
        let mut faults = self.lock();
        if !holds(&faults, Instant::now()) {
            return true;
        }
        self.counters.held.fetch_add(1, Ordering::Relaxed);
        while holds(&faults, Instant::now()) {
            if is_killed(thread) {
                return false;
            }
            let interval = LOOK_INTERVAL.min(faults.sync_delay.max(Duration::from_millis(1)));
            let interval = if faults.stall == Stall::Nothing { interval } else { LOOK_INTERVAL };
            let waited = self.changed.wait_timeout(faults, interval);
            faults = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn happens(&self, probability: f64) -> bool {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        probability > 0.0 && chance.random_bool(probability.min(1.0))
    }

    /// A panic elsewhere leaves whole faults behind.
    fn lock(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this thread has a SIGKILL before it, or is gone. 0 is one that this process cannot see.
fn is_killed(thread: u32) -> bool {
    const SIGKILL_BIT: u64 = 1 << 8;
    if thread == 0 {
        return false;
    }
    let Ok(status) = std::fs::read_to_string(format!("/proc/{thread}/status")) else { return true };
    let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
    pending.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|set| set & SIGKILL_BIT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_fails_once_or_always() {
        let gate = Gate::new(0);
        gate.update(|faults| faults.sync_error = SyncError::Once);
        assert_eq!([gate.admit_sync(0), gate.admit_sync(0)], [Sync::Failed, Sync::Done]);
        gate.update(|faults| faults.sync_error = SyncError::Always);
        assert_eq!([gate.admit_sync(0), gate.admit_sync(0)], [Sync::Failed, Sync::Failed]);
        gate.update(|faults| *faults = Faults { lying: true, ..Faults::default() });
        assert_eq!(gate.admit_sync(0), Sync::Ignored);
        let counts = gate.counts();
        assert_eq!((counts.syncs, counts.failed_syncs, counts.ignored_syncs), (5, 3, 1));
    }

    #[test]
    fn a_full_disk_refuses_room_alone() {
        let gate = Gate::new(0);
        gate.update(|faults| faults.full = true);
        assert_eq!(gate.admit(0, Asks::Room), Err(Refused::NoRoom));
        assert!([Asks::Read, Asks::Write, Asks::Change].iter().all(|asks| gate.admit(0, *asks).is_ok()));
        assert_eq!(gate.counts().no_room, 1);
    }

    #[test]
    fn a_part_of_reads_fails() {
        let gate = Gate::new(5);
        gate.update(|faults| faults.read_errors = 0.5);
        let failed = (0..200).filter(|_| gate.admit(0, Asks::Read) == Err(Refused::Io)).count();
        assert!((60..140).contains(&failed), "{failed}");
        assert!((0..200).all(|_| gate.admit(0, Asks::Write).is_ok()));
    }

    #[test]
    fn a_slow_sync_takes_its_time() {
        let gate = Gate::new(0);
        gate.update(|faults| faults.sync_delay = Duration::from_millis(50));
        let began = Instant::now();
        assert_eq!(gate.admit_sync(0), Sync::Done);
        assert!(began.elapsed() >= Duration::from_millis(50));
        assert_eq!(gate.counts().held, 1);
    }

    #[test]
    fn a_stalled_sync_goes_on_when_released() {
        let gate = std::sync::Arc::new(Gate::new(0));
        gate.update(|faults| faults.stall = Stall::Syncs);
        let waiting = gate.clone();
        let sync = std::thread::spawn(move || waiting.admit_sync(0));
        std::thread::sleep(Duration::from_millis(60));
        assert!(!sync.is_finished());
        assert!(gate.admit(0, Asks::Write).is_ok());
        gate.update(|faults| faults.stall = Stall::Nothing);
        assert_eq!(sync.join().unwrap(), Sync::Done);
    }

    #[test]
    fn a_dead_process_does_not_wait() {
        let gate = Gate::new(0);
        gate.update(|faults| faults.stall = Stall::Syncs);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(gate.admit_sync(pid), Sync::Abandoned);
    }
}
