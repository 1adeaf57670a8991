//! Who votes in consensus is who is listed as a voter, on every member, also after restarts.
//!
//! Sources: part 9 of the design; etcd issues 19557, 20793 and 21694 (a promotion was kept by one of
//! two stores, and a voter came back as a learner).

use super::{Checked, Violation};
use oarlock_state::NodeId;
use oarlock_state::command::Member;
use std::collections::BTreeSet;

/// Judges what one member lists against the configuration that the log decided last.
///
/// # Errors
/// Somebody is listed as a voter and does not vote, or votes and is not listed as a voter.
pub fn check(teller: u64, listed: &[Member], voters: &[NodeId]) -> Checked {
    let named: BTreeSet<NodeId> =
        listed.iter().filter(|member| !member.learner).map(|member| member.node).collect();
    let voting: BTreeSet<NodeId> = voters.iter().copied().collect();
    if named == voting {
        return Ok(());
    }
    let what = format!("member {teller} lists the voters {named:?}, and {voting:?} vote");
    Err(Violation::new("membership_agreement", what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, learner: bool) -> Member {
        Member { learner, ..crate::sim::node::member(id) }
    }

    #[test]
    fn a_voter_that_is_listed_as_a_learner_is_found() {
        let voters = [NodeId(1), NodeId(2)];
        assert!(check(1, &[member(1, false), member(2, false), member(3, true)], &voters).is_ok());
        assert!(check(1, &[member(1, false), member(2, true)], &voters).is_err());
        assert!(check(1, &[member(1, false), member(2, false), member(3, false)], &voters).is_err());
        assert!(check(1, &[member(1, false)], &voters).is_err());
    }
}
