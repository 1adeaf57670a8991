//! What of one file is not durable yet, and how to take it back.
//!
//! The file itself has all writes, so that reads are plain. Kept here is what the disk would hold in
//! their place: the durable length, and the durable contents of each page written since.

use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const PAGE: u64 = 4096;

/// What of unsynced writes survives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Survival {
    /// Nothing: the page cache was all there was.
    Nothing,
    /// In each file the first pieces, up to one by chance: a write that was torn.
    Prefix {
        /// Bytes of a piece: 512 for a disk's sector, 4096 for a page.
        piece: usize,
    },
    /// Each piece with this probability, from 0 to 1: a cache that wrote in an order of its own.
    Pieces {
        /// Bytes of a piece.
        piece: usize,
        /// Of one piece to survive.
        probability: f64,
    },
}

/// What became of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes of pieces that changed back, and of the end that went.
    pub(super) lost_bytes: u64,
    /// Pieces that survived though they were not synced.
    pub(super) kept_pieces: u64,
}

/// Durable contents of a page, as far as the file was long; none beyond its end.
type Page = Option<Box<[u8]>>;

#[derive(Debug)]
pub(super) struct Unsynced {
    /// Open for reading and writing.
    file: Arc<File>,
    /// Durable length.
    length: u64,
    /// Pages that the next sync makes durable.
    dirty: BTreeMap<u64, Page>,
    /// Pages whose sync has failed. Linux calls them clean from then on, and no sync writes them again
    /// unless they are written again.
    doomed: BTreeMap<u64, Page>,
}

impl Unsynced {
    /// All of this file is durable as yet.
    pub(super) fn new(file: Arc<File>) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length, dirty: BTreeMap::new(), doomed: BTreeMap::new() })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Before these bytes change, or vanish.
    pub(super) fn keep(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let pages = offset / PAGE..(offset + length).div_ceil(PAGE);
        for page in pages {
            if self.dirty.contains_key(&page) {
                continue;
            }
            let durable = match self.doomed.remove(&page) {
                Some(durable) => durable,
                None => self.read_durable(page)?,
            };
            self.dirty.insert(page, durable);
        }
        Ok(())
    }

    /// Before the file gets another length.
    pub(super) fn keep_end(&mut self, new_length: u64) -> io::Result<()> {
        match self.length.checked_sub(new_length) {
            Some(shorter) if shorter > 0 => self.keep(new_length, shorter),
            Some(_) | None => Ok(()),
        }
    }

    fn read_durable(&self, page: u64) -> io::Result<Page> {
        let start = page * PAGE;
        if start >= self.length {
            return Ok(None);
        }
        let length = usize::try_from(PAGE.min(self.length - start)).expect("at most a page");
        let mut bytes = vec![0; length].into_boxed_slice();
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(Some(bytes))
    }

    /// Whether a sync would have to write the file's length.
    pub(super) fn is_length_unsynced(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() != self.length)
    }

    /// Whether there is nothing to take back.
    pub(super) fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.doomed.is_empty() && self.is_length_unsynced().is_ok_and(|is| !is)
    }

    /// A sync succeeded.
    pub(super) fn synced(&mut self) -> io::Result<()> {
        self.dirty.clear();
        self.length = self.file.metadata()?.len();
        Ok(())
    }

    /// A sync failed.
    pub(super) fn sync_failed(&mut self) {
        self.doomed.append(&mut self.dirty);
    }

    /// The power is cut: makes the file what the disk holds.
    pub(super) fn take_back(&mut self, survival: Survival, chance: &mut impl Rng) -> io::Result<Taken> {
        let now = self.file.metadata()?.len();
        let mut taken = Taken::default();
        let mut length = self.length;
        let mut pages = Vec::new();
        let survives = survivors(survival, self.dirty.len(), chance);
        let dirty = std::mem::take(&mut self.dirty)
            .into_iter()
            .enumerate()
            .map(|(at, page)| (page, survives.get(at)));
        let doomed = std::mem::take(&mut self.doomed).into_iter().map(|page| (page, None));
        for ((page, durable), survives) in dirty.chain(doomed) {
            let current = read_page(&self.file, page)?;
            let mut bytes = durable.map_or_else(Vec::new, Vec::from);
            bytes.resize(PAGE as usize, 0);
            for (at, is_kept) in pieces(survives) {
                let piece = at..at + PAGE as usize / survives.map_or(1, Vec::len);
                if is_kept && current.len() > piece.start {
                    let end = piece.end.min(current.len());
                    bytes[piece.start..end].copy_from_slice(&current[piece.start..end]);
                    length = length.max(page * PAGE + end as u64);
                    taken.kept_pieces += 1;
                } else {
                    let was = current.get(piece.start..piece.end.min(current.len())).unwrap_or_default();
                    if bytes[piece.start..piece.start + was.len()] != *was {
                        taken.lost_bytes += was.len() as u64;
                    }
                }
            }
            pages.push((page, bytes));
        }
        if now > length {
            taken.lost_bytes = taken.lost_bytes.max(now - length);
        }
        // First short, so that what a hole held does not come back.
        self.file.set_len(length.min(now))?;
        self.file.set_len(length)?;
        for (page, bytes) in pages {
            let start = page * PAGE;
            let end = usize::try_from(length.saturating_sub(start).min(PAGE)).expect("at most a page");
            self.file.write_all_at(&bytes[..end], start)?;
        }
        Ok(taken)
    }
}

