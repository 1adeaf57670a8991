//! The state's base store with a memory for what is not flushed yet.
//!
//! The production store above it is unchanged; below, `storage::memory::MemoryBase` holds the
//! records. This layer adds what a power cut does: batches survive whole and in order, but only
//! those before the last flush survive for sure.

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
    /// What survives for sure.
    durable: MemoryBase,
    /// What a reader sees: `durable` with `pending` applied.
    current: MemoryBase,
    /// Written since the last flush.
    pending: Vec<Batch>,
    /// Operations until the power goes.
    power: Option<u64>,
}

impl Default for SimBase {
    fn default() -> Self {
        Self::holding(Vec::new())
    }
}

impl SimBase {
    /// A store that durably holds these records.
    pub fn holding(records: Vec<(Bytes, Bytes)>) -> Self {
        let parts =
            Parts { durable: filled(&records), current: filled(&records), pending: Vec::new(), power: None };
        Self { parts: Arc::new(Mutex::new(parts)) }
    }

    /// All records, as readers see them.
    pub fn records(&self) -> Vec<(Bytes, Bytes)> {
        records(&self.lock().current)
    }

    /// The power goes after so many more writes or flushes.
    pub fn arm(&self, operations: u64) {
        self.lock().power = Some(operations);
    }

    /// What is there after the machine lost power; with `kill`, after the process alone died.
    pub fn after_crash(&self, chance: &mut Chance, kill: bool) -> Self {
        let parts = self.lock();
        let batches = parts.pending.len() as u64;
        let kept = if kill { batches } else { chance.below(batches + 1) };
        let durable = filled(&records(&parts.durable));
        for batch in &parts.pending[..kept as usize] {
            write(&durable, batch).expect("a map takes every write");
        }
        Self::holding(records(&durable))
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().expect("the simulator has one thread and ends at a panic")
    }
}

impl Parts {
    fn begin(&mut self) -> StorageResult<()> {
        match &mut self.power {
            Some(0) => Err(StorageError::State("the power is gone".into())),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn filled(records: &[(Bytes, Bytes)]) -> MemoryBase {
    let base = MemoryBase::default();
    let batch: Batch = records.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    write(&base, &batch).expect("a map takes every write");
    base
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
        self.lock().current.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, visit: &mut VisitRecord<'_>) -> StorageResult<()> {
        self.lock().current.scan(from, to, reverse, visit)
    }

    fn write(&self, batch: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>) -> StorageResult<()> {
        let mut parts = self.lock();
        parts.begin()?;
        let own: Batch = batch
            .map(|(key, value)| (Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice)))
            .collect();
        write(&parts.current, &own)?;
        parts.pending.push(own);
        Ok(())
    }

    fn flush(&self) -> StorageResult<()> {
        let mut parts = self.lock();
        parts.begin()?;
        for batch in std::mem::take(&mut parts.pending) {
            write(&parts.durable, &batch)?;
        }
        Ok(())
    }

    /// The simulator copies [`records`](Self::records) instead.
    fn checkpoint(&self, _into: &Path) -> StorageResult<()> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.lock().current.size_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(base: &SimBase, key: &'static [u8]) {
        base.write(&mut [(key, Some(b"v".as_slice()))].into_iter()).expect("no trouble");
    }

    #[test]
    fn a_power_cut_keeps_a_prefix_of_what_was_not_flushed() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let base = SimBase::default();
            put(&base, b"a");
            base.flush().expect("no trouble");
            put(&base, b"b");
            put(&base, b"c");
            let mut chance = Chance::new(seed);
            let after = base.after_crash(&mut chance, false);
            let keys: Vec<Bytes> = after.records().into_iter().map(|(key, _)| key).collect();
            assert!(
                ["a".as_bytes(), b"b", b"c"].starts_with(&keys.iter().map(|k| &k[..]).collect::<Vec<_>>())
            );
            lengths.insert(keys.len());
            assert_eq!(base.after_crash(&mut chance, true).records().len(), 3);
        }
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
