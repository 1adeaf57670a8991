//! The state behind the file system: the real files, and what of them is not durable.

use super::names::{Journal, Spot, is_dir};
use super::unsynced::{Survival, Unsynced};
use super::{Durable, Loss};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FallocateFlags, OFlag, fallocate, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};
use nix::unistd::{linkat, symlinkat};
use rand::Rng;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The number that FUSE gives to the top directory.
const TOP: u64 = 1;

/// A file that the kernel knows. It is held by a descriptor and not by a path, so that it can be
/// renamed and removed meanwhile, and its number is not given to another.
#[derive(Debug)]
struct Node {
    fd: Arc<OwnedFd>,
    lookups: u64,
}

#[derive(Debug)]
struct Handle {
    file: Arc<File>,
    inode: u64,
}

/// An entry of a directory: its name, its number, its kind.
pub(super) type DirEntry = (OsString, u64, fs::FileType);

#[derive(Debug)]
pub(super) struct Store {
    durable: Durable,
    top_inode: u64,
    nodes: HashMap<u64, Node>,
    handles: HashMap<u64, Handle>,
    next_handle: u64,
    journal: Journal,
    // In order, so that chance is the same each time.
    unsynced: BTreeMap<u64, Unsynced>,
}

impl Store {
    /// Over a directory, in which it makes two: the tree, and the graves of what was removed.
    pub(super) fn open(dir: &Path, durable: Durable) -> io::Result<Self> {
        let (tree, graves) = (dir.join("tree"), dir.join("graves"));
        fs::create_dir_all(&tree)?;
        if graves.exists() {
            fs::remove_dir_all(&graves)?; // of a harness that was killed
        }
        fs::create_dir(&graves)?;
        let fd: OwnedFd = File::open(&tree)?.into();
        let top_inode = fstat(&fd)?.st_ino;
        let top = Node { fd: Arc::new(fd), lookups: 1 };
        Ok(Self {
            durable,
            top_inode,
            nodes: HashMap::from([(TOP, top)]),
            handles: HashMap::new(),
            next_handle: 1,
            journal: Journal::new(File::open(&graves)?.into()),
            unsynced: BTreeMap::new(),
        })
    }

    fn fd(&self, inode: u64) -> Result<&Arc<OwnedFd>, Errno> {
        self.nodes.get(&inode).map(|node| &node.fd).ok_or(Errno::ESTALE)
    }

    fn spot(&self, parent: u64, name: &OsStr) -> Result<Spot, Errno> {
        Ok(Spot::new(self.fd(parent)?, name))
    }

    /// The kernel's number of a file.
    pub(super) fn number(&self, stat: &FileStat) -> u64 {
        if stat.st_ino == self.top_inode { TOP } else { stat.st_ino }
    }

    pub(super) fn lookup(&mut self, parent: u64, name: &OsStr) -> Result<FileStat, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(self.fd(parent)?, name, flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        let number = self.number(&stat);
        self.nodes.entry(number).or_insert_with(|| Node { fd: Arc::new(fd), lookups: 0 }).lookups += 1;
        Ok(stat)
    }

