//! The overlay against a plain map, with flushes and crashes in between.

use super::*;
use crate::storage::fault_disk::Chance;
use crate::storage::memory::MemoryBase;
use oarlock_state::MemoryView;

fn options() -> StateOptions {
    StateOptions { freeze_bytes: 4000, freeze_records: 40, cache_bytes: 3000, ..StateOptions::default() }
}

fn mutation(key: &str, value: Option<&str>) -> Mutation {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Mutation::new(bytes(key), value.map(bytes))
}

fn records(view: &dyn View, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    if limit > 0 {
        view.scan(from, to, reverse, &mut |key, value| {
            found.push((Bytes::copy_from_slice(key), value.clone()));
            if found.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    found
}

fn everything(view: &dyn View) -> Vec<(Bytes, Bytes)> {
    records(view, FIRST_KEY, END_KEY, false, usize::MAX)
}

#[test]
fn a_scan_merges_all_layers_and_the_newest_wins() {
    let mut store = StateStore::open(Arc::new(MemoryBase::new()), options()).expect("open");
    let mut index = 0;
    let mut write = |store: &mut StateStore, records: &[(&str, Option<&str>)]| {
        index += 1;
        store.write(records.iter().map(|(key, value)| mutation(key, *value)).collect(), index);
    };
    write(&mut store, &[("a", Some("base")), ("b", Some("base")), ("c", Some("base")), ("d", Some("base"))]);
    let job = store.freeze_now().expect("a flush");
    store.flushed(job.run().expect("flush"));
    write(&mut store, &[("b", Some("frozen")), ("c", None), ("e", Some("frozen"))]);
    let job = store.freeze_now().expect("a flush");
    write(&mut store, &[("c", Some("active")), ("d", None), ("aa", Some("active")), ("e", None)]);
    let expected = ["a=base", "aa=active", "b=frozen", "c=active"];
    for reverse in [false, true] {
        let mut found: Vec<String> = records(&store, b"", b"z", reverse, usize::MAX)
            .iter()
            .map(|(key, value)| {
                format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value))
            })
            .collect();
        if reverse {
            found.reverse();
        }
        assert_eq!(found, expected);
    }
    assert_eq!((store.get(b"d"), store.get(b"b")), (None, Some(Bytes::from("frozen"))));
    assert_eq!((store.applied(), store.durable_applied()), (3, 1));
    store.flushed(job.run().expect("flush"));
    assert_eq!(store.durable_applied(), 2);
}

#[test]
fn one_flush_runs_at_a_time_and_writers_learn_when_to_wait() {
    let mut store = StateStore::open(Arc::new(MemoryBase::new()), options()).expect("open");
    assert!(store.freeze_now().is_none(), "there is nothing to flush");
    let value = "v".repeat(4100);
    store.write(vec![mutation("a", Some(&value))], 1);
    let job = store.maybe_freeze().expect("the threshold is reached");
    assert!(store.maybe_freeze().is_none() && store.is_flushing());
    for index in 2..6 {
        assert!(!store.is_overfull());
        store.write(vec![mutation(&format!("b{index}"), Some(&value))], index);
    }
    assert!(store.is_overfull() && store.freeze_now().is_none());
    assert!(store.overlay_bytes() > 5 * 4100);
    store.flushed(job.run().expect("flush"));
    assert!(!store.is_overfull());
    let job = store.maybe_freeze().expect("the threshold is reached");
    store.flushed(job.run().expect("flush"));
    assert_eq!((store.overlay_bytes(), store.durable_applied()), (0, 5));
}

#[test]
fn entries_without_mutations_advance_the_durable_index() {
    let base = Arc::new(MemoryBase::new());
    let mut store = StateStore::open(base.clone(), options()).expect("open");
    store.write(Vec::new(), 9);
    let job = store.freeze_now().expect("the applied index moved");
    store.flushed(job.run().expect("flush"));
    let store = StateStore::open(base, options()).expect("open");
    assert_eq!((store.applied(), everything(&store).len()), (9, 0), "the index is no record of the state");
}

#[test]
fn agrees_with_a_map_over_flushes_and_crashes() {
    for seed in 0..150 {
        Life::new(seed).live();
    }
}

/// A store and, per applied index, what it must hold.
struct Life {
    chance: Chance,
    base: Arc<MemoryBase>,
    store: StateStore,
    history: Vec<MemoryView>,
    job: Option<FlushJob>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let base = Arc::new(MemoryBase::new());
        let store = StateStore::open(base.clone(), options()).expect("open");
        Self { chance: Chance(seed), base, store, history: vec![MemoryView::default()], job: None }
    }

    fn live(&mut self) {
        for _ in 0..250 {
            match self.chance.below(20) {
                0 => self.crash(),
                1..=3 => self.finish_flush(),
                4 if self.job.is_none() => self.job = self.store.freeze_now(),
                5..=7 if self.job.is_none() => self.job = self.store.maybe_freeze(),
                _ => self.write(),
            }
            self.compare();
        }
    }

    fn write(&mut self) {
        let mutations: Vec<Mutation> = (0..self.chance.below(8))
            .map(|_| {
                let key = format!("k{:02}", self.chance.below(60));
                let value = (self.chance.below(3) > 0).then(|| "v".repeat(self.chance.below(90) as usize));
                mutation(&key, value.as_deref())
            })
            .collect();
        let mut next = self.history.last().expect("the empty state").clone();
        next.write(&mutations);
        self.history.push(next);
        self.store.write(mutations, self.history.len() as u64 - 1);
    }

    fn finish_flush(&mut self) {
        if let Some(job) = self.job.take() {
            self.store.flushed(job.run().expect("flush"));
            assert!(!self.store.is_flushing());
        }
    }

    /// The power goes, perhaps after the base was flushed but before the store learned of it.
    fn crash(&mut self) {
        let mut durable = self.store.durable_applied();
        if let Some(job) = self.job.take()
            && self.chance.below(2) == 0
        {
            durable = job.run().expect("flush").applied;
        }
        self.store = StateStore::open(self.base.clone(), options()).expect("open");
        assert_eq!((self.store.durable_applied(), self.store.applied()), (durable, durable));
        self.history.truncate(durable as usize + 1);
    }

    fn compare(&mut self) {
        let map = self.history.last().expect("the empty state");
        let bound = |chance: &mut Chance| format!("k{:02}", chance.below(62)).into_bytes();
        let (from, to) = (bound(&mut self.chance), bound(&mut self.chance));
        let reverse = self.chance.below(2) == 0;
        let limit = self.chance.below(20) as usize;
        assert_eq!(
            records(&self.store, &from, &to, reverse, limit),
            records(map, &from, &to, reverse, limit)
        );
        for key in [&from, &to, &from] {
            assert_eq!(self.store.get(key), map.get(key));
        }
        assert_eq!(everything(&self.store), everything(map));
    }
}

