//! A disk for tests: loses and tears what was not synced, fills up, and fails on demand.

use super::disk::{Disk, File};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Writes reach the platter in units of this many bytes.
const SECTOR_BYTES: usize = 64;

/// A small random sequence, the same for the same seed.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A disk in memory; clones share it.
#[derive(Clone, Default)]
pub(super) struct FaultDisk {
    world: Arc<Mutex<World>>,
}

#[derive(Clone, Default)]
struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    /// Names as of each change of a directory since the last sync; the first ones are durable.
    names_history: Vec<BTreeMap<PathBuf, usize>>,
    /// Operations until the power goes.
    operations_left: Option<u64>,
    /// Bytes until the disk is full.
    space_left: Option<u64>,
    operations: u64,
}

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
}

struct FaultFile {
    world: Arc<Mutex<World>>,
    inode: usize,
}

impl FaultDisk {
    /// The power goes at the operation after `operations` more.
    pub(super) fn stop_after(&self, operations: u64) {
        self.lock().operations_left = Some(operations);
    }

    /// The disk takes `bytes` more.
    pub(super) fn limit_space(&self, bytes: u64) {
        self.lock().space_left = Some(bytes);
    }

    /// Operations that changed something so far.
    pub(super) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The disk after a power cut: unsynced sectors and names may or may not be there.
    pub(super) fn after_power_cut(&self, chance: &mut Chance) -> Self {
        let mut world = self.lock().clone();
        let cut = chance.below(world.names_history.len() as u64 + 1) as usize;
        if let Some(names) = world.names_history.get(cut) {
            world.names = names.clone();
        }
        world.names_history.clear();
        (world.operations_left, world.space_left) = (None, None);
        for inode in &mut world.inodes {
            inode.tear(chance);
        }
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// An independent copy of everything, as the processes saw it.
    pub(super) fn copy(&self) -> Self {
        let mut world = self.lock().clone();
        (world.operations_left, world.space_left) = (None, None);
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// Changes a file behind everybody's back.
    pub(super) fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.lock();
        let inode = world.names[path];
        change(&mut world.inodes[inode].current);
        world.inodes[inode].durable = world.inodes[inode].current.clone();
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics while it holds the disk")
    }
}

impl Inode {
    fn tear(&mut self, chance: &mut Chance) {
        let whole = chance.below(3);
        for (position, sector) in self.current.chunks(SECTOR_BYTES).enumerate() {
            let start = position * SECTOR_BYTES;
            let kept = match whole {
                0 => false,
                1 => true,
                _ => chance.below(2) == 0,
            };
            if kept {
                if self.durable.len() < start + sector.len() {
                    self.durable.resize(start + sector.len(), 0);
                }
                self.durable[start..start + sector.len()].copy_from_slice(sector);
            }
        }
        self.current = self.durable.clone();
    }
}

impl World {
    fn begin(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.operations_left {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn claim(&mut self, bytes: u64) -> io::Result<()> {
        match &mut self.space_left {
            Some(left) if *left < bytes => Err(io::ErrorKind::StorageFull.into()),
            Some(left) => {
                *left -= bytes;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn remember_names(&mut self) {
        self.names_history.push(self.names.clone());
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for FaultDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let inode = self.lock().inode(path)?;
        Ok(Box::new(FaultFile { world: self.world.clone(), inode }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut world = self.lock();
        world.begin()?;
        if world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.remember_names();
        world.inodes.push(Inode::default());
        let inode = world.inodes.len() - 1;
        world.names.insert(path.to_path_buf(), inode);
        Ok(Box::new(FaultFile { world: self.world.clone(), inode }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.lock();
        world.begin()?;
        world.inode(path)?;
        world.remember_names();
        world.names.remove(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.lock();
        world.begin()?;
        let inode = world.inode(from)?;
        world.remember_names();
        world.names.remove(from);
        world.names.insert(to.to_path_buf(), inode);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let world = self.lock();
        Ok(world.names.keys().filter_map(|path| path.strip_prefix(dir).ok().map(Path::to_path_buf)).collect())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut world = self.lock();
        world.begin()?;
        world.names_history.clear();
        Ok(())
    }
}

impl FaultFile {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics while it holds the disk")
    }
}

impl File for FaultFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let world = self.lock();
        let start = offset as usize;
        let bytes = world.inodes[self.inode].current.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut world = self.lock();
        let begun = world.begin();
        // The power may go in the middle of a write.
        let written = if begun.is_ok() { data.len() } else { data.len() / 2 };
        let end = offset as usize + written;
        let growth = end.saturating_sub(world.inodes[self.inode].current.len());
        world.claim(growth as u64)?;
        let current = &mut world.inodes[self.inode].current;
        current.resize(current.len() + growth, 0);
        current[offset as usize..end].copy_from_slice(&data[..written]);
        begun
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut world = self.lock();
        world.begin()?;
        let inode = &mut world.inodes[self.inode];
        inode.durable = inode.current.clone();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().inodes[self.inode].current.len() as u64)
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let mut world = self.lock();
        world.begin()?;
        let growth = length.saturating_sub(world.inodes[self.inode].current.len() as u64);
        world.claim(growth)?;
        world.inodes[self.inode].current.resize(length as usize, 0);
        Ok(())
    }
}
