//! How an instance should be registered, put together from all who have a say. No clock, no network.

use super::check::Verdict;
use oarlock_proto::registry::{Health, Instance};

/// What the keeper is to bring about.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// Raised with every change that somebody waits for.
    pub(super) number: u64,
    /// What the instance says of itself, health included.
    pub(super) record: Instance,
    /// One for each check.
    pub(super) checks: Vec<Verdict>,
    /// What an operator, or any other program, has written over the instance's own word.
    pub(super) imposed: Option<Verdict>,
    /// Deregister and end.
    pub(super) leave: bool,
}

impl Wish {
    pub(super) fn new(record: Instance, checks: usize) -> Self {
        let unknown = Verdict::new(Health::Critical, "not checked yet");
        Self { number: 1, record, checks: vec![unknown; checks], imposed: None, leave: false }
    }

    /// The record as it should stand: as the worst that anybody says, with that one's reason.
    pub(super) fn record(&self) -> Instance {
        let own = Verdict::new(self.record.health, self.record.health_reason.clone());
        let mut worst = &own;
        for verdict in self.imposed.iter().chain(&self.checks) {
            if verdict.health > worst.health {
                worst = verdict;
            }
        }
        Instance { health: worst.health, health_reason: worst.reason.clone(), ..self.record.clone() }
    }

    /// Takes note of a record that somebody else wrote. Passing takes an earlier word back.
    pub(super) fn impose(&mut self, foreign: &Instance) {
        let verdict = Verdict::new(foreign.health, foreign.health_reason.clone());
        self.imposed = (foreign.health != Health::Passing).then_some(verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(health: Health, reason: &str) -> Instance {
        Instance { health, health_reason: reason.into(), ..Instance::new("a", 1) }
    }

    fn stands(wish: &Wish) -> (Health, String) {
        let record = wish.record();
        (record.health, record.health_reason)
    }

    #[test]
    fn the_worst_word_counts() {
        let mut wish = Wish::new(Instance::new("a", 1), 2);
        assert_eq!(stands(&wish), (Health::Critical, "not checked yet".into()));
        wish.checks = vec![Verdict::new(Health::Passing, ""), Verdict::new(Health::Warning, "slow")];
        assert_eq!(stands(&wish), (Health::Warning, "slow".into()));
        wish.record = with(Health::Draining, "deploy");
        assert_eq!(stands(&wish), (Health::Draining, "deploy".into()));
        wish.checks[0] = Verdict::new(Health::Critical, "down");
        assert_eq!(stands(&wish), (Health::Critical, "down".into()));
    }

    #[test]
    fn an_imposed_state_stays_until_it_is_taken_back() {
        let mut wish = Wish::new(Instance::new("a", 1), 0);
        wish.impose(&with(Health::Draining, "maintenance"));
        wish.record.weight = 7;
        assert_eq!(stands(&wish), (Health::Draining, "maintenance".into()));
        wish.impose(&with(Health::Passing, ""));
        assert_eq!(stands(&wish).0, Health::Passing);
        wish.record = with(Health::Critical, "own word");
        wish.impose(&with(Health::Passing, ""));
        assert_eq!(stands(&wish).0, Health::Critical, "nobody makes an instance better than it says");
    }
}
