//! Who had which shard of a pool, as its members and one observer saw it, and what must be true of that.
//!
//! Members note each time a token was handed out to them, on one clock for all of them, as the time
//! before they asked and the time after: at some moment between the two, by their own clock's validity,
//! they might have acted on the shard. An observer notes what happened to the pool, in the log's order.
//! The test notes what it did to members, and divides the time into rounds, each of which ends when the
//! pool has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// When one grant of one shard was seen to be good, in microseconds since the history began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Who had it.
    pub member: String,
    /// The earliest answer: by then the grant had been good.
    pub first_answered_us: u64,
    /// The latest question that was answered with a token: after that moment the grant was good.
    pub last_asked_us: u64,
}

/// Something that happened to the primary of a shard, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the observer heard it, in microseconds since the history began.
    pub at_us: u64,
    /// The revision.
    pub revision: u64,
    /// The shard.
    pub shard: String,
    /// Who.
    pub member: String,
    /// The grant's epoch.
    pub epoch: u64,
    /// What.
    pub what: What,
}

/// What happened to a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It is owned from now on.
    Granted,
    /// Its owner released it to the target of a planned move.
    Moved,
    /// Its owner's session timed out.
    Expired,
    /// Its owner released it to nobody, left, or was forced.
    GivenUp,
}

/// What the test did to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// It began.
    Started,
    /// It vanished without a word.
    Killed,
    /// It stood still for longer than its session may, and then went on.
    Frozen,
    /// It was asked to hand everything over and leave.
    Drained,
}

/// From a disturbance until the pool had come to rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// What was done to whom, and when, in microseconds since the history began.
    pub deeds: Vec<(Deed, String, u64)>,
    /// When the pool had come to rest.
    pub until_us: u64,
    /// Members at its end.
    pub members: usize,
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// How many shards there are.
    pub shards: usize,
    /// By shard and epoch.
    pub spans: BTreeMap<(String, u64), Span>,
    /// Violations that were plain at once.
    pub conflicts: Vec<String>,
    /// In the order of the log.
    pub events: Vec<Event>,
    /// One after the other.
    pub rounds: Vec<Round>,
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Grants.
    pub grants: usize,
    /// Planned moves.
    pub moves: usize,
    /// From each crash or freeze to the grant of the last shard that it cost.
    pub after_crash: Vec<Duration>,
    /// From each request to drain to the last shard handed over.
    pub after_drain: Vec<Duration>,
    /// Longest time for which a shard was without an owner.
    pub longest_gap: Duration,
    /// Members whose session timed out though nothing was done to them: the machine was too slow.
    pub unprovoked: usize,
}

impl History {
    /// A member was handed a token between two moments.
    pub fn sight(&mut self, member: &str, shard: &str, epoch: u64, asked_us: u64, answered_us: u64) {
        let fresh =
            || Span { member: member.into(), first_answered_us: answered_us, last_asked_us: asked_us };
        let span = self.spans.entry((shard.into(), epoch)).or_insert_with(fresh);
        span.first_answered_us = span.first_answered_us.min(answered_us);
        span.last_asked_us = span.last_asked_us.max(asked_us);
        if span.member != member {
            let other = &span.member;
            self.conflicts.push(format!("shard {shard}: both {other} and {member} had epoch {epoch}"));
        }
    }

    /// Everything that is wrong with it.
    pub fn violations(&self) -> Vec<String> {
        let mut found = self.conflicts.clone();
        found.extend(self.overlaps());
        found.extend(self.unlawful_grants());
        found.extend(self.gaps_of_moves());
        found.extend(self.undue_moves());
        found
    }

    /// Two owners of a shard at one moment, each by its own clock.
    fn overlaps(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut last: Option<(&String, &Span, u64)> = None;
        for ((shard, epoch), span) in &self.spans {
            if let Some((of, earlier, older)) = last.filter(|(of, ..)| *of == shard)
                && span.first_answered_us < earlier.last_asked_us
            {
                let by_us = earlier.last_asked_us - span.first_answered_us;
                let (one, other) = (&earlier.member, &span.member);
                found.push(format!(
                    "shard {of}: {one} (epoch {older}) and {other} (epoch {epoch}) at once, by {by_us} us"
                ));
            }
            // The one that was good for longest, as the next is compared with all before it.
            if last.is_none_or(|(of, earlier, _)| of != shard || earlier.last_asked_us < span.last_asked_us) {
                last = Some((shard, span, *epoch));
            }
        }
        found
    }

