//! The data directory: whose it is, and that nobody else uses it.
//!
//! ```text
//! <data>/lock                    held while a server runs; names its process
//! <data>/member/marker.json      which cluster and member this is; written last when it is set up
//! <data>/member/log/             the Raft log
//! <data>/member/state/           the state
//! <data>/member/snapshot/        snapshots
//! ```
//!
//! A member that lost its log or state must not come back under its old id: it may have voted and
//! acknowledged. So the marker says what must be there, and what is missing is an error.

use super::checked_file;
use super::rocks::RocksBase;
use super::{REPLACE_MEMBER, StorageError, StorageResult, io_error, log};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const FORMAT: u32 = 1;

/// Who a data directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: u64,
    /// The member; never reused within a cluster.
    pub member_id: u64,
    /// The member's name in the configuration.
    pub name: String,
}

/// What the directory knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Format of the directory.
    pub format: u32,
    /// The cluster.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
    /// The member's name when the directory was set up.
    pub name: String,
    /// Counts the starts, from 1: tells one run's messages from another's.
    pub boots: u64,
    /// When the directory was set up, in milliseconds since 1970.
    pub created_ms: u64,
    /// Whether setting up has ended. Before that, nothing was ever promised to anybody.
    ready: bool,
}

/// A data directory in use by this process.
#[derive(Debug)]
pub struct DataDir {
    member: PathBuf,
    marker: Marker,
    /// Locked as long as it is open.
    _lock: File,
}

impl DataDir {
    /// Reads whose directory `path` is, without using it; `None` if it is not set up.
    ///
    /// # Errors
    /// A damaged marker, or one of another format.
    pub fn peek(path: &Path) -> StorageResult<Option<Marker>> {
        let marker = checked_file::read::<Marker>(&marker_path(&path.join("member")))?;
        match marker {
            Some(marker) if marker.format != FORMAT => Err(wrong(
                path,
                format!("has format {}, and this release reads {FORMAT}", marker.format),
                "Run the release that wrote it",
            )),
            Some(marker) if !marker.ready => Ok(None),
            marker => Ok(marker),
        }
    }

    /// Takes the directory into use for `identity`, setting it up if it is new or empty. Then
    /// [`Self::is_new`] tells that log and state must be created and [`Self::set_up`] called.
    ///
    /// # Errors
    /// [`StorageError::WrongDirectory`] if another process uses it, if it belongs to another member
    /// or cluster, or if log or state are missing; and everything the file system refuses.
    pub fn open(path: &Path, identity: &Identity) -> StorageResult<Self> {
        let member = path.join("member");
        // For the owner alone: the data of all clients is in here.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&member);
        made.map_err(|error| io_error("create", &member, error))?;
        let lock = lock(path)?;
        checked_file::sync_dir(path)?;
        let known = Self::peek(path)?;
        let mut dir = Self { marker: Marker::new(identity), member, _lock: lock };
        match known {
            Some(marker) => {
                marker.require(path, identity)?;
                dir.require_content(path)?;
                dir.marker = Marker { boots: marker.boots + 1, ..marker };
            }
            None => dir.clear(path)?,
        }
        dir.write_marker()?;
        Ok(dir)
    }

    /// Whether log and state have yet to be created.
    pub fn is_new(&self) -> bool {
        !self.marker.ready
    }

    /// Ends setting up: log and state exist and are durable. From now on they must be there.
    ///
    /// # Errors
    /// Everything the file system refuses.
    pub fn set_up(&mut self) -> StorageResult<()> {
        checked_file::sync_dir(&self.member)?;
        self.marker.ready = true;
        self.write_marker()
    }

    /// What the directory knows of itself.
    pub fn marker(&self) -> &Marker {
        &self.marker
    }

    /// Directory of the Raft log.
    pub fn log(&self) -> PathBuf {
        self.member.join("log")
    }

    /// Directory of the state.
    pub fn state(&self) -> PathBuf {
        self.member.join("state")
    }

    /// Directory of the snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.member.join("snapshot")
    }

    /// Makes room for a new member: directories that a setup left unfinished go. Data without a
    /// marker is somebody's, so it stays and is refused.
    fn clear(&self, path: &Path) -> StorageResult<()> {
        let unfinished = checked_file::read::<Marker>(&marker_path(&self.member))?.is_some();
        for dir in [self.log(), self.state(), self.snapshots()] {
            if unfinished && dir.exists() {
                fs::remove_dir_all(&dir).map_err(|error| io_error("remove", &dir, error))?;
            }
            fs::create_dir_all(&dir).map_err(|error| io_error("create", &dir, error))?;
            let mut content = fs::read_dir(&dir).map_err(|error| io_error("list", &dir, error))?;
            if content.next().is_some() {
                let what = "holds data but no marker.json that says whose it is".into();
                let advice = "If the marker was lost, this copy must not be used: remove the member from the \
                    cluster and add it anew with an empty data directory";
                return Err(wrong(path, what, advice));
            }
        }
        // RocksDB makes its own.
        fs::remove_dir(self.state()).map_err(|error| io_error("remove", &self.state(), error))
    }

    /// Log and state are there, or an install is about to bring the state back.
    fn require_content(&self, path: &Path) -> StorageResult<()> {
        if !log::exists(&self.log())? {
            return Err(wrong(path, "has lost its Raft log".into(), REPLACE_MEMBER));
        }
        let installing = self.snapshots().join("install.json").exists();
        if !installing && !RocksBase::exists(&self.state())? {
            return Err(wrong(path, "has lost its state".into(), REPLACE_MEMBER));
        }
        Ok(())
    }

    fn write_marker(&self) -> StorageResult<()> {
        checked_file::write(&marker_path(&self.member), &self.marker)
    }
}

