//! The file system's face to the kernel: each request passes the gate and is done on the store.

use super::faults::{Asks, Gate, Refused, Sync};
use super::names::Spot;
use super::store::{DirEntry, Open, Store};
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, OFlag, fallocate};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the kernel may believe what it was told of names and attributes. Not at all: a power cut
/// changes them behind its back.
const TTL: Duration = Duration::ZERO;
/// The largest write in one piece.
const WRITE_BYTES_MAX: u32 = 1 << 20;

/// What the file system and its owner share.
#[derive(Debug)]
pub(super) struct Shared {
    store: Mutex<Store>,
    pub(super) gate: Gate,
    /// Whether syncs reach the real disk.
    pub(super) is_synced_for_real: AtomicBool,
    dir: PathBuf,
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

    fn admit(&self, req: &Request, asks: Asks) -> Result<(), Errno> {
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

    fn write(&self, req: &Request, handle: u64, offset: u64, bytes: &[u8], flags: i32) -> Result<u32, Errno> {
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

    fn allocate(
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

    fn sync(&self, req: &Request, handle: u64) -> Result<(), Errno> {
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

    fn sync_dir(&self, req: &Request) -> Result<(), Errno> {
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

    fn set(&self, req: &Request, inode: u64, asked: &Attributes) -> Result<FileAttr, Errno> {
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

    fn stat(&self, inode: u64) -> Result<FileStat, Errno> {
        Ok(self.store().stat(inode).map_err(io::Error::from)?)
    }

    fn attributes(&self, stat: &FileStat) -> FileAttr {
        let number = self.store().number(stat);
        attributes(number, stat)
    }

    /// Does something that ends with a name for a file.
    fn enter(
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
struct Attributes {
    mode: Option<u32>,
    owner: Option<u32>,
    group: Option<u32>,
    length: Option<u64>,
    accessed: Option<TimeOrNow>,
    modified: Option<TimeOrNow>,
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

/// The file system. Directories are read whole when they are opened.
pub(super) struct FaultFs {
    shared: Arc<Shared>,
    listings: Mutex<(u64, HashMap<u64, Vec<DirEntry>>)>,
}

impl FaultFs {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, listings: Mutex::default() }
    }

    fn listings(&self) -> MutexGuard<'_, (u64, HashMap<u64, Vec<DirEntry>>)> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn answer_entry(reply: ReplyEntry, done: Result<FileAttr, Errno>) {
    match done {
        Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn answer_attributes(reply: ReplyAttr, done: Result<FileAttr, Errno>) {
    match done {
        Ok(attributes) => reply.attr(&TTL, &attributes),
        Err(error) => reply.error(error),
    }
}

fn is_written(flags: OpenFlags) -> bool {
    flags.acc_mode() != OpenAccMode::O_RDONLY
}

impl Filesystem for FaultFs {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What is refused is the nearest that it can do.
        let _ = config.set_max_write(WRITE_BYTES_MAX);
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.shared.enter(req, Asks::Change, |store| Ok(store.lookup(parent.0, name)?));
        answer_entry(reply, found);
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.shared.store().forget(ino.0, nlookup);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let stat = self.shared.stat(ino.0);
        answer_attributes(reply, stat.map(|stat| self.shared.attributes(&stat)));
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let asked =
            Attributes { mode, owner: uid, group: gid, length: size, accessed: atime, modified: mtime };
        answer_attributes(reply, self.shared.set(req, ino.0, &asked));
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.shared.store().read_link(ino.0) {
            Ok(target) => reply.data(target.as_encoded_bytes()),
            Err(error) => reply.error(io::Error::from(error).into()),
        }
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let made =
            self.shared.enter(req, Asks::Room, |store| Ok(store.make_dir(parent.0, name, mode & !umask)?));
        answer_entry(reply, made);
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let admitted = self.shared.admit(req, Asks::Change);
        answer(reply, admitted.and_then(|()| Ok(self.shared.store().remove(parent.0, name, false)?)));
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let admitted = self.shared.admit(req, Asks::Change);
        answer(reply, admitted.and_then(|()| Ok(self.shared.store().remove(parent.0, name, true)?)));
    }

    fn symlink(&self, req: &Request, parent: INodeNo, link_name: &OsStr, target: &Path, reply: ReplyEntry) {
        let made =
            self.shared.enter(req, Asks::Room, |store| Ok(store.make_symlink(parent.0, link_name, target)?));
        answer_entry(reply, made);
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename =
            || Ok(self.shared.store().rename((parent.0, name), (newparent.0, newname), flags.bits())?);
        answer(reply, self.shared.admit(req, Asks::Change).and_then(|()| rename()));
    }

    fn link(&self, req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let made = self.shared.enter(req, Asks::Room, |store| store.make_link(ino.0, newparent.0, newname));
        answer_entry(reply, made);
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let open = || Ok(self.shared.store().open_file(ino.0, is_written(flags))?);
        match self.shared.admit(req, Asks::Change).and_then(|()| open()) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let mut handle = 0;
        let made = self.shared.enter(req, Asks::Room, |store| {
            let (stat, opened) = store.create(parent.0, name, mode & !umask, flags)?;
            handle = opened;
            Ok(stat)
        });
        match made {
            Ok(attributes) => {
                reply.created(&TTL, &attributes, Generation(0), FileHandle(handle), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = || {
            let file = self.shared.store().file(fh.0)?;
            Ok(read_up_to(&file, offset, size as usize)?)
        };
        match self.shared.admit(req, Asks::Read).and_then(|()| read()) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.shared.write(req, fh.0, offset, data, flags.0) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.shared.store().close(fh.0);
        reply.ok();
    }

    fn fsync(&self, req: &Request, _ino: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        answer(reply, self.shared.sync(req, fh.0));
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let entries = self.shared.store().entries(ino.0);
        match entries {
            Ok(entries) => {
                let (last, listings) = &mut *self.listings();
                *last += 1;
                listings.insert(*last, entries);
                reply.opened(FileHandle(*last), FopenFlags::empty());
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listings = self.listings();
        let Some(entries) = listings.1.get(&fh.0) else { return reply.error(Errno::EBADF) };
        let dots = [".", ".."].map(|name| (OsStr::new(name), ino.0, FileType::Directory));
        let named = entries.iter().map(|(name, number, kind)| {
            (name.as_os_str(), *number, FileType::from_std(*kind).unwrap_or(FileType::RegularFile))
        });
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, (name, number, kind)) in dots.into_iter().chain(named).enumerate().skip(start) {
            if reply.add(INodeNo(number), at as u64 + 1, kind, name) {
                break; // it is full, and the kernel asks again from there
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.listings().1.remove(&fh.0);
        reply.ok();
    }

    fn fsyncdir(&self, req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        answer(reply, self.shared.sync_dir(req));
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match nix::sys::statvfs::statvfs(&self.shared.dir) {
            Ok(real) => {
                let is_full = self.shared.gate.faults().full;
                let room = |blocks: u64| if is_full { 0 } else { blocks };
                let block = u32::try_from(real.fragment_size()).unwrap_or(4096);
                reply.statfs(
                    real.blocks(),
                    room(real.blocks_free()),
                    room(real.blocks_available()),
                    real.files(),
                    real.files_free(),
                    block,
                    255,
                    block,
                );
            }
            Err(error) => reply.error(io::Error::from(error).into()),
        }
    }

    fn fallocate(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        answer(reply, self.shared.allocate(req, fh.0, (offset, length), mode));
    }
}

fn read_up_to(file: &File, offset: u64, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