    /// Grants while somebody owned it or under an epoch that is not higher, and tokens without a grant.
    fn unlawful_grants(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut owners: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
        let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
        let mut granted: BTreeSet<(&str, u64, &str)> = BTreeSet::new();
        for event in &self.events {
            let Event { shard, member, epoch, revision, what, .. } = event;
            match what {
                What::Granted => {
                    if let Some((owner, held)) = owners.insert(shard, (member, *epoch)) {
                        found.push(format!(
                            "shard {shard}: granted to {member} in {revision} while {owner} had epoch {held}"
                        ));
                    }
                    let before = highest.insert(shard, *epoch).unwrap_or(0);
                    if *epoch <= before {
                        found.push(format!("shard {shard}: epoch {epoch} after {before}"));
                    }
                    granted.insert((shard, *epoch, member));
                }
                What::Moved | What::Expired | What::GivenUp => {
                    if owners.remove(shard.as_str()) != Some((member, *epoch)) {
                        found.push(format!(
                            "shard {shard}: {member} lost epoch {epoch}, which it did not have"
                        ));
                    }
                }
            }
        }
        for ((shard, epoch), span) in &self.spans {
            if !granted.contains(&(shard.as_str(), *epoch, span.member.as_str())) {
                found.push(format!("shard {shard}: {} had epoch {epoch}, which is no grant", span.member));
            }
        }
        found
    }

    /// Planned moves that left a shard without an owner, or that were none although it was to be one.
    fn gaps_of_moves(&self) -> Vec<String> {
        let grants: BTreeSet<(u64, &str)> = self
            .events
            .iter()
            .filter(|event| event.what == What::Granted)
            .map(|event| (event.revision, event.shard.as_str()))
            .collect();
        let gap = |event: &&Event| match event.what {
            What::Moved => !grants.contains(&(event.revision, event.shard.as_str())),
            What::GivenUp => true,
            What::Granted | What::Expired => false,
        };
        let say = |event: &Event| {
            let Event { shard, member, revision, .. } = event;
            format!("shard {shard}: {member} let it go in revision {revision}, and nobody had it then")
        };
        self.events.iter().filter(gap).map(say).collect()
    }

    /// Moves from members to which nothing had been done, beyond the share of those who came.
    fn undue_moves(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut from_us = 0;
        for (number, round) in self.rounds.iter().enumerate() {
            let mut drained = BTreeSet::new();
            let mut came = 0;
            for (deed, member, _) in &round.deeds {
                match deed {
                    Deed::Drained => drop(drained.insert(member.as_str())),
                    Deed::Started => came += 1,
                    Deed::Killed | Deed::Frozen => {}
                }
            }
            let events =
                || self.events.iter().filter(|event| event.at_us > from_us && event.at_us <= round.until_us);
            let lost: BTreeSet<&str> = events()
                .filter(|event| event.what == What::Expired)
                .map(|event| event.member.as_str())
                .collect();
            let killed = |member: &&&str| {
                round.deeds.iter().any(|(deed, of, _)| *deed == Deed::Killed && of == **member)
            };
            // Whoever lost its session and was not killed comes back and is given its share again.
            came += lost.len() - lost.iter().filter(killed).count();
            let share = self.shards.div_ceil(round.members.max(1));
            let moved = events()
                .filter(|event| event.what == What::Moved && !drained.contains(event.member.as_str()))
                .count();
            if moved > came * share {
                found.push(format!(
                    "round {number}: {moved} moves for {came} newcomers of {share} shards each"
                ));
            }
            from_us = round.until_us;
        }
        found
    }

