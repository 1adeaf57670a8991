//! How a read is done: what the state is asked for, and what is left to do with its answer.
//!
//! The state reads in the order of keys, from either end, and filters while it reads. Other orders
//! need every record of the range first; then they are sorted and cut.

use super::super::convert::key_range;
use oarlock_proto::etcd::etcdserverpb::{
    RangeRequest,
    range_request::{SortOrder, SortTarget},
};
use oarlock_state::Revision;
use oarlock_state::command::{KeyValue, RangeQuery};
use std::cmp::Ordering;

/// A read.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What the state is asked for.
    pub query: RangeQuery,
    /// What is left to do.
    pub rest: Rest,
}

/// What is left to do with all the records that the state gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// Sort them.
    pub sort: Option<Sort>,
    /// Keep so many, and tell that there are more; zero for all. Zero too if the state does it.
    pub keep: usize,
    /// Leave out the values, which were needed to sort.
    pub strip_values: bool,
}

/// An order that is not the keys'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    target: SortTarget,
    descending: bool,
}

impl Plan {
    /// The plan of a request that was checked.
    pub fn of(request: RangeRequest) -> Self {
        let sort = Sort::of(&request);
        let filtered = has_filters(&request);
        let limit = u64::try_from(request.limit).unwrap_or(0);
        let in_order = request.sort_order() == SortOrder::None;
        // As in etcd, a target without an order sorts only the first keys and one more.
        let asked = match (&sort, in_order && !filtered) {
            (None, _) => limit,
            (Some(_), true) if limit > 0 => limit.saturating_add(1),
            (Some(_), _) => 0,
        };
        let strip_values = request.keys_only && request.sort_target() == SortTarget::Value && sort.is_some();
        let rest = Rest {
            keep: if sort.is_some() { usize::try_from(limit).unwrap_or(usize::MAX) } else { 0 },
            sort,
            strip_values,
        };
        Self { query: query(request, asked, strip_values), rest }
    }
}

fn query(request: RangeRequest, limit: u64, with_values: bool) -> RangeQuery {
    let reverse = request.sort_target() == SortTarget::Key && request.sort_order() == SortOrder::Descend;
    let never = request.max_mod_revision < 0 || request.max_create_revision < 0;
    RangeQuery {
        // As in etcd, a negative one is the current one.
        revision: at_least_zero(request.revision),
        limit,
        reverse,
        keys_only: request.keys_only && !with_values,
        count_only: request.count_only,
        // A whole range is counted by reading it; see `Gather`.
        want_count: limit != 0 || has_filters(&request),
        min_mod_revision: if never { Revision(u64::MAX) } else { at_least_zero(request.min_mod_revision) },
        max_mod_revision: at_least_zero(request.max_mod_revision),
        min_create_revision: at_least_zero(request.min_create_revision),
        max_create_revision: at_least_zero(request.max_create_revision),
        ..RangeQuery::of(key_range(request.key, request.range_end))
    }
}

/// Whether a request leaves out records by their revisions.
pub fn has_filters(request: &RangeRequest) -> bool {
    [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ]
    .iter()
    .any(|bound| *bound != 0)
}

fn at_least_zero(revision: i64) -> Revision {
    Revision(u64::try_from(revision).unwrap_or(0))
}

impl Sort {
    fn of(request: &RangeRequest) -> Option<Self> {
        let target = request.sort_target();
        let descending = request.sort_order() == SortOrder::Descend;
        (target != SortTarget::Key).then_some(Self { target, descending })
    }

    fn compare(self, one: &KeyValue, other: &KeyValue) -> Ordering {
        let ordering = match self.target {
            SortTarget::Key => one.key.cmp(&other.key),
            SortTarget::Version => one.version.cmp(&other.version),
            SortTarget::Create => one.create_revision.cmp(&other.create_revision),
            SortTarget::Mod => one.mod_revision.cmp(&other.mod_revision),
            SortTarget::Value => one.value.cmp(&other.value),
        };
        if self.descending { ordering.reverse() } else { ordering }
    }
}

impl Rest {
    /// Sorts and cuts. Returns whether anything was cut. Doing it in the middle and again at the
    /// end gives the same records as doing it once at the end: equals keep the order of their keys.
    pub fn apply(&self, records: &mut Vec<KeyValue>) -> bool {
        if let Some(sort) = self.sort {
            records.sort_by(|one, other| sort.compare(one, other));
        }
        let cut = self.keep != 0 && records.len() > self.keep;
        if cut {
            records.truncate(self.keep);
        }
        cut
    }

    /// Leaves out what was needed to sort only.
    pub fn strip(&self, records: &mut [KeyValue]) {
        if self.strip_values {
            records.iter_mut().for_each(|record| record.value = bytes::Bytes::new());
        }
    }
}
