//! RocksDB as a [`BaseStore`].
//!
//! * A batch is written as [`tables`], which the database takes over in one atomic step. There is no
//!   memtable and no write-ahead log: the Raft log is one, and what was not written is replayed from
//!   there.
//! * Every error is fatal to the node, background errors included: RocksDB refuses writes and
//!   flushes after one.

mod tables;

use self::tables::{TABLE_BYTES, Workshop};
use super::{BaseStore, REPLACE_MEMBER, StorageError, StorageResult, VisitRecord, io_error};
use bytes::Bytes;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB,
    DBCompressionType, Error, ErrorKind, IngestExternalFileOptions, LogLevel, LruCacheOptions, Options,
    ReadOptions,
};
use std::path::{Path, PathBuf};

/// Name of the column family that holds everything.
const STATE: &str = "state";
/// File that every RocksDB directory has.
const CURRENT: &str = "CURRENT";
const BLOOM_BITS_PER_KEY: f64 = 10.0;
const BLOCK_BYTES: usize = 8 << 10;
const PARTITION_BYTES: usize = 8 << 10;
const FIRST_LEVEL_BYTES: u64 = 64 << 20;
/// Tables of the first level that make a compaction due. A batch leaves two or three there.
const LEVEL_ZERO_TABLES: i32 = 24;
/// How much is written before the kernel is asked to begin writing back, so that the sync at the
/// end of a table does not starve the log's.
const BYTES_PER_SYNC: u64 = 1 << 20;
/// RocksDB's own log files (its info log) that are kept.
const INFO_LOGS: usize = 4;
const INFO_LOG_BYTES: usize = 4 << 20;

/// Memory and threads of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// Bytes of the cache for blocks, indexes and filters.
    pub cache_bytes: usize,
    /// Threads for compactions.
    pub background_jobs: i32,
    /// Open files; -1 for no limit.
    pub open_files_max: i32,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self { cache_bytes: 256 << 20, background_jobs: 2, open_files_max: 1024 }
    }
}

/// A RocksDB database; see the module.
pub struct RocksBase {
    db: DB,
    path: PathBuf,
    workshop: Workshop,
}

impl RocksBase {
    /// Creates an empty store in `path`, which must not hold one.
    ///
    /// # Errors
    /// Those of RocksDB, for one that a store exists.
    pub fn create(path: &Path, options: &RocksOptions) -> StorageResult<Self> {
        let mut all = database_options(options);
        all.create_if_missing(true);
        all.create_missing_column_families(true);
        all.set_error_if_exists(true);
        Self::open_with(&all, path, options)
    }

    /// Opens the store in `path`.
    ///
    /// # Errors
    /// Those of RocksDB; [`StorageError::WrongDirectory`] if there is no store.
    pub fn open(path: &Path, options: &RocksOptions) -> StorageResult<Self> {
        if !Self::exists(path)? {
            return Err(StorageError::WrongDirectory {
                path: path.to_path_buf(),
                what: "holds no state store".into(),
                advice: REPLACE_MEMBER,
            });
        }
        Self::open_with(&database_options(options), path, options)
    }

    /// Whether there is a store in `path`.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn exists(path: &Path) -> StorageResult<bool> {
        let current = path.join(CURRENT);
        current.try_exists().map_err(|error| io_error("look for", &current, error))
    }

    fn open_with(all: &Options, path: &Path, options: &RocksOptions) -> StorageResult<Self> {
        let family = family_options(options);
        let families = [
            ColumnFamilyDescriptor::new("default", Options::default()),
            ColumnFamilyDescriptor::new(STATE, family.clone()),
        ];
        let db = DB::open_cf_descriptors(all, path, families).map_err(|error| state_error(path, &error))?;
        let workshop = Workshop::open(path, family)?;
        Ok(Self { db, path: path.to_path_buf(), workshop })
    }

    fn state(&self) -> &ColumnFamily {
        self.db.cf_handle(STATE).expect("the column family was opened with the database")
    }

    fn error(&self, error: &Error) -> StorageError {
        state_error(&self.path, error)
    }
}

