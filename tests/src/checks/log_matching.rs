//! If two logs hold an entry with the same index and term, they are equal up to that entry.
//!
//! Source: Ongaro (2014), figure 3.2 (log matching). By induction it is enough that entries of the
//! same index and term are equal and follow entries of the same term.

use super::{Checked, Violation};
use std::collections::BTreeMap;

/// Every entry that was ever appended anywhere: index and term to the entry's hash and the term of
/// the one before.
#[derive(Debug, Default)]
pub struct LogMatching {
    entries: BTreeMap<(u64, u64), (u64, u64)>,
}

impl LogMatching {
    /// A member appended an entry after one of `term_before`.
    ///
    /// # Errors
    /// Elsewhere that index and term hold something else, or follow another term.
    pub fn appended(&mut self, node: u64, index: u64, term: u64, term_before: u64, hash: u64) -> Checked {
        let first = *self.entries.entry((index, term)).or_insert((hash, term_before));
        if first == (hash, term_before) {
            return Ok(());
        }
        let what = format!(
            "entry {index} of term {term} on member {node} has hash {hash:x} after term {term_before}, \
             elsewhere {:x} after term {}",
            first.0, first.1
        );
        Err(Violation::new("log_matching", what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_that_differ_below_an_equal_entry_are_found() {
        let mut check = LogMatching::default();
        assert!(check.appended(1, 2, 1, 1, 0xa).is_ok());
        assert!(check.appended(1, 3, 2, 1, 0xb).is_ok());
        assert!(check.appended(2, 2, 1, 1, 0xa).is_ok());
        assert!(check.appended(2, 3, 3, 1, 0xc).is_ok(), "another term may hold another entry");
        assert!(check.appended(3, 3, 2, 1, 0xd).is_err(), "another content");
        assert!(check.appended(3, 3, 2, 2, 0xb).is_err(), "another predecessor");
    }
}