impl Marker {
    fn new(identity: &Identity) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            format: FORMAT,
            cluster_id: identity.cluster_id,
            member_id: identity.member_id,
            name: identity.name.clone(),
            boots: 1,
            created_ms: since_1970.as_millis() as u64,
            ready: false,
        }
    }

    fn require(&self, path: &Path, identity: &Identity) -> StorageResult<()> {
        let advice = "Check the data directory and the name in the configuration; every member needs a directory \
            of its own";
        let what = if self.name != identity.name {
            format!("belongs to member {:?}, not to {:?}", self.name, identity.name)
        } else if self.cluster_id != identity.cluster_id {
            format!("belongs to cluster {:016x}, not to {:016x}", self.cluster_id, identity.cluster_id)
        } else if self.member_id != identity.member_id {
            format!("belongs to member id {:016x}, not to {:016x}", self.member_id, identity.member_id)
        } else {
            return Ok(());
        };
        Err(wrong(path, what, advice))
    }
}

fn marker_path(member: &Path) -> PathBuf {
    member.join("marker.json")
}

fn wrong(path: &Path, what: String, advice: &'static str) -> StorageError {
    StorageError::WrongDirectory { path: path.to_path_buf(), what, advice }
}

/// Locks the directory for this process.
fn lock(path: &Path) -> StorageResult<File> {
    let lock_path = path.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&lock_path).map_err(|error| io_error("open", &lock_path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Without the number the message is still clear.
            let _ = file.read_to_string(&mut holder);
            let what = format!("is in use by process {}", holder.trim());
            return Err(wrong(path, what, "Stop that process, or give this server a directory of its own"));
        }
        Err(TryLockError::Error(error)) => return Err(io_error("lock", &lock_path, error)),
    }
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(|error| io_error("write", &lock_path, error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::RealDisk;
    use crate::storage::log::{LogOptions, SegmentedLog};
    use crate::storage::rocks::RocksOptions;

    fn identity() -> Identity {
        Identity { cluster_id: 7, member_id: 3, name: "north".into() }
    }

    fn refusal(path: &Path, identity: &Identity) -> String {
        DataDir::open(path, identity).expect_err("refused").to_string()
    }

    /// Sets a directory up as a server does.
    fn set_up(path: &Path) -> StorageResult<()> {
        let mut dir = DataDir::open(path, &identity())?;
        assert!(dir.is_new());
        let options = LogOptions { segment_bytes: 4096, ..LogOptions::default() };
        SegmentedLog::open(Box::new(RealDisk), &dir.log(), options)?;
        RocksBase::create(&dir.state(), &RocksOptions::default())?;
        dir.set_up()
    }

    #[test]
    fn a_directory_knows_its_owner_and_counts_its_starts() -> StorageResult<()> {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path();
        assert_eq!(DataDir::peek(path)?, None);
        set_up(path)?;
        for boots in 2..5 {
            let dir = DataDir::open(path, &identity())?;
            assert_eq!((dir.is_new(), dir.marker().boots, dir.marker().member_id), (false, boots, 3));
        }
        assert_eq!(DataDir::peek(path)?.map(|marker| marker.cluster_id), Some(7));
        let other_name = refusal(path, &Identity { name: "south".into(), ..identity() });
        assert!(other_name.contains("belongs to member \"north\", not to \"south\""), "{other_name}");
        let other_cluster = refusal(path, &Identity { cluster_id: 8, ..identity() });
        assert!(other_cluster.contains("cluster 0000000000000007"), "{other_cluster}");
        assert!(refusal(path, &Identity { member_id: 4, ..identity() }).contains("member id"));
        Ok(())
    }

    #[test]
    fn two_servers_in_one_directory_are_told_about_each_other() -> StorageResult<()> {
        let root = tempfile::tempdir().expect("a temporary directory");
        let held = DataDir::open(root.path(), &identity())?;
        let refused = refusal(root.path(), &identity());
        assert!(refused.contains(&format!("in use by process {}", std::process::id())), "{refused}");
        drop(held);
        DataDir::open(root.path(), &identity())?;
        Ok(())
    }

    #[test]
    fn lost_parts_are_named_and_never_made_anew() -> StorageResult<()> {
        for (lost, message) in [("log", "lost its Raft log"), ("state", "lost its state")] {
            let root = tempfile::tempdir().expect("a temporary directory");
            set_up(root.path())?;
            fs::remove_dir_all(root.path().join("member").join(lost)).expect("remove");
            let refused = refusal(root.path(), &identity());
            assert!(refused.contains(message) && refused.contains("add it anew"), "{refused}");
        }
        let root = tempfile::tempdir().expect("a temporary directory");
        set_up(root.path())?;
        fs::remove_file(root.path().join("member/marker.json")).expect("remove");
        let refused = refusal(root.path(), &identity());
        assert!(refused.contains("no marker.json"), "{refused}");
        assert!(root.path().join("member/state/CURRENT").exists(), "nothing was removed");
        Ok(())
    }

    #[test]
    fn an_interrupted_setup_begins_anew() -> StorageResult<()> {
        let root = tempfile::tempdir().expect("a temporary directory");
        let dir = DataDir::open(root.path(), &identity())?;
        RocksBase::create(&dir.state(), &RocksOptions::default())?;
        drop(dir);
        set_up(root.path())?;
        assert!(!DataDir::open(root.path(), &identity())?.is_new());
        Ok(())
    }
}
