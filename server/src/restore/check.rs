//! Whether a saved snapshot can be trusted.

use super::place::Place;
use super::{RestoreError, SnapshotSummary};
use crate::storage::BaseStore;
use crate::storage::records::StateMeta;
use crate::storage::rocks::{RocksBase, RocksOptions};
use crate::storage::snapshot;
use crate::storage::state::{StateOptions, StateStore};
use oarlock_state::digest::Sum;
use oarlock_state::{Machine, keys};
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Reads a saved snapshot to its end, opens the state in it, reads every record, and compares the
/// state's digest. Needs as much room in the directory for temporary files as the snapshot takes,
/// and leaves nothing there.
///
/// # Errors
/// What is wrong with it; see [`RestoreError`].
pub fn check(input: &mut dyn Read) -> Result<SnapshotSummary, RestoreError> {
    let place = Place::temporary()?;
    let imported = place.path().join("import");
    let manifest = snapshot::import(input, &imported)?;
    let base = Arc::new(RocksBase::open(&imported.join("state"), &RocksOptions::default())?);
    let machine = load(base, &manifest.meta)?;
    Ok(SnapshotSummary {
        revision: machine.revision().get(),
        index: manifest.meta.index,
        bytes: manifest.size_bytes(),
    })
}

/// Loads the machine of a state, once every record was read and the digest is right.
pub(super) fn load(base: Arc<dyn BaseStore>, meta: &StateMeta) -> Result<Machine, RestoreError> {
    let mut sum = Sum::default();
    base.scan(&keys::Space::ALL[0].start(), &[0xff], false, &mut |key, value| {
        if keys::in_digest(key) {
            sum.add(key, value);
        }
        ControlFlow::Continue(())
    })?;
    let store = StateStore::open(base, StateOptions::default())?;
    let machine = Machine::load(&store)?;
    machine.check_sum(sum).map_err(RestoreError::Contradiction)?;
    let at = (machine.applied().get(), machine.applied_term().get(), store.applied());
    if at != (meta.index, meta.term, meta.index) {
        let what = format!("it is the state after {at:?}, and says it is after {}.{}", meta.index, meta.term);
        return Err(RestoreError::Contradiction(what));
    }
    Ok(machine)
}
