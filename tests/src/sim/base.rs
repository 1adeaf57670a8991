//! The state's base store on a machine whose power may go.
//!
//! The production store above it is unchanged; below, `storage::memory::MemoryBase` holds the
//! records. This layer adds what a power cut does: a batch whose write was begun is there whole or
//! not at all.

use super::chance::Chance;
use bytes::Bytes;
use oarlock_server::storage::memory::MemoryBase;
use oarlock_server::storage::{BaseStore, StorageError, StorageResult, VisitRecord};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

type Batch = Vec<(Bytes, Option<Bytes>)>;

/// A base store that can lose power. Clones share it.
#[derive(Clone)]
pub struct SimBase {
    parts: Arc<Mutex<Parts>>,
}

struct Parts {
    /// What a reader sees.
    held: MemoryBase,
    /// The batch that was written when the power went.
    doubtful: Option<Batch>,
    /// Writes until the power goes.
    power: Option<u64>,
}

impl Default for SimBase {
    fn default() -> Self {
        Self::holding(&[])
    }
}

impl SimBase {
    /// A store that holds these records.
    pub fn holding(records: &[(Bytes, Bytes)]) -> Self {
        let held = MemoryBase::default();
        let batch = records.iter().map(|(key, value)| (key.as_ref(), Some(value.as_ref())));
        held.write(&mut batch.into_iter()).expect("records come in order");
        Self { parts: Arc::new(Mutex::new(Parts { held, doubtful: None, power: None })) }
    }

    /// All records, as readers see them.
    pub fn records(&self) -> Vec<(Bytes, Bytes)> {
        records(&self.lock().held)
    }

    /// The power goes after so many more writes.
    pub fn arm(&self, writes: u64) {
        self.lock().power = Some(writes);
    }

    /// What is there after the machine lost power, or the process died.
    pub fn after_crash(&self, chance: &mut Chance) -> Self {
        let parts = self.lock();
        let after = Self::holding(&records(&parts.held));
        if let Some(batch) = parts.doubtful.as_ref().filter(|_| chance.one_in(2)) {
            write(&after.lock().held, batch).expect("it was in order");
        }
        after
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().expect("the simulator has one thread and ends at a panic")
    }
}

fn write(base: &MemoryBase, batch: &Batch) -> StorageResult<()> {
    base.write(&mut batch.iter().map(|(key, value)| (key.as_ref(), value.as_deref())))
}

fn records(base: &MemoryBase) -> Vec<(Bytes, Bytes)> {
    let mut all = Vec::new();
    base.scan(&[], &[0xff; 8], false, &mut |key, value| {
        all.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        ControlFlow::Continue(())
    })
    .expect("a map can be read");
    all
}

impl BaseStore for SimBase {
    fn get(&self, key: &[u8]) -> StorageResult<Option<Bytes>> {
        self.lock().held.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, visit: &mut VisitRecord<'_>) -> StorageResult<()> {
        self.lock().held.scan(from, to, reverse, visit)
    }

    fn write(&self, batch: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>) -> StorageResult<()> {
        let mut parts = self.lock();
        let copied =
            batch.map(|(key, value)| (Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice)));
        let batch: Batch = copied.collect();
        match &mut parts.power {
            Some(0) => {
                parts.doubtful.get_or_insert(batch);
                return Err(StorageError::State("the power is gone".into()));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        write(&parts.held, &batch)
    }

    /// The simulator copies [`records`](Self::records) instead.
    fn checkpoint(&self, _into: &Path) -> StorageResult<()> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.lock().held.size_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(base: &SimBase, key: &'static [u8]) {
        base.write(&mut [(key, Some(b"v".as_slice()))].into_iter()).expect("no trouble");
    }

    #[test]
    fn a_batch_on_its_way_at_a_power_cut_is_there_whole_or_not_at_all() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let base = SimBase::default();
            put(&base, b"a");
            base.arm(1);
            put(&base, b"b");
            let mut batch = [(&b"c"[..], Some(&b"v"[..])), (b"d", Some(b"v"))].into_iter();
            assert!(base.write(&mut batch).is_err());
            assert!(base.write(&mut [(&b"e"[..], None)].into_iter()).is_err(), "the power stays away");
            assert_eq!(base.records().len(), 2);
            lengths.insert(base.after_crash(&mut Chance::new(seed)).records().len());
        }
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [2, 4]);
    }
}
