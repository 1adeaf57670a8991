//! Which watches a key concerns.

use super::WatchId;
use super::intervals::{End, Intervals};
use bytes::Bytes;
use oarlock_state::command::KeyRange;
use oarlock_state::event::Keyspace;
use std::collections::{BTreeSet, HashMap};

/// Finds the watches of a key. Those of single keys lie in a map, those of spans in
/// [`Intervals`]; watches of the same key or span share one place.
#[derive(Debug, Default)]
pub struct Matcher {
    kv: Side,
    tree: Side,
    objects: Side,
    pools: Side,
}

#[derive(Debug, Default)]
struct Side {
    /// Only ever looked up, so its order does not matter.
    keys: HashMap<Bytes, BTreeSet<WatchId>>,
    spans: Intervals,
}

impl Matcher {
    /// Adds a watch.
    pub fn insert(&mut self, keyspace: Keyspace, range: &KeyRange, watch: WatchId) {
        let side = self.side_mut(keyspace);
        match range {
            KeyRange::Key(key) => {
                side.keys.entry(key.clone()).or_default().insert(watch);
            }
            KeyRange::Span { start, end } => side.spans.insert(start.clone(), end_of(end), watch),
        }
    }

    /// Removes a watch.
    pub fn remove(&mut self, keyspace: Keyspace, range: &KeyRange, watch: WatchId) {
        let side = self.side_mut(keyspace);
        match range {
            KeyRange::Key(key) => {
                if let Some(watches) = side.keys.get_mut(key) {
                    watches.remove(&watch);
                    if watches.is_empty() {
                        side.keys.remove(key);
                    }
                }
            }
            KeyRange::Span { start, end } => side.spans.remove(start, &end_of(end), watch),
        }
    }

    /// Shows the watches that a change of `key` concerns, in groups.
    pub fn visit(&self, keyspace: Keyspace, key: &[u8], show: &mut dyn FnMut(&BTreeSet<WatchId>)) {
        let side = match keyspace {
            Keyspace::Kv => &self.kv,
            Keyspace::Tree => &self.tree,
            Keyspace::Object => &self.objects,
            Keyspace::Pool => &self.pools,
        };
        if let Some(watches) = side.keys.get(key) {
            show(watches);
        }
        side.spans.visit(key, show);
    }

    fn side_mut(&mut self, keyspace: Keyspace) -> &mut Side {
        match keyspace {
            Keyspace::Kv => &mut self.kv,
            Keyspace::Tree => &mut self.tree,
            Keyspace::Object => &mut self.objects,
            Keyspace::Pool => &mut self.pools,
        }
    }
}

fn end_of(end: &Option<Bytes>) -> End {
    end.as_ref().map_or(End::Never, |end| End::Before(end.clone()))
}

/// Whether a range holds a key.
pub fn holds(range: &KeyRange, key: &[u8]) -> bool {
    match range {
        KeyRange::Key(only) => only.as_ref() == key,
        KeyRange::Span { start, end } => {
            start.as_ref() <= key && end.as_ref().is_none_or(|end| key < end.as_ref())
        }
    }
}
