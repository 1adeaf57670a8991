//! A disk that fails as disks do: it loses what was not synced, tears writes, rots, fills up, and
//! refuses to sync.
//!
//! The disk outlives the process that uses it. [`SimDisk::power_cut`] decides what survives;
//! [`SimDisk::arm`] makes the power go in the middle of a later operation.

use super::chance::Chance;
use oarlock_server::storage::disk::{Disk, File};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Writes reach the platter in units of this many bytes. Smaller than real ones, so that a tear
/// falls inside of most writes.
const SECTOR_BYTES: usize = 128;

/// How far from its place a misplaced write lands.
const MISPLACED_BY: usize = 4 * SECTOR_BYTES;

/// What the next operations come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The power goes after so many more changing operations.
    PowerCut {
        /// Operations that still succeed.
        operations: u64,
    },
    /// The next sync fails, once.
    SyncFails,
    /// The next write is acknowledged and does not happen, once.
    LosesWrite,
    /// The next write is acknowledged and goes to another place of the file, once.
    MisplacesWrite,
    /// The disk takes so many bytes more.
    Full {
        /// Bytes that still fit.
        bytes: u64,
    },
}

/// A disk in memory; clones share it. One directory.
#[derive(Clone, Default)]
pub struct SimDisk {
    platter: Arc<Mutex<Platter>>,
}

#[derive(Default)]
struct Platter {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    /// Names as they were before each change since the last sync of the directory.
    names_before: Vec<BTreeMap<PathBuf, usize>>,
    trouble: Option<Trouble>,
    /// Counts what ever failed, by the name of the trouble.
    struck: Option<&'static str>,
    /// Something that was acknowledged did not happen.
    lied: bool,
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    /// Sectors written since the last sync, as they were on the platter before.
    unsynced: BTreeMap<usize, Vec<u8>>,
    /// Sectors whose sync failed, as they are on the platter: they count as clean, and no later sync
    /// writes them, until somebody writes them again.
    dropped: BTreeMap<usize, Vec<u8>>,
    /// Length on the platter.
    durable_len: usize,
}

struct SimFile {
    platter: Arc<Mutex<Platter>>,
    file: usize,
}

impl SimDisk {
    /// Lets trouble come.
    pub fn arm(&self, trouble: Trouble) {
        self.lock().trouble = Some(trouble);
    }

    /// Whether trouble is still to come.
    pub fn is_armed(&self) -> bool {
        self.lock().trouble.is_some()
    }

    /// Takes trouble away (also: somebody freed space).
    pub fn disarm(&self) {
        self.lock().trouble = None;
    }

    /// What struck since the last call, if anything.
    pub fn take_struck(&self) -> Option<&'static str> {
        self.lock().struck.take()
    }

    /// Whether something that was acknowledged did not happen.
    pub fn has_lied(&self) -> bool {
        self.lock().lied
    }

    /// The machine loses power: each unsynced sector and each unsynced change of a name may or may
    /// not have reached the platter. With `kill` the process alone dies, and nothing is lost.
    pub fn power_cut(&self, chance: &mut Chance, kill: bool) {
        let mut platter = self.lock();
        platter.trouble = None;
        if kill {
            return;
        }
        let kept = chance.below(platter.names_before.len() as u64 + 1) as usize;
        if let Some(names) = platter.names_before.get(kept) {
            platter.names = names.clone();
        }
        platter.names_before.clear();
        for file in &mut platter.files {
            file.tear(chance);
        }
    }

    /// Flips one bit of a file that is in use by nobody, at a random place that holds data.
    /// Returns the file's name.
    pub fn rot(&self, chance: &mut Chance) -> Option<PathBuf> {
        let mut platter = self.lock();
        let names: Vec<(PathBuf, usize)> = platter.names.iter().map(|(p, f)| (p.clone(), *f)).collect();
        if names.is_empty() {
            return None;
        }
        for _ in 0..64 {
            let (name, file) = chance.pick(&names).clone();
            let bytes = &mut platter.files[file].bytes;
            if bytes.is_empty() {
                continue;
            }
            let at = chance.below(bytes.len() as u64) as usize;
            // Zeros are mostly preallocated space, where nothing can be damaged.
            if bytes[at] != 0 {
                bytes[at] ^= 1 << chance.below(8);
                return Some(name);
            }
        }
        None
    }

    /// Forgets everything: a new disk in the same machine.
    pub fn wipe(&self) {
        *self.lock() = Platter::default();
    }

    /// Bytes in files.
    pub fn used_bytes(&self) -> u64 {
        let platter = self.lock();
        platter.names.values().map(|file| platter.files[*file].bytes.len() as u64).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().expect("the simulator has one thread and ends at a panic")
    }
}

