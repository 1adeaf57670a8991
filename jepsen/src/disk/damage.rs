//! Damage to the files of a stopped server: rot, loss, and a disk that is not the one it was.
//!
//! What is chosen depends on the files and on chance alone, so that a seed repeats it.

use rand::Rng;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const PAGE: u64 = 4096;
/// Read backwards at a time, in search of a file's last byte that is not zero.
const BLOCK: u64 = 1 << 16;

/// Whose files they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `member/log/*.log`, `member/state/*.sst`.
    Oarlock,
    /// `member/wal/*.wal`, `member/snap/db` and `member/snap/*.snap`.
    Etcd,
    /// `version-2/log.*`, `version-2/snapshot.*`.
    Zookeeper,
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// What was agreed upon, in order.
    Log,
    /// What came of it: tables, pages, snapshots.
    State,
}

/// What happens to one of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// So many bits flip.
    FlipBits(usize),
    /// A page of 4 KiB reads as zeros.
    ZeroPage,
    /// The file ends somewhere in its last tenth: what a crash may leave.
    CutTail,
    /// The file ends anywhere in it.
    CutMiddle,
}

/// Where it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aim {
    /// Whose files they are.
    pub layout: Layout,
    /// Which of them.
    pub part: Part,
    /// The how-manieth of how many equal stretches of the file. With (node, nodes) each node is
    /// damaged elsewhere, so that together they still have everything.
    pub stretch: (usize, usize),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The damage.
    pub damage: Damage,
    /// The file.
    pub file: PathBuf,
    /// Bytes in use before: up to the last that is not zero.
    pub used: u64,
    /// The first byte that changed or went, and for flipped bits every one.
    pub at: Vec<u64>,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}, of {} bytes, at {:?}", self.damage, self.file.display(), self.used, self.at)
    }
}

/// Damages one file below a data directory. None if there is no such file with anything in it.
///
/// # Errors
/// If the files cannot be read or written.
pub fn damage(dir: &Path, aim: Aim, damage: Damage, chance: &mut impl Rng) -> io::Result<Option<Done>> {
    let mut candidates = Vec::new();
    for path in aim.layout.files(dir, aim.part)? {
        let used = used(&File::open(&path)?)?;
        if used > 0 {
            candidates.push((path, used));
        }
    }
    if candidates.is_empty() {
        return Ok(None);
    }
    let (path, used) = candidates.swap_remove(chance.random_range(0..candidates.len()));
    let file = File::options().read(true).write(true).open(&path)?;
    let (start, end) = stretch(used, aim.stretch);
    let at = match damage {
        Damage::FlipBits(bits) => flip_bits(&file, (start, end), bits, chance)?,
        Damage::ZeroPage => {
            let at = chance.random_range(start..end) / PAGE * PAGE;
            let length = usize::try_from(PAGE.min(used - at)).expect("at most a page");
            file.write_all_at(&vec![0; length], at)?;
            vec![at]
        }
        Damage::CutTail => cut(&file, used - used.div_ceil(10), used, chance)?,
        Damage::CutMiddle => cut(&file, start, end, chance)?,
    };
    file.sync_all()?;
    Ok(Some(Done { damage, file: path, used, at }))
}

