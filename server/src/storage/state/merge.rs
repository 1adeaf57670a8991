//! Merges layers of records in memory with the records of a base as these come by.

use super::overlay::{Key, Slot};
use bytes::Bytes;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::ops::Bound::{Excluded, Included};
use std::ops::ControlFlow;
use std::{slice, vec};

/// A key, and its value unless it is removed.
pub(super) type Record<'a> = (&'a [u8], Option<&'a Bytes>);
type Visit<'v> = dyn FnMut(&[u8], &Bytes) -> ControlFlow<()> + 'v;

/// A range of sorted records with the next one at hand.
pub(super) struct Layer<'a> {
    rest: Rest<'a>,
    reverse: bool,
    next: Option<Record<'a>>,
}

enum Rest<'a> {
    Tree(btree_map::Range<'a, Key, Slot>),
    Run(slice::Iter<'a, (Bytes, Bytes)>),
    Records(vec::IntoIter<&'a (Bytes, Bytes)>),
}

impl<'a> Layer<'a> {
    /// The records of `[from, to)`, which is not inverted.
    pub(super) fn of_tree(tree: &'a BTreeMap<Key, Slot>, from: &[u8], to: &[u8], reverse: bool) -> Self {
        Self::new(Rest::Tree(tree.range::<[u8], _>((Included(from), Excluded(to)))), reverse)
    }

    /// Sorted records, none of them removed.
    pub(super) fn of_run(run: &'a [(Bytes, Bytes)], reverse: bool) -> Self {
        Self::new(Rest::Run(run.iter()), reverse)
    }

    /// The same, picked one by one.
    pub(super) fn of_records(records: Vec<&'a (Bytes, Bytes)>, reverse: bool) -> Self {
        Self::new(Rest::Records(records.into_iter()), reverse)
    }

    fn new(rest: Rest<'a>, reverse: bool) -> Self {
        let mut layer = Self { rest, reverse, next: None };
        layer.advance();
        layer
    }

    fn advance(&mut self) {
        self.next = match &mut self.rest {
            Rest::Tree(range) => {
                let next = if self.reverse { range.next_back() } else { range.next() };
                next.map(|(key, slot)| (key.borrow(), slot.value.as_ref()))
            }
            Rest::Run(run) => {
                let next = if self.reverse { run.next_back() } else { run.next() };
                next.map(|(key, value)| (&key[..], Some(value)))
            }
            Rest::Records(records) => {
                let next = if self.reverse { records.next_back() } else { records.next() };
                next.map(|(key, value)| (&key[..], Some(value)))
            }
        };
    }
}

/// The records of several layers in the order of the scan. Of two with one key, the earlier layer's
/// wins.
pub(super) struct Merge<'a, const LAYERS: usize> {
    layers: [Layer<'a>; LAYERS],
    reverse: bool,
}

impl<'a, const LAYERS: usize> Merge<'a, LAYERS> {
    /// The records of these layers, which go in the same direction.
    pub(super) fn new(layers: [Layer<'a>; LAYERS], reverse: bool) -> Self {
        Self { layers, reverse }
    }

    /// Visits what comes before the base's record, and that record unless it was overwritten or
    /// removed since.
    pub(super) fn visit_through(
        &mut self,
        key: &[u8],
        value: &[u8],
        visit: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        while let Some((recent, _)) = self.peek() {
            let order = self.compare(recent, key);
            if order == Ordering::Greater {
                break;
            }
            self.visit_next(visit)?;
            if order == Ordering::Equal {
                return ControlFlow::Continue(());
            }
        }
        visit(key, &Bytes::copy_from_slice(value))
    }

    /// Visits what is left when the base has no more records.
    pub(super) fn visit_rest(&mut self, visit: &mut Visit<'_>) {
        while self.peek().is_some() && self.visit_next(visit).is_continue() {}
    }

    fn visit_next(&mut self, visit: &mut Visit<'_>) -> ControlFlow<()> {
        match self.next() {
            Some((key, Some(value))) => visit(key, value),
            Some((_, None)) | None => ControlFlow::Continue(()),
        }
    }

    fn peek(&self) -> Option<Record<'a>> {
        let nexts = self.layers.iter().filter_map(|layer| layer.next);
        // Of equal ones the first is taken, which is the earlier layer's.
        nexts.min_by(|one, other| self.compare(one.0, other.0))
    }

    /// Which of two keys the scan meets first.
    fn compare(&self, one: &[u8], other: &[u8]) -> Ordering {
        if self.reverse { other.cmp(one) } else { one.cmp(other) }
    }
}

impl<'a, const LAYERS: usize> Iterator for Merge<'a, LAYERS> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let next = self.peek()?;
        for layer in &mut self.layers {
            if layer.next.is_some_and(|(key, _)| key == next.0) {
                layer.advance();
            }
        }
        Some(next)
    }
}
