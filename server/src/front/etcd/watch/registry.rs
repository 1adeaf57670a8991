//! The watches of one stream: the client's numbers outside, tags of ours towards the node.
//!
//! A tag is never used again, so a number that is cancelled and used again at once cannot be confused
//! with itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// The tag under which the whole stream's progress is asked for.
pub const STREAM_PROGRESS: u64 = 0;
/// The number that stands for no watch, or for all of them.
pub const NO_WATCH: i64 = -1;
/// Why a watch under a number that is taken cannot be.
const DUPLICATE: &str = "mvcc: duplicate watch ID provided on the WatchStream";

/// Shared by the stream's two directions.
pub struct Registry {
    most: usize,
    inner: Mutex<Inner>,
}

struct Inner {
    next_id: i64,
    next_tag: u64,
    tags: BTreeMap<i64, u64>,
    entries: BTreeMap<u64, Entry>,
}

/// What a tag stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A watch.
    Watch(Named),
    /// A watch that cannot be, for this reason; it is answered in its turn.
    Refused(String),
}

/// A watch as its client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its number.
    pub id: i64,
    /// Large responses may be split.
    pub fragment: bool,
    /// Its client was told that it exists.
    pub created: bool,
}

impl Registry {
    /// No watches yet, and never more than `most`.
    pub fn new(most: usize) -> Self {
        let inner = Inner {
            next_id: 0,
            next_tag: STREAM_PROGRESS + 1,
            tags: BTreeMap::new(),
            entries: BTreeMap::new(),
        };
        Self { most, inner: Mutex::new(inner) }
    }

    /// A watch begins, under the number `wish` or, if that is zero, the next free one. Returns its
    /// tag.
    ///
    /// # Errors
    /// The reason for which it cannot.
    pub fn begin(&self, wish: i64, fragment: bool) -> Result<u64, String> {
        let mut inner = self.lock();
        if inner.tags.len() >= self.most {
            return Err(format!(
                "etcdserver: this stream has {} watches, the most it may have; use another stream",
                self.most
            ));
        }
        let id = if wish == 0 { inner.free_id() } else { wish };
        if inner.tags.contains_key(&id) {
            return Err(DUPLICATE.to_owned());
        }
        let tag = inner.add(Entry::Watch(Named { id, fragment, created: false }));
        inner.tags.insert(id, tag);
        Ok(tag)
    }

    /// A watch cannot begin. Returns the tag under which that is to be answered.
    pub fn refuse(&self, reason: String) -> u64 {
        self.lock().add(Entry::Refused(reason))
    }

    /// The client asks for the end of a watch: its number is free. Returns its tag, if it has one.
    pub fn cancel(&self, id: i64) -> Option<u64> {
        self.lock().tags.remove(&id)
    }

    /// The watch of this tag, which its client is now told of.
    pub fn created(&self, tag: u64) -> Option<Named> {
        match self.lock().entries.get_mut(&tag) {
            Some(Entry::Watch(named)) => {
                named.created = true;
                Some(*named)
            }
            Some(Entry::Refused(_)) | None => None,
        }
    }

    /// The watch of this tag.
    pub fn find(&self, tag: u64) -> Option<Named> {
        match self.lock().entries.get(&tag) {
            Some(Entry::Watch(named)) => Some(*named),
            Some(Entry::Refused(_)) | None => None,
        }
    }

    /// It is over.
    pub fn end(&self, tag: u64) -> Option<Entry> {
        let mut inner = self.lock();
        let entry = inner.entries.remove(&tag)?;
        if let Entry::Watch(named) = &entry
            && inner.tags.get(&named.id) == Some(&tag)
        {
            inner.tags.remove(&named.id);
        }
        Some(entry)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics while it holds the numbers")
    }
}

impl Inner {
    /// The next number that was not given out and is not taken.
    fn free_id(&mut self) -> i64 {
        while self.tags.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn add(&mut self, entry: Entry) -> u64 {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.entries.insert(tag, entry);
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(registry: &Registry, wish: i64) -> i64 {
        let tag = registry.begin(wish, false).expect("free");
        registry.find(tag).expect("just begun").id
    }

    #[test]
    fn numbers_count_from_zero_and_pass_over_the_clients_own() {
        let registry = Registry::new(10);
        assert_eq!(id(&registry, 0), 0);
        assert_eq!(id(&registry, 2), 2);
        assert_eq!(id(&registry, 1), 1);
        assert_eq!(id(&registry, 0), 3);
        assert_eq!(registry.begin(2, false), Err(DUPLICATE.to_owned()));
        assert!(registry.cancel(3).is_some() && registry.cancel(3).is_none());
        assert_eq!(id(&registry, 0), 4, "a number of ours is not given out twice");
    }

    #[test]
    fn a_number_used_again_is_another_watch() {
        let registry = Registry::new(1);
        let first = registry.begin(7, false).expect("free");
        assert!(registry.begin(8, false).is_err(), "too many");
        assert_eq!(registry.cancel(7), Some(first));
        let second = registry.begin(7, true).expect("free again");
        assert!(matches!(registry.end(first), Some(Entry::Watch(Named { fragment: false, .. }))));
        assert_eq!(registry.cancel(7), Some(second), "the end of the first is not the second's");
    }

    #[test]
    fn a_refusal_is_answered_once() {
        let registry = Registry::new(1);
        let tag = registry.refuse("no".into());
        assert_eq!(registry.find(tag), None);
        assert_eq!(registry.end(tag), Some(Entry::Refused("no".into())));
        assert_eq!(registry.end(tag), None);
    }
}