fn state_error(path: &Path, error: &Error) -> StorageError {
    let advice = match error.kind() {
        ErrorKind::Corruption => format!(". {REPLACE_MEMBER}"),
        _ => String::new(),
    };
    StorageError::State(format!("{}: {error}{advice}", path.display()))
}

fn database_options(options: &RocksOptions) -> Options {
    let mut all = Options::default();
    all.set_paranoid_checks(true);
    all.set_max_background_jobs(options.background_jobs);
    all.set_max_open_files(options.open_files_max);
    all.set_bytes_per_sync(BYTES_PER_SYNC);
    all.set_log_level(LogLevel::Warn);
    all.set_keep_log_file_num(INFO_LOGS);
    all.set_max_log_file_size(INFO_LOG_BYTES);
    all
}

/// A cache of few shards: the node reads from one thread, and a block must be far smaller than a
/// shard to be kept.
fn cache(bytes: usize) -> Cache {
    let mut options = LruCacheOptions::default();
    options.set_capacity(bytes);
    options.set_num_shard_bits(2);
    Cache::new_lru_cache_opts(&options)
}

fn family_options(options: &RocksOptions) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache(options.cache_bytes));
    // In partitions of a few KiB. Whole, the filter of a table of a million keys is larger than a
    // shard of a small cache: it would never stay, and every read would load it from the disk.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(PARTITION_BYTES);
    table.set_pin_top_level_index_and_filter(true);
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    // Counted against the cache, so that memory stays within what the configuration says.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);

    let mut family = Options::default();
    family.set_block_based_table_factory(&table);
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_target_file_size_base(TABLE_BYTES);
    family.set_max_bytes_for_level_base(FIRST_LEVEL_BYTES);
    // The sizes of the levels follow from the first. Otherwise they would follow from the last, which
    // holds history, and a level above would be as large as all else.
    family.set_level_compaction_dynamic_level_bytes(false);
    family.set_level_zero_file_num_compaction_trigger(LEVEL_ZERO_TABLES);
    family.set_level_zero_slowdown_writes_trigger(4 * LEVEL_ZERO_TABLES);
    family.set_level_zero_stop_writes_trigger(8 * LEVEL_ZERO_TABLES);
    family
}

