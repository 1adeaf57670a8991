//! A [`BaseStore`] in memory that forgets what was not flushed when the power goes. For the
//! simulator and for tests.

use super::records;
use super::{BaseStore, StorageResult, VisitRecord, io_error};
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
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    /// What reads see. Shared with running scans, so that a visitor may read or write.
    current: Arc<Records>,
    /// What survives a power cut.
    durable: Records,
    /// Writes since the last flush, in order.
    unflushed: Vec<(Bytes, Option<Bytes>)>,
}

impl MemoryBase {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The power goes and comes back: unflushed writes are lost.
    pub fn crash(&self) {
        let mut content = self.lock();
        content.unflushed.clear();
        content.current = Arc::new(content.durable.clone());
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.lock().current.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A panic elsewhere cannot leave the maps half changed, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(records: &mut Records, key: Bytes, value: Option<Bytes>) {
    match value {
        Some(value) => records.insert(key, value),
        None => records.remove(&key),
    };
}

impl BaseStore for MemoryBase {
    fn get(&self, key: &[u8]) -> StorageResult<Option<Bytes>> {
        Ok(self.lock().current.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, visit: &mut VisitRecord<'_>) -> StorageResult<()> {
        if from >= to {
            return Ok(());
        }
        let current = Arc::clone(&self.lock().current);
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
        let mut content = self.lock();
        for (key, value) in batch {
            let (key, value) = (Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice));
            put(Arc::make_mut(&mut content.current), key.clone(), value.clone());
            content.unflushed.push((key, value));
        }
        Ok(())
    }

    fn flush(&self) -> StorageResult<()> {
        let mut content = self.lock();
        for (key, value) in std::mem::take(&mut content.unflushed) {
            put(&mut content.durable, key, value);
        }
        Ok(())
    }

    fn checkpoint(&self, into: &Path) -> StorageResult<()> {
        std::fs::create_dir(into).map_err(|error| io_error("create", into, error))?;
        let path = into.join(CHECKPOINT_FILE);
        let file = File::create_new(&path).map_err(|error| io_error("create", &path, error))?;
        let mut out = BufWriter::new(file);
        records::save_base(self, &records::StateMeta::default(), &mut out)
            .map_err(|error| super::StorageError::State(format!("checkpoint {}: {error}", path.display())))
    }

    fn size_bytes(&self) -> u64 {
        self.lock().current.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
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

    #[test]
    fn a_crash_loses_exactly_what_was_not_flushed() -> StorageResult<()> {
        let base = MemoryBase::new();
        base.write(&mut [(&b"a"[..], Some(&b"1"[..])), (b"b", Some(b"1"))].into_iter())?;
        base.flush()?;
        base.write(&mut [(&b"a"[..], None), (b"c", Some(&b"2"[..]))].into_iter())?;
        base.crash();
        assert_eq!(base.get(b"a")?, Some(Bytes::from("1")));
        assert_eq!((base.get(b"c")?, base.len()), (None, 2));
        Ok(())
    }
}
