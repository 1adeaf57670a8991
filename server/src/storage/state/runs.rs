//! Records that come in any order and are rarely looked for before they are on disk: the index of
//! versions. Sorted runs of doubling length cost a fraction of a tree that is larger than the
//! processor's caches.

use bytes::Bytes;

/// Records that are held unsorted at most.
const UNSORTED_MAX: usize = 256;

/// Sorted runs, each at least twice as long as the next, and a few unsorted records. Every key is
/// there once.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: Vec<Vec<(Bytes, Bytes)>>,
    unsorted: Vec<(Bytes, Bytes)>,
    len: usize,
}

impl Runs {
    /// Adds a record under a key that is not there yet.
    pub(super) fn push(&mut self, key: Bytes, value: Bytes) {
        self.len += 1;
        self.unsorted.push((key, value));
        if self.unsorted.len() < UNSORTED_MAX {
            return;
        }
        let mut run = std::mem::take(&mut self.unsorted);
        while let Some(longer) = self.runs.pop_if(|last| last.len() < 2 * run.len()) {
            run.splice(0..0, longer);
        }
        // A stable sort finds the runs and merges them.
        run.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.runs.push(run);
    }

    /// The value under a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Bytes> {
        let sorted = self.runs.iter().find_map(|run| {
            let place = run.binary_search_by(|(known, _)| known[..].cmp(key)).ok()?;
            Some(&run[place].1)
        });
        sorted.or_else(|| self.unsorted.iter().find(|(known, _)| known == key).map(|(_, value)| value))
    }

    /// The records of `[from, to)`, sorted.
    pub(super) fn range(&self, from: &[u8], to: &[u8]) -> Vec<&(Bytes, Bytes)> {
        let mut found: Vec<&(Bytes, Bytes)> = Vec::new();
        for run in &self.runs {
            let place = |bound: &[u8]| run.partition_point(|(key, _)| key < bound);
            found.extend(&run[place(from)..place(to)]);
        }
        found.extend(self.unsorted.iter().filter(|(key, _)| key >= from && key < to));
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::fault_disk::Chance;
    use std::collections::BTreeMap;
    use std::ops::Bound::{Excluded, Included};

    #[test]
    fn agrees_with_a_map() {
        let (mut runs, mut map, mut chance) = (Runs::default(), BTreeMap::new(), Chance(5));
        for round in 0..6_000_u32 {
            let key = Bytes::from(format!("{:05}", chance.below(90_000)));
            if map.contains_key(&key) {
                continue;
            }
            let value = Bytes::copy_from_slice(&round.to_be_bytes());
            map.insert(key.clone(), value.clone());
            runs.push(key, value);
            let [one, other] = [(); 2].map(|()| format!("{:05}", chance.below(90_000)));
            assert_eq!(runs.get(one.as_bytes()), map.get(one.as_bytes()));
            if round % 50 == 0 && one < other {
                let range = map.range::<[u8], _>((Included(one.as_bytes()), Excluded(other.as_bytes())));
                let expected: Vec<_> = range.map(|(key, value)| (key.clone(), value.clone())).collect();
                let found: Vec<_> =
                    runs.range(one.as_bytes(), other.as_bytes()).into_iter().cloned().collect();
                assert_eq!(found, expected, "round {round}");
            }
        }
        assert_eq!(runs.len(), map.len());
        assert!(map.keys().all(|key| runs.get(key) == map.get(key)));
        assert!(runs.runs.len() < 8, "few runs, whatever their records: {}", runs.runs.len());
    }
}