/// Which pieces of each page survive.
fn survivors(survival: Survival, pages: usize, chance: &mut impl Rng) -> Vec<Vec<bool>> {
    let (piece, is_kept): (usize, Box<dyn FnMut(usize) -> bool>) = match survival {
        Survival::Nothing => return vec![vec![false]; pages],
        Survival::Prefix { piece } => {
            let kept = chance.random_range(0..=pages * (PAGE as usize / piece));
            (piece, Box::new(move |at| at < kept))
        }
        Survival::Pieces { piece, probability } => {
            (piece, Box::new(move |_| chance.random_bool(probability.clamp(0.0, 1.0))))
        }
    };
    assert!(
        piece > 0 && (PAGE as usize).is_multiple_of(piece),
        "a page is not whole pieces of {piece} bytes"
    );
    let each = PAGE as usize / piece;
    let all: Vec<bool> = (0..pages * each).map(is_kept).collect();
    all.chunks(each).map(<[bool]>::to_vec).collect()
}

/// Where the pieces of a page begin, and whether each survives. A page without any is one piece.
fn pieces(survives: Option<&Vec<bool>>) -> impl Iterator<Item = (usize, bool)> {
    let survives = survives.cloned().unwrap_or_else(|| vec![false]);
    let piece = PAGE as usize / survives.len();
    survives.into_iter().enumerate().map(move |(at, is_kept)| (at * piece, is_kept))
}

fn read_page(file: &File, page: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; PAGE as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], page * PAGE + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    struct Test {
        file: Arc<File>,
        unsynced: Unsynced,
    }

    impl Test {
        fn new(durable: &[u8]) -> Self {
            let file = Arc::new(tempfile::tempfile().unwrap());
            file.write_all_at(durable, 0).unwrap();
            let unsynced = Unsynced::new(file.clone()).unwrap();
            Self { file, unsynced }
        }

        fn write(&mut self, offset: u64, bytes: &[u8]) {
            self.unsynced.keep(offset, bytes.len() as u64).unwrap();
            self.file.write_all_at(bytes, offset).unwrap();
        }

        fn truncate(&mut self, length: u64) {
            self.unsynced.keep_end(length).unwrap();
            self.file.set_len(length).unwrap();
        }

        fn contents(&self) -> Vec<u8> {
            let mut bytes = vec![0; self.file.metadata().unwrap().len() as usize];
            self.file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        }

        fn cut(self, survival: Survival, seed: u64) -> (Vec<u8>, Taken) {
            let Self { file, mut unsynced } = self;
            let taken = unsynced.take_back(survival, &mut StdRng::seed_from_u64(seed)).unwrap();
            let unsynced = Unsynced::new(file.clone()).unwrap();
            (Self { file, unsynced }.contents(), taken)
        }
    }

    #[test]
    fn an_overwrite_and_an_append_are_taken_back() {
        let durable = vec![1; 6000];
        let mut test = Test::new(&durable);
        test.write(10, &[2; 5000]);
        test.write(6000, &[3; 9000]);
        let (left, taken) = test.cut(Survival::Nothing, 0);
        assert!(left == durable);
        assert!(taken.lost_bytes >= 9000 && taken.kept_pieces == 0, "{taken:?}");
    }

    #[test]
    fn a_truncation_is_taken_back() {
        let durable: Vec<u8> = (0..20_000).map(|at| (at / 7) as u8).collect();
        let mut test = Test::new(&durable);
        test.truncate(100);
        test.write(5000, &[9; 10]);
        test.truncate(0);
        test.write(0, &[8; 30_000]);
        assert!(test.cut(Survival::Nothing, 0).0 == durable);
    }

    #[test]
    fn what_was_synced_stays() {
        let mut test = Test::new(&[]);
        test.write(0, &[1; 5000]);
        assert!(test.unsynced.is_length_unsynced().unwrap());
        test.unsynced.synced().unwrap();
        assert!(test.unsynced.is_clean());
        assert!(!test.unsynced.is_length_unsynced().unwrap());
        test.write(4000, &[2; 3000]);
        assert!(test.cut(Survival::Nothing, 0).0 == [1; 5000]);
    }

    #[test]
    fn a_failed_sync_dooms_what_is_not_written_again() {
        let mut test = Test::new(&[1; 8192]);
        test.write(0, &[2; 8192]);
        test.unsynced.sync_failed();
        test.write(0, &[3; 10]);
        test.unsynced.synced().unwrap();
        assert!(!test.unsynced.is_clean());
        let (left, _) = test.cut(Survival::Nothing, 0);
        assert!(left[..10] == [3; 10] && left[10..4096] == [2; 4086] && left[4096..] == [1; 4096]);
    }

    #[test]
    fn a_torn_write_leaves_a_prefix() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let mut test = Test::new(&[1; 8192]);
            test.write(0, &[2; 8192]);
            let (left, taken) = test.cut(Survival::Prefix { piece: 512 }, seed);
            let kept = left.iter().take_while(|byte| **byte == 2).count();
            assert!(left[kept..].iter().all(|byte| *byte == 1));
            assert_eq!((kept as u64, taken.lost_bytes), (taken.kept_pieces * 512, 8192 - kept as u64));
            seen.insert(kept);
        }
        assert!(seen.len() > 5, "{seen:?}");
    }

    #[test]
    fn pieces_survive_by_chance_and_may_make_the_file_longer() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let mut test = Test::new(&[1; 100]);
            test.write(0, &[2; 16_384]);
            let (left, taken) = test.cut(Survival::Pieces { piece: 4096, probability: 0.5 }, seed);
            for (at, page) in left.chunks(4096).enumerate() {
                let is_kept = page.iter().all(|byte| *byte == 2);
                let is_lost =
                    page.iter().enumerate().all(|(byte, is)| *is == u8::from(at == 0 && byte < 100));
                assert!(is_kept || is_lost, "page {at} of seed {seed} is neither");
            }
            seen.insert((left.len(), taken.kept_pieces));
        }
        assert!(seen.len() > 4, "{seen:?}");
    }
}