impl Content {
    /// Keeps each sector's old content until the next sync.
    fn remember(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES) {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.bytes.len());
            let before = match self.dropped.remove(&sector) {
                Some(platter) => platter,
                None => self.bytes.get(start..end).unwrap_or_default().to_vec(),
            };
            self.unsynced.entry(sector).or_insert(before);
        }
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.durable_len = self.bytes.len();
    }

    /// A sync failed: what was to be written counts as written, and is not.
    fn drop_unsynced(&mut self) {
        for (sector, old) in std::mem::take(&mut self.unsynced) {
            self.dropped.entry(sector).or_insert(old);
        }
    }

    fn tear(&mut self, chance: &mut Chance) {
        // Everything survives, nothing does, or each sector by itself.
        let mode = chance.below(4);
        let lost = |chance: &mut Chance| match mode {
            0 => true,
            1 => false,
            _ => chance.one_in(2),
        };
        let dropped = std::mem::take(&mut self.dropped).into_iter().map(|(sector, old)| (sector, old, true));
        let unsynced =
            std::mem::take(&mut self.unsynced).into_iter().map(|(sector, old)| (sector, old, false));
        for (sector, old, gone) in dropped.chain(unsynced) {
            if !gone && !lost(chance) {
                continue;
            }
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.bytes.len());
            let Some(place) = self.bytes.get_mut(start..end) else { continue };
            let common = place.len().min(old.len());
            place[..common].copy_from_slice(&old[..common]);
            place[common..].fill(0);
        }
        if self.bytes.len() != self.durable_len && lost(chance) {
            self.bytes.resize(self.durable_len, 0);
        }
        self.durable_len = self.bytes.len();
    }
}

impl Platter {
    /// Counts a changing operation; an error if it is the one that trouble waits for.
    fn begin(&mut self) -> io::Result<()> {
        match &mut self.trouble {
            Some(Trouble::PowerCut { operations: 0 }) => {
                self.struck = Some("power cut");
                Err(io::Error::other("the power is gone"))
            }
            Some(Trouble::PowerCut { operations }) => {
                *operations -= 1;
                Ok(())
            }
            Some(
                Trouble::SyncFails | Trouble::LosesWrite | Trouble::MisplacesWrite | Trouble::Full { .. },
            )
            | None => Ok(()),
        }
    }

