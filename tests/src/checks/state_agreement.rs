//! Equal index, equal digest: every member's state after an entry is the same, at every single
//! apply, over restarts and snapshots.
//!
//! Source: Schneider, "Implementing fault-tolerant services using the state machine approach"
//! (1990), section 2; etcd's silent divergence (etcd issue 13766) is why every apply is compared.

use super::{Checked, Violation};
use std::collections::BTreeMap;

/// The state's digest after each index, as the first member had it.
#[derive(Debug, Default)]
pub struct StateAgreement {
    digests: BTreeMap<u64, (u64, u128)>,
}

impl StateAgreement {
    /// A member's state after `index` has this digest.
    ///
    /// # Errors
    /// Another member's has another one.
    pub fn applied(&mut self, node: u64, index: u64, digest: u128) -> Checked {
        let (first, expected) = *self.digests.entry(index).or_insert((node, digest));
        if expected == digest {
            return Ok(());
        }
        let what = format!(
            "after index {index} member {node} has digest {digest:032x}, member {first} had {expected:032x}"
        );
        Err(Violation::new("state_agreement", what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diverged_member_is_found_at_once() {
        let mut check = StateAgreement::default();
        assert!(check.applied(1, 7, 0xaa).is_ok());
        assert!(check.applied(2, 7, 0xaa).is_ok());
        assert!(check.applied(2, 8, 0xbb).is_ok());
        assert!(check.applied(1, 8, 0xbc).is_err());
    }
}
