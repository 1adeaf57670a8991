//! What the file system and its owner share, and how each request is done: past the gate, on the store.

use super::faults::{Asks, Gate, Refused, Sync};
use super::names::Spot;
use super::store::{Open, Store};
use fuser::{Errno, FileAttr, FileType, INodeNo, Request, TimeOrNow};
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, OFlag, fallocate};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// What the file system and its owner share.
#[derive(Debug)]
pub(super) struct Shared {
    store: Mutex<Store>,
    pub(super) gate: Gate,
    /// Whether syncs reach the real disk.
    pub(super) is_synced_for_real: AtomicBool,
    pub(super) dir: PathBuf,
}

impl Shared {
    pub(super) fn new(store: Store, gate: Gate, dir: &Path) -> Self {
        let is_synced_for_real = AtomicBool::new(true);
        Self { store: Mutex::new(store), gate, is_synced_for_real, dir: dir.to_owned() }
    }

    /// A panic in a request leaves at worst that request half done, as an error of the disk would.
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn admit(&self, req: &Request, asks: Asks) -> Result<(), Errno> {
        self.gate.admit(req.pid(), asks).map_err(|refused| match refused {
            Refused::Io => Errno::EIO,
            Refused::NoRoom => Errno::ENOSPC,
        })
    }

    /// Something that needs room if it makes the file longer.
    fn admit_to(&self, req: &Request, open: &Open, end: u64) -> Result<(), Errno> {
        let grows = end > open.file.metadata()?.len();
        self.admit(req, if grows { Asks::Room } else { Asks::Write })
    }

    pub(super) fn write(
        &self,
        req: &Request,
        handle: u64,
        offset: u64,
        bytes: &[u8],
        flags: i32,
    ) -> Result<u32, Errno> {
        let open = self.store().opened(handle)?;
        self.admit_to(req, &open, offset + bytes.len() as u64)?;
        {
            let mut unsynced = open.unsynced();
            unsynced.keep(offset, bytes.len() as u64)?;
            open.file.write_all_at(bytes, offset)?;
        }
        if OFlag::from_bits_truncate(flags).intersects(OFlag::O_SYNC | OFlag::O_DSYNC) {
            self.sync(req, handle)?;
        }
        Ok(u32::try_from(bytes.len()).expect("the kernel's writes are short"))
    }

    pub(super) fn allocate(
        &self,
        req: &Request,
        handle: u64,
        (offset, length): (u64, u64),
        mode: i32,
    ) -> Result<(), Errno> {
        let clears = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_ZERO_RANGE;
        let known = FallocateFlags::FALLOC_FL_KEEP_SIZE | clears;
        let flags = FallocateFlags::from_bits(mode).filter(|flags| known.contains(*flags));
        let flags = flags.ok_or(Errno::EOPNOTSUPP)?;
        let open = self.store().opened(handle)?;
        self.admit_to(req, &open, offset + length)?;
        let mut unsynced = open.unsynced();
        if flags.intersects(clears) {
            unsynced.keep(offset, length)?;
        }
        let signed = |number: u64| i64::try_from(number).map_err(|_| Errno::EFBIG);
        Ok(fallocate(&*open.file, flags, signed(offset)?, signed(length)?).map_err(io::Error::from)?)
    }

    pub(super) fn sync(&self, req: &Request, handle: u64) -> Result<(), Errno> {
        let ended = self.gate.admit_sync(req.pid());
        let open = self.store().opened(handle)?;
        match ended {
            Sync::Ignored => return Ok(()),
            Sync::Abandoned => return Err(Errno::EIO),
            Sync::Failed => {
                open.unsynced().sync_failed();
                return Err(Errno::EIO);
            }
            Sync::Done => {}
        }
        let has_new_length = {
            let mut unsynced = open.unsynced();
            let has_new_length = unsynced.is_length_unsynced()?;
            unsynced.synced()?;
            has_new_length
        };
        let graves = self.store().synced(open.inode, has_new_length);
        self.bury(&graves)?;
        if self.is_synced_for_real.load(Ordering::Relaxed) { Ok(open.file.sync_data()?) } else { Ok(()) }
    }

    pub(super) fn sync_dir(&self, req: &Request) -> Result<(), Errno> {
        match self.gate.admit_sync(req.pid()) {
            Sync::Ignored => Ok(()),
            Sync::Abandoned | Sync::Failed => Err(Errno::EIO),
            Sync::Done => {
                let graves = self.store().names_synced();
                self.bury(&graves)
            }
        }
    }

