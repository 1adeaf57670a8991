//! At most one member leads in a term, and a member votes at most once in a term.
//!
//! Source: Ongaro, "Consensus: bridging theory and practice" (2014), figure 3.2 (election safety)
//! and section 3.8 (votes survive restarts).

use super::{Checked, Violation};
use std::collections::BTreeMap;

/// Leaders and votes seen so far.
#[derive(Debug, Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<u64, u64>,
    votes: BTreeMap<(u64, u64), u64>,
}

impl ElectionSafety {
    /// A member leads in a term.
    ///
    /// # Errors
    /// Another one did.
    pub fn leads(&mut self, node: u64, term: u64) -> Checked {
        let first = *self.leaders.entry(term).or_insert(node);
        if first == node {
            return Ok(());
        }
        Err(Violation::new("election_safety", format!("members {first} and {node} both lead in term {term}")))
    }

    /// A member leads in a term: it and, among three voters or more, somebody else must have made a
    /// vote for it durable, or a crash can give the same votes away again.
    ///
    /// # Errors
    /// They have not.
    pub fn elected(&self, node: u64, term: u64, voters: usize) -> Checked {
        let votes = self.votes.iter().filter(|((_, of), vote)| *of == term && **vote == node).count();
        let own = self.votes.get(&(node, term)) == Some(&node);
        if own && (voters < 3 || votes >= 2) {
            return Ok(());
        }
        let what =
            format!("member {node} leads in term {term} by {votes} durable votes, its own among them: {own}");
        Err(Violation::new("election_safety", what))
    }

    /// A member has made its vote of a term durable; zero is no vote.
    ///
    /// # Errors
    /// It voted for somebody else before.
    pub fn votes(&mut self, node: u64, term: u64, vote: u64) -> Checked {
        if vote == 0 {
            return Ok(());
        }
        let first = *self.votes.entry((node, term)).or_insert(vote);
        if first == vote {
            return Ok(());
        }
        let what = format!("member {node} voted for {first} and for {vote} in term {term}");
        Err(Violation::new("election_safety", what))
    }

    /// Terms in which somebody led.
    pub fn elections(&self) -> usize {
        self.leaders.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_a_term_are_found() {
        let mut check = ElectionSafety::default();
        assert!(check.leads(1, 5).is_ok());
        assert!(check.leads(1, 5).is_ok());
        assert!(check.leads(2, 6).is_ok());
        assert!(check.leads(3, 5).is_err());
        assert_eq!(check.elections(), 2);
    }

    #[test]
    fn a_leader_without_durable_votes_is_found() {
        let mut check = ElectionSafety::default();
        assert!(check.elected(1, 5, 3).is_err());
        assert!(check.votes(1, 5, 1).is_ok());
        assert!(check.elected(1, 5, 1).is_ok());
        assert!(check.elected(1, 5, 3).is_err());
        assert!(check.votes(2, 5, 1).is_ok());
        assert!(check.elected(1, 5, 3).is_ok());
    }

    #[test]
    fn a_forgotten_vote_is_found() {
        let mut check = ElectionSafety::default();
        assert!(check.votes(1, 5, 0).is_ok());
        assert!(check.votes(1, 5, 2).is_ok());
        assert!(check.votes(2, 5, 3).is_ok());
        assert!(check.votes(1, 5, 3).is_err());
    }
}
