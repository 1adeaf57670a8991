//! The state behind the file system: the real files, and what of them is not durable.

use super::names::{Journal, Spot, is_dir};
use super::unsynced::{Survival, Unsynced};
use super::{Durable, Loss};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};
use nix::unistd::{linkat, symlinkat};
use rand::Rng;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    unsynced: BTreeMap<u64, Shared>,
}

/// Locked apart from the store, so that a slow write or sync of one file holds up no other.
type Shared = Arc<Mutex<Unsynced>>;

/// An open file.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: Arc<File>,
    pub(super) inode: u64,
    unsynced: Shared,
}

impl Open {
    /// What of it is not durable. A panic elsewhere leaves at worst pages that were kept in vain.
    pub(super) fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        lock(&self.unsynced)
    }
}

fn lock(unsynced: &Shared) -> MutexGuard<'_, Unsynced> {
    unsynced.lock().unwrap_or_else(PoisonError::into_inner)
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
        let Some(closed) = self.handles.remove(&handle) else { return };
        let is_open = self.handles.values().any(|other| other.inode == closed.inode);
        if !is_open && self.unsynced.get(&closed.inode).is_some_and(|unsynced| lock(unsynced).is_clean()) {
            self.unsynced.remove(&closed.inode);
        }
    }

    /// How many files are open.
    pub(super) fn open_files(&self) -> usize {
        self.handles.len()
    }

    /// An open file, to be read.
    pub(super) fn file(&self, handle: u64) -> io::Result<Arc<File>> {
        Ok(self.handles.get(&handle).ok_or(Errno::EBADF)?.file.clone())
    }

    /// An open file, to be changed or synced.
    pub(super) fn opened(&mut self, handle: u64) -> io::Result<Open> {
        let handle = self.handles.get(&handle).ok_or(Errno::EBADF)?;
        let (file, inode) = (handle.file.clone(), handle.inode);
        self.changing(inode, file)
    }

    fn changing(&mut self, inode: u64, file: Arc<File>) -> io::Result<Open> {
        let unsynced = match self.unsynced.entry(inode) {
            Entry::Occupied(there) => there.get().clone(),
            Entry::Vacant(none) => none.insert(Arc::new(Mutex::new(Unsynced::new(file.clone())?))).clone(),
        };
        Ok(Open { file, inode, unsynced })
    }

    pub(super) fn truncate(&mut self, inode: u64, length: u64) -> io::Result<()> {
        let file = Arc::new(File::options().read(true).write(true).open(self.path(inode)?)?);
        let open = self.changing(inode, file)?;
        let mut unsynced = open.unsynced();
        unsynced.keep_end(length)?;
        open.file.set_len(length)
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

    /// A file is durable. Makes names durable too, if the file system's journal has something to say of
    /// it. Gives the graves to be removed.
    pub(super) fn synced(&mut self, inode: u64, has_new_length: bool) -> Vec<Spot> {
        match self.durable {
            Durable::WithJournal if has_new_length || self.journal.is_about(inode) => self.journal.synced(),
            Durable::WithJournal | Durable::NamesApart => Vec::new(),
        }
    }

    /// All names are durable. Gives the graves to be removed.
    pub(super) fn names_synced(&mut self) -> Vec<Spot> {
        self.journal.synced()
    }

    /// What has no name any more has nothing to be taken back.
    pub(super) fn forget_dead(&mut self) {
        let is_dead = |unsynced: &Shared| lock(unsynced).file().metadata().is_ok_and(|is| is.nlink() == 0);
        self.unsynced.retain(|_, unsynced| !is_dead(unsynced));
    }

    /// The power is cut.
    pub(super) fn take_back(&mut self, survival: Survival, chance: &mut impl Rng) -> io::Result<Loss> {
        let mut loss = Loss::default();
        for (_, unsynced) in std::mem::take(&mut self.unsynced) {
            let taken = lock(&unsynced).take_back(survival, chance)?;
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