impl Layout {
    /// Files of a part, in order of their names.
    fn files(self, dir: &Path, part: Part) -> io::Result<Vec<PathBuf>> {
        let (below, fits): (&str, fn(&str) -> bool) = match (self, part) {
            (Self::Oarlock, Part::Log) => ("member/log", |name| name.ends_with(".log")),
            (Self::Oarlock, Part::State) => ("member/state", |name| name.ends_with(".sst")),
            (Self::Etcd, Part::Log) => ("member/wal", |name| name.ends_with(".wal")),
            (Self::Etcd, Part::State) => ("member/snap", |name| name == "db" || name.ends_with(".snap")),
            (Self::Zookeeper, Part::Log) => ("version-2", |name| name.starts_with("log.")),
            (Self::Zookeeper, Part::State) => ("version-2", |name| name.starts_with("snapshot.")),
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(dir.join(below))? {
            let entry = entry?;
            if entry.file_type()?.is_file() && entry.file_name().to_str().is_some_and(fits) {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }
}

/// How much of a preallocated file is in use.
fn used(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(end - start).expect("at most a block")];
        file.read_exact_at(&mut block, start)?;
        if let Some(last) = block.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// One of so many stretches, of at least a byte.
fn stretch(used: u64, (which, of): (usize, usize)) -> (u64, u64) {
    assert!(which < of, "stretch {which} of {of}");
    let (which, of) = (which as u64, of as u64);
    let start = (used * which / of).min(used - 1);
    (start, (used * (which + 1) / of).max(start + 1))
}

fn flip_bits(
    file: &File,
    (start, end): (u64, u64),
    bits: usize,
    chance: &mut impl Rng,
) -> io::Result<Vec<u64>> {
    let mut flipped = Vec::new();
    for _ in 0..bits {
        let at = chance.random_range(start..end);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        byte[0] ^= 1 << chance.random_range(0..8);
        file.write_all_at(&byte, at)?;
        flipped.push(at);
    }
    flipped.sort_unstable();
    Ok(flipped)
}

fn cut(file: &File, start: u64, end: u64, chance: &mut impl Rng) -> io::Result<Vec<u64>> {
    let at = chance.random_range(start..end);
    file.set_len(at)?;
    Ok(vec![at])
}

/// Empties a data directory: a disk that was replaced. Says how many files there were.
///
/// # Errors
/// If something cannot be removed.
pub fn wipe(dir: &Path) -> io::Result<u64> {
    let files = count(dir)?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(files)
}

/// Copies a data directory, to be put back later by [`put_back`]. Says how many files there are.
///
/// # Errors
/// If something cannot be copied, or the copy exists already.
pub fn take_copy(dir: &Path, copy: &Path) -> io::Result<u64> {
    fs::create_dir(copy)?;
    copy_below(dir, copy)?;
    count(copy)
}

/// Puts an old copy in the place of a data directory's contents: a disk that was restored behind the
/// server's back. Says how many files it has.
///
/// # Errors
/// If the copy is not there, or something cannot be removed or copied.
pub fn put_back(copy: &Path, dir: &Path) -> io::Result<u64> {
    let files = count(copy)?;
    wipe(dir)?;
    copy_below(copy, dir)?;
    Ok(files)
}

fn copy_below(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_below(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    File::open(to)?.sync_all()
}

fn count(dir: &Path) -> io::Result<u64> {
    let mut files = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const LOG: Aim = Aim { layout: Layout::Oarlock, part: Part::Log, stretch: (0, 1) };

    /// A data directory with a preallocated segment in use up to byte 50,000, and others.
    fn data() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for below in ["member/log", "member/state", "member/wal", "member/snap", "version-2"] {
            fs::create_dir_all(dir.path().join(below)).unwrap();
        }
        let mut segment = vec![7; 50_000];
        segment.resize(200_000, 0);
        fs::write(segment_of(dir.path()), segment).unwrap();
        fs::write(dir.path().join("member/log/spare-3"), [9; 10]).unwrap();
        fs::write(dir.path().join("member/state/000008.sst"), [1; 100]).unwrap();
        dir
    }

    fn segment_of(dir: &Path) -> PathBuf {
        dir.join("member/log/01-01.log")
    }

    fn hit(dir: &Path, aim: Aim, kind: Damage, seed: u64) -> (Done, Vec<u8>) {
        let done = damage(dir, aim, kind, &mut StdRng::seed_from_u64(seed)).unwrap().unwrap();
        let left = fs::read(&done.file).unwrap();
        (done, left)
    }

    #[test]
    fn bits_flip_where_it_is_said() {
        let dir = data();
        let (done, left) = hit(dir.path(), LOG, Damage::FlipBits(5), 1);
        assert_eq!((done.file.clone(), done.used, done.at.len()), (segment_of(dir.path()), 50_000, 5));
        assert_eq!(left.len(), 200_000);
        for (at, byte) in left.iter().enumerate().take(50_000) {
            assert_eq!(*byte != 7, done.at.contains(&(at as u64)), "byte {at}");
        }
        assert!(left[50_000..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn each_node_is_damaged_elsewhere() {
        for node in 0..3 {
            let dir = data();
            let aim = Aim { stretch: (node, 3), ..LOG };
            let (done, _) = hit(dir.path(), aim, Damage::FlipBits(20), 2);
            let thirds = 50_000 * node as u64 / 3..50_000 * (node as u64 + 1) / 3;
            assert!(done.at.iter().all(|at| thirds.contains(at)), "{done}");
        }
    }

    #[test]
    fn a_page_reads_as_zeros() {
        let dir = data();
        let (done, left) = hit(dir.path(), LOG, Damage::ZeroPage, 3);
        let at = done.at[0] as usize;
        let end = (at + 4096).min(50_000);
        assert_eq!((at % 4096, left.len()), (0, 200_000));
        assert!(left[at..end].iter().all(|byte| *byte == 0));
        assert!(left[..at].iter().chain(&left[end..50_000]).all(|byte| *byte == 7));
    }

    #[test]
    fn a_file_is_cut_within_what_it_uses() {
        for seed in 0..20 {
            let dir = data();
            let (tail, left) = hit(dir.path(), LOG, Damage::CutTail, seed);
            assert!((45_000..50_000).contains(&tail.at[0]) && left.len() as u64 == tail.at[0]);
            let (middle, left) = hit(dir.path(), LOG, Damage::CutMiddle, seed);
            assert!(middle.at[0] < middle.used && left.len() as u64 == middle.at[0]);
        }
    }

    #[test]
    fn a_seed_repeats_it() {
        let done = |seed| {
            let dir = data();
            let (done, left) = hit(dir.path(), LOG, Damage::FlipBits(3), seed);
            (done.at, left)
        };
        assert!(done(5) == done(5) && done(5) != done(6));
    }

    #[test]
    fn files_are_found_by_their_names() {
        let dir = data();
        let write = |name: &str| fs::write(dir.path().join(name), [1; 10]).unwrap();
        let logs = ["member/wal/0-0.wal", "member/wal/0.tmp", "version-2/log.1"];
        let states =
            ["member/snap/db", "member/snap/1.snap", "version-2/snapshot.0", "version-2/acceptedEpoch"];
        logs.iter().chain(&states).for_each(|name| write(name));
        let found = |layout: Layout, part| {
            let files = layout.files(dir.path(), part).unwrap();
            files
                .iter()
                .map(|file| file.file_name().unwrap().to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(found(Layout::Oarlock, Part::Log), ["01-01.log"]);
        assert_eq!(found(Layout::Oarlock, Part::State), ["000008.sst"]);
        assert_eq!(found(Layout::Etcd, Part::Log), ["0-0.wal"]);
        assert_eq!(found(Layout::Etcd, Part::State), ["1.snap", "db"]);
        assert_eq!(found(Layout::Zookeeper, Part::Log), ["log.1"]);
        assert_eq!(found(Layout::Zookeeper, Part::State), ["snapshot.0"]);
    }

    #[test]
    fn nothing_is_damaged_where_nothing_is() {
        let dir = data();
        fs::write(dir.path().join("member/wal/0.wal"), [0; 100]).unwrap();
        let aim = Aim { layout: Layout::Etcd, ..LOG };
        let mut chance = StdRng::seed_from_u64(0);
        assert_eq!(damage(dir.path(), aim, Damage::CutTail, &mut chance).unwrap(), None);
        let missing = dir.path().join("missing");
        assert!(damage(&missing, LOG, Damage::CutTail, &mut chance).is_err());
    }

    #[test]
    fn an_old_copy_takes_the_place_of_what_came_later() {
        let dir = data();
        let (live, copy) = (dir.path().join("member"), dir.path().join("copy"));
        assert_eq!(take_copy(&live, &copy).unwrap(), 3);
        fs::write(live.join("log/later.log"), [3; 3]).unwrap();
        fs::write(live.join("state/000008.sst"), [2; 5]).unwrap();
        assert_eq!(put_back(&copy, &live).unwrap(), 3);
        assert_eq!(fs::read(live.join("state/000008.sst")).unwrap(), [1; 100]);
        assert!(!live.join("log/later.log").exists());
        assert_eq!(wipe(&live).unwrap(), 3);
        assert_eq!(fs::read_dir(&live).unwrap().count(), 0);
    }
}
