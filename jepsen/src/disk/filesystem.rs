//! The file system's face to the kernel.

use super::faults::Asks;
use super::shared::{Attributes, Shared};
use super::store::DirEntry;
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// How long the kernel may believe what it was told of names and attributes. Not at all: a power cut
/// changes them behind its back.
const TTL: Duration = Duration::ZERO;
/// The largest write in one piece.
const WRITE_BYTES_MAX: u32 = 1 << 20;

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
