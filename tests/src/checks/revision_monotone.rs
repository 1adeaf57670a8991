//! The revision never goes back: not on a member, not over its restarts and snapshots, and an index
//! has one revision everywhere.
//!
//! Source: part 1 of the design ("one number"); etcd issue 17780 (a compaction and a crash made the
//! revision decrease).

use super::{Checked, Violation};
use std::collections::BTreeMap;

/// The revision after each index.
#[derive(Debug, Default)]
pub struct RevisionMonotone {
    by_index: BTreeMap<u64, u64>,
}

impl RevisionMonotone {
    /// On a member the state after `index` has this revision.
    ///
    /// # Errors
    /// The same index had another revision, an earlier one a higher or a later one a lower.
    pub fn seen(&mut self, node: u64, index: u64, revision: u64) -> Checked {
        let wrong = |other: (&u64, &u64)| {
            let what = format!(
                "member {node} is at revision {revision} after index {index}, and index {} had {}",
                other.0, other.1
            );
            Err(Violation::new("revision_monotone", what))
        };
        if let Some(same) = self.by_index.get(&index) {
            return if *same == revision { Ok(()) } else { wrong((&index, same)) };
        }
        if let Some(before) = self.by_index.range(..index).next_back()
            && *before.1 > revision
        {
            return wrong(before);
        }
        if let Some(after) = self.by_index.range(index..).next()
            && *after.1 < revision
        {
            return wrong(after);
        }
        self.by_index.insert(index, revision);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_that_goes_back_is_found() {
        let mut check = RevisionMonotone::default();
        assert!(check.seen(1, 10, 5).is_ok());
        assert!(check.seen(2, 10, 5).is_ok());
        assert!(check.seen(2, 9, 5).is_ok());
        assert!(check.seen(3, 10, 6).is_err());
        assert!(check.seen(3, 11, 4).is_err());
        assert!(check.seen(3, 8, 6).is_err());
    }
}
