//! Changes of names that are not durable yet, in their order, and how to take them back.
//!
//! As in a file system with one journal, they become durable in order: what makes one durable makes all
//! before it durable.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, RenameFlags, renameat, renameat2};
use nix::sys::stat::{FileStat, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A name in a directory.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) dir: Arc<OwnedFd>,
    pub(super) name: OsString,
}

impl Spot {
    pub(super) fn new(dir: &Arc<OwnedFd>, name: &OsStr) -> Self {
        Self { dir: dir.clone(), name: name.to_owned() }
    }

    /// What it names; the link itself if it is a symbolic one.
    pub(super) fn stat(&self) -> Result<FileStat, Errno> {
        fstatat(&self.dir, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    fn rename(&self, to: &Self) -> Result<(), Errno> {
        renameat(&self.dir, self.name.as_os_str(), &to.dir, to.name.as_os_str())
    }

    /// Removes the name for good.
    pub(super) fn remove(&self) -> Result<(), Errno> {
        let kind = if is_dir(&self.stat()?) { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
        unlinkat(&self.dir, self.name.as_os_str(), kind)
    }
}

/// Whether it is a directory.
pub(super) fn is_dir(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// One change, done already.
#[derive(Debug)]
enum Change {
    Added(Spot),
    /// It lies in the grave until the change is durable.
    Removed {
        from: Spot,
        grave: Spot,
    },
    Moved {
        from: Spot,
        to: Spot,
    },
    Exchanged(Spot, Spot),
}

/// Changes since the last that is durable.
#[derive(Debug)]
pub(super) struct Journal {
    /// With the file that each is about, as its inode number.
    changes: Vec<(u64, Change)>,
    graves: Arc<OwnedFd>,
    buried: u64,
}

impl Journal {
    /// Nothing has changed. Removed files are kept in this directory for as long as needed.
    pub(super) fn new(graves: OwnedFd) -> Self {
        Self { changes: Vec::new(), graves: Arc::new(graves), buried: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether a change about this file is not durable.
    pub(super) fn is_about(&self, inode: u64) -> bool {
        self.changes.iter().any(|(about, _)| *about == inode)
    }

    /// A name was made.
    pub(super) fn added(&mut self, inode: u64, spot: Spot) {
        self.changes.push((inode, Change::Added(spot)));
    }

    /// Removes a name.
    pub(super) fn remove(&mut self, from: Spot) -> Result<(), Errno> {
        let inode = from.stat()?.st_ino;
        self.buried += 1;
        let grave = Spot { dir: self.graves.clone(), name: self.buried.to_string().into() };
        from.rename(&grave)?;
        self.changes.push((inode, Change::Removed { from, grave }));
        Ok(())
    }

    /// Renames; what had the new name is gone.
    pub(super) fn rename(&mut self, from: Spot, to: Spot) -> Result<(), Errno> {
        let moved = from.stat()?;
        match to.stat() {
            // Two names of one file: rename(2) leaves both.
            Ok(there) if there.st_ino == moved.st_ino => return Ok(()),
            Ok(_) => {
                self.remove(to.clone())?;
                if let Err(error) = from.rename(&to) {
                    self.take_back_last()?;
                    return Err(error);
                }
            }
            Err(Errno::ENOENT) => from.rename(&to)?,
            Err(error) => return Err(error),
        }
        self.changes.push((moved.st_ino, Change::Moved { from, to }));
        Ok(())
    }

    /// Gives each the other's name.
    pub(super) fn exchange(&mut self, a: Spot, b: Spot) -> Result<(), Errno> {
        let inode = a.stat()?.st_ino;
        exchange(&a, &b)?;
        self.changes.push((inode, Change::Exchanged(a, b)));
        Ok(())
    }

    /// All changes are durable. Gives the graves that are no longer needed.
    pub(super) fn synced(&mut self) -> Vec<Spot> {
        let grave = |(_, change)| match change {
            Change::Removed { grave, .. } => Some(grave),
            Change::Added(_) | Change::Moved { .. } | Change::Exchanged(..) => None,
        };
        self.changes.drain(..).filter_map(grave).collect()
    }

    /// The power is cut after this many of the changes.
    pub(super) fn take_back(&mut self, kept: usize) -> Result<(), Errno> {
        while self.changes.len() > kept {
            self.take_back_last()?;
        }
        self.synced().iter().try_for_each(Spot::remove)
    }

    fn take_back_last(&mut self) -> Result<(), Errno> {
        match self.changes.pop() {
            None => Ok(()),
            Some((_, Change::Added(spot))) => spot.remove(),
            Some((_, Change::Removed { from, grave })) => grave.rename(&from),
            Some((_, Change::Moved { from, to })) => to.rename(&from),
            Some((_, Change::Exchanged(a, b))) => exchange(&a, &b),
        }
    }
}

fn exchange(a: &Spot, b: &Spot) -> Result<(), Errno> {
    let flags = RenameFlags::RENAME_EXCHANGE;
    renameat2(&a.dir, a.name.as_os_str(), &b.dir, b.name.as_os_str(), flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    struct Test {
        _dir: tempfile::TempDir,
        tree: std::path::PathBuf,
        top: Arc<OwnedFd>,
        journal: Journal,
    }

    impl Test {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (tree, graves) = (dir.path().join("tree"), dir.path().join("graves"));
            fs::create_dir(&tree).unwrap();
            fs::create_dir(&graves).unwrap();
            let open = |path: &Path| OwnedFd::from(fs::File::open(path).unwrap());
            let (top, journal) = (Arc::new(open(&tree)), Journal::new(open(&graves)));
            Self { _dir: dir, tree, top, journal }
        }

        fn spot(&self, name: &str) -> Spot {
            Spot::new(&self.top, OsStr::new(name))
        }

        fn make(&mut self, name: &str) {
            fs::write(self.tree.join(name), name).unwrap();
            let spot = self.spot(name);
            self.journal.added(spot.stat().unwrap().st_ino, spot);
        }

        /// Each name, and what the file says of how it was made.
        fn all(&self) -> Vec<(String, String)> {
            let mut all: Vec<_> = fs::read_dir(&self.tree)
                .unwrap()
                .map(|entry| entry.unwrap())
                .map(|entry| {
                    (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
                })
                .collect();
            all.sort();
            all
        }
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, contents)| ((*name).to_owned(), (*contents).to_owned())).collect()
    }

    #[test]
    fn a_chain_of_changes_is_taken_back_in_reverse() {
        let mut test = Test::new();
        test.make("a");
        test.make("b");
        test.journal.synced();
        test.make("c");
        test.journal.rename(test.spot("a"), test.spot("b")).unwrap();
        test.journal.remove(test.spot("c")).unwrap();
        test.make("c");
        test.journal.exchange(test.spot("b"), test.spot("c")).unwrap();
        assert_eq!(test.all(), pairs(&[("b", "c"), ("c", "a")]));
        test.journal.take_back(0).unwrap();
        assert_eq!(test.all(), pairs(&[("a", "a"), ("b", "b")]));
    }

    #[test]
    fn the_first_changes_can_survive() {
        let mut test = Test::new();
        test.make("a");
        test.make("b");
        test.journal.rename(test.spot("a"), test.spot("c")).unwrap();
        test.journal.take_back(1).unwrap();
        assert_eq!(test.all(), pairs(&[("a", "a")]));
        assert_eq!(test.journal.len(), 0);
    }

    #[test]
    fn a_file_is_buried_once_its_end_is_durable() {
        let mut test = Test::new();
        test.make("a");
        assert!(test.journal.synced().is_empty());
        test.journal.remove(test.spot("a")).unwrap();
        assert_eq!(test.journal.len(), 1);
        test.journal.synced().iter().for_each(|grave| grave.remove().unwrap());
        assert_eq!(fs::read_dir(test.tree.with_file_name("graves")).unwrap().count(), 0);
        test.journal.take_back(0).unwrap();
        assert_eq!(test.all(), []);
    }

    #[test]
    fn a_rename_that_fails_changes_nothing() {
        let mut test = Test::new();
        test.make("a");
        let gone = test.spot("gone");
        assert_eq!(test.journal.rename(gone, test.spot("a")), Err(Errno::ENOENT));
        assert_eq!(test.all(), pairs(&[("a", "a")]));
        assert_eq!(test.journal.len(), 1);
    }
}
