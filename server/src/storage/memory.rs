//! A [`BaseStore`] in memory, for the simulator and for tests.

use super::records;
use super::{BaseStore, StorageError, StorageResult, VisitRecord, io_error};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::ops::Bound::{Excluded, Included};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// File inside a checkpoint.
const CHECKPOINT_FILE: &str = "records";

type Records = BTreeMap<Bytes, Bytes>;

/// An ordered map; see the module.
#[derive(Debug, Default)]
pub struct MemoryBase {
    /// Shared with running scans, so that a visitor may read or write.
    records: Mutex<Arc<Records>>,
}

impl MemoryBase {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A panic elsewhere cannot leave the map half changed, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Arc<Records>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the keys of a batch ascend, as a [`BaseStore`] may demand.
fn ascends(batch: &[(Bytes, Option<Bytes>)]) -> bool {
    batch.is_sorted_by(|(one, _), (next, _)| one < next)
}

impl BaseStore for MemoryBase {
    fn get(&self, key: &[u8]) -> StorageResult<Option<Bytes>> {
        Ok(self.lock().get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, visit: &mut VisitRecord<'_>) -> StorageResult<()> {
        if from >= to {
            return Ok(());
        }
        let current = Arc::clone(&self.lock());
        let mut range = current.range::<[u8], _>((Included(from), Excluded(to)));
        loop {
            let next = if reverse { range.next_back() } else { range.next() };
            match next {
                Some((key, value)) if visit(key, value).is_continue() => {}
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn write(&self, batch: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>) -> StorageResult<()> {
        let copied =
            batch.map(|(key, value)| (Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice)));
        let batch: Vec<_> = copied.collect();
        if !ascends(&batch) {
            return Err(StorageError::State("the keys of a batch are out of order".into()));
        }
        let mut records = self.lock();
        let records = Arc::make_mut(&mut records);
        for (key, value) in batch {
            match value {
                Some(value) => records.insert(key, value),
                None => records.remove(&key),
            };
        }
        Ok(())
    }

    fn checkpoint(&self, into: &Path) -> StorageResult<()> {
        std::fs::create_dir(into).map_err(|error| io_error("create", into, error))?;
        let path = into.join(CHECKPOINT_FILE);
        let file = File::create_new(&path).map_err(|error| io_error("create", &path, error))?;
        let mut out = BufWriter::new(file);
        records::save_base(self, &records::StateMeta::default(), &mut out)
            .map_err(|error| StorageError::State(format!("checkpoint {}: {error}", path.display())))
    }

    fn size_bytes(&self) -> u64 {
        self.lock().iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::conformance;

    #[test]
    fn keeps_the_contract() {
        conformance::run(&mut MemoryBase::new);
    }
}