    /// How it went.
    pub fn figures(&self) -> Figures {
        let count = |what| self.events.iter().filter(|event| event.what == what).count();
        let mut figures =
            Figures { grants: count(What::Granted), moves: count(What::Moved), ..Figures::default() };
        let us = Duration::from_micros;
        let mut lost: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
        // When the last shard that a member lost, and the last that it handed over, had an owner again.
        let mut restored: Vec<(&str, u64)> = Vec::new();
        let mut handed: Vec<(&str, u64)> = Vec::new();
        for event in &self.events {
            match event.what {
                What::Expired | What::GivenUp => {
                    lost.insert(&event.shard, (event.at_us, &event.member));
                }
                What::Moved => handed.push((&event.member, event.at_us)),
                What::Granted => {
                    if let Some((at_us, member)) = lost.remove(event.shard.as_str()) {
                        figures.longest_gap = figures.longest_gap.max(us(event.at_us - at_us));
                        restored.push((member, event.at_us));
                    }
                }
            }
        }
        let mut from_us = 0;
        for round in &self.rounds {
            let within = |list: &[(&str, u64)], member: &str, since_us: u64| {
                let of =
                    list.iter().filter(|(of, at)| *of == member && *at > since_us && *at <= round.until_us);
                of.map(|(_, at)| us(at - since_us)).max()
            };
            for (deed, member, at_us) in &round.deeds {
                match deed {
                    Deed::Killed | Deed::Frozen => {
                        figures.after_crash.extend(within(&restored, member, *at_us));
                    }
                    Deed::Drained => figures.after_drain.extend(within(&handed, member, *at_us)),
                    Deed::Started => {}
                }
            }
            let provoked: BTreeSet<&str> = round.deeds.iter().map(|(_, member, _)| member.as_str()).collect();
            let expired: BTreeSet<&str> = self
                .events
                .iter()
                .filter(|event| {
                    event.what == What::Expired && event.at_us > from_us && event.at_us <= round.until_us
                })
                .map(|event| event.member.as_str())
                .collect();
            figures.unprovoked += expired.difference(&provoked).count();
            from_us = round.until_us;
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: u64, shard: &str, member: &str, epoch: u64, what: What) -> Event {
        let (shard, member) = (shard.into(), member.into());
        Event { at_us: revision * 10, revision, shard, member, epoch, what }
    }

    /// m1 has both shards, m2 comes and is given one, m1 dies.
    fn lawful() -> History {
        let mut history = History { shards: 2, ..History::default() };
        history.events = vec![
            event(1, "a", "m1", 1, What::Granted),
            event(1, "b", "m1", 1, What::Granted),
            event(5, "a", "m1", 1, What::Moved),
            event(5, "a", "m2", 5, What::Granted),
            event(9, "b", "m1", 1, What::Expired),
            event(11, "b", "m2", 11, What::Granted),
        ];
        history.sight("m1", "a", 1, 11, 12);
        history.sight("m1", "a", 1, 48, 49);
        history.sight("m2", "a", 5, 51, 52);
        history.sight("m1", "b", 1, 70, 71);
        history.sight("m2", "b", 11, 112, 113);
        history.rounds = vec![
            Round { deeds: vec![(Deed::Started, "m1".into(), 1)], until_us: 20, members: 1 },
            Round { deeds: vec![(Deed::Started, "m2".into(), 21)], until_us: 60, members: 2 },
            Round { deeds: vec![(Deed::Killed, "m1".into(), 75)], until_us: 120, members: 1 },
        ];
        history
    }

    fn only_violation(history: &History, says: &str) {
        let found = history.violations();
        assert!(found.len() == 1 && found[0].contains(says), "{found:?}");
    }

    #[test]
    fn a_lawful_history_is_lawful() {
        let history = lawful();
        assert_eq!(history.violations(), Vec::<String>::new());
        let figures = history.figures();
        assert_eq!((figures.grants, figures.moves, figures.unprovoked), (4, 1, 0));
        assert_eq!(figures.after_crash, [Duration::from_micros(110 - 75)]);
        assert_eq!(figures.longest_gap, Duration::from_micros(20));
    }

    #[test]
    fn two_owners_at_once_are_found() {
        let mut history = lawful();
        history.sight("m1", "b", 1, 114, 115);
        only_violation(&history, "m1 (epoch 1) and m2 (epoch 11) at once");
        // Between the two moments it may have been earlier: that proves nothing.
        let mut history = lawful();
        history.sight("m1", "b", 1, 110, 120);
        assert!(history.violations().is_empty());
    }

    #[test]
    fn an_old_owner_is_found_behind_a_later_one() {
        let mut history = lawful();
        history.events.push(event(13, "b", "m2", 11, What::Expired));
        history.events.push(event(14, "b", "m3", 14, What::Granted));
        history.sight("m3", "b", 14, 141, 142);
        assert!(history.violations().is_empty());
        history.sight("m1", "b", 1, 143, 144);
        let found = history.violations();
        assert_eq!(found.len(), 2, "with each of the two that came after: {found:?}");
    }

    #[test]
    fn one_epoch_for_two_is_found() {
        let mut history = lawful();
        history.sight("m3", "a", 5, 53, 54);
        only_violation(&history, "both m2 and m3 had epoch 5");
    }

    #[test]
    fn a_token_without_a_grant_is_found() {
        let mut history = lawful();
        history.sight("m2", "a", 7, 90, 91);
        only_violation(&history, "which is no grant");
    }

    #[test]
    fn an_epoch_that_does_not_rise_is_found() {
        let mut history = lawful();
        history.events.push(event(12, "b", "m2", 11, What::Expired));
        history.events.push(event(13, "b", "m2", 11, What::Granted));
        only_violation(&history, "epoch 11 after 11");
    }

    #[test]
    fn a_grant_over_an_owner_is_found() {
        let mut history = lawful();
        history.events.push(event(12, "b", "m3", 12, What::Granted));
        only_violation(&history, "while m2 had epoch 11");
    }

    #[test]
    fn the_loss_of_what_was_not_owned_is_found() {
        let mut history = lawful();
        history.events.push(event(12, "b", "m1", 1, What::Expired));
        history.rounds.last_mut().expect("there are rounds").until_us = 200;
        only_violation(&history, "which it did not have");
    }

    #[test]
    fn a_planned_move_with_a_gap_is_found() {
        let mut history = lawful();
        history.events[3].revision = 6;
        only_violation(&history, "nobody had it then");
        let mut history = lawful();
        history.events[2].what = What::GivenUp;
        only_violation(&history, "nobody had it then");
    }

    #[test]
    fn more_moves_than_a_share_are_found() {
        let mut history = lawful();
        history.rounds[1].deeds.clear();
        only_violation(&history, "1 moves for 0 newcomers");
        history.rounds[1].deeds.push((Deed::Drained, "m1".into(), 30));
        assert!(history.violations().is_empty(), "it was asked to");
        assert_eq!(history.figures().after_drain, [Duration::from_micros(20)]);
    }

    #[test]
    fn an_unprovoked_expiry_is_counted() {
        let mut history = lawful();
        history.rounds[2].deeds.clear();
        assert_eq!(history.figures().unprovoked, 1);
    }
}
