//! A disk for each node that can be cut off from its power, fill up, fail and stall.
//!
//! A file system in user space (FUSE) lies before a directory. It lets everything through and
//! remembers what is not durable yet; a power cut takes that back.
//!
//! # What is durable
//!
//! | change | durable after |
//! | --- | --- |
//! | contents and length of a file | fsync or fdatasync of that file, or a write with O_SYNC or O_DSYNC |
//! | a name made, renamed or removed | fsync of any directory; and, with [`Durable::WithJournal`], fsync of a file that is new, renamed or longer |
//! | mode, owner and times | at once |
//!
//! Names become durable in the order of their changes, contents of different files in any. The rules
//! are those that ext4 promises with its default options; that it also writes by itself after some
//! seconds is left out, since nobody may count on it. O_DIRECT is let through as a plain write:
//! it is not durable without a sync on a real disk either.
//!
//! # Faults out of promise
//!
//! [`Faults::lying`] breaks what any store must rely on. A run with it shows that a check sees the loss.

pub mod damage;
mod faults;
mod filesystem;
mod names;
mod shared;
mod store;
mod unsynced;

pub use faults::{Counts, Faults, Stall, SyncError};
pub use unsynced::Survival;

use crate::net::{Lacking, Private};
use faults::Gate;
use filesystem::FaultFs;
use fuser::{BackgroundSession, Config, MountOption};
use nix::mount::{MntFlags, umount2};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rand::Rng;
use serde::{Deserialize, Serialize};
use shared::Shared;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use store::Store;

/// Requests served at a time; as many may stall before all do.
const THREADS: usize = 8;
/// How long the kernel may take to close the files of a process that was killed.
const CLOSE_TIME: Duration = Duration::from_secs(10);

/// When names become durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durable {
    /// With a sync of a directory, or of a file about which the journal has something to say: as ext4.
    #[default]
    WithJournal,
    /// With a sync of a directory alone: what POSIX promises, and no more.
    NamesApart,
}

/// What a power cut took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Files that changed.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Changes of names.
    pub names: u64,
    /// Pieces that survived unsynced.
    pub kept_pieces: u64,
}

/// A mounted disk. When it is dropped it is unmounted; what is on it stays in the directory behind it.
#[derive(Debug)]
pub struct Disk {
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
    at: PathBuf,
}

impl Disk {
    /// Mounts a disk that keeps its files in the directory `store`, which is made if need be. The
    /// mount is seen by this thread, and by the threads and processes that it starts.
    ///
    /// # Errors
    /// If there is no FUSE, of which [`probe`] says more, or a directory cannot be made.
    pub fn mount(
        _private: Private,
        store: &Path,
        at: &Path,
        durable: Durable,
        seed: u64,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(store)?;
        std::fs::create_dir_all(at)?;
        // Each file that the kernel knows is held open.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
        let shared = Arc::new(Shared::new(Store::open(store, durable)?, Gate::new(seed), store));
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("oarlock-disk".into()), MountOption::DefaultPermissions];
        config.n_threads = Some(THREADS);
        let session = fuser::spawn_mount(FaultFs::new(shared.clone()), at, &config)?;
        Ok(Self { shared, session: Some(session), at: at.to_owned() })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// What it does wrong.
    pub fn faults(&self) -> Faults {
        self.shared.gate.faults()
    }

    /// Changes what it does wrong. What waits looks again.
    pub fn update(&self, change: impl FnOnce(&mut Faults)) {
        self.shared.gate.update(change);
    }

    /// Makes it do nothing wrong.
    pub fn heal(&self) {
        self.update(|faults| *faults = Faults::default());
    }

    /// Whether syncs reach the disk that the directory behind is on; at first they do. Without them this
    /// disk loses just what it did and takes as long as its faults say, however busy the machine is.
    pub fn sync_for_real(&self, is_wanted: bool) {
        self.shared.is_synced_for_real.store(is_wanted, Ordering::Relaxed);
    }

    /// What the faults did so far.
    pub fn counts(&self) -> Counts {
        self.shared.gate.counts()
    }

    /// Cuts the power: what was not durable is gone, but for what survives by chance. The server must
    /// be dead.
    ///
    /// # Errors
    /// If files are still open after ten seconds, or the directory behind cannot be changed.
    pub fn cut_power(&self, survival: Survival, chance: &mut impl Rng) -> io::Result<Loss> {
        let until = Instant::now() + CLOSE_TIME;
        loop {
            let mut store = self.shared.store();
            let open = store.open_files();
            if open == 0 {
                let loss = store.take_back(survival, chance)?;
                let counters = &self.shared.gate.counters;
                counters.lost_bytes.fetch_add(loss.bytes, Ordering::Relaxed);
                counters.lost_names.fetch_add(loss.names, Ordering::Relaxed);
                counters.kept_pieces.fetch_add(loss.kept_pieces, Ordering::Relaxed);
                return Ok(loss);
            }
            drop(store);
            if Instant::now() >= until {
                return Err(io::Error::other(format!(
                    "the power of {} cannot be cut while {open} files are open: kill the server first",
                    self.at.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.heal(); // what stalls would hold up the end
        // Lazily, so that it goes even while a process has it open. If this fails it is gone already.
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        if self.shared.store().open_files() == 0
            && let Some(session) = self.session.take()
        {
            // All that can fail is the unmounting that was done above.
            let _ = session.umount_and_join();
        }
    }
}

/// Whether this machine can have such disks. Changes nothing.
///
/// # Errors
/// What is missing.
pub fn probe() -> Result<(), Lacking> {
    crate::net::probe()?;
    OpenOptions::new().read(true).write(true).open("/dev/fuse").map(drop).map_err(|error| {
        Lacking(format!(
            "/dev/fuse cannot be opened ({error}), so power cuts, failing syncs and full disks cannot be made: \
             run as root, or `modprobe fuse`, or start the container with --device /dev/fuse"
        ))
    })
}

#[cfg(test)]
mod tests;