impl BaseStore for RocksBase {
    fn get(&self, key: &[u8]) -> StorageResult<Option<Bytes>> {
        let value = self.db.get_pinned_cf(self.state(), key).map_err(|error| self.error(&error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, visit: &mut VisitRecord<'_>) -> StorageResult<()> {
        if from >= to {
            return Ok(());
        }
        let mut bounds = ReadOptions::default();
        bounds.set_iterate_lower_bound(from);
        bounds.set_iterate_upper_bound(to);
        let mut cursor = self.db.raw_iterator_cf_opt(self.state(), bounds);
        if reverse {
            cursor.seek_to_last();
        } else {
            cursor.seek_to_first();
        }
        while let Some((key, value)) = cursor.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            if reverse {
                cursor.prev();
            } else {
                cursor.next();
            }
        }
        cursor.status().map_err(|error| self.error(&error))
    }

    fn write(&self, batch: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>) -> StorageResult<()> {
        let made = self.workshop.make(batch).map_err(|error| self.error(&error))?;
        if made.is_empty() {
            return Ok(());
        }
        let mut moved = IngestExternalFileOptions::default();
        moved.set_move_files(true);
        let taken = self.db.ingest_external_file_cf_opts(self.state(), &moved, made);
        taken.map_err(|error| self.error(&error))
    }

    fn checkpoint(&self, into: &Path) -> StorageResult<()> {
        let checkpoint = Checkpoint::new(&self.db).map_err(|error| self.error(&error))?;
        checkpoint.create_checkpoint(into).map_err(|error| self.error(&error))
    }

    fn size_bytes(&self) -> u64 {
        // A property that cannot be read leaves a gap in a metric, no more.
        let bytes = self.db.property_int_value_cf(self.state(), "rocksdb.live-sst-files-size");
        bytes.ok().flatten().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::conformance;

    fn put(base: &RocksBase, key: &[u8], value: &[u8]) -> StorageResult<()> {
        base.write(&mut std::iter::once((key, Some(value))))
    }

    #[test]
    fn keeps_the_contract() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut count = 0;
        conformance::run(&mut || {
            count += 1;
            RocksBase::create(&dir.path().join(count.to_string()), &RocksOptions::default()).expect("create")
        });
    }

    #[test]
    fn a_store_reopens_and_a_checkpoint_is_a_store() -> StorageResult<()> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (path, copy) = (dir.path().join("state"), dir.path().join("copy"));
        let options = RocksOptions::default();
        assert!(matches!(RocksBase::open(&path, &options), Err(StorageError::WrongDirectory { .. })));
        let base = RocksBase::create(&path, &options)?;
        assert!(RocksBase::open(&path, &options).is_err(), "two at once");
        put(&base, b"a", b"1")?;
        put(&base, b"b", b"2")?;
        base.checkpoint(&copy)?;
        put(&base, b"c", b"3")?;
        drop(base);
        assert!(RocksBase::create(&path, &options).is_err(), "there is a store already");

        let base = RocksBase::open(&path, &options)?;
        assert_eq!(base.get(b"a")?, Some(Bytes::from("1")));
        assert!(base.size_bytes() > 0);
        let copy = RocksBase::open(&copy, &options)?;
        assert_eq!((copy.get(b"b")?, copy.get(b"c")?), (Some(Bytes::from("2")), None));
        Ok(())
    }

    #[test]
    fn history_goes_to_the_last_level_and_is_never_written_again() -> StorageResult<()> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let base = RocksBase::create(&dir.path().join("state"), &RocksOptions::default())?;
        let history = || -> Vec<(String, i32)> {
            let files = base.db.live_files().expect("the database tells");
            let begins_with = |key: &Option<Vec<u8>>| key.as_ref().is_some_and(|key| key.starts_with(b"h"));
            let of_history = files.into_iter().filter(|file| begins_with(&file.start_key));
            of_history.map(|file| (file.name, file.level)).collect()
        };
        let mut before = Vec::new();
        for batch in 0..3 * LEVEL_ZERO_TABLES {
            let keys = [format!("h{batch:05}"), format!("k{:02}", batch % 10), format!("v{batch:05}")];
            base.write(&mut keys.iter().map(|key| (key.as_bytes(), Some(&b"value"[..]))))?;
            let now = history();
            assert_eq!(now.len(), before.len() + 1, "one table for each batch");
            assert!(before.iter().all(|table| now.contains(table)), "a table was written again");
            before = now;
        }
        assert!(before.iter().all(|(_, level)| *level == 6), "{before:?}");
        Ok(())
    }

    #[test]
    fn a_damaged_table_is_reported_with_advice() -> StorageResult<()> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("state");
        let base = RocksBase::create(&path, &RocksOptions::default())?;
        let keys: Vec<[u8; 4]> = (0..2000_u32).map(u32::to_be_bytes).collect();
        base.write(&mut keys.iter().map(|key| (&key[..], Some(&[7; 100][..]))))?;
        drop(base);
        for entry in std::fs::read_dir(&path).expect("list") {
            let file = entry.expect("entry").path();
            if file.extension().is_some_and(|extension| extension == "sst") {
                let mut bytes = std::fs::read(&file).expect("read");
                bytes[100] ^= 1;
                std::fs::write(&file, bytes).expect("write");
            }
        }
        let base = RocksBase::open(&path, &RocksOptions::default())?;
        let error = base.get(&0_u32.to_be_bytes()).expect_err("damage").to_string();
        assert!(error.contains("Corruption") && error.contains("empty data directory"), "{error}");
        Ok(())
    }
}
