//! Saved snapshots: checking one, and founding a new cluster with its state.
//!
//! Every founder runs [`restore`] on a copy of the same file with the same settings and computes the
//! same state. Its data directory is made beside the final place and renamed at the very end, so
//! that an interrupted restore never looks like a member.

mod check;
mod place;

pub use check::check;

use crate::config::{self, ConfigError};
use crate::node::founding::Founding;
use crate::storage::data_dir::{DataDir, Identity};
use crate::storage::disk::RealDisk;
use crate::storage::log::{LogOptions, SegmentedLog};
use crate::storage::records::StateMeta;
use crate::storage::rocks::{RocksBase, RocksOptions};
use crate::storage::snapshot;
use crate::storage::state::{StateOptions, StateStore};
use crate::storage::stream::StreamError;
use crate::storage::{LogStore, StorageError};
use oarlock_state::LoadError;
use place::Place;
use raft::eraftpb::HardState;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// A member of a new cluster that begins with a saved state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// Where its data directory shall be; nothing may be there.
    pub data_dir: PathBuf,
    /// The member's name; one of `initial_cluster`.
    pub name: String,
    /// All members: `name=http://host:port,…`.
    pub initial_cluster: String,
    /// Tells apart clusters with the same addresses.
    pub initial_cluster_token: String,
}

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// Revision of the state.
    pub revision: u64,
    /// Index of the last log entry that made it.
    pub index: u64,
    /// Bytes of the state's files.
    pub bytes: u64,
}

/// A snapshot cannot be checked or restored.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The settings make no sense.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The name is not one of the cluster's.
    #[error("--initial-cluster has no member {name:?}; it has {known}")]
    NotAMember {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// Something is where the data directory shall be.
    #[error(
        "{0} exists already. A snapshot is restored into a new directory only; name another one or move this away"
    )]
    Occupied(PathBuf),
    /// The snapshot does not read.
    #[error(transparent)]
    Snapshot(#[from] StreamError),
    /// The local disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state is of another release.
    #[error(transparent)]
    State(#[from] LoadError),
    /// The state contradicts itself, although every byte is as it was saved.
    #[error("the snapshot was damaged before it was saved: {0}. Use a snapshot of another member")]
    Contradiction(String),
}

/// Makes the data directory of a new cluster's member from a saved snapshot.
///
/// The cluster's id depends on the snapshot, so that members that restored different snapshots, and
/// members of the old cluster, refuse one another.
///
/// # Errors
/// Everything that [`RestoreError`] lists. Nothing is left behind then.
pub fn restore(input: &mut dyn Read, plan: &Restore) -> Result<SnapshotSummary, RestoreError> {
    let founders = config::founders(&plan.initial_cluster)?;
    if !founders.contains_key(&plan.name) {
        let known: Vec<&str> = founders.keys().map(String::as_str).collect();
        return Err(RestoreError::NotAMember { name: plan.name.clone(), known: known.join(", ") });
    }
    let place = Place::beside(&plan.data_dir)?;
    let imported = place.path().join("import");
    let manifest = snapshot::import(input, &imported)?;
    let meta = &manifest.meta;
    let token = format!(
        "{} restored from {:016x} at {}.{}",
        plan.initial_cluster_token, meta.cluster_id, meta.term, meta.index
    );
    let founding = Founding::new(&token, &founders);
    let revision = settle(&place, &imported, meta, &founding, &plan.name)?;
    place.keep()?;
    Ok(SnapshotSummary { revision, index: meta.index, bytes: manifest.size_bytes() })
}

/// Sets the data directory up around the imported state. Returns the new revision.
fn settle(
    place: &Place,
    imported: &Path,
    meta: &StateMeta,
    founding: &Founding,
    name: &str,
) -> Result<u64, RestoreError> {
    let member = founding.id_of(name).expect("the name was looked up among the founders");
    let identity =
        Identity { cluster_id: founding.cluster_id, member_id: member.get(), name: name.to_owned() };
    let mut dir = DataDir::open(place.path(), &identity)?;
    place::rename(&imported.join("state"), &dir.state())?;
    place::remove(imported)?;
    let revision = refound(&dir.state(), meta, founding)?;
    let options = LogOptions { salt: rand::random(), ..LogOptions::default() };
    let (mut log, _) = SegmentedLog::open(Box::new(RealDisk), &dir.log(), options)?;
    let hard_state = HardState { term: meta.term, vote: 0, commit: meta.index };
    log.reset(meta.index, meta.term, &hard_state)?;
    dir.set_up()?;
    Ok(revision)
}

/// Turns the state in `path` into the founding state, durably. Returns its revision.
fn refound(path: &Path, meta: &StateMeta, founding: &Founding) -> Result<u64, RestoreError> {
    let base = Arc::new(RocksBase::open(path, &RocksOptions::default())?);
    let machine = check::load(base.clone(), meta)?;
    let mut store = StateStore::open(base, StateOptions::default())?;
    let Founding { cluster_id, members, conf_state } = founding;
    let mutations = machine.refound(&store, members, conf_state.clone(), *cluster_id);
    store.write(mutations, meta.index);
    if let Some(job) = store.freeze_now() {
        store.flushed(job.run()?);
    }
    Ok(oarlock_state::Machine::load(&store)?.revision().get())
}
