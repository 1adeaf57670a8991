//! A base store that can be replaced while others hold it.

use crate::storage::rocks::{RocksBase, RocksOptions};
use crate::storage::{BaseStore, StorageError, StorageResult, VisitRecord};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// The store in one directory. To install a snapshot the directory is exchanged, for which the store
/// must be closed although the core holds it: whoever reads meanwhile waits, and then reads the new
/// one. The core applies and answers nothing from it until it was told of the exchange.
pub struct SwapBase {
    path: PathBuf,
    options: RocksOptions,
    store: RwLock<Option<RocksBase>>,
}

impl SwapBase {
    /// Holds this store, which lies in `path`.
    pub fn new(store: RocksBase, path: &Path, options: RocksOptions) -> Self {
        Self { path: path.to_path_buf(), options, store: RwLock::new(Some(store)) }
    }

    /// Closes the store, has `exchange` put another one in its place, and opens that.
    ///
    /// # Errors
    /// Those of `exchange` and of the new store. The node must stop: there is no store any more.
    pub fn exchange<T>(&self, exchange: impl FnOnce() -> StorageResult<T>) -> StorageResult<T> {
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        drop(store.take());
        let result = exchange()?;
        *store = Some(RocksBase::open(&self.path, &self.options)?);
        Ok(result)
    }

    fn with<T>(&self, act: impl FnOnce(&RocksBase) -> StorageResult<T>) -> StorageResult<T> {
        match &*self.lock() {
            Some(store) => act(store),
            None => Err(StorageError::State("the store was lost while a snapshot was installed".into())),
        }
    }

    fn lock(&self) -> RwLockReadGuard<'_, Option<RocksBase>> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BaseStore for SwapBase {
    fn get(&self, key: &[u8]) -> StorageResult<Option<Bytes>> {
        self.with(|store| store.get(key))
    }
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, visit: &mut VisitRecord<'_>) -> StorageResult<()> {
        self.with(|store| store.scan(from, to, reverse, visit))
    }
    fn write(&self, batch: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>) -> StorageResult<()> {
        self.with(|store| store.write(batch))
    }
    fn checkpoint(&self, into: &Path) -> StorageResult<()> {
        self.with(|store| store.checkpoint(into))
    }
    fn size_bytes(&self) -> u64 {
        self.lock().as_ref().map_or(0, BaseStore::size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_see_the_new_store() -> StorageResult<()> {
        let root = tempfile::tempdir().expect("a temporary directory");
        let (path, options) = (root.path().join("state"), RocksOptions::default());
        let put = |store: &dyn BaseStore, value: &'static [u8]| {
            store.write(&mut std::iter::once((&b"key"[..], Some(value))))
        };
        let other = root.path().join("other");
        let base = SwapBase::new(RocksBase::create(&other, &options)?, &other, options);
        put(&base, b"new")?;
        drop(base);
        let base = SwapBase::new(RocksBase::create(&path, &options)?, &path, options);
        put(&base, b"old")?;
        base.exchange(|| {
            std::fs::remove_dir_all(&path).expect("removed");
            std::fs::rename(&other, &path).expect("renamed");
            Ok(())
        })?;
        assert_eq!(base.get(b"key")?.as_deref(), Some(&b"new"[..]));
        assert!(base.exchange(|| Err::<(), _>(StorageError::State("broken".into()))).is_err());
        assert!(base.get(b"key").is_err(), "there is no store any more");
        Ok(())
    }
}