    pub(super) fn forget(&mut self, inode: u64, lookups: u64) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.lookups = node.lookups.saturating_sub(lookups);
            if node.lookups == 0 && inode != TOP {
                self.nodes.remove(&inode);
            }
        }
    }

    pub(super) fn stat(&self, inode: u64) -> Result<FileStat, Errno> {
        fstat(self.fd(inode)?)
    }

    /// A path to the file itself, whatever its names are.
    pub(super) fn path(&self, inode: u64) -> Result<PathBuf, Errno> {
        Ok(format!("/proc/self/fd/{}", self.fd(inode)?.as_raw_fd()).into())
    }

    pub(super) fn read_link(&self, inode: u64) -> Result<OsString, Errno> {
        readlinkat(self.fd(inode)?, "")
    }

    pub(super) fn entries(&self, inode: u64) -> io::Result<Vec<DirEntry>> {
        let entries = fs::read_dir(self.path(inode)?)?;
        entries
            .map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.ino(), entry.file_type()?))))
            .collect()
    }

    pub(super) fn make_dir(&mut self, parent: u64, name: &OsStr, mode: u32) -> Result<FileStat, Errno> {
        mkdirat(self.fd(parent)?, name, Mode::from_bits_truncate(mode))?;
        self.made(parent, name)
    }

    pub(super) fn make_symlink(&mut self, parent: u64, name: &OsStr, to: &Path) -> Result<FileStat, Errno> {
        symlinkat(to, self.fd(parent)?, name)?;
        self.made(parent, name)
    }

    pub(super) fn make_link(&mut self, inode: u64, parent: u64, name: &OsStr) -> io::Result<FileStat> {
        let source = self.path(inode)?;
        linkat(nix::fcntl::AT_FDCWD, &source, self.fd(parent)?, name, AtFlags::AT_SYMLINK_FOLLOW)?;
        Ok(self.made(parent, name)?)
    }

    fn made(&mut self, parent: u64, name: &OsStr) -> Result<FileStat, Errno> {
        let stat = self.lookup(parent, name)?;
        let spot = self.spot(parent, name)?;
        self.journal.added(stat.st_ino, spot);
        Ok(stat)
    }

    /// Makes and opens a file.
    pub(super) fn create(
        &mut self,
        parent: u64,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> io::Result<(FileStat, u64)> {
        let exclusive = OFlag::from_bits_truncate(flags) & OFlag::O_EXCL;
        let is_new = self.spot(parent, name)?.stat() == Err(Errno::ENOENT);
        let how = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | exclusive;
        let fd = openat(self.fd(parent)?, name, how, Mode::from_bits_truncate(mode))?;
        let stat = if is_new { self.made(parent, name)? } else { self.lookup(parent, name)? };
        Ok((stat, self.handle(fd.into(), stat.st_ino)))
    }

    /// Opens a file. One that is to be written is opened for reading too, to know what was there.
    pub(super) fn open_file(&mut self, inode: u64, is_written: bool) -> io::Result<u64> {
        let file = File::options().read(true).write(is_written).open(self.path(inode)?)?;
        Ok(self.handle(file, inode))
    }

    fn handle(&mut self, file: File, inode: u64) -> u64 {
        let number = self.next_handle;
        self.next_handle += 1;
        self.handles.insert(number, Handle { file: Arc::new(file), inode });
        number
    }

    pub(super) fn close(&mut self, handle: u64) {
        self.handles.remove(&handle);
    }

    /// How many files are open.
    pub(super) fn open_files(&self) -> usize {
        self.handles.len()
    }

    fn handle_of(&self, handle: u64) -> io::Result<(Arc<File>, u64)> {
        let handle = self.handles.get(&handle).ok_or(Errno::EBADF)?;
        Ok((handle.file.clone(), handle.inode))
    }

    /// An open file, to be read without holding up others.
    pub(super) fn file(&self, handle: u64) -> io::Result<Arc<File>> {
        Ok(self.handle_of(handle)?.0)
    }

    /// How long an open file is.
    pub(super) fn length(&self, handle: u64) -> io::Result<u64> {
        Ok(self.file(handle)?.metadata()?.len())
    }

    fn unsynced(&mut self, inode: u64, file: &Arc<File>) -> io::Result<&mut Unsynced> {
        use std::collections::btree_map::Entry;
        match self.unsynced.entry(inode) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(none) => Ok(none.insert(Unsynced::new(file.clone())?)),
        }
    }

    pub(super) fn write(&mut self, handle: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (file, inode) = self.handle_of(handle)?;
        self.unsynced(inode, &file)?.keep(offset, bytes.len() as u64)?;
        file.write_all_at(bytes, offset)
    }

    pub(super) fn truncate(&mut self, inode: u64, length: u64) -> io::Result<()> {
        let file = Arc::new(File::options().read(true).write(true).open(self.path(inode)?)?);
        self.unsynced(inode, &file)?.keep_end(length)?;
        file.set_len(length)
    }

    pub(super) fn allocate(&mut self, handle: u64, offset: u64, length: u64, mode: i32) -> io::Result<()> {
        let flags = FallocateFlags::from_bits_truncate(mode);
        let known = FallocateFlags::FALLOC_FL_KEEP_SIZE
            | FallocateFlags::FALLOC_FL_PUNCH_HOLE
            | FallocateFlags::FALLOC_FL_ZERO_RANGE;
        if flags.bits() != mode || !known.contains(flags) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let (file, inode) = self.handle_of(handle)?;
        let clears = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_ZERO_RANGE;
        let unsynced = self.unsynced(inode, &file)?;
        if flags.intersects(clears) {
            unsynced.keep(offset, length)?;
        }
        let signed = |number: u64| i64::try_from(number).map_err(|_| Errno::EFBIG);
        Ok(fallocate(&*file, flags, signed(offset)?, signed(length)?)?)
    }

    pub(super) fn remove(&mut self, parent: u64, name: &OsStr, dir: bool) -> io::Result<()> {
        let spot = self.spot(parent, name)?;
        let stat = spot.stat()?;
        match (dir, is_dir(&stat)) {
            (true, false) => return Err(Errno::ENOTDIR.into()),
            (false, true) => return Err(Errno::EISDIR.into()),
            (true, true) => must_be_empty(&spot)?,
            (false, false) => {}
        }
        Ok(self.journal.remove(spot)?)
    }

    /// Renames. What the flags say is that of renameat2(2).
    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), flags: u32) -> io::Result<()> {
        let (from, to) = (self.spot(from.0, from.1)?, self.spot(to.0, to.1)?);
        let flags = nix::fcntl::RenameFlags::from_bits_truncate(flags);
        if flags.contains(nix::fcntl::RenameFlags::RENAME_EXCHANGE) {
            return Ok(self.journal.exchange(from, to)?);
        }
        let moved = from.stat()?;
        match to.stat() {
            Ok(_) if flags.contains(nix::fcntl::RenameFlags::RENAME_NOREPLACE) => {
                return Err(Errno::EEXIST.into());
            }
            Ok(there) => match (is_dir(&moved), is_dir(&there)) {
                (true, false) => return Err(Errno::ENOTDIR.into()),
                (false, true) => return Err(Errno::EISDIR.into()),
                (true, true) => must_be_empty(&to)?,
                (false, false) => {}
            },
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.journal.rename(from, to)?)
    }

    /// Makes a file durable, and what the file system's journal has to say of it. Gives the file, if
    /// there is anything to be written to the real disk.
    pub(super) fn sync(&mut self, handle: u64) -> io::Result<Arc<File>> {
        let (file, inode) = self.handle_of(handle)?;
        let mut is_journal_needed = self.journal.is_about(inode);
        if let Some(unsynced) = self.unsynced.get_mut(&inode) {
            is_journal_needed |= unsynced.is_length_unsynced()?;
            if unsynced.synced()? {
                self.unsynced.remove(&inode);
            }
        }
        match self.durable {
            Durable::WithJournal if is_journal_needed => self.sync_names()?,
            Durable::WithJournal | Durable::NamesApart => {}
        }
        Ok(file)
    }

    pub(super) fn sync_failed(&mut self, handle: u64) {
        let inode = self.handles.get(&handle).map(|handle| handle.inode);
        if let Some(unsynced) = inode.and_then(|inode| self.unsynced.get_mut(&inode)) {
            unsynced.sync_failed();
        }
    }

    /// Makes all names durable.
    pub(super) fn sync_names(&mut self) -> io::Result<()> {
        if self.journal.synced()? {
            self.forget_dead()?;
        }
        Ok(())
    }

    /// What has no name any more has nothing to be taken back.
    fn forget_dead(&mut self) -> io::Result<()> {
        let mut dead = Vec::new();
        for (inode, unsynced) in &self.unsynced {
            if unsynced.file().metadata()?.nlink() == 0 {
                dead.push(*inode);
            }
        }
        dead.iter().for_each(|inode| {
            self.unsynced.remove(inode);
        });
        Ok(())
    }

    /// The power is cut.
    pub(super) fn take_back(&mut self, survival: Survival, chance: &mut impl Rng) -> io::Result<Loss> {
        let mut loss = Loss::default();
        for (_, unsynced) in std::mem::take(&mut self.unsynced) {
            let taken = unsynced.take_back(survival, chance)?;
            loss.files += u64::from(taken.lost_bytes > 0);
            loss.bytes += taken.lost_bytes;
            loss.kept_pieces += taken.kept_pieces;
        }
        let changes = self.journal.len();
        let kept = match survival {
            Survival::Nothing => 0,
            Survival::Prefix { .. } | Survival::Pieces { .. } => chance.random_range(0..=changes),
        };
        self.journal.take_back(kept)?;
        loss.names = (changes - kept) as u64;
        Ok(loss)
    }
}

fn must_be_empty(spot: &Spot) -> io::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fd = openat(&spot.dir, spot.name.as_os_str(), flags, Mode::empty())?;
    let mut entries = fs::read_dir(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    if entries.next().is_some() { Err(Errno::ENOTEMPTY.into()) } else { Ok(()) }
}