/// The past has forms of its own in an overlay, and reclaiming takes from it whatever the form.
#[test]
fn the_past_is_found_in_order_and_can_be_removed() {
    let base = Arc::new(MemoryBase::new());
    let mut store = StateStore::open(base, options()).expect("open");
    let mut map = MemoryView::default();
    let mut chance = Chance(11);
    for index in 1..3_000_u64 {
        let key = format!("{:04}", chance.below(200));
        let mut mutations = vec![
            mutation(&format!("h{index:06}"), Some(&key)),
            mutation(&format!("v{key}/{index:06}"), Some("put")),
            mutation(&format!("k{key}"), Some(&index.to_string())),
        ];
        if let Some(old) = index.checked_sub(1 + chance.below(90)).filter(|old| *old > 0) {
            let version = map.records.get(format!("h{old:06}").as_bytes()).map(|key| key.to_vec());
            if let Some(key) = version.and_then(|key| String::from_utf8(key).ok()) {
                mutations.push(mutation(&format!("h{old:06}"), None));
                mutations.push(mutation(&format!("v{key}/{old:06}"), None));
            }
        }
        map.write(&mutations);
        store.write(mutations, index);
        if let Some(job) = store.maybe_freeze() {
            store.flushed(job.run().expect("flush"));
        }
        let at = index - chance.below(60).min(index);
        let (event, version) = (format!("h{at:06}"), format!("v{key}/{at:06}"));
        for key in [event.as_bytes(), version.as_bytes()] {
            assert_eq!(store.get(key), map.get(key), "{index}");
        }
        for (from, to) in [(event.as_bytes(), &b"i"[..]), (&b"v0050"[..], &b"v0090"[..]), (b"", b"z")] {
            let (reverse, limit) = (chance.below(2) == 0, chance.below(30) as usize);
            let found = records(&store, from, to, reverse, limit);
            assert_eq!(found, records(&map, from, to, reverse, limit), "{index}");
        }
    }
}

#[test]
fn what_is_created_and_removed_between_two_flushes_leaves_no_trace() {
    let base = Arc::new(MemoryBase::new());
    let mut store = StateStore::open(base.clone(), options()).expect("open");
    let creates = |key: &str| Mutation { creates: true, ..mutation(key, Some("v")) };
    store.write(vec![creates("a"), creates("b"), mutation("c", Some("v"))], 1);
    let empty = store.overlay_bytes();
    store.write(vec![creates("d"), mutation("d", Some("longer")), mutation("d", None)], 2);
    assert_eq!(store.overlay_bytes(), empty);
    let job = store.freeze_now().expect("a flush");
    // Its removal must hide what is on its way to the disk.
    store.write(vec![mutation("a", None)], 3);
    store.flushed(job.run().expect("flush"));
    assert_eq!((store.get(b"a"), store.get(b"b").is_some()), (None, true));
    // It comes again: still hidden on the disk, and so not as if it had never been there.
    store.write(vec![creates("a"), mutation("a", None)], 4);
    assert_eq!(store.get(b"a"), None);
    let job = store.freeze_now().expect("a flush");
    store.flushed(job.run().expect("flush"));
    assert_eq!((base.len(), store.get(b"a")), (3, None), "two records and the index");
}
