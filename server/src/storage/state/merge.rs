//! Merges two overlays with the records of a base as these come by.

use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound::{Excluded, Included};
use std::ops::ControlFlow;

type Records = BTreeMap<Bytes, Option<Bytes>>;
type Record<'a> = (&'a Bytes, &'a Option<Bytes>);
type Visit<'v> = dyn FnMut(&[u8], &Bytes) -> ControlFlow<()> + 'v;

/// A range of an overlay with its next record at hand.
struct Layer<'a> {
    range: Range<'a, Bytes, Option<Bytes>>,
    reverse: bool,
    next: Option<Record<'a>>,
}

impl<'a> Layer<'a> {
    fn new(records: &'a Records, from: &[u8], to: &[u8], reverse: bool) -> Self {
        let range = records.range::<[u8], _>((Included(from), Excluded(to)));
        let mut layer = Self { range, reverse, next: None };
        layer.advance();
        layer
    }

    fn advance(&mut self) {
        self.next = if self.reverse { self.range.next_back() } else { self.range.next() };
    }
}

/// The records of a newer and an older overlay in the order of the scan, the newer ones winning.
pub(super) struct Merge<'a> {
    newer: Layer<'a>,
    older: Layer<'a>,
    reverse: bool,
}

impl<'a> Merge<'a> {
    /// The records of `[from, to)`, which is not empty.
    pub(super) fn new(newer: &'a Records, older: &'a Records, from: &[u8], to: &[u8], reverse: bool) -> Self {
        Self {
            newer: Layer::new(newer, from, to, reverse),
            older: Layer::new(older, from, to, reverse),
            reverse,
        }
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
        match (self.newer.next, self.older.next) {
            (Some(newer), Some(older)) => {
                Some(if self.compare(newer.0, older.0) == Ordering::Greater { older } else { newer })
            }
            (newer, older) => newer.or(older),
        }
    }

    fn next(&mut self) -> Option<Record<'a>> {
        let next = self.peek()?;
        for layer in [&mut self.newer, &mut self.older] {
            if layer.next.is_some_and(|(key, _)| key == next.0) {
                layer.advance();
            }
        }
        Some(next)
    }

    /// Which of two keys the scan meets first.
    fn compare(&self, one: &[u8], other: &[u8]) -> Ordering {
        if self.reverse { other.cmp(one) } else { one.cmp(other) }
    }
}