    fn claim(&mut self, growth: u64) -> io::Result<()> {
        match &mut self.trouble {
            Some(Trouble::Full { bytes }) if *bytes < growth => {
                self.struck = Some("disk full");
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(Trouble::Full { bytes }) => {
                *bytes -= growth;
                Ok(())
            }
            Some(
                Trouble::PowerCut { .. } | Trouble::SyncFails | Trouble::LosesWrite | Trouble::MisplacesWrite,
            )
            | None => Ok(()),
        }
    }

    fn sync_fails(&mut self) -> bool {
        let fails = self.trouble == Some(Trouble::SyncFails);
        if fails {
            self.trouble = None;
            self.struck = Some("sync failure");
        }
        fails
    }

    /// How the disk deceives about the write that is under way.
    fn lie(&mut self) -> Option<Trouble> {
        let lie = self.trouble.take_if(|it| matches!(it, Trouble::LosesWrite | Trouble::MisplacesWrite));
        self.lied |= lie.is_some();
        lie
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remember_names(&mut self) {
        let names = self.names.clone();
        self.names_before.push(names);
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = self.lock().file(path)?;
        Ok(Box::new(SimFile { platter: self.platter.clone(), file }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut platter = self.lock();
        platter.begin()?;
        if platter.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        platter.remember_names();
        let file = platter.files.len();
        platter.files.push(Content::default());
        platter.names.insert(path.to_path_buf(), file);
        Ok(Box::new(SimFile { platter: self.platter.clone(), file }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut platter = self.lock();
        platter.begin()?;
        platter.file(path)?;
        platter.remember_names();
        platter.names.remove(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut platter = self.lock();
        platter.begin()?;
        let file = platter.file(from)?;
        platter.remember_names();
        platter.names.remove(from);
        platter.names.insert(to.to_path_buf(), file);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let platter = self.lock();
        Ok(platter
            .names
            .keys()
            .filter_map(|path| path.strip_prefix(dir).ok().map(Path::to_path_buf))
            .collect())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut platter = self.lock();
        platter.begin()?;
        if platter.sync_fails() {
            return Err(io::Error::other("sync of the directory failed"));
        }
        platter.names_before.clear();
        Ok(())
    }
}

impl SimFile {
    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().expect("the simulator has one thread and ends at a panic")
    }
}

impl File for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let platter = self.lock();
        let start = offset as usize;
        let bytes = platter.files[self.file].bytes.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.lock();
        let begun = platter.begin();
        // The power may go in the middle of a write.
        let written = if begun.is_ok() { data.len() } else { data.len() / 2 };
        let (start, end) = (offset as usize, offset as usize + written);
        let growth = end.saturating_sub(platter.files[self.file].bytes.len());
        platter.claim(growth as u64)?;
        let lie = platter.lie();
        let file = &mut platter.files[self.file];
        file.remember(start, end);
        if growth > 0 {
            file.bytes.resize(end, 0);
        }
        let (start, end) = match lie {
            None => (start, end),
            Some(Trouble::MisplacesWrite) if end + MISPLACED_BY <= file.bytes.len() => {
                file.remember(start + MISPLACED_BY, end + MISPLACED_BY);
                (start + MISPLACED_BY, end + MISPLACED_BY)
            }
            Some(_) => return begun,
        };
        file.bytes[start..end].copy_from_slice(&data[..written]);
        begun
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut platter = self.lock();
        platter.begin()?;
        if platter.sync_fails() {
            // As after a real failed fsync: the pages count as clean, and did not reach the platter.
            platter.files[self.file].drop_unsynced();
            return Err(io::Error::other("sync failed"));
        }
        platter.files[self.file].sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().files[self.file].bytes.len() as u64)
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let mut platter = self.lock();
        platter.begin()?;
        let growth = length.saturating_sub(platter.files[self.file].bytes.len() as u64);
        platter.claim(growth)?;
        let file = &mut platter.files[self.file];
        let old_len = file.bytes.len();
        if (length as usize) < old_len {
            file.remember(length as usize, old_len);
        }
        file.bytes.resize(length as usize, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(disk: &SimDisk, sync: bool) {
        let mut file = disk.create(Path::new("a")).expect("new");
        disk.sync_dir(Path::new("")).expect("no trouble");
        file.write_at(0, &[1; 1000]).expect("no trouble");
        file.sync().expect("no trouble");
        file.write_at(500, &[2; 1000]).expect("no trouble");
        if sync {
            file.sync().expect("no trouble");
        }
    }

    fn content(disk: &SimDisk) -> Vec<u8> {
        let file = disk.open(Path::new("a")).expect("exists");
        let mut bytes = vec![0; file.len().expect("known") as usize];
        file.read_at(0, &mut bytes).expect("within");
        bytes
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_may_not() {
        let mut torn = 0;
        for seed in 0..64 {
            let mut chance = Chance::new(seed);
            let disk = SimDisk::default();
            written(&disk, true);
            let whole = content(&disk);
            disk.power_cut(&mut chance, false);
            assert_eq!(content(&disk), whole);

            let disk = SimDisk::default();
            written(&disk, false);
            disk.power_cut(&mut chance, false);
            let after = content(&disk);
            assert_eq!(after[..384], [1; 384], "sectors that were not written again stay");
            torn += usize::from(after != whole && after.contains(&2));
        }
        assert!(torn > 0, "some write was torn in the middle");
    }

    #[test]
    fn what_a_failed_sync_dropped_no_later_sync_brings_back() {
        let disk = SimDisk::default();
        let mut file = disk.create(Path::new("a")).expect("new");
        disk.sync_dir(Path::new("")).expect("no trouble");
        file.write_at(0, &[1; 512]).expect("no trouble");
        file.sync().expect("no trouble");
        file.write_at(0, &[2; 256]).expect("no trouble");
        disk.arm(Trouble::SyncFails);
        assert!(file.sync().is_err());
        assert_eq!(content(&disk)[..256], [2; 256], "the cache shows it");
        file.write_at(0, &[3; 128]).expect("no trouble");
        file.sync().expect("the second time it works");
        disk.power_cut(&mut Chance::new(1), false);
        let after = content(&disk);
        assert_eq!(after[..128], [3; 128], "written again and synced");
        assert_eq!(after[128..512], [1; 384], "counted as clean, and was not written");
    }

    #[test]
    fn a_killed_process_loses_nothing() {
        let disk = SimDisk::default();
        written(&disk, false);
        let whole = content(&disk);
        disk.power_cut(&mut Chance::new(1), true);
        assert_eq!(content(&disk), whole);
    }

    #[test]
    fn trouble_strikes_where_it_should() {
        let disk = SimDisk::default();
        written(&disk, true);
        let mut file = disk.open(Path::new("a")).expect("exists");
        disk.arm(Trouble::SyncFails);
        assert!(file.sync().is_err());
        assert!(file.sync().is_ok(), "only once, as the kernel reports it");
        disk.arm(Trouble::Full { bytes: 10 });
        assert!(file.write_at(0, &[3; 100]).is_ok(), "space that is there already");
        assert!(file.write_at(1495, &[3; 100]).is_err());
        disk.arm(Trouble::PowerCut { operations: 1 });
        assert!(file.sync().is_ok());
        assert!(file.sync().is_err());
        assert_eq!(disk.take_struck(), Some("power cut"));
    }

    #[test]
    fn a_disk_that_lies_says_that_all_is_well() {
        for (trouble, at) in [(Trouble::LosesWrite, None), (Trouble::MisplacesWrite, Some(MISPLACED_BY))] {
            let disk = SimDisk::default();
            written(&disk, true);
            let before = content(&disk);
            disk.arm(trouble);
            let mut file = disk.open(Path::new("a")).expect("exists");
            file.write_at(0, &[7; 10]).expect("it says so");
            file.sync().expect("it says so");
            assert!(disk.has_lied());
            let found = content(&disk).windows(10).position(|bytes| bytes == [7; 10]);
            assert_eq!(found, at);
            assert!(at.is_some() || content(&disk) == before);
            file.write_at(0, &[7; 10]).expect("only once");
            assert_eq!(content(&disk)[..10], [7; 10]);
        }
    }

    #[test]
    fn names_are_lost_until_the_directory_is_synced() {
        let mut lost = 0;
        for seed in 0..16 {
            let disk = SimDisk::default();
            disk.create(Path::new("a")).expect("new");
            disk.power_cut(&mut Chance::new(seed), false);
            lost += usize::from(disk.open(Path::new("a")).is_err());
        }
        assert!((1..16).contains(&lost));
    }
}
