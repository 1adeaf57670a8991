//! A new state for a member whose own turned out to differ from the leader's.
//!
//! The log is sound: what it holds was written by consensus, checked, and acknowledged. Only the
//! state is replaced, by a snapshot of another member, before this one takes part again; what the log
//! holds beyond the snapshot is applied anew. So neither a vote nor an acknowledgement is lost.

use super::stores::snapshot_meta;
use super::{Seat, StartError};
use crate::config::{Config, Url};
use crate::consensus;
use crate::peer::Local;
use crate::peer::snapshot_fetch::fetch;
use crate::storage::LogStore;
use crate::storage::data_dir::DataDir;
use crate::storage::disk::RealDisk;
use crate::storage::log::{LogOptions, SegmentedLog};
use crate::storage::snapshot::{Manifest, SnapshotStore};
use crate::tasks::Tasks;
use oarlock_state::command::Member;
use slog::{Logger, info, warn};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Pause after nobody had a snapshot to give.
const PAUSE: Duration = Duration::from_secs(2);

/// Gives the member a new state if a note in its directory says that the old one cannot be trusted.
/// Waits until another member can give one.
///
/// # Errors
/// Everything that makes the directory unusable.
pub async fn rebuild(config: &Config, seat: &Seat, local: &Local, logger: &Logger) -> Result<(), StartError> {
    let Ok(noticed) = std::fs::read_to_string(note(&config.data_dir)) else { return Ok(()) };
    warn!(logger, "the state differed from the leader's and is replaced by another member's";
        "noticed_at" => noticed.trim());
    let dir = DataDir::open(&config.data_dir, &seat.identity)?;
    let options =
        LogOptions { segment_bytes: config.bounds.log_segment_bytes, window_bytes: 0, salt: rand::random() };
    let (mut log, _) = SegmentedLog::open(Box::new(RealDisk), &dir.log(), options)?;
    let snapshots = Arc::new(SnapshotStore::open(&dir.snapshots(), &dir.state(), local.cluster_id)?);
    // They are copies of the damaged state.
    snapshots.forget_taken()?;
    let installed = match snapshots.recover_install()? {
        Some(interrupted) => interrupted,
        None => {
            let manifest = obtain(seat, local, log.base().0, &snapshots, logger).await;
            snapshots.install(manifest.meta.index, manifest.meta.term)?
        }
    };
    consensus::finish_install(&mut log, &snapshot_meta(&installed))?;
    snapshots.install_done()?;
    forget_note(&config.data_dir)?;
    info!(logger, "the state was replaced"; "index" => installed.index);
    Ok(())
}

/// A verified snapshot of another member that joins on to the log.
async fn obtain(
    seat: &Seat,
    local: &Local,
    least: u64,
    snapshots: &Arc<SnapshotStore>,
    logger: &Logger,
) -> Manifest {
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    loop {
        for member in seat.members.iter().filter(|member| member.node != local.node) {
            match fetch(local, member.node, &peer_urls(member), least, snapshots, &tasks).await {
                Ok(manifest) => return manifest,
                Err(error) => {
                    warn!(logger, "no snapshot from this member"; "member" => &member.name, "error" => %error);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn peer_urls(member: &Member) -> Vec<Url> {
    member.peer_urls.iter().filter_map(|url| Url::parse("peer-urls", url).ok()).collect()
}

fn note(data_dir: &Path) -> PathBuf {
    data_dir.join("member").join("diverged")
}

/// Leaves a note that has the next start replace the state: a mere restart would serve the damaged
/// one again until the next comparison.
///
/// # Errors
/// Of the file system.
pub fn note_diverged(data_dir: &Path, index: u64) -> std::io::Result<()> {
    let path = note(data_dir);
    std::fs::write(&path, format!("{index}\n"))?;
    std::fs::File::open(&path)?.sync_all()
}

fn forget_note(data_dir: &Path) -> Result<(), StartError> {
    let removed = std::fs::remove_file(note(data_dir));
    removed.map_err(|source| StartError::System { what: "cannot remove the note of a damaged state", source })
}
