//! Batches become table files, which the database takes over as they are.
//!
//! A batch comes sorted, so nothing is gained by sorting it again in a memtable. It is cut where the
//! spaces of the state differ in how they grow: a table that holds history alone lies beyond all
//! history before it, so the database puts it into the last level, and no compaction ever touches it
//! again until it is reclaimed. In one table with the rest it would overlap everything.

use crate::storage::{StorageResult, io_error};
use oarlock_state::keys::Space;
use rocksdb::{Error, Options, SstFileWriter};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes from which on a table is complete. Each is synced when it is, and a long sync would keep
/// the log's waiting.
pub(super) const TABLE_BYTES: u64 = 8 << 20;

/// What may share a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    BeforeHistory,
    HistoryRemoved,
    HistoryAdded,
    BeforeVersions,
    Versions,
}

impl Part {
    fn of(key: &[u8], removes: bool) -> Self {
        match key.first().copied().unwrap_or(0) {
            space if space < Space::History.byte() => Self::BeforeHistory,
            space if space == Space::History.byte() && removes => Self::HistoryRemoved,
            space if space == Space::History.byte() => Self::HistoryAdded,
            space if space < Space::Versions.byte() => Self::BeforeVersions,
            _ => Self::Versions,
        }
    }
}

/// The place where tables are made, inside of the database's directory so that a link leads there.
pub(super) struct Workshop {
    path: PathBuf,
    options: Options,
    made: AtomicU64,
}

impl Workshop {
    /// Below the database's directory `database`. What an earlier life left unfinished is removed.
    pub(super) fn open(database: &Path, options: Options) -> StorageResult<Self> {
        let path = database.join("incoming");
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|error| io_error("remove", &path, error))?;
        }
        fs::create_dir_all(&path).map_err(|error| io_error("create", &path, error))?;
        Ok(Self { path, options, made: AtomicU64::new(0) })
    }

    /// Writes the batch, whose keys ascend, as tables that do not overlap, and syncs them.
    pub(super) fn make(
        &self,
        batch: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>,
    ) -> Result<Vec<PathBuf>, Error> {
        let mut made = Vec::new();
        let mut open: Option<(Part, SstFileWriter<'_>)> = None;
        for (key, value) in batch {
            let part = Part::of(key, value.is_none());
            if let Some((_, mut full)) =
                open.take_if(|(begun, table)| *begun != part || table.file_size() >= TABLE_BYTES)
            {
                full.finish()?;
            }
            let (_, table) = match &mut open {
                Some(open) => open,
                none => {
                    let number = self.made.fetch_add(1, Relaxed);
                    let path = self.path.join(format!("{number}.sst"));
                    let table = SstFileWriter::create(&self.options);
                    table.open(&path)?;
                    made.push(path);
                    none.insert((part, table))
                }
            };
            match value {
                Some(value) => table.put(key, value)?,
                None => table.delete(key)?,
            }
        }
        if let Some((_, mut last)) = open {
            last.finish()?;
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::fault_disk::Chance;

    #[test]
    fn history_has_tables_of_its_own() -> Result<(), Error> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let left_over = dir.path().join("incoming").join("9.sst");
        fs::create_dir_all(dir.path().join("incoming")).expect("created");
        fs::write(&left_over, "half a table").expect("written");
        let workshop = Workshop::open(dir.path(), Options::default()).expect("open");
        assert!(!left_over.exists());
        let tables = |batch: &[(&'static str, Option<&'static str>)]| {
            let mut records = batch.iter().map(|(key, value)| (key.as_bytes(), value.map(str::as_bytes)));
            workshop.make(&mut records).map(|tables| tables.len())
        };
        assert_eq!(tables(&[])?, 0);
        assert_eq!(tables(&[("\0applied", Some("1")), ("a", None), ("k", Some("v")), ("v", None)])?, 3);
        assert_eq!(tables(&[("h1", None), ("h2", None), ("h8", Some("e")), ("h9", Some("e"))])?, 2);
        assert!(tables(&[("b", None), ("a", None)]).is_err(), "keys ascend");
        Ok(())
    }

    #[test]
    fn a_table_is_not_larger_than_a_sync_may_take() -> Result<(), Error> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let workshop = Workshop::open(dir.path(), Options::default()).expect("open");
        let mut noise = Chance(1); // which does not compress
        let mut value = || -> Vec<u8> { (0..64 << 10).map(|_| noise.below(256) as u8).collect() };
        let values: Vec<Vec<u8>> = (0..300).map(|_| value()).collect();
        let keys: Vec<String> = (0..300_u32).map(|number| format!("k{number:09}")).collect();
        let records = keys.iter().zip(&values).map(|(key, value)| (key.as_bytes(), Some(&value[..])));
        let made = workshop.make(&mut { records })?;
        let sizes: Vec<u64> = made.iter().map(|path| fs::metadata(path).expect("made").len()).collect();
        assert_eq!(sizes.len(), 3, "19 MiB in tables of 8: {sizes:?}");
        assert!(sizes.iter().all(|size| *size < TABLE_BYTES + (1 << 20)), "{sizes:?}");
        Ok(())
    }
}
