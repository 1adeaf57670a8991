//! Saved states, as doors hand them out.

use oarlock_state::Revision;
use std::io::{self, Write};

/// Where snapshots come from.
pub trait SnapshotSource: Send + Sync {
    /// A snapshot of the state as it is about now. May take a while; called on a thread that may
    /// block.
    ///
    /// # Errors
    /// Of the disk, or that none can be had now.
    fn snapshot(&self) -> io::Result<Box<dyn Snapshot>>;
}

/// One snapshot, ready to be written out.
pub trait Snapshot: Send {
    /// Revision of the state in it.
    fn revision(&self) -> Revision;
    /// Applied index of the state in it.
    fn index(&self) -> u64;
    /// About how many bytes will be written, for a progress bar.
    fn bytes(&self) -> u64;
    /// Writes the file. Called on a thread that may block.
    ///
    /// # Errors
    /// Of the disk, or of `out`, which fails when the client is gone.
    fn write_to(&self, out: &mut dyn Write) -> io::Result<()>;
}