    /// Removes files for good. The store is not locked meanwhile, for a large file takes a while.
    fn bury(&self, graves: &[Spot]) -> Result<(), Errno> {
        if graves.is_empty() {
            return Ok(());
        }
        graves.iter().try_for_each(Spot::remove).map_err(io::Error::from)?;
        self.store().forget_dead();
        Ok(())
    }

    pub(super) fn set(&self, req: &Request, inode: u64, asked: &Attributes) -> Result<FileAttr, Errno> {
        self.admit(req, Asks::Change)?;
        if let Some(length) = asked.length {
            let grows = length > u64::try_from(self.stat(inode)?.st_size).unwrap_or(0);
            self.admit(req, if grows { Asks::Room } else { Asks::Write })?;
            self.store().truncate(inode, length)?;
        }
        let path = self.store().path(inode).map_err(io::Error::from)?;
        asked.apply(&path).map_err(io::Error::from)?;
        let stat = self.stat(inode)?;
        Ok(self.attributes(&stat))
    }

    pub(super) fn stat(&self, inode: u64) -> Result<FileStat, Errno> {
        Ok(self.store().stat(inode).map_err(io::Error::from)?)
    }

    pub(super) fn attributes(&self, stat: &FileStat) -> FileAttr {
        let number = self.store().number(stat);
        attributes(number, stat)
    }

    /// Does something that ends with a name for a file.
    pub(super) fn enter(
        &self,
        req: &Request,
        asks: Asks,
        deed: impl FnOnce(&mut Store) -> io::Result<FileStat>,
    ) -> Result<FileAttr, Errno> {
        self.admit(req, asks)?;
        let mut store = self.store();
        let stat = deed(&mut store)?;
        Ok(attributes(store.number(&stat), &stat))
    }
}

/// Attributes that are to change.
pub(super) struct Attributes {
    pub(super) mode: Option<u32>,
    pub(super) owner: Option<u32>,
    pub(super) group: Option<u32>,
    pub(super) length: Option<u64>,
    pub(super) accessed: Option<TimeOrNow>,
    pub(super) modified: Option<TimeOrNow>,
}

impl Attributes {
    /// All but the length, which the store must know of.
    fn apply(&self, path: &Path) -> nix::Result<()> {
        if let Some(mode) = self.mode {
            fchmodat(AT_FDCWD, path, Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)?;
        }
        if self.owner.is_some() || self.group.is_some() {
            let (owner, group) = (self.owner.map(Uid::from_raw), self.group.map(Gid::from_raw));
            fchownat(AT_FDCWD, path, owner, group, AtFlags::empty())?;
        }
        if self.accessed.is_some() || self.modified.is_some() {
            let (accessed, modified) = (time_spec(self.accessed), time_spec(self.modified));
            utimensat(AT_FDCWD, path, &accessed, &modified, UtimensatFlags::FollowSymlink)?;
        }
        Ok(())
    }
}

fn time_spec(time: Option<TimeOrNow>) -> TimeSpec {
    match time {
        None => TimeSpec::UTIME_OMIT,
        Some(TimeOrNow::Now) => TimeSpec::UTIME_NOW,
        Some(TimeOrNow::SpecificTime(time)) => {
            TimeSpec::from_duration(time.duration_since(UNIX_EPOCH).unwrap_or_default())
        }
    }
}

fn attributes(number: u64, stat: &FileStat) -> FileAttr {
    let time = |seconds: i64, nanos: i64| {
        let since = Duration::new(seconds.max(0).unsigned_abs(), u32::try_from(nanos).unwrap_or(0));
        UNIX_EPOCH + since
    };
    let format = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    let kind = match format {
        SFlag::S_IFDIR => FileType::Directory,
        SFlag::S_IFLNK => FileType::Symlink,
        SFlag::S_IFIFO => FileType::NamedPipe,
        SFlag::S_IFSOCK => FileType::Socket,
        SFlag::S_IFCHR => FileType::CharDevice,
        SFlag::S_IFBLK => FileType::BlockDevice,
        _ => FileType::RegularFile,
    };
    FileAttr {
        ino: INodeNo(number),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind,
        perm: u16::try_from(stat.st_mode & 0o7777).expect("twelve bits"),
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
