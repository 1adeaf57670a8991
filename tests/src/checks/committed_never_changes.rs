//! What is committed at an index on one member is committed there on all members, for ever.
//!
//! Source: Ongaro (2014), figure 3.2 (state machine safety, which leader completeness serves).

use super::{Checked, Violation};
use std::collections::BTreeMap;

/// The committed log, as far as anybody knows it.
#[derive(Debug, Default)]
pub struct CommittedNeverChanges {
    committed: BTreeMap<u64, (u64, u64)>,
}

impl CommittedNeverChanges {
    /// A member holds the entry of this term and hash as committed at this index.
    ///
    /// # Errors
    /// Another one was committed there.
    pub fn committed(&mut self, node: u64, index: u64, term: u64, hash: u64) -> Checked {
        let first = *self.committed.entry(index).or_insert((term, hash));
        if first == (term, hash) {
            return Ok(());
        }
        let what = format!(
            "index {index} is committed with term {term} and hash {hash:x} on member {node}, \
             and was with term {} and hash {:x}",
            first.0, first.1
        );
        Err(Violation::new("committed_never_changes", what))
    }

    /// A member cuts its log so that `index` is the first one gone.
    ///
    /// # Errors
    /// That entry or a later one was known there to be committed.
    pub fn cut(&self, node: u64, index: u64, committed_there: u64) -> Checked {
        if index > committed_there {
            return Ok(());
        }
        let what = format!("member {node} removes entry {index}, and knew {committed_there} to be committed");
        Err(Violation::new("committed_never_changes", what))
    }

    /// Highest committed index.
    pub fn last(&self) -> u64 {
        self.committed.last_key_value().map_or(0, |(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_removed_entry_is_found() {
        let mut check = CommittedNeverChanges::default();
        assert!(check.committed(1, 5, 2, 0xa).is_ok());
        assert!(check.committed(2, 5, 2, 0xa).is_ok());
        assert!(check.committed(3, 5, 3, 0xb).is_err());
        assert!(check.cut(1, 6, 5).is_ok());
        assert!(check.cut(1, 5, 5).is_err());
        assert_eq!(check.last(), 5);
    }
}
